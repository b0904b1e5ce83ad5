//! What a lease's end means to others than the lease: it counts in the conduct of both sides, and
//! its order may go on without it.
//!
//! An order placed with `reauction` is open again for a lease that its provider broke, without
//! that provider, until `reauction_ms` after the close; what its escrow has left is its budget. The
//! new lease gets the next index. An order that takes bids or is picked from, that its tenant
//! cancelled, or whose escrow could not pay, is left as it is, and so is one whose job has closed,
//! whose list of excluded providers is full, or that was granted 10,000 leases already.

use super::{CloseReason, Lease, Order, OrderStatus, TenantConduct, grant::Books, queue};
use crate::{
    Reject,
    ctx::Ctx,
    provider::{Provider, jail},
};

/// Called once for every lease that ends, after it was stored as closed and its capacity came
/// back, before anything is slashed or settled. Changes nothing of the lease itself.
pub(crate) fn lease_ended(
    ctx: &mut Ctx<'_>,
    lease: &Lease,
    reason: CloseReason,
) -> Result<(), Reject> {
    count(ctx, lease, reason)?;
    if !reason.is_provider_fault() {
        return Ok(());
    }
    jail::broke_lease(ctx, &lease.provider())?;
    reauction(ctx, lease)
}

/// Opens the order again for a lease that its provider broke, where it is to be.
fn reauction(ctx: &mut Ctx<'_>, lease: &Lease) -> Result<(), Reject> {
    let Some(mut order) = ctx.find::<Order>(&lease.order) else { return Ok(()) };
    let may = match order.status {
        OrderStatus::Open => order.bidding.is_none(),
        OrderStatus::Leased | OrderStatus::Expired => true,
        OrderStatus::Cancelled | OrderStatus::OutOfFunds | OrderStatus::Picking { .. } => false,
    };
    if !order.reauction || !may || !order.can_grow(1) {
        return Ok(());
    }
    let provider = lease.provider();
    if !order.terms.exclude.contains(&provider) {
        order.terms.exclude.push(provider);
    }
    let until = ctx.env.head.now.after(ctx.env.params.reauction_ms);
    order.deadline = match order.status {
        OrderStatus::Open => order.deadline.max(until),
        OrderStatus::Picking { .. }
        | OrderStatus::Leased
        | OrderStatus::Expired
        | OrderStatus::Cancelled
        | OrderStatus::OutOfFunds => until,
    };
    let mut books = Books::of(ctx, &lease.order, order)?;
    let closed = books.job.as_ref().is_some_and(|job| job.closed);
    if closed || books.order.terms.check().is_err() {
        return Ok(());
    }
    queue::open_again(ctx, &mut books, 1)?;
    books.store(ctx);
    Ok(())
}

/// Counts the end in the conduct of both sides.
fn count(ctx: &mut Ctx<'_>, lease: &Lease, reason: CloseReason) -> Result<(), Reject> {
    let mut tenant: TenantConduct = ctx.find(&lease.tenant).unwrap_or_default();
    let provider_id = lease.provider();
    let mut provider: Provider = ctx.load(&provider_id)?;
    let conduct = &mut provider.conduct;
    let one = |count: &mut u64| *count = count.saturating_add(1);
    one(&mut tenant.leases);
    match reason {
        CloseReason::ReadyRejected => {
            one(&mut tenant.rejected);
            one(&mut conduct.leases_rejected);
        }
        CloseReason::Undelivered => {
            one(&mut tenant.undelivered);
            one(&mut conduct.leases_undelivered);
        }
        CloseReason::OutOfFunds => one(&mut tenant.out_of_funds),
        CloseReason::TenantClosed
        | CloseReason::ProviderNotReady
        | CloseReason::ProviderStalled
        | CloseReason::ProviderExit
        | CloseReason::ProviderFraud
        | CloseReason::Reclaimed
        | CloseReason::OfferEnded => {}
    }
    ctx.store(&lease.tenant, &tenant);
    ctx.store(&provider_id, &provider);
    Ok(())
}
