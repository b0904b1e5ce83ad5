//! `ProviderUnjail`.

use super::{Provider, ProviderStatus, set::changed};
use crate::{
    Reject,
    bond::Bond,
    ctx::{By, Ctx},
};

pub(crate) fn run(ctx: &mut Ctx<'_>, by: &By) -> Result<(), Reject> {
    let mut provider: Provider = ctx.load(&by.signer)?;
    let until = match provider.status {
        ProviderStatus::Jailed { until } => until,
        status @ (ProviderStatus::Registered
        | ProviderStatus::Active
        | ProviderStatus::Draining
        | ProviderStatus::Unbonding { .. }
        | ProviderStatus::Gone) => return Err(Reject::wrong_state("provider", status.name())),
    };
    let now = ctx.env.head.now;
    if now < until {
        return Err(Reject::TooEarly { from: until, now });
    }
    let available = ctx.find::<Bond>(&by.signer).unwrap_or_default().amount;
    let needed = ctx.env.params.provider_bond_min;
    if available < needed {
        return Err(Reject::InsufficientBond { needed, available });
    }
    provider.status = ProviderStatus::Active;
    ctx.store(&by.signer, &provider);
    changed(ctx, &by.signer, &provider);
    Ok(())
}
