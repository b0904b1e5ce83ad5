//! Slashing a validator, and everybody who stakes with it.

use super::{Rewards, Validator, ValidatorStatus, save};
use crate::{
    Event, Reject,
    ctx::{Ctx, part_ceil, rest, share_floor, sum},
};
use muster_types::{AccountId, Amount, Asset};

/// Takes `bps` of all stake with a validator, unbonding or not, and jails it. `harmed` are
/// compensated out of its own stake, up to their loss in `mst`. Nothing happens to an account that
/// is no validator, or where `bps` is zero.
pub(crate) fn slash(
    ctx: &mut Ctx<'_>,
    id: &AccountId,
    bps: u32,
    harmed: &[(AccountId, Amount)],
) -> Result<(), Reject> {
    let Some(mut validator) = ctx.find::<Validator>(id).filter(|_| bps > 0) else {
        return Ok(());
    };
    let own = part_ceil(validator.own, bps)?;
    validator.own = rest(validator.own, own)?;
    let own = sum(own, validator.own_unbonding.slash(bps)?)?;
    let delegated =
        sum(validator.delegated.slash(bps)?, validator.delegated_unbonding.slash(bps)?)?;
    let amount = sum(own, delegated)?;
    validator.slashed = sum(validator.slashed, amount)?;
    let jailed_until = ctx.env.head.steady.after(ctx.env.params.validator_jail_ms);
    let jailed_until = match validator.status {
        ValidatorStatus::Jailed { until } => until.max(jailed_until),
        ValidatorStatus::Registered | ValidatorStatus::Active => jailed_until,
    };
    validator.status = ValidatorStatus::Jailed { until: jailed_until };
    let forfeited = forfeit(&mut validator);
    save(ctx, id, &validator)?;

    let compensated = compensate(ctx, own, harmed)?;
    let burned = rest(amount, compensated)?;
    ctx.supply(|supply| {
        supply.mst.burned = sum(supply.mst.burned, burned)?;
        supply.usd.burned = sum(supply.usd.burned, forfeited)?;
        Ok(())
    })?;
    let validator = *id;
    ctx.emit(Event::ValidatorSlashed { validator, amount, compensated, burned, jailed_until });
    Ok(())
}

/// What is held for the delegators of a pool that has come to nothing goes with it.
fn forfeit(validator: &mut Validator) -> Amount {
    let Rewards { per_share, held, .. } = validator.rewards;
    if validator.delegated.shares != 0 {
        return Amount::ZERO;
    }
    validator.rewards = Rewards { per_share, ..Rewards::default() };
    held
}

/// Pays the harmed out of slashed own stake, less what is burned of it at least; in proportion to
/// their losses where it is not enough. Tells how much it paid.
fn compensate(
    ctx: &mut Ctx<'_>,
    own: Amount,
    harmed: &[(AccountId, Amount)],
) -> Result<Amount, Reject> {
    let available = rest(own, part_ceil(own, ctx.env.params.burn_min_bps)?)?;
    let mut losses = Amount::ZERO;
    for (_, loss) in harmed {
        losses = sum(losses, *loss)?;
    }
    let mut paid = Amount::ZERO;
    if losses.is_zero() {
        return Ok(paid);
    }
    for (account, loss) in harmed {
        let part = share_floor(available.min(losses), *loss, losses)?;
        ctx.credit(account, Asset::Mst, part)?;
        paid = sum(paid, part)?;
    }
    Ok(paid)
}
