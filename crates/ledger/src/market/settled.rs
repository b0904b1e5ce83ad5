//! The settlement of closed leases: withheld pay is released or forfeited, the pledge is free.

use super::{Lease, LeaseStatus, Order};
use crate::{
    Event, Reject,
    ctx::{Ctx, down, rest},
    escrow::{Escrow, settle},
    job::Job,
    provider::{Provider, drain},
};
use muster_types::{Amount, LeaseId};

/// Settles a closed lease from which nothing is withheld and that no dispute names.
pub(crate) fn settle_if_clear(ctx: &mut Ctx<'_>, id: &LeaseId) -> Result<(), Reject> {
    let lease: Lease = ctx.load(id)?;
    let closed = matches!(lease.status, LeaseStatus::Closed { settled: false, .. });
    if closed && lease.disputes == 0 && lease.withheld().is_zero() {
        finish(ctx, id, false)?;
    }
    Ok(())
}

/// A closed lease's challenge window has ended without an open dispute.
pub(crate) fn unchallenged(ctx: &mut Ctx<'_>, id: &LeaseId) -> Result<(), Reject> {
    finish(ctx, id, false)
}

/// Settles a closed lease, for good. With `forfeit` its withheld pay goes back to the escrow.
pub(crate) fn finish(ctx: &mut Ctx<'_>, id: &LeaseId, forfeit: bool) -> Result<(), Reject> {
    let mut lease: Lease = ctx.load(id)?;
    let LeaseStatus::Closed { reason, at, settled: false } = lease.status else {
        return Err(Reject::wrong_state("lease", lease.status.name()));
    };
    let forfeited = if forfeit {
        settle::forfeit(ctx, &lease)?
    } else {
        settle::release(ctx, &mut lease)?;
        Amount::ZERO
    };
    let pledge = std::mem::take(&mut lease.pledge);
    lease.status = LeaseStatus::Closed { reason, at, settled: true };
    ctx.store(id, &lease);

    let provider_id = lease.provider();
    let mut provider: Provider = ctx.load(&provider_id)?;
    provider.pledged = rest(provider.pledged, pledge)?;
    provider.open_leases = down(provider.open_leases)?;
    ctx.store(&provider_id, &provider);
    let mut escrow: Escrow = ctx.load(&lease.escrow)?;
    escrow.open_leases = down(escrow.open_leases)?;
    ctx.store(&lease.escrow, &escrow);
    let mut order: Order = ctx.load(&lease.order)?;
    order.open_leases = down(order.open_leases)?;
    ctx.store(&lease.order, &order);
    if let Some(job_id) = lease.job {
        let mut job: Job = ctx.load(&job_id)?;
        job.open_leases = down(job.open_leases)?;
        ctx.store(&job_id, &job);
    }
    ctx.emit(Event::LeaseSettled {
        lease: *id,
        provider: provider_id,
        of: lease.parties(),
        paid: lease.paid,
        forfeited,
    });
    if !forfeited.is_zero() {
        settle::pay_shortfalls(ctx, &lease.escrow)?;
    }
    drain::unbond_if_idle(ctx, &provider_id)
}
