//! A new manifest for a single lease: no action brings that about. It is written into the ledger's
//! state from outside, and into the model.

use super::Run;
use crate::model::status;
use muster_ledger::{keys, market::Lease, rebuild_derived};
use muster_types::{LeaseId, Millis, codec};

impl Run {
    pub(super) fn bend(&mut self) {
        let open = self.model.leases.iter().filter(|lease| lease.is_open());
        let open: Vec<LeaseId> = open.map(|lease| lease.id).collect();
        let Some(id) = self.pick(&open) else { return };
        self.model.new_manifest(&id);
        let lease = self.model.lease(&id).unwrap();
        let mut record: Lease = keys::LEASES.get(&self.state, &id).unwrap();
        (record.seen_steady, record.seen_height) = (Millis(lease.seen_steady), lease.seen_height);
        record.status = status(lease.phase);
        self.state.insert(keys::LEASES.key(&id), codec::encode(&record));
        let derived = rebuild_derived(&self.state);
        self.state.apply(derived);
    }
}
