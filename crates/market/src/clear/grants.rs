//! Step 4 of clearing: leases granted one after the other, and what they use up across hosts.

use super::Placement;
use crate::{
    HostView, ProviderView, Spread, Terms, Together, capacity,
    check::{Quote, bond_covers},
};
use muster_types::{AccountId, Amount, HostId, Resources};
use std::{collections::BTreeMap, sync::Arc};

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
        fn one<K: Ord>(counts: &mut BTreeMap<K, u32>, key: K) {
            let count = counts.entry(key).or_insert(0);
            *count = count.saturating_add(1);
        }
        one(&mut self.by_host, *host);
        one(&mut self.by_provider, host.provider);
        one(&mut self.by_region, provider.region.clone());
        one(&mut self.by_operator, provider.operator);
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
    pub(super) host: Arc<HostView>,
    pub(super) quote: Quote,
    /// Which bid, and how many leases it is for.
    pub(super) bid: Option<(u32, u32)>,
}

/// The rank of a candidate: (score, host, bid).
pub(super) type Rank = (u128, HostId, u32);

impl Candidate {
    pub(super) fn rank(&self) -> Rank {
        (self.quote.score, self.host.id, self.bid.map_or(0, |(index, _)| index))
    }
}

/// The leases granted so far.
#[derive(Clone, Debug)]
pub(super) struct Grants<'a> {
    terms: &'a Terms,
    held: Held,
    pledged: BTreeMap<AccountId, Amount>,
    /// What is left of hosts with several bids.
    left: BTreeMap<HostId, Resources>,
    pub(super) placements: Vec<Placement>,
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
            remaining: terms.count,
        }
    }

    pub(super) const fn is_full(&self) -> bool {
        self.remaining == 0
    }

    /// The placements; of an order that takes all or nothing and is not filled, none.
    pub(super) fn into_placements(self) -> Vec<Placement> {
        if self.terms.all_or_nothing() && !self.is_full() { Vec::new() } else { self.placements }
    }

    /// Gives a candidate as many leases as it can take.
    pub(super) fn fill(&mut self, candidate: &Candidate) {
        if self.is_full() {
            return;
        }
        let Candidate { host, quote, bid } = candidate;
        let spread = &self.terms.spread;
        let apart = *spread == Spread::default();
        let known = bid.and_then(|_| self.left.get(&host.id));
        let mut free = known.unwrap_or(&host.free).clone();
        let mut pledged = self.pledged.get(&host.id.provider).copied().unwrap_or_default();
        let mut room = bid.map_or(u32::MAX, |(_, count)| count);
        while self.remaining > 0 && room > 0 {
            let bond = host.provider.bond_free.saturating_sub(pledged);
            if !bond_covers(bond, quote.pledge, self.terms.min_bond)
                || !(apart || self.held.allows(spread, &host.id, &host.provider))
            {
                break;
            }
            let Some(takes) = self.terms.request.allot(&free) else { break };
            let Some(left) = capacity::checked_sub(&free, &takes) else { break };
            free = left;
            // Both are parts of `bond_free`, so the sum is one too.
            pledged = pledged.checked_add(quote.pledge).unwrap_or(Amount::MAX);
            room = room.saturating_sub(1);
            self.remaining = self.remaining.saturating_sub(1);
            if !apart {
                self.held.add(&host.id, &host.provider);
            }
            self.placements.push(Placement {
                host: host.id,
                takes,
                rate: quote.rate,
                risk_bps: host.provider.risk_bps,
                pledge: quote.pledge,
                interruptible: quote.notice,
                bid: bid.map(|(index, _)| index),
            });
        }
        self.pledged.insert(host.id.provider, pledged);
        if bid.is_some() {
            self.left.insert(host.id, free);
        }
    }
}
