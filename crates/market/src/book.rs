//! Where candidates come from.

use crate::{Class, HostView, Placement, ProviderView, Query, Terms, capacity};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_types::{AccountId, Amount, HostId, Rate};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// A place in a walk: everything up to this host was seen.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Cursor {
    /// The unit price at which the walk met it ([`HostView::unit_price`]).
    pub unit_price: Rate,
    /// The host.
    pub host: HostId,
}

/// A host as the walk of an order meets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Met {
    /// Where.
    pub at: Cursor,
    /// What it offers; `None` where it fails one of the order's constraints, and the book knew that
    /// without reading it.
    pub offer: Option<Offer>,
}

/// A host, and what is free of its provider's bond.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The host. The free bond in its view of its provider may be out of date.
    pub host: Arc<HostView>,
    /// The part of the provider's bond that nothing has pledged.
    pub bond_free: Amount,
}

impl Offer {
    /// A host whose view of its provider is up to date.
    #[must_use]
    pub fn of(host: Arc<HostView>) -> Self {
        let bond_free = host.provider.bond_free;
        Self { host, bond_free }
    }
}

/// The standing offers, indexed by class and level.
///
/// A book holds exactly the hosts that take orders: those of active providers, with an offer made
/// before this block. It must not change while a walk is under way.
pub trait Book {
    /// The hosts that [`Class::of_host`] lists, by what they have free, in the query's class at
    /// a level that covers its own: in rising order of [`Cursor`], each once, beginning after `after`. The
    /// unit price is [`HostView::unit_price`] for the query.
    fn walk<'a>(
        &'a self,
        query: &Query,
        after: Option<&Cursor>,
    ) -> Box<dyn Iterator<Item = Arc<HostView>> + 'a>;

    /// The walk for an order, whose query that is: exactly the hosts of [`Book::walk`]. A book may
    /// leave out what hosts offer that fail a constraint of the order; all of them are visits.
    fn meet<'a>(
        &'a self,
        query: &Query,
        after: Option<&Cursor>,
        _terms: &Terms,
    ) -> Box<dyn Iterator<Item = Met> + 'a> {
        let Query { class, interruptible, .. } = query.clone();
        Box::new(self.walk(query, after).map(move |host| {
            let unit_price = host.unit_price(&class, interruptible);
            Met { at: Cursor { unit_price, host: host.id }, offer: Some(Offer::of(host)) }
        }))
    }

    /// Every host, full ones too, in the order of their ids or not.
    fn hosts<'a>(&'a self) -> Box<dyn Iterator<Item = Arc<HostView>> + 'a>;

    /// How many hosts the book holds.
    fn host_count(&self) -> u64;
}

/// A book in memory, for tests, simulations and what-if questions: simple, and in no hurry.
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

    /// Changes what is known of a provider, on all its hosts.
    pub fn set_provider(&mut self, id: &AccountId, provider: &Arc<ProviderView>) {
        for host in self.hosts.values_mut().filter(|host| host.id.provider == *id) {
            host.provider = Arc::clone(provider);
        }
    }

    /// Books a lease: takes its capacity off its host and its pledge off its provider's free bond.
    /// False, and nothing is changed, where there is too little of either.
    pub fn grant(&mut self, placement: &Placement) -> bool {
        let Some(host) = self.hosts.get_mut(&placement.host) else { return false };
        let Some(free) = capacity::checked_sub(&host.free, &placement.takes) else { return false };
        let Some(bond_free) = host.provider.bond_free.checked_sub(placement.pledge) else {
            return false;
        };
        host.free = free;
        let provider = ProviderView { bond_free, ..ProviderView::clone(&host.provider) };
        self.set_provider(&placement.host.provider, &Arc::new(provider));
        true
    }
}

impl FromIterator<HostView> for MemoryBook {
    fn from_iter<I: IntoIterator<Item = HostView>>(hosts: I) -> Self {
        Self { hosts: hosts.into_iter().map(|host| (host.id, host)).collect() }
    }
}

impl Book for MemoryBook {
    fn walk<'a>(
        &'a self,
        query: &Query,
        after: Option<&Cursor>,
    ) -> Box<dyn Iterator<Item = Arc<HostView>> + 'a> {
        let listed = |host: &HostView| {
            let classes = Class::of_host(&host.free);
            classes.iter().any(|(class, level)| *class == query.class && level.covers(query.level))
        };
        let mut hosts: BTreeMap<Cursor, &HostView> = BTreeMap::new();
        for host in self.hosts.values().filter(|host| listed(host)) {
            let unit_price = host.unit_price(&query.class, query.interruptible);
            let at = Cursor { unit_price, host: host.id };
            if after.is_none_or(|after| at > *after) {
                hosts.insert(at, host);
            }
        }
        Box::new(hosts.into_values().map(|host| Arc::new(host.clone())))
    }

    fn hosts<'a>(&'a self) -> Box<dyn Iterator<Item = Arc<HostView>> + 'a> {
        Box::new(self.hosts.values().map(|host| Arc::new(host.clone())))
    }

    fn host_count(&self) -> u64 {
        u64::try_from(self.hosts.len()).unwrap_or(u64::MAX)
    }
}
