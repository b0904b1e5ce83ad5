//! The standing offers in the state, as the auction sees them.
//!
//! A host that takes orders has, for each class that lists it by what it has free
//! ([`Class::of_host`]), entries in [`keys::OFFERS`]: in a list that holds only hosts of one kind
//! at one level, by unit price. A walk merges the lists of two kinds at the levels that cover its
//! own, so that hosts that are full, or nearly, are not in its way.
//!
//! | kind | holds | by | walked by |
//! |---|---|---|---|
//! | 0 | hosts without an interruptible offer | their price | every order |
//! | 1 | hosts with one | the firm offer's price | orders that do not accept it |
//! | 2 | hosts with one | the lower of the two prices | orders that accept it |

mod seen;

pub(crate) use seen::Seen;

use crate::{
    Params, Scratch, State, auditor,
    bond::Bond,
    keys::{self, OfferList, Record, RegionTag, UnitPrice},
    provider::{self, Host, HostSpec, Provider, ProviderStatus, risk},
};
use muster_market::{
    Book, Class, Cursor, HostView, Interruptible, Met, Offer, Prices, ProviderView, Query, Terms,
    capacity,
};
use muster_types::{AccountId, Amount, HashDomain, HostId, Rate, Resources};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

/// The market's book over a state: the hosts of active providers whose offer stands.
pub(crate) struct Offers<'a> {
    state: &'a dyn State,
    /// The same, where it is the block's own.
    block: Option<&'a Scratch<'a>>,
    params: &'a Params,
    height: u64,
    seen: &'a RefCell<Seen>,
    visit_max: u32,
    visits: Cell<Visits>,
}

/// What the walks through a book looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Visits {
    /// How many hosts, those of this block's offers included, and the one that the walk ended at
    /// without a look.
    count: u32,
    /// Those of this block's offers, which the walk was not shown.
    pub(crate) left_out: u32,
    /// The last of all.
    last: Option<Cursor>,
    /// The same, where a walk would have gone on but for the bound on visits.
    pub(crate) cut: Option<Cursor>,
}

impl<'a> Offers<'a> {
    /// The offers made before block `height`. `seen` is what books of the same block have read
    /// before.
    pub(crate) fn new(
        state: &'a dyn State,
        params: &'a Params,
        height: u64,
        seen: &'a RefCell<Seen>,
    ) -> Self {
        let (visit_max, visits) = (u32::MAX, Cell::default());
        Self { state, block: None, params, height, seen, visit_max, visits }
    }

    /// The same over what block `height` made of the state so far. Its walks for an order do not
    /// read hosts that stand in another region than the order allows.
    pub(crate) fn in_block(
        block: &'a Scratch<'a>,
        params: &'a Params,
        height: u64,
        seen: &'a RefCell<Seen>,
    ) -> Self {
        Self { block: Some(block), ..Self::new(block, params, height, seen) }
    }

    /// The same for one order, whose walk looks at so many hosts at most.
    pub(crate) fn bounded(self, visit_max: u32) -> Self {
        Self { visit_max, ..self }
    }

    /// What was looked at.
    pub(crate) const fn visits(&self) -> Visits {
        self.visits.get()
    }

    /// A record. The block keeps it as it is, for who grants what was found.
    fn record<R: Record>(&self, key: &R::Key) -> Option<R> {
        match self.block {
            Some(block) => keys::find(block, key).map(Rc::unwrap_or_clone),
            None => R::TABLE.get(self.state, key),
        }
    }

    /// Whether a walk may look at one more host; notes that it does.
    fn visit(&self, place: seen::Place) -> bool {
        let mut visits = self.visits.get();
        let may = visits.count < self.visit_max;
        if may {
            visits.count = visits.count.saturating_add(1);
            visits.last = Some(cursor(place));
        } else {
            visits.cut = visits.last;
        }
        self.visits.set(visits);
        may
    }

    /// What a host on a walk offers; notes those that offer nothing.
    fn show(&self, number: usize) -> Option<Offer> {
        let offer = self.seen.borrow_mut().host(self, number);
        if offer.is_none() {
            let visits = self.visits.get();
            self.visits.set(Visits { left_out: visits.left_out.saturating_add(1), ..visits });
        }
        offer
    }

    /// Whether a host takes orders, and stands in none of `regions`, which are not empty; told
    /// without reading it. Only a host that this block wrote can be one that takes no orders yet.
    fn is_elsewhere(&self, (place, tag): &(seen::Place, RegionTag), regions: &[RegionTag]) -> bool {
        let block = self.block.filter(|_| !regions.contains(tag));
        block.is_some_and(|block| !block.has_written(&keys::HOSTS.key(&place.1)))
    }

