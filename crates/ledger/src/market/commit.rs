//! `ResultCommit`. While the lease is open a later commitment replaces an earlier one; once it is
//! closed the first stands.

use super::{Commitment, Lease};
use crate::{
    Event, Reject,
    ctx::{By, Ctx},
    limits,
};
use muster_types::{Hash, LeaseId};

pub(crate) fn run(
    ctx: &mut Ctx<'_>,
    by: &By,
    id: &LeaseId,
    root: Hash,
    count: u64,
) -> Result<(), Reject> {
    if count > limits::TASKS {
        return Err(Reject::bad_field("count"));
    }
    let mut lease: Lease = ctx.load(id)?;
    if lease.provider() != by.signer {
        return Err(Reject::not_yours("provider"));
    }
    if lease.status.is_settled() {
        return Err(Reject::wrong_state("lease", lease.status.name()));
    }
    if lease.status.is_closed() && lease.commitment.is_some() {
        return Err(Reject::Duplicate);
    }
    lease.commitment = Some(Commitment { root, count, at: ctx.env.head.now });
    ctx.store(id, &lease);
    let (provider, of) = (by.signer, lease.parties());
    ctx.emit(Event::ResultCommitted { lease: *id, provider, of, root, count });
    Ok(())
}
