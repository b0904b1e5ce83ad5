//! `OrderUpdate`: changes an order in place.
//!
//! | change | of an order that | effect |
//! |---|---|---|
//! | `Grow` | is open to standing offers, or ended leased; its deadline has not passed; with these it has been granted at most 10,000 leases in all | misses so many leases more; open again |
//! | `Shrink` | has these open leases | closes them (tenant_closed) and lowers the count |
//! | `Count` | is open to standing offers | misses fewer; missing none it ends: leased; one that takes all or nothing begins its walk again |
//! | `Extend` | is open, or ended leased | a later deadline; longer guarantees |
//! | `Manifest` | is open, or ended leased | the new hash; its open leases are updated |
//!
//! `Extend` and `Manifest` look at every lease that the order was granted, those that have left the
//! state ([`crate::archive`]) included: each beyond the first costs the escrow
//! one `fee_per_unit`, as if it had been named.

use super::{
    CloseReason, Lease, Order, OrderChange, OrderStatus, Turn, close, grant::Books,
    lease::begin_update, queue,
};
use crate::{
    Event, Reject,
    ctx::{By, Ctx},
    escrow::EscrowStatus,
    limits,
    provider::{Host, Provider, ProviderStatus},
};
use muster_types::{Hash, LeaseId, Millis, OrderId};

pub(crate) fn run(
    ctx: &mut Ctx<'_>,
    by: &By,
    id: &OrderId,
    change: &OrderChange,
) -> Result<(), Reject> {
    let order: Order = ctx.load(id)?;
    if order.tenant != by.signer {
        return Err(Reject::not_yours("tenant"));
    }
    let of = order.parties();
    match change {
        OrderChange::Grow { count } => grow(ctx, id, order, *count)?,
        OrderChange::Shrink { leases } => shrink(ctx, id, leases)?,
        OrderChange::Count { count } => lower(ctx, id, order, *count)?,
        OrderChange::Extend { deadline } => extend(ctx, id, order, *deadline)?,
        OrderChange::Manifest { hash } => renew(ctx, id, order, *hash)?,
    }
    ctx.emit(Event::OrderUpdated { order: *id, of });
    Ok(())
}

fn grow(ctx: &mut Ctx<'_>, id: &OrderId, mut order: Order, count: u32) -> Result<(), Reject> {
    if order.bidding.is_some() {
        return Err(Reject::wrong_state("order", "open to bids"));
    }
    require_alive(&order)?;
    if order.deadline <= ctx.env.head.now {
        return Err(Reject::wrong_state("order", "past its deadline"));
    }
    let total = order.terms.count.checked_add(count);
    let total = total.filter(|_| count > 0 && order.can_grow(count));
    order.terms.count = total.ok_or_else(|| Reject::bad_field("count"))?;
    let mut books = Books::of(ctx, id, order)?;
    if books.escrow.status != EscrowStatus::Open {
        return Err(Reject::wrong_state("escrow", books.escrow.status.name()));
    }
    if books.job.as_ref().is_some_and(|job| job.closed) {
        return Err(Reject::wrong_state("job", "closed"));
    }
    queue::open_again(ctx, &mut books, count)?;
    books.store(ctx);
    Ok(())
}

fn shrink(ctx: &mut Ctx<'_>, id: &OrderId, leases: &[LeaseId]) -> Result<(), Reject> {
    if leases.is_empty() || leases.len() > limits::HEARTBEAT_LEASES {
        return Err(Reject::bad_field("leases"));
    }
    for lease in leases {
        let record: Lease = ctx.load(lease)?;
        if record.order != *id {
            return Err(Reject::bad_field("leases"));
        }
        close::close(ctx, lease, CloseReason::TenantClosed)?;
    }
    let mut order: Order = ctx.load(id)?;
    let fewer = u32::try_from(leases.len()).map_err(|_| Reject::Overflow)?;
    order.terms.count = order.terms.count.saturating_sub(fewer);
    ctx.store(id, &order);
    Ok(())
}

