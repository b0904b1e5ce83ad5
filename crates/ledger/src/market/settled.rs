//! The settlement of closed leases: withheld pay is released or forfeited, a fault is slashed, what
//! is left of the pledge is free.

use super::{CloseReason, Lease, LeaseStatus, Order};
use crate::{
    Event, Reject,
    bond::{self, slash},
    ctx::{Ctx, down},
    escrow::{Escrow, settle},
    job::{Job, Verification},
    provider::{Provider, drain, jail},
};
use muster_types::{AccountId, Amount, LeaseId};

/// Settles a closed lease from which nothing is withheld for its results, that no dispute names,
/// and whose commitment nobody need have the time to check.
pub(crate) fn settle_if_clear(ctx: &mut Ctx<'_>, id: &LeaseId) -> Result<(), Reject> {
    let lease: Lease = ctx.load(id)?;
    let LeaseStatus::Closed { reason, settled: false, .. } = lease.status else {
        return Ok(());
    };
    let checked = lease.verification.is_committed() && lease.commitment.is_some();
    let unverified = lease.verification == Verification::None;
    if !checked && lease.disputes == 0 && (unverified || lease.withheld().is_zero()) {
        let pay = if reason == CloseReason::ReadyRejected { Pay::Forfeit } else { Pay::Release };
        finish(ctx, id, pay)?;
    }
    Ok(())
}

/// A closed lease's challenge window has ended without an open dispute. Where nothing stands for
/// results that must be committed to, they are not paid for.
pub(crate) fn unchallenged(ctx: &mut Ctx<'_>, id: &LeaseId) -> Result<(), Reject> {
    let lease: Lease = ctx.load(id)?;
    let missing = lease.verification.is_committed() && lease.commitment.is_none();
    finish(ctx, id, if missing { Pay::Forfeit } else { Pay::Release })
}

/// What becomes of a closed lease's withheld pay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pay {
    /// What it may be paid goes to the provider, the rest back to the escrow.
    Release,
    /// All of it goes back to the escrow.
    Forfeit,
    /// All of it goes back, and the provider is slashed for fraud, whatever ended the lease.
    Fraud {
        /// Who is rewarded.
        reporter: AccountId,
    },
}

/// Settles a closed lease, for good.
pub(crate) fn finish(ctx: &mut Ctx<'_>, id: &LeaseId, pay: Pay) -> Result<(), Reject> {
    let mut lease: Lease = ctx.load(id)?;
    let LeaseStatus::Closed { reason, at, settled: false } = lease.status else {
        return Err(Reject::wrong_state("lease", lease.status.name()));
    };
    let due = if pay == Pay::Release { payable(ctx, &lease, reason)? } else { Amount::ZERO };
    let forfeited = settle::release(ctx, &mut lease, due)?;
    match pay {
        Pay::Fraud { reporter } => {
            slash::slash(ctx, id, &mut lease, CloseReason::ProviderFraud, Some(reporter))?;
        }
        Pay::Release | Pay::Forfeit => slash::slash(ctx, id, &mut lease, reason, None)?,
    }
    let pledge = std::mem::take(&mut lease.pledge);
    lease.status = LeaseStatus::Closed { reason, at, settled: true };
    ctx.store(id, &lease);

    let provider_id = lease.provider();
    let mut provider: Provider = ctx.load(&provider_id)?;
    provider.open_leases = down(provider.open_leases)?;
    ctx.store(&provider_id, &provider);
    bond::release(ctx, &provider_id, pledge)?;
    if pay == Pay::Release && !reason.is_provider_fault() && !lease.paid.is_zero() {
        jail::kept_lease(ctx, &provider_id)?;
    }
    let mut escrow: Escrow = ctx.load(&lease.escrow)?;
    escrow.open_leases = down(escrow.open_leases)?;
    ctx.store(&lease.escrow, &escrow);
    let mut order: Order = ctx.load(&lease.order)?;
    order.open_leases = down(order.open_leases)?;
    ctx.store(&lease.order, &order);
    if let Some(job_id) = lease.job {
        let mut job: Job = ctx.load(&job_id)?;
        job.open_leases = down(job.open_leases)?;
        ctx.store(&job_id, &job);
    }
    ctx.emit(Event::LeaseSettled {
        lease: *id,
        provider: provider_id,
        of: lease.parties(),
        paid: lease.paid,
        forfeited,
    });
    if !forfeited.is_zero() {
        settle::pay_shortfalls(ctx, &lease.escrow)?;
    }
    drain::unbond_if_idle(ctx, &provider_id)
}

/// What of its withheld pay a closed lease may be paid: all of it, but a metered one at most what
/// its fuel is worth, or the minimum charge where that is due and more.
fn payable(ctx: &Ctx<'_>, lease: &Lease, reason: CloseReason) -> Result<Amount, Reject> {
    let withheld = lease.withheld();
    let Some(worth) = lease.fuel_worth() else {
        return Ok(withheld);
    };
    let least = if reason == CloseReason::TenantClosed {
        lease.rate.charge_floor(ctx.env.params.min_charge_ms).ok_or(Reject::Overflow)?
    } else {
        Amount::ZERO
    };
    Ok(withheld.min(worth.max(least).saturating_sub(lease.paid)))
}
