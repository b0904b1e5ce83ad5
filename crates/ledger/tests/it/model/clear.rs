//! Clearing by brute force: every order looks at every host, and everything is counted anew.

use super::{Host, Lease, Model, Money, Order, OrderEnd, Phase, Provider, Standing, money, whole};
use muster_ledger::{job::Verification, market::CloseReason};
use muster_market::{GIB, Prices, Request, Verifies};
use muster_types::{Amount, Hash, HostId, LeaseId, OrderId, Rate, Resources};
use num_traits::{ToPrimitive as _, Zero as _};

impl Model {
    /// Every waiting order, by fee, then by lot.
    pub(super) fn clear(&mut self) {
        let mut turn: Vec<_> = self
            .orders
            .iter()
            .filter(|order| order.ended.is_none())
            .map(|order| {
                let parts = [self.previous_beacon.as_bytes().as_slice(), order.id.as_bytes()];
                let lot = Hash::of("muster clearing v1", &parts);
                (std::cmp::Reverse(order.fee.clone()), lot, order.id)
            })
            .collect();
        turn.sort();
        for (_, _, id) in turn {
            self.clear_one(&id);
        }
    }

    fn clear_one(&mut self, id: &OrderId) {
        let order = self.order(id).expect("it exists").clone();
        let escrow = self.escrow(&order.escrow).expect("it exists");
        if escrow.closed || escrow.short_since.is_some() || escrow.balance.is_zero() {
            return;
        }
        let had = self.leases_of(id).len();
        let wanted = order.terms.count as usize - had;
        // (score, host, rate, notice), the best first.
        let mut ranked: Vec<_> = self
            .hosts
            .iter()
            .filter_map(|host| {
                let (rate, notice) = self.offer(host, &order)?;
                let provider = self.provider_of(host);
                let weight = whole(10_000) + self.premium(provider);
                Some((money(rate.amount_per_hour()) * weight, host.id, rate, notice))
            })
            .collect();
        ranked.sort();
        let before = self.leases.clone();
        'hosts: for (_, host, rate, notice) in ranked {
            loop {
                if self.leases_of(id).len() - had == wanted {
                    break 'hosts;
                }
                let host = self.hosts.find(|one| one.id == host).expect("listed").clone();
                if !self.has_room(&order, &host, rate) {
                    break;
                }
                self.grant(&order, &host, (rate, notice));
            }
        }
        let filled = self.leases_of(id).len() - had == wanted;
        if order.terms.gang && !filled {
            self.leases = before;
        }
        if filled {
            let order = self.orders.find_mut(|one| one.id == *id).expect("it exists");
            order.ended = Some(OrderEnd::Filled);
        }
    }

    fn provider_of(&self, host: &Host) -> &Provider {
        self.provider(&host.id.provider).expect("a host has one")
    }

    /// All leases that an order was ever granted.
    pub(super) fn leases_of(&self, order: &OrderId) -> Vec<&Lease> {
        let of = self.all_leases().filter(|lease| lease.order == *order);
        let mut of: Vec<_> = of.collect();
        of.sort_by_key(|lease| lease.number);
        of
    }

    /// What a host charges for one lease, and with which notice it may take it back, where nothing
    /// but room can keep it from serving it.
    fn offer(&self, host: &Host, order: &Order) -> Option<(Rate, Option<u64>)> {
        let terms = &order.terms;
        let provider = self.provider_of(host);
        let (spec, request) = (&host.spec, &terms.request);
        let stands = provider.standing == Standing::Active
            && host.offered_at < self.height
            && spec.offered_until.0 > self.now
            && spec.offered_until.0 >= self.now + terms.min_duration.0;
        let region = &provider.profile.region;
        let mut attributes = provider.profile.attributes.clone();
        attributes.extend(spec.attributes.clone());
        let asked = terms.attributes.iter().all(|(key, value)| attributes.get(key) == Some(value));
        let id = &provider.id;
        let welcome = (terms.regions.is_empty() || terms.regions.contains(region))
            && (terms.providers.is_empty() || terms.providers.contains(id))
            && !terms.exclude.contains(id)
            && (terms.max_risk_bps == 0
                || self.premium(provider) <= whole(u64::from(terms.max_risk_bps)));
        let job = order.job.map(|id| &self.job(&id).expect("an order's job exists").spec);
        let needs = job.and_then(|job| match job.verification {
            Verification::None => None,
            Verification::Replicate { .. } => Some(Verifies::Replicate),
            Verification::Audit { .. } => Some(Verifies::Audit),
            Verification::Dispute => Some(Verifies::Dispute),
        });
        let able = terms.verifies.iter().chain(&needs).all(|need| spec.verifies.contains(need))
            && (!(terms.metered || job.is_some_and(|job| job.metered))
                || spec.fuel_per_s >= terms.min_fuel_per_s.max(1));
        let code = &provider.profile.jurisdiction;
        let lawful = (terms.jurisdictions.is_empty() || terms.jurisdictions.contains(code))
            && (terms.exclude_jurisdictions.is_empty()
                || !(code.is_empty() || terms.exclude_jurisdictions.contains(code)));
        let (mut rate, mut notice) = (charge(&spec.prices, request)?, None);
        if let Some(offer) = spec.interruptible.as_ref().filter(|_| terms.interruptible) {
            let lower = charge(&offer.prices, request)?;
            if lower < rate {
                (rate, notice) = (lower, Some(offer.notice_ms.0));
            }
        }
        (stands && asked && welcome && able && lawful && rate <= terms.max_rate)
            .then_some((rate, notice))
    }

    fn pledge(&self, rate: Rate) -> Money {
        let hours = money(rate.amount_per_hour()) * whole(u64::from(self.params.pledge_hours));
        hours.max(money(self.params.pledge_min))
    }

    /// Whether a host can take one more lease of an order now.
    fn has_room(&self, order: &Order, host: &Host, rate: Rate) -> bool {
        let (spec, request) = (&host.spec, &order.terms.request);
        let used = self.used(&host.id);
        let fits = used.cpu_milli + request.cpu_milli <= spec.capacity.cpu_milli
            && used.memory_bytes + request.memory_bytes <= spec.capacity.memory_bytes
            && request.disk_bytes <= spec.capacity.disk_bytes
            && request.bandwidth_bps <= spec.capacity.bandwidth_bps
            && request.gpu.count == 0;
        let provider = self.provider_of(host);
        let free = self.bond_free(&provider.id);
        let backed = self.pledge(rate) + money(order.terms.min_bond) <= free;
        let spread = &order.terms.spread;
        let below = |limit: u32, same: &dyn Fn(&Lease) -> bool| {
            let open = self.leases_of(&order.id).into_iter().filter(|lease| lease.is_open());
            limit == 0 || open.filter(|lease| same(lease)).count() < limit as usize
        };
        let region = |lease: &Lease| {
            let provider = self.provider(&lease.host.provider);
            provider.expect("a lease has one").profile.region.clone()
        };
        let operator = |host: &HostId| self.operator_of(&host.provider);
        fits && backed
            && below(spread.per_host, &|lease| lease.host == host.id)
            && below(spread.per_provider, &|lease| lease.host.provider == host.id.provider)
            && below(spread.per_region, &|lease| region(lease) == provider.profile.region)
            && below(spread.per_operator, &|lease| operator(&lease.host) == operator(&host.id))
    }

    fn grant(&mut self, order: &Order, host: &Host, (rate, notice): (Rate, Option<u64>)) {
        let number = u32::try_from(self.leases_of(&order.id).len()).expect("few leases");
        let job = order.job.map(|id| self.job(&id).expect("an order's job exists"));
        let verification = job.map_or(Verification::None, |job| job.spec.verification);
        let request = &order.terms.request;
        self.leases.push(Lease {
            id: LeaseId::derive(&order.id, number),
            order: order.id,
            number,
            escrow: order.escrow,
            job: order.job,
            tenant: order.tenant,
            host: host.id,
            rate,
            pledge: self.pledge(rate),
            takes: Resources {
                cpu_milli: request.cpu_milli,
                memory_bytes: request.memory_bytes,
                disk_bytes: request.disk_bytes,
                bandwidth_bps: request.bandwidth_bps,
                gpus: Vec::new(),
            },
            verification,
            guaranteed_until: host.spec.offered_until.0,
            reclaim_notice: notice,
            fuel_per_s: job.filter(|job| job.spec.metered).map_or(0, |_| host.spec.fuel_per_s),
            phase: Phase::Granted,
            granted_at: self.now,
            seen_steady: self.steady,
            seen_height: self.height,
            rejectable_until: 0,
            covered: 0,
            accrued: Money::zero(),
            shortfall: Money::zero(),
            paid: Money::zero(),
            compensated: Money::zero(),
            commitment: None,
            final_since: None,
        });
    }

    /// The risk premium of a provider, in hundredths of a per cent.
    pub(super) fn premium(&self, provider: &Provider) -> Money {
        let params = &self.params;
        let granted = self.all_leases().filter(|one| one.host.provider == provider.id).count();
        let leases = whole((granted as u64).max(10));
        let refused = self.ended(
            |lease| lease.host.provider == provider.id,
            |reason| matches!(reason, CloseReason::ReadyRejected | CloseReason::Undelivered),
        );
        let unpaid = (money(params.newcomer_fees) - &provider.fees_paid).max(Money::zero());
        let newcomer =
            whole(u64::from(params.newcomer_premium_bps)) * unpaid / money(params.newcomer_fees);
        let each = |bps: u32, count: u64| (whole(u64::from(bps)) * whole(count) / &leases).floor();
        let total = newcomer.floor()
            + each(params.risk_broken_bps, provider.broken)
            + each(params.risk_missed_bps, provider.missed)
            + each(params.risk_refused_bps, refused)
            + whole(u64::from(params.risk_dispute_bps)) * whole(provider.lost);
        total.min(whole(u64::from(params.risk_max_bps)))
    }

    /// How many of some leases have ended so.
    pub(super) fn ended(
        &self,
        of: impl Fn(&Lease) -> bool,
        so: impl Fn(CloseReason) -> bool,
    ) -> u64 {
        let ended = |lease: &&Lease| match lease.phase {
            Phase::Closed { reason, .. } => so(reason),
            _ => false,
        };
        self.all_leases().filter(|lease| of(lease)).filter(ended).count() as u64
    }
}

/// What one lease costs at some prices: each part rounded up.
fn charge(prices: &Prices, request: &Request) -> Option<Rate> {
    let part = |price: Rate, units: u64, per: u64| {
        (money(price.amount_per_hour()) * whole(units) / whole(per)).ceil()
    };
    let rate = part(prices.cpu, request.cpu_milli, 1_000)
        + part(prices.memory_gib, request.memory_bytes, GIB)
        + part(prices.disk_gib, request.disk_bytes, GIB);
    Some(Rate::per_hour(Amount::from_nanos(rate.to_integer().to_u128()?)))
}