    /// The hosts of a walk: their places and regions, and where in which front they are.
    fn merged<'b>(
        &'b self,
        query: &Query,
        after: Option<&Cursor>,
    ) -> impl Iterator<Item = (seen::Tagged, usize, usize)> + use<'a, 'b> {
        let class = class_key(&query.class);
        let after = after.map(|cursor| (unit_price(cursor.unit_price), cursor.host));
        let mut lists = Vec::new();
        for kind in [ONLY, if query.interruptible { LOWER } else { FIRM }] {
            let mut seen = self.seen.borrow_mut();
            for front in seen.fronts(self.state, class, kind, query.level) {
                let at = seen.start(self.state, front, after.as_ref());
                let next = seen.entry(self.state, front, at);
                lists.extend(next.map(|next| List { front, at, next }));
            }
        }
        let merged = Merged { offers: self, lists };
        merged.take_while(|((place, _), ..)| self.visit(*place))
    }
}

/// A list under way: its front in [`Seen`], and the place there of what comes next.
struct List {
    front: usize,
    at: usize,
    next: seen::Tagged,
}

/// Several lists in one, by (unit price, host): the hosts' places, and where in which front.
struct Merged<'a> {
    offers: &'a Offers<'a>,
    lists: Vec<List>,
}

impl Iterator for Merged<'_> {
    type Item = (seen::Tagged, usize, usize);

    fn next(&mut self) -> Option<Self::Item> {
        let lists = self.lists.iter_mut().enumerate();
        let (number, first) = lists.min_by(|(_, one), (_, next)| one.next.0.cmp(&next.next.0))?;
        let entry = (first.next, first.front, first.at);
        first.at = first.at.saturating_add(1);
        let Offers { seen, state, .. } = self.offers;
        match seen.borrow_mut().entry(*state, first.front, first.at) {
            Some(next) => first.next = next,
            None => drop(self.lists.swap_remove(number)),
        }
        Some(entry)
    }
}

impl Book for Offers<'_> {
    fn walk<'a>(
        &'a self,
        query: &Query,
        after: Option<&Cursor>,
    ) -> Box<dyn Iterator<Item = Arc<HostView>> + 'a> {
        let shown = self.merged(query, after).filter_map(|(((_, host), _), front, place)| {
            let number = self.seen.borrow_mut().number_at(front, place, host);
            self.show(number)
        });
        Box::new(shown.map(exact))
    }

    fn meet<'a>(
        &'a self,
        query: &Query,
        after: Option<&Cursor>,
        terms: &Terms,
    ) -> Box<dyn Iterator<Item = Met> + 'a> {
        let regions: Vec<_> = terms.regions.iter().map(|region| RegionTag::of(region)).collect();
        Box::new(self.merged(query, after).filter_map(move |(tagged, front, place)| {
            let at = cursor(tagged.0);
            if !regions.is_empty() && self.is_elsewhere(&tagged, &regions) {
                return Some(Met { at, offer: None });
            }
            let number = self.seen.borrow_mut().number_at(front, place, at.host);
            self.show(number).map(|offer| Met { at, offer: Some(offer) })
        }))
    }

    fn hosts<'a>(&'a self) -> Box<dyn Iterator<Item = Arc<HostView>> + 'a> {
        let hosts = keys::OFFERS_DUE.scan(self.state, &(), None);
        Box::new(hosts.filter_map(|((_, id), ())| {
            let mut seen = self.seen.borrow_mut();
            let number = seen.number(id);
            seen.host(self, number).map(exact)
        }))
    }

    fn host_count(&self) -> u64 {
        u64::try_from(self.hosts().count()).unwrap_or(u64::MAX)
    }
}

/// What the market knows of a provider. Whatever this reads is to be watched by
/// [`super::QuoteBook`], and what helps an order rings a bell (see [`super::wake`]).
pub(crate) fn provider_view(
    state: &dyn State,
    id: &AccountId,
    provider: Provider,
    bond: &Bond,
    params: &Params,
) -> ProviderView {
    ProviderView {
        operator: provider::operator_by(state, id, &provider),
        region: provider.profile.region,
        jurisdiction: provider.profile.jurisdiction,
        attributes: provider.profile.attributes,
        signed: auditor::signed(state, id),
        bond_free: bond.free(),
        risk_bps: risk::premium_bps(&provider.conduct, params),
    }
}

