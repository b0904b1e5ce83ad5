//! Who pay, through whichever validator is up, and what a forger would like to.

use super::{World, payer, validator};
use crate::{chronicle::Accepted, plan::Bug};
use bytes::Bytes;
use commonware_runtime::Clock as _;
use muster_ledger::{Action, Genesis, Tx, keys, stake::ValidatorStatus, view};
use muster_node::consensus::Consensus;
use muster_types::{AccountId, Amount, Asset, Envelope, Hash, Millis, SecretKey};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};
use std::{cell::RefCell, collections::BTreeMap, time::Duration};

/// A nonce that no payer gets to, and that the ledger would take.
const FORGED_NONCE: u64 = 50;

/// The payers' memory.
pub(super) struct Users {
    dice: RefCell<ChaCha8Rng>,
    nonces: RefCell<BTreeMap<u8, u64>>,
    sent: RefCell<Vec<Tx>>,
    /// What jailed validators asked for last, and how often they did.
    pleas: RefCell<BTreeMap<u8, (u64, Tx)>>,
}

impl Users {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            dice: RefCell::new(ChaCha8Rng::seed_from_u64(seed.wrapping_add(2))),
            nonces: RefCell::default(),
            sent: RefCell::default(),
            pleas: RefCell::default(),
        }
    }

    /// A number less than `most`.
    fn below(&self, most: usize) -> usize {
        let most = u64::try_from(most.max(1)).unwrap_or(1);
        usize::try_from(self.dice.borrow_mut().next_u64() % most).unwrap_or(0)
    }

    /// The next payment of a payer.
    fn pay(&self, genesis: &Genesis, from: u8) -> Tx {
        let nonce = {
            let mut nonces = self.nonces.borrow_mut();
            let next = nonces.entry(from).or_default();
            *next = next.saturating_add(1);
            next.saturating_sub(1)
        };
        let to = AccountId(Hash::of("payee", &[&[u8::try_from(self.below(5)).unwrap_or(0)]]));
        let nanos = u128::try_from(self.below(1_000_000)).unwrap_or(0).saturating_add(1);
        let tx = payment(genesis, payer(from).account(), nonce, (to, nanos)).sign(&payer(from));
        self.sent.borrow_mut().push(tx.clone());
        tx
    }
}

/// How often owners look after their validators.
const CARE: Duration = Duration::from_millis(250);

fn envelope(genesis: &Genesis, signer: AccountId, nonce: u64, action: Action) -> Envelope<Action> {
    let (chain, max_fee, expires) = (genesis.id(), Amount::from_units(1), Millis::MAX);
    Envelope { chain, signer, nonce, max_fee, tip: Amount::ZERO, expires, action }
}

fn payment(
    genesis: &Genesis,
    signer: AccountId,
    nonce: u64,
    (to, nanos): (AccountId, u128),
) -> Envelope<Action> {
    let amount = Amount::from_nanos(nanos);
    envelope(genesis, signer, nonce, Action::Transfer { to, asset: Asset::Usd, amount })
}

/// What every transaction of the first payer holds.
pub(super) fn trace_of_first() -> Bytes {
    Bytes::copy_from_slice(payer(0).account().as_bytes())
}

/// A payment of the first payer, signed by somebody else.
pub(super) fn forgery(genesis: &Genesis) -> Tx {
    let thief = SecretKey::from_seed([66; 32]);
    let loot = (thief.account(), 1_000_000_000);
    payment(genesis, payer(0).account(), FORGED_NONCE, loot).sign(&thief)
}

impl World<'_> {
    /// Payers pay while faults last; some send the same twice, or long after it was final.
    pub(super) async fn spend(&self, txs: u64, until_ms: u64) {
        for index in 0..txs {
            let at_ms = until_ms.saturating_mul(index) / txs.max(1);
            self.sleep_until(at_ms).await;
            let payers = usize::from(self.plan.workload.payers);
            let from = u8::try_from(self.users.below(payers)).unwrap_or(0);
            let tx = self.users.pay(&self.genesis, from);
            self.submit(&tx, None);
            if self.users.below(4) == 0 {
                self.submit(&tx, None);
            }
            if self.users.below(4) == 0 {
                let again = {
                    let sent = self.users.sent.borrow();
                    sent[self.users.below(sent.len())].clone()
                };
                self.submit(&again, None);
            }
        }
    }

    /// Correct validators' owners ask for their return when they are jailed, for ever.
    pub(super) async fn care(&self) {
        while !self.plan.bugs.contains(&Bug::AbsentOwners) {
            self.context.sleep(CARE).await;
            for node in (0..self.plan.validators).filter(|node| self.plan.is_correct(*node)) {
                let owner = validator(node);
                let jailed = self.in_final_state(|state| {
                    let status = keys::STAKERS.get(state, &owner.account())?.status;
                    let steady = view::head(state)?.steady;
                    matches!(status, ValidatorStatus::Jailed { until } if steady >= until)
                        .then_some(())
                });
                if jailed.is_some() {
                    self.submit_quietly(&self.plea(node));
                }
            }
        }
        std::future::pending::<()>().await;
    }

    /// What a jailed validator asks for: the same as long as it is in no block.
    fn plea(&self, node: u8) -> Tx {
        let mut pleas = self.users.pleas.borrow_mut();
        let nonce = match pleas.get(&node) {
            Some((_, plea)) if !self.chronicle.holds(&plea.id()) => return plea.clone(),
            Some((nonce, _)) => nonce.saturating_add(1),
            None => 0,
        };
        let owner = validator(node);
        let plea = envelope(&self.genesis, owner.account(), nonce, Action::ValidatorUnjail {});
        let plea = plea.sign(&owner);
        pleas.insert(node, (nonce, plea.clone()));
        plea
    }

    /// Sends a transaction of which nothing is expected to a correct validator that is up.
    fn submit_quietly(&self, tx: &Tx) {
        let up: Vec<Consensus> = self.correct_nodes().collect();
        if !up.is_empty() {
            // Where it is refused, it is sent again.
            let _ = up[self.users.below(up.len())].pool().submit(tx.clone());
        }
    }

    /// Sends a transaction to a correct validator that is up, if there is one.
    fn submit(&self, tx: &Tx, until: Option<u64>) {
        let up: Vec<usize> = (0..self.seats.len())
            .filter(|seat| self.seats[*seat].is_correct && self.seats[*seat].consensus().is_some())
            .collect();
        if !up.is_empty() {
            self.submit_to(up[self.users.below(up.len())], tx, until);
        }
    }

    fn submit_to(&self, seat: usize, tx: &Tx, until: Option<u64>) {
        let seat = &self.seats[seat];
        let (Some(consensus), Some(life)) = (seat.consensus(), seat.life_number()) else { return };
        if let Ok(submission) = consensus.pool().submit(tx.clone()) {
            let accepted = Accepted { id: submission.id, node: seat.node, life, until };
            self.chronicle.accept(accepted);
        }
    }

    /// The first payer pays through every correct validator; each payment must be in one of the
    /// next `blocks`.
    pub(super) fn submit_everywhere(&self, blocks: u64) {
        let until = self.highest().saturating_add(blocks);
        for seat in (0..self.seats.len()).filter(|seat| self.seats[*seat].is_correct) {
            let tx = self.users.pay(&self.genesis, 0);
            self.submit_to(seat, &tx, Some(until));
        }
    }
}
