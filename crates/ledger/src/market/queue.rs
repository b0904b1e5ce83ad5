//! What an order pays for waiting and for looking, and how it leaves the queue.
//!
//! An order owes `rent_per_lease` for each missing lease and each hour of steady time since the
//! block that carried it, in bids' windows too. Rent is counted in parts of a nano-unit
//! (`rate x leases x ms`, 3,600,000 to one), so that counting often or seldom charges the same: the
//! floor of the whole. It is charged at each turn, before bids are decided, and when the order
//! leaves the queue, and at each turn `fee_per_visit` for every host that was looked at. The charge
//! goes from the escrow's balance to the block's fees.
//!
//! An overdrawn escrow pays nothing (what it has belongs to its leases), one with too little pays
//! what it has. An order whose escrow cannot pay in full at its turn ends; one that leaves the
//! queue leaves it all the same.

use super::{
    OrderStatus, Turn,
    bid::{self, BidOutcome},
    grant::Books,
};
use crate::{
    Event, Reject,
    ctx::{Ctx, down, rest, sum, up},
    escrow::EscrowStatus,
};
use muster_types::Amount;

/// Parts of a nano-unit in which rent is counted: milliseconds of an hour.
const PARTS: u128 = 3_600_000;

/// Counts the rent up to now and charges it. False where the escrow cannot pay in full.
pub(crate) fn pay_rent(ctx: &mut Ctx<'_>, books: &mut Books) -> Result<bool, Reject> {
    let steady = ctx.env.head.steady;
    let order = &mut books.order;
    let waited = u128::from(steady.since(order.rent_until).0);
    order.rent_until = steady;
    let rate = ctx.env.params.rent_per_lease.amount_per_hour().nanos();
    let parts = rate
        .checked_mul(u128::from(order.missing))
        .and_then(|hourly| hourly.checked_mul(waited))
        .and_then(|parts| parts.checked_add(u128::from(order.rent_part)))
        .ok_or(Reject::Overflow)?;
    let due = parts.checked_div(PARTS).ok_or(Reject::Overflow)?;
    let part = parts.checked_rem(PARTS).ok_or(Reject::Overflow)?;
    order.rent_part = u32::try_from(part).map_err(|_| Reject::Overflow)?;
    charge(ctx, books, Amount::from_nanos(due))
}

/// Charges for the hosts that a turn looked at. False where the escrow cannot pay in full.
pub(crate) fn pay_visits(
    ctx: &mut Ctx<'_>,
    books: &mut Books,
    visited: u32,
) -> Result<bool, Reject> {
    let fee = ctx.env.params.fee_per_visit.checked_mul(u64::from(visited));
    charge(ctx, books, fee.ok_or(Reject::Overflow)?)
}

/// Takes `amount` off the escrow for the validators, or what there is of it; false where that is
/// less.
pub(crate) fn charge(ctx: &mut Ctx<'_>, books: &mut Books, amount: Amount) -> Result<bool, Reject> {
    let Books { order, escrow, .. } = books;
    let paid = match escrow.status {
        EscrowStatus::Open => amount.min(escrow.balance),
        EscrowStatus::Overdrawn { .. } | EscrowStatus::Closed => Amount::ZERO,
    };
    escrow.balance = rest(escrow.balance, paid)?;
    escrow.fees = sum(escrow.fees, paid)?;
    order.charged = sum(order.charged, paid)?;
    ctx.fee(paid)?;
    Ok(paid == amount)
}

/// Ends an open order: charges its rent, returns its bids' deposits, takes it off the counters.
/// Changes the books; who loaded them stores them.
pub(crate) fn end(ctx: &mut Ctx<'_>, books: &mut Books, status: OrderStatus) -> Result<(), Reject> {
    pay_rent(ctx, books)?;
    let Books { id, order, escrow, job } = books;
    if order.bidding.take().is_some() {
        bid::release_all(ctx, id, BidOutcome::Lost)?;
    }
    order.status = status;
    order.missing = 0;
    escrow.open_orders = down(escrow.open_orders)?;
    if let Some(job) = job {
        job.open_orders = down(job.open_orders)?;
    }
    ctx.emit(Event::OrderEnded { order: *id, status, charged: order.charged, of: order.parties() });
    Ok(())
}

/// Makes an order miss `count` leases more. One that has ended is open again, to standing offers,
/// and waits from now on.
pub(crate) fn open_again(ctx: &mut Ctx<'_>, books: &mut Books, count: u32) -> Result<(), Reject> {
    let ended = !books.order.status.is_open();
    if ended {
        books.order.rent_until = ctx.env.head.steady;
    } else {
        pay_rent(ctx, books)?;
    }
    let Books { id, order, escrow, job } = books;
    order.missing = order.missing.checked_add(count).ok_or(Reject::Overflow)?;
    if ended {
        order.status = OrderStatus::Open;
        order.turn = Turn::FIRST;
        escrow.open_orders = up(escrow.open_orders)?;
        if let Some(job) = job {
            job.open_orders = up(job.open_orders)?;
        }
        let (of, missing) = (order.parties(), order.missing);
        ctx.emit(Event::OrderReopened { order: *id, of, missing });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
