//! Orders that providers bid on: a list of prices in place of standing offers.

use super::{
    Cleared, Stop,
    grants::{Candidate, Held},
    together::{Place, Places, filled},
};
use crate::{
    HostView, Offer, Rules, Terms, Together,
    check::{Quote, examine},
    clear::grants::Grants,
};
use muster_types::{Millis, Rate};
use std::sync::Arc;

/// A bid: a host, and its price for this order alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BidView {
    /// The host as it stands now; its standing prices do not matter.
    pub host: Arc<HostView>,
    /// What one lease costs.
    pub rate: Rate,
    /// At most so many leases.
    pub count: u32,
}

/// Clears an order against bids, by the rule of [`super::clear`] from its second step on: the same
/// constraints at the bid's rate, the same score, rank (equal ones of one host by their place in
/// the list), spread, gang and [`crate::Together`]. Every bid is looked at. Several bids of one
/// host share what it has free. [`crate::Placement::bid`] names the place in `bids`.
#[must_use]
pub fn clear_bids(
    bids: &[BidView],
    terms: &Terms,
    rules: &Rules,
    now: Millis,
    held: &Held,
) -> Cleared {
    let mut places = Places::new();
    for (bid, index) in bids.iter().zip(0u32..) {
        let host = &bid.host;
        let quote = || Quote::at(bid.rate, None, terms.weight(host.provider.risk_bps), rules);
        if held.is_with(terms.together, host)
            && let Some(quote) =
                examine(host, host.provider.bond_free, quote, terms, now, &mut |_| None)
        {
            let place = Place::of(host, terms.together);
            let candidate = Candidate {
                offer: Offer::of(Arc::clone(host)),
                quote,
                bid: Some((index, bid.count)),
            };
            places.entry(place).or_default().insert(candidate.rank(), candidate);
        }
    }
    let grants = if terms.together == Together::No {
        let mut grants = Grants::new(terms, held);
        for candidate in places.values().flat_map(|ranked| ranked.values()) {
            grants.fill(candidate);
        }
        Some(grants)
    } else {
        let filled = places.values().filter_map(|ranked| filled(ranked, Grants::new(terms, held)));
        filled.min_by_key(|(sum, _)| sum.total).map(|(_, grants)| grants)
    };
    let placements = grants.map(Grants::into_placements).unwrap_or_default();
    let visited = u32::try_from(bids.len()).unwrap_or(u32::MAX);
    Cleared { placements, visited, stopped: Stop::Exhausted, cursor: None }
}
