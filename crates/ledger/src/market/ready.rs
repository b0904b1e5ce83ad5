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
    if lease.status != LeaseStatus::Granted {
        return Err(Reject::wrong_state("lease", lease.status.name()));
    }
    // Not active yet: the time since the grant is seen, and not covered.
    settle::cover(ctx, &mut lease);
    lease.status = LeaseStatus::Active;
    ctx.store(id, &lease);
    let of = lease.parties();
    ctx.emit(Event::LeaseStarted { lease: *id, provider: by.signer, of });
    Ok(())
}
