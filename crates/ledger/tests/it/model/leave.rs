//! What is final, and since when; and what leaves the lists for it.
//!
//! After every step each record is asked whether anything can still change it. Nothing is
//! remembered of it but since when the answer was no.

use super::{
    Challenge, Dispute, Escrow, Job, Lease, Model, Order, Verdict,
    list::List,
    vote::{Proposal, Stage},
};
use muster_types::Hash;
use std::collections::BTreeSet;

/// Records that have left, as they last stood.
#[derive(Clone, Debug, Default)]
pub(crate) struct Past {
    pub(crate) disputes: List<Dispute>,
    pub(crate) challenges: List<Challenge>,
    pub(crate) leases: List<Lease>,
    pub(crate) orders: List<Order>,
    pub(crate) jobs: List<Job>,
    pub(crate) escrows: List<Escrow>,
    pub(crate) proposals: List<Proposal>,
    /// The ids of those that left with the last block, in order.
    pub(crate) last: Vec<Hash>,
}

/// A record that can leave.
trait Ends: Clone {
    fn id(&self) -> Hash;
    fn since(&mut self) -> &mut Option<u64>;
    fn is_since(&self) -> Option<u64>;
}

macro_rules! ends {
    ($($record:ty),*) => {$(
        impl Ends for $record {
            fn id(&self) -> Hash {
                self.id.0
            }

            fn since(&mut self) -> &mut Option<u64> {
                &mut self.final_since
            }

            fn is_since(&self) -> Option<u64> {
                self.final_since
            }
        }
    )*};
}

ends!(Dispute, Challenge, Lease, Order, Job, Escrow, Proposal);

/// Writes down since when the records are final.
fn note<T: Ends>(list: &mut List<T>, steady: u64, is_final: impl Fn(&T) -> bool) {
    let changed = |one: &T| is_final(one) != one.is_since().is_some();
    while let Some(one) = list.find_mut(changed) {
        let since = one.since();
        *since = if since.is_some() { None } else { Some(steady) };
    }
}

/// Those of a list that are due, with the place of their kind.
fn due<T: Ends>(all: &mut Vec<(u64, u8, Hash)>, list: &List<T>, kind: u8, until: u64) {
    let dated = list.iter().filter_map(|one| Some((one.is_since()?, kind, one.id())));
    all.extend(dated.filter(|(since, _, _)| *since <= until));
}

/// Moves records from one list to another.
fn part<T: Ends>(from: &mut List<T>, to: &mut List<T>, ids: &BTreeSet<Hash>) {
    for one in from.iter().filter(|one| ids.contains(&one.id())) {
        to.push(one.clone());
    }
    from.remove(|one| ids.contains(&one.id()));
}

impl Model {
    /// After each transaction, and at the block's end.
    pub(super) fn note_final(&mut self) {
        let steady = self.steady;
        note(&mut self.disputes, steady, |one| one.verdict != Verdict::None);
        note(&mut self.challenges, steady, |one| !one.is_open());
        let disputed: BTreeSet<_> = self
            .leases
            .iter()
            .filter(|lease| lease.is_settled() && self.is_disputed(&lease.id))
            .map(|lease| lease.id)
            .collect();
        note(&mut self.leases, steady, |one| one.is_settled() && !disputed.contains(&one.id));
        let open = || self.leases.iter().filter(|lease| !lease.is_settled());
        let orders: BTreeSet<_> = open().map(|lease| lease.order).collect();
        let mut jobs: BTreeSet<_> = open().filter_map(|lease| lease.job).collect();
        note(&mut self.orders, steady, |one| !one.is_open() && !orders.contains(&one.id));
        let waiting = self.orders.iter().filter(|order| order.is_open());
        jobs.extend(waiting.filter_map(|order| order.job));
        note(&mut self.jobs, steady, |one| one.closed && !jobs.contains(&one.id));
        note(&mut self.escrows, steady, |one| one.closed);
        note(&mut self.proposals, steady, |one| {
            matches!(one.stage, Stage::Rejected | Stage::Applied | Stage::Failed)
        });
    }

    /// At a block's end: what has been final for `retention` leaves.
    pub(super) fn leave(&mut self, retention: u64) {
        self.past.last.clear();
        let Some(until) = self.steady.checked_sub(retention) else { return };
        let mut leaving = Vec::new();
        due(&mut leaving, &self.disputes, 0, until);
        due(&mut leaving, &self.challenges, 1, until);
        due(&mut leaving, &self.leases, 2, until);
        due(&mut leaving, &self.orders, 3, until);
        due(&mut leaving, &self.jobs, 4, until);
        due(&mut leaving, &self.escrows, 5, until);
        due(&mut leaving, &self.proposals, 6, until);
        leaving.sort_unstable();
        leaving.truncate(4096);
        let past = &mut self.past;
        past.last = leaving.into_iter().map(|(_, _, id)| id).collect();
        let ids: BTreeSet<Hash> = past.last.iter().copied().collect();
        part(&mut self.disputes, &mut past.disputes, &ids);
        part(&mut self.challenges, &mut past.challenges, &ids);
        part(&mut self.leases, &mut past.leases, &ids);
        part(&mut self.orders, &mut past.orders, &ids);
        part(&mut self.jobs, &mut past.jobs, &ids);
        part(&mut self.escrows, &mut past.escrows, &ids);
        part(&mut self.proposals, &mut past.proposals, &ids);
    }
}
