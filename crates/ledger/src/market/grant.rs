//! Granting: what an order won goes into the books. Everything that the leases of one order share
//! is loaded once and stored once.

use super::{Lease, LeaseStatus, Order, offers::same_lists};
use crate::{
    Event, Reject, bond,
    ctx::{Ctx, sum, up},
    escrow::{Escrow, EscrowStatus},
    job::{Job, Verification},
    keys, limits, neutrality,
    provider::{self, Host, HostSpec, Provider, ProviderStatus, risk},
};
use muster_market::{Held, Placement, ProviderView, Spread, Terms, Together, capacity};
use muster_types::{AccountId, Amount, HostId, LeaseId, Millis, OrderId, Rate, Resources};
use std::collections::BTreeMap;

/// What grants made of hosts and providers.
#[derive(Debug, Default)]
pub(crate) struct Granted {
    /// The hosts as they are now.
    pub(crate) hosts: Vec<(HostId, Host)>,
    /// What the market sees of their providers that a grant changes.
    pub(crate) providers: BTreeMap<AccountId, Standing>,
}

/// How a provider stands after a grant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    /// What nothing has pledged of its bond.
    pub(crate) bond_free: Amount,
    /// Its premium.
    pub(crate) risk_bps: u32,
    is_active: bool,
}

/// An order with what its money and its counters are in.
pub(crate) struct Books {
    pub(crate) id: OrderId,
    pub(crate) order: Order,
    pub(crate) escrow: Escrow,
    pub(crate) job: Option<Job>,
}

impl Books {
    pub(crate) fn of(ctx: &Ctx<'_>, id: &OrderId, order: Order) -> Result<Self, Reject> {
        let escrow: Escrow = ctx.load(&order.escrow)?;
        let job = order.job.map(|job| ctx.load::<Job>(&job)).transpose()?;
        Ok(Self { id: *id, order, escrow, job })
    }

    pub(crate) fn store(&self, ctx: &mut Ctx<'_>) {
        ctx.store(&self.id, &self.order);
        ctx.store(&self.order.escrow, &self.escrow);
        if let (Some(id), Some(job)) = (self.order.job, &self.job) {
            ctx.store(&id, job);
        }
    }

    /// How many leases the escrow can take and pay for: none without money.
    pub(crate) fn room(&self) -> u32 {
        if self.escrow.status != EscrowStatus::Open || self.escrow.balance.is_zero() {
            return 0;
        }
        limits::ESCROW_LEASES.saturating_sub(self.escrow.open_leases)
    }

    /// Grants placements, each on a host that has what it takes, and stores what they change but
    /// these books.
    pub(crate) fn grant(
        &mut self,
        ctx: &mut Ctx<'_>,
        placements: Vec<Placement>,
    ) -> Result<Granted, Reject> {
        let mut hosts: BTreeMap<HostId, (Host, Resources)> = BTreeMap::new();
        let mut pledges: BTreeMap<AccountId, (Amount, u32, Rate)> = BTreeMap::new();
        for placement in placements {
            let host_id = placement.host;
            let (host, before) = match hosts.remove(&host_id) {
                Some(known) => known,
                None => {
                    let host: Host = ctx.load(&host_id)?;
                    let before = host.used.clone();
                    (host, before)
                }
            };
            let (pledged, leases, rate) =
                pledges.get(&host_id.provider).copied().unwrap_or_default();
            let rate = rate.checked_add(placement.rate).ok_or(Reject::Overflow)?;
            let on_provider = (sum(pledged, placement.pledge)?, up(leases)?, rate);
            pledges.insert(host_id.provider, on_provider);
            let used = capacity::checked_add(&host.used, &placement.takes);
            let host = Host { used: used.ok_or(Reject::Overflow)?, ..host };
            self.lease(ctx, placement, &host.spec)?;
            hosts.insert(host_id, (host, before));
        }
        // That more is used of a host and pledged of a bond wakes nobody, and but for a host's
        // levels it is in no index: the records are written as they are.
        let mut granted = Granted::default();
        for (id, (pledged, leases, rate)) in pledges {
            let bond_free = bond::pledge(ctx, &id, pledged)?;
            let mut provider: Provider = ctx.load(&id)?;
            neutrality::opened(ctx, &id, &mut provider, rate)?;
            provider.open_leases =
                provider.open_leases.checked_add(leases).ok_or(Reject::Overflow)?;
            let conduct = &mut provider.conduct;
            conduct.leases = conduct.leases.saturating_add(u64::from(leases));
            let risk_bps = risk::premium_bps(conduct, &ctx.env.params);
            let is_active = provider.status == ProviderStatus::Active;
            granted.providers.insert(id, Standing { bond_free, risk_bps, is_active });
            keys::write(&mut ctx.scratch, &id, provider);
        }
        for (id, (host, before)) in hosts {
            keys::HOSTS.put(&mut ctx.scratch, &id, &host);
            let before = Host { used: before, ..host.clone() };
            if !same_lists(&before, &host) {
                let is_active =
                    granted.providers.get(&id.provider).is_some_and(|standing| standing.is_active);
                if is_active && host.spec.offered_until > ctx.env.head.now {
                    keys::relist_listed(&mut ctx.scratch, &id, &before, &host);
                } else {
                    keys::relist(&mut ctx.scratch, &id, Some(&before), Some(&host));
                }
            }
            granted.hosts.push((id, host));
        }
        Ok(granted)
    }

