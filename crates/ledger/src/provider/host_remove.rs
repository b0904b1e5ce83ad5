//! `HostRemove`: withdraws a host that nothing uses, and whose offer is not bound any more.

use super::Host;
use crate::{
    Event, Reject,
    ctx::{By, Ctx},
    keys,
};
use muster_types::{HostId, Resources};

pub(crate) fn run(ctx: &mut Ctx<'_>, by: &By, index: u32) -> Result<(), Reject> {
    let id = HostId { provider: by.signer, index };
    let host: Host = ctx.load(&id)?;
    if host.used != Resources::default() {
        return Err(Reject::wrong_state("host", "leased"));
    }
    let (from, now) = (host.bound_until, ctx.env.head.now);
    if now < from {
        return Err(Reject::TooEarly { from, now });
    }
    keys::remove::<Host>(&mut ctx.scratch, &id);
    ctx.emit(Event::HostRemoved { host: id });
    Ok(())
}
