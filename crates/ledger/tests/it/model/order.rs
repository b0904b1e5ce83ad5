//! Orders: placed, changed, charged for waiting, ended, opened again.

use super::{
    Model, Money, Order, OrderEnd, OrderStage, Outcome, Phase, Refused, Sent, Service, Standing,
    Waits, money, must, offer::price_of, whole,
};
use muster_ledger::{
    Action,
    market::{CloseReason, Mode, OrderChange},
};
use muster_market::Together;
use muster_types::{AccountId, Hash, LeaseId, OrderId, TxId};
use num_traits::Zero as _;

/// An order is granted at most so many leases in all its life.
const MOST: usize = 10_000;

impl Model {
    pub(super) fn order_place(&mut self, tx: TxId, by: &Sent, action: &Action) -> Outcome {
        let Action::OrderPlace { escrow, job, terms, deadline, manifest, mode, reauction } = action
        else {
            return Err(Refused);
        };
        let who = by.signer;
        must(terms.check().is_ok())?;
        must(deadline.0 > self.now)?;
        let stage = match mode {
            Mode::Standing => OrderStage::Waiting(Waits::First),
            Mode::Bids { window_ms, bids_max, .. } => {
                must((1..=86_400_000).contains(&window_ms.0) && (1..=256).contains(bids_max))?;
                must(terms.together == Together::No)?;
                OrderStage::Bidding { until: self.steady + window_ms.0 }
            }
        };
        let found = self.escrow(escrow)?;
        must(found.owner == who && !found.closed && found.short_since.is_none())?;
        must(!found.balance.is_zero())?;
        if let Some(job) = job {
            let job = self.job(job)?;
            must(job.tenant == who && !job.closed && job.spec.escrow == *escrow)?;
        }
        self.orders.push(Order {
            id: OrderId::derive(&tx),
            tenant: who,
            escrow: *escrow,
            job: *job,
            terms: terms.clone(),
            manifest: *manifest,
            mode: *mode,
            reauction: *reauction,
            placed_at: self.now,
            deadline: deadline.0,
            fee: by.floor.clone() + &by.tip,
            stage,
            missing: terms.count,
            rent_until: self.steady,
            rent: (Money::zero(), Money::zero()),
            charged: Money::zero(),
            final_since: None,
        });
        Ok(())
    }

    pub(super) fn order_cancel(&mut self, who: AccountId, id: &OrderId) -> Outcome {
        let order = self.order(id)?;
        must(order.tenant == who && order.is_open())?;
        self.end_order(id, OrderEnd::Cancelled);
        Ok(())
    }

    pub(super) fn orders_due(&mut self) {
        let (now, steady) = (self.now, self.steady);
        let is_late = |order: &&Order| match order.stage {
            OrderStage::Waiting(_) | OrderStage::Bidding { .. } => order.deadline <= now,
            OrderStage::Picking { .. } | OrderStage::Ended(_) => false,
        };
        let late = self.orders.iter().filter(is_late);
        let mut late: Vec<_> = late.map(|order| (order.deadline, order.id)).collect();
        late.sort_unstable();
        for (_, id) in late {
            self.end_order(&id, OrderEnd::Expired);
        }
        let window = |order: &Order| match order.stage {
            OrderStage::Bidding { until } | OrderStage::Picking { until } if until <= steady => {
                Some((until, order.id))
            }
            _ => None,
        };
        let mut over: Vec<_> = self.orders.iter().filter_map(window).collect();
        over.sort_unstable();
        for (_, id) in over {
            self.window_ended(&id);
        }
    }

    /// Takes what an order's escrow can pay of `amount` for the validators; whether that is all.
    pub(super) fn charge_order(&mut self, id: &OrderId, amount: &Money) -> bool {
        let escrow = self.order(id).expect("it exists").escrow;
        let record = self.escrow_mut(&escrow);
        let pays = !record.closed && record.short_since.is_none();
        let paid = if pays { amount.min(&record.balance).clone() } else { Money::zero() };
        record.balance -= &paid;
        record.fees += &paid;
        self.order_mut(id).charged += &paid;
        self.pot += &paid;
        paid == *amount
    }

