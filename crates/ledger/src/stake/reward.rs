//! Rewards: sharing out a block's fees, and `RewardClaim`.

use super::{Delegation, Validator, save};
use crate::{
    Event, Reject,
    ctx::{By, Ctx, rest, share_floor, sum},
    keys,
};
use muster_types::{AccountId, Amount, Asset};

/// The unit of [`super::Rewards::per_share`]: so many make a nano-`usd`.
const SCALE: u128 = 1 << 64;

pub(crate) fn run(ctx: &mut Ctx<'_>, by: &By, validator_id: &AccountId) -> Result<(), Reject> {
    let key = (by.signer, *validator_id);
    let mut delegation: Delegation = ctx.load(&key)?;
    let mut validator: Validator = ctx.load(validator_id)?;
    if owed(&validator, &delegation).is_zero() {
        // So that the claim shows among the events.
        let (delegator, validator, amount) = (by.signer, *validator_id, Amount::ZERO);
        ctx.emit(Event::RewardPaid { delegator, validator, amount });
    }
    pay(ctx, &key, &mut validator, &mut delegation)?;
    if validator.worth(&delegation).is_zero() {
        // Slashed to nothing: nothing more will come of it.
        validator.delegated.withdraw(&mut delegation.part, Amount::ZERO)?;
        keys::remove::<Delegation>(&mut ctx.scratch, &key);
    } else {
        ctx.store(&key, &delegation);
    }
    save(ctx, validator_id, &validator)
}

/// Pays a delegation what it is owed. To be called before its shares change.
pub(crate) fn pay(
    ctx: &mut Ctx<'_>,
    (delegator, validator_id): &(AccountId, AccountId),
    validator: &mut Validator,
    delegation: &mut Delegation,
) -> Result<(), Reject> {
    let amount = owed(validator, delegation);
    delegation.paid_per_share = validator.rewards.per_share;
    if amount.is_zero() {
        return Ok(());
    }
    validator.rewards.held = rest(validator.rewards.held, amount)?;
    ctx.credit(delegator, Asset::Usd, amount)?;
    ctx.emit(Event::RewardPaid { delegator: *delegator, validator: *validator_id, amount });
    Ok(())
}

/// Shares times the rise of `per_share` since the last payment, rounded down.
pub(super) fn owed(validator: &Validator, delegation: &Delegation) -> Amount {
    let shares = validator.delegated.shares_of(&delegation.part);
    let rise = validator.rewards.per_share.saturating_sub(delegation.paid_per_share);
    Amount::from_nanos(shares).mul_div_floor(rise, SCALE).unwrap_or(Amount::ZERO)
}

/// Keeps the delegators' part of `fees` that the proposer earned, and tells how much that is; the
/// rest is the proposer's.
pub(crate) fn keep(
    ctx: &mut Ctx<'_>,
    proposer: &AccountId,
    fees: Amount,
) -> Result<Amount, Reject> {
    let Some(mut validator) = ctx.find::<Validator>(proposer) else { return Ok(Amount::ZERO) };
    let delegated = validator.delegated.tokens;
    if delegated.is_zero() {
        return Ok(Amount::ZERO);
    }
    let shared = fees.split_floor(validator.commission_bps).rest;
    let kept = share_floor(shared, delegated, validator.stake())?;
    divide(&mut validator, kept)?;
    ctx.store(proposer, &validator);
    Ok(kept)
}

/// Divides `kept`, and what was carried, among the delegated shares; what cannot be divided is
/// carried on.
fn divide(validator: &mut Validator, kept: Amount) -> Result<(), Reject> {
    let shares = validator.delegated.shares;
    let rewards = &mut validator.rewards;
    rewards.held = sum(rewards.held, kept)?;
    let whole = sum(rewards.carried, kept)?;
    let rise = whole.mul_div_floor(SCALE, shares).map_or(0, Amount::nanos);
    match rewards.per_share.checked_add(rise) {
        Some(per_share) => {
            rewards.per_share = per_share;
            rewards.carried = rest(whole, divided_ceil(shares, rise)?)?;
        }
        // Shares too few for so much money: it waits for more of them.
        None => rewards.carried = whole,
    }
    Ok(())
}

/// `ceil(shares x rise / SCALE)`: no less than all the shares will be paid.
fn divided_ceil(shares: u128, rise: u128) -> Result<Amount, Reject> {
    let floor = Amount::from_nanos(shares).mul_div_floor(rise, SCALE).ok_or(Reject::Overflow)?;
    let exact = shares.wrapping_mul(rise) & SCALE.wrapping_sub(1) == 0;
    if exact { Ok(floor) } else { sum(floor, Amount::from_nanos(1)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Params,
        stake::{Part, Pool},
    };

    fn nanos(nanos: u128) -> Amount {
        Amount::from_nanos(nanos)
    }

    #[test]
    fn what_cannot_be_divided_is_carried_and_nothing_is_lost() {
        let shares = (1 << 66) + 3;
        let mut validator = Validator::with_stake(nanos(1), &Params::default());
        validator.delegated = Pool { tokens: nanos(1_000), shares, epoch: 0 };
        let all = Delegation { part: Part { shares, epoch: 0 }, paid_per_share: 0 };
        // (kept, per share after it, held after it, carried after it, owed to all shares)
        let table = [
            (3, 0, 3, 3, 0),
            (2, 1, 5, 0, 4),
            (1, 1, 6, 1, 4),
            (400, 101, 406, 0, 404),
            (0, 101, 406, 0, 404),
        ];
        for (kept, per_share, held, carried, owed) in table {
            divide(&mut validator, nanos(kept)).unwrap();
            let rewards = validator.rewards;
            assert_eq!((rewards.per_share, rewards.held), (per_share, nanos(held)), "{kept}");
            assert_eq!((rewards.carried, validator.owed(&all)), (nanos(carried), nanos(owed)));
        }
    }

    #[test]
    fn money_beyond_what_a_share_can_be_given_waits() {
        let mut validator = Validator::with_stake(nanos(1), &Params::default());
        validator.delegated = Pool { tokens: nanos(1), shares: 1, epoch: 0 };
        divide(&mut validator, nanos(u128::MAX >> 64)).unwrap();
        let per_share = validator.rewards.per_share;
        divide(&mut validator, nanos(9)).unwrap();
        assert_eq!(validator.rewards.per_share, per_share);
        assert_eq!(validator.rewards.carried, nanos(9));
        validator.delegated = Pool { tokens: nanos(1), shares: 1 << 70, epoch: 0 };
        divide(&mut validator, nanos(u128::MAX >> 61)).unwrap();
        assert!(validator.rewards.per_share > per_share);
        assert!(validator.rewards.carried <= nanos(64));
    }
}
