//! `ResultAccept`.

use super::{Lease, LeaseStatus, settled};
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
    if !matches!(lease.status, LeaseStatus::Closed { settled: false, .. }) {
        return Err(Reject::wrong_state("lease", lease.status.name()));
    }
    if lease.disputes > 0 {
        return Err(Reject::wrong_state("lease", "disputed"));
    }
    settled::finish(ctx, id, settled::Pay::Release)
}
