//! The block's fees.

use crate::{
    Event,
    ctx::{Ctx, rest, sum},
    stake::{committee, reward},
};
use muster_types::Asset;

/// Pays what the block took in fees to its proposer, and keeps the part of those who delegate to
/// it. The sum of all money is bounded, so this cannot fail.
pub(crate) fn run(ctx: &mut Ctx<'_>) {
    let fees = std::mem::take(&mut ctx.fees);
    if fees.is_zero() {
        return;
    }
    let paid = ctx.attempt(|ctx| {
        let proposer = committee::owner(&ctx.scratch, &ctx.env.proposer);
        let kept = reward::keep(ctx, &proposer, fees)?;
        ctx.credit(&proposer, Asset::Usd, rest(fees, kept)?)?;
        ctx.supply(|supply| {
            supply.fees = sum(supply.fees, fees)?;
            Ok(())
        })?;
        ctx.emit(Event::FeesPaid { validator: proposer, amount: fees });
        Ok(())
    });
    debug_assert_eq!(paid, Ok(()), "the block's fees could not be paid out");
}
