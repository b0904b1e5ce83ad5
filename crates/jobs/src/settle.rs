//! The end of a job: results committed, leases closed and settled, what is left given back. Every
//! step may be repeated, so that a settlement that was cut short is simply done again.

use crate::{
    JobError, checks,
    drive::{Drive, POLL},
    journal::Journal,
    ledger::{Ledger, Step, patient},
    progress::{EscrowTotals, Progress},
    schedule::Event,
};
use muster_api::views::{Escrow, Lease, Named};
use muster_ledger::{
    Action, Params,
    dispute::Claim,
    escrow::EscrowStatus,
    market::{CloseReason, LeaseStatus},
};
use muster_types::{EscrowId, JobId, LeaseId, Millis};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;

/// What a settlement may take beyond the ledger's own windows.
const SLACK: Duration = Duration::from_secs(120);
/// How long a provider that fell silent may stay open before its lease is closed, beyond the
/// ledger's own rule.
const STALL_SLACK: Duration = Duration::from_secs(5);

/// A settled job's money and leases.
pub(crate) struct Settled {
    pub(crate) escrow: Named<EscrowId, Escrow>,
    pub(crate) leases: Vec<Named<LeaseId, Lease>>,
}

impl Settled {
    pub(crate) fn totals(&self) -> EscrowTotals {
        EscrowTotals::of(&self.escrow.record)
    }
}

/// When settlement is given up: after the longest that the ledger's windows allow.
fn give_up_at(params: &Params) -> Instant {
    let windows = params
        .dispute_timeout_ms
        .after(params.challenge_window_ms)
        .after(params.stall_gap_ms)
        .after(params.stall_close_ms)
        .after(params.ready_timeout_ms);
    Instant::now() + Duration::from_millis(windows.0) + SLACK
}

/// Closes an escrow that nothing was ordered against.
pub(crate) async fn refund(
    ledger: &Ledger,
    escrow: EscrowId,
    until: Instant,
) -> Result<(), JobError> {
    let step = Step::new("escrow/close", "close the escrow");
    ledger.act(step, Action::EscrowClose { escrow }, until, |_, _| {}).await.map(|_| ())
}

impl Drive {
    /// Settles everything.
    pub(crate) async fn settle(
        &mut self,
        escrow: EscrowId,
        params: &Params,
    ) -> Result<Settled, JobError> {
        self.report(Progress::Closing);
        self.finish_errands().await;
        let until = give_up_at(params);
        self.cancel_orders(until).await?;
        self.commit(until).await?;
        let stall = params.stall_gap_ms.after(params.stall_close_ms).after(params.ready_timeout_ms);
        let patience = Duration::from_millis(stall.0) + STALL_SLACK;
        self.close_leases(until, Instant::now() + patience).await?;
        let job = self.shared.job;
        let step = Step::new("job/close", "close the job");
        self.shared.ledger.act(step, Action::JobClose { job }, until, |_, _| {}).await?;
        self.await_settlement(escrow, until).await?;
        let step = Step::new("escrow/close", "close the escrow");
        let action = Action::EscrowClose { escrow };
        self.shared.ledger.act(step, action, until, |_, _| {}).await?;
        let client = self.shared.ledger.client();
        let leases = leases_of(&self.shared.ledger, job, until).await?;
        let escrow = patient(until, || client.escrow(&escrow)).await?;
        let escrow = escrow.ok_or(JobError::Stopped)?;
        debug_assert_eq!(escrow.record.status, EscrowStatus::Closed);
        let settled = Settled { escrow, leases };
        self.report(Progress::Closed { escrow: settled.totals() });
        Ok(settled)
    }

    /// Withdraws what still waits for offers.
    async fn cancel_orders(&self, until: Instant) -> Result<(), JobError> {
        let ledger = &self.shared.ledger;
        for order in self.orders.keys() {
            let record = patient(until, || ledger.client().order(order)).await?;
            if record.is_some_and(|order| order.record.status.is_open()) {
                let step = Step::new(format!("cancel/{order}"), "cancel an order");
                let action = Action::OrderCancel { order: *order };
                ledger.act(step, action, until, |_, _| {}).await?;
            }
        }
        Ok(())
    }

