//! What holds after every block. [`check`] reads the whole state: for tests, simulations and
//! auditors; a node's hot path does not call it.
//!
//! Some sums count records that have left the state ([`crate::archive`]): over the state alone
//! they are at least what its records add up to ([`check`]), over the state and all that left it
//! exactly that ([`check_whole`]).
//!
//! | invariant | says |
//! |---|---|
//! | `money is conserved` | for each asset: issued = accounts + bonds + escrows + burned |
//! | `capacity is not oversold` | a host's used capacity is the sum of what its open leases take, and fits |
//! | `escrow adds up` | deposited = balance + withheld + paid + refunded, and each is the sum of its parts |
//! | `pay is covered` | paid <= accrued, and accrued + shortfall <= floor(rate x covered) |
//! | `open leases are backed` | an open lease has an escrow that is not closed and a provider with a bond |
//! | `pledges fit the bond` | a provider's pledged part is the sum of its leases' pledges, and within the bond |
//! | `counters match` | every counter is the number of what it counts |
//! | `steady time is behind` | steady time is not ahead of block time |
//! | `what acts finds what it names` | the order, escrow, job and leases that something unsettled or open names are in the state |
//! | `what is final says since when` | a record that can leave the state bears a time exactly where it is final |

use crate::{
    State,
    dispute::{Dispute, DisputeStatus},
    escrow::{Escrow, EscrowStatus},
    job::Job,
    keys::{self, Record},
    market::{Lease, Order, OrderStatus},
    provider::{Host, Provider},
};
use muster_market::capacity;
use muster_types::{
    AccountId, Amount, DisputeId, EscrowId, HostId, JobId, LeaseId, OrderId, Resources,
};
use std::{
    collections::BTreeMap,
    fmt::{Debug, Display},
};

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invariant `{invariant}` is broken at {place}: {facts}")]
pub struct Broken {
    /// Which, as in the table of this module.
    pub invariant: &'static str,
    /// The record at fault.
    pub place: String,
    /// What was found there.
    pub facts: String,
}

const MONEY: &str = "money is conserved";
const CAPACITY: &str = "capacity is not oversold";
const ESCROW: &str = "escrow adds up";
const PAY: &str = "pay is covered";
const BACKED: &str = "open leases are backed";
const PLEDGES: &str = "pledges fit the bond";
const COUNTERS: &str = "counters match";
const STEADY: &str = "steady time is behind";
const NAMED: &str = "what acts finds what it names";
const FINAL: &str = "what is final says since when";

/// Checks every invariant.
///
/// # Errors
/// The first one that does not hold.
pub fn check(state: &dyn State) -> Result<(), Broken> {
    check_books(state, &Books::of(state)?)
}

/// Checks every invariant over the state together with every record that has left it.
///
/// # Errors
/// The first one that does not hold.
pub fn check_whole(all: &dyn State) -> Result<(), Broken> {
    check_books(all, &Books { whole: true, ..Books::of(all)? })
}

fn check_books(state: &dyn State, books: &Books) -> Result<(), Broken> {
    money(state)?;
    for (id, provider) in keys::PROVIDERS.scan(state, &(), None) {
        books.check_provider(&id, &provider)?;
    }
    for (id, host) in keys::HOSTS.scan(state, &(), None) {
        books.check_host(&id, &host)?;
    }
    for (id, escrow) in keys::ESCROWS.scan(state, &(), None) {
        books.check_escrow(&id, &escrow)?;
    }
    for (id, job) in keys::JOBS.scan(state, &(), None) {
        books.check_job(&id, &job)?;
    }
    for (id, lease) in keys::LEASES.scan(state, &(), None) {
        books.check_lease(state, &id, &lease)?;
    }
    for (id, order) in keys::ORDERS.scan(state, &(), None) {
        books.check_order(state, &id, &order)?;
    }
    for (id, dispute) in keys::DISPUTES.scan(state, &(), None) {
        check_dispute(state, &id, &dispute)?;
    }
    if let Some(head) = keys::HEAD.get(state, &()) {
        require(head.steady <= head.now, STEADY, &"head", &head)?;
    }
    Ok(())
}

