//! Disputes between two signed claims.

use super::{Dispute, Model, Outcome, Phase, Refused, ms, must};
use muster_ledger::{dispute::Claim, job::TaskOutput, market::CloseReason};
use muster_types::{AccountId, DisputeId, JobId, LeaseId, TxId};

impl Model {
    /// Whether an open dispute names a lease.
    pub(super) fn is_disputed(&self, id: &LeaseId) -> bool {
        let names = |dispute: &Dispute| dispute.claims.iter().any(|(lease, _)| lease == id);
        self.disputes.iter().any(|dispute| dispute.open && names(dispute))
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
        let job = self.jobs.iter().find(|one| one.id == *job_id).ok_or(Refused)?.clone();
        must(job.tenant == who)?;
        let [first, second] = claims;
        must(first.task == second.task && first.result != second.result)?;
        must(first.lease != second.lease && first.task.job == *job_id)?;
        must(first.task.index < job.spec.tasks && first.task.fuel_limit <= job.spec.fuel_max)?;
        must(first.task.memory_limit_bytes <= 4 << 30)?;
        let mut challengeable = false;
        for claim in claims {
            let lease = self.lease(&claim.lease)?;
            must(self.order_of(lease).job == Some(*job_id))?;
            must(claim.is_signed_by(&self.chain, &lease.host.provider))?;
            let window = ms(self.params.challenge_window_ms);
            challengeable |= match lease.phase {
                Phase::Closed { settled, .. } => {
                    !settled && self.steady - lease.seen_steady < window
                }
                _ => true,
            };
            let names = |dispute: &&Dispute| {
                dispute.open && dispute.claims.iter().any(|(lease, _)| *lease == claim.lease)
            };
            must(self.disputes.iter().filter(names).count() < 16)?;
        }
        must(challengeable)?;
        self.disputes.push(Dispute {
            id: DisputeId::derive(&tx),
            opener: who,
            claims: [(first.lease, first.result), (second.lease, second.result)],
            votes: Vec::new(),
            deadline: self.steady + ms(self.params.dispute_timeout_ms),
            open: true,
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
        let dispute = self.disputes.iter_mut().find(|one| one.id == *id).ok_or(Refused)?;
        must(dispute.open && !dispute.votes.iter().any(|(voter, _)| *voter == who))?;
        dispute.votes.push((who, output));
        let agreed = dispute.votes.iter().filter(|(_, vote)| *vote == output).count();
        if agreed * 3 > all * 2 {
            self.dispute_end(id, output);
        }
        Ok(())
    }

    pub(super) fn disputes_due(&mut self) {
        let steady = self.steady;
        let late = |dispute: &&Dispute| dispute.open && dispute.deadline <= steady;
        let mut late: Vec<_> =
            self.disputes.iter().filter(late).map(|one| (one.deadline, one.id)).collect();
        late.sort_unstable();
        for (_, id) in late {
            self.dispute_end(&id, None);
        }
    }

    fn dispute_end(&mut self, id: &DisputeId, verdict: Option<TaskOutput>) {
        let dispute = self.disputes.iter_mut().find(|one| one.id == *id).expect("it exists");
        dispute.open = false;
        let dispute = dispute.clone();
        for (lease_id, claimed) in dispute.claims {
            if verdict.is_some_and(|verdict| verdict != claimed) {
                self.punish(&lease_id, dispute.opener);
            }
        }
        for (lease_id, _) in dispute.claims {
            self.settle_if_clear(&lease_id);
        }
    }

    fn punish(&mut self, id: &LeaseId, reporter: AccountId) {
        let lease = self.lease(id).expect("the lease exists").clone();
        let provider = self.provider_mut(&lease.host.provider).expect("it exists");
        provider.lost += 1;
        if let Phase::Closed { reason, .. } = lease.phase
            && matches!(reason, CloseReason::TenantClosed | CloseReason::OutOfFunds)
        {
            provider.broken += 1;
        }
        if lease.is_open() {
            self.close(id, CloseReason::ProviderFraud);
        }
        if !self.lease(id).expect("it exists").is_settled() {
            self.slash(id, CloseReason::ProviderFraud, Some(reporter));
            self.settle_for_good(id, true);
        }
    }
}
