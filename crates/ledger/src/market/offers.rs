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
    Params, State, auditor, bond,
    keys::{self, OfferList, UnitPrice},
    provider::{self, Host, Provider, ProviderStatus, risk},
};
use muster_market::{Book, Class, Cursor, HostView, ProviderView, Query, capacity};
use muster_types::{AccountId, Amount, Hash, HostId, Rate};
use std::{
    cell::{Cell, RefCell},
    sync::Arc,
};

/// The market's book over a state: the hosts of active providers whose offer stands.
pub(crate) struct Offers<'a> {
    state: &'a dyn State,
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
        Self { state, params, height, seen, visit_max: u32::MAX, visits: Cell::default() }
    }

    /// The same for one order, whose walk looks at so many hosts at most.
    pub(crate) fn bounded(self, visit_max: u32) -> Self {
        Self { visit_max, ..self }
    }

    /// What was looked at.
    pub(crate) const fn visits(&self) -> Visits {
        self.visits.get()
    }

    /// Whether a walk may look at one more host; notes that it does.
    fn visit(&self, (UnitPrice(price), host): seen::Place) -> bool {
        let mut visits = self.visits.get();
        let may = visits.count < self.visit_max;
        if may {
            visits.count = visits.count.saturating_add(1);
            let unit_price = Rate::per_hour(Amount::from_nanos(u128::from(price)));
            visits.last = Some(Cursor { unit_price, host });
        } else {
            visits.cut = visits.last;
        }
        self.visits.set(visits);
        may
    }

    fn view(&self, number: usize) -> Option<Arc<HostView>> {
        self.seen.borrow_mut().host(self, number)
    }

    /// The view of a host on a walk; notes those that have none.
    fn show(&self, number: usize) -> Option<Arc<HostView>> {
        let view = self.view(number);
        if view.is_none() {
            let visits = self.visits.get();
            self.visits.set(Visits { left_out: visits.left_out.saturating_add(1), ..visits });
        }
        view
    }
}

/// A list under way: its front in [`Seen`], where it is there, and what comes next.
struct List {
    front: usize,
    at: usize,
    next: Option<(seen::Place, usize)>,
}

/// Several lists in one, by (unit price, host): the hosts' places and numbers.
struct Merged<'a> {
    offers: &'a Offers<'a>,
    lists: Vec<List>,
}

impl Iterator for Merged<'_> {
    type Item = (seen::Place, usize);

    fn next(&mut self) -> Option<Self::Item> {
        let ready = self.lists.iter_mut().filter(|list| list.next.is_some());
        let first = ready.min_by_key(|list| list.next)?;
        let entry = first.next?;
        first.at = first.at.saturating_add(1);
        first.next = self.offers.seen.borrow_mut().entry(self.offers.state, first.front, first.at);
        Some(entry)
    }
}

impl Book for Offers<'_> {
    fn walk<'a>(
        &'a self,
        query: &Query,
        after: Option<&Cursor>,
    ) -> Box<dyn Iterator<Item = Arc<HostView>> + 'a> {
        let class = class_key(&query.class);
        let after = after.map(|cursor| (unit_price(cursor.unit_price), cursor.host));
        let mut lists = Vec::new();
        for kind in [ONLY, if query.interruptible { LOWER } else { FIRM }] {
            let mut seen = self.seen.borrow_mut();
            for front in seen.fronts(self.state, class, kind, query.level) {
                let at = seen.start(self.state, front, after.as_ref());
                let next = seen.entry(self.state, front, at);
                lists.extend(next.map(|_| List { front, at, next }));
            }
        }
        let merged = Merged { offers: self, lists };
        let visited = merged.take_while(|(place, _)| self.visit(*place));
        Box::new(visited.filter_map(|(_, number)| self.show(number)))
    }

    fn hosts<'a>(&'a self) -> Box<dyn Iterator<Item = Arc<HostView>> + 'a> {
        let hosts = keys::OFFERS_DUE.scan(self.state, &(), None);
        Box::new(hosts.filter_map(|((_, id), ())| {
            let number = self.seen.borrow_mut().number(id);
            self.view(number)
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
    provider: &Provider,
    params: &Params,
) -> ProviderView {
    ProviderView {
        operator: provider::operator_of(state, id),
        region: provider.profile.region.clone(),
        jurisdiction: provider.profile.jurisdiction.clone(),
        attributes: provider.profile.attributes.clone(),
        signed: auditor::signed(state, id),
        bond_free: bond::free(state, id),
        risk_bps: risk::premium_bps(&provider.conduct, params),
    }
}

/// A host as the market sees it; `None` where the books of its capacity are wrong.
pub(crate) fn host_view(id: HostId, host: &Host, provider: Arc<ProviderView>) -> Option<HostView> {
    let free = capacity::checked_sub(&host.spec.capacity, &host.used)?;
    Some(HostView {
        id,
        provider,
        attributes: host.spec.attributes.clone(),
        verifies: host.spec.verifies.clone(),
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
    let provider = provider_view(state, &id.provider, &provider, params);
    host_view(id, &host, Arc::new(provider))
}

const ONLY: u8 = 0;
const FIRM: u8 = 1;
const LOWER: u8 = 2;

/// The lists that a host is in while it takes orders, with its unit price there.
fn listings(host: &HostView) -> Vec<(OfferList, UnitPrice)> {
    let mut all = Vec::new();
    for (class, level) in Class::of_host(&host.free) {
        let name = class_key(&class);
        let mut list = |kind, interruptible| {
            let price = unit_price(host.unit_price(&class, interruptible));
            all.push((OfferList { class: name, kind, level }, price));
        };
        if host.interruptible.is_none() {
            list(ONLY, false);
        } else {
            list(FIRM, false);
            list(LOWER, true);
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
    if let Some(view) = host_view(*id, host, Arc::default()) {
        for (list, price) in listings(&view) {
            emit(keys::OFFERS.key(&(list, price, *id)));
        }
    }
    emit(keys::OFFERS_DUE.key(&(host.spec.offered_until, *id)));
}

/// Unit prices are limited ([`crate::limits::UNIT_PRICE`]), so that this loses nothing.
fn unit_price(rate: Rate) -> UnitPrice {
    UnitPrice(u64::try_from(rate.amount_per_hour().nanos()).unwrap_or(u64::MAX))
}

/// A class's name in the index: short, because a host has several. Two GPUs that share one by
/// chance or intent only cost visits, as every host is checked.
fn class_key(class: &Class) -> [u8; 8] {
    match class {
        Class::Cpu => [0; 8],
        Class::AnyGpu => [u8::MAX; 8],
        Class::Gpu { vendor, model } => {
            let parts: [&[u8]; 2] = [vendor.as_bytes(), model.as_bytes()];
            let name = Hash::of("muster host class v2", &parts);
            name.0.first_chunk().copied().unwrap_or_default()
        }
    }
}

#[cfg(test)]
mod tests;