fn require(
    holds: bool,
    invariant: &'static str,
    place: &dyn Display,
    facts: &dyn Debug,
) -> Result<(), Broken> {
    if holds {
        return Ok(());
    }
    Err(Broken { invariant, place: place.to_string(), facts: format!("{facts:?}") })
}

fn equal<T: PartialEq + Debug>(
    kept: T,
    counted: T,
    invariant: &'static str,
    place: &dyn Display,
) -> Result<(), Broken> {
    require(kept == counted, invariant, place, &(&kept, &counted))
}

/// A sum that reports an overflow as a broken invariant.
fn add(total: &mut Amount, amount: Amount, invariant: &'static str) -> Result<(), Broken> {
    let facts = (*total, amount);
    let sum = total.checked_add(amount);
    require(sum.is_some(), invariant, &"a sum that is too large", &facts)?;
    *total = sum.unwrap_or(Amount::MAX);
    Ok(())
}

fn total(amounts: impl IntoIterator<Item = Amount>) -> Result<Amount, Broken> {
    let mut sum = Amount::ZERO;
    for amount in amounts {
        add(&mut sum, amount, ESCROW)?;
    }
    Ok(sum)
}

fn money(state: &dyn State) -> Result<(), Broken> {
    let supply = keys::SUPPLY.get(state, &()).unwrap_or_default();
    let (mut usd, mut mst) = (supply.usd.burned, supply.mst.burned);
    for (_, account) in keys::ACCOUNTS.scan(state, &(), None) {
        add(&mut usd, account.usd, MONEY)?;
        add(&mut mst, account.mst, MONEY)?;
    }
    for (_, provider) in keys::PROVIDERS.scan(state, &(), None) {
        add(&mut usd, provider.bond, MONEY)?;
    }
    for (_, escrow) in keys::ESCROWS.scan(state, &(), None) {
        add(&mut usd, escrow.balance, MONEY)?;
        add(&mut usd, escrow.withheld, MONEY)?;
    }
    equal(supply.usd.issued, usd, MONEY, &"usd")?;
    equal(supply.mst.issued, mst, MONEY, &"mst")
}

/// What leases, orders and disputes add up to, by what counts them.
#[derive(Default)]
struct Books {
    providers: BTreeMap<AccountId, OfProvider>,
    hosts: BTreeMap<HostId, Resources>,
    escrows: BTreeMap<EscrowId, OfEscrow>,
    /// Open orders and unsettled leases.
    jobs: BTreeMap<JobId, (u32, u32)>,
    /// Open disputes.
    disputes: BTreeMap<LeaseId, u32>,
    /// Unsettled leases.
    orders: BTreeMap<OrderId, u32>,
    /// Whether what has left the state is in the books.
    whole: bool,
}

#[derive(Default)]
struct OfProvider {
    unsettled: u32,
    pledged: Amount,
    paid: Amount,
}

#[derive(Default)]
struct OfEscrow {
    open_orders: u32,
    unsettled: u32,
    open_rate: Amount,
    withheld: Amount,
    paid: Amount,
    compensated: Amount,
}

impl Books {
    fn of(state: &dyn State) -> Result<Self, Broken> {
        let mut books = Self::default();
        for (_, order) in keys::ORDERS.scan(state, &(), None) {
            if order.status == OrderStatus::Open {
                one(&mut books.escrows.entry(order.escrow).or_default().open_orders);
                if let Some(job) = order.job {
                    one(&mut books.jobs.entry(job).or_default().0);
                }
            }
        }
        for (_, dispute) in keys::DISPUTES.scan(state, &(), None) {
            if dispute.status == DisputeStatus::Open {
                for claim in &dispute.claims {
                    one(books.disputes.entry(claim.lease).or_default());
                }
            }
        }
        for (id, lease) in keys::LEASES.scan(state, &(), None) {
            books.add_lease(&id, &lease)?;
        }
        Ok(books)
    }

