//! `DisputeOpen`.

use super::{Claim, Dispute, DisputeStatus};
use crate::{
    Event, Reject,
    ctx::{By, Ctx, up},
    event::Case,
    job::{Job, Verification},
    limits,
    market::{Lease, LeaseStatus},
};
use muster_types::{DisputeId, JobId};

pub(crate) fn run(
    ctx: &mut Ctx<'_>,
    by: &By,
    job_id: &JobId,
    claims: &[Claim; 2],
    evidence: &str,
) -> Result<(), Reject> {
    if evidence.len() > limits::EVIDENCE_BYTES {
        return Err(Reject::bad_field("evidence"));
    }
    let job: Job = ctx.load(job_id)?;
    if job.tenant != by.signer {
        return Err(Reject::not_yours("tenant"));
    }
    let [first, second] = claims;
    if first.task != second.task || first.result == second.result || first.lease == second.lease {
        return Err(Reject::NoContradiction);
    }
    let task = &first.task;
    let bounded = task.job == *job_id
        && task.index < job.spec.tasks
        && task.fuel_limit <= job.spec.fuel_max
        && task.memory_limit_bytes <= limits::TASK_MEMORY_BYTES;
    if !bounded {
        return Err(Reject::bad_field("claims.task"));
    }
    let mut challengeable = false;
    for claim in claims {
        let mut lease: Lease = ctx.load(&claim.lease)?;
        if lease.job != Some(*job_id) {
            return Err(Reject::bad_field("claims.lease"));
        }
        if lease.verification == Verification::Dispute {
            return Err(Reject::wrong_state("lease", "checked by challenges"));
        }
        if !claim.is_signed_by(&ctx.env.head.chain, &lease.provider()) {
            return Err(Reject::BadSignature);
        }
        challengeable |= can_be_challenged(ctx, &lease);
        lease.disputes = up(lease.disputes)?;
        if lease.disputes > limits::LEASE_DISPUTES {
            return Err(Reject::wrong_state("lease", "named in too many disputes"));
        }
        ctx.store(&claim.lease, &lease);
    }
    if !challengeable {
        return Err(Reject::wrong_state("lease", "past its challenge window"));
    }
    let id = DisputeId::derive(&by.tx);
    let dispute = Dispute {
        job: *job_id,
        opener: by.signer,
        claims: *claims,
        evidence: evidence.to_owned(),
        status: DisputeStatus::Open,
        votes: Vec::new(),
        deadline: ctx.env.head.steady.after(ctx.env.params.dispute_timeout_ms),
        final_at: None,
    };
    ctx.store(&id, &dispute);
    let of = Case::of(ctx, &dispute)?;
    ctx.emit(Event::DisputeOpened { dispute: id, of });
    Ok(())
}

/// While a lease is open, or unsettled and closed for less than the window. So disputes that come
/// to nothing cannot hold a settlement for longer than the window and one verdict.
pub(super) fn can_be_challenged(ctx: &Ctx<'_>, lease: &Lease) -> bool {
    let steady = ctx.env.head.steady;
    match lease.status {
        LeaseStatus::Granted | LeaseStatus::Active | LeaseStatus::Stalled { .. } => true,
        LeaseStatus::Updating { .. } | LeaseStatus::Reclaiming { .. } => true,
        LeaseStatus::Closed { settled: false, .. } => lease
            .window_from()
            .is_none_or(|from| steady.since(from) < ctx.env.params.challenge_window_ms),
        LeaseStatus::Closed { settled: true, .. } => false,
    }
}
