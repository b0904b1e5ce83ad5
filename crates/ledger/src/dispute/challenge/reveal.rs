//! `BisectReveal`.

use super::{Challenge, ChallengeStatus, Side, begin_turn, end, refused};
use crate::{
    Event, Reject,
    ctx::{By, Ctx, sum},
    event::Contest,
    job::Job,
    market::Lease,
};
use muster_types::DisputeId;
use muster_verify::Opening;

pub(crate) fn run(
    ctx: &mut Ctx<'_>,
    by: &By,
    id: &DisputeId,
    openings: &[Opening],
) -> Result<(), Reject> {
    let mut challenge: Challenge = ctx.load(id)?;
    let mut lease: Lease = ctx.load(&challenge.lease)?;
    if lease.provider() != by.signer {
        return Err(Reject::not_yours("provider"));
    }
    challenge.expect(ChallengeStatus::Bisecting { turn: Side::Provider })?;
    if lease.status.is_settled() {
        return end::void(ctx, id);
    }
    let Some(mut commitment) = lease.commitment else {
        return Err(Reject::wrong_state("lease", "without a final commitment"));
    };
    let job: Job = ctx.load(&challenge.job)?;
    let (_, chain) = job.spec.chain_of(&challenge.job)?;
    let is_first = challenge.game.end_state().is_none();
    let game = &mut challenge.game;
    game.reveal(&chain, &commitment.root, commitment.count, openings).map_err(refused)?;
    if is_first {
        commitment.last = game.end_state();
        lease.commitment = Some(commitment);
        ctx.store(&challenge.lease, &lease);
    }
    challenge.costs = sum(challenge.costs, by.floor)?;
    challenge.stop_clock(ctx.env.head.steady);
    let of = Contest::of(ctx, &challenge)?;
    ctx.emit(Event::BisectRevealed { dispute: *id, of });
    if is_first && commitment.last == Some(challenge.last) {
        ctx.store(id, &challenge);
        return end::void(ctx, id);
    }
    begin_turn(ctx, id, challenge)
}
