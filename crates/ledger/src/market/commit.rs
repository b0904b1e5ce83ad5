//! `ResultCommit`. While the lease is open a later commitment replaces an earlier one, until a draw
//! makes it final where its level has one; once the lease is closed the first stands.

use super::{Commitment, Lease};
use crate::{
    Event, Reject,
    ctx::{By, Ctx},
    job::{Job, Verification, draw},
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
    let mut lease: Lease = ctx.load(id)?;
    let Results { root, count, fuel } = results;
    if !allowed(ctx, &lease)?.contains(&count) {
        return Err(Reject::bad_field("count"));
    }
    if lease.provider() != by.signer {
        return Err(Reject::not_yours("provider"));
    }
    if lease.status.is_settled() {
        return Err(Reject::wrong_state("lease", lease.status.name()));
    }
    let (height, round) = (ctx.env.head.height, ctx.env.head.beacon_round);
    // Once the round before the draw's is in a final block, the draw's may be known.
    let previous = ctx.env.previous.beacon_round;
    let is_final = |made: Commitment| {
        lease.status.is_closed()
            || lease.verification.is_committed()
                && previous.saturating_add(1) >= made.round.saturating_add(draw::DELAY_ROUNDS)
    };
    if lease.commitment.is_some_and(is_final) {
        return Err(Reject::Duplicate);
    }
    if let Some(job) = &lease.job {
        let job: Job = ctx.load(job)?;
        let most = u128::from(count).saturating_mul(u128::from(job.spec.fuel_max));
        if u128::from(fuel) > most {
            return Err(Reject::bad_field("fuel"));
        }
    }
    let at = ctx.env.head.now;
    let (draw, last) = (None, None);
    lease.commitment = Some(Commitment { root, count, at, fuel, height, round, draw, last });
    ctx.store(id, &lease);
    let (provider, of) = (by.signer, lease.parties());
    ctx.emit(Event::ResultCommitted { lease: *id, provider, of, root, count, fuel });
    Ok(())
}

/// How many leaves there may be.
fn allowed(ctx: &Ctx<'_>, lease: &Lease) -> Result<std::ops::RangeInclusive<u64>, Reject> {
    let tasks = match lease.job {
        Some(job) => ctx.load::<Job>(&job)?.spec.tasks,
        None => limits::TASKS,
    };
    Ok(match lease.verification {
        Verification::None | Verification::Replicate { .. } => 0..=limits::TASKS,
        Verification::Audit { .. } => 0..=tasks,
        // State 0 has a leaf too.
        Verification::Dispute => 1..=tasks.saturating_add(1),
    })
}
