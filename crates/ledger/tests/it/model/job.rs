//! Jobs, and what providers commit to.

use super::{Job, Model, Outcome, Refused, must};
use muster_ledger::{
    job::{JobKind, JobSpec, Verification},
    market::{Commitment, Draw},
};
use muster_types::{AccountId, Hash, JobId, LeaseId, Millis, TxId};

impl Model {
    pub(super) fn job_open(&mut self, tx: TxId, who: AccountId, spec: &JobSpec) -> Outcome {
        must((1..=1 << 32).contains(&spec.tasks) && spec.fuel_max >= 1)?;
        match spec.verification {
            Verification::None => must(!spec.metered)?,
            Verification::Replicate { sample_bps: bps } | Verification::Audit { rate_bps: bps } => {
                must((1..=10_000).contains(&bps))?;
            }
            Verification::Dispute => must(spec.kind == JobKind::Chain)?,
        }
        must((spec.verification == Verification::Dispute) == spec.chain.is_some())?;
        if let Some(chain) = &spec.chain {
            must((1..=4 << 30).contains(&chain.memory_max_bytes))?;
        }
        let escrow = self.escrow(&spec.escrow)?;
        must(escrow.owner == who && !escrow.closed)?;
        let (id, spec) = (JobId::derive(&tx), spec.clone());
        self.jobs.push(Job { id, tenant: who, spec, closed: false, final_since: None });
        Ok(())
    }

    pub(super) fn job_close(&mut self, who: AccountId, id: &JobId) -> Outcome {
        let waiting = self.orders.find(|order| order.job == Some(*id) && order.is_open()).is_some();
        must(!waiting)?;
        let job = self.jobs.find_mut(|one| one.id == *id).ok_or(Refused)?;
        must(job.tenant == who && !job.closed)?;
        job.closed = true;
        Ok(())
    }

    pub(super) fn result_commit(
        &mut self,
        who: AccountId,
        id: &LeaseId,
        root: Hash,
        count: u64,
        fuel: u64,
    ) -> Outcome {
        let lease = self.lease(id)?;
        must(lease.host.provider == who && !lease.is_settled())?;
        let spec = lease.job.map(|job| &self.job(&job).expect("a lease's job exists").spec);
        let tasks = spec.map_or(1 << 32, |spec| spec.tasks);
        must(match lease.verification {
            Verification::None | Verification::Replicate { .. } => count <= 1 << 32,
            Verification::Audit { .. } => count <= tasks,
            Verification::Dispute => (1..=tasks + 1).contains(&count),
        })?;
        if let Some(spec) = spec {
            must(u128::from(fuel) <= u128::from(count) * u128::from(spec.fuel_max))?;
        }
        if let Some(made) = &lease.commitment {
            must(lease.is_open())?;
            must(!lease.is_drawn() || self.height < made.height + 2)?;
        }
        let (at, height) = (Millis(self.now), self.height);
        self.lease_mut(id).commitment = Some(Commitment {
            root,
            count,
            at,
            fuel,
            height,
            round: height,
            draw: None,
            last: None,
        });
        Ok(())
    }

    /// The beacon of this block makes the commitments of two blocks ago final.
    pub(super) fn draws_due(&mut self) {
        let draw = Draw { beacon: self.beacon, steady: Millis(self.steady) };
        let is_due = |lease: &super::Lease| {
            lease.is_drawn()
                && !lease.is_settled()
                && lease
                    .commitment
                    .as_ref()
                    .is_some_and(|made| made.draw.is_none() && made.height + 2 <= self.height)
        };
        let due: Vec<LeaseId> =
            self.leases.iter().filter(|lease| is_due(lease)).map(|lease| lease.id).collect();
        for id in due {
            if let Some(made) = &mut self.lease_mut(&id).commitment {
                made.draw = Some(draw);
            }
        }
    }
}
