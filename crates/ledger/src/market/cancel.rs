//! `OrderCancel`, and the deadline.

use super::{Order, OrderStatus, grant::Books, queue};
use crate::{
    Reject,
    ctx::{By, Ctx},
};
use muster_types::OrderId;

pub(crate) fn run(ctx: &mut Ctx<'_>, by: &By, id: &OrderId) -> Result<(), Reject> {
    let order: Order = ctx.load(id)?;
    if order.tenant != by.signer {
        return Err(Reject::not_yours("tenant"));
    }
    order.require_open()?;
    end(ctx, id, order, OrderStatus::Cancelled)
}

/// An order's deadline has passed.
pub(crate) fn expire(ctx: &mut Ctx<'_>, id: &OrderId) -> Result<(), Reject> {
    let order: Order = ctx.load(id)?;
    end(ctx, id, order, OrderStatus::Expired)
}

/// Ends an open order with `status`.
pub(crate) fn end(
    ctx: &mut Ctx<'_>,
    id: &OrderId,
    order: Order,
    status: OrderStatus,
) -> Result<(), Reject> {
    let mut books = Books::of(ctx, id, order)?;
    queue::end(ctx, &mut books, status)?;
    books.store(ctx);
    Ok(())
}
