//! What holds after every block. [`check`] reads the whole state: for tests, simulations and
//! auditors; a node's hot path does not call it.
//!
//! Some sums count records that have left the state ([`crate::archive`]): over the state alone
//! they are at least what its records add up to ([`check`]), over the state and all that left it
//! exactly that ([`check_whole`]).
//!
//! | invariant | says |
//! |---|---|
//! | `money is conserved` | for each asset: issued = accounts + bonds, unbonding parts included + escrows + bids' deposits + challengers' bonds + stakes + rewards held + burned |
//! | `capacity is not oversold` | a host's used capacity is the sum of what its open leases take, and fits |
//! | `escrow adds up` | deposited = balance + withheld + paid + refunded + fees, and each is the sum of its parts |
//! | `pay is covered` | paid <= accrued, and accrued + shortfall <= floor(rate x covered); nothing is paid while the tenant may reject it, nor of metered work more than its fuel is worth (but for a minimum charge) |
//! | `open leases are backed` | an open lease has an escrow that is not closed and a provider with a bond |
//! | `pledges fit the bond` | what a bond has pledged is the sum of what its account's leases and duties have, and within it |
//! | `leased value adds up` | of each provider, each operator and all: the sum of the rates of the open leases |
//! | `counters match` | every counter is the number of what it counts |
//! | `orders are in order` | an order misses leases while it is open, and only then; its bids stand only while it takes them, and are no more than it takes |
//! | `steady time is behind` | steady time is not ahead of block time |
//! | `somebody acts` | an account's flag says whether it has a policy; its threshold can be reached; its keys are bounded, and their nonces windows |
//! | `stake adds up` | a pool's shares are the sum of its parts' and no fewer than its tokens; there are tokens exactly where there are shares; active stake is the sum of the active validators'; the rewards held cover what delegators are owed and what is carried |
//! | `votes are counted` | a proposal that is voted on has as many ballots as it counts, any other has none |
//! | `what acts finds what it names` | the order, escrow, job and leases that something unsettled or open names are in the state |
//! | `what is final says since when` | a record that can leave the state bears a time exactly where it is final |

mod stake;

use crate::{
    State,
    dispute::{Challenge, Dispute, DisputeStatus},
    escrow::{Escrow, EscrowStatus},
    job::Job,
    keys::{self, Record},
    limits,
    market::{CloseReason, Lease, LeaseStatus, Mode, Order},
    provider::{Host, Provider, operator_of},
};
use muster_market::capacity;
use muster_types::{
    AccountId, Amount, DisputeId, EscrowId, HostId, JobId, LeaseId, Millis, OrderId, Rate,
    Resources,
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
const LEASED: &str = "leased value adds up";
const COUNTERS: &str = "counters match";
const ORDERS: &str = "orders are in order";
const STEADY: &str = "steady time is behind";
const AUTHORITY: &str = "somebody acts";
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
    authority(state)?;
    for (id, provider) in keys::PROVIDERS.scan(state, &(), None) {
        books.check_provider(&id, &provider)?;
    }
    books.check_bonds(state)?;
    books.check_leased(state)?;
    for (id, host) in keys::HOSTS.scan(state, &(), None) {
        books.check_host(&id, &host)?;
    }
    for (id, escrow) in keys::ESCROWS.scan(state, &(), None) {
        books.check_escrow(&id, &escrow)?;
    }
    for (id, order) in keys::ORDERS.scan(state, &(), None) {
        books.check_order(state, &id, &order)?;
    }
    for (id, job) in keys::JOBS.scan(state, &(), None) {
        books.check_job(&id, &job)?;
    }
    for (id, lease) in keys::LEASES.scan(state, &(), None) {
        books.check_lease(state, &id, &lease)?;
    }
    for (id, dispute) in keys::DISPUTES.scan(state, &(), None) {
        check_dispute(state, &id, &dispute)?;
    }
    for (id, challenge) in keys::CHALLENGES.scan(state, &(), None) {
        check_challenge(state, &id, &challenge)?;
    }
    for (id, proposal) in keys::PROPOSALS.scan(state, &(), None) {
        check_final(&id, &proposal)?;
    }
    stake::check(state)?;
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
    stake::money(state, &mut usd, &mut mst)?;
    for (_, bond) in keys::BONDS.scan(state, &(), None) {
        add(&mut usd, bond.amount, MONEY)?;
        for part in &bond.unbonding {
            add(&mut usd, part.amount, MONEY)?;
        }
    }
    for (_, escrow) in keys::ESCROWS.scan(state, &(), None) {
        add(&mut usd, escrow.balance, MONEY)?;
        add(&mut usd, escrow.withheld, MONEY)?;
    }
    for (_, challenge) in keys::CHALLENGES.scan(state, &(), None) {
        add(&mut usd, challenge.bond, MONEY)?;
    }
    for (_, bid) in keys::BIDS.scan(state, &(), None) {
        add(&mut usd, bid.deposit, MONEY)?;
    }
    equal(supply.usd.issued, usd, MONEY, &"usd")?;
    equal(supply.mst.issued, mst, MONEY, &"mst")
}

