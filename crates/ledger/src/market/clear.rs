//! Clearing at a block's end: open orders against the offers made before this block.
//!
//! Whose turn it is says `wake`. All are cleared one after the other, who paid the higher
//! fee first, then by the hash of (the previous block's beacon, the order's id), each against what
//! the ones before it left.
//!
//! A turn:
//!
//! | the order | then |
//! |---|---|
//! | cannot pay its rent, or the visits of this turn | ends: out of funds (filled: leased) |
//! | has an escrow without money or room for leases | waits for its escrow |
//! | got all its leases | ends: leased |
//! | was cut by `visit_max` | goes on behind the last host in the next block |
//! | was woken since its walk began | begins again in the next block |
//! | else | sleeps until something changes in its class |
//!
//! An order that is no gang and gets only some of its leases stays open for the rest. Its spread
//! limits count the leases that it has: hosts at a limit are left out of its book, and a placement
//! that would exceed one together with them is not granted. A gang gets all that it misses in one
//! turn, out of the hosts of that turn.

use super::{
    Offers, Order, OrderStatus, Turn,
    grant::{Books, Taken},
    offers::{self, Fronts, Walk},
    queue, wake,
};
use crate::{Reject, block::for_each, ctx::Ctx, provider::Provider};
use muster_market::{HostView, Spread};
use muster_types::{Hash, OrderId};
use std::cmp::Reverse;

pub(crate) fn run(ctx: &mut Ctx<'_>) {
    let mut orders = Vec::new();
    for id in wake::turns(ctx) {
        if let Some(order) = ctx.find::<Order>(&id) {
            let beacon = ctx.env.previous_beacon;
            let lot = Hash::of("muster clearing v1", &[beacon.as_bytes(), id.as_bytes()]);
            orders.push((Reverse(order.fee), lot, id));
        }
    }
    orders.sort_unstable();
    let orders = orders.into_iter().map(|(_, _, id)| id).collect();
    let fronts = Fronts::default();
    for_each(ctx, orders, |ctx, id| turn(ctx, id, &fronts));
    wake::offered(ctx);
}

/// One order's turn.
fn turn(ctx: &mut Ctx<'_>, id: &OrderId, fronts: &Fronts) -> Result<(), Reject> {
    let order: Order = ctx.load(id)?;
    if !order.is_waiting() {
        return Ok(());
    }
    let mut books = Books::of(ctx, id, order)?;
    let paid = queue::pay_rent(ctx, &mut books)?;
    if paid {
        let room = books.room();
        let missing = books.order.missing;
        let wanted = missing.min(room);
        if wanted == 0 || (books.order.terms.gang && wanted < missing) {
            books.order.turn = Turn::Unfunded;
        } else {
            look(ctx, &mut books, wanted, fronts)?;
        }
    } else {
        queue::end(ctx, &mut books, OrderStatus::OutOfFunds)?;
    }
    books.store(ctx);
    Ok(())
}

/// Looks for `wanted` leases, grants what there is, and says what the order waits for.
fn look(ctx: &mut Ctx<'_>, books: &mut Books, wanted: u32, fronts: &Fronts) -> Result<(), Reject> {
    let (cursor, woken) = match books.order.turn {
        Turn::Ready { cursor, woken } => (cursor, woken),
        Turn::Asleep | Turn::Unfunded => (None, false),
    };
    let mut terms = books.order.terms.clone();
    terms.count = wanted;
    let mut taken = Taken::of(ctx, &books.order)?;
    let (placements, visits) = {
        let allowed = |host: &HostView| taken.room(&terms.spread, &host.id, &host.region) > 0;
        let env = ctx.env;
        let (after, visit_max) = (cursor, env.params.visit_max);
        let walk = Walk { request: &terms.request, after, visit_max, fronts };
        let book = Offers::new(&ctx.scratch, &env.params, env.head.height, &allowed);
        let book = book.for_order(&walk);
        let cleared = muster_market::clear(&book, &terms, &env.params.rules(), env.head.now);
        (cleared.placements, book.visits())
    };
    let mut granted = placements;
    if terms.spread != Spread::default() {
        for placement in std::mem::take(&mut granted) {
            let provider: Provider = ctx.load(&placement.host.provider)?;
            let region = provider.profile.region;
            if taken.room(&terms.spread, &placement.host, &region) > 0 {
                taken.add(placement.host, region);
                granted.push(placement);
            }
        }
    }
    if terms.gang && granted.len() < usize::try_from(wanted).unwrap_or(usize::MAX) {
        granted.clear();
    }
    for (id, host) in books.grant(ctx, granted)? {
        fronts.came(&offers::places(&id, &host));
    }
    let paid = queue::pay_visits(ctx, books, visits.count)?;
    if books.order.missing == 0 {
        return queue::end(ctx, books, OrderStatus::Leased);
    }
    if !paid {
        return queue::end(ctx, books, OrderStatus::OutOfFunds);
    }
    books.order.turn = match visits.cut {
        Some(last) => Turn::Ready { cursor: Some(last), woken },
        None if books.room() < books.order.missing => Turn::Unfunded,
        None if woken => Turn::FIRST,
        None => Turn::Asleep,
    };
    Ok(())
}
