//! `BisectPick`.

use super::{Challenge, ChallengeStatus, Side, begin_turn, end, refused};
use crate::{
    Event, Reject,
    ctx::{By, Ctx},
    event::Contest,
    market::Lease,
};
use muster_types::DisputeId;

pub(crate) fn run(ctx: &mut Ctx<'_>, by: &By, id: &DisputeId, segment: u32) -> Result<(), Reject> {
    let mut challenge: Challenge = ctx.load(id)?;
    if challenge.challenger != by.signer {
        return Err(Reject::not_yours("challenger"));
    }
    challenge.expect(ChallengeStatus::Bisecting { turn: Side::Challenger })?;
    let lease: Lease = ctx.load(&challenge.lease)?;
    if lease.status.is_settled() {
        return end::void(ctx, id);
    }
    challenge.game.pick(segment).map_err(refused)?;
    challenge.stop_clock(ctx.env.head.steady);
    let (lo, hi) = challenge.game.segment();
    let of = Contest::of(ctx, &challenge)?;
    ctx.emit(Event::BisectPicked { dispute: *id, of, lo, hi });
    begin_turn(ctx, id, challenge)
}
