//! The end of a challenge.

use super::{Challenge, ChallengeStatus, Side};
use crate::{
    Event, Reject,
    bond::slash::{self, Division},
    ctx::{Ctx, down, sum},
    dispute::verdict::punish,
    event::Contest,
    market::{Lease, settled},
};
use muster_types::{Amount, Asset, DisputeId};

/// Somebody was wrong or silent. Where another challenge has convicted the provider meanwhile,
/// there is nothing left to be won or lost.
pub(crate) fn judge(ctx: &mut Ctx<'_>, id: &DisputeId, loser: Side) -> Result<(), Reject> {
    let challenge: Challenge = ctx.load(id)?;
    let lease: Lease = ctx.load(&challenge.lease)?;
    if lease.status.is_settled() {
        return void(ctx, id);
    }
    let status = ChallengeStatus::Judged { loser };
    match loser {
        Side::Provider => {
            end(ctx, id, status, None)?;
            punish(ctx, &challenge.lease, challenge.challenger)
        }
        Side::Challenger => {
            let burn_min_bps = ctx.env.params.burn_min_bps;
            let division = slash::divide(challenge.bond, challenge.costs, burn_min_bps, 0)?;
            end(ctx, id, status, Some(division))?;
            settled::settle_if_clear(ctx, &challenge.lease)
        }
    }
}

/// No verdict: no fault.
pub(crate) fn void(ctx: &mut Ctx<'_>, id: &DisputeId) -> Result<(), Reject> {
    let challenge: Challenge = ctx.load(id)?;
    end(ctx, id, ChallengeStatus::Void, None)?;
    settled::settle_if_clear(ctx, &challenge.lease)
}

/// At a block's end: who did not move in time loses; without a verdict it is nobody's fault.
pub(crate) fn out_of_time(ctx: &mut Ctx<'_>, id: &DisputeId) -> Result<(), Reject> {
    let challenge: Challenge = ctx.load(id)?;
    match challenge.status {
        ChallengeStatus::Bisecting { turn } => judge(ctx, id, turn),
        ChallengeStatus::Voting => void(ctx, id),
        ChallengeStatus::Judged { .. } | ChallengeStatus::Void => {
            Err(Reject::wrong_state("challenge", challenge.status.name()))
        }
    }
}

/// Ends the record, lets go of the lease, and gives the bond back, or divides it.
fn end(
    ctx: &mut Ctx<'_>,
    id: &DisputeId,
    status: ChallengeStatus,
    lost: Option<Division>,
) -> Result<(), Reject> {
    let mut challenge: Challenge = ctx.load(id)?;
    let bond = std::mem::take(&mut challenge.bond);
    challenge.status = status;
    ctx.store(id, &challenge);
    let mut lease: Lease = ctx.load(&challenge.lease)?;
    lease.disputes = down(lease.disputes)?;
    ctx.store(&challenge.lease, &lease);
    let (returned, compensated, burned) = match lost {
        None => (bond, Amount::ZERO, Amount::ZERO),
        Some(Division { compensated, rewarded: _, burned }) => (Amount::ZERO, compensated, burned),
    };
    ctx.credit(&challenge.challenger, Asset::Usd, returned)?;
    ctx.credit(&lease.provider(), Asset::Usd, compensated)?;
    ctx.supply(|supply| {
        supply.usd.burned = sum(supply.usd.burned, burned)?;
        Ok(())
    })?;
    let of = Contest::of(ctx, &challenge)?;
    let closed = Event::ChallengeClosed { dispute: *id, of, status, returned, compensated, burned };
    ctx.emit(closed);
    Ok(())
}
