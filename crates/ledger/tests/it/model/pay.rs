//! Streams: coverage, settlement of an escrow, shortfalls, release.

use super::{Model, Money, Phase, charge, ms};
use muster_types::{Asset, EscrowId, LeaseId};
use num_traits::Zero as _;

impl Model {
    /// Judges the time since a lease was last seen; gives it where it is covered.
    pub(super) fn cover(&mut self, id: &LeaseId) -> Option<u64> {
        let (steady, height) = (self.steady, self.height);
        let longest = ms(self.params.heartbeat_gap_max_ms);
        let lease = self.lease_mut(id);
        let gap = steady - lease.seen_steady;
        (lease.seen_steady, lease.seen_height) = (steady, height);
        if lease.phase != Phase::Active || gap > longest {
            return None;
        }
        lease.covered += gap;
        Some(gap)
    }

    /// What a lease would be due for `covered` milliseconds in all.
    fn due(&self, id: &LeaseId, covered: u64) -> Money {
        let lease = self.lease(id).expect("the lease exists");
        charge(lease.rate, covered).floor() - &lease.accrued - &lease.shortfall
    }

    /// What the other active streams could claim for their time up to `horizon`.
    fn claims(&self, escrow: &EscrowId, horizon: u64, but: &[LeaseId]) -> Money {
        let longest = ms(self.params.heartbeat_gap_max_ms);
        let mut total = Money::zero();
        for id in self.leases_on(escrow) {
            let lease = self.lease(&id).expect("listed");
            let alive = lease.phase == Phase::Active && self.steady - lease.seen_steady <= longest;
            if alive && !but.contains(&id) {
                let more = horizon.saturating_sub(lease.seen_steady);
                total += self.due(&id, lease.covered + more);
            }
        }
        total
    }

    /// Pays what has come due to `touched`: leases whose covered time just grew by so much.
    pub(super) fn settle(&mut self, id: &EscrowId, touched: &[(LeaseId, u64)]) {
        let escrow = self.escrow(id).expect("the escrow exists").clone();
        let horizon = escrow.short_since.unwrap_or(self.steady);
        let mut dues = Vec::new();
        for (lease_id, gap) in touched {
            let covered = self.lease(lease_id).expect("the lease exists").covered;
            let beyond = self.steady.saturating_sub(horizon).min(*gap);
            let due = self.due(lease_id, covered - beyond);
            let late = self.due(lease_id, covered) - &due;
            dues.push((*lease_id, due, late));
        }
        let total_due: Money = dues.iter().map(|(_, due, _)| due.clone()).sum();
        let but: Vec<LeaseId> = touched.iter().map(|(lease, _)| *lease).collect();
        let claims = self.claims(id, horizon, &but);
        let total = total_due + &claims;
        let available = escrow.balance;
        // While nothing is short, what others could claim matters only if it cannot all be paid.
        let in_full = total <= available;
        let mut short = false;
        for (lease_id, due, late) in dues {
            let payable = if in_full { due.clone() } else { (&due * &available / &total).floor() };
            let unpaid = due - &payable + late;
            short |= !unpaid.is_zero();
            self.lease_mut(&lease_id).shortfall += unpaid;
            self.earn(&lease_id, &payable);
        }
        let steady = self.steady;
        let escrow = self.escrow_mut(id);
        if short && escrow.short_since.is_none() {
            escrow.short_since = Some(steady);
        }
        let waits = if escrow.short_since.is_none() { in_full } else { claims.is_zero() };
        if waits {
            self.pay_shortfalls(id);
        }
    }

    /// Pays shortfalls out of what a short escrow has; without any left it is in order again.
    pub(super) fn pay_shortfalls(&mut self, id: &EscrowId) {
        let escrow = self.escrow(id).expect("the escrow exists").clone();
        let Some(horizon) = escrow.short_since else { return };
        let owed: Vec<(LeaseId, Money)> = self
            .leases_on(id)
            .into_iter()
            .filter(|lease| self.lease(lease).expect("listed").is_open())
            .map(|lease| (lease, self.lease(&lease).expect("listed").shortfall.clone()))
            .collect();
        let total: Money = owed.iter().map(|(_, owed)| owed.clone()).sum::<Money>()
            + self.claims(id, horizon, &[]);
        let available = escrow.balance;
        let in_full = total <= available;
        for (lease, owed) in owed {
            if owed.is_zero() {
                continue;
            }
            let payable = if in_full { owed } else { (owed * &available / &total).floor() };
            self.lease_mut(&lease).shortfall -= &payable;
            self.earn(&lease, &payable);
        }
        if in_full {
            self.escrow_mut(id).short_since = None;
        }
    }

    /// Moves money from an escrow's balance to a lease: paid at once, or withheld.
    fn earn(&mut self, id: &LeaseId, amount: &Money) {
        let lease = self.lease_mut(id);
        lease.accrued += amount;
        let withholds = lease.withholds;
        let escrow = self.order_of(self.lease(id).expect("the lease exists")).escrow;
        self.escrow_mut(&escrow).balance -= amount;
        if !withholds {
            self.pay_out(id, amount);
        }
    }

    /// Pays a provider.
    pub(super) fn pay_out(&mut self, id: &LeaseId, amount: &Money) {
        let lease = self.lease_mut(id);
        lease.paid += amount;
        let provider = lease.host.provider;
        let escrow = self.order_of(self.lease(id).expect("the lease exists")).escrow;
        self.escrow_mut(&escrow).paid += amount;
        self.give(provider, Asset::Usd, amount);
    }
}
