//! Clearing at a block's end: open orders against the offers made before this block.
//!
//! Tried are this block's orders, and up to `retry_max` of those that wait, oldest first, going
//! round: the last one retried is kept in the state, and the next block goes on after it. All are
//! cleared one after the other, who paid the higher fee first, then by the hash of (the previous
//! block's beacon, the order's id), each against what the ones before it left.
//!
//! An order that is no gang and gets only some of its leases stays open for the rest. Its spread
//! limits count the leases that it has: hosts at a limit are left out of its book, and a placement
//! that would exceed one together with them is not granted.

use super::{Lease, LeaseStatus, Offers, Order, OrderStatus, cancel};
use crate::{
    Event, Reject,
    block::for_each,
    ctx::{Ctx, sum, up},
    escrow::{Escrow, EscrowStatus},
    job::{Job, Verification},
    keys, limits,
    provider::{Host, Provider},
};
use muster_market::{HostView, Placement, Spread, capacity};
use muster_types::{AccountId, Amount, Hash, HostId, LeaseId, Millis, OrderId, Rate};
use std::{cmp::Reverse, collections::BTreeMap};

pub(crate) fn run(ctx: &mut Ctx<'_>) {
    let mut orders = Vec::new();
    let retried = waiting(ctx);
    let fresh = keys::ORDERS_WAITING.scan(&ctx.scratch, &ctx.env.head.now, None);
    let fresh: Vec<OrderId> = fresh.map(|((_, order), ())| order).collect();
    for id in retried.into_iter().chain(fresh) {
        if let Some(order) = ctx.find::<Order>(&id) {
            let beacon = ctx.env.previous_beacon;
            let lot = Hash::of("muster clearing v1", &[beacon.as_bytes(), id.as_bytes()]);
            orders.push((Reverse(order.fee), lot, id));
        }
    }
    orders.sort_unstable();
    let orders = orders.into_iter().map(|(_, _, id)| id).collect();
    for_each(ctx, orders, clear);
}

/// The waiting orders of earlier blocks whose turn it is.
fn waiting(ctx: &mut Ctx<'_>) -> Vec<OrderId> {
    let now = ctx.env.head.now;
    let max = usize::try_from(ctx.env.params.retry_max).unwrap_or(usize::MAX);
    let from = |after: Option<&(Millis, OrderId)>| {
        let all = keys::ORDERS_WAITING.scan(&ctx.scratch, &(), after);
        all.map(|(key, ())| key).take_while(|(placed_at, _)| *placed_at < now)
    };
    let last = keys::RETRY.get(&ctx.scratch, &());
    let mut turn: Vec<_> = from(last.as_ref()).take(max).collect();
    let room = max.saturating_sub(turn.len());
    if let Some(last) = last {
        turn.extend(from(None).take_while(|key| *key <= last).take(room));
    }
    // The cursor matters only where not all have their turn.
    let next = turn.last().filter(|_| turn.len() == max).copied();
    match next {
        Some(next) if last != Some(next) => keys::RETRY.put(&mut ctx.scratch, &(), &next),
        None if last.is_some() => keys::RETRY.delete(&mut ctx.scratch, &()),
        Some(_) | None => {}
    }
    turn.into_iter().map(|(_, order)| order).collect()
}

/// Clears one order; one that gets nothing waits.
fn clear(ctx: &mut Ctx<'_>, id: &OrderId) -> Result<(), Reject> {
    let mut order: Order = ctx.load(id)?;
    let escrow: Escrow = ctx.load(&order.escrow)?;
    if escrow.status != EscrowStatus::Open || escrow.balance.is_zero() {
        return Ok(());
    }
    let granted = u32::try_from(order.leases.len()).map_err(|_| Reject::Overflow)?;
    let room = limits::ESCROW_LEASES.saturating_sub(escrow.open_leases);
    let mut terms = order.terms.clone();
    let wanted = terms.count.saturating_sub(granted);
    if terms.gang && wanted > room {
        return Ok(());
    }
    terms.count = wanted.min(room);
    let mut taken = Taken::of(ctx, &order)?;
    let placements = {
        let allowed = |host: &HostView| taken.allows(&terms.spread, &host.id, &host.region);
        let env = ctx.env;
        let book = Offers::new(&ctx.scratch, &env.params, env.head.height, &allowed);
        muster_market::clear(&book, &terms, &env.params.rules(), env.head.now).placements
    };
    for placement in placements {
        let provider: Provider = ctx.load(&placement.host.provider)?;
        let region = &provider.profile.region;
        if taken.allows(&terms.spread, &placement.host, region) {
            taken.add(placement.host, region.clone());
            grant(ctx, id, &mut order, provider, placement)?;
        }
    }
    if order.leases.len() > usize::try_from(granted).unwrap_or(usize::MAX) {
        ctx.store(id, &order);
    }
    if u32::try_from(order.leases.len()) == Ok(order.terms.count) {
        cancel::end(ctx, id, &mut order, OrderStatus::Leased)?;
    }
    Ok(())
}