/// A host as the market sees it; `None` where the books of its capacity are wrong.
pub(crate) fn host_view(id: HostId, host: Host, provider: Arc<ProviderView>) -> Option<HostView> {
    let free = capacity::checked_sub(&host.spec.capacity, &host.used)?;
    Some(HostView {
        id,
        provider,
        attributes: host.spec.attributes,
        verifies: host.spec.verifies,
        free,
        prices: host.spec.prices,
        interruptible: host.spec.interruptible,
        fuel_per_s: host.spec.fuel_per_s,
        offered_until: host.spec.offered_until,
    })
}

/// One host as it is now; `None` where it is no more, or its provider takes no orders.
pub(super) fn one(state: &dyn State, params: &Params, id: HostId) -> Option<HostView> {
    let provider = keys::PROVIDERS.get(state, &id.provider)?;
    if provider.status != ProviderStatus::Active {
        return None;
    }
    let host = keys::HOSTS.get(state, &id)?;
    let bond = keys::BONDS.get(state, &id.provider).unwrap_or_default();
    let provider = provider_view(state, &id.provider, provider, &bond, params);
    host_view(id, host, Arc::new(provider))
}

const ONLY: u8 = 0;
const FIRM: u8 = 1;
const LOWER: u8 = 2;

/// The lists that a host with so much free is in while it takes orders, with its unit price there.
fn listings(
    free: &Resources,
    prices: &Prices,
    other: Option<&Interruptible>,
) -> Vec<(OfferList, UnitPrice)> {
    let mut all = Vec::new();
    for (class, level) in Class::of_host(free) {
        let name = class_key(&class);
        let mut list = |kind, price| {
            all.push((OfferList { class: name, kind, level }, unit_price(price)));
        };
        let firm = class.unit_price(prices);
        match other {
            None => list(ONLY, firm),
            Some(other) => {
                list(FIRM, firm);
                list(LOWER, firm.min(class.unit_price(&other.prices)));
            }
        }
    }
    all
}

/// Whether two states of a host are listed alike, if its spec is the same.
pub(super) fn same_lists(one: &Host, other: &Host) -> bool {
    let classes = |host: &Host| {
        let free = capacity::checked_sub(&host.spec.capacity, &host.used);
        free.map(|free| Class::of_host(&free))
    };
    classes(one) == classes(other)
}

/// A host's index entries while it takes orders: one or two for each of its classes, and its
/// expiry.
pub(crate) fn offer_entries(id: &HostId, host: &Host, emit: &mut dyn FnMut(Vec<u8>)) {
    let HostSpec { capacity, prices, interruptible, .. } = &host.spec;
    if let Some(free) = capacity::checked_sub(capacity, &host.used) {
        for (list, price) in listings(&free, prices, interruptible.as_ref()) {
            emit(keys::OFFERS.key(&(list, price, *id)));
        }
    }
    emit(keys::OFFERS_DUE.key(&(host.spec.offered_until, *id)));
}

/// Unit prices are limited ([`crate::limits::UNIT_PRICE`]), so that this loses nothing.
fn unit_price(rate: Rate) -> UnitPrice {
    UnitPrice::of(rate.amount_per_hour().nanos())
}

/// A host with what is free of its provider's bond.
fn exact(Offer { host, bond_free }: Offer) -> Arc<HostView> {
    if host.provider.bond_free == bond_free {
        return host;
    }
    let provider = Arc::new(ProviderView { bond_free, ..ProviderView::clone(&host.provider) });
    Arc::new(HostView { provider, ..HostView::clone(&host) })
}

fn cursor((price, host): seen::Place) -> Cursor {
    let unit_price = Rate::per_hour(Amount::from_nanos(u128::from(price.nanos())));
    Cursor { unit_price, host }
}

/// A class's name in the index: short, because a host has several. Two GPUs that share one by
/// chance or intent only cost visits, as every host is checked.
fn class_key(class: &Class) -> [u8; 8] {
    match class {
        Class::Cpu => [0; 8],
        Class::AnyGpu => [u8::MAX; 8],
        Class::Gpu { vendor, model } => {
            static NAME: HashDomain = HashDomain::new("muster host class v2");
            let name = NAME.hash(&[vendor.as_bytes(), model.as_bytes()]);
            name.0.first_chunk().copied().unwrap_or_default()
        }
    }
}

#[cfg(test)]
mod tests;
