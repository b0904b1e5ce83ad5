//! Whose turn it is: orders are woken by what changed, not asked again and again.
//!
//! An order that found too little sleeps under a *bell*: the class of hosts that it may win, or
//! its escrow. What could help it rings the bell:
//!
//! | what changed | rings | the sleepers have their turn |
//! |---|---|---|
//! | a host was offered or its offer changed | its classes | from the next block on |
//! | capacity of a host came free | its classes | at this block's end |
//! | a provider became active, its free bond grew, its jurisdiction or attributes changed while it is, an auditor signed | the classes of all its hosts | at this block's end |
//! | its region or operator changed, whatever its standing: its leases are apart from others now | the classes of all its hosts | at this block's end |
//! | money came into an escrow, it is open again, a lease on it was settled | the escrow | at this block's end |
//!
//! A ring goes round the sleepers of the bell, oldest first, `retry_max` of them a block; the bell's
//! record says how far it came. A second ring while it is under way does not begin anew, or else
//! the last would never have their turn: the round goes on to the youngest, begins again with the
//! oldest, and ends where it was at the second ring.
//!
//! Beside those that are woken, a block's end gives a turn to the orders that it carried, and to
//! `retry_max` of those that were cut by `visit_max`, opened again, or made smaller where they take
//! all or nothing, oldest first. An order that was cut and whose class is rung before it has come to
//! the class's end is noted as woken: at the end it begins again. A block in which no bell rings and
//! no order is ready does nothing.
//!
//! What only time or a parameter changes, a premium that falls with fees paid among it, rings no
//! bell.

use super::{Order, Turn};
use crate::{
    escrow::{Escrow, EscrowStatus},
    keys,
    provider::{Host, Provider, ProviderStatus},
    state::Scratch,
};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_market::{Class, capacity};
use muster_types::{AccountId, EscrowId, Hash, Millis, OrderId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// An order among the sleepers of a bell: when it was placed, and which.
type Sleeper = (Millis, OrderId);

/// How far the ring of a bell has come.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
pub struct Wake {
    /// The sleeper that had its turn last; `None`: it begins with the oldest.
    pub after: Option<(Millis, OrderId)>,
    /// The sleeper with which it ends, after beginning again with the oldest where that one is
    /// not behind `after`; `None`: it ends with the youngest.
    pub until: Option<(Millis, OrderId)>,
}

impl Wake {
    /// Rung again: one whole round from here on.
    const fn again(self) -> Self {
        Self { after: self.after, until: self.after }
    }

    /// The next `max` sleepers; whether that was the last of them.
    fn round<I: Iterator<Item = Sleeper>>(
        &mut self,
        max: usize,
        sleepers: impl Fn(Option<&Sleeper>) -> I,
    ) -> (Vec<Sleeper>, bool) {
        let mut turn = Vec::new();
        let on_second_leg = self.until.is_some_and(|until| self.after < Some(until));
        if !on_second_leg {
            let mut rest = sleepers(self.after.as_ref());
            turn.extend(rest.by_ref().take(max));
            if turn.len() >= max && rest.next().is_some() {
                self.after = turn.last().copied();
                return (turn, false);
            }
            self.after = None;
        }
        let Some(until) = self.until else { return (turn, true) };
        let mut rest = sleepers(self.after.as_ref()).take_while(|sleeper| *sleeper <= until);
        let room = max.saturating_sub(turn.len());
        let before = turn.len();
        turn.extend(rest.by_ref().take(room));
        if turn.len() > before {
            self.after = turn.last().copied();
        }
        (turn, rest.next().is_none())
    }
}

/// The orders that have their turn at this block's end.
pub(super) fn turns(ctx: &mut crate::ctx::Ctx<'_>) -> BTreeSet<OrderId> {
    let max = usize::try_from(ctx.env.params.retry_max).unwrap_or(usize::MAX);
    let now = ctx.env.head.now;
    let scratch = &mut ctx.scratch;
    for provider in drain(scratch, keys::CHANGED_PROVIDERS) {
        ring_hosts(scratch, &provider);
    }
    let ready = |scratch: &Scratch<'_>| {
        let older = keys::ORDERS_READY.scan(scratch, &(), None).map(|(key, ())| key);
        let older = older.take_while(|(placed_at, _)| *placed_at < now).take(max);
        let fresh = keys::ORDERS_READY.scan(scratch, &now, None).map(|(key, ())| key);
        older.chain(fresh).map(|(_, order)| order).collect::<BTreeSet<_>>()
    };
    let mut turns = ready(scratch);
    let rung: Vec<(Hash, Wake)> = keys::WAKES.scan(scratch, &(), None).collect();
    for (bell, mut wake) in rung {
        let (woken, done) = wake.round(max, |after| {
            let after = after.map(|(placed_at, order)| (bell, *placed_at, *order));
            let sleepers = keys::SLEEPERS.scan(scratch, &bell, after.as_ref());
            sleepers.map(|((_, placed_at, order), ())| (placed_at, order))
        });
        if done {
            keys::WAKES.delete(scratch, &bell);
        } else {
            keys::WAKES.put(scratch, &bell, &wake);
        }
        for (_, id) in woken {
            let Some(order) = keys::ORDERS.get(scratch, &id) else { continue };
            if let Turn::Ready { cursor, .. } = order.turn {
                let turn = Turn::Ready { cursor, woken: true };
                keys::store(scratch, &id, &Order { turn, ..order });
            } else {
                turns.insert(id);
            }
        }
    }
    turns
}

