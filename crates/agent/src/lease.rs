//! The leases that this process knows, and what it holds for each.

use crate::{
    config::{MAX_RUNS_PER_LEASE, MAX_TASKS_PER_LEASE, MIN_STORED_BYTES},
    denial::Denial,
    journal::Setup,
};
use muster_ledger::market::{Lease, LeaseStatus};
use muster_market::Request;
use muster_sandbox::{Compiled, DataDir};
use muster_types::{AccountId, EscrowId, Hash, JobId, LeaseId, Millis, OrderId};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::{RwLock, Semaphore};
use tokio_util::sync::CancellationToken;

/// Where a lease stands, as far as serving it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// `LeaseReady` is not on the ledger yet.
    Granted,
    /// It wants heartbeats.
    Live,
    /// Nothing runs any more; results can still be fetched.
    Closed,
}

impl Phase {
    /// `None` for a settled lease: nothing is owed any more.
    pub(crate) const fn of(status: &LeaseStatus) -> Option<Self> {
        match status {
            LeaseStatus::Granted => Some(Self::Granted),
            LeaseStatus::Active
            | LeaseStatus::Updating { .. }
            | LeaseStatus::Reclaiming { .. }
            | LeaseStatus::Stalled { .. } => Some(Self::Live),
            LeaseStatus::Closed { settled: false, .. } => Some(Self::Closed),
            LeaseStatus::Closed { settled: true, .. } => None,
        }
    }
}

/// Everything that running a lease's tasks takes.
pub(crate) struct Prepared {
    pub(crate) setup: Setup,
    /// Hash of the data directory's listing.
    pub(crate) listing: Hash,
    /// How many tasks the job has.
    pub(crate) tasks: u64,
    pub(crate) program: Arc<Compiled>,
    pub(crate) data: DataDir,
    /// A permit for each task of the lease that may run at once.
    pub(crate) room: Arc<Semaphore>,
}

/// A lease of ours.
pub(crate) struct Slot {
    pub(crate) id: LeaseId,
    pub(crate) tenant: AccountId,
    pub(crate) job: Option<JobId>,
    pub(crate) request: Request,
    pub(crate) order: OrderId,
    pub(crate) escrow: EscrowId,
    /// Block time.
    pub(crate) granted_at: Millis,
    state: Mutex<State>,
    /// Cancelled when the lease is closed.
    pub(crate) over: CancellationToken,
    /// Runs under way.
    pub(crate) runs: Semaphore,
    /// Read by runs; written by who needs that none is under way.
    pub(crate) quiet: RwLock<()>,
    /// One preparation at a time.
    pub(crate) preparing: tokio::sync::Mutex<()>,
    /// Bytes of inputs and outputs kept.
    pub(crate) stored: AtomicU64,
}

struct State {
    phase: Phase,
    prepared: Option<Arc<Prepared>>,
    /// Its services run here.
    serving: bool,
    /// The ledger waits until another manifest is taken up.
    updating: bool,
    /// How often it began to.
    updates: u64,
}

