//! What was read of the book already, for the next order of the same block.

use super::{Offers, host_view, listings, provider_view};
use crate::{
    Params, State, bond,
    keys::{self, OfferList, UnitPrice},
    provider::{Host, risk},
};
use muster_market::{HostView, Level, ProviderView};
use muster_types::{AccountId, HostId};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The cheapest part of each list that was walked, and the hosts there. It holds nothing that the
/// state does not say; who grants tells ([`Seen::granted`]).
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// By class and kind: its lists that hold hosts, all of them, as places in `fronts`.
    groups: BTreeMap<([u8; 8], u8), BTreeMap<Level, usize>>,
    fronts: Vec<Front>,
    hosts: Vec<SeenHost>,
    by_id: BTreeMap<HostId, usize>,
    providers: Vec<Option<Arc<ProviderView>>>,
    by_provider: BTreeMap<AccountId, usize>,
}

#[derive(Debug)]
struct SeenHost {
    id: HostId,
    /// By what was known of its provider then; `None` where it takes no orders, or was not read.
    view: Option<Arc<HostView>>,
    is_read: bool,
    provider: usize,
}

pub(super) type Place = (UnitPrice, HostId);

/// The first part of a list, in order; each host by its place in [`Seen::hosts`].
#[derive(Debug)]
struct Front {
    list: OfferList,
    entries: Vec<(Place, usize)>,
    /// How far the list was read; `None` at first.
    read: Option<Place>,
    /// Whether that is the whole of it.
    whole: bool,
}

/// How many entries of a list are read at once.
const CHUNK: usize = 16;

impl Seen {
    /// Leases were granted on these hosts; so says the state, and this is what the hosts are now.
    pub(crate) fn granted(&mut self, state: &dyn State, params: &Params, hosts: &[(HostId, Host)]) {
        let providers: BTreeSet<AccountId> = hosts.iter().map(|(id, _)| id.provider).collect();
        for id in &providers {
            let place = self.by_provider.get(id).copied();
            let known = place.and_then(|number| self.providers.get_mut(number));
            if let Some(Some(known)) = known
                && let Some(provider) = keys::PROVIDERS.get(state, id)
            {
                // A grant changes nothing else that the market sees of a provider.
                let bond_free = bond::free(state, id);
                let risk_bps = risk::premium_bps(&provider.conduct, params);
                *known =
                    Arc::new(ProviderView { bond_free, risk_bps, ..ProviderView::clone(known) });
            }
        }
        for (id, host) in hosts {
            self.changed(*id, host);
        }
    }

    fn changed(&mut self, id: HostId, host: &Host) {
        let Some(&number) = self.by_id.get(&id) else { return };
        let Some(known) = self.hosts.get_mut(number) else { return };
        let provider = self.providers.get(known.provider).cloned().flatten();
        let (Some(old), Some(provider)) = (known.view.take(), provider) else {
            // Where it was listed is not known any more.
            *self = Self::default();
            return;
        };
        let new = host_view(id, host, provider).map(Arc::new);
        known.view.clone_from(&new);
        for (list, price) in listings(&old) {
            if let Some(front) = self.front(list)
                && let Ok(at) = front.find(&(price, id))
            {
                front.entries.remove(at);
            }
        }
        for (list, price) in new.iter().flat_map(|new| listings(new)) {
            let place = (price, id);
            let group = self.groups.get_mut(&(list.class, list.kind));
            // A list of a known group that is not known held nobody so far.
            let fronts = &mut self.fronts;
            let front = group.map(|group| {
                *group.entry(list.level).or_insert_with(|| Front::put(fronts, list, true))
            });
            let front = front.and_then(|front| self.fronts.get_mut(front));
            if let Some(front) = front.filter(|front| front.whole || Some(place) <= front.read)
                && let Err(at) = front.find(&place)
            {
                front.entries.insert(at, (place, number));
            }
        }
    }

    /// The lists of a class and kind at the levels that cover `level`.
    pub(super) fn fronts(
        &mut self,
        state: &dyn State,
        class: [u8; 8],
        kind: u8,
        level: Level,
    ) -> Vec<usize> {
        let fronts = &mut self.fronts;
        let group = self.groups.entry((class, kind)).or_insert_with(|| {
            let mut group = BTreeMap::new();
            let mut list = OfferList { class, kind, level: Level { main: 0, beside: 0 } };
            let first = HostId { provider: AccountId::default(), index: 0 };
            // From each list to the first entry after it.
            while let Some(((found, ..), ())) =
                keys::OFFERS.scan_from(state, &(), Some(&(list, UnitPrice(0), first))).next()
            {
                if (found.class, found.kind) != (class, kind) {
                    break;
                }
                group.insert(found.level, Front::put(fronts, found, false));
                let beside = found.level.beside.saturating_add(1);
                list.level = Level { beside, ..found.level };
            }
            group
        });
        let covers = group.iter().filter(|(at, _)| at.covers(level));
        covers.map(|(_, front)| *front).collect()
    }

