//! The beginning of a lease's update.

use super::{Lease, LeaseStatus};
use crate::{Reject, ctx::Ctx, escrow::settle};
use muster_types::LeaseId;

/// An open lease's manifest changed: an active one is paid up to now, and again from the next
/// `LeaseReady` on. One that is not ready yet, or stalled, stays so.
pub(crate) fn begin_update(ctx: &mut Ctx<'_>, id: &LeaseId) -> Result<(), Reject> {
    let mut lease: Lease = ctx.load(id)?;
    if lease.status != LeaseStatus::Active {
        return Ok(());
    }
    if let Some(gap) = settle::cover(ctx, &mut lease) {
        ctx.store(id, &lease);
        settle::settle(ctx, &lease.escrow, &[(*id, gap)])?;
        lease = ctx.load(id)?;
    }
    lease.status = LeaseStatus::Granted;
    ctx.store(id, &lease);
    Ok(())
}
