//! `ValidatorSet`.

use super::{Validator, save};
use crate::{
    Reject,
    ctx::{By, Ctx},
    keys,
};
use muster_types::Amount;

pub(crate) fn run(ctx: &mut Ctx<'_>, by: &By, commission_bps: u32) -> Result<(), Reject> {
    if commission_bps > 10_000 {
        return Err(Reject::bad_field("commission_bps"));
    }
    let params = &ctx.env.params;
    let steady = ctx.env.head.steady;
    if keys::SEAT_KEYS.contains(&ctx.scratch, &by.signer) {
        // It votes for another already.
        return Err(Reject::Duplicate);
    }
    let known: Option<Validator> = ctx.find(&by.signer);
    if known.as_ref().is_some_and(|known| known.commission_bps == commission_bps) {
        return Err(Reject::Duplicate);
    }
    let mut validator = known.unwrap_or_else(|| Validator::with_stake(Amount::ZERO, params));
    let rise = commission_bps.saturating_sub(validator.commission_bps);
    if rise > 0 && validator.delegated.shares != 0 {
        if rise > params.commission_step_bps {
            return Err(Reject::bad_field("commission_bps"));
        }
        let from = validator.commission_since.after(params.commission_interval_ms);
        if steady < from {
            return Err(Reject::TooEarly { from, now: steady });
        }
    }
    validator.commission_bps = commission_bps;
    validator.commission_since = steady;
    save(ctx, &by.signer, &validator)
}
