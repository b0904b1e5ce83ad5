//! The end of a dispute: who claimed otherwise is slashed, and so is a validator that voted for
//! another output than the verdict; everybody else is free of it.

use super::{Dispute, DisputeStatus};
use crate::{
    Event, Reject,
    ctx::{Ctx, down},
    event::Case,
    job::TaskOutput,
    market::{CloseReason, Lease, LeaseStatus, close, settled},
    provider::jail,
    stake,
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
    let DisputeStatus::Judged { output } = status else { return Ok(()) };
    for vote in &dispute.votes {
        if vote.output.is_some_and(|named| named != output) {
            let bps = ctx.env.params.slash_wrong_vote_bps;
            let validator = stake::committee::owner(&ctx.scratch, &vote.validator);
            stake::slash::slash(ctx, &validator, bps, &[])?;
        }
    }
    Ok(())
}

/// Fraud: the lease closes if it is open, costs by the schedule for fraud what is left of its
/// pledge, and forfeits what is withheld. Nothing is left to take from a lease that is settled.
pub(super) fn punish(ctx: &mut Ctx<'_>, id: &LeaseId, reporter: AccountId) -> Result<(), Reject> {
    let mut lease: Lease = ctx.load(id)?;
    let provider_id = lease.provider();
    jail::lost_dispute(ctx, &provider_id)?;
    if let LeaseStatus::Closed { reason, .. } = lease.status
        && !reason.is_provider_fault()
    {
        jail::broke_lease(ctx, &provider_id)?;
    }
    if lease.status.is_open() {
        close::close(ctx, id, CloseReason::ProviderFraud)?;
        lease = ctx.load(id)?;
    }
    if lease.status.is_settled() {
        return Ok(());
    }
    settled::finish(ctx, id, settled::Pay::Fraud { reporter })
}
