//! Votes: every ballot is kept, and all are counted from scratch when voting ends.

use super::{
    Model, Money, Outcome, Refused,
    compare::{Same, same},
    money, must,
    stake::{Kind, Rank},
    whole,
};
use muster_ledger::{
    Action, State, keys, view,
    vote::{Choice, ParamChange, ProposalStatus},
};
use muster_types::{AccountId, Asset, ProposalId};
use num_traits::Zero as _;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Voting { until: u64 },
    Passed { at: u64 },
    Rejected,
    Applied,
    Failed,
}

#[derive(Clone, Debug)]
pub(crate) struct Proposal {
    pub(crate) id: ProposalId,
    pub(crate) proposer: AccountId,
    pub(crate) changes: Vec<ParamChange>,
    pub(crate) stage: Stage,
    /// Who voted how; kept when voting has ended.
    pub(crate) ballots: Vec<(AccountId, Choice)>,
    /// Yes, no, abstain and all active stake, when voting ended.
    pub(crate) tally: [Money; 4],
    /// Since when nothing can change it (steady time).
    pub(crate) final_since: Option<u64>,
}

impl Model {
    pub(super) fn vote_act(&mut self, tx: ProposalId, who: AccountId, act: &Action) -> Outcome {
        match act {
            Action::Propose { title, changes } => {
                must((1..=256).contains(&title.len()))?;
                self.propose(tx, who, changes)
            }
            Action::Vote { proposal, choice } => {
                let steady = self.steady;
                let active =
                    self.stakes.staker(&who).is_ok_and(|staker| staker.rank == Rank::Active);
                must(active || self.counted(&who) >= money(self.params.vote_stake_min))?;
                let found = self.proposals.find_mut(|one| one.id == *proposal);
                let found = found.ok_or(Refused)?;
                let Stage::Voting { until } = found.stage else { return Err(Refused) };
                must(steady < until)?;
                found.ballots.retain(|(voter, _)| *voter != who);
                found.ballots.push((who, *choice));
                must(found.ballots.len() <= 1024)
            }
            _ => Err(Refused),
        }
    }

    fn propose(&mut self, id: ProposalId, who: AccountId, changes: &[ParamChange]) -> Outcome {
        must((1..=32).contains(&changes.len()))?;
        let mut names: Vec<_> = changes.iter().map(|change| &change.name).collect();
        names.sort_unstable();
        names.dedup();
        must(names.len() == changes.len())?;
        must(self.counted(&who) >= money(self.params.proposal_stake_min))?;
        must(self.changed(changes).is_some())?;
        let fee = money(self.params.proposal_fee);
        self.take(who, Asset::Usd, &fee)?;
        self.pot += fee;
        let until = self.steady + self.params.vote_period_ms.0;
        self.proposals.push(Proposal {
            id,
            proposer: who,
            changes: changes.to_vec(),
            stage: Stage::Voting { until },
            ballots: Vec::new(),
            tally: std::array::from_fn(|_| Money::zero()),
            final_since: None,
        });
        Ok(())
    }

    /// The parameters with these changes, where they are in bounds.
    fn changed(&self, changes: &[ParamChange]) -> Option<muster_ledger::Params> {
        let mut params = self.params.clone();
        let known = changes.iter().all(|change| params.set(&change.name, change.value));
        // Stake that was counted on to be locked for so long is.
        let kept = params.stake_unbonding_ms >= self.params.stake_unbonding_ms;
        (known && kept && params.check().is_ok()).then_some(params)
    }

    /// An account's own stake where it counts.
    fn counted(&self, who: &AccountId) -> Money {
        let mut counted = Money::zero();
        for staker in self.stakes.stakers.iter().filter(|one| one.rank == Rank::Active) {
            if staker.id == *who {
                counted += &staker.own;
            }
            let of = self.stakes.with(&staker.id, Kind::Delegated).filter(|one| one.owner == *who);
            counted += of.map(|one| self.stakes.worth(one)).sum::<Money>();
        }
        counted
    }

