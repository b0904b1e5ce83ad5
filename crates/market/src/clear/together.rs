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

/// The candidates of each place, by rank.
pub(super) type Places = BTreeMap<Place, BTreeMap<Rank, Candidate>>;

/// The place that can take the whole order for the least total score, of several the first:
/// its grants.
pub(super) fn best<'a>(places: &Places, terms: &'a Terms, held: &Held) -> Option<Grants<'a>> {
    let mut best: Option<(u128, Grants<'a>)> = None;
    for ranked in places.values() {
        let mut grants = Grants::new(terms, held);
        let mut total = 0u128;
        for candidate in ranked.values() {
            let before = grants.placements.len();
            grants.fill(candidate);
            let more = grants.placements.len().saturating_sub(before);
            let more = u128::try_from(more).unwrap_or(u128::MAX);
            total = total.saturating_add(candidate.quote.score.saturating_mul(more));
            if grants.is_full() {
                break;
            }
        }
        if grants.is_full() && best.as_ref().is_none_or(|(least, _)| total < *least) {
            best = Some((total, grants));
        }
    }
    best.map(|(_, grants)| grants)
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
    let mut places = Places::new();
    let mut in_walk_order: BTreeMap<Place, Grants<'_>> = BTreeMap::new();
    let mut ahead = Ahead::Short;
    let mut found = None;
    let stopped = loop {
        if let Ahead::Left(0) = ahead {
            found = best(&places, terms, held);
            if found.is_some() {
                break Stop::EnoughSeen;
            }
            ahead = Ahead::Open;
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
                places.entry(place).or_default().insert(candidate.rank(), candidate);
            }
        }
    };
    let placements = found.or_else(|| best(&places, terms, held));
    let placements = placements.map(Grants::into_placements).unwrap_or_default();
    Cleared { placements, visited: walk.visited, stopped, cursor: None }
}
