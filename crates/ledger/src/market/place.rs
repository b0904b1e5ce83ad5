//! `OrderPlace`. An order for one place takes no bids.

use super::{Bidding, Mode, Order, OrderStatus, Turn};
use crate::{
    Event, Reject,
    ctx::{By, Ctx, up},
    escrow::{Escrow, EscrowStatus},
    job::Job,
    limits,
};
use muster_market::{Terms, Together};
use muster_types::{Amount, EscrowId, Hash, JobId, Millis, OrderId};

/// What an order says beside its manifest.
pub(crate) struct Placed<'a> {
    pub(crate) escrow: &'a EscrowId,
    pub(crate) job: Option<JobId>,
    pub(crate) terms: &'a Terms,
    pub(crate) deadline: Millis,
    pub(crate) mode: Mode,
    pub(crate) reauction: bool,
}

pub(crate) fn run(
    ctx: &mut Ctx<'_>,
    by: &By,
    placed: &Placed<'_>,
    manifest: Hash,
) -> Result<(), Reject> {
    placed.terms.check().map_err(Reject::bad_field)?;
    if placed.deadline <= ctx.env.head.now {
        return Err(Reject::bad_field("deadline"));
    }
    let bidding = bidding(ctx, placed.mode)?;
    if bidding.is_some() && placed.terms.together != Together::No {
        return Err(Reject::bad_field("terms.together"));
    }
    let mut escrow: Escrow = ctx.load(placed.escrow)?;
    if escrow.owner != by.signer {
        return Err(Reject::not_yours("owner"));
    }
    if escrow.status != EscrowStatus::Open {
        return Err(Reject::wrong_state("escrow", escrow.status.name()));
    }
    if escrow.balance.is_zero() {
        let (needed, available) = (Amount::from_nanos(1), Amount::ZERO);
        return Err(Reject::InsufficientFunds { needed, available });
    }
    if let Some(job_id) = placed.job {
        let mut job: Job = ctx.load(&job_id)?;
        if job.tenant != by.signer {
            return Err(Reject::not_yours("tenant"));
        }
        if job.closed {
            return Err(Reject::wrong_state("job", "closed"));
        }
        if job.spec.escrow != *placed.escrow {
            return Err(Reject::bad_field("escrow"));
        }
        job.open_orders = up(job.open_orders)?;
        ctx.store(&job_id, &job);
    }
    escrow.open_orders = up(escrow.open_orders)?;
    ctx.store(placed.escrow, &escrow);
    let id = OrderId::derive(&by.tx);
    let order = Order {
        tenant: by.signer,
        escrow: *placed.escrow,
        escrow_height: escrow.height,
        job: placed.job,
        terms: placed.terms.clone(),
        manifest,
        status: OrderStatus::Open,
        placed_at: ctx.env.head.now,
        deadline: placed.deadline,
        fee: by.fee,
        leases: Vec::new(),
        mode: placed.mode,
        reauction: placed.reauction,
        missing: placed.terms.count,
        turn: Turn::FIRST,
        bidding,
        rent_until: ctx.env.head.steady,
        rent_part: 0,
        charged: Amount::ZERO,
        open_leases: 0,
        final_at: None,
    };
    ctx.store(&id, &order);
    let (tenant, escrow, job) = (by.signer, *placed.escrow, placed.job);
    ctx.emit(Event::OrderPlaced { order: id, tenant, escrow, job });
    Ok(())
}

/// The window that a mode opens.
fn bidding(ctx: &Ctx<'_>, mode: Mode) -> Result<Option<Bidding>, Reject> {
    let Mode::Bids { window_ms, bids_max, pick: _ } = mode else { return Ok(None) };
    if window_ms == Millis::ZERO || window_ms > limits::BID_WINDOW_MS {
        return Err(Reject::bad_field("mode.window_ms"));
    }
    if bids_max == 0 || bids_max > limits::BIDS {
        return Err(Reject::bad_field("mode.bids_max"));
    }
    Ok(Some(Bidding { until: ctx.env.head.steady.after(window_ms), bids: 0 }))
}
