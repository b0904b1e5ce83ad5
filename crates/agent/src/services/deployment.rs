//! A lease's service, as this process knows it.

use super::{
    Stage,
    machine::Pulling,
    now_ms,
    plan::{self, ReplicaPlan},
};
use crate::journal::{JournalError, ServiceEntry};
use crate::shared::Shared;
use muster_api::service::{Container, Deploy, Port, Status, Step, commitment};
use muster_market::Request;
use muster_sandbox::oci::{
    container::{Containers, State},
    image::Image,
};
use muster_types::{AccountId, Hash, LeaseId};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) struct Deployment {
    pub(crate) lease: LeaseId,
    pub(crate) tenant: AccountId,
    board: Mutex<Board>,
    /// How often its container was made by this process.
    pub(crate) made: watch::Sender<u64>,
    /// Held while its container is made, which is not cut short.
    pub(crate) making: Arc<tokio::sync::Mutex<()>>,
    /// One write to the journal at a time, in order.
    writing: tokio::sync::Mutex<()>,
    /// Told when another manifest was delivered.
    delivered: Notify,
    /// Cancelled when it ends: no more connections to it.
    pub(crate) ended: CancellationToken,
}

struct Board {
    entry: ServiceEntry,
    /// `None` once nothing is left of it.
    replica: Option<Arc<Replica>>,
    pulling: Pulling,
    served: Vec<Served>,
}

/// A port that is served for everybody.
struct Served {
    port: u16,
    address: String,
    _until: DropGuard,
}

/// What its container is made of.
pub(crate) struct Replica {
    pub(crate) plan: ReplicaPlan,
    image: Mutex<Option<Image>>,
}

impl Deployment {
    /// One that was written down; `request` is what was leased.
    pub(crate) fn new(
        lease: LeaseId,
        entry: ServiceEntry,
        request: Option<&Request>,
    ) -> Result<Self, String> {
        let plan = match (&entry.deploy, request) {
            (Some(deploy), Some(request)) => Some(plan::lower(deploy, request)?),
            // Its lease is gone, what it took no longer matters.
            (Some(deploy), None) => Some(plan::lower(deploy, &everything())?),
            (None, _) => None,
        };
        let replica = plan.map(|plan| Arc::new(Replica::new(plan)));
        let (tenant, pulling, served) = (entry.tenant, Pulling::default(), Vec::new());
        Ok(Self {
            lease,
            tenant,
            board: Mutex::new(Board { entry, replica, pulling, served }),
            made: watch::Sender::new(0),
            making: Arc::default(),
            writing: tokio::sync::Mutex::default(),
            delivered: Notify::new(),
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

    /// What its container is made of, or will be; `None` once nothing is left of it.
    pub(crate) fn replica(&self) -> Option<Arc<Replica>> {
        self.board().replica.clone()
    }

    /// Puts another in its place, and closes the ports that this one does not have.
    pub(crate) fn set_replica(&self, replica: Arc<Replica>) {
        let mut board = self.board();
        board.served.retain(|served| replica.plan.is_global(served.port));
        board.replica = Some(replica);
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

    /// The commitment of the manifest that its container is of.
    pub(crate) fn commitment(&self) -> Option<Hash> {
        let board = self.board();
        board.entry.deploy.as_ref().map(|deploy| commitment(&deploy.manifest, &deploy.salt))
    }

    /// What runs under the lease, or will, as far as it is known.
    pub(crate) fn wanted(&self) -> Option<Deploy> {
        let board = self.board();
        board.entry.update.as_ref().or(board.entry.deploy.as_ref()).cloned()
    }

    /// Returns when another manifest waits to be taken up.
    pub(crate) async fn delivered(&self) {
        while self.board().entry.update.is_none() {
            self.delivered.notified().await;
        }
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
        let mut board = self.board();
        if entry.deploy.is_none() {
            board.replica = None;
        }
        board.entry = entry;
        drop(board);
        self.delivered.notify_one();
        Ok(())
    }

    /// Where it stands, for its tenant.
    pub(crate) fn status(&self, containers: &Containers) -> Status {
        let board = self.board();
        let entry = board.entry.clone();
        let step = match entry.update {
            // It is taken up at once.
            Some(_) if entry.stage == Stage::Running => Step::Updating,
            _ => entry.stage.step(board.pulling.clone()),
        };
        let (replica, ports) = (board.replica.clone(), board.ports());
        drop(board);
        let container = replica.map(|replica| {
            let found = containers.get(&replica.plan.id).and_then(|found| found.state());
            Container {
                service: replica.plan.service.clone(),
                image: replica.image().map(|image| image.digest.to_string()),
                running: matches!(found, Ok(State::Running)),
                restarts: entry.replica.restarts,
                last_exit: entry.replica.last_exit,
                ports,
            }
        });
        let manifest = self.commitment();
        Status { step, manifest, container, update_failed: entry.update_failed }
    }

    /// Notes where a port is served, until the token is cancelled that it gives.
    pub(crate) fn serve(&self, port: u16, address: String) -> CancellationToken {
        let until = CancellationToken::new();
        let served = Served { port, address, _until: until.clone().drop_guard() };
        self.board().served.push(served);
        until
    }

    /// Whether a port is served by this process.
    pub(crate) fn is_served(&self, port: u16) -> bool {
        self.board().served.iter().any(|served| served.port == port)
    }
}

impl Board {
    fn ports(&self) -> Vec<Port> {
        let address = |port: u16| self.served.iter().find(|served| served.port == port);
        let port = |&(port, _): &(u16, bool)| Port {
            port,
            address: address(port).map(|served| served.address.clone()),
        };
        self.replica.iter().flat_map(|replica| &replica.plan.ports).map(port).collect()
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
    pub(crate) fn new(plan: ReplicaPlan) -> Self {
        Self { plan, image: Mutex::default() }
    }

    pub(crate) fn image(&self) -> Option<Image> {
        self.image.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps the image's layers from being dropped, until it is set to none.
    pub(crate) fn set_image(&self, image: Option<Image>) {
        *self.image.lock().unwrap_or_else(PoisonError::into_inner) = image;
    }
}
