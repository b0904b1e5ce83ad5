//! Challenges: which step of a chain is the first on which two disagree, and who loses by it.

use super::{Lease, Model, Money, Outcome, Phase, Refused, money, must, part, whole};
use muster_ledger::{
    dispute::{Finding, Side},
    job::Verification,
};
use muster_types::{AccountId, Asset, DisputeId, Hash, LeaseId, TxId, merkle};
use muster_verify::{Chain, Opening};
use num_traits::Zero as _;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Bisecting(Side),
    Voting,
    Judged(Side),
    Void,
}

#[derive(Clone, Debug)]
pub(crate) struct Challenge {
    pub(crate) id: DisputeId,
    pub(crate) lease: LeaseId,
    pub(crate) challenger: AccountId,
    /// The state that the chain ends in, by the challenger.
    pub(crate) last: Hash,
    pub(crate) bond: Money,
    /// The fees of the provider's moves.
    pub(crate) costs: Money,
    /// The states between which the first wrong step is looked for, by place: both agree on the
    /// first; on the last they do not; those in between are waiting for the challenger. A state
    /// that is not known yet is none.
    pub(crate) points: Vec<(u64, Option<Hash>)>,
    /// Time left: the provider's and the challenger's.
    pub(crate) clocks: [u64; 2],
    pub(crate) stage: Stage,
    pub(crate) votes: Vec<(AccountId, Finding)>,
    pub(crate) deadline: u64,
    /// Since when nothing can change it (steady time).
    pub(crate) final_since: Option<u64>,
}

impl Challenge {
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Bisecting(_) | Stage::Voting)
    }

    /// The places whose states the provider must open.
    pub(crate) fn asked(&self) -> Vec<u64> {
        let unknown = self.points.iter().filter(|(_, state)| state.is_none());
        unknown.map(|(place, _)| *place).collect()
    }
}

/// Cuts a segment into so many parts of about one length, fewer where it is shorter.
fn cut(lo: (u64, Option<Hash>), hi: (u64, Option<Hash>), arity: u32) -> Vec<(u64, Option<Hash>)> {
    let length = hi.0 - lo.0;
    let parts = length.min(u64::from(arity));
    let inner = (1..parts).map(|number| (lo.0 + length * number / parts, None));
    [lo].into_iter().chain(inner).chain([hi]).collect()
}

impl Model {
    pub(crate) fn challenge(&self, id: &DisputeId) -> Result<&Challenge, Refused> {
        self.challenges.find(|one| one.id == *id).ok_or(Refused)
    }

    fn challenge_mut(&mut self, id: &DisputeId) -> &mut Challenge {
        self.challenges.find_mut(|one| one.id == *id).expect("the challenge exists")
    }

    fn challenged(&self, id: &DisputeId) -> Result<&Lease, Refused> {
        self.lease(&self.challenge(id)?.lease)
    }

    pub(super) fn challenge_open(
        &mut self,
        tx: TxId,
        who: AccountId,
        id: &LeaseId,
        last: Hash,
        evidence: &str,
    ) -> Outcome {
        must(evidence.len() <= 1024)?;
        let lease = self.lease(id)?;
        must(lease.verification == Verification::Dispute)?;
        let made = lease.commitment.ok_or(Refused)?;
        must(made.draw.is_some() && self.can_be_challenged(id))?;
        must(made.count > 1 && made.last != Some(last))?;
        let job = self.job(&lease.job.ok_or(Refused)?)?;
        let start = job.spec.chain.ok_or(Refused)?;
        let open = self.challenges.iter().filter(|one| one.lease == *id && one.is_open());
        let number = open.count() as u64 + 1;
        must(number <= 256)?;
        let bond = money(self.params.challenge_bond) * whole(number);
        self.take(who, Asset::Usd, &bond)?;
        let clock = self.params.dispute_clock_ms.0;
        let arity = self.params.bisect_arity;
        self.challenges.push(Challenge {
            id: DisputeId::derive(&tx),
            lease: *id,
            challenger: who,
            last,
            bond,
            costs: Money::zero(),
            points: cut((0, Some(start.initial)), (made.count - 1, made.last), arity),
            clocks: [clock, clock],
            stage: Stage::Voting,
            votes: Vec::new(),
            deadline: 0,
            final_since: None,
        });
        self.begin_turn(&DisputeId::derive(&tx));
        Ok(())
    }

    /// Whoever is to move has its time from now on.
    fn begin_turn(&mut self, id: &DisputeId) {
        let (steady, for_votes) = (self.steady, self.params.dispute_timeout_ms.0);
        let challenge = self.challenge_mut(id);
        let (stage, time) = if !challenge.asked().is_empty() {
            (Stage::Bisecting(Side::Provider), challenge.clocks[0])
        } else if challenge.points.len() > 2 {
            (Stage::Bisecting(Side::Challenger), challenge.clocks[1])
        } else {
            (Stage::Voting, for_votes)
        };
        challenge.stage = stage;
        challenge.deadline = steady + time;
    }