    /// Counts an order's rent up to now and asks for what of it is whole.
    pub(super) fn pay_rent(&mut self, id: &OrderId) -> bool {
        let (steady, rate) = (self.steady, money(self.params.rent_per_lease.amount_per_hour()));
        let order = self.order_mut(id);
        let waited = whole(steady - order.rent_until) / whole(3_600_000);
        order.rent_until = steady;
        order.rent.0 += rate * whole(order.missing.into()) * waited;
        let due = order.rent.0.floor() - &order.rent.1;
        order.rent.1 += &due;
        self.charge_order(id, &due)
    }

    /// Ends an open order.
    pub(super) fn end_order(&mut self, id: &OrderId, how: OrderEnd) {
        self.pay_rent(id);
        for host in self.bids_on(id) {
            self.return_bid(id, &host);
        }
        let order = self.order_mut(id);
        order.stage = OrderStage::Ended(how);
        order.missing = 0;
    }

    /// An order misses so many leases more; where it had ended it is open to standing offers.
    fn open_again(&mut self, id: &OrderId, count: u32) {
        let steady = self.steady;
        if self.order(id).expect("it exists").is_open() {
            self.pay_rent(id);
        } else {
            let order = self.order_mut(id);
            order.rent_until = steady;
            order.stage = OrderStage::Waiting(Waits::First);
        }
        self.order_mut(id).missing += count;
    }

    /// How many leases an order was ever to be granted.
    fn ever(&self, order: &Order) -> usize {
        self.leases_of(&order.id).len() + order.missing as usize
    }

    /// A provider broke a lease: its order is opened again for it, where it is to be.
    pub(super) fn reauction(&mut self, lease: &LeaseId) {
        let lease = self.lease(lease).expect("it exists");
        let (id, provider) = (lease.order, lease.host.provider);
        let order = self.order(&id).expect("a lease has one").clone();
        let was_open = match order.stage {
            OrderStage::Waiting(_) => true,
            OrderStage::Ended(OrderEnd::Filled | OrderEnd::Expired) => false,
            _ => return,
        };
        let closed = order.job.is_some_and(|job| self.job(&job).expect("it exists").closed);
        if !order.reauction || closed || self.ever(&order) >= MOST {
            return;
        }
        let until = self.now + self.params.reauction_ms.0;
        let changed = self.order_mut(&id);
        if !changed.terms.exclude.contains(&provider) {
            changed.terms.exclude.push(provider);
        }
        // Shrunk to nothing, its terms say nothing any more.
        if changed.terms.check().is_err() {
            *changed = order;
            return;
        }
        changed.deadline = if was_open { changed.deadline.max(until) } else { until };
        self.open_again(&id, 1);
    }

    pub(super) fn order_update(
        &mut self,
        who: AccountId,
        id: &OrderId,
        change: &OrderChange,
    ) -> Outcome {
        must(self.order(id)?.tenant == who)?;
        match change {
            OrderChange::Grow { count } => self.grow(id, *count),
            OrderChange::Shrink { leases } => self.shrink(id, leases),
            OrderChange::Count { count } => self.lower(id, *count),
            OrderChange::Extend { deadline } => self.extend(id, deadline.0),
            OrderChange::Manifest { hash } => self.renew(id, *hash),
        }
    }

    fn grow(&mut self, id: &OrderId, count: u32) -> Outcome {
        let order = self.order(id)?.clone();
        must(matches!(order.stage, OrderStage::Waiting(_) | OrderStage::Ended(OrderEnd::Filled)))?;
        must(order.deadline > self.now && count > 0)?;
        must(self.ever(&order) + count as usize <= MOST)?;
        let escrow = self.escrow(&order.escrow)?;
        must(!escrow.closed && escrow.short_since.is_none())?;
        if let Some(job) = &order.job {
            must(!self.job(job)?.closed)?;
        }
        self.order_mut(id).terms.count += count;
        self.open_again(id, count);
        Ok(())
    }

