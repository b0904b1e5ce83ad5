//! Settling: the one place where streams accrue and money leaves an escrow's balance.
//!
//! A lease on an escrow is a stream. Its *due* is what its covered time is worth beyond what it
//! accrued and what was already found short: `floor(rate x covered) - accrued - shortfall`. A
//! stream covers time when its provider's heartbeat says so, so streams come due at different
//! moments. Lest the first to come empties the escrow, a settlement also counts the *claims* of
//! the other serving streams: what they would be due, were they covered up to now.
//!
//! - `dues + claims <= balance`: the dues are paid in full.
//! - Otherwise the escrow is overdrawn from this moment on, its *horizon*. Every stream gets the
//!   same fraction of what it earned up to the horizon: each due is paid
//!   `floor(due x balance / (dues + claims))`, the rest of it is the stream's shortfall, and the
//!   claims' part of the balance waits for them. While the escrow is overdrawn, a stream that comes
//!   later is paid by the same rule for its time up to the horizon; its time beyond it is all
//!   shortfall. When no claims are left, what was not claimed is shared by the shortfalls.
//!
//! Fresh money pays shortfalls first: all of them, and the escrow is open again, or else each the
//! same fraction, claims counted.
//!
//! Paid money is withheld in the escrow until it vests: at verification none in the settlement that
//! pays it, once the tenant may not reject the lease any more; at every other level when the lease
//! is settled. What vests is the provider's at once, in its account, in the block in which it
//! vests: so a provider has its vested money at any time, and there is nothing to withdraw. What is
//! paid out counts as paid in full; a fee on its operator's share may come off it on the way (see
//! [`crate::neutrality`]).

use super::{Escrow, EscrowStatus};
use crate::{
    Event, Reject,
    ctx::{Ctx, rest, share_floor, sum},
    job::Verification,
    keys,
    market::Lease,
    neutrality,
    provider::Provider,
};
use muster_types::{AccountId, Amount, Asset, EscrowId, LeaseId, Millis};
use std::collections::BTreeMap;

/// A lease whose coverage has just been judged; it is not stored yet.
pub(crate) struct Touched {
    pub(crate) id: LeaseId,
    pub(crate) lease: Lease,
    /// The time by which its coverage grew.
    pub(crate) gap: Millis,
}

/// Judges the time since a lease was last seen, and counts it as seen now. The time is covered,
/// and given back, where the lease serves and the gap is short enough.
pub(crate) fn cover(ctx: &Ctx<'_>, lease: &mut Lease) -> Option<Millis> {
    let head = &ctx.env.head;
    let gap = head.steady.since(lease.seen_steady);
    let covered = lease.status.serving().is_some() && gap <= ctx.env.params.heartbeat_gap_max_ms;
    lease.seen_steady = head.steady;
    lease.seen_height = head.height;
    covered.then(|| {
        lease.covered = lease.covered.after(gap);
        gap
    })
}

/// What vests for providers while escrows are settled, and the fees that come off it on the way:
/// who serves many leases is paid for all of them at once.
#[derive(Default)]
struct Vested(BTreeMap<AccountId, (Amount, Amount)>);

impl Vested {
    fn add(&mut self, ctx: &Ctx<'_>, provider: AccountId, amount: Amount) -> Result<(), Reject> {
        let fee = neutrality::fee(ctx, &provider, amount)?;
        let (paid, fees) = self.0.entry(provider).or_default();
        (*paid, *fees) = (sum(*paid, amount)?, sum(*fees, fee)?);
        Ok(())
    }

    fn pay(self, ctx: &mut Ctx<'_>) -> Result<(), Reject> {
        for (id, (paid, fees)) in self.0 {
            let mut provider: Provider = ctx.load(&id)?;
            provider.paid = sum(provider.paid, paid)?;
            ctx.store(&id, &provider);
            ctx.fee(fees)?;
            ctx.credit(&id, Asset::Usd, rest(paid, fees)?)?;
        }
        Ok(())
    }
}

