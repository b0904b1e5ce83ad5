//! What the parts of a running job share.

use crate::{JobError, files::Objects, ledger::Ledger, plan::Plan, schedule::Event};
use muster_api::views::{BlockEvents, Lease, Named};
use muster_fabric::Fabric;
use muster_types::{DisputeId, Hash, JobId, LeaseId, OrderId};
use std::sync::Arc;
use tokio::{sync::mpsc::UnboundedSender, time::Instant};

/// What the main loop hears.
#[derive(Debug)]
pub(crate) enum Input {
    /// For the schedule.
    Event(Event),
    /// Order `number` has this id; sent at, if it is new.
    OrderSigned { number: u32, id: OrderId, at: Option<Instant> },
    /// Dispute `number` has this id.
    DisputeSigned { number: u32, id: DisputeId },
    /// Final blocks' events.
    Block(BlockEvents),
    /// The job's leases as the ledger has them.
    Leases(Vec<Named<LeaseId, Lease>>),
    /// Nothing can go on.
    Failed(JobError),
}

/// A running job.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) plan: Plan,
    pub(crate) job: JobId,
    pub(crate) chain: Hash,
    pub(crate) fabric: Fabric,
    pub(crate) ledger: Ledger,
    pub(crate) objects: Objects,
    pub(crate) inbox: UnboundedSender<Input>,
    /// Until when an absent node is waited for.
    pub(crate) until: Instant,
}

impl Shared {
    /// Tells the main loop; where it has ended nobody needs to know any more.
    pub(crate) fn tell(&self, input: Input) {
        drop(self.inbox.send(input));
    }

    /// Keeps content durably, off the async threads.
    pub(crate) async fn keep(self: &Arc<Self>, content: bytes::Bytes) -> Result<(), JobError> {
        let shared = Arc::clone(self);
        let kept = tokio::task::spawn_blocking(move || shared.objects.put(&content));
        kept.await.map_err(|_| JobError::Stopped)?.map(|_| ())
    }
}
