//! Explaining: what an order would get now, and what each constraint excludes.
//!
//! The grants are those of [`clear`] itself. The counts come from the same checks, over every host
//! of the book: also over hosts of other classes and beyond the visit limit, because a quote should
//! say what is there. A constraint's `alone` are the hosts that pass every other one: relaxing this
//! one constraint would let them in.

use crate::{
    Book, Constraint, Rules, Spread, Stop, Terms, Together,
    check::{Quote, examine},
    clear,
};
use muster_types::{Millis, Rate};
use serde::{Deserialize, Serialize};
use std::{cmp::Reverse, collections::BTreeMap};

mod hint;
pub(crate) mod relax;

pub use relax::Relax;

/// What an order would get, and why not more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Explanation {
    /// Hosts that take orders.
    pub hosts: u64,
    /// Hosts that pass every constraint for one lease.
    pub matched: u64,
    /// Leases that would be granted now, in this block.
    pub would_grant: u32,
    /// The price of each of them, in the order of the grants.
    pub rates: Vec<Rate>,
    /// The sum of `rates`.
    pub price_per_hour: Rate,
    /// The lowest price among the hosts that match.
    pub cheapest: Option<Rate>,
    /// Hosts that clearing looked at.
    pub visited: u32,
    /// Why it looked at no more.
    pub stopped: Stop,
    /// The constraints that exclude hosts, those that exclude most alone first.
    pub excluded: Vec<Exclusion>,
    /// Why hosts that match would not fill the order.
    pub shortfall: Option<Shortfall>,
}

/// What one constraint excludes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Exclusion {
    /// Which constraint.
    pub constraint: Constraint,
    /// Hosts that fail this constraint and no other.
    pub alone: u64,
    /// Hosts that fail this constraint, whatever else they fail.
    pub total: u64,
    /// The smallest change that would let a host pass: one of those that fail nothing else, where
    /// there is one. `None` where no change of the order would.
    pub relax: Option<Relax>,
}

/// An order that hosts match but do not fill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Shortfall {
    /// Leases wanted.
    pub wanted: u32,
    /// Leases that fit, were the order no gang and not for one place.
    pub fitting: u32,
    /// Leases that would fit without spread limits.
    pub fitting_without_spread: u32,
    /// Whether the order is all or nothing.
    pub gang: bool,
    /// Whether its leases must be in one place.
    pub together: Together,
}

/// Explains what [`clear`] would do with an order now. Visits every host of the book.
#[must_use]
pub fn explain(book: &dyn Book, terms: &Terms, rules: &Rules, now: Millis) -> Explanation {
    let mut counts = Counts { hosts: book.host_count(), ..Counts::default() };
    let mut tallies: BTreeMap<Constraint, Tally> = BTreeMap::new();
    for host in book.hosts() {
        let mut failed = Vec::new();
        let quote = || Quote::of(&host, terms, rules);
        let quote = examine(&host, host.provider.bond_free, quote, terms, now, &mut |constraint| {
            failed.push(constraint);
            Some(())
        });
        if let Some(quote) = quote {
            counts.matched = counts.matched.saturating_add(1);
            let cheapest = counts.cheapest.map_or(quote.rate, |least| least.min(quote.rate));
            counts.cheapest = Some(cheapest);
        }
        let alone = failed.len() == 1;
        for constraint in failed {
            let relax = relax::of(&constraint, &host, terms, rules, now);
            tallies.entry(constraint).or_default().count(alone, relax);
        }
    }
    counts.excluded =
        tallies.into_iter().map(|(constraint, tally)| tally.into_exclusion(constraint)).collect();
    explanation(counts, book, terms, rules, now)
}

/// What a look at every host found.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) hosts: u64,
    pub(crate) matched: u64,
    pub(crate) cheapest: Option<Rate>,
    /// In the order of the constraints.
    pub(crate) excluded: Vec<Exclusion>,
}

/// The counts, and the grants beside them.
pub(crate) fn explanation(
    counts: Counts,
    book: &dyn Book,
    terms: &Terms,
    rules: &Rules,
    now: Millis,
) -> Explanation {
    let Counts { hosts, matched, cheapest, mut excluded } = counts;
    let cleared = clear(book, terms, rules, now);
    let rates: Vec<Rate> = cleared.placements.iter().map(|placement| placement.rate).collect();
    let sum = rates.iter().try_fold(Rate::ZERO, |sum, rate| sum.checked_add(*rate));
    excluded.sort_by_key(|one| Reverse((one.alone, one.total)));
    let would_grant = length(&cleared.placements);
    let short = matched > 0 && would_grant < terms.count;
    Explanation {
        hosts,
        matched,
        would_grant,
        rates,
        price_per_hour: sum.unwrap_or(Rate::MAX),
        cheapest,
        visited: cleared.visited,
        stopped: cleared.stopped,
        excluded,
        shortfall: short.then(|| shortfall(book, terms, rules, now)),
    }
}

fn shortfall(book: &dyn Book, terms: &Terms, rules: &Rules, now: Millis) -> Shortfall {
    let loose = Terms { gang: false, together: Together::No, ..terms.clone() };
    let looser = Terms { spread: Spread::default(), ..loose.clone() };
    Shortfall {
        wanted: terms.count,
        fitting: length(&clear(book, &loose, rules, now).placements),
        fitting_without_spread: length(&clear(book, &looser, rules, now).placements),
        gang: terms.all_or_nothing(),
        together: terms.together,
    }
}

fn length<T>(items: &[T]) -> u32 {
    u32::try_from(items.len()).unwrap_or(u32::MAX)
}

/// What one constraint was seen to exclude.
#[derive(Default)]
struct Tally {
    alone: u64,
    total: u64,
    relax_alone: Option<Relax>,
    relax_any: Option<Relax>,
}

impl Tally {
    fn count(&mut self, alone: bool, relax: Option<Relax>) {
        self.total = self.total.saturating_add(1);
        if alone {
            self.alone = self.alone.saturating_add(1);
            self.relax_alone = relax::easier(self.relax_alone.take(), relax.clone());
        }
        self.relax_any = relax::easier(self.relax_any.take(), relax);
    }

    fn into_exclusion(self, constraint: Constraint) -> Exclusion {
        let relax = if self.alone > 0 { self.relax_alone } else { self.relax_any };
        Exclusion { constraint, alone: self.alone, total: self.total, relax }
    }
}

#[cfg(test)]
mod tests;
