//! The life of a lease, its end, its settlement, and what faults cost.

use super::whole;
use super::{Model, Money, Outcome, Phase, Refused, Service, charge, is_fault, money, must, part};
use muster_ledger::{job::Verification, market::CloseReason};
use muster_types::{AccountId, Asset, EscrowId, LeaseId};
use num_traits::Zero as _;

impl Model {
    pub(super) fn lease_ready(&mut self, who: AccountId, id: &LeaseId) -> Outcome {
        let (steady, height) = (self.steady, self.height);
        let window = self.params.ready_window_ms.0;
        must(self.lease(id)?.host.provider == who)?;
        let lease = self.lease_mut(id);
        match lease.phase {
            Phase::Granted => {
                (lease.seen_steady, lease.seen_height) = (steady, height);
                if lease.job.is_none() {
                    lease.rejectable_until = steady + window;
                }
            }
            Phase::Serving(Service::Updating { .. }) => {}
            _ => return Err(Refused),
        }
        lease.phase = Phase::Serving(Service::Plain);
        Ok(())
    }

    pub(super) fn heartbeat(&mut self, who: AccountId, leases: &[LeaseId]) -> Outcome {
        must((1..=1024).contains(&leases.len()))?;
        let mut touched: Vec<(EscrowId, LeaseId, u64)> = Vec::new();
        for id in leases {
            let found = self.lease(id)?;
            must(found.host.provider == who)?;
            let (escrow, phase) = (found.escrow, found.phase);
            if matches!(phase, Phase::Granted | Phase::Closed { .. }) {
                continue;
            }
            match self.cover(id) {
                Some(0) => {}
                Some(gap) => touched.push((escrow, *id, gap)),
                None => self.provider_mut(&who).missed += 1,
            }
            if let Phase::Stalled { was, .. } = phase {
                self.lease_mut(id).phase = Phase::Serving(was);
            }
        }
        let mut escrows: Vec<EscrowId> = touched.iter().map(|(escrow, _, _)| *escrow).collect();
        escrows.sort_unstable();
        escrows.dedup();
        for escrow in escrows {
            let of = touched.iter().filter(|(on, _, _)| *on == escrow);
            let of: Vec<_> = of.map(|(_, lease, gap)| (*lease, *gap)).collect();
            self.settle(&escrow, &of);
        }
        Ok(())
    }

    pub(super) fn lease_close(&mut self, who: AccountId, id: &LeaseId) -> Outcome {
        let lease = self.lease(id)?;
        must(lease.is_open())?;
        let reason = if lease.tenant == who {
            CloseReason::TenantClosed
        } else {
            must(lease.host.provider == who)?;
            if self.now < lease.guaranteed_until {
                CloseReason::ProviderExit
            } else {
                CloseReason::OfferEnded
            }
        };
        self.close(id, reason);
        Ok(())
    }

    pub(super) fn ready_reject(&mut self, who: AccountId, id: &LeaseId) -> Outcome {
        let lease = self.lease(id)?;
        must(lease.tenant == who && lease.job.is_none())?;
        must(lease.is_serving() || matches!(lease.phase, Phase::Stalled { .. }))?;
        must(self.steady < lease.rejectable_until)?;
        self.close(id, CloseReason::ReadyRejected);
        Ok(())
    }

    pub(super) fn lease_decline(&mut self, who: AccountId, id: &LeaseId) -> Outcome {
        let lease = self.lease(id)?;
        must(lease.host.provider == who)?;
        must(matches!(lease.phase, Phase::Granted | Phase::Serving(Service::Updating { .. })))?;
        self.close(id, CloseReason::Undelivered);
        Ok(())
    }

    pub(super) fn lease_reclaim(&mut self, who: AccountId, id: &LeaseId) -> Outcome {
        let lease = self.lease(id)?;
        must(lease.host.provider == who)?;
        let notice = lease.reclaim_notice.ok_or(Refused)?;
        must(matches!(lease.phase, Phase::Serving(Service::Plain | Service::Updating { .. })))?;
        let until = self.steady + notice;
        self.lease_mut(id).phase = Phase::Serving(Service::Reclaiming { until });
        Ok(())
    }

    pub(super) fn result_accept(&mut self, who: AccountId, id: &LeaseId) -> Outcome {
        must(self.lease(id)?.tenant == who)?;
        must(self.is_ending(id) && !self.is_disputed(id))?;
        self.settle_for_good(id, false, None);
        Ok(())
    }

    /// Ends an open lease.
    pub(super) fn close(&mut self, id: &LeaseId, reason: CloseReason) {
        let lease = self.lease(id).expect("the lease exists");
        let (escrow, host, provider) = (lease.escrow, lease.host, lease.host.provider);
        let stalled = matches!(lease.phase, Phase::Stalled { .. });
        if reason != CloseReason::ReadyRejected {
            let mut gap = self.cover(id).unwrap_or(0);
            if reason == CloseReason::TenantClosed && !stalled {
                let least = self.params.min_charge_ms.0;
                let lease = self.lease_mut(id);
                let missing = least.saturating_sub(lease.covered);
                lease.covered += missing;
                gap += missing;
            }
            if gap > 0 {
                self.settle(&escrow, &[(*id, gap)]);
            }
        }
        let (steady, height, at) = (self.steady, self.height, self.now);
        let lease = self.lease_mut(id);
        (lease.seen_steady, lease.seen_height) = (steady, height);
        lease.phase = Phase::Closed { reason, at, settled: false };
        self.came_free(&host);
        if is_fault(reason) {
            self.broke_lease(&provider);
            self.reauction(id);
        }
        if reason == CloseReason::ProviderFraud {
            return;
        }
        self.settle_if_clear(id);
    }

