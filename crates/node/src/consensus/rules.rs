//! The rules of a valid block, as pure functions: what a proposer follows and a verifier checks.
//!
//! # Time
//! A block's time is later than its parent's and at most [`MAX_STEP`] later: rules about the
//! block alone, so all validators judge alike for ever. That it is not ahead of the clock is no
//! such rule, since clocks differ; a validator therefore does not refuse a block from the future
//! but withholds its vote until its own clock is within [`MAX_DRIFT`] of it ([`clock_wait`]). If
//! that takes longer than the leader has, the view is abandoned. After a long halt the chain's
//! time catches up by one step a block.
//!
//! Clocks do not bound a block's time from below. A voter that waits can find that a block from the
//! future has become a present one; no voter can wait until a block from the past is present, and
//! one that looks late, after a restart or over a slow network, would refuse what the others have
//! accepted. What a proposer with a slow clock can do is bounded without that: its own blocks
//! lag, each at least a millisecond after its parent, and the next proposer with a right clock
//! makes up for all of it in one block ([`next_time`]). A minority thus shifts time by no more than
//! its turns in a row, and since pay and stalls count at most `max_block_step_ms` of any block, it
//! moves nobody's money by making time jump.
//!
//! # Transactions
//! A block holds only transactions that the ledger applies. One that it rejects makes the whole
//! block invalid, so a proposer leaves it out and nobody is charged for it.

use super::{
    beacon::{self, Key, Signature},
    block::{Block, Ctx, Header, PROTOCOL_VERSION, knows_version, to_account, to_hash},
    committee::{Epochs, committee_hash},
    hot::{Executed, Head},
};
use crate::mempool::Candidate;
use bytes::Bytes;
use muster_ledger::{
    BlockBuilder, BlockContext, BlockError, BlockOutcome, Changes, ExecuteError, Reject, State, Tx,
    execute_block, genesis::PROTOCOL_MIN, keys, stake::Views, view,
};
use muster_types::{
    AccountId, Hash, Millis, TxId,
    codec::{self, DecodeError},
};
use std::num::NonZero;

/// How far a block's time may be ahead of a validator's clock before it withholds its vote.
pub const MAX_DRIFT: Millis = Millis(500);
/// The most that time may pass from one block to the next.
pub const MAX_STEP: Millis = Millis::from_secs(30 * 24 * 3600);