fn lower(ctx: &mut Ctx<'_>, id: &OrderId, order: Order, count: u32) -> Result<(), Reject> {
    if !order.is_waiting() {
        let state = if order.bidding.is_some() { "open to bids" } else { order.status.name() };
        return Err(Reject::wrong_state("order", state));
    }
    let fewer = order.terms.count.checked_sub(count);
    let fewer = fewer.filter(|fewer| (1..=order.missing).contains(fewer) && count > 0);
    let fewer = fewer.ok_or_else(|| Reject::bad_field("count"))?;
    let mut books = Books::of(ctx, id, order)?;
    queue::pay_rent(ctx, &mut books)?;
    books.order.terms.count = count;
    books.order.missing = books.order.missing.saturating_sub(fewer);
    if books.order.missing == 0 {
        queue::end(ctx, &mut books, OrderStatus::Leased)?;
    } else if books.order.terms.all_or_nothing() {
        // What it asks for may be there, though what it asked for was not.
        books.order.turn = Turn::FIRST;
    }
    books.store(ctx);
    Ok(())
}

fn extend(
    ctx: &mut Ctx<'_>,
    id: &OrderId,
    mut order: Order,
    deadline: Millis,
) -> Result<(), Reject> {
    require_alive(&order)?;
    if deadline <= order.deadline || deadline <= ctx.env.head.now {
        return Err(Reject::bad_field("deadline"));
    }
    order.deadline = deadline;
    for lease_id in touch_all(ctx, id, order)? {
        let Some(mut lease) = ctx.find::<Lease>(&lease_id) else { continue };
        let until = standing_until(ctx, &lease);
        if lease.status.is_open() && lease.guaranteed_until < until {
            lease.guaranteed_until = until;
            ctx.store(&lease_id, &lease);
        }
    }
    Ok(())
}

fn renew(ctx: &mut Ctx<'_>, id: &OrderId, mut order: Order, hash: Hash) -> Result<(), Reject> {
    require_alive(&order)?;
    if hash == order.manifest {
        return Err(Reject::Duplicate);
    }
    order.manifest = hash;
    for lease_id in touch_all(ctx, id, order)? {
        let lease: Option<Lease> = ctx.find(&lease_id);
        if lease.is_some_and(|lease| lease.status.is_open()) {
            begin_update(ctx, &lease_id)?;
        }
    }
    Ok(())
}

/// Refuses an order that has ended but by being filled.
fn require_alive(order: &Order) -> Result<(), Reject> {
    match order.status {
        OrderStatus::Open | OrderStatus::Leased | OrderStatus::Picking { .. } => Ok(()),
        OrderStatus::Expired | OrderStatus::Cancelled | OrderStatus::OutOfFunds => {
            Err(Reject::wrong_state("order", order.status.name()))
        }
    }
}

/// Stores a changed order, whose leases are all to be looked at, and charges for these looks.
fn touch_all(ctx: &mut Ctx<'_>, id: &OrderId, order: Order) -> Result<Vec<LeaseId>, Reject> {
    let leases = order.leases.clone();
    let more = u64::try_from(leases.len().saturating_sub(1)).map_err(|_| Reject::Overflow)?;
    let fee = ctx.env.params.fee_per_unit.checked_mul(more).ok_or(Reject::Overflow)?;
    let mut books = Books::of(ctx, id, order)?;
    let available = books.escrow.balance;
    if !queue::charge(ctx, &mut books, fee)? {
        return Err(Reject::InsufficientFunds { needed: fee, available });
    }
    books.store(ctx);
    Ok(leases)
}

/// Up to when the lease's host offers what the lease asked for at no more than it pays.
fn standing_until(ctx: &Ctx<'_>, lease: &Lease) -> Millis {
    let provider: Option<Provider> = ctx.find(&lease.provider());
    let active = provider.is_some_and(|provider| provider.status == ProviderStatus::Active);
    let host: Option<Host> = ctx.find(&lease.host);
    let host = host.filter(|host| {
        let lower = host.spec.interruptible.filter(|_| lease.reclaim_notice.is_some());
        let prices = [Some(host.spec.prices), lower.map(|offer| offer.prices)];
        let mut prices = prices.iter().flatten();
        active
            && prices.any(|prices| {
                prices.rate_for(&lease.request).is_some_and(|price| price <= lease.rate)
            })
    });
    host.map(|host| host.spec.offered_until).unwrap_or_default()
}

#[cfg(test)]
mod tests;