    fn shrink(&mut self, id: &OrderId, leases: &[LeaseId]) -> Outcome {
        must((1..=1024).contains(&leases.len()))?;
        for lease in leases {
            let record = self.lease(lease)?;
            must(record.order == *id && record.is_open())?;
            self.close(lease, CloseReason::TenantClosed);
        }
        let order = self.order_mut(id);
        for _ in leases {
            order.terms.count = order.terms.count.saturating_sub(1);
        }
        Ok(())
    }

    fn lower(&mut self, id: &OrderId, count: u32) -> Outcome {
        let order = self.order(id)?;
        must(matches!(order.stage, OrderStage::Waiting(_)))?;
        must(count > 0 && count < order.terms.count)?;
        let fewer = order.terms.count - count;
        must(fewer <= order.missing)?;
        self.pay_rent(id);
        let order = self.order_mut(id);
        order.terms.count = count;
        order.missing -= fewer;
        if order.missing == 0 {
            self.end_order(id, OrderEnd::Filled);
        } else if order.terms.all_or_nothing() {
            order.stage = OrderStage::Waiting(Waits::First);
        }
        Ok(())
    }

    /// An order that is open or was filled: each lease that it was granted, but for one, costs a
    /// unit to look at, and those that have not left are looked at.
    fn look_at_leases(&mut self, id: &OrderId) -> Result<Vec<LeaseId>, Refused> {
        let order = self.order(id)?;
        must(order.is_open() || order.stage == OrderStage::Ended(OrderEnd::Filled))?;
        let leases: Vec<LeaseId> = self.leases_of(id).iter().map(|lease| lease.id).collect();
        let others = whole(leases.len().saturating_sub(1) as u64);
        let fee = money(self.params.fee_per_unit) * others;
        must(self.charge_order(id, &fee))?;
        Ok(leases.into_iter().filter(|lease| self.lease(lease).is_ok()).collect())
    }

    fn extend(&mut self, id: &OrderId, deadline: u64) -> Outcome {
        let order = self.order(id)?;
        must(deadline > order.deadline && deadline > self.now)?;
        let request = order.terms.request.clone();
        for lease in self.look_at_leases(id)? {
            let lease = self.lease(&lease)?;
            let (host, active) = (lease.host, self.provider(&lease.host.provider)?.standing);
            let Some(host) = self.hosts.find(|one| one.id == host) else { continue };
            let lower = host.spec.interruptible.filter(|_| lease.reclaim_notice.is_some());
            let prices = [Some(host.spec.prices), lower.map(|offer| offer.prices)];
            let holds = prices
                .iter()
                .flatten()
                .any(|prices| price_of(prices, &request).is_some_and(|now| now <= lease.rate));
            let until = host.spec.offered_until.0;
            let (id, open) = (lease.id, lease.is_open());
            if open && holds && active == Standing::Active {
                let lease = self.lease_mut(&id);
                lease.guaranteed_until = lease.guaranteed_until.max(until);
            }
        }
        self.order_mut(id).deadline = deadline;
        Ok(())
    }

    fn renew(&mut self, id: &OrderId, hash: Hash) -> Outcome {
        must(self.order(id)?.manifest != hash)?;
        for lease in self.look_at_leases(id)? {
            self.new_manifest(&lease);
        }
        self.order_mut(id).manifest = hash;
        Ok(())
    }

    /// A new manifest for a lease.
    fn new_manifest(&mut self, id: &LeaseId) {
        let (steady, height) = (self.steady, self.height);
        let lease = self.lease_mut(id);
        let updated = |was| match was {
            Service::Plain | Service::Updating { .. } => Service::Updating { since: steady },
            Service::Reclaiming { .. } => was,
        };
        match &mut lease.phase {
            Phase::Granted => (lease.seen_steady, lease.seen_height) = (steady, height),
            Phase::Serving(was) | Phase::Stalled { was, .. } => *was = updated(*was),
            Phase::Closed { .. } => {}
        }
    }
}
