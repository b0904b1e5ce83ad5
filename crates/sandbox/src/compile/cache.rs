//! The modules used last, bounded in number and bytes.

use super::{Compiled, Slot};
use muster_types::Hash;
use std::{collections::BTreeMap, sync::Arc};

/// Least recently used goes first. A slot that is still being compiled counts no bytes.
#[derive(Default)]
pub(super) struct Cache {
    slots: BTreeMap<Hash, (u64, Slot)>,
    clock: u64,
    modules: usize,
    bytes: u64,
}

impl Cache {
    pub(super) fn new(modules: usize, bytes: u64) -> Self {
        Self { modules: modules.max(1), bytes, ..Self::default() }
    }

    /// A compiled module.
    pub(super) fn get(&mut self, hash: &Hash) -> Option<Arc<Compiled>> {
        self.clock += 1;
        let (used, slot) = self.slots.get_mut(hash)?;
        *used = self.clock;
        slot.get().cloned()
    }

    /// The place of a module, made if it is not there.
    pub(super) fn slot(&mut self, hash: Hash) -> Slot {
        self.clock += 1;
        let (used, slot) = self.slots.entry(hash).or_default();
        *used = self.clock;
        let slot = Arc::clone(slot);
        self.trim();
        slot
    }

    /// Drops what was used longest ago until the rest is within bounds; the newest always stays.
    /// Runs that hold a dropped module go on.
    pub(super) fn trim(&mut self) {
        while self.slots.len() > 1 && (self.slots.len() > self.modules || self.size() > self.bytes)
        {
            let oldest = self.slots.iter().min_by_key(|(_, (used, _))| *used);
            let Some(hash) = oldest.map(|(hash, _)| *hash) else { return };
            self.slots.remove(&hash);
        }
    }

    fn size(&self) -> u64 {
        let sizes = self.slots.values().filter_map(|(_, slot)| slot.get());
        sizes.map(|compiled| compiled.code_bytes()).fold(0, u64::saturating_add)
    }
}