/// Rings for the offers of this block, whose first block is the next.
pub(super) fn offered(ctx: &mut crate::ctx::Ctx<'_>) {
    for class in drain(&mut ctx.scratch, keys::OFFERED_CLASSES) {
        ring(&mut ctx.scratch, class);
    }
}

/// A host was written.
pub(crate) fn host_stored(old: Option<&Host>, new: &Host, scratch: &mut Scratch<'_>) {
    let offered = old
        .is_none_or(|old| old.offered_at_height != new.offered_at_height || old.spec != new.spec);
    let freed = old.is_some_and(|old| {
        old.used != new.used && capacity::checked_sub(&new.used, &old.used).is_none()
    });
    if !offered && !freed {
        return;
    }
    for (class, _) in Class::of_host(&new.spec.capacity) {
        let class = bell(&class);
        if freed {
            ring(scratch, class);
        }
        if offered {
            keys::OFFERED_CLASSES.put(scratch, &class, &());
        }
    }
}

/// A provider was written.
pub(crate) fn provider_stored(
    id: &AccountId,
    old: Option<&Provider>,
    new: &Provider,
    scratch: &mut Scratch<'_>,
) {
    let is_active = new.status == ProviderStatus::Active;
    let helps = |old: &Provider| {
        old.status != ProviderStatus::Active
            || old.profile.jurisdiction != new.profile.jurisdiction
            || old.profile.attributes != new.profile.attributes
    };
    // The spread limits of those who lease from it count where it is.
    let moved = |old: &Provider| {
        old.profile.region != new.profile.region || old.profile.operator != new.profile.operator
    };
    if (is_active && old.is_none_or(helps)) || old.is_some_and(moved) {
        provider_changed(id, scratch);
    }
}

/// Something about a provider changed for the better: its bond, its standing, what is signed about
/// it, who operates it.
pub(crate) fn provider_changed(id: &AccountId, scratch: &mut Scratch<'_>) {
    if !nobody_sleeps(scratch) {
        keys::CHANGED_PROVIDERS.put(scratch, id, &());
    }
}

/// An escrow was written.
pub(crate) fn escrow_stored(
    id: &EscrowId,
    old: Option<&Escrow>,
    new: &Escrow,
    scratch: &mut Scratch<'_>,
) {
    let Some(old) = old else { return };
    let helps = old.balance < new.balance
        || old.status != EscrowStatus::Open
        || new.open_leases < old.open_leases;
    if new.status == EscrowStatus::Open && new.open_orders > 0 && helps {
        ring(scratch, id.0);
    }
}

/// The bell of a class of hosts.
pub(super) fn bell(class: &Class) -> Hash {
    let of = |parts: &[&[u8]]| Hash::of("muster host class v1", parts);
    match class {
        Class::Cpu => of(&[b"cpu"]),
        Class::AnyGpu => of(&[b"gpu"]),
        Class::Gpu { vendor, model } => of(&[b"gpu", vendor.as_bytes(), model.as_bytes()]),
    }
}

/// Rings a bell, where anybody sleeps under it.
fn ring(scratch: &mut Scratch<'_>, bell: Hash) {
    if keys::SLEEPERS.scan(scratch, &bell, None).next().is_none() {
        return;
    }
    let wake = keys::WAKES.get(scratch, &bell).map(Wake::again).unwrap_or_default();
    keys::WAKES.put(scratch, &bell, &wake);
}

fn ring_hosts(scratch: &mut Scratch<'_>, provider: &AccountId) {
    let mut classes = BTreeSet::new();
    for (_, host) in keys::HOSTS.scan(scratch, provider, None) {
        classes.extend(Class::of_host(&host.spec.capacity).into_iter().map(|(class, _)| class));
    }
    for class in classes {
        ring(scratch, bell(&class));
    }
}

fn nobody_sleeps(scratch: &Scratch<'_>) -> bool {
    keys::SLEEPERS.scan(scratch, &(), None).next().is_none()
}

/// Empties a table of marks.
fn drain<K: keys::Key>(scratch: &mut Scratch<'_>, marks: keys::Table<K, ()>) -> Vec<K> {
    let all: Vec<K> = marks.scan(scratch, &(), None).map(|(key, ())| key).collect();
    for key in &all {
        marks.delete(scratch, key);
    }
    all
}

#[cfg(test)]
mod tests;
