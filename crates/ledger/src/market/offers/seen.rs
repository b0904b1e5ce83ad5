//! What was read of the book already, for the next order of the same block.

use super::{Offers, host_view, listings, provider_view};
use crate::{
    State,
    bond::Bond,
    keys::{self, OfferList, RegionTag, UnitPrice},
    market::grant::Granted,
    provider::{Host, Provider},
};
use muster_market::{HostView, Level, Offer, ProviderView};
use muster_types::{AccountId, Amount, HostId};
use std::{collections::BTreeMap, sync::Arc};

/// The cheapest part of each list that was walked, and the hosts there. It holds nothing that the
/// state does not say; who grants tells ([`Seen::granted`]).
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// By class and kind: its lists that hold hosts, all of them, as places in `fronts`.
    groups: BTreeMap<([u8; 8], u8), BTreeMap<Level, usize>>,
    fronts: Vec<Front>,
    hosts: Vec<SeenHost>,
    by_id: BTreeMap<HostId, usize>,
    providers: Vec<SeenProvider>,
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

/// A provider, as far as somebody asked.
#[derive(Debug, Default)]
enum SeenProvider {
    #[default]
    Unread,
    /// It is not there.
    Nobody,
    /// With what is free of its bond, which the view may not know.
    View(Arc<ProviderView>, Amount),
}

impl SeenProvider {
    fn view(
        &mut self,
        offers: &Offers<'_>,
        id: &AccountId,
    ) -> Option<(&Arc<ProviderView>, Amount)> {
        if let Self::Unread = self {
            let record = offers.record::<Provider>(id);
            *self = record.map_or(Self::Nobody, |record| {
                let bond = offers.record::<Bond>(id).unwrap_or_default();
                let view = provider_view(offers.state, id, record, &bond, offers.params);
                let bond_free = view.bond_free;
                Self::View(Arc::new(view), bond_free)
            });
        }
        if let Self::View(view, bond_free) = self { Some((view, *bond_free)) } else { None }
    }
}

pub(super) type Place = (UnitPrice, HostId);
/// A place with where the host stands.
pub(super) type Tagged = (Place, RegionTag);

/// The first part of a list, in order; each host by its place in [`Seen::hosts`], if it has one.
#[derive(Debug)]
struct Front {
    list: OfferList,
    entries: Vec<(Tagged, Option<usize>)>,
    /// How far the list was read; `None` at first.
    read: Option<Place>,
    /// Whether that is the whole of it.
    whole: bool,
}

/// How many entries of a list are read at first; then as many as there are, up to so many at once.
const FIRST: usize = 4;
const MOST: usize = 64;

impl Seen {
    /// Leases were granted; so says the state.
    pub(crate) fn granted(&mut self, granted: Granted) {
        for (id, standing) in &granted.providers {
            let place = self.by_provider.get(id).copied();
            match place.and_then(|number| self.providers.get_mut(number)) {
                // A grant changes nothing else that the market sees of a provider.
                Some(SeenProvider::View(known, bond_free)) => {
                    *bond_free = standing.bond_free;
                    if known.risk_bps != standing.risk_bps {
                        Arc::make_mut(known).risk_bps = standing.risk_bps;
                    }
                }
                Some(other) => *other = SeenProvider::Unread,
                None => {}
            }
        }
        for (id, host) in granted.hosts {
            self.changed(id, host);
        }
    }

    fn changed(&mut self, id: HostId, host: Host) {
        let Some(&number) = self.by_id.get(&id) else { return };
        let Some(known) = self.hosts.get_mut(number) else { return };
        let provider = self.providers.get(known.provider);
        let (Some(old), Some(SeenProvider::View(provider, _))) = (known.view.take(), provider)
        else {
            // Where it was listed is not known any more.
            *self = Self::default();
            return;
        };
        let tag = RegionTag::of(&provider.region);
        let new = host_view(id, host, Arc::clone(provider)).map(Arc::new);
        known.view.clone_from(&new);
        let listed =
            |view: &HostView| listings(&view.free, &view.prices, view.interruptible.as_ref());
        let (before, after) = (listed(&old), new.as_deref().map(listed).unwrap_or_default());
        if before == after {
            return;
        }
        for (list, price) in before {
            if let Some(front) = self.front(list)
                && let Ok(at) = front.find(&(price, id))
            {
                front.entries.remove(at);
            }
        }
        for (list, price) in after {
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
                front.entries.insert(at, ((place, tag), Some(number)));
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
            while let Some(((found, ..), _)) =
                keys::OFFERS.scan_from(state, &(), Some(&(list, UnitPrice::ZERO, first))).next()
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
            providers.push(SeenProvider::Unread);
            providers.len().saturating_sub(1)
        });
        self.hosts.push(SeenHost { id, view: None, is_read: false, provider });
        let number = self.hosts.len().saturating_sub(1);
        self.by_id.insert(id, number);
        number
    }

    /// The number of the host at a place in a list.
    pub(super) fn number_at(&mut self, front: usize, at: usize, id: HostId) -> usize {
        let entry = self.fronts.get(front).and_then(|known| known.entries.get(at));
        if let Some((_, Some(number))) = entry {
            return *number;
        }
        let number = self.number(id);
        let front = self.fronts.get_mut(front);
        if let Some(entry) = front.and_then(|known| known.entries.get_mut(at)) {
            entry.1 = Some(number);
        }
        number
    }

    /// The host with a number, as it is now; `None` where it takes no orders.
    pub(super) fn host(&mut self, offers: &Offers<'_>, number: usize) -> Option<Offer> {
        let known = self.hosts.get_mut(number)?;
        if known.is_read && known.view.is_none() {
            return None;
        }
        let provider = self.providers.get_mut(known.provider)?;
        let (provider, bond_free) = provider.view(offers, &known.id.provider)?;
        match &known.view {
            Some(view) if Arc::ptr_eq(&view.provider, provider) => {}
            Some(view) => {
                let provider = Arc::clone(provider);
                known.view = Some(Arc::new(HostView { provider, ..HostView::clone(view) }));
            }
            None => {
                let host = offers.record::<Host>(&known.id);
                let host = host.filter(|host| host.offered_at_height < offers.height);
                known.is_read = true;
                known.view = host
                    .and_then(|host| host_view(known.id, host, Arc::clone(provider)))
                    .map(Arc::new);
            }
        }
        known.view.clone().map(|host| Offer { host, bond_free })
    }

    /// A list's entry, by its place in the list: as much of the list as that takes is read.
    pub(super) fn entry(&mut self, state: &dyn State, front: usize, at: usize) -> Option<Tagged> {
        let known = self.fronts.get_mut(front)?;
        if let Some((tagged, _)) = known.entries.get(at) {
            return Some(*tagged);
        }
        if known.whole {
            return None;
        }
        let after = known.read.map(|(price, host)| (known.list, price, host));
        let size = known.entries.len().clamp(FIRST, MOST);
        let before = known.entries.len();
        let more = keys::OFFERS.scan(state, &known.list, after.as_ref()).take(size);
        known.entries.extend(more.map(|((_, price, host), tag)| (((price, host), tag), None)));
        let more = known.entries.get(before..).unwrap_or_default();
        known.whole = more.len() < size;
        known.read = more.last().map(|((place, _), _)| *place).or(known.read);
        known.entries.get(at).map(|(tagged, _)| *tagged)
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
        self.entries.binary_search_by(|((known, _), _)| known.cmp(place))
    }
}
