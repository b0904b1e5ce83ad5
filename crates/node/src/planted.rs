//! Faults for the simulator to find, in builds with the feature `planted` only.
//!
//! They belong to a thread, as a simulation does: nothing is planted where [`plant`] was not
//! called. A [`Mischief`] is what a byzantine validator does when it makes a block; the other
//! faults are bugs of everybody.

use crate::{
    consensus::{Header, rules::BlockReject},
    mempool::Candidate,
};
use muster_ledger::{BlockBuilder, BlockContext, BlockOutcome, ExecuteError, State, Tx};
use muster_types::{AccountId, Hash, Millis};
use std::{cell::RefCell, collections::BTreeMap};

/// What is wrong with the validators of this thread.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Nobody checks the signatures of a block's transactions.
    pub unsigned_blocks: bool,
    /// Nobody compares a block's events with its header.
    pub any_events: bool,
    /// Nobody checks a block's beacon.
    pub any_beacon: bool,
    /// Everybody signs the beacon's round after the next one, too.
    pub hasty_beacon: bool,
    /// What leaves the state stays in the store.
    pub keep_deleted: bool,
    /// Who makes blocks that are not valid, and in which way.
    pub mischief: BTreeMap<AccountId, Mischief>,
}

/// How a block is not valid.
#[derive(Clone, Debug)]
pub enum Mischief {
    /// It holds a transaction that its account did not sign.
    Forgery(Box<Tx>),
    /// Its root of the state is made up.
    State,
    /// Its root of the events is made up.
    Events,
    /// It is no later than its parent.
    Time,
    /// It says that others vote next.
    Validators,
    /// Its beacon is made up, where it has the next round's.
    Beacon,
}

thread_local! {
    static FAULTS: RefCell<Faults> = RefCell::default();
}

/// Plants faults into the validators of this thread, instead of those of before.
pub fn plant(faults: Faults) {
    FAULTS.with_borrow_mut(|planted| *planted = faults);
}

fn mischief(of: &AccountId) -> Option<Mischief> {
    FAULTS.with_borrow(|planted| planted.mischief.get(of).cloned())
}

/// Adds to the candidates for a block of `proposer` what must not be in it.
pub(crate) fn slip_in(proposer: &AccountId, mut candidates: Vec<Candidate>) -> Vec<Candidate> {
    if let Some(Mischief::Forgery(tx)) = mischief(proposer) {
        let encoded = tx.encoded();
        let candidate =
            Candidate { id: encoded.id(), encoded: encoded.wire().to_vec().into(), tx: *tx };
        candidates.push(candidate);
    }
    candidates
}

/// Makes the header of a block that follows one of time `parent` wrong.
pub(crate) fn spoil(header: &mut Header, parent: Millis) {
    let wrong = Hash::of("made up", &[]);
    match mischief(&header.proposer) {
        Some(Mischief::State) => header.state_root = wrong,
        Some(Mischief::Events) => header.event_root = wrong,
        Some(Mischief::Time) => header.time = parent,
        Some(Mischief::Validators) => header.validators = wrong,
        Some(Mischief::Forgery(_) | Mischief::Beacon) | None => {}
    }
}

/// Executes a block without a look at its signatures, where that is planted.
pub(crate) fn execute_unsigned(
    state: &dyn State,
    context: BlockContext,
    txs: &[Tx],
) -> Option<Result<BlockOutcome, BlockReject>> {
    if !FAULTS.with_borrow(|planted| planted.unsigned_blocks) {
        return None;
    }
    let execute = || {
        let mut block = BlockBuilder::new(state, context).map_err(ExecuteError::Block)?;
        for (index, tx) in txs.iter().enumerate() {
            block.push_verified(tx).map_err(|reject| ExecuteError::Tx { index, reject })?;
        }
        Ok(block.finish())
    };
    Some(execute().map_err(BlockReject::Ledger))
}

/// The beacon that `proposer` puts into a block whose round has this value.
pub(crate) fn beacon(proposer: &AccountId, value: Hash) -> Hash {
    let is_made_up = matches!(mischief(proposer), Some(Mischief::Beacon));
    if is_made_up { Hash::of("made up", &[value.as_bytes()]) } else { value }
}

/// Whether nobody checks a block's beacon.
pub(crate) fn any_beacon() -> bool {
    FAULTS.with_borrow(|planted| planted.any_beacon)
}

/// Whether the beacon's round after the next one is signed, too.
pub(crate) fn is_hasty() -> bool {
    FAULTS.with_borrow(|planted| planted.hasty_beacon)
}

/// Whether what leaves the state stays in the store.
pub(crate) fn keeps_deleted() -> bool {
    FAULTS.with_borrow(|planted| planted.keep_deleted)
}

/// Whether nobody compares a block's events with its header.
pub(crate) fn any_events() -> bool {
    FAULTS.with_borrow(|planted| planted.any_events)
}
