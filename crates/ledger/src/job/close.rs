//! `JobClose`.

use super::Job;
use crate::{
    Event, Reject,
    ctx::{By, Ctx},
};
use muster_types::JobId;

pub(crate) fn run(ctx: &mut Ctx<'_>, by: &By, id: &JobId) -> Result<(), Reject> {
    let mut job: Job = ctx.load(id)?;
    if job.tenant != by.signer {
        return Err(Reject::not_yours("tenant"));
    }
    if job.closed {
        return Err(Reject::wrong_state("job", "closed"));
    }
    if job.open_orders > 0 {
        return Err(Reject::wrong_state("job", "waiting for open orders"));
    }
    job.closed = true;
    ctx.store(id, &job);
    ctx.emit(Event::JobClosed { job: *id, tenant: job.tenant, escrow: job.spec.escrow });
    Ok(())
}