/// Why a block is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockReject {
    /// Made by another protocol.
    #[error(
        "the block speaks protocol {found}, this build speaks {PROTOCOL_MIN} to \
         {PROTOCOL_VERSION}: upgrade"
    )]
    Version {
        /// The block's version.
        found: u16,
    },
    /// Of another chain.
    #[error("the block is of chain {found}, not {expected}")]
    Chain {
        /// The block's chain.
        found: Hash,
        /// This chain.
        expected: Hash,
    },
    /// A field of the header that follows from the parent or the context is something else.
    #[error("the block's {field} does not follow from its parent and round")]
    Inconsistent {
        /// `version`, `parent`, `height`, `epoch`, `beacon`, `beacon's key`, `proposer` or `context`.
        field: &'static str,
    },
    /// Not later than the parent.
    #[error("the block is of {time}, not later than its parent of {parent}")]
    TimeNotLater {
        /// The parent's time.
        parent: Millis,
        /// The block's time.
        time: Millis,
    },
    /// Too long after the parent.
    #[error("the block is of {time}, more than {MAX_STEP} after its parent of {parent}")]
    TimeTooFar {
        /// The parent's time.
        parent: Millis,
        /// The block's time.
        time: Millis,
    },
    /// The beacon's signature is not that of the round after the parent's.
    #[error("the beacon's signature is not of round {round} by the key in force")]
    BeaconSignature {
        /// The round that it should be of.
        round: u64,
    },
    /// A transaction's bytes are not one.
    #[error("transaction {index} is malformed")]
    Malformed {
        /// Its place in the block.
        index: usize,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// The ledger refuses it.
    #[error("the ledger refuses the block")]
    Ledger(#[source] ExecuteError),
    /// A commitment is not what executing the block gives.
    #[error("executing the block does not give its {field}")]
    Commitment {
        /// `event root`, `state root`, `operations` or `validators`.
        field: &'static str,
    },
}

/// The time of a block made at `now` on a parent of time `parent`.
#[must_use]
pub fn next_time(parent: Millis, now: Millis) -> Millis {
    now.clamp(parent.after(Millis(1)), parent.after(MAX_STEP))
}

/// Checks a block's time against its parent's.
///
/// # Errors
/// [`BlockReject::TimeNotLater`] or [`BlockReject::TimeTooFar`].
pub fn check_time(parent: Millis, time: Millis) -> Result<(), BlockReject> {
    if time <= parent {
        return Err(BlockReject::TimeNotLater { parent, time });
    }
    if time.since(parent) > MAX_STEP {
        return Err(BlockReject::TimeTooFar { parent, time });
    }
    Ok(())
}

/// How long a validator whose clock says `now` withholds its vote from a block of `time`.
#[must_use]
pub fn clock_wait(time: Millis, now: Millis) -> Millis {
    time.since(now.after(MAX_DRIFT))
}

/// The randomness of the block on `parent` where no key is shared: its proposer is trusted, and so
/// is the one before, which knows what it will be.
#[must_use]
pub fn next_beacon(parent_beacon: &Hash, parent: &Hash) -> Hash {
    Hash::of("muster beacon v0", &[parent_beacon.as_bytes(), parent.as_bytes()])
}

/// What a block says of the beacon: value, round, key (as in the header), signature.
pub(crate) type Round = (Hash, u64, u64, Option<Signature>);

/// What a proposer says of the beacon on `parent`, with the signature of the next round where it
/// has one.
pub(crate) fn next_round(
    parent: &Header,
    parent_digest: &Hash,
    key: Option<&Key>,
    signature: impl FnOnce(&Key, u64) -> Option<Signature>,
) -> Round {
    let round = parent.beacon_round.saturating_add(1);
    let Some(key) = key else {
        return (next_beacon(&parent.beacon, parent_digest), round, 0, None);
    };
    let named = key.epoch().saturating_add(1);
    match signature(key, round) {
        Some(signature) => (beacon::value(&signature), round, named, Some(signature)),
        None => (parent.beacon, parent.beacon_round, named, None),
    }
}

/// Checks what a block says of the beacon, where `key` is in force: what a proposer says who has
/// the block's signature, which is the key's. There is only one, so `known`, where this node has
/// found it already, spares the arithmetic.
pub(crate) fn check_beacon(
    parent: &Header,
    parent_digest: &Hash,
    block: &Block,
    key: Option<&Key>,
    known: impl FnOnce(&Key, u64) -> Option<Signature>,
) -> Result<(), BlockReject> {
    let Header { beacon, beacon_round, beacon_key, beacon_signed, .. } = &block.header;
    let said = (*beacon, *beacon_round, *beacon_key, block.signature);
    let right = next_round(parent, parent_digest, key, |_, _| block.signature);
    if *beacon_key != right.2 {
        return Err(BlockReject::Inconsistent { field: "beacon's key" });
    }
    if said != right || *beacon_signed != block.signature.is_some() {
        return Err(BlockReject::Inconsistent { field: "beacon" });
    }
    if let (Some(key), Some(signature)) = (key, &block.signature)
        && known(key, *beacon_round) != Some(*signature)
        && !key.verify(*beacon_round, signature)
    {
        return Err(BlockReject::BeaconSignature { round: *beacon_round });
    }
    Ok(())
}

/// The protocol of the block after `state`.
pub(crate) fn version_after(state: &dyn State) -> u16 {
    u16::try_from(view::params(state).protocol).unwrap_or(u16::MAX)
}

/// What the ledger is told about a block.
pub(crate) fn block_context(header: &Header, context: &Ctx) -> BlockContext {
    let views = Views { parent: context.parent.0.get(), own: context.round.view().get() };
    BlockContext {
        views,
        height: header.height,
        now: header.time,
        beacon: header.beacon,
        beacon_round: header.beacon_round,
        beacon_key: header.beacon_epoch(),
        proposer: header.proposer,
    }
}

/// A block after a final one, as far as its transactions are concerned.
pub(crate) fn context_after(head: &Head) -> BlockContext {
    BlockContext {
        views: Views::default(),
        height: head.height.saturating_add(1),
        now: head.time.after(Millis(1)),
        beacon: head.beacon,
        beacon_round: head.beacon_round,
        beacon_key: head.beacon_key,
        proposer: AccountId::default(),
    }
}

/// Checks what follows from the parent and the consensus context alone.
pub(crate) fn check_header(
    parent: &Header,
    parent_digest: Hash,
    block: &Block,
    context: &Ctx,
    epochs: Epochs,
) -> Result<(), BlockReject> {
    let header = &block.header;
    if !knows_version(header.version) {
        return Err(BlockReject::Version { found: header.version });
    }
    if header.chain != parent.chain {
        return Err(BlockReject::Chain { found: header.chain, expected: parent.chain });
    }
    check_time(parent.time, header.time)?;
    let checks = [
        ("context", block.context == *context),
        ("parent", header.parent == parent_digest && header.parent == to_hash(&context.parent.1)),
        ("height", parent.height.checked_add(1) == Some(header.height)),
        ("epoch", header.epoch == epochs.of(header.height)),
        ("epoch", header.epoch == context.round.epoch().get()),
        ("proposer", header.proposer == to_account(&context.leader)),
    ];
    match checks.into_iter().find(|(_, holds)| !holds) {
        Some((field, _)) => Err(BlockReject::Inconsistent { field }),
        None => Ok(()),
    }
}

/// The validators who vote on the block after the one with these changes.
pub(crate) fn validators_after(state: &dyn State, changes: &Changes) -> Vec<AccountId> {
    match changes.0.get(&keys::VALIDATORS.key(&())) {
        Some(Some(written)) => codec::decode(written, written.len())
            .expect("invariant: what the ledger wrote can be read"),
        Some(None) | None => view::validators(state),
    }
}

/// What a block says about the validators of the next one, where they are these.
pub(crate) fn handover(
    epochs: Epochs,
    height: u64,
    validators: &[AccountId],
) -> (Hash, Vec<AccountId>) {
    let next = if epochs.is_last(height) { validators.to_vec() } else { Vec::new() };
    (committee_hash(validators), next)
}

/// Executes a block; a transaction that is malformed or rejected makes the block invalid, and so
/// do events or validators other than its header's.
pub(crate) fn execute(
    state: &dyn State,
    block: &Block,
    epochs: Epochs,
) -> Result<Executed, BlockReject> {
    let mut txs = Vec::with_capacity(block.body.len());
    for (index, bytes) in block.body.iter().enumerate() {
        let tx = Tx::decode(bytes).map_err(|source| BlockReject::Malformed { index, source })?;
        txs.push(tx);
    }
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let context = block_context(&block.header, &block.context);
    let execute = || execute_block(state, context, &txs, threads).map_err(BlockReject::Ledger);
    #[cfg(feature = "planted")]
    let execute = || crate::planted::execute_unsigned(state, context, &txs).unwrap_or_else(execute);
    let outcome = execute()?;
    if block.header.version != version_after(state) {
        return Err(BlockReject::Inconsistent { field: "version" });
    }
    let same_events = outcome.event_root == block.header.event_root;
    #[cfg(feature = "planted")]
    let same_events = same_events || crate::planted::any_events();
    if !same_events {
        return Err(BlockReject::Commitment { field: "event root" });
    }
    let validators = validators_after(state, &outcome.changes);
    if handover(epochs, block.header.height, &validators)
        != (block.header.validators, block.next.to_vec())
    {
        return Err(BlockReject::Commitment { field: "validators" });
    }
    Ok(executed(txs, outcome))
}

fn executed(txs: Vec<Tx>, outcome: BlockOutcome) -> Executed {
    let BlockOutcome { changes, receipts, events, archived, event_root: _ } = outcome;
    Executed { txs, receipts, events, archived, changes }
}

/// A block's body as its proposer puts it together.
pub(crate) struct Assembled {
    /// What executing it gave.
    pub(crate) executed: Executed,
    /// The root of its events.
    pub(crate) event_root: Hash,
    /// The encoded transactions that are in it, in order.
    pub(crate) body: Vec<Bytes>,
    /// The candidates that the ledger rejected.
    pub(crate) rejected: Vec<(TxId, Tx)>,
    /// The validators who vote on the next block.
    pub(crate) validators: Vec<AccountId>,
}

/// Of candidates that were rejected on a block that is not final, those that `state`, which is
/// final, rejects too: that block may never be final, and then nothing is wrong with the others.
pub(crate) fn rejected_for_good(
    state: &dyn State,
    context: BlockContext,
    rejected: Vec<(TxId, Tx)>,
) -> Vec<(TxId, Reject)> {
    let Ok(mut block) = BlockBuilder::new(state, context) else { return Vec::new() };
    let mut for_good = Vec::new();
    for (id, tx) in rejected {
        if let Err(reject) = block.push_verified(&tx) {
            for_good.push((id, reject));
        }
    }
    for_good
}

/// Executes the candidates, leaving out what the ledger rejects. Their signatures were checked
/// when the pool took them.
pub(crate) fn assemble(
    state: &dyn State,
    context: BlockContext,
    candidates: Vec<Candidate>,
) -> Result<Assembled, BlockError> {
    let mut block = BlockBuilder::new(state, context)?;
    let (mut txs, mut body, mut rejected) = (Vec::new(), Vec::new(), Vec::new());
    for candidate in candidates {
        match block.push_verified(&candidate.tx) {
            Ok(_) => {
                txs.push(candidate.tx);
                body.push(candidate.encoded);
            }
            Err(_) => rejected.push((candidate.id, candidate.tx)),
        }
    }
    let outcome = block.finish();
    let event_root = outcome.event_root;
    let validators = validators_after(state, &outcome.changes);
    Ok(Assembled { executed: executed(txs, outcome), event_root, body, rejected, validators })
}