impl Slot {
    /// The slot of a lease as the ledger has it; `None` where it is settled.
    pub(crate) fn new(id: LeaseId, lease: &Lease) -> Option<Self> {
        let phase = Phase::of(&lease.status)?;
        let over = CancellationToken::new();
        if phase == Phase::Closed {
            over.cancel();
        }
        Some(Self {
            id,
            tenant: lease.tenant,
            job: lease.job,
            request: lease.request.clone(),
            order: lease.order,
            escrow: lease.escrow,
            granted_at: lease.granted_at,
            state: Mutex::new(State {
                phase,
                prepared: None,
                serving: false,
                updating: false,
                updates: 0,
            }),
            over,
            runs: Semaphore::new(MAX_RUNS_PER_LEASE),
            quiet: RwLock::default(),
            preparing: tokio::sync::Mutex::default(),
            stored: AtomicU64::new(0),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn phase(&self) -> Phase {
        self.state().phase
    }

    pub(crate) fn prepared(&self) -> Option<Arc<Prepared>> {
        self.state().prepared.clone()
    }

    /// Whether heartbeats may cover it: the ledger pays for it and this process serves it.
    fn beats(&self) -> bool {
        let state = self.state();
        state.phase == Phase::Live && (state.prepared.is_some() || state.serving)
    }

    /// A lease only moves on: what comes late changes nothing.
    pub(crate) fn advance(&self, phase: Phase) {
        let mut state = self.state();
        state.phase = state.phase.max(phase);
        if phase == Phase::Closed {
            state.prepared = None;
            state.serving = false;
            self.over.cancel();
        }
    }

    /// Ready to run. False where the lease was closed meanwhile.
    pub(crate) fn set_prepared(&self, prepared: Arc<Prepared>) -> bool {
        let mut state = self.state();
        let open = state.phase != Phase::Closed;
        if open {
            state.prepared = Some(prepared);
        }
        open
    }

    /// The ledger waits for another manifest from now on. Gives the number of this update.
    pub(crate) fn begin_update(&self) -> u64 {
        let mut state = self.state();
        state.updating = true;
        state.updates = state.updates.wrapping_add(1);
        state.updates
    }

    /// The ledger has heard that the new manifest is taken up.
    pub(crate) fn end_update(&self) {
        self.state().updating = false;
    }

    /// Whether the ledger waits for a manifest: for the one of this number, where there is one.
    pub(crate) fn is_updating(&self, number: Option<u64>) -> bool {
        let state = self.state();
        state.updating && number.is_none_or(|number| number == state.updates)
    }

    /// Its services run here, as far as that is up to us.
    pub(crate) fn set_serving(&self) {
        let mut state = self.state();
        state.serving = state.phase != Phase::Closed;
    }

    pub(crate) fn is_served(&self) -> bool {
        let state = self.state();
        state.prepared.is_some() || state.serving
    }

    /// Makes room for `bytes` more of inputs and outputs.
    pub(crate) fn store(&self, bytes: u64) -> Result<(), Denial> {
        let limit = self.request.disk_bytes.max(MIN_STORED_BYTES);
        let grown = |stored: u64| stored.checked_add(bytes).filter(|stored| *stored <= limit);
        match self.stored.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown) {
            Ok(_) => Ok(()),
            Err(stored) => Err(Denial::bad(format!(
                "inputs and outputs of this lease take {stored} bytes, {bytes} more would exceed \
                 {limit}: lease more disk, or commit and lease anew"
            ))),
        }
    }

    /// Tasks that may run at once, each with `memory_bytes`: as many as the leased CPU threads
    /// and the leased memory carry, at least one.
    pub(crate) fn width(&self, memory_bytes: u64) -> usize {
        let threads = self.request.cpu_milli.div_ceil(1_000);
        let fit = self.request.memory_bytes.checked_div(memory_bytes).unwrap_or(threads);
        usize::try_from(threads.min(fit).clamp(1, MAX_TASKS_PER_LEASE)).unwrap_or(1)
    }
}

/// Every lease that is not settled.
#[derive(Default)]
pub(crate) struct Leases {
    slots: Mutex<BTreeMap<LeaseId, Arc<Slot>>>,
}

impl Leases {
    fn slots(&self) -> MutexGuard<'_, BTreeMap<LeaseId, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, id: &LeaseId) -> Option<Arc<Slot>> {
        self.slots().get(id).cloned()
    }

    /// The slot that is known already, else this one.
    pub(crate) fn insert(&self, slot: Slot) -> Arc<Slot> {
        Arc::clone(self.slots().entry(slot.id).or_insert_with(|| Arc::new(slot)))
    }

    pub(crate) fn remove(&self, id: &LeaseId) -> Option<Arc<Slot>> {
        self.slots().remove(id)
    }

    pub(crate) fn all(&self) -> Vec<Arc<Slot>> {
        self.slots().values().cloned().collect()
    }

    /// Those that heartbeats may cover.
    pub(crate) fn beating(&self) -> Vec<LeaseId> {
        self.slots().values().filter(|slot| slot.beats()).map(|slot| slot.id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::slot;

    #[test]
    fn a_lease_only_moves_on() {
        let slot = slot(LeaseStatus::Granted);
        for (to, expected) in [
            (Phase::Granted, Phase::Granted),
            (Phase::Live, Phase::Live),
            (Phase::Granted, Phase::Live),
            (Phase::Closed, Phase::Closed),
            (Phase::Live, Phase::Closed),
        ] {
            assert_eq!(slot.over.is_cancelled(), slot.phase() == Phase::Closed);
            slot.advance(to);
            assert_eq!(slot.phase(), expected, "to {to:?}");
        }
        assert!(slot.over.is_cancelled());
    }

    #[test]
    fn tasks_at_once_are_bounded_by_threads_and_memory() {
        for (cpu_milli, memory_bytes, task_bytes, width) in [
            (2_000, 1_000, 100, 2),
            (1_500, 1_000, 100, 2),
            (8_000, 1_000, 300, 3),
            (8_000, 1_000, 1_000, 1),
            (0, 1_000, 100, 1),
            (4_000, 1_000, 0, 4),
            (u64::MAX, u64::MAX, 1, 256),
        ] {
            let mut slot = slot(LeaseStatus::Granted);
            slot.request.cpu_milli = cpu_milli;
            slot.request.memory_bytes = memory_bytes;
            assert_eq!(slot.width(task_bytes), width, "{cpu_milli}m, {task_bytes} a task");
        }
    }

    #[test]
    fn a_lease_keeps_no_more_than_its_disk() {
        let slot = slot(LeaseStatus::Granted);
        assert!(slot.store(MIN_STORED_BYTES - 1).is_ok());
        assert!(matches!(slot.store(2), Err(Denial::BadRequest(_))));
        assert!(slot.store(1).is_ok());
        assert!(matches!(slot.store(u64::MAX), Err(Denial::BadRequest(_))));
    }

    #[test]
    fn only_live_leases_that_are_prepared_have_heartbeats() {
        let leases = Leases::default();
        let slot = leases.insert(slot(LeaseStatus::Active));
        assert!(leases.beating().is_empty(), "nothing is prepared");
        assert!(Arc::ptr_eq(&slot, &leases.insert(crate::testing::slot(LeaseStatus::Granted))));
        assert_eq!(leases.all().len(), 1);
        assert!(leases.remove(&slot.id).is_some() && leases.get(&slot.id).is_none());
    }
}
