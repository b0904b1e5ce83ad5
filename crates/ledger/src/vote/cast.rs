//! `Vote`.

use super::{Ballot, Choice, Proposal, ProposalStatus};
use crate::{
    Event, Reject,
    ctx::{By, Ctx, up},
    limits,
    stake::weight,
};
use muster_types::ProposalId;

pub(crate) fn run(
    ctx: &mut Ctx<'_>,
    by: &By,
    id: &ProposalId,
    choice: Choice,
) -> Result<(), Reject> {
    let mut proposal: Proposal = ctx.load(id)?;
    match proposal.status {
        ProposalStatus::Voting { until } if ctx.env.head.steady < until => {}
        ProposalStatus::Voting { .. } => {
            return Err(Reject::wrong_state("proposal", "past its vote"));
        }
        status @ (ProposalStatus::Passed { .. }
        | ProposalStatus::Rejected
        | ProposalStatus::Applied
        | ProposalStatus::Failed) => return Err(Reject::wrong_state("proposal", status.name())),
    }
    let needed = ctx.env.params.vote_stake_min;
    let available = weight::of(&ctx.scratch, &by.signer);
    if available < needed && weight::active(&ctx.scratch, &by.signer).is_none() {
        return Err(Reject::InsufficientStake { needed, available });
    }
    let key = (*id, by.signer);
    if ctx.find::<Ballot>(&key).is_none() {
        let full = usize::try_from(proposal.votes)
            .map_or(true, |votes| votes >= limits::VOTES_PER_PROPOSAL);
        if full {
            return Err(Reject::wrong_state("proposal", "voted on by too many"));
        }
        proposal.votes = up(proposal.votes)?;
        ctx.store(id, &proposal);
    }
    ctx.store(&key, &Ballot { choice });
    ctx.emit(Event::Voted { proposal: *id, voter: by.signer, choice });
    Ok(())
}
