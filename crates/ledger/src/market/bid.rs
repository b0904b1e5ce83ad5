//! Bids, and the end of a bid window.
//!
//! | state | action or event | next |
//! |---|---|---|
//! | none | `BidPlace`, fewer than `bids_max` stand | stands: `bid_deposit` is held |
//! | none | `BidPlace`, `bids_max` stand, its rate is below the worst's | stands; the worst is displaced |
//! | stands | `BidPlace` for the same host | stands, replaced |
//! | stands | `BidWithdraw` in the window | gone (withdrawn) |
//! | stands | a better one while `bids_max` stand | gone (displaced) |
//! | stands | its order is decided: it wins | gone (won): leases at its rate |
//! | stands | its order is decided: it would win and cannot be honoured | gone (broken): its deposit burns |
//! | stands | its order ends otherwise | gone (lost) |
//!
//! Every deposit but a broken bid's returns at once. The worst bid is the one with the highest
//! (rate, host).
//!
//! Bids are decided in an order: by (score, host id), where the score is
//! `rate x` [`Terms::weight`] as for offers; or as the tenant picked them. Each has its turn until
//! nothing is missing: it gets as many leases as are missing, as it bid for, and as the spread
//! limits let its host have; where these leave it none it is passed over. It must be able to honour all of these: an active provider, a host
//! that fits every constraint, capacity and bond for each. One that cannot is passed over and
//! broken. A gang that is not filled gets nothing, and those who could serve it get their deposits
//! back.

use super::{
    Mode, Order, OrderStatus, Pick,
    grant::{self, Books},
    offers, queue,
};
use crate::{
    Event, Reject,
    ctx::{Ctx, down, sum},
    keys::{self, Listing, Record, Table},
};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_market::{
    BidView, Held, HostView, Placement, ProviderView, Spread, Terms, Together, clear_bids,
};
use muster_types::{AccountId, Amount, Asset, HostId, Millis, OrderId, Rate};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// A bid of a host for an order.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Bid {
    /// What each lease would cost.
    pub rate: Rate,
    /// For how many leases at most.
    pub count: u32,
    /// What is held for it, `usd`.
    pub deposit: Amount,
    /// When it was placed.
    pub at: Millis,
}

/// How a bid ended.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum BidOutcome {
    /// It got leases.
    Won,
    /// Others were better, or the order ended.
    Lost,
    /// Taken back by its provider.
    Withdrawn,
    /// A better one took its place among the bids that stand.
    Displaced,
    /// It would have won and could not be honoured: its deposit was burned.
    Broken,
}

impl Record for Bid {
    type Key = (OrderId, HostId);
    const KIND: &'static str = "bid";
    const TABLE: Table<(OrderId, HostId), Self> = keys::BIDS;
    const LISTING: Listing = Listing::Never;
}

/// The bids on an order, by host.
pub(crate) fn standing(ctx: &Ctx<'_>, order: &OrderId) -> Vec<(HostId, Bid)> {
    let bids = keys::BIDS.scan(&ctx.scratch, order, None);
    bids.map(|((_, host), bid)| (host, bid)).collect()
}

/// Ends a bid: returns or burns its deposit. Who calls this counts it.
pub(crate) fn release(
    ctx: &mut Ctx<'_>,
    order: &OrderId,
    host: &HostId,
    outcome: BidOutcome,
) -> Result<(), Reject> {
    let bid: Bid = ctx.load(&(*order, *host))?;
    keys::remove::<Bid>(&mut ctx.scratch, &(*order, *host));
    if outcome == BidOutcome::Broken {
        ctx.supply(|supply| {
            supply.usd.burned = sum(supply.usd.burned, bid.deposit)?;
            Ok(())
        })?;
    } else {
        ctx.credit(&host.provider, Asset::Usd, bid.deposit)?;
    }
    let of = ctx.load::<Order>(order)?.parties();
    ctx.emit(Event::BidEnded { order: *order, of, host: *host, outcome });
    Ok(())
}

/// Ends every bid on an order.
pub(crate) fn release_all(
    ctx: &mut Ctx<'_>,
    order: &OrderId,
    outcome: BidOutcome,
) -> Result<(), Reject> {
    for (host, _) in standing(ctx, order) {
        release(ctx, order, &host, outcome)?;
    }
    Ok(())
}

