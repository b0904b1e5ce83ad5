//! Following the ledger: which leases are ours and where they stand.
//!
//! Two ways that agree: events as they come, and [`Shared::reconcile`], which asks for everything,
//! at the start and whenever something may have been missed.

use crate::{
    backoff::Backoff,
    denial::chain,
    lease::{Phase, Slot},
    shared::{Shared, let_go},
};
use futures::{StreamExt, stream};
use muster_api::{
    ClientError,
    views::{BlockEvents, Event},
};
use muster_ledger::market::LeaseStatus;
use muster_types::LeaseId;
use std::{sync::Arc, time::Duration};

/// An event stream that is silent for this long is opened anew.
const SILENCE: Duration = Duration::from_secs(30);

/// Leases that are asked for at once.
const LOOK_UPS: usize = 8;

impl Shared {
    /// Follows events from block `next` on, for ever.
    pub(crate) async fn follow(self: Arc<Self>, mut next: u64) {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        loop {
            match self.follow_once(&mut next, &mut backoff).await {
                Ok(()) => tracing::debug!(next, "the event stream ended: opened anew"),
                Err(error) if error.code().is_some() && !error.is_transient() => {
                    // Blocks that far back are gone, or the chain is younger: start from now.
                    tracing::warn!(error = chain(&error), next, "events were missed");
                    match self.reconcile().await {
                        Ok(height) => next = height.saturating_add(1),
                        Err(error) => tracing::warn!(error = chain(&error), "no answer"),
                    }
                }
                Err(error) => tracing::warn!(error = chain(&error), next, "no events"),
            }
            tokio::time::sleep(backoff.next()).await;
        }
    }

    async fn follow_once(
        self: &Arc<Self>,
        next: &mut u64,
        backoff: &mut Backoff,
    ) -> Result<(), ClientError> {
        let mut events = self.wallet.client().events(Some(*next)).await?;
        while let Ok(Some(block)) = tokio::time::timeout(SILENCE, events.next()).await {
            let block: BlockEvents = block?;
            // Only then is the block seen: what fails in between is done again.
            self.take(&block).await?;
            *next = block.height.saturating_add(1);
            backoff.reset();
        }
        Ok(())
    }

