//! The standing offers in the state, as the auction sees them.
//!
//! In the index each class is split by the size of what is free there: of a host's CPU threads, or
//! of its GPUs of the class, 0, 1, 2 to 3, 4 to 7, 8 to 15, or 16 and more (parts of a thread count
//! as one). An order looks only at sizes that its request may fit into, so that hosts that are full,
//! or nearly, are not in its way; a walk merges the sizes by (unit price, host).

use super::Cursor;
use crate::{
    Params, State, bond, keys,
    provider::{Host, risk},
};
use muster_market::{Book, Class, HostView, Request, capacity};
use muster_types::{Hash, HostId, Rate};
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    iter::Peekable,
};

/// The largest size.
const SIZE_MAX: u8 = 5;

/// Where a host stands in the index: class and size, unit price, host.
type Place = ((Hash, u8), Rate, HostId);

/// The market's book over a state: the hosts of active providers whose offer stands.
pub(crate) struct Offers<'a> {
    state: &'a dyn State,
    params: &'a Params,
    height: u64,
    allowed: &'a dyn Fn(&HostView) -> bool,
    size_min: u8,
    after: Option<Cursor>,
    visit_max: u32,
    fronts: Option<&'a Fronts>,
    visits: Cell<Visits>,
}

/// What a walk through a book looked at.
#[derive(Clone, Copy, Default)]
pub(crate) struct Visits {
    /// How many hosts, those left out of the book included.
    pub(crate) count: u32,
    /// The last of them.
    last: Option<Cursor>,
    /// The same, where the walk would have gone on but for the bound on visits.
    pub(crate) cut: Option<Cursor>,
}

/// How an order walks through a book.
pub(crate) struct Walk<'a> {
    /// What it asks for.
    pub(crate) request: &'a Request,
    /// The host behind which it begins.
    pub(crate) after: Option<Cursor>,
    /// How many hosts it may look at: those that the book leaves out cost a look like the others.
    pub(crate) visit_max: u32,
    /// What earlier walks have found.
    pub(crate) fronts: &'a Fronts,
}

/// Where each class and size begins. While a block clears, hosts leave a size or come to a smaller
/// one, and the index of the state under change is full of those that left: a walk need not pass
/// them again.
#[derive(Default)]
pub(crate) struct Fronts(RefCell<BTreeMap<(Hash, u8), Option<Cursor>>>);

impl Fronts {
    /// A host came to these places.
    pub(crate) fn came(&self, places: &[Place]) {
        for (size, price, host) in places {
            let here = Cursor { price: *price, host: *host };
            if let Some(front) = self.0.borrow_mut().get_mut(size)
                && front.is_none_or(|front| here < front)
            {
                *front = Some(here);
            }
        }
    }

    fn get(&self, size: (Hash, u8)) -> Option<Option<Cursor>> {
        self.0.borrow().get(&size).copied()
    }

    fn set(&self, size: (Hash, u8), front: Option<Cursor>) {
        self.0.borrow_mut().insert(size, front);
    }
}

impl<'a> Offers<'a> {
    /// The offers made before block `height` that `allowed` lets in.
    pub(crate) fn new(
        state: &'a dyn State,
        params: &'a Params,
        height: u64,
        allowed: &'a dyn Fn(&HostView) -> bool,
    ) -> Self {
        Self {
            state,
            params,
            height,
            allowed,
            size_min: 0,
            after: None,
            visit_max: u32::MAX,
            fronts: None,
            visits: Cell::default(),
        }
    }

    /// The same, for one walk of one order.
    pub(crate) fn for_order(self, walk: &Walk<'a>) -> Self {
        Self {
            size_min: size_of_request(walk.request),
            after: walk.after,
            visit_max: walk.visit_max,
            fronts: Some(walk.fronts),
            ..self
        }
    }

    /// What the walk looked at.
    pub(crate) const fn visits(&self) -> Visits {
        self.visits.get()
    }