    pub(super) fn bisect_reveal(
        &mut self,
        who: AccountId,
        fee: &Money,
        id: &DisputeId,
        openings: &[Opening],
    ) -> Outcome {
        let lease = self.challenged(id)?;
        must(lease.host.provider == who)?;
        let challenge = self.challenge(id)?;
        must(challenge.stage == Stage::Bisecting(Side::Provider))?;
        if lease.is_settled() {
            self.challenge_end(id, Stage::Void);
            return Ok(());
        }
        let made = lease.commitment.ok_or(Refused)?;
        let job = self.job(&lease.job.ok_or(Refused)?)?;
        let start = job.spec.chain.ok_or(Refused)?;
        let chain = Chain { job: job.id, module: start.module, data: start.data };
        let asked = challenge.asked();
        must(asked.len() == openings.len())?;
        for (place, opening) in asked.iter().zip(openings) {
            let leaf = chain.leaf(*place, &opening.state);
            must(merkle::verify(&made.root, &leaf, *place, made.count, &opening.proof))?;
        }
        let (steady, lease_id) = (self.steady, lease.id);
        let challenge = self.challenge_mut(id);
        let mut opened = openings.iter().map(|opening| opening.state);
        let first = challenge.points.last().is_some_and(|(_, state)| state.is_none());
        for (_, state) in challenge.points.iter_mut().filter(|(_, state)| state.is_none()) {
            *state = opened.next();
        }
        challenge.costs += fee;
        challenge.clocks[0] = challenge.deadline.saturating_sub(steady);
        let last = challenge.points.last().and_then(|(_, state)| *state);
        let agreed = first && last == Some(challenge.last);
        if first && let Some(made) = &mut self.lease_mut(&lease_id).commitment {
            made.last = last;
        }
        if agreed {
            self.challenge_end(id, Stage::Void);
        } else {
            self.begin_turn(id);
        }
        Ok(())
    }

    pub(super) fn bisect_pick(&mut self, who: AccountId, id: &DisputeId, segment: u32) -> Outcome {
        let challenge = self.challenge(id)?;
        must(challenge.challenger == who)?;
        must(challenge.stage == Stage::Bisecting(Side::Challenger))?;
        if self.challenged(id)?.is_settled() {
            self.challenge_end(id, Stage::Void);
            return Ok(());
        }
        let segment = segment as usize;
        must(segment + 1 < challenge.points.len())?;
        let (steady, arity) = (self.steady, self.params.bisect_arity);
        let challenge = self.challenge_mut(id);
        challenge.clocks[1] = challenge.deadline.saturating_sub(steady);
        challenge.points = cut(challenge.points[segment], challenge.points[segment + 1], arity);
        self.begin_turn(id);
        Ok(())
    }

    pub(super) fn step_vote(
        &mut self,
        who: AccountId,
        id: &DisputeId,
        finding: Finding,
    ) -> Outcome {
        must(self.validators.contains(&who))?;
        let all = self.validators.len();
        let challenge = self.challenges.find_mut(|one| one.id == *id).ok_or(Refused)?;
        must(challenge.stage == Stage::Voting)?;
        must(!challenge.votes.iter().any(|(voter, _)| *voter == who))?;
        challenge.votes.push((who, finding));
        let agreed = challenge.votes.iter().filter(|(_, other)| *other == finding).count();
        let committed = challenge.points.last().and_then(|(_, state)| *state);
        if agreed * 3 > all * 2 {
            let stage = match finding {
                Finding::Missing => Stage::Void,
                Finding::State { hash } if Some(hash) == committed => {
                    Stage::Judged(Side::Challenger)
                }
                Finding::State { .. } | Finding::Fails => Stage::Judged(Side::Provider),
            };
            self.challenge_end(id, stage);
        }
        Ok(())
    }

    /// Who did not move in time loses; without a verdict it is nobody's fault.
    pub(super) fn challenges_due(&mut self) {
        let is_late = |one: &&Challenge| one.is_open() && one.deadline <= self.steady;
        let mut late: Vec<_> =
            self.challenges.iter().filter(is_late).map(|one| (one.deadline, one.id)).collect();
        late.sort_unstable();
        for (_, id) in late {
            match self.challenge(&id).expect("listed").stage {
                Stage::Bisecting(turn) => self.challenge_end(&id, Stage::Judged(turn)),
                _ => self.challenge_end(&id, Stage::Void),
            }
        }
    }

    /// Ends an open challenge; void where another one has convicted the provider meanwhile.
    fn challenge_end(&mut self, id: &DisputeId, stage: Stage) {
        let lease = self.challenged(id).expect("a challenge has a lease");
        let stage = if lease.is_settled() { Stage::Void } else { stage };
        let (lease, provider) = (lease.id, lease.host.provider);
        let challenge = self.challenge_mut(id);
        challenge.stage = stage;
        let bond = std::mem::take(&mut challenge.bond);
        let (challenger, costs) = (challenge.challenger, challenge.costs.clone());
        match stage {
            Stage::Judged(Side::Challenger) => {
                let burned_first = (&bond * part(self.params.burn_min_bps)).ceil();
                let compensated = costs.min(&bond - burned_first);
                self.give(provider, Asset::Usd, &compensated);
                self.burned += bond - compensated;
            }
            _ => self.give(challenger, Asset::Usd, &bond),
        }
        if stage == Stage::Judged(Side::Provider) {
            self.punish(&lease, challenger);
        } else if matches!(
            self.lease(&lease).expect("it exists").phase,
            Phase::Closed { settled: false, .. }
        ) {
            self.settle_if_clear(&lease);
        }
    }
}
