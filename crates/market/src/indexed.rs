//! A book in memory that finds its hosts by index.

use crate::{
    Book, Class, Cursor, HostView, Level, Met, Offer, Placement, ProviderView, Query, Terms,
    capacity, class::Borrowed, columns::Shared, numbered::Numbered,
};
use muster_types::{AccountId, Amount, HostId, Rate};
use std::{
    collections::{BTreeMap, btree_map},
    ops::Bound,
    sync::Arc,
};

/// A book in memory for many hosts: what a walk, a change of a host and a grant take grows with
/// the logarithm of their number.
///
/// Each class has three kinds of lists, each with one list a [`Level`] that hosts are at:
///
/// | kind | holds | by | walked by |
/// |---|---|---|---|
/// | 0 | hosts without an interruptible offer | their price | every order |
/// | 1 | hosts with one | the firm offer's price | orders that do not accept it |
/// | 2 | hosts with one | the lower of the two prices | orders that accept it |
///
/// A walk merges the lists of two kinds at the levels that cover its own. It equals that of a
/// [`crate::MemoryBook`] of the same hosts, of which each provider's say the same of it. An entry
/// holds the region beside the host's number, so that a walk passes hosts of other regions than an
/// order allows without reading them.
#[derive(Clone, Debug, Default)]
pub struct IndexedBook {
    classes: Vec<Lists>,
    gpu_classes: BTreeMap<String, BTreeMap<String, usize>>,
    hosts: Numbered<Listed>,
    providers: Numbered<Owner>,
    by_account: BTreeMap<AccountId, u32>,
    regions: Shared<String>,
    count: u64,
}

/// The lists of a class, by kind.
type Lists = [BTreeMap<Level, List>; 3];
/// Hosts of one class, kind and level, by where a walk meets them.
type List = BTreeMap<Place, Entry>;

/// A [`Cursor`], in less room: an index is only as fast as it is small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// The unit price in nano-units, its upper half first.
    nanos: (u64, u64),
    host: HostId,
}

impl Place {
    #[allow(clippy::cast_possible_truncation, reason = "a number in halves")]
    const fn of(unit_price: Rate, host: HostId) -> Self {
        let nanos = unit_price.amount_per_hour().nanos();
        Self { nanos: ((nanos >> 64) as u64, nanos as u64), host }
    }

    fn cursor(self) -> Cursor {
        let (upper, lower) = self.nanos;
        let nanos = u128::from(upper) << 64 | u128::from(lower);
        Cursor { unit_price: Rate::per_hour(Amount::from_nanos(nanos)), host: self.host }
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    host: u32,
    region: u32,
}

#[derive(Clone, Debug)]
struct Listed {
    /// With what is known of its provider, but for the free bond.
    view: Arc<HostView>,
    owner: u32,
}

#[derive(Clone, Debug)]
struct Owner {
    bond_free: Amount,
    region: u32,
    /// Its hosts' numbers, by its own numbers for them.
    hosts: BTreeMap<u32, u32>,
}

const CPU: usize = 0;
const ANY_GPU: usize = 1;

impl IndexedBook {
    /// Adds a host, or replaces the one with its id. What it says of its provider holds for all of
    /// the provider's hosts from then on.
    pub fn insert(&mut self, mut host: HostView) {
        host.free.gpus.shrink_to_fit();
        let id = host.id;
        self.take(&id);
        self.set_provider(&id.provider, &host.provider);
        let owner = match self.by_account.get(&id.provider) {
            Some(owner) => *owner,
            None => {
                let region = self.regions.keep(&host.provider.region);
                let bond_free = host.provider.bond_free;
                let owner = self.providers.add(Owner { bond_free, region, hosts: BTreeMap::new() });
                self.by_account.insert(id.provider, owner);
                owner
            }
        };
        let view = Arc::new(host);
        let number = self.hosts.add(Listed { view: Arc::clone(&view), owner });
        let Some(owner) = self.providers.get_mut(owner) else { return };
        owner.hosts.insert(id.index, number);
        let entry = Entry { host: number, region: owner.region };
        self.count = self.count.saturating_add(1);
        for (class, level) in self.listings(&view) {
            self.list(&view, class, level, entry);
        }
    }

    /// Removes a host; false where it is not known.
    pub fn remove(&mut self, id: &HostId) -> bool {
        let removed = self.take(id);
        if removed
            && let Some(number) = self.by_account.get(&id.provider).copied()
            && self.providers.get(number).is_some_and(|owner| owner.hosts.is_empty())
            && let Some(owner) = self.providers.take(number)
        {
            self.regions.drop(owner.region);
            self.by_account.remove(&id.provider);
        }
        removed
    }

    /// One host.
    #[must_use]
    pub fn get(&self, id: &HostId) -> Option<Arc<HostView>> {
        let owner = self.providers.get(*self.by_account.get(&id.provider)?)?;
        self.host(*owner.hosts.get(&id.index)?)
    }

