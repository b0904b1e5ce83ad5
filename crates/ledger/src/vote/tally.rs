//! The end of a vote: what the ballots come to, by the stake of that moment.

use super::{Ballot, Choice, Proposal, ProposalStatus, Tally};
use crate::{
    Event, Reject,
    ctx::{Ctx, part_ceil, rest, sum},
    keys,
    stake::weight,
    state::State,
};
use muster_types::{AccountId, Amount, ProposalId};
use std::collections::BTreeMap;

pub(crate) fn run(ctx: &mut Ctx<'_>, id: &ProposalId) -> Result<(), Reject> {
    let mut proposal: Proposal = ctx.load(id)?;
    let ballots: Vec<(AccountId, Ballot)> = keys::BALLOTS
        .scan(&ctx.scratch, id, None)
        .map(|((_, voter), ballot)| (voter, ballot))
        .collect();
    proposal.tally = count(&ctx.scratch, &ballots)?;
    let params = &ctx.env.params;
    proposal.status = if passes(&proposal.tally, params.vote_quorum_bps)? {
        let effective_at = ctx.env.head.steady.after(params.vote_delay_ms);
        ProposalStatus::Passed { effective_at }
    } else {
        ProposalStatus::Rejected
    };
    for (voter, _) in ballots {
        keys::remove::<Ballot>(&mut ctx.scratch, &(*id, voter));
    }
    ctx.store(id, &proposal);
    let (proposer, status) = (proposal.proposer, proposal.status);
    ctx.emit(Event::ProposalChanged { proposal: *id, proposer, status });
    Ok(())
}

fn count(state: &dyn State, ballots: &[(AccountId, Ballot)]) -> Result<Tally, Reject> {
    let stake = keys::STAKE.get(state, &()).unwrap_or_default();
    let mut tally = Tally { stake, ..Tally::default() };
    // What delegators vote with themselves, by validator.
    let mut overridden: BTreeMap<AccountId, Amount> = BTreeMap::new();
    for (voter, ballot) in ballots {
        for (validator, worth) in weight::delegated(state, voter) {
            tally.add(ballot.choice, worth)?;
            let of_validator = overridden.entry(validator).or_default();
            *of_validator = sum(*of_validator, worth)?;
        }
    }
    for (voter, ballot) in ballots {
        if let Some(validator) = weight::active(state, voter) {
            let overridden = overridden.get(voter).copied().unwrap_or_default();
            let delegated = rest(validator.delegated.tokens, overridden)?;
            tally.add(ballot.choice, sum(validator.own, delegated)?)?;
        }
    }
    Ok(tally)
}

impl Tally {
    fn add(&mut self, choice: Choice, weight: Amount) -> Result<(), Reject> {
        let part = match choice {
            Choice::Yes => &mut self.yes,
            Choice::No => &mut self.no,
            Choice::Abstain => &mut self.abstain,
        };
        *part = sum(*part, weight)?;
        Ok(())
    }
}

fn passes(tally: &Tally, quorum_bps: u32) -> Result<bool, Reject> {
    let voted = sum(sum(tally.yes, tally.no)?, tally.abstain)?;
    Ok(tally.yes > tally.no && voted >= part_ceil(tally.stake, quorum_bps)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proposal_passes_with_a_majority_of_enough_stake() {
        // (yes, no, abstain, all stake, quorum, passes)
        let table = [
            (34, 0, 0, 100, 3_400, true),
            (33, 0, 0, 100, 3_400, false),
            (1, 0, 33, 100, 3_400, true),
            (18, 17, 0, 100, 3_400, true),
            (17, 17, 0, 100, 3_400, false),
            (17, 18, 0, 100, 3_400, false),
            (0, 0, 100, 100, 3_400, false),
            (0, 0, 0, 0, 3_400, false),
            // Half a nano-mst of quorum is a whole one.
            (33, 0, 0, 67, 5_000, false),
            (34, 0, 0, 67, 5_000, true),
            (100, 0, 0, 100, 10_000, true),
            (99, 0, 0, 100, 10_000, false),
        ];
        let nanos = Amount::from_nanos;
        for (yes, no, abstain, stake, quorum, expected) in table {
            let tally = Tally {
                yes: nanos(yes),
                no: nanos(no),
                abstain: nanos(abstain),
                stake: nanos(stake),
            };
            assert_eq!(passes(&tally, quorum), Ok(expected), "{tally:?} {quorum}");
        }
    }
}
