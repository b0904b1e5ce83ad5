//! A lease's services, as this process knows them.

use super::{
    Stage,
    machine::Pulling,
    now_ms,
    plan::{self, ReplicaPlan},
};
use crate::journal::{JournalError, ReplicaEntry, ServiceEntry};
use crate::shared::Shared;
use muster_api::service::{Container, Deploy, Port, Status};
use muster_market::Request;
use muster_sandbox::oci::{
    container::{Containers, State},
    image::Image,
};
use muster_types::{AccountId, Hash, LeaseId};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) struct Deployment {
    pub(crate) lease: LeaseId,
    pub(crate) tenant: AccountId,
    pub(crate) replicas: Vec<Replica>,
    board: Mutex<Board>,
    /// Held while containers are made, which is not cut short.
    pub(crate) making: Arc<tokio::sync::Mutex<()>>,
    /// One write to the journal at a time, in order.
    writing: tokio::sync::Mutex<()>,
    /// Cancelled when it ends: no more connections to it.
    pub(crate) ended: CancellationToken,
}

struct Board {
    entry: ServiceEntry,
    pulling: Pulling,
}

pub(crate) struct Replica {
    pub(crate) plan: ReplicaPlan,
    image: Mutex<Option<Image>>,
    /// How often its container was made by this process.
    pub(crate) made: watch::Sender<u64>,
    /// Ports in the container, and where the provider serves them.
    served: Mutex<Vec<(u16, String)>>,
}

impl Deployment {
    /// One that was written down; `request` is what was leased.
    pub(crate) fn new(
        lease: LeaseId,
        entry: ServiceEntry,
        request: Option<&Request>,
    ) -> Result<Self, String> {
        let plans = match (&entry.deploy, request) {
            (Some(deploy), Some(request)) => plan::lower(deploy, request)?,
            // Its lease is gone, what it took no longer matters.
            (Some(deploy), None) => plan::lower(deploy, &everything())?,
            (None, _) => Vec::new(),
        };
        let replica = |plan| Replica {
            plan,
            image: Mutex::default(),
            made: watch::Sender::new(0),
            served: Mutex::default(),
        };
        let replicas: Vec<Replica> = plans.into_iter().map(replica).collect();
        let mut entry = entry;
        entry.replicas.resize(replicas.len(), ReplicaEntry::default());
        Ok(Self {
            lease,
            tenant: entry.tenant,
            replicas,
            board: Mutex::new(Board { entry, pulling: Pulling::default() }),
            making: Arc::default(),
            writing: tokio::sync::Mutex::default(),
            ended: CancellationToken::new(),
        })
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn entry(&self) -> ServiceEntry {
        self.board().entry.clone()
    }

    pub(crate) fn stage(&self) -> Stage {
        self.board().entry.stage.clone()
    }

    /// Containers of the same may talk to each other.
    pub(crate) fn network(&self) -> Hash {
        self.board().entry.network
    }

    /// Whether nothing is left of it.
    pub(crate) fn is_over(&self) -> bool {
        let board = self.board();
        board.entry.stage.ends() && board.entry.deploy.is_none()
    }

    /// Whether this is what runs under the lease, or did.
    pub(crate) fn is(&self, deploy: &Deploy) -> Option<bool> {
        self.board().entry.deploy.as_ref().map(|known| known == deploy)
    }

    pub(crate) fn set_pulling(&self, pulling: Pulling) {
        self.board().pulling = pulling;
    }

    /// Changes what is known of it, on disk first.
    pub(crate) async fn change(
        &self,
        shared: &Shared,
        change: impl FnOnce(&mut ServiceEntry),
    ) -> Result<(), JournalError> {
        let _one = self.writing.lock().await;
        let mut entry = self.entry();
        change(&mut entry);
        entry.at_ms = now_ms();
        let (lease, written) = (self.lease, entry.clone());
        shared.journal(move |journal| journal.set_services(lease, &written)).await?;
        self.board().entry = entry;
        Ok(())
    }

    /// Where it stands, for its tenant.
    pub(crate) fn status(&self, containers: &Containers) -> Status {
        let board = self.board();
        let step = board.entry.stage.step(board.pulling.clone());
        let entries = board.entry.replicas.clone();
        drop(board);
        let container = |(replica, entry): (&Replica, ReplicaEntry)| {
            let found = containers.get(&replica.plan.id).and_then(|found| found.state());
            Container {
                service: replica.plan.service.clone(),
                image: replica.image().map(|image| image.digest.to_string()),
                running: matches!(found, Ok(State::Running)),
                restarts: entry.restarts,
                last_exit: entry.last_exit,
                ports: replica.ports(),
            }
        };
        let containers = self.replicas.iter().zip(entries).map(container).collect();
        Status { step, containers }
    }

    pub(crate) fn replica(&self, service: &str) -> Option<(usize, &Replica)> {
        self.replicas.iter().enumerate().find(|(_, replica)| replica.plan.service == service)
    }
}

/// For what is only to be removed.
fn everything() -> Request {
    Request {
        cpu_milli: u64::MAX,
        memory_bytes: u64::MAX,
        disk_bytes: u64::MAX,
        ..Request::default()
    }
}

impl Replica {
    pub(crate) fn image(&self) -> Option<Image> {
        self.image.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps the image's layers from being dropped, until it is set to none.
    pub(crate) fn set_image(&self, image: Option<Image>) {
        *self.image.lock().unwrap_or_else(PoisonError::into_inner) = image;
    }

    pub(crate) fn set_served(&self, port: u16, address: String) {
        self.served.lock().unwrap_or_else(PoisonError::into_inner).push((port, address));
    }

    fn ports(&self) -> Vec<Port> {
        let served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        let address = |port: u16| served.iter().find(|(known, _)| *known == port);
        let port = |&(port, _): &(u16, bool)| Port {
            port,
            address: address(port).map(|(_, address)| address.clone()),
        };
        self.plan.ports.iter().map(port).collect()
    }

    /// Whether any of its ports is served by this process.
    pub(crate) fn is_served(&self, port: u16) -> bool {
        let served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        served.iter().any(|(known, _)| *known == port)
    }
}