    /// Takes in one block's events. Taking them in twice changes nothing.
    async fn take(self: &Arc<Self>, block: &BlockEvents) -> Result<(), ClientError> {
        let granted = block.events.iter().filter_map(|event| match event {
            Event::LeaseGranted { lease, host, .. } if host.provider == self.me => Some(*lease),
            _ => None,
        });
        let granted: Vec<LeaseId> = granted.collect();
        let mut learnt =
            stream::iter(granted).map(|lease| self.learn(lease)).buffer_unordered(LOOK_UPS);
        while let Some(slot) = learnt.next().await {
            if let Some(slot) = slot? {
                tracing::info!(lease = %slot.id.short(), tenant = %slot.tenant.short(), "granted");
                self.await_manifest(slot);
            }
        }
        for event in &block.events {
            match event {
                Event::LeaseStarted { lease, .. } | Event::LeaseResumed { lease, .. } => {
                    self.advance(lease, Some(Phase::Live));
                }
                Event::LeaseStalled { lease, provider, .. } if *provider == self.me => {
                    tracing::warn!(lease = %lease.short(), "the ledger misses our heartbeats");
                    self.advance(lease, Some(Phase::Live));
                }
                Event::LeaseUpdating { lease, provider, .. } if *provider == self.me => {
                    let live = |slot: &Arc<Slot>| slot.phase() == Phase::Live;
                    if let Some(slot) = self.leases.get(lease).filter(live) {
                        self.await_update(slot);
                    }
                }
                Event::LeaseUpdated { lease, provider, .. } if *provider == self.me => {
                    if let Some(slot) = self.leases.get(lease) {
                        slot.end_update();
                    }
                }
                Event::LeaseReclaiming { lease, provider, until, .. } if *provider == self.me => {
                    tracing::info!(lease = %lease.short(), %until, "will end");
                }
                Event::LeaseClosed { lease, provider, reason, .. } if *provider == self.me => {
                    tracing::info!(lease = %lease.short(), ?reason, "closed");
                    self.advance(lease, Some(Phase::Closed));
                }
                Event::LeaseSettled { lease, provider, paid, forfeited, .. }
                    if *provider == self.me =>
                {
                    tracing::info!(lease = %lease.short(), %paid, %forfeited, "settled");
                    self.advance(lease, None);
                }
                Event::Slashed { provider, lease, reason, amount, .. } if *provider == self.me => {
                    tracing::error!(lease = %lease.short(), ?reason, %amount, "bond was slashed");
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Moves a lease on; `None` when it is settled.
    fn advance(self: &Arc<Self>, lease: &LeaseId, phase: Option<Phase>) {
        let Some(slot) = self.leases.get(lease) else { return };
        let before = slot.phase();
        slot.advance(phase.unwrap_or(Phase::Closed));
        match phase {
            Some(Phase::Closed) if before != Phase::Closed => self.release(slot, false),
            Some(_) => {}
            None => {
                self.leases.remove(lease);
                self.release(slot, true);
            }
        }
    }

    /// Lets go of what a closed (or settled) lease kept, when its last run has ended.
    fn release(self: &Arc<Self>, slot: Arc<Slot>, settled: bool) {
        let shared = Arc::clone(self);
        self.tracker.spawn(async move {
            let _quiet = slot.quiet.write().await;
            let id = slot.id;
            let released =
                shared.journal(
                    move |journal| {
                        if settled { journal.forget(id) } else { journal.close(id) }
                    },
                );
            match released.await {
                Ok(released) => let_go(&shared.fabric, slot.tenant, released).await,
                Err(error) => {
                    tracing::error!(error = chain(&error), lease = %id.short(), "not released");
                }
            }
        });
    }

    /// Brings what we know in line with the ledger. Returns a height whose events and all before
    /// are accounted for.
    ///
    /// # Errors
    /// The node could not be asked; calling again is harmless.
    pub(crate) async fn reconcile(self: &Arc<Self>) -> Result<u64, ClientError> {
        let client = self.wallet.client();
        let height = client.status().await?.height;
        let open = client.leases_of_provider(&self.me, true).await?;
        let mut listed = std::collections::BTreeSet::new();
        for lease in open {
            listed.insert(lease.id);
            let phase = Phase::of(&lease.record.status);
            match Slot::new(lease.id, &lease.record) {
                Some(slot) if self.leases.get(&lease.id).is_none() => {
                    let slot = self.leases.insert(slot);
                    if phase == Some(Phase::Granted) {
                        self.await_manifest(slot);
                    }
                }
                _ => self.advance(&lease.id, phase),
            }
            // It began before a restart, or its event was missed.
            let unseen = |slot: &Arc<Slot>| !slot.is_updating(None);
            if matches!(lease.record.status, LeaseStatus::Updating { .. })
                && let Some(slot) = self.leases.get(&lease.id).filter(unseen)
            {
                self.await_update(slot);
            }
        }
        // Closed ones that still owe something, and those that ended unseen.
        for slot in self.leases.all() {
            if !listed.contains(&slot.id) {
                let lease = client.lease(&slot.id).await?;
                self.advance(&slot.id, lease.and_then(|lease| Phase::of(&lease.record.status)));
            }
        }
        Ok(height)
    }

    /// After a restart: what the journal knows is served again, as far as it is still owed.
    ///
    /// # Errors
    /// The node could not be asked, or the journal failed.
    pub(crate) async fn recover(self: &Arc<Self>) -> Result<(), crate::AgentError> {
        for id in self.journal(crate::journal::Journal::leases).await? {
            let slot = self.learn(id).await;
            let slot = slot.map_err(crate::AgentError::node("ask the ledger for a lease"))?;
            let Some(slot) = slot else {
                let entry = self.journal(move |journal| journal.lease(id)).await?;
                let released = self.journal(move |journal| journal.forget(id)).await?;
                if let Some(entry) = entry {
                    let_go(&self.fabric, entry.tenant, released).await;
                }
                continue;
            };
            if slot.phase() == Phase::Closed {
                let released = self.journal(move |journal| journal.close(id)).await?;
                let_go(&self.fabric, slot.tenant, released).await;
            }
            let results = self.journal(move |journal| journal.results(id)).await?;
            for result in results {
                self.fabric.gate().allow(slot.tenant, result.claim.result.output);
                slot.stored.fetch_add(result.output_bytes, std::sync::atomic::Ordering::Relaxed);
            }
            let entry = self.journal(move |journal| journal.lease(id)).await?;
            if let Some(setup) = entry.and_then(|entry| entry.setup)
                && slot.phase() != Phase::Closed
            {
                let shared = Arc::clone(self);
                self.tracker.spawn(async move {
                    let taken = shared.take_up(&slot, setup);
                    match shared.ended.run_until_cancelled(taken).await {
                        Some(Ok(())) => tracing::info!(lease = %slot.id.short(), "taken up again"),
                        Some(Err(denial)) => tracing::info!(
                            lease = %slot.id.short(), %denial, "waits to be prepared again"
                        ),
                        None => {}
                    }
                });
            }
        }
        Ok(())
    }
}
