//! `BidPlace`.

use super::{Bid, BidOutcome, Mode, Order, bid, grant};
use crate::{
    Event, Reject,
    ctx::{By, Ctx, up},
    job::Job,
    provider::{Host, Provider, ProviderStatus},
};
use muster_types::{Amount, Asset, HostId, OrderId, Rate};

pub(crate) fn run(
    ctx: &mut Ctx<'_>,
    by: &By,
    order_id: &OrderId,
    index: u32,
    rate: Rate,
    count: u32,
) -> Result<(), Reject> {
    let mut order: Order = ctx.load(order_id)?;
    let Mode::Bids { bids_max, .. } = order.mode else {
        return Err(Reject::wrong_state("order", "open to standing offers"));
    };
    let mut bidding = super::bid_withdraw::window(ctx, &order)?;
    let tick = ctx.env.params.price_tick.amount_per_hour().nanos();
    let on_tick = rate.amount_per_hour().nanos().checked_rem(tick) == Some(0);
    if rate > order.terms.max_rate || !on_tick {
        return Err(Reject::bad_field("rate"));
    }
    if count == 0 || count > order.missing {
        return Err(Reject::bad_field("count"));
    }
    let provider: Provider = ctx.load(&by.signer)?;
    if provider.status != ProviderStatus::Active {
        return Err(Reject::wrong_state("provider", provider.status.name()));
    }
    let host = HostId { provider: by.signer, index };
    ctx.load::<Host>(&host)?;
    let job = order.job.map(|job| ctx.load::<Job>(&job)).transpose()?;
    let terms = grant::asked(&order, job.as_ref());
    let fits = bid::view(ctx, &host)
        .is_some_and(|view| bid::honour(ctx, &terms, view, rate, count, Amount::ZERO).is_some());
    if !fits {
        return Err(Reject::wrong_state("host", "not what the order asks for"));
    }

    let key = (*order_id, host);
    let deposit = match ctx.find::<Bid>(&key) {
        Some(known) => known.deposit,
        None => {
            if bidding.bids >= u32::from(bids_max) {
                make_room(ctx, order_id, rate)?;
            } else {
                bidding.bids = up(bidding.bids)?;
                order.bidding = Some(bidding);
                ctx.store(order_id, &order);
            }
            let deposit = ctx.env.params.bid_deposit;
            ctx.debit(&by.signer, Asset::Usd, deposit)?;
            deposit
        }
    };
    ctx.store(&key, &Bid { rate, count, deposit, at: ctx.env.head.now });
    ctx.emit(Event::BidPlaced { order: *order_id, of: order.parties(), host, rate, count });
    Ok(())
}

/// Displaces the worst bid on an order that has all that it takes, where it is worse than `rate`.
fn make_room(ctx: &mut Ctx<'_>, order: &OrderId, rate: Rate) -> Result<(), Reject> {
    let worst = bid::standing(ctx, order).into_iter().max_by_key(|(host, bid)| (bid.rate, *host));
    match worst {
        Some((host, bid)) if rate < bid.rate => {
            bid::release(ctx, order, &host, BidOutcome::Displaced)
        }
        _ => Err(Reject::wrong_state("order", "full of bids that are no worse")),
    }
}
