//! The end of a lease, its settlement, faults, and what time makes due at a block's end.

use super::{Model, Money, OrderEnd, Phase, Standing, money, ms, whole};
use muster_ledger::market::CloseReason;
use muster_types::{AccountId, Asset, LeaseId};
use num_traits::Zero as _;

impl Model {
    /// Ends an open lease.
    pub(super) fn close(&mut self, id: &LeaseId, reason: CloseReason) {
        let escrow = self.order_of(self.lease(id).expect("the lease exists")).escrow;
        if let Some(gap) = self.cover(id) {
            self.settle(&escrow, &[(*id, gap)]);
        }
        let (steady, height) = (self.steady, self.height);
        let lease = self.lease_mut(id);
        (lease.seen_steady, lease.seen_height) = (steady, height);
        lease.phase = Phase::Closed { reason, settled: false };
        let provider = lease.host.provider;
        let fault = match reason {
            CloseReason::TenantClosed | CloseReason::OutOfFunds => false,
            CloseReason::ProviderNotReady
            | CloseReason::ProviderStalled
            | CloseReason::ProviderExit
            | CloseReason::ProviderFraud => true,
        };
        if fault {
            self.provider_mut(&provider).expect("a lease has a provider").broken += 1;
        }
        if reason == CloseReason::ProviderFraud {
            return;
        }
        if fault {
            self.slash(id, reason, None);
        }
        self.settle_if_clear(id);
    }

    /// Nothing withheld and nothing disputed: settled at once.
    pub(super) fn settle_if_clear(&mut self, id: &LeaseId) {
        let lease = self.lease(id).expect("the lease exists");
        let done = !lease.is_open() && !lease.is_settled() && lease.withheld().is_zero();
        if done && !self.is_disputed(id) {
            self.settle_for_good(id, false);
        }
    }

    pub(super) fn settle_for_good(&mut self, id: &LeaseId, forfeit: bool) {
        let lease = self.lease(id).expect("the lease exists");
        let withheld = lease.withheld();
        let provider = lease.host.provider;
        let escrow = self.order_of(lease).escrow;
        if forfeit {
            self.escrow_mut(&escrow).balance += &withheld;
        } else if !withheld.is_zero() {
            self.pay_out(id, &withheld);
        }
        let lease = self.lease_mut(id);
        lease.pledge = Money::zero();
        if let Phase::Closed { settled, .. } = &mut lease.phase {
            *settled = true;
        }
        if forfeit && !withheld.is_zero() {
            self.pay_shortfalls(&escrow);
        }
        self.unbond_if_idle(&provider);
    }

    /// A fault costs a part of the lease's pledge: the tenant first, up to what it paid on this
    /// lease; then the reporter; at least `burn_min` is burned, and all that is left.
    pub(super) fn slash(&mut self, id: &LeaseId, reason: CloseReason, reporter: Option<AccountId>) {
        let part = |bps: u32| whole(u64::from(bps)) / whole(10_000);
        let params = &self.params;
        let cost = part(match reason {
            CloseReason::TenantClosed | CloseReason::OutOfFunds => 0,
            CloseReason::ProviderNotReady => params.slash_not_ready_bps,
            CloseReason::ProviderStalled => params.slash_stalled_bps,
            CloseReason::ProviderExit => params.slash_exit_bps,
            CloseReason::ProviderFraud => params.slash_fraud_bps,
        });
        let (burn_min, reward_max) = (part(params.burn_min_bps), part(params.reward_max_bps));
        let least = money(params.provider_bond_min);
        let lease = self.lease(id).expect("the lease exists").clone();
        let amount = (&lease.pledge * cost).ceil();
        if amount.is_zero() {
            return;
        }
        let burned_first = (&amount * burn_min).ceil();
        let loss = &lease.accrued - &lease.compensated;
        let left = &amount - burned_first;
        let compensated = if loss < left { loss } else { left.clone() };
        let left = left - &compensated;
        let rewarded = match reporter {
            Some(_) => (left * reward_max).floor(),
            None => Money::zero(),
        };
        let tenant = self.order_of(&lease).tenant;
        let stored = self.lease_mut(id);
        stored.pledge -= &amount;
        stored.compensated += &compensated;
        let provider = self.provider_mut(&lease.host.provider).expect("a lease has a provider");
        provider.bond -= &amount;
        provider.slashed += &amount;
        if provider.standing == Standing::Active && provider.bond < least {
            provider.standing = Standing::Registered;
        }
        self.give(tenant, Asset::Usd, &compensated);
        if let Some(reporter) = reporter {
            self.give(reporter, Asset::Usd, &rewarded);
        }
        self.burned += amount - compensated - rewarded;
    }

    /// The block's end.
    pub(crate) fn end(&mut self) {
        let (now, steady) = (self.now, self.steady);
        for order in &mut self.orders {
            if order.ended.is_none() && order.deadline <= now {
                order.ended = Some(OrderEnd::Expired);
            }
        }
        let late = |lease: &super::Lease, limit| steady - lease.seen_steady > limit;
        let ready = ms(self.params.ready_timeout_ms);
        for id in self.by_time(|lease| lease.phase == Phase::Granted && late(lease, ready)) {
            self.close(&id, CloseReason::ProviderNotReady);
        }
        let patience = ms(self.params.stall_close_ms);
        let gone = self.by_time(|lease| match lease.phase {
            Phase::Stalled { since } => steady - since >= patience,
            _ => false,
        });
        for id in gone {
            self.close(&id, CloseReason::ProviderStalled);
        }
        let (gap, blocks) = (ms(self.params.stall_gap_ms), self.params.stall_gap_blocks);
        let height = self.height;
        for lease in &mut self.leases {
            let missed = height - lease.seen_height;
            if lease.phase == Phase::Active && late(lease, gap) && missed >= blocks {
                lease.phase = Phase::Stalled { since: steady };
            }
        }
        let grace = ms(self.params.overdrawn_grace_ms);
        let mut dry: Vec<(u64, muster_types::EscrowId)> = Vec::new();
        for escrow in &self.escrows {
            let unsettled =
                self.leases_on(&escrow.id).iter().any(|id| !self.lease(id).unwrap().is_settled());
            if let Some(since) = escrow.short_since
                && unsettled
                && steady - since >= grace
            {
                dry.push((since, escrow.id));
            }
        }
        dry.sort_unstable();
        for (_, escrow) in dry {
            let mut leases = self.leases_on(&escrow);
            leases.sort_unstable();
            for id in leases {
                if self.lease(&id).expect("listed").is_open() {
                    self.close(&id, CloseReason::OutOfFunds);
                }
            }
        }
        self.disputes_due();
        let window = ms(self.params.challenge_window_ms);
        let over = self.by_time(|lease| {
            !lease.is_open() && !lease.is_settled() && steady - lease.seen_steady >= window
        });
        for id in over {
            if !self.is_disputed(&id) {
                self.settle_for_good(&id, false);
            }
        }
        self.clear();
        let pot = std::mem::take(&mut self.pot);
        self.give(self.proposer, Asset::Usd, &pot);
    }

    /// The leases with a property, who was seen longest ago first, then by id.
    fn by_time(&self, property: impl Fn(&super::Lease) -> bool) -> Vec<LeaseId> {
        let mut found: Vec<_> = self
            .leases
            .iter()
            .filter(|lease| property(lease))
            .map(|lease| match lease.phase {
                Phase::Stalled { since } => (since, lease.id),
                _ => (lease.seen_steady, lease.id),
            })
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, id)| id).collect()
    }
}