fn authority(state: &dyn State) -> Result<(), Broken> {
    let mut count: BTreeMap<AccountId, u32> = BTreeMap::new();
    for ((account, key), record) in keys::KEYS.scan(state, &(), None) {
        one(count.entry(account).or_default());
        require(record.nonces_used & 1 == 0 && key != account, AUTHORITY, &key, &record)?;
    }
    for (id, account) in keys::ACCOUNTS.scan(state, &(), None) {
        require(account.nonces_used & 1 == 0, AUTHORITY, &id, &account)?;
        let keys = count.remove(&id).unwrap_or_default();
        require(keys <= limits::KEYS, AUTHORITY, &id, &keys)?;
        let policy = keys::AUTHORITIES.get(state, &id).and_then(|authority| authority.policy);
        equal(account.multisig, policy.is_some(), AUTHORITY, &id)?;
        if let Some(policy) = policy {
            let sorted = policy.members.is_sorted_by(|left, right| left < right);
            let reached = (1..=policy.members.len()).contains(&usize::from(policy.threshold));
            require(sorted && reached, AUTHORITY, &id, &policy)?;
        }
    }
    require(count.is_empty(), AUTHORITY, &"keys without account", &count)
}

/// What leases, orders and disputes add up to, by what counts them.
#[derive(Default)]
struct Books {
    providers: BTreeMap<AccountId, OfProvider>,
    /// What leases and duties have pledged.
    pledged: BTreeMap<AccountId, Amount>,
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
    open_rate: Amount,
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
    fees: Amount,
}

