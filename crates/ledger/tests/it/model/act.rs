//! One transaction's action.

use super::{Escrow, Host, Job, Model, Money, Order, OrderEnd, Outcome, Phase, Provider, Refused};
use super::{Sent, Standing, money, must};
use muster_ledger::{
    Action,
    job::{JobSpec, Verification},
    market::{CloseReason, Commitment},
    provider::HostSpec,
};
use muster_types::{
    AccountId, Amount, Asset, EscrowId, HostId, JobId, LeaseId, Millis, OrderId, TxId,
};
use num_traits::Zero as _;

impl Model {
    pub(super) fn act(&mut self, tx: TxId, by: &Sent, action: &Action) -> Outcome {
        let who = by.signer;
        match action {
            Action::Transfer { to, asset, amount } => {
                positive(*amount)?;
                self.take(who, *asset, &money(*amount))?;
                self.give(*to, *asset, &money(*amount));
                Ok(())
            }
            Action::ProviderSet { profile } => {
                match self.providers.iter_mut().find(|one| one.id == who) {
                    Some(known) => {
                        must(!matches!(known.standing, Standing::Unbonding { .. }))?;
                        if known.standing == Standing::Gone {
                            known.standing = Standing::Registered;
                        }
                        known.profile = profile.clone();
                    }
                    None => self.providers.push(Provider {
                        id: who,
                        profile: profile.clone(),
                        standing: Standing::Registered,
                        bond: Money::zero(),
                        slashed: Money::zero(),
                        broken: 0,
                        missed: 0,
                        lost: 0,
                        fees_paid: Money::zero(),
                    }),
                }
                Ok(())
            }
            Action::BondAdd { amount } => {
                positive(*amount)?;
                let least = money(self.params.provider_bond_min);
                let provider = self.provider_mut(&who)?;
                must(matches!(provider.standing, Standing::Registered | Standing::Active))?;
                provider.bond += money(*amount);
                if provider.bond >= least {
                    provider.standing = Standing::Active;
                }
                self.take(who, Asset::Usd, &money(*amount))
            }
            Action::ProviderDrain {} => {
                let provider = self.provider_mut(&who)?;
                must(matches!(provider.standing, Standing::Registered | Standing::Active))?;
                provider.standing = Standing::Draining;
                self.unbond_if_idle(&who);
                Ok(())
            }
            Action::BondWithdraw {} => {
                let now = self.now;
                let provider = self.provider_mut(&who)?;
                let Standing::Unbonding { until } = provider.standing else { return Err(Refused) };
                must(now >= until)?;
                provider.standing = Standing::Gone;
                let bond = std::mem::take(&mut provider.bond);
                self.give(who, Asset::Usd, &bond);
                Ok(())
            }
            Action::HostSet { index, spec } => self.host_set(who, *index, spec),
            Action::HostRemove { index } => {
                let id = HostId { provider: who, index: *index };
                must(self.hosts.iter().any(|host| host.id == id))?;
                must(!self.leases.iter().any(|lease| lease.host == id && lease.is_open()))?;
                self.hosts.retain(|host| host.id != id);
                Ok(())
            }
            Action::EscrowOpen { deposit } => {
                positive(*deposit)?;
                self.take(who, Asset::Usd, &money(*deposit))?;
                self.escrows.push(Escrow {
                    id: EscrowId::derive(&tx),
                    owner: who,
                    closed: false,
                    short_since: None,
                    deposits: vec![(who, money(*deposit), money(*deposit))],
                    balance: money(*deposit),
                    paid: Money::zero(),
                    refunded: Money::zero(),
                });
                Ok(())
            }
            Action::EscrowDeposit { escrow, amount } => self.deposit(who, escrow, *amount),
            Action::EscrowClose { escrow } => self.close_escrow(who, escrow),
            Action::JobOpen { spec } => self.job_open(tx, who, spec),
            Action::JobClose { job } => {
                let waiting = |order: &&Order| order.job == Some(*job) && order.ended.is_none();
                must(!self.orders.iter().any(|order| waiting(&order)))?;
                let job = self.jobs.iter_mut().find(|one| one.id == *job).ok_or(Refused)?;
                must(job.tenant == who && !job.closed)?;
                job.closed = true;
                Ok(())
            }
            Action::OrderPlace { escrow, job, terms, deadline, manifest: _ } => {
                must(terms.check().is_ok())?;
                must(deadline.0 > self.now)?;
                let found = self.escrow(escrow)?;
                must(found.owner == who && !found.closed && found.short_since.is_none())?;
                must(!found.balance.is_zero())?;
                if let Some(job) = job {
                    let job = self.jobs.iter().find(|one| one.id == *job).ok_or(Refused)?;
                    must(job.tenant == who && !job.closed && job.spec.escrow == *escrow)?;
                }
                self.orders.push(Order {
                    id: OrderId::derive(&tx),
                    tenant: who,
                    escrow: *escrow,
                    job: *job,
                    terms: terms.clone(),
                    placed_at: self.now,
                    deadline: deadline.0,
                    fee: by.fee.clone(),
                    ended: None,
                });
                Ok(())
            }
            Action::OrderCancel { order } => {
                let order = self.orders.iter_mut().find(|one| one.id == *order).ok_or(Refused)?;
                must(order.tenant == who && order.ended.is_none())?;
                order.ended = Some(OrderEnd::Cancelled);
                Ok(())
            }
            Action::LeaseReady { lease } => {
                let (steady, height) = (self.steady, self.height);
                let found = self.lease(lease)?;
                must(found.host.provider == who && found.phase == Phase::Granted)?;
                let lease = self.lease_mut(lease);
                lease.phase = Phase::Active;
                (lease.seen_steady, lease.seen_height) = (steady, height);
                Ok(())
            }
            Action::Heartbeat { leases } => self.heartbeat(who, leases),
            Action::LeaseClose { lease } => {
                let found = self.lease(lease)?;
                must(found.is_open())?;
                let reason = if self.order_of(found).tenant == who {
                    CloseReason::TenantClosed
                } else {
                    must(found.host.provider == who)?;
                    CloseReason::ProviderExit
                };
                self.close(lease, reason);
                Ok(())
            }
            Action::ResultCommit { lease, root, count } => {
                must(*count <= 1 << 32)?;
                let at = Millis(self.now);
                let found = self.lease(lease)?;
                must(found.host.provider == who && !found.is_settled())?;
                must(found.is_open() || found.commitment.is_none())?;
                let (root, count) = (*root, *count);
                self.lease_mut(lease).commitment = Some(Commitment { root, count, at });
                Ok(())
            }
            Action::ResultAccept { lease } => {
                let found = self.lease(lease)?;
                must(self.order_of(found).tenant == who)?;
                must(!found.is_open() && !found.is_settled() && !self.is_disputed(lease))?;
                self.settle_for_good(lease, false);
                Ok(())
            }
            Action::DisputeOpen { job, claims, evidence } => {
                self.dispute_open(tx, who, job, claims, evidence)
            }
            Action::DisputeVote { dispute, output } => self.dispute_vote(who, dispute, *output),
        }
    }

