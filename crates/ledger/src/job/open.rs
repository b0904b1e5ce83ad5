//! `JobOpen`.

use super::{Job, JobSpec, Verification};
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
    if let Verification::Replicate { sample_bps } = spec.verification
        && !(1..=10_000).contains(&sample_bps)
    {
        return Err(Reject::bad_field("spec.verification.sample_bps"));
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