    /// Validator by validator: who delegates to it votes for itself, and it for the others.
    fn tally(&self, ballots: &[(AccountId, Choice)]) -> [Money; 4] {
        let choice = |who| {
            let ballot = ballots.iter().find(|(voter, _)| *voter == who);
            ballot.map(|(_, choice)| match choice {
                Choice::Yes => 0,
                Choice::No => 1,
                Choice::Abstain => 2,
            })
        };
        let mut tally: [Money; 4] = std::array::from_fn(|_| Money::zero());
        for staker in &self.stakes.stakers {
            let mut left = staker.weight();
            if left.is_zero() {
                continue;
            }
            tally[3] += &left;
            for one in self.stakes.with(&staker.id, Kind::Delegated) {
                if let Some(place) = choice(one.owner) {
                    let worth = self.stakes.worth(one);
                    left -= &worth;
                    tally[place] += worth;
                }
            }
            if let Some(place) = choice(staker.id) {
                tally[place] += left;
            }
        }
        tally
    }

    /// The block's very end: one vote ends, and what has passed takes effect.
    pub(super) fn votes_due(&mut self) {
        let steady = self.steady;
        let ended = self.proposals.iter().filter_map(|one| match one.stage {
            Stage::Voting { until } if until <= steady => Some((until, one.id)),
            _ => None,
        });
        if let Some((_, id)) = ended.min() {
            let proposal = self.proposals.find(|one| one.id == id).expect("just found");
            let tally = self.tally(&proposal.ballots);
            let [yes, no, abstain, all] = &tally;
            let quorum = all * whole(u64::from(self.params.vote_quorum_bps)) / whole(10_000);
            let passes = yes > no && yes + no + abstain >= quorum.ceil();
            let at = steady + self.params.vote_delay_ms.0;
            let proposal = self.proposals.find_mut(|one| one.id == id).expect("just found");
            proposal.stage = if passes { Stage::Passed { at } } else { Stage::Rejected };
            proposal.tally = tally;
        }
        let effective = self.proposals.iter().filter_map(|one| match one.stage {
            Stage::Passed { at } if at <= steady => Some((at, one.id, one.changes.clone())),
            _ => None,
        });
        let mut effective: Vec<_> = effective.collect();
        effective.sort_by_key(|(at, id, _)| (*at, *id));
        for (_, id, changes) in effective {
            let params = self.changed(&changes);
            let proposal = self.proposals.find_mut(|one| one.id == id).expect("just found");
            proposal.stage = if params.is_some() { Stage::Applied } else { Stage::Failed };
            self.params = params.unwrap_or_else(|| self.params.clone());
        }
    }
}

impl Model {
    pub(super) fn compare_votes(&self, state: &dyn State) -> Same {
        same("parameters", &view::params(state), &self.params)?;
        let proposals: Vec<_> = keys::PROPOSALS.scan(state, &(), None).collect();
        same("proposals", &proposals.len(), &self.proposals.len())?;
        for (id, record) in proposals {
            let model = self.proposals.iter().find(|one| one.id == id);
            let model = model.ok_or_else(|| format!("no proposal {id}"))?;
            let stage = match record.status {
                ProposalStatus::Voting { until } => Stage::Voting { until: until.0 },
                ProposalStatus::Passed { effective_at } => Stage::Passed { at: effective_at.0 },
                ProposalStatus::Rejected => Stage::Rejected,
                ProposalStatus::Applied => Stage::Applied,
                ProposalStatus::Failed => Stage::Failed,
            };
            same("proposal", &stage, &model.stage)?;
            same("proposer", &record.proposer, &model.proposer)?;
            same("changes", &record.changes, &model.changes)?;
            same("votes", &(record.votes as usize), &model.ballots.len())?;
            let tally = record.tally;
            let tally = [tally.yes, tally.no, tally.abstain, tally.stake].map(money);
            same("tally", &tally, &model.tally)?;
            let mut ballots: Vec<_> = view::ballots(state, &id);
            ballots.sort_unstable_by_key(|(voter, _)| *voter);
            let ballots: Vec<_> =
                ballots.into_iter().map(|(voter, ballot)| (voter, ballot.choice)).collect();
            let voting = matches!(model.stage, Stage::Voting { .. });
            let mut kept = if voting { model.ballots.clone() } else { Vec::new() };
            kept.sort_unstable();
            same("ballots", &ballots, &kept)?;
        }
        Ok(())
    }
}
