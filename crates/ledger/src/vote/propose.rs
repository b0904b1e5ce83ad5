//! `Propose`.

use super::{ParamChange, Proposal, ProposalStatus, Tally};
use crate::{
    Event, Params, Reject,
    ctx::{By, Ctx},
    limits,
    stake::weight,
};
use muster_types::{Asset, ProposalId};
use std::borrow::Cow;

pub(crate) fn run(
    ctx: &mut Ctx<'_>,
    by: &By,
    title: &str,
    changes: &[ParamChange],
) -> Result<(), Reject> {
    if title.is_empty() || title.len() > limits::TITLE_BYTES {
        return Err(Reject::bad_field("title"));
    }
    let repeated = |index: usize, change: &ParamChange| {
        changes.iter().take(index).any(|earlier| earlier.name == change.name)
    };
    if changes.is_empty()
        || changes.len() > limits::PROPOSAL_CHANGES
        || changes.iter().enumerate().any(|(index, change)| repeated(index, change))
    {
        return Err(Reject::bad_field("changes"));
    }
    let params = &ctx.env.params;
    let until = ctx.env.head.steady.after(params.vote_period_ms);
    let (needed, fee) = (params.proposal_stake_min, params.proposal_fee);
    let available = weight::of(&ctx.scratch, &by.signer);
    if available < needed {
        return Err(Reject::InsufficientStake { needed, available });
    }
    changed(params, changes)?;
    ctx.debit(&by.signer, Asset::Usd, fee)?;
    ctx.fee(fee)?;

    let id = ProposalId::derive(&by.tx);
    let proposal = Proposal {
        proposer: by.signer,
        title: title.to_owned(),
        changes: changes.to_vec(),
        status: ProposalStatus::Voting { until },
        votes: 0,
        tally: Tally::default(),
        final_at: None,
    };
    ctx.store(&id, &proposal);
    ctx.emit(Event::ProposalMade { proposal: id, proposer: by.signer, until });
    Ok(())
}

/// The parameters with the changes; refused where one does not exist or they would be out of
/// bounds ([`Params::check_change`]).
pub(super) fn changed(before: &Params, changes: &[ParamChange]) -> Result<Params, Reject> {
    let bad = |name: &str| Reject::BadField { field: Cow::Owned(format!("changes.{name}")) };
    let mut params = before.clone();
    for ParamChange { name, value } in changes {
        if params.get(name).is_none() {
            return Err(Reject::not_found("parameter"));
        }
        if !params.set(name, *value) {
            return Err(bad(name));
        }
    }
    params.check_change(before).map_err(|error| bad(error.name))?;
    Ok(params)
}
