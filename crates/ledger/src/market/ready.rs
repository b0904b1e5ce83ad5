//! `LeaseReady`.

use super::{Lease, LeaseStatus};
use crate::{
    Event, Reject,
    ctx::{By, Ctx},
    escrow::settle,
};
use muster_types::LeaseId;

pub(crate) fn run(ctx: &mut Ctx<'_>, by: &By, id: &LeaseId) -> Result<(), Reject> {
    let mut lease: Lease = ctx.load(id)?;
    if lease.provider() != by.signer {
        return Err(Reject::not_yours("provider"));
    }
    let (provider, of) = (by.signer, lease.parties());
    let event = match lease.status {
        LeaseStatus::Granted => {
            // Not serving yet: the time since the grant is seen, and not covered.
            settle::cover(ctx, &mut lease);
            if lease.job.is_none() {
                lease.rejectable_until = ctx.env.head.steady.after(ctx.env.params.ready_window_ms);
            }
            Event::LeaseStarted { lease: *id, provider, of }
        }
        LeaseStatus::Updating { .. } => Event::LeaseUpdated { lease: *id, provider, of },
        status @ (LeaseStatus::Active
        | LeaseStatus::Stalled { .. }
        | LeaseStatus::Closed { .. }
        | LeaseStatus::Reclaiming { .. }) => {
            return Err(Reject::wrong_state("lease", status.name()));
        }
    };
    lease.status = LeaseStatus::Active;
    ctx.store(id, &lease);
    ctx.emit(event);
    Ok(())
}
