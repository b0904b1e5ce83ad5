//! What every part of a running provider shares.

use crate::{
    AgentError, SimulatedFault,
    denial::Denial,
    journal::{Journal, JournalError, Released},
    lease::{Leases, Slot},
    services::Services,
};
use muster_api::Wallet;
use muster_fabric::Fabric;
use muster_sandbox::Compiler;
use muster_types::{AccountId, LeaseId};
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};
use tokio::sync::{Semaphore, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Leases that strangers can make us look up on the ledger at once.
const LOOK_UPS: usize = 4;

pub(crate) struct Shared {
    pub(crate) me: AccountId,
    pub(crate) wallet: Wallet,
    pub(crate) fabric: Fabric,
    /// `None` when the provider has ended.
    journal: Mutex<Option<Arc<Journal>>>,
    /// `None` where no containers are run, and when the provider has ended.
    services: Mutex<Option<Arc<Services>>>,
    pub(crate) leases: Leases,
    pub(crate) compiler: Compiler,
    /// Tasks that run at once.
    pub(crate) workers: Arc<Semaphore>,
    pub(crate) fault: Option<SimulatedFault>,
    /// No new preparations and runs.
    pub(crate) stopping: CancellationToken,
    /// Everything ends.
    pub(crate) ended: CancellationToken,
    pub(crate) tracker: TaskTracker,
    pub(crate) failure: watch::Sender<Option<Arc<AgentError>>>,
    pub(crate) tasks_run: AtomicU64,
    pub(crate) fuel_used: AtomicU64,
    look_ups: Semaphore,
}

/// What [`Shared`] is made of.
pub(crate) struct Parts {
    pub(crate) wallet: Wallet,
    pub(crate) fabric: Fabric,
    pub(crate) journal: Journal,
    pub(crate) services: Option<Services>,
    pub(crate) compiler: Compiler,
    pub(crate) workers: usize,
    pub(crate) fault: Option<SimulatedFault>,
}

impl Shared {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            me: parts.wallet.account(),
            wallet: parts.wallet,
            fabric: parts.fabric,
            journal: Mutex::new(Some(Arc::new(parts.journal))),
            services: Mutex::new(parts.services.map(Arc::new)),
            leases: Leases::default(),
            compiler: parts.compiler,
            workers: Arc::new(Semaphore::new(parts.workers)),
            fault: parts.fault,
            stopping: CancellationToken::new(),
            ended: CancellationToken::new(),
            tracker: TaskTracker::new(),
            failure: watch::Sender::new(None),
            tasks_run: AtomicU64::new(0),
            fuel_used: AtomicU64::new(0),
            look_ups: Semaphore::new(LOOK_UPS),
        }
    }

    /// Gives up: the first failure is kept, everything ends.
    pub(crate) fn fail(&self, error: AgentError) {
        tracing::error!(error = crate::denial::chain(&error), "the provider gives up");
        self.failure.send_if_modified(|failure| {
            let first = failure.is_none();
            failure.get_or_insert_with(|| Arc::new(error));
            first
        });
        self.stopping.cancel();
        self.ended.cancel();
    }

    /// Uses the journal off the async threads.
    pub(crate) async fn journal<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Journal) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let journal = journal.ok_or(JournalError::Closed)?;
        match self.tracker.spawn_blocking(move || act(&journal)).await {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(JournalError::Closed),
            },
        }
    }

    /// What runs containers.
    pub(crate) fn services(&self) -> Option<Arc<Services>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends everything that runs and closes what was opened.
    pub(crate) async fn end(&self) {
        self.stopping.cancel();
        self.ended.cancel();
        self.fabric.shutdown().await;
        self.tracker.close();
        self.tracker.wait().await;
        self.journal.lock().unwrap_or_else(PoisonError::into_inner).take();
        let services = self.services.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(services) = services {
            services.end().await;
        }
    }

    /// The slot of a lease, from the ledger where no event told of it yet.
    pub(crate) async fn lease(&self, id: LeaseId) -> Result<Arc<Slot>, Denial> {
        if let Some(slot) = self.leases.get(&id) {
            return Ok(slot);
        }
        let Ok(_turn) = self.look_ups.acquire().await else { return Err(Denial::Stopping) };
        self.learn(id).await.map_err(|error| Denial::ledger(&error))?.ok_or(Denial::UnknownLease)
    }

    /// Asks the ledger for a lease; `None` where it is not ours or owes nothing any more.
    pub(crate) async fn learn(
        &self,
        id: LeaseId,
    ) -> Result<Option<Arc<Slot>>, muster_api::ClientError> {
        if let Some(slot) = self.leases.get(&id) {
            return Ok(Some(slot));
        }
        let Some(lease) = self.wallet.client().lease(&id).await? else { return Ok(None) };
        if lease.record.host.provider != self.me {
            return Ok(None);
        }
        Ok(Slot::new(id, &lease.record).map(|slot| self.leases.insert(slot)))
    }

    pub(crate) fn count(&self, fuel: u64) {
        self.tasks_run.fetch_add(1, Ordering::Relaxed);
        self.fuel_used.fetch_add(fuel, Ordering::Relaxed);
    }
}

/// Lets go of blobs that no lease keeps any more.
pub(crate) async fn let_go(fabric: &Fabric, tenant: AccountId, released: Released) {
    for blob in released.revoke {
        fabric.gate().revoke(tenant, blob);
    }
    for blob in released.unpin {
        if let Err(error) = fabric.unpin(blob).await {
            tracing::warn!(%error, blob = %blob.short(), "a blob was not let go of");
        }
    }
}