/// Pays what is due to `touched`, leases on these escrows, and stores them.
pub(crate) fn settle(
    ctx: &mut Ctx<'_>,
    touched: BTreeMap<EscrowId, Vec<Touched>>,
) -> Result<(), Reject> {
    let mut vested = Vested::default();
    for (escrow, leases) in touched {
        settle_escrow(ctx, &escrow, leases, &mut vested)?;
    }
    vested.pay(ctx)
}

fn settle_escrow(
    ctx: &mut Ctx<'_>,
    id: &EscrowId,
    mut touched: Vec<Touched>,
    vested: &mut Vested,
) -> Result<(), Reject> {
    let steady = ctx.env.head.steady;
    let mut escrow: Escrow = ctx.load(id)?;
    let horizon = horizon(&escrow, steady);
    let mut dues = Vec::with_capacity(touched.len());
    let mut total_due = Amount::ZERO;
    for Touched { lease, gap, .. } in &touched {
        let beyond = steady.since(horizon).min(*gap);
        let due = due_at(lease, lease.covered.since(beyond))?;
        let late = rest(due_at(lease, lease.covered)?, due)?;
        total_due = sum(total_due, due)?;
        dues.push((due, late));
    }
    let claims = claims(ctx, id, &escrow, total_due, &touched)?;
    let total = sum(total_due, claims)?;
    let available = escrow.balance;
    let mut short = false;
    for (Touched { id, lease, .. }, (due, late)) in touched.iter_mut().zip(dues) {
        let payable = if total > available { share_floor(due, available, total)? } else { due };
        let unpaid = sum(rest(due, payable)?, late)?;
        short |= !unpaid.is_zero();
        lease.shortfall = sum(lease.shortfall, unpaid)?;
        pay(ctx, &mut escrow, lease, payable, vested)?;
        ctx.store(id, lease);
    }
    if short && escrow.status == EscrowStatus::Open {
        escrow.status = EscrowStatus::Overdrawn { since: steady };
        ctx.emit(Event::EscrowOverdrawn { escrow: *id, owner: escrow.owner });
    }
    ctx.store(id, &escrow);
    let overdrawn = matches!(escrow.status, EscrowStatus::Overdrawn { .. });
    if overdrawn && claims.is_zero() { share(ctx, id, vested) } else { Ok(()) }
}

/// Pays shortfalls out of what an overdrawn escrow has; without any left it is open again.
pub(crate) fn pay_shortfalls(ctx: &mut Ctx<'_>, id: &EscrowId) -> Result<(), Reject> {
    let mut vested = Vested::default();
    share(ctx, id, &mut vested)?;
    vested.pay(ctx)
}

/// Shares what an overdrawn escrow has among its shortfalls.
fn share(ctx: &mut Ctx<'_>, id: &EscrowId, vested: &mut Vested) -> Result<(), Reject> {
    let mut escrow: Escrow = ctx.load(id)?;
    if !matches!(escrow.status, EscrowStatus::Overdrawn { .. }) {
        return Ok(());
    }
    let mut owed = Vec::new();
    let mut total = claims(ctx, id, &escrow, Amount::ZERO, &[])?;
    for lease_id in open_leases(ctx, id) {
        let lease: Lease = ctx.load(&lease_id)?;
        if !lease.shortfall.is_zero() {
            total = sum(total, lease.shortfall)?;
            owed.push((lease_id, lease));
        }
    }
    let available = escrow.balance;
    let short = total > available;
    for (lease_id, mut lease) in owed {
        let owed = lease.shortfall;
        let payable = if short { share_floor(owed, available, total)? } else { owed };
        lease.shortfall = rest(owed, payable)?;
        pay(ctx, &mut escrow, &mut lease, payable, vested)?;
        ctx.store(&lease_id, &lease);
    }
    if !short {
        escrow.status = EscrowStatus::Open;
        ctx.emit(Event::EscrowReopened { escrow: *id, owner: escrow.owner });
    }
    ctx.store(id, &escrow);
    Ok(())
}

