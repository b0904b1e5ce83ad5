//! Clearing at a block's end: open orders against the offers made before this block.
//!
//! Whose turn it is says `wake`. All are cleared one after the other, each against what the ones
//! before it left: who paid the higher fee first, then by lot, the hash of (the previous block's
//! beacon, the escrow's id). A transaction, and with it an order's id, can be made after a beacon
//! is known, in as many variants as it takes to draw well. An escrow is older: one that is not may
//! have been made to draw well, too, so of equal fees the orders of escrows that were opened in
//! this block or the one before come last. Orders of one escrow go by their ids: who chooses these
//! stands in nobody's way but its own.
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
//! limits count the leases that it has: hosts at a limit are passed. A gang gets all that it misses
//! in one turn, out of the hosts of that turn; so does an order for one place, in the place of the
//! leases that it has. Of an order that works for a job, hosts must be able to serve that
//! ([`super::grant::asked`]).

use super::{
    Offers, Order, OrderStatus, Seen, Turn,
    grant::{self, Books},
    queue, wake,
};
use crate::{Reject, block::for_each, ctx::Ctx};
use muster_market::{Progress, clear_on};
use muster_types::{HashDomain, OrderId};
use std::{cell::RefCell, cmp::Reverse};

static LOT: HashDomain = HashDomain::new("muster clearing v2");

pub(crate) fn run(ctx: &mut Ctx<'_>) {
    let mut orders = Vec::new();
    for id in wake::turns(ctx) {
        if let Some(order) = ctx.find::<Order>(&id) {
            let beacon = ctx.env.previous.beacon;
            let lot = LOT.hash(&[beacon.as_bytes(), order.escrow.as_bytes()]);
            let young = order.escrow_height.saturating_add(2) > ctx.env.head.height;
            orders.push((Reverse(order.fee), young, lot, id));
        }
    }
    orders.sort_unstable();
    let orders = orders.into_iter().map(|(.., id)| id).collect();
    let seen = RefCell::new(Seen::default());
    for_each(ctx, orders, |ctx, id| turn(ctx, id, &seen).inspect_err(|_| drop(seen.take())));
    wake::offered(ctx);
}

/// One order's turn.
fn turn(ctx: &mut Ctx<'_>, id: &OrderId, seen: &RefCell<Seen>) -> Result<(), Reject> {
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
        if wanted == 0 || (books.order.terms.all_or_nothing() && wanted < missing) {
            books.order.turn = Turn::Unfunded;
        } else {
            look(ctx, &mut books, wanted, seen)?;
        }
    } else {
        queue::end(ctx, &mut books, OrderStatus::OutOfFunds)?;
    }
    books.store(ctx);
    Ok(())
}

/// Looks for `wanted` leases, grants what there is, and says what the order waits for.
fn look(
    ctx: &mut Ctx<'_>,
    books: &mut Books,
    wanted: u32,
    seen: &RefCell<Seen>,
) -> Result<(), Reject> {
    let (cursor, woken) = match books.order.turn {
        Turn::Ready { cursor, woken } => (cursor, woken),
        Turn::Asleep | Turn::Unfunded => (None, false),
    };
    let mut terms = grant::asked(&books.order, books.job.as_ref());
    terms.count = wanted;
    let progress = Progress { after: cursor, held: grant::held(ctx, &books.order)? };
    let clear = |seen: &RefCell<Seen>| {
        let (env, rules) = (ctx.env, ctx.env.params.rules());
        let book = Offers::in_block(&ctx.scratch, &env.params, env.head.height, seen);
        let book = book.bounded(env.params.visit_max);
        let cleared = clear_on(&book, &terms, &rules, env.head.now, &progress);
        let visits = book.visits();
        // A host that ended the walk before it was looked at is no visit.
        let visited = cleared.visited.saturating_add(visits.left_out);
        (cleared.placements, visited, visits.cut)
    };
    let found = clear(seen);
    if cfg!(test) {
        assert_eq!(found, clear(&RefCell::default()), "the state says otherwise");
    }
    let (placements, visited, cut) = found;
    let granted = books.grant(ctx, placements)?;
    seen.borrow_mut().granted(granted);
    let paid = queue::pay_visits(ctx, books, visited)?;
    if books.order.missing == 0 {
        return queue::end(ctx, books, OrderStatus::Leased);
    }
    if !paid {
        return queue::end(ctx, books, OrderStatus::OutOfFunds);
    }
    books.order.turn = match cut {
        Some(last) => Turn::Ready { cursor: Some(last), woken },
        None if books.room() < books.order.missing => Turn::Unfunded,
        None if woken => Turn::FIRST,
        None => Turn::Asleep,
    };
    Ok(())
}
