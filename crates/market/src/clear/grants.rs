//! Step 4 of clearing: leases granted one after the other, and what they use up across hosts.

use super::Placement;
use crate::{HostView, Offer, ProviderView, Spread, Terms, Together, capacity, check::Quote};
use muster_types::{AccountId, Amount, HostId, Resources};
use std::collections::BTreeMap;

/// Where leases of an order are: what its spread limits count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    by_host: BTreeMap<HostId, u32>,
    by_provider: BTreeMap<AccountId, u32>,
    by_region: BTreeMap<String, u32>,
    by_operator: BTreeMap<AccountId, u32>,
}

impl Held {
    /// Counts one lease more.
    pub fn add(&mut self, host: &HostId, provider: &ProviderView) {
        self.add_several(host, provider, 1);
    }

    pub(super) fn add_several(&mut self, host: &HostId, provider: &ProviderView, leases: u32) {
        fn add<K: Ord>(counts: &mut BTreeMap<K, u32>, key: K, leases: u32) {
            let count = counts.entry(key).or_insert(0);
            *count = count.saturating_add(leases);
        }
        add(&mut self.by_host, *host, leases);
        add(&mut self.by_provider, host.provider, leases);
        add(&mut self.by_region, provider.region.clone(), leases);
        add(&mut self.by_operator, provider.operator, leases);
    }

    /// Whether one lease more on this host keeps the limits.
    #[must_use]
    pub fn allows(&self, spread: &Spread, host: &HostId, provider: &ProviderView) -> bool {
        self.room(spread, host, provider) > 0
    }

    /// How many leases more on this host keep the limits.
    #[must_use]
    pub fn room(&self, spread: &Spread, host: &HostId, provider: &ProviderView) -> u32 {
        let left = |count: Option<&u32>, limit: u32| {
            if limit == 0 { u32::MAX } else { limit.saturating_sub(count.copied().unwrap_or(0)) }
        };
        left(self.by_host.get(host), spread.per_host)
            .min(left(self.by_provider.get(&host.provider), spread.per_provider))
            .min(left(self.by_region.get(&provider.region), spread.per_region))
            .min(left(self.by_operator.get(&provider.operator), spread.per_operator))
    }

    /// Whether leases on this host are in one place with all that is held.
    pub(super) fn is_with(&self, together: Together, host: &HostView) -> bool {
        self.by_host.is_empty()
            || match together {
                Together::No => true,
                Together::Region => self.by_region.contains_key(&host.provider.region),
                Together::Provider => self.by_provider.contains_key(&host.id.provider),
                Together::Host => self.by_host.contains_key(&host.id),
            }
    }
}

/// A host, or a bid, that passes every constraint.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) offer: Offer,
    pub(super) quote: Quote,
    /// Which bid, and how many leases it is for.
    pub(super) bid: Option<(u32, u32)>,
}

/// The rank of a candidate: (score, host, bid).
pub(super) type Rank = (u128, HostId, u32);

impl Candidate {
    pub(super) fn rank(&self) -> Rank {
        (self.quote.score, self.offer.host.id, self.bid.map_or(0, |(index, _)| index))
    }
}

/// The leases granted so far.
#[derive(Debug)]
pub(super) struct Grants<'a> {
    terms: &'a Terms,
    held: Held,
    pledged: BTreeMap<AccountId, Amount>,
    /// What is left of hosts with several bids.
    left: BTreeMap<HostId, Resources>,
    /// None are kept of a trial.
    pub(super) placements: Vec<Placement>,
    is_trial: bool,
    remaining: u32,
}

impl<'a> Grants<'a> {
    pub(super) fn new(terms: &'a Terms, held: &Held) -> Self {
        Self {
            terms,
            held: held.clone(),
            pledged: BTreeMap::new(),
            left: BTreeMap::new(),
            placements: Vec::new(),
            is_trial: false,
            remaining: terms.count,
        }
    }

    /// Grants to hosts that only tell whether they fill the order.
    pub(super) fn trial(terms: &'a Terms, held: &Held) -> Self {
        Self { is_trial: true, ..Self::new(terms, held) }
    }

    /// What would become of these grants to hosts, without a copy of the placements.
    pub(super) fn to_trial(&self) -> Self {
        Self {
            terms: self.terms,
            held: self.held.clone(),
            pledged: self.pledged.clone(),
            left: BTreeMap::new(),
            placements: Vec::new(),
            is_trial: true,
            remaining: self.remaining,
        }
    }

    pub(super) const fn is_full(&self) -> bool {
        self.remaining == 0
    }

    /// The placements; of an order that takes all or nothing and is not filled, none.
    pub(super) fn into_placements(self) -> Vec<Placement> {
        if self.terms.all_or_nothing() && !self.is_full() { Vec::new() } else { self.placements }
    }

    /// Gives a candidate as many leases as it can take; how many that are.
    pub(super) fn fill(&mut self, candidate: &Candidate) -> u32 {
        let Candidate { offer: Offer { host, bond_free }, quote, bid } = candidate;
        let (request, spread) = (&self.terms.request, &self.terms.spread);
        let apart = *spread != Spread::default();
        let pledged = self.pledged.get(&host.id.provider).copied().unwrap_or_default();
        let bond = bond_free.saturating_sub(pledged).checked_sub(self.terms.min_bond);
        let mut room = self.remaining.min(bid.map_or(u32::MAX, |(_, count)| count));
        room = room.min(bond.map_or(0, |bond| times(bond, quote.pledge)));
        if apart {
            room = room.min(self.held.room(spread, &host.id, &host.provider));
        }
        let known = bid.and_then(|_| self.left.get(&host.id));
        let free = capacity::in_canon(known.unwrap_or(&host.free));
        let first = self.placements.len();
        let mut leases = 0u32;
        for (gpu, fit) in request.allotments(&free) {
            let more = fit.min(room.saturating_sub(leases));
            leases = leases.saturating_add(more);
            if self.is_trial {
                continue;
            }
            self.placements.extend((0..more).map(|_| Placement {
                host: host.id,
                takes: request.taking(gpu),
                rate: quote.rate,
                risk_bps: host.provider.risk_bps,
                pledge: quote.pledge,
                interruptible: quote.notice,
                bid: bid.map(|(index, _)| index),
            }));
        }
        if leases == 0 {
            return 0;
        }
        self.remaining = self.remaining.saturating_sub(leases);
        if apart {
            self.held.add_several(&host.id, &host.provider, leases);
        }
        // A part of `bond_free`, so nothing overflows.
        let pledge = quote.pledge.checked_mul(u64::from(leases)).unwrap_or(Amount::MAX);
        let pledged = pledged.checked_add(pledge).unwrap_or(Amount::MAX);
        self.pledged.insert(host.id.provider, pledged);
        if bid.is_some() {
            let mut left = free.into_owned();
            for placement in self.placements.iter().skip(first) {
                // It fits, as it was allotted from this.
                let _ = capacity::take(&mut left, &placement.takes);
            }
            self.left.insert(host.id, left);
        }
        leases
    }
}

/// How often a pledge can be made out of a bond.
fn times(bond: Amount, pledge: Amount) -> u32 {
    let times = bond.nanos().checked_div(pledge.nanos());
    times.map_or(u32::MAX, |times| u32::try_from(times).unwrap_or(u32::MAX))
}
