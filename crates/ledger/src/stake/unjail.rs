//! `ValidatorUnjail`.

use super::{Validator, ValidatorStatus, save};
use crate::{
    Reject,
    ctx::{By, Ctx},
};

pub(crate) fn run(ctx: &mut Ctx<'_>, by: &By) -> Result<(), Reject> {
    let mut validator: Validator = ctx.load(&by.signer)?;
    let until = match validator.status {
        ValidatorStatus::Jailed { until } => until,
        status @ (ValidatorStatus::Registered | ValidatorStatus::Active) => {
            return Err(Reject::wrong_state("validator", status.name()));
        }
    };
    let now = ctx.env.head.steady;
    if now < until {
        return Err(Reject::TooEarly { from: until, now });
    }
    validator.status = ValidatorStatus::Registered;
    validator.stand(&ctx.env.params);
    save(ctx, &by.signer, &validator)
}
