//! Clearing: which hosts win an order, and at which price.
//!
//! The rule, step by step:
//!
//! 1. The order's [`Query`](crate::Query) is walked: the hosts of its class whose level there, by
//!    what they have free, covers its own ([`crate::Level`]), by rising (unit price, host id), at
//!    most [`Rules::visit_max`] of them. For an order that accepts interruptible offers the unit
//!    price and the rate of a host are the lower ones of its two offers, each taken by itself, of
//!    equal rates the firm one.
//! 2. A host that fails a hard constraint ([`crate::Constraint`]) for a single lease is dropped.
//!    The lease's rate is [`crate::HostView::rate_for`], its pledge [`Rules::pledge`]; where either
//!    or the score is too large to be written, the host fails `max_rate`.
//! 3. Once the hosts that passed would fill the order if they were taken in the order of the walk
//!    by step 4, [`Rules::look_ahead`] more that pass are looked at. Then there is a check, and
//!    another whenever `max(1, look_ahead)` more have passed since the last one; each before the
//!    next host. A check ranks all that passed so far by step 4:
//!
//!    | what they would give | then |
//!    |---|---|
//!    | less than the order wants (limits that cross each other can do that) | there are no checks any more |
//!    | leases whose worst score is at most `f x (10_000 + look_ahead_slack_bps)`, `f` being the floor (below) of the host that passed last | the walk ends |
//!    | leases one of which scores more | the walk goes on |
//!
//!    A product too large to be written is no limit. No host that follows costs less than `f`. So
//!    where a walk was not cut by `visit_max`, [`Rules::look_ahead_slack_bps`] bounds how much more
//!    than the least that a host not looked at could ask is paid for any lease: dear memory behind
//!    a cheap thread wins nothing by filling the look ahead.
//! 4. All that passed are ranked by (score, host id), the least first; the score is
//!    `rate x (10_000 + risk_bps x weight)`: the price, raised by the provider's risk premium as
//!    the order weighs it. In that rank
//!    each host gets as many of the order's leases as it can take, until there are
//!    [`Terms::count`]: while it has the capacity free after the leases that this order already
//!    put on it; while its provider's free bond covers this lease's pledge and `min_bond` after
//!    what this order already pledged on it; while no [`crate::Spread`] limit is reached, leases
//!    that the order holds already ([`Held`]) counted. Which GPUs a lease takes says
//!    [`crate::Request::allot`].
//! 5. A gang that was not filled gets nothing.
//! 6. Every winner is paid what it asked: its rate, not its score.
//!
//! An order that is to be in one place ([`crate::Together`]) takes step 4 for each place by
//! itself, over the hosts that passed there; in step 3 "would fill" means that some place would,
//! and a check is of the leases in the place that would win.
//! Of the places that fill the order the one with the least sum of its leases' scores wins, of
//! equal ones the first by name (region, provider or host id); if none does the order gets nothing.
//! Where the order holds leases, only the place that they are in counts.
//!
//! An order that takes any number of leases and stopped at `visit_max` goes on, in a later block,
//! after the [`Cursor`] that [`Cleared`] holds: hosts before it took no more of the order then.
//!
//! When the walk ends is part of the rule, because visits are paid for. Before each host, in this
//! order:
//!
//! | if | it ends as |
//! |---|---|
//! | there is a check of step 3, and it says so | [`Stop::EnoughSeen`] |
//! | there is no further host | [`Stop::Exhausted`] |
//! | the floor `f` of the host exceeds `max_rate`, or `f x 10_000` is too large to be written | [`Stop::NothingCheaper`] |
//! | those that passed with a score less than `f x 10_000`, ranked, fill the order (not asked of an order for one place) | [`Stop::NothingCheaper`] |
//! | `visit_max` hosts were visited | [`Stop::VisitLimit`] |
//!
//! else the host is visited. Its floor is [`crate::Class::rate_floor`] of its unit price. Why that
//! changes no outcome: a rate is a sum of parts, none negative, and one part is the unit price
//! times the request's units, rounded up. So a host's rate is at least `f` and its score at least
//! `f x 10_000`, and as unit prices only rise along the walk, so has every host that follows. The
//! hosts with a score that is *less* rank before all of these (on equality the host id could still
//! decide), so they may be dealt with for good; once these fill the order, what follows gets
//! nothing. That does not hold of an order for one place: a place that is not filled yet may still
//! cost less in all than one that is. Its walk ends by `max_rate`, by a check of step 3, at
//! `visit_max` or with the hosts.

use crate::{Book, Cursor, Rules, Terms, Together, check::BPS};
use muster_types::{Amount, HostId, Millis, Rate, Resources};
use serde::{Deserialize, Serialize};
use std::{cmp::Ordering, collections::BinaryHeap};

mod bids;
mod grants;
mod together;
mod walk;

