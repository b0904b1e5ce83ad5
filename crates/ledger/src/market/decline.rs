//! `LeaseDecline`.

use super::{CloseReason, Lease, LeaseStatus, close};
use crate::{
    Reject,
    ctx::{By, Ctx},
};
use muster_types::LeaseId;

pub(crate) fn run(ctx: &mut Ctx<'_>, by: &By, id: &LeaseId) -> Result<(), Reject> {
    let lease: Lease = ctx.load(id)?;
    if lease.provider() != by.signer {
        return Err(Reject::not_yours("provider"));
    }
    match lease.status {
        LeaseStatus::Granted | LeaseStatus::Updating { .. } => {
            close::close(ctx, id, CloseReason::Undelivered)
        }
        status @ (LeaseStatus::Active
        | LeaseStatus::Stalled { .. }
        | LeaseStatus::Closed { .. }
        | LeaseStatus::Reclaiming { .. }) => Err(Reject::wrong_state("lease", status.name())),
    }
}
