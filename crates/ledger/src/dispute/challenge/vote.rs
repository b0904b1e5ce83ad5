//! `StepVote`.

use super::{Challenge, ChallengeStatus, Finding, Side, StepVote, end};
use crate::{
    Event, Reject,
    ctx::{By, Ctx},
    dispute::vote::is_two_thirds,
    event::Contest,
    keys,
};
use muster_types::DisputeId;

pub(crate) fn run(
    ctx: &mut Ctx<'_>,
    by: &By,
    id: &DisputeId,
    finding: Finding,
) -> Result<(), Reject> {
    let validators = keys::VALIDATORS.get(&ctx.scratch, &()).unwrap_or_default();
    if !validators.contains(&by.signer) {
        return Err(Reject::not_yours("validator"));
    }
    let mut challenge: Challenge = ctx.load(id)?;
    challenge.expect(ChallengeStatus::Voting)?;
    if challenge.votes.iter().any(|vote| vote.validator == by.signer) {
        return Err(Reject::Duplicate);
    }
    challenge.votes.push(StepVote { validator: by.signer, finding });
    ctx.store(id, &challenge);
    let of = Contest::of(ctx, &challenge)?;
    ctx.emit(Event::StepVoted { dispute: *id, of, validator: by.signer });
    let agreed = challenge.votes.iter().filter(|vote| vote.finding == finding).count();
    if !is_two_thirds(agreed, validators.len()) {
        return Ok(());
    }
    let committed = challenge.game.step().map(|step| step.after);
    match finding {
        Finding::Missing => end::void(ctx, id),
        Finding::State { hash } if Some(hash) == committed => end::judge(ctx, id, Side::Challenger),
        Finding::State { .. } | Finding::Fails => end::judge(ctx, id, Side::Provider),
    }
}
