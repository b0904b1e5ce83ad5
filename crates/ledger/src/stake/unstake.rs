//! `Unstake`.

use super::{Delegation, Part, Unbonding, Validator, reward, save};
use crate::{
    Event, Reject,
    ctx::{By, Ctx, positive},
    keys,
};
use muster_types::{AccountId, Amount, UnbondingId};

pub(crate) fn run(
    ctx: &mut Ctx<'_>,
    by: &By,
    validator_id: &AccountId,
    amount: Amount,
) -> Result<(), Reject> {
    positive(amount)?;
    let mut validator: Validator = ctx.load(validator_id)?;
    let own = *validator_id == by.signer;
    if own {
        let available = validator.own;
        let short = Reject::InsufficientStake { needed: amount, available };
        validator.own = available.checked_sub(amount).ok_or(short)?;
        validator.stand(&ctx.env.params);
    } else {
        undelegate(ctx, &(by.signer, *validator_id), &mut validator, amount)?;
    }
    let mut part = Part::default();
    validator.unbonding_mut(own).deposit(&mut part, amount)?;
    save(ctx, validator_id, &validator)?;

    let entry = UnbondingId::derive(&by.tx);
    let until = ctx.env.head.steady.after(ctx.env.params.stake_unbonding_ms);
    let unbonding = Unbonding { owner: by.signer, validator: *validator_id, part, until };
    ctx.store(&entry, &unbonding);
    let (owner, validator) = (by.signer, *validator_id);
    ctx.emit(Event::Unstaked { entry, owner, validator, amount, until });
    Ok(())
}

/// Takes stake out of a delegation, which ends where nothing is left of it.
fn undelegate(
    ctx: &mut Ctx<'_>,
    key: &(AccountId, AccountId),
    validator: &mut Validator,
    amount: Amount,
) -> Result<(), Reject> {
    let mut delegation: Delegation = ctx.load(key)?;
    reward::pay(ctx, key, validator, &mut delegation)?;
    validator.delegated.withdraw(&mut delegation.part, amount)?;
    if delegation.part.shares == 0 {
        keys::remove::<Delegation>(&mut ctx.scratch, key);
    } else {
        ctx.store(key, &delegation);
    }
    Ok(())
}