    /// Whether the walk may look at one more host; notes that it does.
    fn visit(&self, host: Cursor) -> bool {
        let mut visits = self.visits.get();
        let may = visits.count < self.visit_max;
        if may {
            visits.count = visits.count.saturating_add(1);
            visits.last = Some(host);
        } else {
            visits.cut = visits.last;
        }
        self.visits.set(visits);
        may
    }

    /// A host of the book, whether or not its provider takes orders.
    pub(crate) fn view(&self, id: HostId) -> Option<HostView> {
        let host: Host = keys::HOSTS.get(self.state, &id)?;
        if host.offered_at_height >= self.height {
            return None;
        }
        let provider = keys::PROVIDERS.get(self.state, &id.provider)?;
        let free = capacity::checked_sub(&host.spec.capacity, &host.used)?;
        let risk_bps = risk::premium_bps(&provider.conduct, self.params);
        let bond_free = bond::free(self.state, &id.provider);
        let mut attributes = provider.profile.attributes;
        attributes.extend(host.spec.attributes);
        let view = HostView {
            id,
            region: provider.profile.region,
            attributes,
            free,
            prices: host.spec.prices,
            bond_free,
            risk_bps,
            offered_until: host.spec.offered_until,
        };
        (self.allowed)(&view).then_some(view)
    }

    /// The hosts of a class and a size, from `from` on.
    fn hosts(&self, size: (Hash, u8), from: Option<Cursor>) -> Hosts<'a> {
        let hosts = match self.after {
            Some(after) if from.is_none_or(|from| from <= after) => {
                keys::OFFERS.scan(self.state, &size, Some(&(size, after.price, after.host)))
            }
            _ => {
                let from = from.map(|from| (size, from.price, from.host));
                keys::OFFERS.scan_from(self.state, &size, from.as_ref())
            }
        };
        let hosts: Box<dyn Iterator<Item = Cursor> + 'a> =
            Box::new(hosts.map(|((_, price, host), ())| Cursor { price, host }));
        hosts.peekable()
    }
}

impl Book for Offers<'_> {
    fn walk<'a>(&'a self, class: &Class) -> Box<dyn Iterator<Item = HostView> + 'a> {
        let class = class_key(class);
        let lanes = (self.size_min..=SIZE_MAX).filter_map(|size| Lane::new(self, (class, size)));
        let merged = Merged { book: self, lanes: lanes.collect() };
        Box::new(
            merged.take_while(|host| self.visit(*host)).filter_map(|host| self.view(host.host)),
        )
    }

    fn host_count(&self) -> u64 {
        u64::try_from(self.walk(&Class::Cpu).count()).unwrap_or(u64::MAX)
    }
}

type Hosts<'a> = Peekable<Box<dyn Iterator<Item = Cursor> + 'a>>;

/// The hosts of one size.
struct Lane<'a> {
    size: (Hash, u8),
    /// No host of the lane comes before this one.
    next: Cursor,
    /// Opened when it is needed.
    hosts: Option<Hosts<'a>>,
}

impl<'a> Lane<'a> {
    /// `None` where there is no host of this size.
    fn new(book: &Offers<'a>, size: (Hash, u8)) -> Option<Self> {
        if let Some(front) = book.fronts.and_then(|fronts| fronts.get(size)) {
            let front = front?;
            let next = book.after.map_or(front, |after| front.max(after));
            return Some(Self { size, next, hosts: None });
        }
        let mut lane = Self { size, next: Cursor::FIRST, hosts: None };
        lane.open(book, None).then_some(lane)
    }

    /// Looks up where the lane goes on; false where it has ended.
    fn open(&mut self, book: &Offers<'a>, from: Option<Cursor>) -> bool {
        let mut hosts = book.hosts(self.size, from);
        let first = hosts.peek().copied();
        if let (Some(fronts), None) = (book.fronts, book.after) {
            fronts.set(self.size, first);
        }
        self.hosts = Some(hosts);
        first.is_some_and(|first| {
            self.next = first;
            true
        })
    }
}

