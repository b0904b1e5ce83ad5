//! `StakeAdd`.

use super::{Validator, save};
use crate::{
    Reject,
    ctx::{By, Ctx, positive, sum},
};
use muster_types::{Amount, Asset};

pub(crate) fn run(ctx: &mut Ctx<'_>, by: &By, amount: Amount) -> Result<(), Reject> {
    positive(amount)?;
    let mut validator: Validator = ctx.load(&by.signer)?;
    if !validator.is_sound() {
        return Err(Reject::wrong_state("validator", "slashed to next to nothing"));
    }
    ctx.debit(&by.signer, Asset::Mst, amount)?;
    validator.own = sum(validator.own, amount)?;
    validator.stand(&ctx.env.params);
    save(ctx, &by.signer, &validator)
}
