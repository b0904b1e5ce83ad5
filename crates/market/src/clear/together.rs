//! Orders whose leases must all be in one place.

use super::{
    Cleared, Progress, Stop,
    grants::{Candidate, Grants, Held, Rank},
    walk::{Ahead, Walk},
};
use crate::{Book, HostView, Rules, Terms, Together};
use muster_types::{AccountId, HostId, Millis};
use std::collections::BTreeMap;

/// The place of a host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Anywhere,
    Region(String),
    Provider(AccountId),
    Host(HostId),
}

impl Place {
    pub(super) fn of(host: &HostView, together: Together) -> Self {
        match together {
            Together::No => Self::Anywhere,
            Together::Region => Self::Region(host.provider.region.clone()),
            Together::Provider => Self::Provider(host.id.provider),
            Together::Host => Self::Host(host.id),
        }
    }
}

/// The candidates of a place, by rank.
pub(super) type Ranked = BTreeMap<Rank, Candidate>;

/// The candidates of each place.
pub(super) type Places = BTreeMap<Place, Ranked>;

/// What a place that fills an order gives it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sum {
    /// Of the leases' scores.
    pub(super) total: u128,
    /// The highest of them.
    worst: u128,
    /// The last that wins a lease.
    last: Rank,
}

/// What a place gives an order that it fills.
pub(super) fn filled<'a>(ranked: &Ranked, mut grants: Grants<'a>) -> Option<(Sum, Grants<'a>)> {
    let mut total = 0u128;
    for (last, candidate) in ranked {
        let leases = u128::from(grants.fill(candidate));
        total = total.saturating_add(candidate.quote.score.saturating_mul(leases));
        if grants.is_full() {
            let worst = if leases == 0 { 0 } else { candidate.quote.score };
            return Some((Sum { total, worst, last: *last }, grants));
        }
    }
    None
}

/// A place that hosts passed in.
#[derive(Debug, Default)]
struct Seen {
    ranked: Ranked,
    /// What it gives; `None` where that must be asked anew.
    sum: Option<Option<Sum>>,
}

impl Seen {
    fn insert(&mut self, candidate: Candidate) {
        let rank = candidate.rank();
        // Behind all that win a host changes nothing.
        self.sum = self.sum.filter(|sum| sum.is_some_and(|sum| sum.last < rank));
        self.ranked.insert(rank, candidate);
    }

    fn sum(&mut self, terms: &Terms, held: &Held) -> Option<Sum> {
        let Self { ranked, sum } = self;
        *sum.get_or_insert_with(|| filled(ranked, Grants::trial(terms, held)).map(|(sum, _)| sum))
    }
}

/// The place that fills the order for the least sum, of several the first: its candidates too.
fn best<'s>(
    places: &'s mut BTreeMap<Place, Seen>,
    terms: &Terms,
    held: &Held,
) -> Option<(Sum, &'s Ranked)> {
    let filled =
        places.values_mut().filter_map(|seen| Some((seen.sum(terms, held)?, &seen.ranked)));
    filled.min_by_key(|(sum, _)| sum.total)
}

pub(super) fn clear(
    book: &dyn Book,
    terms: &Terms,
    rules: &Rules,
    now: Millis,
    progress: &Progress,
) -> Cleared {
    let held = &progress.held;
    let mut walk = Walk::new(book, terms, rules, now, progress.after.as_ref());
    let mut places: BTreeMap<Place, Seen> = BTreeMap::new();
    let mut in_walk_order: BTreeMap<Place, Grants<'_>> = BTreeMap::new();
    let mut ahead = Ahead::Short;
    let stopped = loop {
        if let Ahead::Left(0) = ahead {
            let found = best(&mut places, terms, held).map(|(sum, _)| sum);
            if found.is_some_and(|sum| sum.worst <= walk.enough()) {
                break Stop::EnoughSeen;
            }
            ahead.checked(rules, found.is_some());
        }
        let visited = walk.next().and_then(|(met, _)| walk.visit(met));
        match visited {
            Err(stop) => break stop,
            Ok(None) => {}
            Ok(Some((offer, _))) if !held.is_with(terms.together, &offer.host) => {}
            Ok(Some((offer, quote))) => {
                let place = Place::of(&offer.host, terms.together);
                let candidate = Candidate { offer, quote, bid: None };
                ahead.passed(rules, || {
                    let new = || Grants::trial(terms, held);
                    let grants = in_walk_order.entry(place.clone()).or_insert_with(new);
                    grants.fill(&candidate);
                    grants.is_full()
                });
                places.entry(place).or_default().insert(candidate);
            }
        }
    };
    let grants = best(&mut places, terms, held)
        .and_then(|(_, ranked)| filled(ranked, Grants::new(terms, held)));
    let placements = grants.map(|(_, grants)| grants.into_placements()).unwrap_or_default();
    Cleared { placements, visited: walk.visited, stopped, cursor: None }
}