    fn add_lease(&mut self, id: &LeaseId, lease: &Lease) -> Result<(), Broken> {
        let of_provider = self.providers.entry(lease.provider()).or_default();
        let of_escrow = self.escrows.entry(lease.escrow).or_default();
        add(&mut of_provider.pledged, lease.pledge, PLEDGES)?;
        add(&mut of_provider.paid, lease.paid, PAY)?;
        add(&mut of_escrow.withheld, lease.withheld(), ESCROW)?;
        add(&mut of_escrow.paid, lease.paid, ESCROW)?;
        add(&mut of_escrow.compensated, lease.compensated, ESCROW)?;
        if !lease.status.is_settled() {
            one(&mut of_provider.unsettled);
            one(&mut of_escrow.unsettled);
            one(self.orders.entry(lease.order).or_default());
            if let Some(job) = lease.job {
                one(&mut self.jobs.entry(job).or_default().1);
            }
        }
        if lease.status.is_open() {
            add(&mut of_escrow.open_rate, lease.rate.amount_per_hour(), COUNTERS)?;
            let used = self.hosts.entry(lease.host).or_default();
            let sum = capacity::checked_add(used, &lease.takes);
            require(sum.is_some(), CAPACITY, id, &lease.takes)?;
            *used = sum.unwrap_or_default();
        }
        Ok(())
    }

    fn check_provider(&self, id: &AccountId, provider: &Provider) -> Result<(), Broken> {
        let nothing = OfProvider::default();
        let counted = self.providers.get(id).unwrap_or(&nothing);
        equal(provider.pledged, counted.pledged, PLEDGES, id)?;
        require(provider.pledged <= provider.bond, PLEDGES, id, provider)?;
        equal(provider.open_leases, counted.unsettled, COUNTERS, id)?;
        self.summed(provider.paid, counted.paid, COUNTERS, id)
    }

    fn check_host(&self, id: &HostId, host: &Host) -> Result<(), Broken> {
        let counted = self.hosts.get(id).cloned().unwrap_or_default();
        equal(&host.used, &counted, CAPACITY, id)?;
        let fits = capacity::checked_sub(&host.spec.capacity, &host.used).is_some();
        require(fits, CAPACITY, id, host)
    }

    fn check_escrow(&self, id: &EscrowId, escrow: &Escrow) -> Result<(), Broken> {
        let nothing = OfEscrow::default();
        let counted = self.escrows.get(id).unwrap_or(&nothing);
        equal(escrow.open_orders, counted.open_orders, COUNTERS, id)?;
        equal(escrow.open_leases, counted.unsettled, COUNTERS, id)?;
        equal(escrow.open_rate.amount_per_hour(), counted.open_rate, COUNTERS, id)?;
        equal(escrow.withheld, counted.withheld, ESCROW, id)?;
        self.summed(escrow.paid, counted.paid, ESCROW, id)?;
        self.summed(escrow.compensated, counted.compensated, ESCROW, id)?;
        let parts = total([escrow.balance, escrow.withheld, escrow.paid, escrow.refunded])?;
        equal(escrow.deposited, parts, ESCROW, id)?;
        let deposits = &escrow.deposits;
        let amounts = total(deposits.iter().map(|deposit| deposit.amount))?;
        let refunds = total(deposits.iter().map(|deposit| deposit.refunded))?;
        let left = total(deposits.iter().map(|deposit| deposit.left))?;
        equal(escrow.deposited, amounts, ESCROW, id)?;
        equal(escrow.refunded, refunds, ESCROW, id)?;
        let unspent = total([escrow.balance, escrow.withheld])?;
        require(unspent <= left, ESCROW, id, &(unspent, left))?;
        let closed = escrow.status == EscrowStatus::Closed;
        require(!closed || unspent.is_zero(), ESCROW, id, escrow)?;
        check_final(id, escrow)
    }

