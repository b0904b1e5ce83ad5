//! `OrderCancel`, and every other end of an open order.

use super::{Order, OrderStatus};
use crate::{
    Event, Reject,
    ctx::{By, Ctx, down},
    escrow::Escrow,
    job::Job,
};
use muster_types::OrderId;

pub(crate) fn run(ctx: &mut Ctx<'_>, by: &By, id: &OrderId) -> Result<(), Reject> {
    let mut order: Order = ctx.load(id)?;
    if order.tenant != by.signer {
        return Err(Reject::not_yours("tenant"));
    }
    if order.status != OrderStatus::Open {
        return Err(Reject::wrong_state("order", order.status.name()));
    }
    end(ctx, id, &mut order, OrderStatus::Cancelled)
}

/// An order's deadline has passed.
pub(crate) fn expire(ctx: &mut Ctx<'_>, id: &OrderId) -> Result<(), Reject> {
    let mut order: Order = ctx.load(id)?;
    end(ctx, id, &mut order, OrderStatus::Expired)
}

/// Ends an open order with `status` and stores it.
pub(crate) fn end(
    ctx: &mut Ctx<'_>,
    id: &OrderId,
    order: &mut Order,
    status: OrderStatus,
) -> Result<(), Reject> {
    order.status = status;
    ctx.store(id, order);
    let mut escrow: Escrow = ctx.load(&order.escrow)?;
    escrow.open_orders = down(escrow.open_orders)?;
    ctx.store(&order.escrow, &escrow);
    if let Some(job_id) = order.job {
        let mut job: Job = ctx.load(&job_id)?;
        job.open_orders = down(job.open_orders)?;
        ctx.store(&job_id, &job);
    }
    let expired = match status {
        OrderStatus::Expired => true,
        OrderStatus::Cancelled => false,
        OrderStatus::Open | OrderStatus::Leased => return Ok(()),
    };
    let (tenant, escrow, job) = (order.tenant, order.escrow, order.job);
    ctx.emit(Event::OrderEnded { order: *id, expired, tenant, escrow, job });
    Ok(())
}