    /// Settles a closed lease that nobody need wait for.
    pub(super) fn settle_if_clear(&mut self, id: &LeaseId) {
        let lease = self.lease(id).expect("the lease exists");
        let Phase::Closed { reason, settled: false, .. } = lease.phase else { return };
        let checked = lease.is_drawn() && lease.commitment.is_some();
        let nothing_held = lease.verification == Verification::None || lease.withheld().is_zero();
        if nothing_held && !checked && !self.is_disputed(id) {
            self.settle_for_good(id, reason == CloseReason::ReadyRejected, None);
        }
    }

    /// What of its withheld pay a closed lease is paid.
    fn payable(&self, id: &LeaseId) -> Money {
        let lease = self.lease(id).expect("the lease exists");
        let withheld = lease.withheld();
        if lease.fuel_per_s == 0 {
            return withheld;
        }
        let fuel = lease.commitment.as_ref().map_or(0, |made| made.fuel);
        let per_hour = whole(lease.fuel_per_s) * whole(3_600);
        let mut most = (money(lease.rate.amount_per_hour()) * whole(fuel) / per_hour).floor();
        if matches!(lease.phase, Phase::Closed { reason: CloseReason::TenantClosed, .. }) {
            most = most.max(charge(lease.rate, self.params.min_charge_ms.0).floor());
        }
        withheld.min((most - &lease.paid).max(Money::zero()))
    }

    /// Settles a closed lease: its pay is paid, or forfeited, a fault costs (fraud where somebody
    /// reported one), and what is left of its pledge is free.
    pub(super) fn settle_for_good(
        &mut self,
        id: &LeaseId,
        forfeit: bool,
        reporter: Option<AccountId>,
    ) {
        let due = if forfeit { Money::zero() } else { self.payable(id) };
        let lease = self.lease(id).expect("the lease exists");
        let forfeited = lease.withheld() - &due;
        let (provider, escrow) = (lease.host.provider, lease.escrow);
        if !due.is_zero() {
            self.pay_out(id, &due);
        }
        self.escrow_mut(&escrow).balance += &forfeited;
        match (reporter, self.lease_mut(id).phase) {
            (Some(reporter), _) => self.slash(id, CloseReason::ProviderFraud, Some(reporter)),
            (None, Phase::Closed { reason, .. }) => self.slash(id, reason, None),
            (None, _) => {}
        }
        if !self.lease_mut(id).pledge.is_zero() {
            self.improved(&provider);
        }
        let lease = self.lease_mut(id);
        lease.pledge = Money::zero();
        if let Phase::Closed { settled, reason, .. } = &mut lease.phase {
            *settled = true;
            if !forfeit && !is_fault(*reason) && !lease.paid.is_zero() {
                self.provider_mut(&provider).broken_in_a_row = 0;
            }
        }
        if !forfeited.is_zero() {
            self.pay_shortfalls(&escrow);
        }
        self.fed(&escrow);
        self.unbond_if_idle(&provider);
    }

    /// A fault costs a part of the lease's pledge: the tenant first, up to what the provider was
    /// paid on this lease; then the reporter; at least `burn_min` is burned, and all that is left.
    fn slash(&mut self, id: &LeaseId, reason: CloseReason, reporter: Option<AccountId>) {
        let params = &self.params;
        let cost = part(match reason {
            CloseReason::ProviderNotReady => params.slash_not_ready_bps,
            CloseReason::ProviderStalled => params.slash_stalled_bps,
            CloseReason::ProviderExit => params.slash_exit_bps,
            CloseReason::ProviderFraud => params.slash_fraud_bps,
            _ => 0,
        });
        let (burn_min, reward_max) = (part(params.burn_min_bps), part(params.reward_max_bps));
        let lease = self.lease(id).expect("the lease exists").clone();
        let amount = (&lease.pledge * cost).ceil();
        if amount.is_zero() {
            return;
        }
        let burned_first = (&amount * burn_min).ceil();
        let loss = &lease.paid - &lease.compensated;
        let left = &amount - burned_first;
        let compensated = loss.min(left.clone());
        let left = left - &compensated;
        let rewarded = match reporter {
            Some(_) => (left * reward_max).floor(),
            None => Money::zero(),
        };
        let stored = self.lease_mut(id);
        stored.pledge -= &amount;
        stored.compensated += &compensated;
        self.bond_change(lease.host.provider, |bond| {
            bond.amount -= &amount;
            bond.slashed += &amount;
        });
        self.give(lease.tenant, Asset::Usd, &compensated);
        if let Some(reporter) = reporter {
            self.give(reporter, Asset::Usd, &rewarded);
        }
        self.burned += amount - compensated - rewarded;
    }
}
