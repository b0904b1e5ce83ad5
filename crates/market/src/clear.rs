//! Clearing: which hosts win an order, and at which price.
//!
//! The rule, step by step:
//!
//! 1. The order's class ([`Class::of_request`]) is walked by rising (unit price, host id), at most
//!    [`Rules::visit_max`] hosts of it.
//! 2. A host that fails a hard constraint ([`crate::Constraint`]) for a single lease is dropped.
//! 3. The others are ranked by (score, host id), the least first; the score is
//!    `rate x (10_000 + risk_bps)`: the price, raised by the provider's risk premium.
//! 4. In that rank each host gets as many of the order's leases as it can take, until there are
//!    [`Terms::count`]: while it has the capacity free after the leases that this order already
//!    put on it; while its provider's free bond covers this lease's pledge and `min_bond` after
//!    what this order already pledged on it; while no [`crate::Spread`] limit is reached.
//! 5. A gang that was not filled gets nothing.
//! 6. Every winner is paid what it asked: its rate, not its score.
//!
//! The walk stops before its end when nothing that follows can change the outcome. Why that is
//! safe: a host's rate is a sum of parts, none negative, and one part is its unit price times the
//! request's units, rounded up. So its rate is at least [`Class::rate_floor`] of its unit price
//! and its score at least `floor x 10_000`. Unit prices only rise along the walk, and the floor
//! with them. Hence, when the walk has reached a host with floor `f`:
//!
//! - hosts seen so far whose score is *less* than `f x 10_000` rank before everything that is
//!   still to come, so step 4 may deal with them now and for good (on equality the host id could
//!   still decide, so they wait);
//! - once these fill the order, the rest of the walk gets nothing;
//! - and once `f` exceeds `max_rate`, the rest of the walk fails that constraint.

use crate::{
    Book, Class, HostView, Rules, Terms, capacity,
    check::{BPS, Quote, bond_covers, examine},
};
use muster_types::{AccountId, Amount, HostId, Millis, Rate, Resources};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One lease that a host won.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The winner.
    pub host: HostId,
    /// What it takes of the host, its GPUs tied to one kind.
    pub takes: Resources,
    /// What it costs: the host's own price.
    pub rate: Rate,
    /// The provider's risk premium, in hundredths of a per cent.
    pub risk_bps: u32,
    /// The part of the provider's bond that it locks, in `usd`.
    pub pledge: Amount,
}

/// Why a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// Every host of the class was seen.
    Exhausted,
    /// No host that follows could win.
    NothingCheaper,
    /// [`Rules::visit_max`] hosts were seen.
    VisitLimit,
}

/// The outcome of clearing one order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cleared {
    /// The leases, the best first; at most [`Terms::count`], and none or all of a gang.
    pub placements: Vec<Placement>,
    /// How many hosts were looked at.
    pub visited: u32,
    /// Why no more were.
    pub stopped: Stop,
}

/// Clears one order against a book, at block time `now`. See the module for the rule.
#[must_use]
pub fn clear(book: &dyn Book, terms: &Terms, rules: &Rules, now: Millis) -> Cleared {
    let class = Class::of_request(&terms.request);
    let mut waiting: BTreeMap<(u128, HostId), (HostView, Quote)> = BTreeMap::new();
    let mut grants = Grants::new(terms);
    let mut visited = 0u32;
    let mut walk = book.walk(&class);
    let stopped = loop {
        let Some(host) = walk.next() else { break Stop::Exhausted };
        let floor = class.rate_floor(class.unit_price(&host.prices), &terms.request);
        let Some(score_floor) = floor.filter(|floor| *floor <= terms.max_rate).and_then(score_of)
        else {
            break Stop::NothingCheaper;
        };
        while let Some(first) = waiting.first_entry()
            && first.key().0 < score_floor
        {
            let (host, quote) = first.remove();
            grants.fill(&host, &quote);
        }
        if grants.is_full() {
            break Stop::NothingCheaper;
        }
        if visited >= rules.visit_max {
            break Stop::VisitLimit;
        }
        visited = visited.saturating_add(1);
        if let Some(quote) = examine(&host, terms, rules, now, &mut |_| ()) {
            waiting.insert((quote.score, host.id), (host, quote));
        }
    };
    for (host, quote) in waiting.values() {
        grants.fill(host, quote);
    }
    let placements = if terms.gang && !grants.is_full() { Vec::new() } else { grants.placements };
    Cleared { placements, visited, stopped }
}

/// The score of a lease at `rate` from a provider without any risk premium.
fn score_of(rate: Rate) -> Option<u128> {
    rate.amount_per_hour().nanos().checked_mul(u128::from(BPS))
}

/// Step 4: the leases granted so far, and what they use up across hosts.
struct Grants<'a> {
    terms: &'a Terms,
    placements: Vec<Placement>,
    remaining: u32,
    by_provider: BTreeMap<AccountId, OnProvider>,
    by_region: BTreeMap<String, u32>,
}

#[derive(Clone, Copy, Default)]
struct OnProvider {
    leases: u32,
    pledged: Amount,
}

impl<'a> Grants<'a> {
    fn new(terms: &'a Terms) -> Self {
        Self {
            terms,
            placements: Vec::new(),
            remaining: terms.count,
            by_provider: BTreeMap::new(),
            by_region: BTreeMap::new(),
        }
    }

    const fn is_full(&self) -> bool {
        self.remaining == 0
    }

    /// Gives `host` as many leases as it can take.
    fn fill(&mut self, host: &HostView, quote: &Quote) {
        let spread = &self.terms.spread;
        let below = |taken: u32, limit: u32| limit == 0 || taken < limit;
        let mut free = host.free.clone();
        let mut on_host = 0u32;
        while self.remaining > 0 {
            let on_provider = self.by_provider.get(&host.id.provider).copied().unwrap_or_default();
            let in_region = self.by_region.get(&host.region).copied().unwrap_or_default();
            let apart = below(on_host, spread.per_host)
                && below(on_provider.leases, spread.per_provider)
                && below(in_region, spread.per_region);
            let bond = host.bond_free.saturating_sub(on_provider.pledged);
            if !apart || !bond_covers(bond, quote.pledge, self.terms.min_bond) {
                return;
            }
            let Some(takes) = self.terms.request.allot(&free) else { return };
            let Some(left) = capacity::checked_sub(&free, &takes) else { return };
            free = left;
            on_host = on_host.saturating_add(1);
            self.remaining = self.remaining.saturating_sub(1);
            self.by_region.insert(host.region.clone(), in_region.saturating_add(1));
            self.by_provider.insert(
                host.id.provider,
                OnProvider {
                    leases: on_provider.leases.saturating_add(1),
                    // Both are parts of `bond_free`, so the sum is one too.
                    pledged: on_provider.pledged.checked_add(quote.pledge).unwrap_or(Amount::MAX),
                },
            );
            self.placements.push(Placement {
                host: host.id,
                takes,
                rate: quote.rate,
                risk_bps: host.risk_bps,
                pledge: quote.pledge,
            });
        }
    }
}

#[cfg(test)]
mod tests;