    /// Changes what is known of a provider, for all its hosts; without effect where it has none.
    /// Where only its free bond changes, that takes as long with many hosts as with one.
    pub fn set_provider(&mut self, id: &AccountId, view: &Arc<ProviderView>) {
        let Some(owner) = self.by_account.get(id).copied() else { return };
        let Some(known) = self.providers.get_mut(owner) else { return };
        known.bond_free = view.bond_free;
        let numbers: Vec<u32> = known.hosts.values().copied().collect();
        let first = numbers.first().and_then(|number| self.hosts.get(*number));
        let same = |old: &Arc<ProviderView>| {
            let with_bond =
                || ProviderView { bond_free: old.bond_free, ..ProviderView::clone(view) };
            Arc::ptr_eq(old, view) || with_bond() == **old
        };
        if first.is_some_and(|first| same(&first.view.provider)) {
            return;
        }
        let region = self.regions.keep(&view.region);
        let old = std::mem::replace(&mut known.region, region);
        self.regions.drop(old);
        for number in numbers {
            let Some(listed) = self.hosts.get_mut(number) else { continue };
            Arc::make_mut(&mut listed.view).provider = Arc::clone(view);
            if region != old {
                let host = Arc::clone(&listed.view);
                for (class, level) in self.listings(&host) {
                    self.list(&host, class, level, Entry { host: number, region });
                }
            }
        }
    }

    /// Books leases, those on one host all at once if they follow each other: takes their capacity
    /// off their hosts and their pledges off their providers' free bonds. False where there is too
    /// little of either: then the leases on that host and all that follow are not booked.
    pub fn grant(&mut self, placements: &[Placement]) -> bool {
        let mut runs = placements.chunk_by(|one, next| one.host == next.host);
        runs.all(|run| self.grant_on_host(run).is_some())
    }

    fn grant_on_host(&mut self, placements: &[Placement]) -> Option<()> {
        let id = placements.first()?.host;
        let owner = self.providers.get_mut(*self.by_account.get(&id.provider)?)?;
        let number = *owner.hosts.get(&id.index)?;
        let host = self.hosts.get_mut(number)?;
        let (mut free, mut bond_free) = (host.view.free.clone(), owner.bond_free);
        for placement in placements {
            capacity::take(&mut free, &placement.takes)?;
            bond_free = bond_free.checked_sub(placement.pledge)?;
        }
        owner.bond_free = bond_free;
        let entry = Entry { host: number, region: owner.region };
        let before = Arc::clone(&host.view);
        let before = self.listings(&before);
        let view = &mut self.hosts.get_mut(number)?.view;
        Arc::make_mut(view).free = free;
        let host = Arc::clone(view);
        let after = self.listings(&host);
        for (class, level) in before.iter().filter(|one| !after.contains(one)) {
            self.unlist(&host, *class, *level);
        }
        for (class, level) in after.iter().filter(|one| !before.contains(one)) {
            self.list(&host, *class, *level, entry);
        }
        Some(())
    }

    /// Takes a host off, and leaves its provider.
    fn take(&mut self, id: &HostId) -> bool {
        let owner = self.by_account.get(&id.provider);
        let Some(owner) = owner.and_then(|owner| self.providers.get_mut(*owner)) else {
            return false;
        };
        let Some(number) = owner.hosts.remove(&id.index) else { return false };
        let Some(Listed { view, .. }) = self.hosts.take(number) else { return false };
        for (class, level) in self.listings(&view) {
            self.unlist(&view, class, level);
        }
        self.count = self.count.saturating_sub(1);
        true
    }

    /// A host as it is now.
    fn host(&self, number: u32) -> Option<Arc<HostView>> {
        let Offer { host, bond_free } = self.offer(number)?;
        if host.provider.bond_free == bond_free {
            return Some(host);
        }
        let provider = Arc::new(ProviderView { bond_free, ..ProviderView::clone(&host.provider) });
        Some(Arc::new(HostView { provider, ..HostView::clone(&host) }))
    }

    fn offer(&self, number: u32) -> Option<Offer> {
        let Listed { view, owner } = self.hosts.get(number)?;
        let bond_free = self.providers.get(*owner)?.bond_free;
        Some(Offer { host: Arc::clone(view), bond_free })
    }

    /// The numbers of the classes that list a host, each once, with its level there.
    fn listings(&mut self, host: &HostView) -> Vec<(usize, Level)> {
        let mut all = Vec::with_capacity(3);
        self.classes.resize_with(self.classes.len().max(2), Lists::default);
        Class::each_of_host(&host.free, |class, level| {
            let number = match class {
                Borrowed::Cpu => CPU,
                Borrowed::AnyGpu => ANY_GPU,
                Borrowed::Gpu { vendor, model } => {
                    match self.gpu_classes.get(vendor).and_then(|models| models.get(model)) {
                        Some(number) => *number,
                        None => {
                            let models = self.gpu_classes.entry(vendor.to_owned()).or_default();
                            models.insert(model.to_owned(), self.classes.len());
                            self.classes.push(Lists::default());
                            self.classes.len().saturating_sub(1)
                        }
                    }
                }
            };
            all.push((number, level));
        });
        all
    }

