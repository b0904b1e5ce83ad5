//! What a host offers to an order, and what keeps it from serving it.

use super::{Host, Lease, Model, Money, Order, Phase, Provider, Standing, money, whole};
use muster_ledger::{job::Verification, market::CloseReason};
use muster_market::{GIB, Prices, Request, Terms, Verifies};
use muster_types::{AccountId, Amount, Rate};
use num_traits::{ToPrimitive as _, Zero as _};

/// A host that may serve an order, at a price.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) host: Host,
    pub(super) rate: Rate,
    pub(super) notice: Option<u64>,
    pub(super) score: Money,
    pub(super) pledge: Money,
    pub(super) operator: AccountId,
    pub(super) region: String,
    /// What it has free: thousandths of a thread, bytes, and of its provider's bond.
    pub(super) free: (u64, u64, Money),
}

impl Model {
    pub(super) fn provider_of(&self, host: &Host) -> &Provider {
        self.provider(&host.id.provider).expect("a host has one")
    }

    /// What a host charges for one lease of an order, and with which notice it may take it back.
    pub(super) fn standing_rate(&self, host: &Host, order: &Order) -> Option<(Rate, Option<u64>)> {
        let request = &order.terms.request;
        let (mut rate, mut notice) = (price_of(&host.spec.prices, request)?, None);
        if let Some(offer) = host.spec.interruptible.filter(|_| order.terms.interruptible) {
            let lower = price_of(&offer.prices, request)?;
            if lower < rate {
                (rate, notice) = (lower, Some(offer.notice_ms.0));
            }
        }
        Some((rate, notice))
    }

    /// A host, where nothing keeps it from serving one lease of an order at a price.
    pub(super) fn candidate(
        &self,
        host: &Host,
        order: &Order,
        (rate, notice): (Rate, Option<u64>),
    ) -> Option<Candidate> {
        let terms = &order.terms;
        let provider = self.provider_of(host);
        let premium = self.premium(provider);
        let lasts = host.spec.offered_until.0 >= self.now + terms.min_duration.0;
        let welcome = (terms.regions.is_empty()
            || terms.regions.contains(&provider.profile.region))
            && (terms.providers.is_empty() || terms.providers.contains(&provider.id))
            && !terms.exclude.contains(&provider.id)
            && (terms.max_risk_bps == 0 || premium <= whole(u64::from(terms.max_risk_bps)));
        let fits = provider.standing == Standing::Active
            && lasts
            && welcome
            && rate <= terms.max_rate
            && self.is_as_asked(host, order)
            && self.is_signed_for(provider, order);
        if !fits {
            return None;
        }
        let used = self.used(&host.id);
        let capacity = &host.spec.capacity;
        let candidate = Candidate {
            rate,
            notice,
            score: money(rate.amount_per_hour()) * weight(terms, premium),
            pledge: self.pledge(rate),
            operator: self.operator_of(&provider.id),
            region: provider.profile.region.clone(),
            free: (
                capacity.cpu_milli - used.cpu_milli,
                capacity.memory_bytes - used.memory_bytes,
                self.bond_free(&provider.id),
            ),
            host: host.clone(),
        };
        let request = &terms.request;
        let serves = request.cpu_milli <= candidate.free.0
            && request.memory_bytes <= candidate.free.1
            && request.disk_bytes <= capacity.disk_bytes
            && request.bandwidth_bps <= capacity.bandwidth_bps
            && request.gpu.count == 0
            && &candidate.pledge + money(terms.min_bond) <= candidate.free.2;
        serves.then_some(candidate)
    }

    /// Attributes, jurisdiction, and what the order's job needs.
    fn is_as_asked(&self, host: &Host, order: &Order) -> bool {
        let (terms, spec) = (&order.terms, &host.spec);
        let profile = &self.provider_of(host).profile;
        let mut attributes = profile.attributes.clone();
        attributes.extend(spec.attributes.clone());
        let asked = terms.attributes.iter().all(|(key, value)| attributes.get(key) == Some(value));
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
        let code = &profile.jurisdiction;
        let lawful = (terms.jurisdictions.is_empty() || terms.jurisdictions.contains(code))
            && (terms.exclude_jurisdictions.is_empty()
                || !(code.is_empty() || terms.exclude_jurisdictions.contains(code)));
        asked && able && lawful
    }

    /// Whether the auditors that an order names have signed what it asks for.
    fn is_signed_for(&self, provider: &Provider, order: &Order) -> bool {
        let terms = &order.terms;
        let has = |auditor: &AccountId| {
            self.signed.iter().any(|one| {
                one.provider == provider.id
                    && one.auditor == *auditor
                    && self.holds(one)
                    && terms
                        .attributes
                        .iter()
                        .all(|(key, value)| one.attributes.get(key) == Some(value))
            })
        };
        (terms.signed_by_any.is_empty() || terms.signed_by_any.iter().any(has))
            && terms.signed_by_all.iter().all(has)
    }

    fn pledge(&self, rate: Rate) -> Money {
        let hours = money(rate.amount_per_hour()) * whole(u64::from(self.params.pledge_hours));
        hours.max(money(self.params.pledge_min))
    }

    /// The risk premium of a provider, in hundredths of a per cent.
    pub(super) fn premium(&self, provider: &Provider) -> Money {
        let params = &self.params;
        let granted = self.all_leases().filter(|one| one.host.provider == provider.id).count();
        let leases = whole((granted as u64).max(self.params.risk_leases_min));
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
pub(super) fn price_of(prices: &Prices, request: &Request) -> Option<Rate> {
    let part = |price: Rate, units: u64, per: u64| {
        (money(price.amount_per_hour()) * whole(units) / whole(per)).ceil()
    };
    let rate = part(prices.cpu, request.cpu_milli, 1_000)
        + part(prices.memory_gib, request.memory_bytes, GIB)
        + part(prices.disk_gib, request.disk_bytes, GIB);
    Some(Rate::per_hour(Amount::from_nanos(rate.to_integer().to_u128()?)))
}

/// How an order weighs a risk premium: ten thousand, and so many hundredths of a per cent.
pub(super) fn weight(terms: &Terms, premium: Money) -> Money {
    let counts = whole(terms.risk_weight_bps.map_or(10_000, u64::from));
    whole(10_000) + (premium * counts / whole(10_000)).floor()
}
