//! Steps 1 and 2 of clearing: the walk over a book, one visit after the other.

use super::{Stop, score_of};
use crate::{
    Book, Class, Cursor, Met, Offer, Query, Rules, Terms,
    check::{Quote, examine},
};
use muster_types::Millis;

/// A walk under way.
pub(super) struct Walk<'a> {
    hosts: Box<dyn Iterator<Item = Met> + 'a>,
    class: Class,
    terms: &'a Terms,
    rules: &'a Rules,
    now: Millis,
    pub(super) visited: u32,
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
        Self { hosts, class: query.class, terms, rules, now, visited: 0, last: after.copied() }
    }

    /// The next host, and the least score that it and all that follow can have.
    pub(super) fn next(&mut self) -> Result<(Met, u128), Stop> {
        let met = self.hosts.next().ok_or(Stop::Exhausted)?;
        let floor = self.class.rate_floor(met.at.unit_price, &self.terms.request);
        let floor = floor.filter(|floor| *floor <= self.terms.max_rate).and_then(score_of);
        Ok((met, floor.ok_or(Stop::NothingCheaper)?))
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

/// Step 3's limit: how many more hosts that pass a walk looks at.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ahead {
    /// What was seen would not fill the order yet.
    Short,
    /// It would; so many more are looked at.
    Left(u32),
    /// Ranked, it did not fill it after all: there is no limit any more.
    Open,
}

impl Ahead {
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