/// The lanes of a class in one, by (unit price, host).
struct Merged<'b, 'a> {
    book: &'b Offers<'a>,
    lanes: Vec<Lane<'a>>,
}

impl Iterator for Merged<'_, '_> {
    type Item = Cursor;

    fn next(&mut self) -> Option<Cursor> {
        loop {
            let (index, lane) =
                self.lanes.iter_mut().enumerate().min_by_key(|(_, lane)| lane.next)?;
            let goes_on = match &mut lane.hosts {
                None => lane.open(self.book, Some(lane.next)),
                Some(hosts) => {
                    let host = hosts.next();
                    let after = hosts.peek().copied();
                    match after {
                        Some(after) => lane.next = after,
                        None => drop(self.lanes.swap_remove(index)),
                    }
                    return host;
                }
            };
            if !goes_on {
                self.lanes.swap_remove(index);
            }
        }
    }
}

/// A host's index entries while it takes orders: one for each of its classes, and its expiry.
pub(crate) fn offer_entries(id: &HostId, host: &Host, emit: &mut dyn FnMut(Vec<u8>)) {
    for place in places(id, host) {
        emit(keys::OFFERS.key(&place));
    }
    emit(keys::OFFERS_DUE.key(&(host.spec.offered_until, *id)));
}

/// Where a host stands in the index of offers.
pub(super) fn places(id: &HostId, host: &Host) -> Vec<Place> {
    let classes = Class::of_host(&host.spec.capacity);
    let place = |class: &Class| {
        let size = (class_key(class), size_of_host(host, class));
        (size, class.unit_price(&host.spec.prices), *id)
    };
    classes.iter().map(place).collect()
}

/// The sizes of what a host has free of each of its classes.
pub(super) fn sizes(host: &Host) -> Vec<u8> {
    Class::of_host(&host.spec.capacity).iter().map(|class| size_of_host(host, class)).collect()
}

fn size_of_host(host: &Host, class: &Class) -> u8 {
    let (all, used) = (&host.spec.capacity, &host.used);
    if *class == Class::Cpu {
        return size_of_cpu(all.cpu_milli.saturating_sub(used.cpu_milli));
    }
    let count = |resources: &muster_types::Resources| {
        let of_class = resources.gpus.iter().filter(|gpu| match class {
            Class::Gpu { vendor, model } => gpu.vendor == *vendor && gpu.model == *model,
            Class::AnyGpu | Class::Cpu => true,
        });
        of_class.fold(0u64, |sum, gpu| sum.saturating_add(u64::from(gpu.count)))
    };
    size(count(all).saturating_sub(count(used)))
}

fn size_of_request(request: &Request) -> u8 {
    match Class::of_request(request) {
        Class::Cpu => size_of_cpu(request.cpu_milli),
        Class::AnyGpu | Class::Gpu { .. } => size(u64::from(request.gpu.count)),
    }
}

fn size_of_cpu(milli: u64) -> u8 {
    size(milli.div_ceil(1_000))
}

/// 0 for nothing, then one more for each doubling.
fn size(units: u64) -> u8 {
    let doublings = units.checked_ilog2().map_or(0, |log| log.saturating_add(1));
    u8::try_from(doublings).unwrap_or(SIZE_MAX).min(SIZE_MAX)
}

pub(super) fn class_key(class: &Class) -> Hash {
    let of = |parts: &[&[u8]]| Hash::of("muster host class v1", parts);
    match class {
        Class::Cpu => of(&[b"cpu"]),
        Class::AnyGpu => of(&[b"gpu"]),
        Class::Gpu { vendor, model } => of(&[b"gpu", vendor.as_bytes(), model.as_bytes()]),
    }
}

#[cfg(test)]
mod tests;
