//! Where candidates come from.

use crate::{Class, HostView, Placement, capacity};
use muster_types::HostId;
use std::collections::BTreeMap;

/// The standing offers, indexed by class.
///
/// A book holds exactly the hosts that take orders: those of active providers, with an offer made
/// before this block. It must not change while a walk is under way.
pub trait Book {
    /// The hosts of a class, in rising order of (unit price of the class, host id), each once.
    /// Every host of the book is in [`Class::Cpu`]; the others follow [`Class::of_host`] of the
    /// host's capacity, whether or not it is free.
    fn walk<'a>(&'a self, class: &Class) -> Box<dyn Iterator<Item = HostView> + 'a>;

    /// How many hosts the book holds.
    fn host_count(&self) -> u64;
}

/// A book in memory, for tests, simulations and what-if questions. It takes what is free for what
/// a host has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryBook {
    hosts: BTreeMap<HostId, HostView>,
}

impl MemoryBook {
    /// Adds a host, or replaces the one with its id.
    pub fn insert(&mut self, host: HostView) {
        self.hosts.insert(host.id, host);
    }

    /// Removes a host.
    pub fn remove(&mut self, id: &HostId) -> Option<HostView> {
        self.hosts.remove(id)
    }

    /// One host.
    #[must_use]
    pub fn get(&self, id: &HostId) -> Option<&HostView> {
        self.hosts.get(id)
    }

    /// Books a lease: takes its capacity off its host and its pledge off its provider's free bond.
    /// False, and nothing is changed, where there is too little of either.
    pub fn grant(&mut self, placement: &Placement) -> bool {
        let Some(host) = self.hosts.get_mut(&placement.host) else { return false };
        let Some(free) = capacity::checked_sub(&host.free, &placement.takes) else { return false };
        if host.bond_free < placement.pledge {
            return false;
        }
        host.free = free;
        let provider = placement.host.provider;
        for host in self.hosts.values_mut().filter(|host| host.id.provider == provider) {
            host.bond_free = host.bond_free.saturating_sub(placement.pledge);
        }
        true
    }
}

impl FromIterator<HostView> for MemoryBook {
    fn from_iter<I: IntoIterator<Item = HostView>>(hosts: I) -> Self {
        Self { hosts: hosts.into_iter().map(|host| (host.id, host)).collect() }
    }
}

impl Book for MemoryBook {
    fn walk<'a>(&'a self, class: &Class) -> Box<dyn Iterator<Item = HostView> + 'a> {
        let mut hosts: Vec<&HostView> =
            self.hosts.values().filter(|host| Class::of_host(&host.free).contains(class)).collect();
        hosts.sort_by_key(|host| (class.unit_price(&host.prices), host.id));
        Box::new(hosts.into_iter().cloned())
    }

    fn host_count(&self) -> u64 {
        u64::try_from(self.hosts.len()).unwrap_or(u64::MAX)
    }
}
