//! `ResultCommit`. While the lease is open a later commitment replaces an earlier one; once it is
//! closed the first stands.

use super::{Commitment, Lease};
use crate::{
    Event, Reject,
    ctx::{By, Ctx},
    job::Job,
    limits,
};
use muster_types::{Hash, LeaseId};

/// What is committed to.
#[derive(Clone, Copy)]
pub(crate) struct Results {
    pub(crate) root: Hash,
    pub(crate) count: u64,
    pub(crate) fuel: u64,
}

pub(crate) fn run(
    ctx: &mut Ctx<'_>,
    by: &By,
    id: &LeaseId,
    results: Results,
) -> Result<(), Reject> {
    let Results { root, count, fuel } = results;
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
    if let Some(job) = &lease.job {
        let job: Job = ctx.load(job)?;
        let most = u128::from(count).saturating_mul(u128::from(job.spec.fuel_max));
        if u128::from(fuel) > most {
            return Err(Reject::bad_field("fuel"));
        }
    }
    lease.commitment = Some(Commitment { root, count, at: ctx.env.head.now, fuel });
    ctx.store(id, &lease);
    ctx.emit(Event::ResultCommitted { lease: *id, root, count, fuel });
    Ok(())
}