/// The end of a window: of the bids', or of the tenant's to pick.
pub(crate) fn window_ended(ctx: &mut Ctx<'_>, id: &OrderId) -> Result<(), Reject> {
    let order: Order = ctx.load(id)?;
    let Mode::Bids { pick, .. } = order.mode else { return Ok(()) };
    let picking = order.status != OrderStatus::Open;
    let bids = standing(ctx, id);
    let mut books = Books::of(ctx, id, order)?;
    // Before anything is granted: what is granted now was waited for as well.
    queue::pay_rent(ctx, &mut books)?;
    match pick {
        _ if picking || bids.is_empty() => queue::end(ctx, &mut books, OrderStatus::Expired)?,
        Pick::Tenant => {
            let until = ctx.env.head.steady.after(ctx.env.params.pick_window_ms);
            books.order.status = OrderStatus::Picking { until };
            let of = books.order.parties();
            ctx.emit(Event::OrderPicking { order: *id, of, until });
        }
        Pick::Lowest if books.room() == 0 => {
            queue::end(ctx, &mut books, OrderStatus::OutOfFunds)?;
        }
        Pick::Lowest => {
            let mut ranked = Vec::with_capacity(bids.len());
            for (host, bid) in bids {
                ranked.push((score(ctx, &books.order.terms, &host, &bid), host, bid));
            }
            ranked.sort_unstable_by_key(|(score, host, _)| (*score, *host));
            let ranked = ranked.into_iter().map(|(_, host, bid)| (host, bid)).collect();
            let leases = decide(ctx, &mut books, ranked)?.leases;
            let status = if leases > 0 { OrderStatus::Leased } else { OrderStatus::Expired };
            queue::end(ctx, &mut books, status)?;
        }
    }
    books.store(ctx);
    Ok(())
}

/// What came of a decision.
pub(crate) struct Decision {
    /// How many leases were granted.
    pub(crate) leases: usize,
    /// How many bids could not be honoured.
    pub(crate) broken: usize,
}

/// Grants what `ranked`, in this order, win, and releases the winners and the broken.
pub(crate) fn decide(
    ctx: &mut Ctx<'_>,
    books: &mut Books,
    ranked: Vec<(HostId, Bid)>,
) -> Result<Decision, Reject> {
    let terms = grant::asked(&books.order, books.job.as_ref());
    let missing = books.order.missing;
    let mut left = missing.min(books.room());
    let short = left < missing;
    let mut held = grant::held(ctx, &books.order)?;
    let mut pledged: BTreeMap<AccountId, Amount> = BTreeMap::new();
    let (mut won, mut broken, mut placements) = (Vec::new(), Vec::new(), Vec::new());
    for (host, bid) in ranked {
        if left == 0 {
            break;
        }
        let Some(view) = view(ctx, &host) else {
            broken.push(host);
            continue;
        };
        let provider = Arc::clone(&view.provider);
        let count = bid.count.min(left).min(held.room(&terms.spread, &host, &provider));
        if count == 0 {
            continue;
        }
        let before = pledged.get(&host.provider).copied().unwrap_or_default();
        let Some(all) = honour(ctx, &terms, view, bid.rate, count, before) else {
            broken.push(host);
            continue;
        };
        let mut after = before;
        for placement in &all {
            held.add(&host, &provider);
            after = sum(after, placement.pledge)?;
        }
        pledged.insert(host.provider, after);
        left = left.saturating_sub(count);
        won.push(host);
        placements.extend(all);
    }
    if terms.gang && (short || left > 0) {
        won.clear();
        placements.clear();
    }
    let decision = Decision { leases: placements.len(), broken: broken.len() };
    books.grant(ctx, placements)?;
    let ended = won.into_iter().map(|host| (host, BidOutcome::Won));
    let broken = broken.into_iter().map(|host| (host, BidOutcome::Broken));
    for (host, outcome) in ended.chain(broken) {
        if let Some(bidding) = &mut books.order.bidding {
            bidding.bids = down(bidding.bids)?;
        }
        release(ctx, &books.id, &host, outcome)?;
    }
    Ok(decision)
}

/// A host as it is now; `None` where it is no more, or its provider takes no orders. A bid may rest
/// on an offer of this very block: it was made before, or is made now.
pub(crate) fn view(ctx: &Ctx<'_>, host: &HostId) -> Option<HostView> {
    offers::one(&ctx.scratch, &ctx.env.params, *host)
}

/// What `count` leases at `rate` would take of a host, of whose provider's free bond `pledged` is
/// gone already; `None` where it cannot serve them all.
pub(crate) fn honour(
    ctx: &Ctx<'_>,
    terms: &Terms,
    view: HostView,
    rate: Rate,
    count: u32,
    pledged: Amount,
) -> Option<Vec<Placement>> {
    let (rules, now) = (ctx.env.params.rules(), ctx.env.head.now);
    let bond_free = view.provider.bond_free.saturating_sub(pledged);
    let provider = Arc::new(ProviderView { bond_free, ..ProviderView::clone(&view.provider) });
    let host = Arc::new(HostView { provider, ..view });
    let (spread, together) = (Spread::default(), Together::No);
    let all = Terms { count, gang: true, spread, together, ..terms.clone() };
    let bid = BidView { host, rate, count };
    let placements = clear_bids(&[bid], &all, &rules, now, &Held::default()).placements;
    (!placements.is_empty()).then_some(placements)
}

/// The price raised by the risk premium, as for offers; of what is no more, the price.
fn score(ctx: &Ctx<'_>, terms: &Terms, host: &HostId, bid: &Bid) -> u128 {
    let risk_bps = view(ctx, host).map_or(0, |view| view.provider.risk_bps);
    bid.rate.amount_per_hour().nanos().saturating_mul(terms.weight(risk_bps))
}

#[cfg(test)]
mod tests;