impl Books {
    fn of(state: &dyn State) -> Result<Self, Broken> {
        let mut books = Self::default();
        for (_, order) in keys::ORDERS.scan(state, &(), None) {
            let of_escrow = books.escrows.entry(order.escrow).or_default();
            add(&mut of_escrow.fees, order.charged, ESCROW)?;
            if order.status.is_open() {
                one(&mut of_escrow.open_orders);
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
        for (_, challenge) in keys::CHALLENGES.scan(state, &(), None) {
            if challenge.status.is_open() {
                one(books.disputes.entry(challenge.lease).or_default());
            }
        }
        for (id, lease) in keys::LEASES.scan(state, &(), None) {
            books.add_lease(&id, &lease)?;
        }
        for ((account, _), duty) in keys::DUTIES.scan(state, &(), None) {
            add(books.pledged.entry(account).or_default(), duty.pledge, PLEDGES)?;
        }
        Ok(books)
    }

    fn add_lease(&mut self, id: &LeaseId, lease: &Lease) -> Result<(), Broken> {
        let of_provider = self.providers.entry(lease.provider()).or_default();
        let of_escrow = self.escrows.entry(lease.escrow).or_default();
        add(self.pledged.entry(lease.provider()).or_default(), lease.pledge, PLEDGES)?;
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
            add(&mut of_provider.open_rate, lease.rate.amount_per_hour(), LEASED)?;
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
        equal(provider.open_leases, counted.unsettled, COUNTERS, id)?;
        equal(provider.open_rate.amount_per_hour(), counted.open_rate, LEASED, id)?;
        self.summed(provider.paid, counted.paid, COUNTERS, id)
    }

    fn check_bonds(&self, state: &dyn State) -> Result<(), Broken> {
        for id in self.pledged.keys() {
            require(keys::BONDS.contains(state, id), PLEDGES, id, &"no bond")?;
        }
        for (id, bond) in keys::BONDS.scan(state, &(), None) {
            let counted = self.pledged.get(&id).copied().unwrap_or_default();
            equal(bond.pledged, counted, PLEDGES, &id)?;
            require(bond.pledged <= bond.amount, PLEDGES, &id, &bond)?;
        }
        Ok(())
    }

    /// Operators and the whole, from what the providers' leases add up to.
    fn check_leased(&self, state: &dyn State) -> Result<(), Broken> {
        let mut all = Amount::ZERO;
        let mut operators: BTreeMap<AccountId, Amount> = BTreeMap::new();
        for (id, counted) in &self.providers {
            if !counted.open_rate.is_zero() {
                add(&mut all, counted.open_rate, LEASED)?;
                let operator = operators.entry(operator_of(state, id)).or_default();
                add(operator, counted.open_rate, LEASED)?;
            }
        }
        let kept = keys::OPEN_RATE.get(state, &()).unwrap_or(Rate::ZERO);
        equal(kept.amount_per_hour(), all, LEASED, &"all")?;
        let kept: BTreeMap<AccountId, Amount> = keys::OPERATORS
            .scan(state, &(), None)
            .map(|(id, operator)| (id, operator.open_rate.amount_per_hour()))
            .collect();
        equal(kept, operators, LEASED, &"operators")
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
        self.summed(escrow.fees, counted.fees, ESCROW, id)?;
        let Escrow { balance, withheld, paid, refunded, fees, .. } = escrow;
        let parts = total([*balance, *withheld, *paid, *refunded, *fees])?;
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
        check_bids(state, id, order)?;
        if order.status.is_open() {
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
        require(lease.compensated <= lease.paid, PAY, id, lease)?;
        let worth = lease.rate.charge_floor(lease.covered).unwrap_or(Amount::MAX);
        let owed = total([lease.accrued, lease.shortfall])?;
        require(owed <= worth, PAY, id, &(owed, worth))?;
        check_final(id, lease)?;
        if lease.status.is_open() {
            let steady = keys::HEAD.get(state, &()).map_or(Millis::ZERO, |head| head.steady);
            let accepted = steady >= lease.rejectable_until;
            require(accepted || lease.paid.is_zero(), PAY, id, lease)?;
        }
        let minimum =
            matches!(lease.status, LeaseStatus::Closed { reason: CloseReason::TenantClosed, .. });
        let metered = lease.fuel_worth().unwrap_or(Amount::MAX);
        require(minimum || lease.paid <= metered, PAY, id, lease)?;
        if lease.status.is_open() {
            let escrow = keys::ESCROWS.get(state, &lease.escrow);
            let payable = escrow.is_some_and(|escrow| escrow.status != EscrowStatus::Closed);
            require(payable, BACKED, id, lease)?;
            let provider = keys::PROVIDERS.contains(state, &lease.provider());
            let bond = keys::BONDS.get(state, &lease.provider()).unwrap_or_default();
            require(provider && bond.amount >= lease.pledge, BACKED, id, lease)?;
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

fn check_bids(state: &dyn State, id: &OrderId, order: &Order) -> Result<(), Broken> {
    require(order.status.is_open() == (order.missing > 0), ORDERS, id, order)?;
    let bids = keys::BIDS.scan(state, id, None).count();
    let taken = order.bidding.map_or(0, |bidding| bidding.bids);
    equal(u32::try_from(bids).unwrap_or(u32::MAX), taken, ORDERS, id)?;
    let most = match order.mode {
        Mode::Bids { bids_max, .. } if order.status.is_open() => u32::from(bids_max),
        Mode::Bids { .. } | Mode::Standing => 0,
    };
    require(taken <= most, ORDERS, id, order)
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

fn check_challenge(state: &dyn State, id: &DisputeId, open: &Challenge) -> Result<(), Broken> {
    check_final(id, open)?;
    if open.status.is_open() {
        require(keys::JOBS.contains(state, &open.job), NAMED, id, open)?;
        require(keys::LEASES.contains(state, &open.lease), NAMED, id, open)?;
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