    /// The number of a host, which is not read for that.
    pub(super) fn number(&mut self, id: HostId) -> usize {
        if let Some(number) = self.by_id.get(&id) {
            return *number;
        }
        let providers = &mut self.providers;
        let provider = *self.by_provider.entry(id.provider).or_insert_with(|| {
            providers.push(None);
            providers.len().saturating_sub(1)
        });
        self.hosts.push(SeenHost { id, view: None, is_read: false, provider });
        let number = self.hosts.len().saturating_sub(1);
        self.by_id.insert(id, number);
        number
    }

    /// The host with a number, as it is now; `None` where it takes no orders.
    pub(super) fn host(&mut self, offers: &Offers<'_>, number: usize) -> Option<Arc<HostView>> {
        let known = self.hosts.get_mut(number)?;
        if known.is_read && known.view.is_none() {
            return None;
        }
        let provider = self.providers.get_mut(known.provider)?;
        if provider.is_none() {
            let id = &known.id.provider;
            let read = keys::PROVIDERS.get(offers.state, id);
            *provider =
                read.map(|read| Arc::new(provider_view(offers.state, id, &read, offers.params)));
        }
        let provider = provider.as_ref()?;
        match &known.view {
            Some(view) if Arc::ptr_eq(&view.provider, provider) => {}
            Some(view) => {
                let provider = Arc::clone(provider);
                known.view = Some(Arc::new(HostView { provider, ..HostView::clone(view) }));
            }
            None => {
                let host: Option<Host> = keys::HOSTS.get(offers.state, &known.id);
                let host = host.filter(|host| host.offered_at_height < offers.height);
                known.is_read = true;
                known.view = host
                    .and_then(|host| host_view(known.id, &host, Arc::clone(provider)))
                    .map(Arc::new);
            }
        }
        known.view.clone()
    }

    /// A list's entry, by its place in the list: as much of the list as that takes is read.
    pub(super) fn entry(
        &mut self,
        state: &dyn State,
        front: usize,
        at: usize,
    ) -> Option<(Place, usize)> {
        let known = self.fronts.get(front)?;
        if let Some(entry) = known.entries.get(at) {
            return Some(*entry);
        }
        if known.whole {
            return None;
        }
        let (list, read) = (known.list, known.read);
        let after = read.map(|(price, host)| (list, price, host));
        let more = keys::OFFERS.scan(state, &list, after.as_ref()).take(CHUNK);
        let more: Vec<Place> = more.map(|((_, price, host), ())| (price, host)).collect();
        let more: Vec<_> = more.into_iter().map(|place| (place, self.number(place.1))).collect();
        let known = self.fronts.get_mut(front)?;
        known.whole = more.len() < CHUNK;
        known.read = more.last().map(|(place, _)| *place).or(read);
        known.entries.extend(more);
        known.entries.get(at).copied()
    }

    /// The place in a list of its first entry after `after`.
    pub(super) fn start(
        &mut self,
        state: &dyn State,
        front: usize,
        after: Option<&Place>,
    ) -> usize {
        let Some(after) = after else { return 0 };
        while let Some(known) = self.fronts.get(front) {
            let at = match known.find(after) {
                Ok(at) => at.saturating_add(1),
                Err(at) => at,
            };
            if at < known.entries.len() || known.whole {
                return at;
            }
            self.entry(state, front, at);
        }
        0
    }

    fn front(&mut self, list: OfferList) -> Option<&mut Front> {
        let front = self.groups.get(&(list.class, list.kind))?.get(&list.level)?;
        self.fronts.get_mut(*front)
    }
}

impl Front {
    /// Adds a list of which nothing was read, or all of nothing.
    fn put(fronts: &mut Vec<Self>, list: OfferList, whole: bool) -> usize {
        fronts.push(Self { list, entries: Vec::new(), read: None, whole });
        fronts.len().saturating_sub(1)
    }

    fn find(&self, place: &Place) -> Result<usize, usize> {
        self.entries.binary_search_by_key(place, |(place, _)| *place)
    }
}
