//! What validators were told, and whether it keeps what the properties promise. The rules are
//! restated here by a plain ledger that shares with the node only the ledger's own code.

use crate::{
    beacon::{Parts, Rounds, part_of},
    plan::Property,
};
use bytes::Bytes;
use commonware_codec::DecodeExt as _;
use commonware_consensus::simplex::types::Context;
use commonware_cryptography::{blake3::Digest, ed25519::PublicKey};
use muster_ledger::{
    Action, BlockBuilder, BlockContext, Event, Genesis, MemoryState, State, Tx, event_root,
    invariant,
    stake::{ValidatorStatus, Views},
    view,
};
use muster_node::consensus::{
    FinalizedBlock, Header, body_root, committee_hash, digest_of, rules::check_time,
};
use muster_types::{AccountId, Hash, TxId, codec};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// A property that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Which.
    pub property: Property,
    /// Where, and what was found.
    pub found: String,
}

/// A transaction that a correct validator accepted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accepted {
    pub(crate) id: TxId,
    pub(crate) node: u8,
    pub(crate) life: u64,
    /// If it must be in a block, no higher than this.
    pub(crate) until: Option<u64>,
}

/// All that correct validators were told.
pub(crate) struct Chronicle {
    checked: BTreeSet<Property>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    blocks: BTreeMap<u64, FinalizedBlock>,
    /// Where each transaction is.
    places: BTreeMap<TxId, u64>,
    /// Of each validator, its life and the height that it was told last.
    told: BTreeMap<u8, (u64, u64)>,
    accepted: Vec<Accepted>,
    /// The beacon's latest round that is final for some correct validator.
    round: u64,
    parts: Parts,
    /// Who signed which round of the beacon too early.
    hasty: BTreeSet<(AccountId, u64)>,
    violations: Vec<Violation>,
}