    fn check_job(&self, id: &JobId, job: &Job) -> Result<(), Broken> {
        let counted = self.jobs.get(id).copied().unwrap_or_default();
        equal((job.open_orders, job.open_leases), counted, COUNTERS, id)?;
        check_final(id, job)
    }

    fn check_order(&self, state: &dyn State, id: &OrderId, order: &Order) -> Result<(), Broken> {
        let counted = self.orders.get(id).copied().unwrap_or_default();
        equal(order.open_leases, counted, COUNTERS, id)?;
        check_final(id, order)?;
        if order.status == OrderStatus::Open {
            require(keys::ESCROWS.contains(state, &order.escrow), NAMED, id, order)?;
            let job = order.job.is_none_or(|job| keys::JOBS.contains(state, &job));
            require(job, NAMED, id, order)?;
        }
        Ok(())
    }

    /// What a record keeps as a sum over leases, some of which may have left the state.
    fn summed(
        &self,
        kept: Amount,
        counted: Amount,
        invariant: &'static str,
        place: &dyn Display,
    ) -> Result<(), Broken> {
        let holds = if self.whole { kept == counted } else { kept >= counted };
        require(holds, invariant, place, &(kept, counted))
    }

    fn check_lease(&self, state: &dyn State, id: &LeaseId, lease: &Lease) -> Result<(), Broken> {
        let disputes = self.disputes.get(id).copied().unwrap_or_default();
        equal(lease.disputes, disputes, COUNTERS, id)?;
        require(lease.paid <= lease.accrued, PAY, id, lease)?;
        require(lease.compensated <= lease.accrued, PAY, id, lease)?;
        let worth = lease.rate.charge_floor(lease.covered).unwrap_or(Amount::MAX);
        let owed = total([lease.accrued, lease.shortfall])?;
        require(owed <= worth, PAY, id, &(owed, worth))?;
        check_final(id, lease)?;
        if lease.status.is_open() {
            let escrow = keys::ESCROWS.get(state, &lease.escrow);
            let payable = escrow.is_some_and(|escrow| escrow.status != EscrowStatus::Closed);
            require(payable, BACKED, id, lease)?;
            let provider = keys::PROVIDERS.get(state, &lease.provider());
            let bonded = provider.is_some_and(|provider| provider.bond >= lease.pledge);
            require(bonded, BACKED, id, lease)?;
            let host = keys::HOSTS.get(state, &lease.host);
            require(host.is_some(), CAPACITY, id, lease)?;
        }
        if !lease.status.is_settled() {
            require(keys::ORDERS.contains(state, &lease.order), NAMED, id, lease)?;
            require(keys::ESCROWS.contains(state, &lease.escrow), NAMED, id, lease)?;
            let job = lease.job.is_none_or(|job| keys::JOBS.contains(state, &job));
            require(job, NAMED, id, lease)?;
        }
        Ok(())
    }
}

fn check_dispute(state: &dyn State, id: &DisputeId, dispute: &Dispute) -> Result<(), Broken> {
    check_final(id, dispute)?;
    if dispute.status == DisputeStatus::Open {
        require(keys::JOBS.contains(state, &dispute.job), NAMED, id, dispute)?;
        for claim in &dispute.claims {
            require(keys::LEASES.contains(state, &claim.lease), NAMED, id, dispute)?;
        }
    }
    Ok(())
}

fn check_final<R: Record + Debug>(id: &dyn Display, record: &R) -> Result<(), Broken> {
    require(record.final_at().is_some() == record.is_final(), FINAL, id, record)
}

fn one(count: &mut u32) {
    *count = count.saturating_add(1);
}

#[cfg(test)]
mod tests;