    fn lease(
        &mut self,
        ctx: &mut Ctx<'_>,
        placement: Placement,
        offer: &HostSpec,
    ) -> Result<(), Reject> {
        let Placement { host, takes, rate, risk_bps: _, pledge, interruptible, bid: _ } = placement;
        let Self { id: order_id, order, escrow, job } = self;
        let index = u32::try_from(order.leases.len()).map_err(|_| Reject::Overflow)?;
        let id = LeaseId::derive(order_id, index);
        order.leases.push(id);
        order.open_leases = up(order.open_leases)?;
        order.missing = order.missing.checked_sub(1).ok_or(Reject::Overflow)?;
        escrow.open_leases = up(escrow.open_leases)?;
        let open_rate = sum(escrow.open_rate.amount_per_hour(), rate.amount_per_hour())?;
        escrow.open_rate = Rate::per_hour(open_rate);
        let (mut verification, mut fuel_per_s) = (Verification::None, 0);
        if let Some(job) = job {
            job.open_leases = up(job.open_leases)?;
            verification = job.spec.verification;
            if job.spec.metered {
                fuel_per_s = offer.fuel_per_s;
            }
        }
        let head = &ctx.env.head;
        let lease = Lease {
            order: *order_id,
            escrow: order.escrow,
            job: order.job,
            tenant: order.tenant,
            host,
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
            guaranteed_until: offer.offered_until,
            reclaim_notice: interruptible,
            fuel_per_s,
            rejectable_until: Millis::ZERO,
        };
        keys::create(&mut ctx.scratch, &id, lease);
        ctx.emit(Event::LeaseGranted {
            lease: id,
            order: *order_id,
            tenant: order.tenant,
            escrow: order.escrow,
            job: order.job,
            host,
            rate,
            pledge,
        });
        Ok(())
    }
}

/// What is asked of hosts: an order's terms, and what its job needs.
pub(crate) fn asked(order: &Order, job: Option<&Job>) -> Terms {
    let mut terms = order.terms.clone();
    if let Some(job) = job {
        terms.verifies.extend(job.spec.verification.capability());
        terms.metered |= job.spec.metered;
    }
    terms
}

/// Where an order's open leases are, as far as its terms ask.
pub(crate) fn held(ctx: &Ctx<'_>, order: &Order) -> Result<Held, Reject> {
    let mut held = Held::default();
    if order.terms.spread == Spread::default() && order.terms.together == Together::No {
        return Ok(held);
    }
    for id in &order.leases {
        // One that has left the state is settled.
        let Some(lease) = ctx.find::<Lease>(id) else { continue };
        if lease.status.is_open() {
            let id = lease.provider();
            let region = ctx.load::<Provider>(&id)?.profile.region;
            let operator = provider::operator_of(&ctx.scratch, &id);
            held.add(&lease.host, &ProviderView { operator, region, ..ProviderView::default() });
        }
    }
    Ok(held)
}