impl Chronicle {
    pub(crate) fn new(checked: &[Property]) -> Self {
        Self { checked: checked.iter().copied().collect(), inner: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a property does not hold.
    pub(crate) fn violate(&self, property: Property, found: String) {
        if self.checked.contains(&property) {
            self.lock().violations.push(Violation { property, found });
        }
    }

    /// A correct validator, in one of its lives, is told a final block.
    pub(crate) fn tell(&self, node: u8, life: u64, block: &FinalizedBlock) {
        let height = block.header.height;
        let mut inner = self.lock();
        let (known, fresh) = match inner.blocks.get(&height) {
            Some(known) => (known.digest, false),
            None => (block.digest, true),
        };
        if fresh {
            for receipt in &block.executed.receipts {
                inner.places.entry(receipt.tx).or_insert(height);
            }
            inner.blocks.insert(height, block.clone());
        }
        let before = inner.told.insert(node, (life, height));
        drop(inner);
        if known != block.digest {
            let found = format!(
                "validator {node} was told {} at height {height}, others {known}",
                block.digest
            );
            self.violate(Property::Agreement, found);
        }
        if let Some((lived, last)) = before
            && lived == life
            && height != last.saturating_add(1)
        {
            let found = format!("validator {node} was told height {height} after {last}");
            self.violate(Property::Agreement, found);
        }
    }

    /// A correct validator has a final block, whose state is not there yet.
    pub(crate) fn applying(&self, block: &FinalizedBlock) {
        let mut inner = self.lock();
        inner.round = inner.round.max(block.header.beacon_round);
    }

    /// A validator sends a message about the beacon.
    pub(crate) fn hear(&self, by: AccountId, is_correct: bool, message: &[u8]) {
        let Some((epoch, round, part)) = part_of(message) else { return };
        let mut inner = self.lock();
        inner.parts.entry((epoch, round)).or_default().insert(by, part);
        let last = inner.round;
        let hasty = is_correct && round > last.saturating_add(1) && inner.hasty.insert((by, round));
        drop(inner);
        if hasty {
            let found = format!("{by} signs round {round}, and the latest final one is {last}");
            self.violate(Property::Beacon, found);
        }
    }

    /// Whether a transaction is in a block.
    pub(crate) fn holds(&self, id: &TxId) -> bool {
        self.lock().places.contains_key(id)
    }

    /// The height that a validator was told last.
    pub(crate) fn told(&self, node: u8) -> u64 {
        self.lock().told.get(&node).map_or(0, |(_, height)| *height)
    }

    pub(crate) fn accept(&self, accepted: Accepted) {
        self.lock().accepted.push(accepted);
    }

    /// What was accepted by a life that goes on, and is in no block.
    pub(crate) fn waiting(&self, lives: &BTreeMap<u8, u64>) -> Vec<Accepted> {
        let inner = self.lock();
        let waits = |one: &&Accepted| {
            lives.get(&one.node) == Some(&one.life) && !inner.places.contains_key(&one.id)
        };
        inner.accepted.iter().filter(waits).copied().collect()
    }

    /// How many transactions are in blocks.
    pub(crate) fn applied(&self) -> usize {
        self.lock().places.len()
    }

    /// How often a validator was jailed.
    pub(crate) fn jailed(&self) -> usize {
        let inner = self.lock();
        let ends = inner.blocks.values().flat_map(|block| &block.executed.events);
        let receipts = inner.blocks.values().flat_map(|block| &block.executed.receipts);
        let jailed = |event: &&Event| {
            matches!(event, Event::ValidatorChanged { status: ValidatorStatus::Jailed { .. }, .. })
        };
        ends.chain(receipts.flat_map(|receipt| &receipt.events)).filter(jailed).count()
    }

    /// How many rounds of the beacon are in blocks that validators have signed.
    pub(crate) fn signed_rounds(&self) -> usize {
        self.lock().blocks.values().filter(|block| block.header.beacon_signed).count()
    }

    /// What was accepted and is in a block that is too high.
    pub(crate) fn late(&self) -> Vec<(Accepted, u64)> {
        let inner = self.lock();
        let late = inner.accepted.iter().filter_map(|one| {
            let height = *inner.places.get(&one.id)?;
            one.until.filter(|until| height > *until).map(|_| (*one, height))
        });
        late.collect()
    }

    pub(crate) fn violations(&self) -> Vec<Violation> {
        self.lock().violations.clone()
    }

    /// Executes all final blocks again; gives the hash of the state after each.
    pub(crate) fn replay(
        &self,
        genesis: &Genesis,
        is_correct: impl Fn(&AccountId) -> bool,
    ) -> BTreeMap<u64, Hash> {
        let blocks: Vec<FinalizedBlock> = self.lock().blocks.values().cloned().collect();
        let parts = self.lock().parts.clone();
        let mut rounds = Rounds::new(genesis.id(), &parts);
        let mut state = MemoryState::default();
        let Ok(changes) = genesis.changes() else { return BTreeMap::new() };
        state.apply(changes);
        let (mut digests, mut parent) = (BTreeMap::new(), None);
        let (mut ids, mut nonces) = (BTreeSet::new(), BTreeSet::new());
        for block in blocks {
            let height = block.header.height;
            if let Err(found) = rounds.follow(&state, &block.header) {
                self.violate(Property::Beacon, format!("block {height}: {found}"));
            }
            if let Err(found) = follow(&mut state, parent.as_ref(), &block) {
                self.violate(Property::Validity, format!("block {height}: {found}"));
                return digests;
            }
            if let Err(broken) = invariant::check(&state) {
                self.violate(Property::Conservation, format!("block {height}: {broken}"));
            }
            for tx in &block.executed.txs {
                // What is owed as a validator has no nonce to use up.
                let counts = !tx.envelope.action.is_duty();
                let nonce = (tx.lane(), tx.envelope.nonce);
                if !ids.insert(tx.id()) || counts && !nonces.insert(nonce) {
                    let found = format!("{} is applied again in block {height}", tx.id());
                    self.violate(Property::Once, found);
                }
                if let Action::EquivocationReport { evidence } = &tx.envelope.action
                    && is_correct(&evidence.key)
                {
                    let found = format!(
                        "{} is slashed in block {height} for view {} of epoch {}",
                        evidence.key, evidence.view, evidence.epoch
                    );
                    self.violate(Property::Honesty, found);
                }
            }
            digests.insert(height, state_digest(&state));
            parent = Some((block.digest, block.header));
        }
        digests
    }
}

/// A hash of every entry of a state.
pub(crate) fn state_digest(state: &dyn State) -> Hash {
    let mut hasher = blake3::Hasher::new();
    for (key, value) in state.range(&[], &[u8::MAX; 32]) {
        hasher.update(Hash::of("entry", &[&key, &value]).as_bytes());
    }
    Hash(hasher.finalize().into())
}

/// Applies a block by the book.
fn follow(
    state: &mut MemoryState,
    parent: Option<&(Hash, Header)>,
    block: &FinalizedBlock,
) -> Result<(), String> {
    let FinalizedBlock { digest, header, preimage, executed } = block;
    let wrong = |what: &str| Err(format!("its {what} is wrong"));
    if digest_of(preimage) != *digest || Header::of_preimage(preimage).as_ref() != Ok(header) {
        return wrong("digest");
    }
    if let Some((parent, before)) = parent {
        if header.parent != *parent || header.height != before.height.saturating_add(1) {
            return wrong("parent");
        }
        check_time(before.time, header.time).map_err(|error| error.to_string())?;
    }
    let rest = preimage.get(codec::encode(header).len()..).unwrap_or_default();
    let context = Context::<Digest, PublicKey>::decode(Bytes::copy_from_slice(rest))
        .map_err(|error| error.to_string())?;
    let context = BlockContext {
        height: header.height,
        now: header.time,
        beacon: header.beacon,
        beacon_round: header.beacon_round,
        beacon_key: header.beacon_epoch(),
        proposer: header.proposer,
        views: Views { parent: context.parent.0.get(), own: context.round.view().get() },
    };
    let mut builder = BlockBuilder::new(state, context).map_err(|error| error.to_string())?;
    for tx in &executed.txs {
        tx.verify().map_err(|error| format!("{} is not signed: {error}", tx.id()))?;
        let pushed = builder.push(tx).map(|_| ());
        pushed.map_err(|reject| format!("{} cannot be applied: {reject}", tx.id()))?;
    }
    let outcome = builder.finish();
    if event_root(outcome.all_events()) != header.event_root {
        return wrong("event root");
    }
    let ids: Vec<TxId> = executed.txs.iter().map(Tx::id).collect();
    if body_root(&ids) != header.body_root {
        return wrong("body root");
    }
    if outcome.changes != executed.changes {
        return wrong("execution");
    }
    state.apply(outcome.changes);
    if committee_hash(&view::validators(state)) != header.validators {
        return wrong("commitment to the validators");
    }
    Ok(())
}
