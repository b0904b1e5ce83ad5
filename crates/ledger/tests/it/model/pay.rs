//! Streams: coverage, settlement of an escrow, shortfalls, release.

use super::{Model, Money, Phase, Verdict, charge};
use muster_ledger::job::Verification;
use muster_types::{Asset, EscrowId, LeaseId};
use num_traits::Zero as _;

impl Model {
    /// Judges the time since a lease was last seen; gives it where it is covered.
    pub(super) fn cover(&mut self, id: &LeaseId) -> Option<u64> {
        let (steady, height) = (self.steady, self.height);
        let longest = self.params.heartbeat_gap_max_ms.0;
        let lease = self.lease_mut(id);
        let gap = steady - lease.seen_steady;
        (lease.seen_steady, lease.seen_height) = (steady, height);
        if !lease.is_serving() || gap > longest {
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

    /// What the other serving streams could claim for their time up to `horizon`.
    fn claims(&self, escrow: &EscrowId, horizon: u64, but: &[LeaseId]) -> Money {
        let longest = self.params.heartbeat_gap_max_ms.0;
        let mut total = Money::zero();
        for lease in self.leases_on(escrow) {
            let alive = lease.is_serving() && self.steady - lease.seen_steady <= longest;
            if alive && !but.contains(&lease.id) {
                let more = horizon.saturating_sub(lease.seen_steady);
                total += self.due(&lease.id, lease.covered + more);
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
        let total_due: Money = dues.iter().map(|(_, due, _)| due).sum();
        let but: Vec<LeaseId> = touched.iter().map(|(lease, _)| *lease).collect();
        let claims = self.claims(id, horizon, &but);
        let total = total_due + &claims;
        let available = escrow.balance;
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
        if claims.is_zero() {
            self.pay_shortfalls(id);
        }
    }

    /// Pays shortfalls out of what a short escrow has; without any left it is in order again.
    pub(super) fn pay_shortfalls(&mut self, id: &EscrowId) {
        let escrow = self.escrow(id).expect("the escrow exists").clone();
        let Some(horizon) = escrow.short_since else { return };
        let open = self.leases_on(id).into_iter().filter(|lease| lease.is_open());
        let owed: Vec<(LeaseId, Money)> =
            open.map(|lease| (lease.id, lease.shortfall.clone())).collect();
        let total =
            owed.iter().map(|(_, owed)| owed).sum::<Money>() + self.claims(id, horizon, &[]);
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
            self.fed(id);
        }
    }

    /// Moves money from an escrow's balance to a lease, where it is withheld until it vests.
    fn earn(&mut self, id: &LeaseId, amount: &Money) {
        let steady = self.steady;
        let lease = self.lease_mut(id);
        lease.accrued += amount;
        let vests = lease.verification == Verification::None && steady >= lease.rejectable_until;
        let (escrow, withheld) = (lease.escrow, lease.withheld());
        self.escrow_mut(&escrow).balance -= amount;
        if vests {
            self.pay_out(id, &withheld);
        }
    }

    /// Pays a provider, less the fee on its operator's share.
    pub(super) fn pay_out(&mut self, id: &LeaseId, amount: &Money) {
        let lease = self.lease_mut(id);
        lease.paid += amount;
        let provider = lease.host.provider;
        let fee = self.share_fee(&provider, amount);
        self.give(provider, Asset::Usd, &(amount - &fee));
        self.pot += fee;
    }

    /// Whether an open dispute names a lease, or an open challenge is about it.
    pub(super) fn is_disputed(&self, id: &LeaseId) -> bool {
        if self.challenges.find(|one| one.lease == *id && one.is_open()).is_some() {
            return true;
        }
        let open = self.disputes.iter().filter(|dispute| dispute.verdict == Verdict::None);
        open.flat_map(|dispute| &dispute.claims).any(|(lease, _)| lease == id)
    }

    /// Whether a lease is closed and its pay and pledge are not dealt with.
    pub(super) fn is_ending(&self, id: &LeaseId) -> bool {
        matches!(
            self.lease(id).expect("the lease exists").phase,
            Phase::Closed { settled: false, .. }
        )
    }
}
