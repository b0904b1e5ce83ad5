//! Steps 1 and 2 of clearing: the walk over a book, one visit after the other.

use super::{Stop, score_of};
use crate::{
    Book, Class, Cursor, Met, Offer, Query, Rules, Terms,
    check::{BPS, Quote, examine},
};
use muster_types::{Millis, Rate};

/// A walk under way.
pub(super) struct Walk<'a> {
    hosts: Box<dyn Iterator<Item = Met> + 'a>,
    class: Class,
    terms: &'a Terms,
    rules: &'a Rules,
    now: Millis,
    pub(super) visited: u32,
    /// The floor of the host that was met last.
    floor: Rate,
    /// The last host visited.
    pub(super) last: Option<Cursor>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        book: &'a dyn Book,
        terms: &'a Terms,
        rules: &'a Rules,
        now: Millis,
        after: Option<&Cursor>,
    ) -> Self {
        let query = Query::of(terms);
        let hosts = book.meet(&query, after, terms);
        let last = after.copied();
        let floor = Rate::ZERO;
        Self { hosts, class: query.class, terms, rules, now, visited: 0, floor, last }
    }

    /// The next host, and the least score that it and all that follow can have.
    pub(super) fn next(&mut self) -> Result<(Met, u128), Stop> {
        let met = self.hosts.next().ok_or(Stop::Exhausted)?;
        let floor = self.class.rate_floor(met.at.unit_price, &self.terms.request);
        let floor = floor.filter(|floor| *floor <= self.terms.max_rate);
        self.floor = floor.ok_or(Stop::NothingCheaper)?;
        Ok((met, score_of(self.floor).ok_or(Stop::NothingCheaper)?))
    }

    /// The most that a lease may score for what was seen to be enough, asked after a visit.
    pub(super) fn enough(&self) -> u128 {
        let weight = u128::from(BPS).saturating_add(u128::from(self.rules.look_ahead_slack_bps));
        // No score lies beyond what can be written.
        self.floor.amount_per_hour().nanos().saturating_mul(weight)
    }

    /// Looks at a host: its offer and quote, where it passes every constraint.
    pub(super) fn visit(&mut self, met: Met) -> Result<Option<(Offer, Quote)>, Stop> {
        if self.visited >= self.rules.visit_max {
            return Err(Stop::VisitLimit);
        }
        self.visited = self.visited.saturating_add(1);
        self.last = Some(met.at);
        Ok(met.offer.and_then(|offer| {
            let host = &offer.host;
            let quote = || Quote::of(host, self.terms, self.rules);
            let quote = examine(host, offer.bond_free, quote, self.terms, self.now, &mut |_| None)?;
            Some((offer, quote))
        }))
    }
}

/// Step 3's checks: how many more hosts that pass a walk looks at before the next.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ahead {
    /// What was seen would not fill the order yet.
    Short,
    /// It would; after so many more there is a check, at none before the next host.
    Left(u32),
    /// Ranked, it did not fill it after all: there are no checks any more.
    Open,
}

impl Ahead {
    /// A check did not end the walk. `filled` tells whether what was seen, ranked, fills the order.
    pub(super) fn checked(&mut self, rules: &Rules, filled: bool) {
        *self = if filled { Self::Left(rules.look_ahead.max(1)) } else { Self::Open };
    }

    /// One more host passed; `filled` tells whether what was seen, this one included, would fill
    /// the order. It is asked only until it says so once.
    pub(super) fn passed(&mut self, rules: &Rules, filled: impl FnOnce() -> bool) {
        *self = match *self {
            Self::Short if filled() => Self::Left(rules.look_ahead),
            Self::Left(left) => Self::Left(left.saturating_sub(1)),
            same @ (Self::Short | Self::Open) => same,
        };
    }
}