fn grant(
    ctx: &mut Ctx<'_>,
    order_id: &OrderId,
    order: &mut Order,
    mut provider: Provider,
    placement: Placement,
) -> Result<(), Reject> {
    let Placement { host: host_id, takes, rate, risk_bps: _, pledge } = placement;
    let index = u32::try_from(order.leases.len()).map_err(|_| Reject::Overflow)?;
    let id = LeaseId::derive(order_id, index);

    let mut host: Host = ctx.load(&host_id)?;
    host.used = capacity::checked_add(&host.used, &takes).ok_or(Reject::Overflow)?;
    ctx.store(&host_id, &host);

    provider.pledged = sum(provider.pledged, pledge)?;
    provider.open_leases = up(provider.open_leases)?;
    provider.conduct.leases = provider.conduct.leases.saturating_add(1);
    ctx.store(&host_id.provider, &provider);

    let mut escrow: Escrow = ctx.load(&order.escrow)?;
    escrow.open_leases = up(escrow.open_leases)?;
    let open_rate = sum(escrow.open_rate.amount_per_hour(), rate.amount_per_hour())?;
    escrow.open_rate = Rate::per_hour(open_rate);
    ctx.store(&order.escrow, &escrow);

    let mut verification = Verification::None;
    if let Some(job_id) = order.job {
        let mut job: Job = ctx.load(&job_id)?;
        job.open_leases = up(job.open_leases)?;
        verification = job.spec.verification;
        ctx.store(&job_id, &job);
    }
    let head = &ctx.env.head;
    let lease = Lease {
        order: *order_id,
        escrow: order.escrow,
        job: order.job,
        tenant: order.tenant,
        host: host_id,
        request: order.terms.request.clone(),
        takes,
        verification,
        rate,
        pledge,
        status: LeaseStatus::Granted,
        granted_at: head.now,
        seen_steady: head.steady,
        seen_height: head.height,
        covered: Millis::ZERO,
        accrued: Amount::ZERO,
        shortfall: Amount::ZERO,
        paid: Amount::ZERO,
        compensated: Amount::ZERO,
        commitment: None,
        disputes: 0,
        final_at: None,
    };
    ctx.store(&id, &lease);
    order.leases.push(id);
    order.open_leases = up(order.open_leases)?;
    ctx.emit(Event::LeaseGranted {
        lease: id,
        order: *order_id,
        tenant: order.tenant,
        escrow: order.escrow,
        job: order.job,
        host: host_id,
        rate,
        pledge,
    });
    Ok(())
}

/// Where an order's open leases are.
#[derive(Default)]
struct Taken {
    by_provider: BTreeMap<AccountId, u32>,
    by_host: BTreeMap<HostId, u32>,
    by_region: BTreeMap<String, u32>,
}

impl Taken {
    fn of(ctx: &Ctx<'_>, order: &Order) -> Result<Self, Reject> {
        let mut taken = Self::default();
        for id in &order.leases {
            // One that has left the state was settled.
            let Some(lease) = ctx.find::<Lease>(id) else { continue };
            if lease.status.is_open() {
                let provider: Provider = ctx.load(&lease.provider())?;
                taken.add(lease.host, provider.profile.region);
            }
        }
        Ok(taken)
    }

    fn add(&mut self, host: HostId, region: String) {
        fn one<K: Ord>(counts: &mut BTreeMap<K, u32>, key: K) {
            let count = counts.entry(key).or_insert(0);
            *count = count.saturating_add(1);
        }
        one(&mut self.by_provider, host.provider);
        one(&mut self.by_host, host);
        one(&mut self.by_region, region);
    }

    fn allows(&self, spread: &Spread, host: &HostId, region: &str) -> bool {
        let below = |count: Option<&u32>, limit: u32| {
            limit == 0 || count.copied().unwrap_or_default() < limit
        };
        below(self.by_provider.get(&host.provider), spread.per_provider)
            && below(self.by_host.get(host), spread.per_host)
            && below(self.by_region.get(region), spread.per_region)
    }
}