/// Pays `due` of a lease's withheld money to its provider and returns the rest to its escrow's
/// balance; gives the rest.
pub(crate) fn release(ctx: &mut Ctx<'_>, lease: &mut Lease, due: Amount) -> Result<Amount, Reject> {
    let forfeited = rest(lease.withheld(), due)?;
    let mut escrow: Escrow = ctx.load(&lease.escrow)?;
    let mut vested = Vested::default();
    pay_out(ctx, &mut escrow, lease, due, &mut vested)?;
    vested.pay(ctx)?;
    escrow.withheld = rest(escrow.withheld, forfeited)?;
    escrow.balance = sum(escrow.balance, forfeited)?;
    ctx.store(&lease.escrow, &escrow);
    Ok(forfeited)
}

/// The leases of an escrow that are not closed.
pub(crate) fn open_leases(ctx: &Ctx<'_>, id: &EscrowId) -> Vec<LeaseId> {
    let open = keys::OPEN_LEASES_BY_ESCROW.scan(&ctx.scratch, id, None);
    open.map(|((_, lease), ())| lease).collect()
}

/// Up to when the escrow's balance is shared: the moment at which it fell short, or now.
const fn horizon(escrow: &Escrow, now: Millis) -> Millis {
    match escrow.status {
        EscrowStatus::Open | EscrowStatus::Closed => now,
        EscrowStatus::Overdrawn { since } => since,
    }
}

/// What a lease is due for `covered` time in all.
fn due_at(lease: &Lease, covered: Millis) -> Result<Amount, Reject> {
    let worth = lease.rate.charge_floor(covered).ok_or(Reject::Overflow)?;
    rest(worth, sum(lease.accrued, lease.shortfall)?)
}

/// What the serving streams that are not in `touched` could claim for their time up to the
/// horizon. Where an open escrow covers the most that they could, they need not be asked.
fn claims(
    ctx: &Ctx<'_>,
    id: &EscrowId,
    escrow: &Escrow,
    total_due: Amount,
    touched: &[Touched],
) -> Result<Amount, Reject> {
    let gap_max = ctx.env.params.heartbeat_gap_max_ms;
    let steady = ctx.env.head.steady;
    if escrow.status == EscrowStatus::Open {
        let most = escrow.open_rate.charge_ceil(gap_max).ok_or(Reject::Overflow)?;
        // Each stream's claim is rounded by itself.
        let most = sum(most, Amount::from_nanos(u128::from(escrow.open_leases)))?;
        if sum(total_due, most)? <= escrow.balance {
            return Ok(Amount::ZERO);
        }
    }
    let horizon = horizon(escrow, steady);
    let mut total = Amount::ZERO;
    for lease_id in open_leases(ctx, id) {
        if touched.iter().any(|touched| touched.id == lease_id) {
            continue;
        }
        let lease: Lease = ctx.load(&lease_id)?;
        if lease.status.serving().is_some() && steady.since(lease.seen_steady) <= gap_max {
            let claimed = lease.covered.after(horizon.since(lease.seen_steady));
            total = sum(total, due_at(&lease, claimed)?)?;
        }
    }
    Ok(total)
}

fn pay(
    ctx: &Ctx<'_>,
    escrow: &mut Escrow,
    lease: &mut Lease,
    amount: Amount,
    vested: &mut Vested,
) -> Result<(), Reject> {
    escrow.balance = rest(escrow.balance, amount)?;
    escrow.withheld = sum(escrow.withheld, amount)?;
    lease.accrued = sum(lease.accrued, amount)?;
    let accepted = ctx.env.head.steady >= lease.rejectable_until;
    if lease.verification == Verification::None && accepted {
        pay_out(ctx, escrow, lease, lease.withheld(), vested)?;
    }
    Ok(())
}

/// Takes withheld money out of the escrow, for the provider.
fn pay_out(
    ctx: &Ctx<'_>,
    escrow: &mut Escrow,
    lease: &mut Lease,
    amount: Amount,
    vested: &mut Vested,
) -> Result<(), Reject> {
    if amount.is_zero() {
        return Ok(());
    }
    escrow.withheld = rest(escrow.withheld, amount)?;
    escrow.paid = sum(escrow.paid, amount)?;
    lease.paid = sum(lease.paid, amount)?;
    vested.add(ctx, lease.provider(), amount)
}
