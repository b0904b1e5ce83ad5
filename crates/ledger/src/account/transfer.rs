//! `Transfer`.

use crate::{
    Event, Reject,
    ctx::{By, Ctx, positive},
};
use muster_types::{AccountId, Amount, Asset};

pub(crate) fn run(
    ctx: &mut Ctx<'_>,
    by: &By,
    to: &AccountId,
    asset: Asset,
    amount: Amount,
) -> Result<(), Reject> {
    positive(amount)?;
    ctx.debit(&by.signer, asset, amount)?;
    ctx.credit(to, asset, amount)?;
    ctx.emit(Event::Transferred { from: by.signer, to: *to, asset, amount });
    Ok(())
}
