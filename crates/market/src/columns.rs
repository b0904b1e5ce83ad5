//! The market's hosts in columns: what `explain` reads when there are a million of them.
//!
//! A row is what differs from host to host; all that hosts share (interruptible offers, attributes,
//! free GPUs, providers and what they share) is kept once and numbered. A constraint on something
//! shared is evaluated once for each value of it, and what is left to do for a row is to look up
//! numbers, compare integers and gather the constraints that fail as bits.
//!
//! Nothing here is agreed on: whoever answers quotes keeps it beside the state, feeds it what
//! changes, and may build it anew at any time. [`Columns::explain`] gives exactly what
//! [`crate::explain`] gives over a book of the same hosts.

use crate::{
    Book, Explanation, HostView, Interruptible, Prices, ProviderView, Rules, Terms, Verifies,
};
use muster_types::{AccountId, Amount, Gpu, HostId, Millis};
use std::{collections::BTreeMap, sync::Arc};

mod evaluate;
mod shared;
mod tally;

pub(crate) use shared::Shared;

type Texts = BTreeMap<String, String>;
type Signatures = BTreeMap<AccountId, Texts>;

/// A host. A row that is not in use has no provider ([`NONE`]).
#[derive(Clone, Debug)]
struct Row {
    cpu_milli: u64,
    memory_bytes: u64,
    disk_bytes: u64,
    bandwidth_bps: u64,
    fuel_per_s: u64,
    offered_until: Millis,
    prices: Prices,
    provider: u32,
    interruptible: u32,
    gpus: u32,
    attributes: u32,
    /// A bit for each of [`Verifies::ALL`].
    verifies: u8,
}

const NONE: u32 = u32::MAX;

/// A provider, as far as constraints ask.
#[derive(Clone, Debug)]
struct ProviderRow {
    region: u32,
    jurisdiction: u32,
    attributes: u32,
    signed: u32,
    risk_bps: u32,
    bond_free: Amount,
}

/// What belongs to a provider, and no row asks for.
#[derive(Clone, Debug)]
struct Owner {
    view: Arc<ProviderView>,
    /// Its rows, by the hosts' numbers.
    rows: BTreeMap<u32, u32>,
}

/// Every host of the market, ready to be explained. See the module.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    rows: Vec<Row>,
    unused: Vec<u32>,
    providers: Vec<ProviderRow>,
    owners: Vec<Option<Owner>>,
    unused_owners: Vec<u32>,
    by_id: BTreeMap<AccountId, u32>,
    hosts: u64,
    interruptible: Shared<Option<Interruptible>>,
    gpus: Shared<Vec<Gpu>>,
    attributes: Shared<Texts>,
    regions: Shared<String>,
    jurisdictions: Shared<String>,
    provider_attributes: Shared<Texts>,
    signed: Shared<Signatures>,
}

impl Columns {
    /// Adds a host, or replaces the one with its id. What it says of its provider holds for all of
    /// the provider's hosts from then on.
    pub fn upsert(&mut self, host: &HostView) {
        self.remove_row(&host.id);
        let provider = self.provider_row(&host.id.provider, &host.provider);
        let mut verifies = 0u8;
        for (bit, capability) in Verifies::ALL.iter().enumerate() {
            verifies |= u8::from(host.verifies.contains(capability)) << bit;
        }
        let row = Row {
            cpu_milli: host.free.cpu_milli,
            memory_bytes: host.free.memory_bytes,
            disk_bytes: host.free.disk_bytes,
            bandwidth_bps: host.free.bandwidth_bps,
            fuel_per_s: host.fuel_per_s,
            offered_until: host.offered_until,
            provider,
            prices: host.prices,
            interruptible: self.interruptible.keep(&host.interruptible),
            gpus: self.gpus.keep(&host.free.gpus),
            attributes: self.attributes.keep(&host.attributes),
            verifies,
        };
        let number = match self.unused.pop() {
            Some(number) => number,
            None => {
                self.rows.push(row.clone());
                u32::try_from(self.rows.len().saturating_sub(1)).unwrap_or(NONE)
            }
        };
        if let Some(place) = at_mut(&mut self.rows, number) {
            *place = row;
        }
        if let Some(owner) = at_mut(&mut self.owners, provider).and_then(Option::as_mut) {
            owner.rows.insert(host.id.index, number);
        }
        self.hosts = self.hosts.saturating_add(1);
    }

    /// Removes a host; false where it is not known.
    pub fn remove(&mut self, id: &HostId) -> bool {
        let removed = self.remove_row(id);
        if removed {
            self.forget_idle(&id.provider);
        }
        removed
    }

