//! `ReadyReject`.

use super::{CloseReason, Lease, LeaseStatus, close};
use crate::{
    Reject,
    ctx::{By, Ctx},
};
use muster_types::LeaseId;

pub(crate) fn run(ctx: &mut Ctx<'_>, by: &By, id: &LeaseId) -> Result<(), Reject> {
    let lease: Lease = ctx.load(id)?;
    if lease.tenant != by.signer {
        return Err(Reject::not_yours("tenant"));
    }
    match lease.status {
        LeaseStatus::Active
        | LeaseStatus::Updating { .. }
        | LeaseStatus::Reclaiming { .. }
        | LeaseStatus::Stalled { .. } => {}
        status @ (LeaseStatus::Granted | LeaseStatus::Closed { .. }) => {
            return Err(Reject::wrong_state("lease", status.name()));
        }
    }
    if lease.job.is_some() {
        return Err(Reject::wrong_state("lease", "checked as its job says"));
    }
    if ctx.env.head.steady >= lease.rejectable_until {
        return Err(Reject::wrong_state("lease", "accepted by silence"));
    }
    close::close(ctx, id, CloseReason::ReadyRejected)
}
