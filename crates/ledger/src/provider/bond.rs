//! `BondAdd` and `BondWithdraw`.

use super::{Provider, ProviderStatus, set::changed};
use crate::{
    Reject,
    ctx::{By, Ctx, positive, sum},
};
use muster_types::{Amount, Asset};

pub(crate) fn add(ctx: &mut Ctx<'_>, by: &By, amount: Amount) -> Result<(), Reject> {
    positive(amount)?;
    let mut provider: Provider = ctx.load(&by.signer)?;
    match provider.status {
        ProviderStatus::Registered | ProviderStatus::Active => {}
        status @ (ProviderStatus::Draining
        | ProviderStatus::Unbonding { .. }
        | ProviderStatus::Gone) => return Err(Reject::wrong_state("provider", status.name())),
    }
    ctx.debit(&by.signer, Asset::Usd, amount)?;
    provider.bond = sum(provider.bond, amount)?;
    if provider.bond >= ctx.env.params.provider_bond_min {
        provider.status = ProviderStatus::Active;
    }
    ctx.store(&by.signer, &provider);
    changed(ctx, &by.signer, &provider);
    Ok(())
}

pub(crate) fn withdraw(ctx: &mut Ctx<'_>, by: &By) -> Result<(), Reject> {
    let mut provider: Provider = ctx.load(&by.signer)?;
    let until = match provider.status {
        ProviderStatus::Unbonding { until } => until,
        status @ (ProviderStatus::Registered
        | ProviderStatus::Active
        | ProviderStatus::Draining
        | ProviderStatus::Gone) => return Err(Reject::wrong_state("provider", status.name())),
    };
    let now = ctx.env.head.now;
    if now < until {
        return Err(Reject::TooEarly { from: until, now });
    }
    let bond = provider.bond;
    provider.bond = Amount::ZERO;
    provider.status = ProviderStatus::Gone;
    ctx.store(&by.signer, &provider);
    ctx.credit(&by.signer, Asset::Usd, bond)?;
    changed(ctx, &by.signer, &provider);
    Ok(())
}
