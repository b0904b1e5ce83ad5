//! `HostSet`: makes an offer, or changes it. An offer is bound for `offer_lifetime_min_ms`: until
//! then it may only become better ([`HostSpec::keeps`]), and each change binds it anew. So nobody
//! shows a price, sees an order, and has never meant it.

use super::{Host, HostSpec, Provider, ProviderStatus, set::check_attributes};
use crate::{
    Event, Params, Reject,
    bond::Bond,
    ctx::{By, Ctx},
    keys, limits,
};
use muster_market::{Prices, capacity};
use muster_types::{HostId, Rate, Resources};

pub(crate) fn run(ctx: &mut Ctx<'_>, by: &By, index: u32, spec: &HostSpec) -> Result<(), Reject> {
    let provider: Provider = ctx.load(&by.signer)?;
    match provider.status {
        ProviderStatus::Registered => {
            let needed = ctx.env.params.provider_bond_min;
            let available = ctx.find::<Bond>(&by.signer).unwrap_or_default().amount;
            return Err(Reject::InsufficientBond { needed, available });
        }
        ProviderStatus::Active | ProviderStatus::Draining | ProviderStatus::Jailed { .. } => {}
        status @ (ProviderStatus::Unbonding { .. } | ProviderStatus::Gone) => {
            return Err(Reject::wrong_state("provider", status.name()));
        }
    }
    check_capacity(&spec.capacity)?;
    check_prices(&spec.prices, &ctx.env.params)?;
    check_attributes(&spec.attributes, "spec.attributes")?;
    if let Some(offer) = &spec.interruptible {
        let in_bounds = offer.notice_ms <= limits::NOTICE_MAX;
        if !in_bounds || check_prices(&offer.prices, &ctx.env.params).is_err() {
            return Err(Reject::bad_field("spec.interruptible"));
        }
    }
    if spec.fuel_per_s > limits::UNITS {
        return Err(Reject::bad_field("spec.fuel_per_s"));
    }
    let (head, params) = (&ctx.env.head, &ctx.env.params);
    if spec.offered_until < head.now.after(params.offer_lifetime_min_ms) {
        return Err(Reject::bad_field("spec.offered_until"));
    }
    let id = HostId { provider: by.signer, index };
    let known: Option<Host> = ctx.find(&id);
    if known.is_none()
        && keys::HOSTS.scan(&ctx.scratch, &by.signer, None).take(limits::HOSTS).count()
            >= limits::HOSTS
    {
        return Err(Reject::wrong_state("provider", "offering too many hosts"));
    }
    let bound = known.as_ref().filter(|known| head.now < known.bound_until);
    if let Some(bound) = bound.filter(|bound| !spec.keeps(&bound.spec)) {
        return Err(Reject::TooEarly { from: bound.bound_until, now: head.now });
    }
    let used = known.map(|host| host.used).unwrap_or_default();
    if capacity::checked_sub(&spec.capacity, &used).is_none() {
        return Err(Reject::wrong_state("host", "leased beyond that capacity"));
    }
    let bound_until = head.now.after(params.offer_lifetime_min_ms);
    let host = Host { spec: spec.clone(), used, offered_at_height: head.height, bound_until };
    ctx.store(&id, &host);
    ctx.emit(Event::HostOffered { host: id });
    Ok(())
}

fn check_capacity(capacity: &Resources) -> Result<(), Reject> {
    let refuse = || Err(Reject::bad_field("spec.capacity"));
    let units =
        [capacity.cpu_milli, capacity.memory_bytes, capacity.disk_bytes, capacity.bandwidth_bps];
    let gpus = &capacity.gpus;
    if units.iter().any(|units| *units > limits::UNITS) || gpus.len() > limits::GPU_KINDS {
        return refuse();
    }
    let name = |text: &String| {
        text.len() <= limits::NAME_BYTES && !text.chars().any(|letter| letter.is_ascii_uppercase())
    };
    let mut kinds = Vec::new();
    for gpu in gpus {
        let kind = (&gpu.vendor, &gpu.model, gpu.memory_bytes, &gpu.interface);
        let named = name(&gpu.vendor) && name(&gpu.model) && name(&gpu.interface);
        if !named || gpu.count == 0 || gpu.memory_bytes > limits::UNITS || kinds.contains(&kind) {
            return refuse();
        }
        kinds.push(kind);
    }
    Ok(())
}

fn check_prices(prices: &Prices, params: &Params) -> Result<(), Reject> {
    let tick = params.price_tick.amount_per_hour().nanos();
    let fits = |price: Rate| {
        let nanos = price.amount_per_hour().nanos();
        price <= limits::UNIT_PRICE && nanos.checked_rem(tick) == Some(0)
    };
    let all = [prices.cpu, prices.memory_gib, prices.disk_gib, prices.gpu];
    if all.into_iter().all(fits) { Ok(()) } else { Err(Reject::bad_field("spec.prices")) }
}
