//! Disputes and votes.

use super::{Run, VALIDATORS, chain};
use crate::model::{Challenge, Stage, Verdict};
use muster_ledger::{
    Action,
    dispute::{Claim, Finding, Side},
    job::{TaskOutput, TaskRef, Verification},
    market::Commitment,
};
use muster_types::{AccountId, Hash, LeaseId};

impl Run {
    pub(super) fn as_party(&mut self) -> Option<(AccountId, Action)> {
        let open = self.model.disputes.iter().filter(|one| one.verdict == Verdict::None);
        let open: Vec<_> = open.map(|one| one.id).collect();
        if self.chance(60) {
            let dispute = self.pick(&open)?;
            let output = if self.chance(70) { 1 } else { u8::try_from(self.below(4)).unwrap() };
            let output = (output < 3).then(|| result(output));
            let voter = usize::try_from(self.below(VALIDATORS as u64)).unwrap();
            return Some((self.people[voter], Action::DisputeVote { dispute, output }));
        }
        let leases: Vec<_> =
            self.model.leases.iter().map(|one| (one.id, one.host, one.job)).collect();
        let first = self.pick(&leases)?;
        let job = first.2?;
        let others: Vec<_> = leases.into_iter().filter(|(_, _, of)| *of == Some(job)).collect();
        let second = self.pick(&others)?;
        let tenant = self.model.job(&job).ok()?.tenant;
        let task = TaskRef {
            job,
            index: self.below(11),
            module: Hash([3; 32]),
            input: Hash([4; 32]),
            data: Hash([5; 32]),
            fuel_limit: 1_000,
            memory_limit_bytes: 1 << 20,
        };
        let claims = [first, second].map(|(lease, host, _)| {
            let signer = if self.chance(3) { self.anybody() } else { host.provider };
            let person = self.people.iter().position(|one| *one == signer).unwrap();
            let key = &self.keys[person];
            Claim::sign(&self.chain, lease, task, result(claimed(&lease)), key)
        });
        let evidence = "somewhere".to_owned();
        Some((tenant, Action::DisputeOpen { job, claims: Box::new(claims), evidence }))
    }

    /// Challenges, and moves in them, most of them good ones.
    pub(super) fn as_challenger(&mut self) -> Option<(AccountId, Action)> {
        let open = self.model.challenges.iter().filter(|one| one.is_open());
        let open: Vec<Challenge> = open.cloned().collect();
        if open.is_empty() || self.chance(15) {
            let is_chain = |lease: &&crate::model::Lease| {
                lease.verification == Verification::Dispute && !lease.is_settled()
            };
            let chains = self.model.leases.iter().filter(is_chain);
            let chains: Vec<_> = chains.map(|lease| (lease.id, lease.commitment)).collect();
            let is_final = |made: &Option<Commitment>| made.is_some_and(|made| made.draw.is_some());
            let ready: Vec<_> = chains.iter().filter(|(_, made)| is_final(made)).copied().collect();
            let ready = if self.chance(90) { self.pick(&ready) } else { None };
            let (lease, made) = ready.or_else(|| self.pick(&chains))?;
            let steps = made.map_or(0, |made| made.count.saturating_sub(1));
            let last = chain::right(steps + u64::from(self.chance(20)));
            let evidence = "somewhere".to_owned();
            return Some((self.anybody(), Action::ChallengeOpen { lease, last, evidence }));
        }
        let challenge = self.pick(&open)?;
        let lease = self.model.lease(&challenge.lease).ok()?.clone();
        let dispute = challenge.id;
        Some(match challenge.stage {
            Stage::Bisecting(Side::Provider) => {
                let tasks = self.model.job(&lease.job?).ok()?.spec.tasks;
                let mut openings = chain::Run::of(&lease, tasks).openings(&challenge.asked());
                if self.chance(10) {
                    openings.pop();
                }
                (lease.host.provider, Action::BisectReveal { dispute, openings })
            }
            Stage::Bisecting(Side::Challenger) => {
                let ends = challenge.points.iter().skip(1);
                let wrong = |(place, state): &(u64, Option<Hash>)| {
                    state.is_some_and(|state| state != chain::right(*place))
                };
                let first = ends.map(wrong).position(|is_wrong| is_wrong);
                let random = self.below(4);
                let first = first.filter(|_| self.chance(80)).map(|part| part as u64);
                let segment = u32::try_from(first.unwrap_or(random)).ok()?;
                (challenge.challenger, Action::BisectPick { dispute, segment })
            }
            Stage::Voting | Stage::Judged(_) | Stage::Void => {
                let finding = match self.below(12) {
                    0 => Finding::Missing,
                    1 => Finding::Fails,
                    _ => Finding::State { hash: chain::right(challenge.points.last()?.0) },
                };
                let voter = usize::try_from(self.below(VALIDATORS as u64)).unwrap();
                (self.people[voter], Action::StepVote { dispute, finding })
            }
        })
    }
}

/// What the provider of a lease always says.
fn claimed(lease: &LeaseId) -> u8 {
    lease.0.0[0] % 3
}

fn result(output: u8) -> TaskOutput {
    TaskOutput { output: Hash([output; 32]), fuel: 10 }
}
