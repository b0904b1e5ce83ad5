//! What holds of stake and votes.

use super::{Broken, MONEY, add, equal, require};
use crate::{
    State, keys,
    stake::{Part, Pool, Validator},
    vote::ProposalStatus,
};
use muster_types::{AccountId, Amount, ProposalId};
use std::collections::BTreeMap;

pub(super) const STAKE: &str = "stake adds up";
pub(super) const VOTES: &str = "votes are counted";

/// Adds what validators hold.
pub(super) fn money(state: &dyn State, usd: &mut Amount, mst: &mut Amount) -> Result<(), Broken> {
    for (_, validator) in keys::STAKERS.scan(state, &(), None) {
        let Validator { own, delegated, own_unbonding, delegated_unbonding, .. } = validator;
        add(mst, own, MONEY)?;
        for pool in [delegated, own_unbonding, delegated_unbonding] {
            add(mst, pool.tokens, MONEY)?;
        }
        add(usd, validator.rewards.held, MONEY)?;
    }
    Ok(())
}

/// What delegations and unbondings add up to.
#[derive(Default)]
struct Parts {
    delegated: u128,
    own_unbonding: u128,
    delegated_unbonding: u128,
    owed: Amount,
}

pub(super) fn check(state: &dyn State) -> Result<(), Broken> {
    let mut parts: BTreeMap<AccountId, Parts> = BTreeMap::new();
    for ((delegator, id), delegation) in keys::DELEGATIONS.scan(state, &(), None) {
        let validator = keys::STAKERS.get(state, &id);
        require(validator.is_some() && delegator != id, STAKE, &delegator, &delegation)?;
        let Some(validator) = validator else { continue };
        let of = parts.entry(id).or_default();
        count(&mut of.delegated, &validator.delegated, &delegation.part)?;
        add(&mut of.owed, validator.owed(&delegation), STAKE)?;
    }
    for (entry, unbonding) in keys::UNBONDINGS.scan(state, &(), None) {
        let validator = keys::STAKERS.get(state, &unbonding.validator);
        require(validator.is_some(), STAKE, &entry, &unbonding)?;
        let Some(validator) = validator else { continue };
        let of = parts.entry(unbonding.validator).or_default();
        if unbonding.owner == unbonding.validator {
            count(&mut of.own_unbonding, &validator.own_unbonding, &unbonding.part)?;
        } else {
            count(&mut of.delegated_unbonding, &validator.delegated_unbonding, &unbonding.part)?;
        }
    }
    let committee = keys::COMMITTEE.get(state, &());
    let seats = committee.map(|committee| committee.seats).unwrap_or_default();
    let voting: Vec<AccountId> = seats.iter().map(|seat| seat.key).collect();
    let validators = keys::VALIDATORS.get(state, &()).unwrap_or_default();
    require(voting == validators && voting.is_sorted(), STAKE, &"committee", &voting)?;
    let mut active = Amount::ZERO;
    for (id, validator) in keys::STAKERS.scan(state, &(), None) {
        add(&mut active, validator.weight(), STAKE)?;
        check_validator(&id, &validator, parts.remove(&id).unwrap_or_default())?;
    }
    equal(keys::STAKE.get(state, &()).unwrap_or_default(), active, STAKE, &"all")?;
    check_votes(state)
}

/// Adds a part of a pool, as far as it counts still.
fn count(shares: &mut u128, pool: &Pool, part: &Part) -> Result<(), Broken> {
    let sum = shares.checked_add(pool.shares_of(part));
    require(sum.is_some(), STAKE, &"a sum that is too large", &(pool, part))?;
    *shares = sum.unwrap_or(u128::MAX);
    Ok(())
}

fn check_validator(id: &AccountId, validator: &Validator, parts: Parts) -> Result<(), Broken> {
    let Validator { delegated, own_unbonding, delegated_unbonding, rewards, .. } = validator;
    for (pool, counted) in [
        (delegated, parts.delegated),
        (own_unbonding, parts.own_unbonding),
        (delegated_unbonding, parts.delegated_unbonding),
    ] {
        equal(pool.shares, counted, STAKE, id)?;
        require(pool.tokens.nanos() <= pool.shares, STAKE, id, pool)?;
        require(pool.tokens.is_zero() == (pool.shares == 0), STAKE, id, pool)?;
    }
    let mut owed = rewards.carried;
    add(&mut owed, parts.owed, STAKE)?;
    require(owed <= rewards.held, STAKE, id, &(owed, rewards))
}

fn check_votes(state: &dyn State) -> Result<(), Broken> {
    let mut ballots: BTreeMap<ProposalId, u32> = BTreeMap::new();
    for ((proposal, _), _) in keys::BALLOTS.scan(state, &(), None) {
        super::one(ballots.entry(proposal).or_default());
    }
    for (id, proposal) in keys::PROPOSALS.scan(state, &(), None) {
        let counted = ballots.remove(&id).unwrap_or_default();
        let voting = matches!(proposal.status, ProposalStatus::Voting { .. });
        equal(if voting { proposal.votes } else { 0 }, counted, VOTES, &id)?;
    }
    require(ballots.is_empty(), VOTES, &"votes on nothing", &ballots)
}
