//! Declining a lease on the ledger: its manifest was not delivered, or cannot be run here. It ends
//! without fault, where waiting for the ledger's deadline would cost bond.

use crate::{
    denial::{Denial, chain},
    lease::{Phase, Slot},
    shared::Shared,
};
use muster_ledger::Action;
use muster_types::LeaseId;
use std::{sync::Arc, time::Duration};

impl Shared {
    /// After a preparation that failed: no other answer will come of the same module. What the
    /// tenant can mend it may send again.
    pub(crate) fn decline_if_hopeless(self: &Arc<Self>, slot: &Slot, denial: &Denial) {
        if let Denial::BadModule(reason) = denial
            && slot.phase() == Phase::Granted
        {
            self.decline(slot.id, reason.clone());
        }
    }

    /// Waits until three quarters of what the ledger allows have passed. False where the lease, or
    /// this process, ended before.
    async fn until_overdue(&self, slot: &Slot) -> bool {
        let waited = self.ended.run_until_cancelled(async {
            let status = self.wallet.client().status().await.ok()?;
            let patience = status.params.ready_timeout_ms.0 / 4 * 3;
            tokio::time::timeout(Duration::from_millis(patience), slot.over.cancelled()).await.err()
        });
        waited.await.flatten().is_some()
    }

    /// Declines a granted lease, unless it is prepared, or being prepared, by the time at which
    /// three quarters of what the ledger allows have passed.
    pub(crate) fn await_manifest(self: &Arc<Self>, slot: Arc<Slot>) {
        let shared = Arc::clone(self);
        self.tracker.spawn(async move {
            let overdue = shared.until_overdue(&slot).await;
            let idle = slot.preparing.try_lock().is_ok() && !shared.has_services(&slot.id);
            if overdue && idle && slot.phase() == Phase::Granted {
                shared.decline(slot.id, "nothing that can be run was delivered".to_owned());
            }
        });
    }

    /// Declines a live lease that has another manifest, unless that runs by the time at which three
    /// quarters of what the ledger allows have passed. Work under way takes none.
    pub(crate) fn await_update(self: &Arc<Self>, slot: Arc<Slot>) {
        let number = slot.begin_update();
        if slot.job.is_some() {
            self.decline(slot.id, "work under way takes no new manifest".to_owned());
            return;
        }
        let shared = Arc::clone(self);
        self.tracker.spawn(async move {
            let overdue = shared.until_overdue(&slot).await;
            if overdue && slot.is_updating(Some(number)) {
                shared.decline(slot.id, "the new manifest does not run in time".to_owned());
            }
        });
    }

    /// Sends the word in a task of its own.
    pub(crate) fn decline(self: &Arc<Self>, lease: LeaseId, reason: String) {
        let shared = Arc::clone(self);
        self.tracker.spawn(async move {
            let sent = shared.wallet.act(Action::LeaseDecline { lease });
            match shared.ended.run_until_cancelled(sent).await {
                Some(Ok(_)) => tracing::info!(lease = %lease.short(), reason, "declined"),
                Some(Err(error)) => {
                    let error = chain(&error);
                    tracing::warn!(lease = %lease.short(), error, "could not be declined");
                }
                None => {}
            }
        });
    }
}
