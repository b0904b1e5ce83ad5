//! `BidAccept`. The order ends with what the picked bids give. Where they give nothing, those that
//! cannot be honoured are broken and the tenant may pick others.

use super::{Bid, Order, OrderStatus, bid, grant::Books, queue};
use crate::{
    Reject,
    ctx::{By, Ctx},
    limits,
};
use muster_types::{Amount, HostId, OrderId};
use std::collections::BTreeSet;

pub(crate) fn run(
    ctx: &mut Ctx<'_>,
    by: &By,
    id: &OrderId,
    hosts: &[HostId],
) -> Result<(), Reject> {
    let order: Order = ctx.load(id)?;
    if order.tenant != by.signer {
        return Err(Reject::not_yours("tenant"));
    }
    match order.status {
        OrderStatus::Picking { until } if ctx.env.head.steady < until => {}
        OrderStatus::Picking { .. } => {
            return Err(Reject::wrong_state("order", "past its pick window"));
        }
        status => return Err(Reject::wrong_state("order", status.name())),
    }
    let each: BTreeSet<&HostId> = hosts.iter().collect();
    if hosts.is_empty() || hosts.len() > usize::from(limits::BIDS) || each.len() < hosts.len() {
        return Err(Reject::bad_field("hosts"));
    }
    let mut picked = Vec::with_capacity(hosts.len());
    for host in hosts {
        picked.push((*host, ctx.load::<Bid>(&(*id, *host))?));
    }
    let mut books = Books::of(ctx, id, order)?;
    // For all that was missing until now.
    queue::pay_rent(ctx, &mut books)?;
    if books.room() == 0 {
        let (needed, available) = (Amount::from_nanos(1), books.escrow.balance);
        return Err(Reject::InsufficientFunds { needed, available });
    }
    let decision = bid::decide(ctx, &mut books, picked)?;
    if decision.leases > 0 {
        queue::end(ctx, &mut books, OrderStatus::Leased)?;
    } else if decision.broken == 0 {
        return Err(Reject::bad_field("hosts"));
    }
    books.store(ctx);
    Ok(())
}
