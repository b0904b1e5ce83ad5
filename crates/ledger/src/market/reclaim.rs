//! `LeaseReclaim`.

use super::{Lease, LeaseStatus};
use crate::{
    Event, Reject,
    ctx::{By, Ctx},
};
use muster_types::LeaseId;

pub(crate) fn run(ctx: &mut Ctx<'_>, by: &By, id: &LeaseId) -> Result<(), Reject> {
    let mut lease: Lease = ctx.load(id)?;
    if lease.provider() != by.signer {
        return Err(Reject::not_yours("provider"));
    }
    let Some(notice) = lease.reclaim_notice else {
        return Err(Reject::wrong_state("lease", "firm"));
    };
    match lease.status {
        LeaseStatus::Active | LeaseStatus::Updating { .. } => {}
        status @ (LeaseStatus::Granted
        | LeaseStatus::Stalled { .. }
        | LeaseStatus::Closed { .. }
        | LeaseStatus::Reclaiming { .. }) => {
            return Err(Reject::wrong_state("lease", status.name()));
        }
    }
    let until = ctx.env.head.steady.after(notice);
    lease.status = LeaseStatus::Reclaiming { until };
    ctx.store(id, &lease);
    let (provider, of) = (by.signer, lease.parties());
    ctx.emit(Event::LeaseReclaiming { lease: *id, provider, of, until });
    Ok(())
}
