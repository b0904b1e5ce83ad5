//! `ProviderDrain`, the last lease of a draining provider, and its departure.

use super::{Provider, ProviderStatus, set::changed};
use crate::{
    Reject, bond,
    ctx::{By, Ctx},
};
use muster_types::AccountId;

pub(crate) fn run(ctx: &mut Ctx<'_>, by: &By) -> Result<(), Reject> {
    let mut provider: Provider = ctx.load(&by.signer)?;
    match provider.status {
        ProviderStatus::Registered | ProviderStatus::Active | ProviderStatus::Jailed { .. } => {}
        status @ (ProviderStatus::Draining
        | ProviderStatus::Unbonding { .. }
        | ProviderStatus::Gone) => return Err(Reject::wrong_state("provider", status.name())),
    }
    provider.status = ProviderStatus::Draining;
    ctx.store(&by.signer, &provider);
    changed(ctx, &by.signer, &provider);
    unbond_if_idle(ctx, &by.signer)
}

/// A draining provider without unsettled leases begins to unbond, and with it all of its bond that
/// no other duty has pledged.
pub(crate) fn unbond_if_idle(ctx: &mut Ctx<'_>, id: &AccountId) -> Result<(), Reject> {
    let mut provider: Provider = ctx.load(id)?;
    if provider.status == ProviderStatus::Draining && provider.open_leases == 0 {
        let until = ctx.env.head.now.after(ctx.env.params.unbonding_ms);
        provider.status = ProviderStatus::Unbonding { until };
        ctx.store(id, &provider);
        changed(ctx, id, &provider);
        bond::unbond_free(ctx, id, until)?;
    }
    Ok(())
}

/// The unbonding time of a provider is over.
pub(crate) fn leave(ctx: &mut Ctx<'_>, id: &AccountId) -> Result<(), Reject> {
    let mut provider: Provider = ctx.load(id)?;
    provider.status = ProviderStatus::Gone;
    ctx.store(id, &provider);
    changed(ctx, id, &provider);
    Ok(())
}
