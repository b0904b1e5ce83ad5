//! How much stake an account has where it counts.

use super::{Validator, ValidatorStatus};
use crate::{keys, limits, state::State};
use muster_types::{AccountId, Amount};

/// What an account delegates to active validators: (validator, worth in `mst`), at most
/// [`limits::DELEGATIONS`] of them.
pub(crate) fn delegated(state: &dyn State, account: &AccountId) -> Vec<(AccountId, Amount)> {
    let all = keys::DELEGATIONS.scan(state, account, None).take(limits::DELEGATIONS);
    let counted = all.filter_map(|((_, id), delegation)| {
        active(state, &id).map(|validator| (id, validator.worth(&delegation)))
    });
    counted.collect()
}

/// A validator whose stake counts.
pub(crate) fn active(state: &dyn State, id: &AccountId) -> Option<Validator> {
    keys::STAKERS.get(state, id).filter(|validator| validator.status == ValidatorStatus::Active)
}

/// All of an account's own stake that counts, `mst`: as a validator and as a delegator.
#[must_use]
pub(crate) fn of(state: &dyn State, account: &AccountId) -> Amount {
    let own = active(state, account).map_or(Amount::ZERO, |validator| validator.own);
    // All of it is part of what exists.
    delegated(state, account)
        .into_iter()
        .fold(own, |all, (_, worth)| Amount::from_nanos(all.nanos().saturating_add(worth.nanos())))
}
