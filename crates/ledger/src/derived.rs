//! Rebuilding the derived indexes.

use crate::{
    account::Account,
    bond::Duty,
    dispute::{Challenge, Dispute},
    escrow::Escrow,
    job::Job,
    keys,
    market::{Bid, Lease, Order, TenantConduct},
    provider::{Host, Provider},
    stake::{Delegation, Unbonding, Validator},
    state::{Changes, Scratch, State},
    vote::{Ballot, Proposal},
};

/// The changes that make a state's derived keys ([`keys::DERIVED`]) what its records say: after a
/// restart, or a state sync, where only agreed-on keys are at hand.
#[must_use]
pub fn rebuild_derived(state: &dyn State) -> Changes {
    let mut scratch = Scratch::new(state);
    for (key, _) in state.range(&[keys::DERIVED], &[u8::MAX; 256]) {
        scratch.delete(key);
    }
    keys::list_all::<Account>(state, &mut scratch);
    keys::list_all::<Provider>(state, &mut scratch);
    keys::list_all::<Host>(state, &mut scratch);
    keys::list_all::<Order>(state, &mut scratch);
    keys::list_all::<Lease>(state, &mut scratch);
    keys::list_all::<Escrow>(state, &mut scratch);
    keys::list_all::<Job>(state, &mut scratch);
    keys::list_all::<Dispute>(state, &mut scratch);
    keys::list_all::<Challenge>(state, &mut scratch);
    keys::list_all::<Validator>(state, &mut scratch);
    keys::list_all::<Delegation>(state, &mut scratch);
    keys::list_all::<Unbonding>(state, &mut scratch);
    keys::list_all::<Proposal>(state, &mut scratch);
    keys::list_all::<Ballot>(state, &mut scratch);
    keys::list_all::<Duty>(state, &mut scratch);
    keys::list_all::<Bid>(state, &mut scratch);
    keys::list_all::<TenantConduct>(state, &mut scratch);
    scratch.into_changes()
}