pub use bids::{BidView, clear_bids};
pub use grants::Held;
use grants::{Candidate, Grants, Rank};
use walk::{Ahead, Walk};

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
    /// The notice before an end, where the rate is the interruptible offer's.
    pub interruptible: Option<Millis>,
    /// The bid that won, by its place in the list.
    pub bid: Option<u32>,
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
    /// The order was filled, [`Rules::look_ahead`] more hosts were compared, and nothing that
    /// follows could be much cheaper ([`Rules::look_ahead_slack_bps`]).
    EnoughSeen,
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
    /// Where to go on, for an order that takes any number of leases, is not filled, and has seen
    /// as many hosts as it may.
    pub cursor: Option<Cursor>,
}

/// What an order brings from earlier blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Where its last walk ended.
    pub after: Option<Cursor>,
    /// The open leases that it holds.
    pub held: Held,
}

/// Clears one order against a book, at block time `now`. See the module for the rule.
#[must_use]
pub fn clear(book: &dyn Book, terms: &Terms, rules: &Rules, now: Millis) -> Cleared {
    clear_on(book, terms, rules, now, &Progress::default())
}

/// Clears what is left of an order: `terms.count` leases beside those that it holds, from hosts
/// after where its last walk ended. Those of an order for one place are in the place of what it
/// holds.
#[must_use]
pub fn clear_on(
    book: &dyn Book,
    terms: &Terms,
    rules: &Rules,
    now: Millis,
    progress: &Progress,
) -> Cleared {
    if terms.together != Together::No {
        return together::clear(book, terms, rules, now, progress);
    }
    let mut walk = Walk::new(book, terms, rules, now, progress.after.as_ref());
    let mut waiting: BinaryHeap<Waiting> = BinaryHeap::with_capacity(WAITING);
    let mut grants = Grants::new(terms, &progress.held);
    let mut in_walk_order = Grants::trial(terms, &progress.held);
    let mut ahead = Ahead::Short;
    // The last that wins a lease, ranked, as far as that is known.
    let mut last = None;
    let stopped = loop {
        if let Ahead::Left(0) = ahead {
            last = last.or_else(|| last_of(&grants, &mut waiting));
            if last.is_some_and(|(worst, ..)| worst <= walk.enough()) {
                break Stop::EnoughSeen;
            }
            ahead.checked(rules, last.is_some());
        }
        let (met, score_floor) = match walk.next() {
            Ok(next) => next,
            Err(stop) => break stop,
        };
        while waiting.peek().is_some_and(|Waiting(rank, _)| rank.0 < score_floor)
            && let Some(Waiting(_, candidate)) = waiting.pop()
        {
            grants.fill(&candidate);
        }
        if grants.is_full() {
            break Stop::NothingCheaper;
        }
        match walk.visit(met) {
            Err(stop) => break stop,
            Ok(None) => {}
            Ok(Some((offer, quote))) => {
                let candidate = Candidate { offer, quote, bid: None };
                ahead.passed(rules, || {
                    in_walk_order.fill(&candidate);
                    in_walk_order.is_full()
                });
                let rank = candidate.rank();
                // Behind all that win a host changes nothing.
                last = last.filter(|last| *last < rank);
                waiting.push(Waiting(rank, candidate));
            }
        }
    };
    while !grants.is_full()
        && let Some(Waiting(_, candidate)) = waiting.pop()
    {
        grants.fill(&candidate);
    }
    let more = stopped == Stop::VisitLimit && !grants.is_full() && !terms.all_or_nothing();
    let cursor = walk.last.filter(|_| more);
    Cleared { placements: grants.into_placements(), visited: walk.visited, stopped, cursor }
}

/// The rank of the last that wins a lease if nothing follows; `None` where that is too little to
/// fill the order. Those that wait stay as they are.
fn last_of(grants: &Grants<'_>, waiting: &mut BinaryHeap<Waiting>) -> Option<Rank> {
    let mut ranked = grants.to_trial();
    let mut drawn = Vec::new();
    while !ranked.is_full()
        && let Some(next) = waiting.pop()
    {
        ranked.fill(&next.1);
        drawn.push(next);
    }
    let last = drawn.last().filter(|_| ranked.is_full()).map(|Waiting(rank, _)| *rank);
    waiting.extend(drawn);
    last
}

/// Few walks have more candidates waiting at once.
const WAITING: usize = 16;

/// A candidate that cannot be dealt with yet: the greater, the earlier it ranks.
#[derive(Debug)]
struct Waiting(Rank, Candidate);

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        other.0.cmp(&self.0)
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Waiting {}

/// The score of a lease at `rate` from a provider without any risk premium.
fn score_of(rate: Rate) -> Option<u128> {
    rate.amount_per_hour().nanos().checked_mul(u128::from(BPS))
}

#[cfg(test)]
mod tests;
