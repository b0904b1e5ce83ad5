//! The end of a dispute: who claimed otherwise is slashed, everybody else is free of it.

use super::{Dispute, DisputeStatus};
use crate::{
    Event, Reject,
    ctx::{Ctx, down},
    event::Case,
    job::TaskOutput,
    market::{CloseReason, Lease, LeaseStatus, close, settled},
    provider::{Provider, slash},
};
use muster_types::{AccountId, DisputeId, LeaseId};

/// The validators agree on what the task gives.
pub(crate) fn judge(ctx: &mut Ctx<'_>, id: &DisputeId, output: TaskOutput) -> Result<(), Reject> {
    let dispute: Dispute = ctx.load(id)?;
    let wrong = dispute.claims.iter().filter(|claim| claim.result != output);
    let losers: Vec<LeaseId> = wrong.map(|claim| claim.lease).collect();
    end(ctx, id, dispute, DisputeStatus::Judged { output }, losers)
}

/// No verdict: no fault.
pub(crate) fn void(ctx: &mut Ctx<'_>, id: &DisputeId) -> Result<(), Reject> {
    let dispute: Dispute = ctx.load(id)?;
    end(ctx, id, dispute, DisputeStatus::Void, Vec::new())
}

fn end(
    ctx: &mut Ctx<'_>,
    id: &DisputeId,
    mut dispute: Dispute,
    status: DisputeStatus,
    losers: Vec<LeaseId>,
) -> Result<(), Reject> {
    dispute.status = status;
    ctx.store(id, &dispute);
    let of = Case::of(ctx, &dispute)?;
    ctx.emit(Event::DisputeClosed { dispute: *id, of, status, losers: losers.clone() });
    for claim in &dispute.claims {
        let mut lease: Lease = ctx.load(&claim.lease)?;
        lease.disputes = down(lease.disputes)?;
        ctx.store(&claim.lease, &lease);
    }
    for loser in &losers {
        punish(ctx, loser, dispute.opener)?;
    }
    for claim in &dispute.claims {
        settled::settle_if_clear(ctx, &claim.lease)?;
    }
    Ok(())
}

/// Fraud: the lease closes if it is open, costs by the schedule for fraud what is left of its
/// pledge, and forfeits what is withheld. Nothing is left to take from a lease that is settled.
fn punish(ctx: &mut Ctx<'_>, id: &LeaseId, reporter: AccountId) -> Result<(), Reject> {
    let mut lease: Lease = ctx.load(id)?;
    let provider_id = lease.provider();
    let mut provider: Provider = ctx.load(&provider_id)?;
    let conduct = &mut provider.conduct;
    conduct.disputes_lost = conduct.disputes_lost.saturating_add(1);
    if let LeaseStatus::Closed { reason, .. } = lease.status
        && !reason.is_provider_fault()
    {
        conduct.leases_broken = conduct.leases_broken.saturating_add(1);
    }
    ctx.store(&provider_id, &provider);
    if lease.status.is_open() {
        close::close(ctx, id, CloseReason::ProviderFraud)?;
        lease = ctx.load(id)?;
    }
    if lease.status.is_settled() {
        return Ok(());
    }
    slash::slash(ctx, id, &mut lease, CloseReason::ProviderFraud, Some(reporter))?;
    settled::finish(ctx, id, true)
}
