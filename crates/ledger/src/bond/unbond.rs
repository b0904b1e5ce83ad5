//! `BondUnbond`.

use super::{Bond, Unbonding, change};
use crate::{
    Reject,
    ctx::{By, Ctx, positive, rest},
    limits, provider,
};
use muster_types::Amount;

pub(crate) fn run(ctx: &mut Ctx<'_>, by: &By, amount: Amount) -> Result<(), Reject> {
    positive(amount)?;
    let mut bond: Bond = ctx.load(&by.signer)?;
    let needed = provider::bond_needed(ctx, &by.signer);
    let available = bond.free().min(bond.amount.saturating_sub(needed));
    if amount > available {
        return Err(Reject::InsufficientBond { needed: amount, available });
    }
    if bond.unbonding.len() >= limits::UNBONDING {
        return Err(Reject::wrong_state("bond", "unbonding in too many parts"));
    }
    bond.amount = rest(bond.amount, amount)?;
    let until = ctx.env.head.now.after(ctx.env.params.unbonding_ms);
    bond.unbonding.push(Unbonding { amount, until });
    change(ctx, &by.signer, &bond);
    Ok(())
}