    /// Changes what is known of a provider, for all its hosts; without effect where it has none.
    pub fn set_provider(&mut self, id: &AccountId, view: &Arc<ProviderView>) {
        if self.by_id.contains_key(id) {
            self.provider_row(id, view);
        }
    }

    /// How many hosts there are.
    #[must_use]
    pub const fn host_count(&self) -> u64 {
        self.hosts
    }

    /// Whether this provider has a host here.
    #[must_use]
    pub fn has_provider(&self, id: &AccountId) -> bool {
        self.by_id.contains_key(id)
    }

    /// Explains what [`crate::clear`] would do with an order now: exactly as [`crate::explain`]
    /// over `book`, which must hold the same hosts and is asked only for the grants.
    #[must_use]
    pub fn explain(
        &self,
        book: &dyn Book,
        terms: &Terms,
        rules: &Rules,
        now: Millis,
    ) -> Explanation {
        match evaluate::counts(self, terms, rules, now) {
            Some(counts) => crate::explain::explanation(counts, book, terms, rules, now),
            // More attributes than there are bits, which no valid order has.
            None => crate::explain(book, terms, rules, now),
        }
    }

    fn remove_row(&mut self, id: &HostId) -> bool {
        let Some(&provider) = self.by_id.get(&id.provider) else { return false };
        let Some(owner) = at_mut(&mut self.owners, provider).and_then(Option::as_mut) else {
            return false;
        };
        let Some(number) = owner.rows.remove(&id.index) else { return false };
        let Some(row) = at_mut(&mut self.rows, number) else { return false };
        self.interruptible.drop(row.interruptible);
        self.gpus.drop(row.gpus);
        self.attributes.drop(row.attributes);
        row.provider = NONE;
        self.unused.push(number);
        self.hosts = self.hosts.saturating_sub(1);
        true
    }

    /// The provider's row, brought up to date.
    fn provider_row(&mut self, id: &AccountId, view: &Arc<ProviderView>) -> u32 {
        let known = self.by_id.get(id).copied();
        let known = known.and_then(|number| {
            let owner = at_mut(&mut self.owners, number).and_then(Option::as_mut)?;
            Some((number, owner))
        });
        if let Some((number, owner)) = known {
            if Arc::ptr_eq(&owner.view, view) || owner.view == *view {
                return number;
            }
            owner.view = Arc::clone(view);
            // Kept before the old is dropped, so that what stays is not numbered anew.
            let row = self.shared_provider(view);
            if let Some(old) = at(&self.providers, number).cloned() {
                self.drop_provider(&old);
            }
            if let Some(place) = at_mut(&mut self.providers, number) {
                *place = row;
            }
            return number;
        }
        let row = self.shared_provider(view);
        let owner = Owner { view: Arc::clone(view), rows: BTreeMap::new() };
        let number = match self.unused_owners.pop() {
            Some(number) => number,
            None => {
                self.owners.push(None);
                self.providers.push(row.clone());
                u32::try_from(self.owners.len().saturating_sub(1)).unwrap_or(NONE)
            }
        };
        if let Some(place) = at_mut(&mut self.providers, number) {
            *place = row;
        }
        if let Some(place) = at_mut(&mut self.owners, number) {
            *place = Some(owner);
        }
        self.by_id.insert(*id, number);
        number
    }

    fn shared_provider(&mut self, view: &ProviderView) -> ProviderRow {
        ProviderRow {
            region: self.regions.keep(&view.region),
            jurisdiction: self.jurisdictions.keep(&view.jurisdiction),
            attributes: self.provider_attributes.keep(&view.attributes),
            signed: self.signed.keep(&view.signed),
            risk_bps: view.risk_bps,
            bond_free: view.bond_free,
        }
    }

    fn drop_provider(&mut self, row: &ProviderRow) {
        self.regions.drop(row.region);
        self.jurisdictions.drop(row.jurisdiction);
        self.provider_attributes.drop(row.attributes);
        self.signed.drop(row.signed);
    }

    /// Forgets a provider without hosts.
    fn forget_idle(&mut self, id: &AccountId) {
        let Some(&number) = self.by_id.get(id) else { return };
        let Some(place) = at_mut(&mut self.owners, number) else { return };
        if place.as_ref().is_none_or(|owner| !owner.rows.is_empty()) {
            return;
        }
        *place = None;
        self.by_id.remove(id);
        self.unused_owners.push(number);
        if let Some(row) = at(&self.providers, number).cloned() {
            self.drop_provider(&row);
        }
    }
}

#[inline]
fn at<T>(items: &[T], number: u32) -> Option<&T> {
    items.get(number as usize)
}

#[inline]
fn at_mut<T>(items: &mut [T], number: u32) -> Option<&mut T> {
    items.get_mut(number as usize)
}

#[cfg(test)]
mod tests;
