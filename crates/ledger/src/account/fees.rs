//! The block's fees.

use crate::ctx::{Ctx, sum};
use muster_types::Asset;

/// Pays what the block took in fees to its proposer. The sum of all money is bounded, so this
/// cannot fail.
pub(crate) fn run(ctx: &mut Ctx<'_>) {
    let fees = std::mem::take(&mut ctx.fees);
    if fees.is_zero() {
        return;
    }
    let paid = ctx.attempt(|ctx| {
        let proposer = ctx.env.proposer;
        ctx.credit(&proposer, Asset::Usd, fees)?;
        ctx.supply(|supply| {
            supply.fees = sum(supply.fees, fees)?;
            Ok(())
        })
    });
    debug_assert_eq!(paid, Ok(()), "the block's fees could not be paid out");
}
