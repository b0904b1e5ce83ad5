//! What no action brings about: terms of a lease that orders and hosts cannot name, and a new
//! manifest. It is written into the ledger's state from outside, and into the model.

use super::Run;
use crate::model::status;
use muster_ledger::{keys, market::Lease, rebuild_derived};
use muster_types::{LeaseId, Millis, codec};

impl Run {
    pub(super) fn bend(&mut self) {
        let open = self.model.leases.iter().filter(|lease| lease.is_open());
        let open: Vec<LeaseId> = open.map(|lease| lease.id).collect();
        let Some(id) = self.pick(&open) else { return };
        let job = self.model.lease(&id).ok().and_then(|lease| lease.job);
        let metered = job.is_some_and(|job| self.model.job(&job).is_ok_and(|job| job.spec.metered));
        let number = self.below(4_000);
        let lease = self.model.lease_mut(&id);
        match number % 3 {
            0 => lease.reclaim_notice = Some(number),
            1 if metered => lease.fuel_per_s = 1 + number % 50,
            _ => self.model.new_manifest(&id),
        }
        let lease = self.model.lease(&id).unwrap();
        let mut record: Lease = keys::LEASES.get(&self.state, &id).unwrap();
        record.reclaim_notice = lease.reclaim_notice.map(Millis);
        record.fuel_per_s = lease.fuel_per_s;
        (record.seen_steady, record.seen_height) = (Millis(lease.seen_steady), lease.seen_height);
        record.status = status(lease.phase);
        self.state.insert(keys::LEASES.key(&id), codec::encode(&record));
        let derived = rebuild_derived(&self.state);
        self.state.apply(derived);
    }
}
