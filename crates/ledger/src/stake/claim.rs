//! `UnstakeClaim`.

use super::{Unbonding, Validator, save};
use crate::{
    Event, Reject,
    ctx::{By, Ctx},
    keys,
};
use muster_types::{Asset, UnbondingId};

pub(crate) fn run(ctx: &mut Ctx<'_>, by: &By, entry: &UnbondingId) -> Result<(), Reject> {
    let Unbonding { owner, validator: validator_id, mut part, until } = ctx.load(entry)?;
    if owner != by.signer {
        return Err(Reject::not_yours("owner"));
    }
    let now = ctx.env.head.steady;
    if now < until {
        return Err(Reject::TooEarly { from: until, now });
    }
    let mut validator: Validator = ctx.load(&validator_id)?;
    let pool = validator.unbonding_mut(owner == validator_id);
    let amount = pool.worth(&part);
    pool.withdraw(&mut part, amount)?;
    save(ctx, &validator_id, &validator)?;
    keys::remove::<Unbonding>(&mut ctx.scratch, entry);
    ctx.credit(&owner, Asset::Mst, amount)?;
    ctx.emit(Event::UnstakeClaimed { entry: *entry, owner, validator: validator_id, amount });
    Ok(())
}
