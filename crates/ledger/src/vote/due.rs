//! What time makes due at a block's end: votes that end, and changes that take effect.

use super::{Proposal, ProposalStatus, propose, tally};
use crate::{
    Event, Reject,
    block::{due, for_each},
    ctx::Ctx,
    keys, limits,
};
use muster_types::ProposalId;

/// Both, by steady time; a vote without delay takes effect at once.
pub(crate) fn run(ctx: &mut Ctx<'_>) {
    let steady = ctx.env.head.steady;
    let mut ended = due(ctx, keys::VOTING_DUE, steady);
    ended.truncate(limits::TALLIES_PER_BLOCK);
    for_each(ctx, ended, tally::run);
    let effective = due(ctx, keys::EFFECT_DUE, steady);
    for_each(ctx, effective, take_effect);
}

/// Changes the parameters, unless what others changed since puts them out of bounds.
fn take_effect(ctx: &mut Ctx<'_>, id: &ProposalId) -> Result<(), Reject> {
    let mut proposal: Proposal = ctx.load(id)?;
    let params = keys::PARAMS.get(&ctx.scratch, &()).unwrap_or_default();
    proposal.status = match propose::changed(&params, &proposal.changes) {
        Ok(params) => {
            keys::PARAMS.put(&mut ctx.scratch, &(), &params);
            ProposalStatus::Applied
        }
        Err(_) => ProposalStatus::Failed,
    };
    ctx.store(id, &proposal);
    let (proposer, status) = (proposal.proposer, proposal.status);
    ctx.emit(Event::ProposalChanged { proposal: *id, proposer, status });
    Ok(())
}
