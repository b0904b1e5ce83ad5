//! `LeaseClose`, and every other end of a lease.

use super::{CloseReason, Lease, LeaseStatus, ended, settled};
use crate::{
    Event, Reject,
    ctx::{By, Ctx, rest},
    escrow::{Escrow, settle},
    neutrality,
    provider::Host,
};
use muster_market::capacity;
use muster_types::{LeaseId, Millis, Rate};

pub(crate) fn run(ctx: &mut Ctx<'_>, by: &By, id: &LeaseId) -> Result<(), Reject> {
    let lease: Lease = ctx.load(id)?;
    let reason = if lease.tenant == by.signer {
        CloseReason::TenantClosed
    } else if lease.provider() == by.signer {
        if ctx.env.head.now < lease.guaranteed_until {
            CloseReason::ProviderExit
        } else {
            CloseReason::OfferEnded
        }
    } else {
        return Err(Reject::not_yours("tenant"));
    };
    close(ctx, id, reason)
}

/// Ends an open lease: pays up to now where now is covered, frees its capacity, and settles it
/// where nothing is withheld (but fraud: see [`crate::dispute`]).
pub(crate) fn close(ctx: &mut Ctx<'_>, id: &LeaseId, reason: CloseReason) -> Result<(), Reject> {
    let mut lease: Lease = ctx.load(id)?;
    if lease.status.is_closed() {
        return Err(Reject::wrong_state("lease", lease.status.name()));
    }
    // Also where the pay is forfeited next: what the tenant had to pay for is what it lost.
    let gap = cover(ctx, &mut lease, reason);
    if gap > Millis::ZERO {
        ctx.store(id, &lease);
        let escrow = lease.escrow;
        let touched = settle::Touched { id: *id, lease, gap };
        settle::settle(ctx, [(escrow, vec![touched])].into())?;
        lease = ctx.load(id)?;
    }
    lease.seen_steady = ctx.env.head.steady;
    lease.seen_height = ctx.env.head.height;
    lease.status = LeaseStatus::Closed { reason, at: ctx.env.head.now, settled: false };
    ctx.store(id, &lease);
    free(ctx, &lease)?;
    ctx.emit(Event::LeaseClosed {
        lease: *id,
        provider: lease.provider(),
        of: lease.parties(),
        reason,
        covered: lease.covered,
        accrued: lease.accrued,
    });
    ended::lease_ended(ctx, &lease, reason)?;
    if reason == CloseReason::ProviderFraud {
        return Ok(());
    }
    settled::settle_if_clear(ctx, id)
}

/// Judges the time up to the close; gives what it adds to the covered time, the minimum charge
/// included. Nothing is covered where the tenant rejects what it got.
fn cover(ctx: &Ctx<'_>, lease: &mut Lease, reason: CloseReason) -> Millis {
    if reason == CloseReason::ReadyRejected {
        return Millis::ZERO;
    }
    let stalled = matches!(lease.status, LeaseStatus::Stalled { .. });
    let gap = settle::cover(ctx, lease).unwrap_or(Millis::ZERO);
    if reason != CloseReason::TenantClosed || stalled {
        return gap;
    }
    let missing = ctx.env.params.min_charge_ms.since(lease.covered);
    lease.covered = lease.covered.after(missing);
    gap.after(missing)
}

/// Gives the host its capacity back and takes the stream off the escrow.
fn free(ctx: &mut Ctx<'_>, lease: &Lease) -> Result<(), Reject> {
    let mut host: Host = ctx.load(&lease.host)?;
    host.used = capacity::checked_sub(&host.used, &lease.takes).ok_or(Reject::Overflow)?;
    ctx.store(&lease.host, &host);
    let mut escrow: Escrow = ctx.load(&lease.escrow)?;
    let open = escrow.open_rate.amount_per_hour();
    escrow.open_rate = Rate::per_hour(rest(open, lease.rate.amount_per_hour())?);
    ctx.store(&lease.escrow, &escrow);
    neutrality::closed(ctx, &lease.provider(), lease.rate)
}
