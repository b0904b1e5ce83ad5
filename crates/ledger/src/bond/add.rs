//! `BondAdd`.

use super::{Bond, change};
use crate::{
    Reject,
    ctx::{By, Ctx, positive, sum},
};
use muster_types::{Amount, Asset};

pub(crate) fn run(ctx: &mut Ctx<'_>, by: &By, amount: Amount) -> Result<(), Reject> {
    positive(amount)?;
    ctx.debit(&by.signer, Asset::Usd, amount)?;
    let mut bond: Bond = ctx.find(&by.signer).unwrap_or_default();
    bond.amount = sum(bond.amount, amount)?;
    change(ctx, &by.signer, &bond);
    Ok(())
}