    fn host_set(&mut self, who: AccountId, index: u32, spec: &HostSpec) -> Outcome {
        let standing = self.provider_mut(&who)?.standing;
        must(matches!(standing, Standing::Active | Standing::Draining))?;
        let tick = self.params.price_tick.amount_per_hour().nanos();
        let prices =
            [spec.prices.cpu, spec.prices.memory_gib, spec.prices.disk_gib, spec.prices.gpu];
        must(prices.iter().all(|price| price.amount_per_hour().nanos() % tick == 0))?;
        must(spec.offered_until.0 >= self.now + self.params.offer_lifetime_min_ms.0)?;
        let id = HostId { provider: who, index };
        let used = self.used(&id);
        must(used.cpu_milli <= spec.capacity.cpu_milli)?;
        must(used.memory_bytes <= spec.capacity.memory_bytes)?;
        self.hosts.retain(|host| host.id != id);
        self.hosts.push(Host { id, spec: spec.clone(), offered_at: self.height });
        Ok(())
    }

    /// What the open leases of a host take.
    pub(super) fn used(&self, id: &HostId) -> muster_types::Resources {
        let mut used = muster_types::Resources::default();
        for lease in self.leases.iter().filter(|lease| lease.host == *id && lease.is_open()) {
            used.cpu_milli += lease.takes.cpu_milli;
            used.memory_bytes += lease.takes.memory_bytes;
        }
        used
    }

    fn deposit(&mut self, who: AccountId, id: &EscrowId, amount: Amount) -> Outcome {
        positive(amount)?;
        must(!self.escrow(id)?.closed)?;
        let amount = money(amount);
        self.take(who, Asset::Usd, &amount)?;
        self.refresh(id);
        let escrow = self.escrow_mut(id);
        match escrow.deposits.iter_mut().find(|(depositor, _, _)| *depositor == who) {
            Some((_, all, left)) => {
                *all += &amount;
                *left += &amount;
            }
            None => escrow.deposits.push((who, amount.clone(), amount.clone())),
        }
        escrow.balance += &amount;
        self.pay_shortfalls(id);
        Ok(())
    }

