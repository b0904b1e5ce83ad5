//! `JobOpen`.

use super::{ChainStart, Job, JobKind, JobSpec, Verification};
use crate::{
    Event, Reject,
    ctx::{By, Ctx},
    escrow::{Escrow, EscrowStatus},
    limits,
};
use muster_types::JobId;

pub(crate) fn run(ctx: &mut Ctx<'_>, by: &By, spec: &JobSpec) -> Result<(), Reject> {
    if spec.tasks == 0 || spec.tasks > limits::TASKS {
        return Err(Reject::bad_field("spec.tasks"));
    }
    if spec.fuel_max == 0 {
        return Err(Reject::bad_field("spec.fuel_max"));
    }
    check_level(spec)?;
    if spec.metered && spec.verification == Verification::None {
        return Err(Reject::bad_field("spec.metered"));
    }
    let escrow: Escrow = ctx.load(&spec.escrow)?;
    if escrow.owner != by.signer {
        return Err(Reject::not_yours("owner"));
    }
    if escrow.status == EscrowStatus::Closed {
        return Err(Reject::wrong_state("escrow", escrow.status.name()));
    }
    let id = JobId::derive(&by.tx);
    let job = Job {
        tenant: by.signer,
        spec: spec.clone(),
        closed: false,
        open_orders: 0,
        open_leases: 0,
        final_at: None,
    };
    ctx.store(&id, &job);
    ctx.emit(Event::JobOpened { job: id, tenant: by.signer, escrow: spec.escrow });
    Ok(())
}

/// Each level has what it needs, and nothing that another one needs.
fn check_level(spec: &JobSpec) -> Result<(), Reject> {
    let is_part = |bps| (1..=10_000).contains(&bps);
    match spec.verification {
        Verification::Replicate { sample_bps } if !is_part(sample_bps) => {
            return Err(Reject::bad_field("spec.verification.sample_bps"));
        }
        Verification::Audit { rate_bps } if !is_part(rate_bps) => {
            return Err(Reject::bad_field("spec.verification.rate_bps"));
        }
        Verification::Dispute if spec.kind != JobKind::Chain => {
            return Err(Reject::bad_field("spec.kind"));
        }
        Verification::Dispute
        | Verification::None
        | Verification::Replicate { .. }
        | Verification::Audit { .. } => {}
    }
    let is_whole = match (spec.verification, &spec.chain) {
        (Verification::Dispute, Some(ChainStart { memory_max_bytes, .. })) => {
            (1..=limits::TASK_MEMORY_BYTES).contains(memory_max_bytes)
        }
        (Verification::Dispute, None) => false,
        (_, chain) => chain.is_none(),
    };
    if is_whole { Ok(()) } else { Err(Reject::bad_field("spec.chain")) }
}
