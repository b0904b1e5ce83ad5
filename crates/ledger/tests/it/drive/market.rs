//! Bids, and orders that change.

use super::Run;
use crate::model::{Order, OrderStage};
use muster_ledger::{Action, market::OrderChange};
use muster_types::{AccountId, Amount, Hash, HostId, LeaseId, Millis, Rate};

impl Run {
    pub(super) fn as_trader(&mut self) -> Option<(AccountId, Action)> {
        match self.below(14) {
            0..=6 => self.bid(),
            7 if self.chance(40) => {
                let bids: Vec<_> =
                    self.model.bids.iter().map(|one| (one.order, one.host)).collect();
                let (order, host) = self.pick(&bids)?;
                Some((host.provider, Action::BidWithdraw { order, host: host.index }))
            }
            7..=9 => self.accept(),
            _ => {
                let orders: Vec<Order> = self.model.orders.iter().cloned().collect();
                // The young ones, mostly.
                let young = orders.len().saturating_sub(12);
                let young = self.pick(orders.get(young..)?);
                let order = if self.chance(70) { young } else { self.pick(&orders) }?;
                let change = self.change(&order);
                Some((order.tenant, Action::OrderUpdate { order: order.id, change }))
            }
        }
    }

    fn bid(&mut self) -> Option<(AccountId, Action)> {
        let all = self.chance(8);
        let open = |one: &&Order| match one.stage {
            OrderStage::Bidding { .. } => true,
            _ => all,
        };
        let open: Vec<Order> = self.model.orders.iter().filter(open).cloned().collect();
        let order = self.pick(&open)?;
        let most = order.terms.max_rate.amount_per_hour().nanos() / 1_000;
        let most = u64::try_from(most).unwrap();
        let rate = match self.below(12) {
            0 => most + 1,
            1 => most,
            _ => self.below(most),
        };
        let odd = u128::from(self.chance(2));
        let rate = Rate::per_hour(Amount::from_nanos(u128::from(rate) * 1_000 + odd));
        let mut count = u32::try_from(self.below(u64::from(order.missing) + 2)).unwrap();
        // Most of them by a host that could serve one lease.
        let hosts: Vec<HostId> = self.model.hosts.iter().map(|one| one.id).collect();
        let may = |host: &HostId, count| self.model.could_serve(&order, host, rate, count);
        let able: Vec<HostId> = hosts.iter().filter(|host| may(host, 1)).copied().collect();
        let host = if self.chance(90) { self.pick(&able) } else { self.pick(&hosts) }?;
        if count != 1 && self.chance(90) {
            let good = (1..=order.missing).contains(&count);
            let good = good && self.model.could_serve(&order, &host, rate, count);
            count = if good { count } else { 1 };
        }
        Some((host.provider, Action::BidPlace { order: order.id, host: host.index, rate, count }))
    }

    fn accept(&mut self) -> Option<(AccountId, Action)> {
        let picking = |one: &&Order| matches!(one.stage, OrderStage::Picking { .. });
        let picking: Vec<Order> = self.model.orders.iter().filter(picking).cloned().collect();
        let order = self.pick(&picking)?;
        let of = self.model.bids.iter().filter(|one| one.order == order.id);
        let bids: Vec<HostId> = of.map(|one| one.host).collect();
        let mut hosts: Vec<HostId> = (0..=self.below(3)).filter_map(|_| self.pick(&bids)).collect();
        if self.chance(90) {
            hosts.sort_unstable();
            hosts.dedup();
        }
        Some((order.tenant, Action::BidAccept { order: order.id, hosts }))
    }

    fn change(&mut self, order: &Order) -> OrderChange {
        let few = u32::try_from(self.below(4)).unwrap();
        match self.below(10) {
            0 | 1 => OrderChange::Grow { count: few },
            2 if self.chance(5) => OrderChange::Grow { count: u32::MAX - few },
            2 | 3 => {
                let of = self.model.leases.iter().filter(|one| one.order == order.id);
                let of: Vec<LeaseId> = of.filter(|one| one.is_open()).map(|one| one.id).collect();
                let mut leases: Vec<LeaseId> =
                    (0..=self.below(2)).filter_map(|_| self.pick(&of)).collect();
                if self.chance(80) {
                    leases.dedup();
                }
                if self.chance(3) {
                    leases.extend(self.model.leases.iter().next().map(|one| one.id));
                }
                OrderChange::Shrink { leases }
            }
            4 => OrderChange::Count { count: order.terms.count.saturating_sub(few) },
            5 | 6 => {
                let deadline = order.deadline.max(self.block_now) + self.below(12_000);
                OrderChange::Extend { deadline: Millis(deadline) }
            }
            _ => {
                let hash = Hash([u8::try_from(self.below(8)).unwrap(); 32]);
                OrderChange::Manifest { hash }
            }
        }
    }
}