    /// What was spent since was spent from every depositor's rest in the same proportion.
    fn refresh(&mut self, id: &EscrowId) {
        let withheld: Money =
            self.leases_on(id).iter().map(|lease| self.lease(lease).unwrap().withheld()).sum();
        let escrow = self.escrow_mut(id);
        let unspent = &escrow.balance + withheld;
        let weights: Vec<Money> = escrow.deposits.iter().map(|(_, _, left)| left.clone()).collect();
        for ((_, _, left), share) in escrow.deposits.iter_mut().zip(divide(&unspent, &weights)) {
            *left = share;
        }
    }

    fn close_escrow(&mut self, who: AccountId, id: &EscrowId) -> Outcome {
        let escrow = self.escrow(id)?;
        must(escrow.owner == who && !escrow.closed)?;
        must(!self.orders.iter().any(|order| order.escrow == *id && order.ended.is_none()))?;
        must(self.leases_on(id).iter().all(|lease| self.lease(lease).unwrap().is_settled()))?;
        self.refresh(id);
        let escrow = self.escrow_mut(id);
        escrow.closed = true;
        escrow.refunded = std::mem::take(&mut escrow.balance);
        let deposits = escrow.deposits.clone();
        for (depositor, _, left) in deposits {
            self.give(depositor, Asset::Usd, &left);
        }
        Ok(())
    }

    fn job_open(&mut self, tx: TxId, who: AccountId, spec: &JobSpec) -> Outcome {
        must(spec.tasks >= 1 && spec.tasks <= 1 << 32 && spec.fuel_max >= 1)?;
        if let Verification::Replicate { sample_bps } = spec.verification {
            must((1..=10_000).contains(&sample_bps))?;
        }
        let escrow = self.escrow(&spec.escrow)?;
        must(escrow.owner == who && !escrow.closed)?;
        let (id, spec) = (JobId::derive(&tx), spec.clone());
        self.jobs.push(Job { id, tenant: who, spec, closed: false });
        Ok(())
    }

    fn heartbeat(&mut self, who: AccountId, leases: &[LeaseId]) -> Outcome {
        must(!leases.is_empty() && leases.len() <= 1024)?;
        let mut touched: Vec<(EscrowId, LeaseId, u64)> = Vec::new();
        for id in leases {
            let found = self.lease(id)?;
            must(found.host.provider == who)?;
            let escrow = self.order_of(found).escrow;
            match found.phase {
                Phase::Granted | Phase::Closed { .. } => continue,
                Phase::Active | Phase::Stalled { .. } => {}
            }
            match self.cover(id) {
                Some(0) => {}
                Some(gap) => touched.push((escrow, *id, gap)),
                None => self.provider_mut(&who)?.missed += 1,
            }
            self.lease_mut(id).phase = Phase::Active;
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

    /// A draining provider without unsettled leases begins to unbond.
    pub(super) fn unbond_if_idle(&mut self, id: &AccountId) {
        let until = self.now + self.params.unbonding_ms.0;
        let idle = self.unsettled_of(id) == 0;
        if let Ok(provider) = self.provider_mut(id)
            && provider.standing == Standing::Draining
            && idle
        {
            provider.standing = Standing::Unbonding { until };
        }
    }
}

/// Divides in proportion: every share is rounded down, and the nano-units left over go one by one
/// to the largest fractions, on equality to the earlier.
fn divide(whole: &Money, weights: &[Money]) -> Vec<Money> {
    let total: Money = weights.iter().cloned().sum();
    if total.is_zero() {
        return weights.to_vec();
    }
    let exact: Vec<Money> = weights.iter().map(|weight| whole * weight / &total).collect();
    let mut shares: Vec<Money> = exact.iter().map(Money::floor).collect();
    let mut places: Vec<usize> = (0..exact.len()).collect();
    places.sort_by_key(|place| std::cmp::Reverse(exact[*place].fract()));
    let mut left = whole - shares.iter().cloned().sum::<Money>();
    for place in places {
        if left.is_zero() {
            break;
        }
        shares[place] += Money::from_integer(1.into());
        left -= Money::from_integer(1.into());
    }
    shares
}

fn positive(amount: Amount) -> Outcome {
    must(!amount.is_zero())
}