    /// Has every provider that still answers commit to what it gave.
    async fn commit(&self, until: Instant) -> Result<(), JobError> {
        let given = self.given().await?;
        let commits = self
            .handles
            .iter()
            .map(|(lease, handle)| async move { (*lease, handle.commit().await) });
        for (lease, committed) in futures::future::join_all(commits).await {
            let Some((root, count)) = committed else { continue };
            let claims: Vec<Claim> = given
                .get(&lease)
                .map(|claims| claims.values().copied().collect())
                .unwrap_or_default();
            if checks::commitment_holds(&claims, &root, count) == Some(false) {
                tracing::warn!(lease = %lease.short(), "the commitment is not over the results");
            }
            if count > 0 {
                self.await_commitment(lease, until).await?;
            }
        }
        Ok(())
    }

    /// A close must not overtake the commitment.
    async fn await_commitment(&self, lease: LeaseId, until: Instant) -> Result<(), JobError> {
        let client = self.shared.ledger.client();
        let enough = Instant::now() + STALL_SLACK;
        while Instant::now() < enough {
            let record = patient(until, || client.lease(&lease)).await?;
            let waits = record.is_some_and(|lease| {
                lease.record.commitment.is_none()
                    && !matches!(lease.record.status, LeaseStatus::Closed { .. })
            });
            if !waits {
                break;
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// What each lease gave, by index; of a task that was run twice, the last.
    async fn given(&self) -> Result<BTreeMap<LeaseId, BTreeMap<u64, Claim>>, JobError> {
        let log = self.shared.ledger.journal(Journal::log).await?;
        let mut given: BTreeMap<LeaseId, BTreeMap<u64, Claim>> = BTreeMap::new();
        for event in log {
            let Event::Ran { lease, claims, .. } = event else { continue };
            let of_lease = given.entry(lease).or_default();
            of_lease.extend(claims.into_iter().map(|claim| (claim.task.index, claim)));
        }
        Ok(given)
    }

    /// Closes what is open. A provider that fell silent is left to the ledger's own rule until
    /// `silent_until`: so it is its fault, and not the tenant's will, that ends the lease. One that
    /// still sends heartbeats would be paid for all that time: its lease is closed.
    async fn close_leases(
        &mut self,
        until: Instant,
        silent_until: Instant,
    ) -> Result<(), JobError> {
        let mut seen: BTreeMap<LeaseId, Millis> = BTreeMap::new();
        loop {
            let mut waits = false;
            let leases = leases_of(&self.shared.ledger, self.shared.job, until).await?;
            for Named { id, record } in leases {
                let alive = *seen.entry(id).or_insert(record.covered) < record.covered;
                if matches!(record.status, LeaseStatus::Closed { .. }) {
                    continue;
                }
                let left = self.schedule.leases().any(|lease| lease.lease == id && !lease.live);
                if left && !alive && Instant::now() < silent_until {
                    waits = true;
                    continue;
                }
                let step = Step::new(format!("close/{id}"), "close a lease");
                let action = Action::LeaseClose { lease: id };
                self.shared.ledger.act(step, action, until, |_, _| {}).await?;
            }
            if !waits {
                self.handles.clear();
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Accepts what may be accepted and waits until nothing draws from the escrow any more.
    async fn await_settlement(&self, escrow: EscrowId, until: Instant) -> Result<(), JobError> {
        loop {
            let mut waits = false;
            let leases = leases_of(&self.shared.ledger, self.shared.job, until).await?;
            for Named { id, record } in leases {
                let LeaseStatus::Closed { reason, settled, .. } = record.status else {
                    waits = true;
                    continue;
                };
                if settled {
                    continue;
                }
                waits = true;
                if reason != CloseReason::ProviderFraud && record.disputes == 0 {
                    self.accept(id, until).await?;
                }
            }
            if !waits {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(JobError::Unsettled { escrow });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn accept(&self, lease: LeaseId, until: Instant) -> Result<(), JobError> {
        let step = Step::new(format!("accept/{lease}"), "accept a lease's results");
        let action = Action::ResultAccept { lease };
        match self.shared.ledger.act(step, action, until, |_, _| {}).await {
            // Then the challenge window settles it.
            Err(JobError::Refused { source, .. }) => {
                tracing::debug!(lease = %lease.short(), error = %source, "not accepted");
                Ok(())
            }
            done => done.map(|_| ()),
        }
    }
}

async fn leases_of(
    ledger: &Ledger,
    job: JobId,
    until: Instant,
) -> Result<Vec<Named<LeaseId, Lease>>, JobError> {
    Ok(patient(until, || ledger.client().leases_of_job(&job)).await?)
}
