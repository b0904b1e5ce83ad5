//! What a lease's end means to others than the lease.

use super::{CloseReason, Lease, TenantConduct};
use crate::{
    Reject,
    ctx::Ctx,
    provider::{Provider, jail},
};

/// Called once for every lease that ends, after it was stored as closed and its capacity came
/// back, before anything is slashed or settled. Changes nothing of the lease itself.
pub(crate) fn lease_ended(
    ctx: &mut Ctx<'_>,
    lease: &Lease,
    reason: CloseReason,
) -> Result<(), Reject> {
    count(ctx, lease, reason)?;
    if reason.is_provider_fault() { jail::broke_lease(ctx, &lease.provider()) } else { Ok(()) }
}

/// Counts the end in the conduct of both sides.
fn count(ctx: &mut Ctx<'_>, lease: &Lease, reason: CloseReason) -> Result<(), Reject> {
    let mut tenant: TenantConduct = ctx.find(&lease.tenant).unwrap_or_default();
    let provider_id = lease.provider();
    let mut provider: Provider = ctx.load(&provider_id)?;
    let conduct = &mut provider.conduct;
    let one = |count: &mut u64| *count = count.saturating_add(1);
    one(&mut tenant.leases);
    match reason {
        CloseReason::ReadyRejected => {
            one(&mut tenant.rejected);
            one(&mut conduct.leases_rejected);
        }
        CloseReason::Undelivered => {
            one(&mut tenant.undelivered);
            one(&mut conduct.leases_undelivered);
        }
        CloseReason::OutOfFunds => one(&mut tenant.out_of_funds),
        _ => {}
    }
    ctx.store(&lease.tenant, &tenant);
    ctx.store(&provider_id, &provider);
    Ok(())
}
