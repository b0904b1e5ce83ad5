//! Whose turn it is: what could help orders that sleep rings for them.

use super::{Model, Order, OrderStage, Waits};
use muster_ledger::provider::HostSpec;
use muster_types::{AccountId, EscrowId, Hash, HostId, OrderId};
use std::collections::{BTreeMap, BTreeSet};

/// What orders sleep under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Bell {
    Hosts,
    Escrow(EscrowId),
}

/// An order by its age.
type Aged = (u64, OrderId);

/// A part of a round: the sleepers behind one and up to another.
type Leg = (Option<Aged>, Option<Aged>);

/// The bells that ring, each with the legs of its round that are still to go, and what rings in
/// this block.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bells {
    rounds: BTreeMap<Bell, Vec<Leg>>,
    changed: BTreeSet<AccountId>,
    offered: bool,
    /// An order that slept though there was something for it.
    pub(super) overslept: Option<OrderId>,
}

impl Bells {
    /// A new round from the oldest on; from where one is under way, on to the youngest and then
    /// from the oldest back to there.
    fn ring(&mut self, bell: Bell) {
        let at = self.rounds.get(&bell).and_then(|legs| legs.first()).and_then(|(from, _)| *from);
        let legs = match at {
            None => vec![(None, None)],
            Some(_) => vec![(at, None), (None, at)],
        };
        self.rounds.insert(bell, legs);
    }
}

impl Model {
    /// Something about a provider changed for the better.
    pub(super) fn improved(&mut self, provider: &AccountId) {
        self.bells.changed.insert(*provider);
    }

    /// A host was offered, or its offer changed.
    pub(super) fn offered(&mut self, spec: &HostSpec) {
        self.bells.offered |= spec.capacity.cpu_milli > 0;
    }

    /// Capacity of a host came free.
    pub(super) fn came_free(&mut self, host: &HostId) {
        let host = self.hosts.find(|one| one.id == *host).expect("it was leased");
        if host.spec.capacity.cpu_milli > 0 {
            self.ring(Bell::Hosts);
        }
    }

    /// An escrow may have more for its orders than it had.
    pub(super) fn fed(&mut self, escrow: &EscrowId) {
        let record = self.escrow(escrow).expect("it exists");
        if !record.closed && record.short_since.is_none() {
            self.ring(Bell::Escrow(*escrow));
        }
    }

    /// Nobody hears a bell under which nobody sleeps.
    fn ring(&mut self, bell: Bell) {
        if self.orders.iter().any(|order| sleeps(order, bell)) {
            self.bells.ring(bell);
        }
    }

    /// The orders that have their turn at this block's end.
    fn woken(&mut self) -> BTreeSet<OrderId> {
        let max = self.params.retry_max as usize;
        for provider in std::mem::take(&mut self.bells.changed) {
            let has = |host: &super::Host| {
                host.id.provider == provider && host.spec.capacity.cpu_milli > 0
            };
            if self.hosts.find(has).is_some() {
                self.ring(Bell::Hosts);
            }
        }
        let is_ready = |order: &&Order| {
            matches!(order.stage, OrderStage::Waiting(Waits::First | Waits::Behind { .. }))
        };
        let ready = self.orders.iter().filter(is_ready).map(|order| (order.placed_at, order.id));
        let (fresh, mut older): (Vec<Aged>, Vec<Aged>) = ready.partition(|(at, _)| *at == self.now);
        older.sort_unstable();
        older.truncate(max);
        let mut turns: BTreeSet<OrderId> =
            older.into_iter().chain(fresh).map(|(_, id)| id).collect();
        for (bell, legs) in std::mem::take(&mut self.bells.rounds) {
            let (heard, left) = self.round(bell, legs, max);
            if !left.is_empty() {
                self.bells.rounds.insert(bell, left);
            }
            for (_, id) in heard {
                match &mut self.order_mut(&id).stage {
                    OrderStage::Waiting(Waits::Behind { woken, .. }) => *woken = true,
                    _ => {
                        turns.insert(id);
                    }
                }
            }
        }
        turns
    }

    /// The next sleepers of a round, and what is left of it.
    fn round(&self, bell: Bell, legs: Vec<Leg>, max: usize) -> (Vec<Aged>, Vec<Leg>) {
        let sleepers = self.orders.iter().filter(|order| sleeps(order, bell));
        let mut sleepers: Vec<Aged> = sleepers.map(|order| (order.placed_at, order.id)).collect();
        sleepers.sort_unstable();
        let (mut heard, mut left) = (Vec::new(), Vec::new());
        for (from, to) in legs {
            if !left.is_empty() {
                left.push((from, to));
                continue;
            }
            let on = |one: &&Aged| {
                from.is_none_or(|from| **one > from) && to.is_none_or(|to| **one <= to)
            };
            let of_leg: Vec<Aged> = sleepers.iter().filter(on).copied().collect();
            let room = max - heard.len();
            if of_leg.len() > room {
                let from = if room == 0 { from } else { of_leg.get(room - 1).copied() };
                left.push((from, to));
            }
            heard.extend(of_leg.into_iter().take(room));
        }
        (heard, left)
    }

    /// Every order whose turn it is, by fee, then those of grown escrows, then by lot.
    pub(super) fn turns(&mut self) {
        let woken = self.woken();
        let mut turns: Vec<_> = woken
            .iter()
            .map(|id| {
                let order = self.order(id).expect("it waits");
                let parts = [self.previous_beacon.as_bytes().as_slice(), order.escrow.as_bytes()];
                let lot = Hash::of("muster clearing v2", &parts);
                let opened = self.escrow(&order.escrow).expect("it pays").opened;
                let blocks = self.height - opened;
                (std::cmp::Reverse(order.fee.clone()), blocks < 2, lot, *id)
            })
            .collect();
        turns.sort();
        for (_, _, _, id) in turns {
            self.turn(&id);
        }
        let slept = self.orders.iter().filter(|order| !woken.contains(&order.id));
        let overslept = slept.filter(|order| self.oversleeps(order)).map(|order| order.id).next();
        self.bells.overslept = overslept;
        if std::mem::take(&mut self.bells.offered) {
            self.ring(Bell::Hosts);
        }
    }

    /// Whether an order slept that would have got something: what only a premium that fell would
    /// bring it, and what a gang that did not see all hosts at once missed, not counted.
    fn oversleeps(&self, order: &Order) -> bool {
        let OrderStage::Waiting(waits) = &order.stage else { return false };
        let wanted = order.missing.min(self.room(order)) as usize;
        if wanted == 0 {
            return false;
        }
        match waits {
            Waits::First | Waits::Behind { .. } => false,
            Waits::Unfunded => !self.bells.rounds.contains_key(&Bell::Escrow(order.escrow)),
            Waits::Asleep => {
                !self.bells.rounds.contains_key(&Bell::Hosts)
                    && order.terms.max_risk_bps == 0
                    && (!order.terms.all_or_nothing() || self.params.visit_max >= 100)
                    && !self.wins_of_all(order, wanted).is_empty()
            }
        }
    }
}

fn sleeps(order: &Order, bell: Bell) -> bool {
    let OrderStage::Waiting(waits) = &order.stage else { return false };
    match waits {
        Waits::First => false,
        Waits::Behind { .. } | Waits::Asleep => bell == Bell::Hosts,
        Waits::Unfunded => bell == Bell::Escrow(order.escrow),
    }
}