    fn class(&self, class: &Class) -> Option<&Lists> {
        let number = match class {
            Class::Cpu => CPU,
            Class::AnyGpu => ANY_GPU,
            Class::Gpu { vendor, model } => *self.gpu_classes.get(vendor)?.get(model)?,
        };
        self.classes.get(number)
    }

    fn list(&mut self, host: &HostView, class: usize, level: Level, entry: Entry) {
        let Some(lists) = self.classes.get_mut(class) else { return };
        for (kind, at) in places(host, class) {
            if let Some(levels) = lists.get_mut(kind) {
                levels.entry(level).or_default().insert(at, entry);
            }
        }
    }

    fn unlist(&mut self, host: &HostView, class: usize, level: Level) {
        let Some(lists) = self.classes.get_mut(class) else { return };
        for (kind, at) in places(host, class) {
            let levels = lists.get_mut(kind).map(|levels| levels.entry(level));
            if let Some(btree_map::Entry::Occupied(mut list)) = levels {
                list.get_mut().remove(&at);
                if list.get().is_empty() {
                    list.remove();
                }
            }
        }
    }

    fn merged(&self, query: &Query, after: Option<&Cursor>) -> Merged<'_> {
        let kinds = self
            .class(&query.class)
            .into_iter()
            .flat_map(|[only, firm, lower]| [only, if query.interruptible { lower } else { firm }]);
        let covering = kinds.flatten().filter(|(level, _)| level.covers(query.level));
        let mut lists = Vec::with_capacity(LISTS);
        lists.extend(covering.filter_map(|(_, list)| {
            let mut rest = match after {
                None => Rest::Whole(list.iter()),
                Some(after) => {
                    let after = Place::of(after.unit_price, after.host);
                    Rest::Part(list.range((Bound::Excluded(after), Bound::Unbounded)))
                }
            };
            rest.next().map(|next| (next, rest))
        }));
        Merged { lists }
    }
}

/// The kinds of a class's lists that a host is in, with its place there.
fn places(host: &HostView, class: usize) -> impl Iterator<Item = (usize, Place)> {
    // Any GPU's class goes by the same price.
    let class = if class == CPU { Class::Cpu } else { Class::AnyGpu };
    let kinds: &[(usize, bool)] =
        if host.interruptible.is_none() { &[(0, false)] } else { &[(1, false), (2, true)] };
    let at = move |lower| Place::of(host.unit_price(&class, lower), host.id);
    kinds.iter().map(move |(kind, lower)| (*kind, at(*lower)))
}

impl FromIterator<HostView> for IndexedBook {
    fn from_iter<I: IntoIterator<Item = HostView>>(hosts: I) -> Self {
        let mut book = Self::default();
        hosts.into_iter().for_each(|host| book.insert(host));
        book
    }
}

impl Book for IndexedBook {
    fn walk<'a>(
        &'a self,
        query: &Query,
        after: Option<&Cursor>,
    ) -> Box<dyn Iterator<Item = Arc<HostView>> + 'a> {
        Box::new(self.merged(query, after).filter_map(|(_, entry)| self.host(entry.host)))
    }

    fn meet<'a>(
        &'a self,
        query: &Query,
        after: Option<&Cursor>,
        terms: &Terms,
    ) -> Box<dyn Iterator<Item = Met> + 'a> {
        let any = terms.regions.is_empty();
        let regions: Vec<u32> =
            terms.regions.iter().filter_map(|region| self.regions.number(region)).collect();
        Box::new(self.merged(query, after).map(move |(at, entry)| {
            let offer =
                if any || regions.contains(&entry.region) { self.offer(entry.host) } else { None };
            Met { at: at.cursor(), offer }
        }))
    }

    fn hosts<'a>(&'a self) -> Box<dyn Iterator<Item = Arc<HostView>> + 'a> {
        Box::new(self.hosts.numbers().filter_map(|number| self.host(number)))
    }

    fn host_count(&self) -> u64 {
        self.count
    }
}

/// Few walks merge more lists.
const LISTS: usize = 32;

/// Several lists in one: the next of each, and what follows it.
struct Merged<'a> {
    lists: Vec<(Listing<'a>, Rest<'a>)>,
}

type Listing<'a> = (&'a Place, &'a Entry);

/// What follows in a list. A range begins with a search for both of its ends.
enum Rest<'a> {
    Whole(btree_map::Iter<'a, Place, Entry>),
    Part(btree_map::Range<'a, Place, Entry>),
}

impl<'a> Iterator for Rest<'a> {
    type Item = Listing<'a>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Whole(rest) => rest.next(),
            Self::Part(rest) => rest.next(),
        }
    }
}

impl Iterator for Merged<'_> {
    type Item = (Place, Entry);

    fn next(&mut self) -> Option<Self::Item> {
        let firsts = self.lists.iter().enumerate();
        let (first, _) = firsts.min_by_key(|(_, ((at, _), _))| *at)?;
        let (next, rest) = self.lists.get_mut(first)?;
        let (at, entry) = *next;
        match rest.next() {
            Some(following) => *next = following,
            None => drop(self.lists.swap_remove(first)),
        }
        Some((*at, *entry))
    }
}

#[cfg(test)]
mod tests;
