//! Disputes between two signed claims.

use super::{Dispute, Model, Outcome, Phase, Refused, Verdict, is_fault, must};
use muster_ledger::{
    dispute::Claim,
    job::{TaskOutput, Verification},
    market::CloseReason,
};
use muster_types::{AccountId, DisputeId, JobId, LeaseId, TxId};

impl Model {
    /// Whether a lease can still be challenged: it is open, or its window has not ended.
    pub(super) fn can_be_challenged(&self, id: &LeaseId) -> bool {
        let lease = self.lease(id).expect("the lease exists");
        let window = self.params.challenge_window_ms.0;
        let inside =
            lease.window_from().is_none_or(|from| self.steady.saturating_sub(from) < window);
        lease.is_open() || !lease.is_settled() && inside
    }

    pub(super) fn dispute_open(
        &mut self,
        tx: TxId,
        who: AccountId,
        job_id: &JobId,
        claims: &[Claim; 2],
        evidence: &str,
    ) -> Outcome {
        must(evidence.len() <= 1024)?;
        let job = self.job(job_id)?;
        must(job.tenant == who)?;
        let [first, second] = claims;
        must(first.task == second.task && first.result != second.result)?;
        must(first.lease != second.lease && first.task.job == *job_id)?;
        must(first.task.index < job.spec.tasks && first.task.fuel_limit <= job.spec.fuel_max)?;
        must(first.task.memory_limit_bytes <= 4 << 30)?;
        let mut challengeable = false;
        for claim in claims {
            let lease = self.lease(&claim.lease)?;
            must(lease.job == Some(*job_id) && lease.verification != Verification::Dispute)?;
            must(claim.is_signed_by(&self.chain, &lease.host.provider))?;
            challengeable |= self.can_be_challenged(&claim.lease);
            let names = |dispute: &&Dispute| {
                dispute.verdict == Verdict::None
                    && dispute.claims.iter().any(|(lease, _)| *lease == claim.lease)
            };
            must(self.disputes.iter().filter(names).count() < 16)?;
        }
        must(challengeable)?;
        self.disputes.push(Dispute {
            id: DisputeId::derive(&tx),
            opener: who,
            claims: [(first.lease, first.result), (second.lease, second.result)],
            votes: Vec::new(),
            deadline: self.steady + self.params.dispute_timeout_ms.0,
            verdict: Verdict::None,
            final_since: None,
        });
        Ok(())
    }

    pub(super) fn dispute_vote(
        &mut self,
        who: AccountId,
        id: &DisputeId,
        output: Option<TaskOutput>,
    ) -> Outcome {
        must(self.validators.contains(&who))?;
        let all = self.validators.len();
        let dispute = self.disputes.find_mut(|one| one.id == *id).ok_or(Refused)?;
        must(dispute.verdict == Verdict::None)?;
        must(!dispute.votes.iter().any(|(voter, _)| *voter == who))?;
        dispute.votes.push((who, output));
        let agreed = dispute.votes.iter().filter(|(_, vote)| *vote == output).count();
        if agreed * 3 > all * 2 {
            self.dispute_end(id, output);
        }
        Ok(())
    }

    pub(super) fn disputes_due(&mut self) {
        let steady = self.steady;
        let late =
            |dispute: &&Dispute| dispute.verdict == Verdict::None && dispute.deadline <= steady;
        let mut late: Vec<_> =
            self.disputes.iter().filter(late).map(|one| (one.deadline, one.id)).collect();
        late.sort_unstable();
        for (_, id) in late {
            self.dispute_end(&id, None);
        }
    }

    fn dispute_end(&mut self, id: &DisputeId, verdict: Option<TaskOutput>) {
        let dispute = self.disputes.find_mut(|one| one.id == *id).expect("it exists");
        dispute.verdict = verdict.map_or(Verdict::Void, Verdict::Judged);
        let dispute = dispute.clone();
        for (lease_id, claimed) in dispute.claims {
            if verdict.is_some_and(|verdict| verdict != claimed) {
                self.punish(&lease_id, dispute.opener);
            }
        }
        for (lease_id, _) in dispute.claims {
            self.settle_if_clear(&lease_id);
        }
        for (voter, named) in &dispute.votes {
            if let (Some(verdict), Some(named)) = (verdict, named)
                && verdict != *named
            {
                let validator = self.committee.owner(voter);
                self.slash_stake(&validator, self.params.slash_wrong_vote_bps);
            }
        }
    }

    /// Fraud.
    pub(super) fn punish(&mut self, id: &LeaseId, reporter: AccountId) {
        let lease = self.lease(id).expect("the lease exists");
        let (provider, phase) = (lease.host.provider, lease.phase);
        self.lost_dispute(&provider);
        match phase {
            Phase::Closed { reason, .. } if is_fault(reason) => {}
            Phase::Closed { .. } => self.broke_lease(&provider),
            _ => self.close(id, CloseReason::ProviderFraud),
        }
        if self.is_ending(id) {
            self.settle_for_good(id, true, Some(reporter));
        }
    }
}
