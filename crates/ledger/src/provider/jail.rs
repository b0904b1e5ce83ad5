//! Faults and their count. Who is proven a liar, or breaks `jail_breaks` leases in a row, is jailed
//! for `jail_ms` of block time: it takes no orders, while its open leases go on.
//!
//! A fault puts a registered, active or jailed provider into jail, again from now on. A provider
//! that leaves takes no orders anyhow; its time in jail is remembered and waits for it, should it
//! come back (see [`super`]). A new account begins outside of jail, and with the newcomer's risk
//! premium.

use super::{Conduct, Provider, ProviderStatus, set::changed};
use crate::{Reject, ctx::Ctx};
use muster_types::AccountId;

/// A lease ended by its provider's fault.
pub(crate) fn broke_lease(ctx: &mut Ctx<'_>, id: &AccountId) -> Result<(), Reject> {
    let breaks = ctx.env.params.jail_breaks;
    judge(ctx, id, |conduct| {
        conduct.leases_broken = conduct.leases_broken.saturating_add(1);
        conduct.broken_in_a_row = conduct.broken_in_a_row.saturating_add(1);
        conduct.broken_in_a_row >= breaks
    })
}

/// A claim of the provider was judged wrong.
pub(crate) fn lost_dispute(ctx: &mut Ctx<'_>, id: &AccountId) -> Result<(), Reject> {
    judge(ctx, id, |conduct| {
        conduct.disputes_lost = conduct.disputes_lost.saturating_add(1);
        true
    })
}

/// A lease that earned something was settled without the provider's fault.
pub(crate) fn kept_lease(ctx: &mut Ctx<'_>, id: &AccountId) -> Result<(), Reject> {
    judge(ctx, id, |conduct| {
        conduct.broken_in_a_row = 0;
        false
    })
}

/// Notes conduct, and jails where it says so.
fn judge(
    ctx: &mut Ctx<'_>,
    id: &AccountId,
    note: impl FnOnce(&mut Conduct) -> bool,
) -> Result<(), Reject> {
    let mut provider: Provider = ctx.load(id)?;
    if !note(&mut provider.conduct) {
        ctx.store(id, &provider);
        return Ok(());
    }
    let until = ctx.env.head.now.after(ctx.env.params.jail_ms);
    let conduct = &mut provider.conduct;
    conduct.broken_in_a_row = 0;
    conduct.jailed_until = conduct.jailed_until.max(until);
    let jailed = ProviderStatus::Jailed { until: conduct.jailed_until };
    let status = match provider.status {
        ProviderStatus::Registered | ProviderStatus::Active | ProviderStatus::Jailed { .. } => {
            jailed
        }
        status @ (ProviderStatus::Draining
        | ProviderStatus::Unbonding { .. }
        | ProviderStatus::Gone) => status,
    };
    let has_changed = status != provider.status;
    provider.status = status;
    ctx.store(id, &provider);
    if has_changed {
        changed(ctx, id, &provider);
    }
    Ok(())
}
