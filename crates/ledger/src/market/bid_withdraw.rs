//! `BidWithdraw`.

use super::{Bid, BidOutcome, Bidding, Order, OrderStatus, bid};
use crate::{
    Reject,
    ctx::{By, Ctx, down},
};
use muster_types::{HostId, OrderId};

pub(crate) fn run(
    ctx: &mut Ctx<'_>,
    by: &By,
    order_id: &OrderId,
    index: u32,
) -> Result<(), Reject> {
    let mut order: Order = ctx.load(order_id)?;
    let host = HostId { provider: by.signer, index };
    ctx.load::<Bid>(&(*order_id, host))?;
    let mut bidding = window(ctx, &order)?;
    bidding.bids = down(bidding.bids)?;
    order.bidding = Some(bidding);
    ctx.store(order_id, &order);
    bid::release(ctx, order_id, &host, BidOutcome::Withdrawn)
}

/// The bids of an order whose window is open; else a refusal.
pub(super) fn window(ctx: &Ctx<'_>, order: &Order) -> Result<Bidding, Reject> {
    match (order.status, order.bidding) {
        (OrderStatus::Open, None) => Err(Reject::wrong_state("order", "open to standing offers")),
        (OrderStatus::Open, Some(bidding)) if ctx.env.head.steady < bidding.until => Ok(bidding),
        (OrderStatus::Open, Some(_)) => Err(Reject::wrong_state("order", "past its bid window")),
        (status, _) => Err(Reject::wrong_state("order", status.name())),
    }
}
