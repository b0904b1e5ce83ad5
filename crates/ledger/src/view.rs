//! Reading the state: typed look-ups for the API. Everything is `O(log n)` or in proportion to
//! what is returned, but [`providers`] and [`quote`], which look at every provider or host.

use crate::{
    Head, Params, State, Supply,
    account::Account,
    dispute::Dispute,
    escrow::Escrow,
    job::Job,
    keys::{self, Index, Key, Record},
    market::{Lease, Offers, Order, QuoteBook},
    provider::{Host, Provider, risk},
};
use muster_market::{Explanation, Terms, explain};
use muster_types::{AccountId, DisputeId, EscrowId, HostId, JobId, LeaseId, OrderId};

/// Where the chain is; `None` before genesis.
#[must_use]
pub fn head(state: &dyn State) -> Option<Head> {
    keys::HEAD.get(state, &())
}

/// The parameters; the defaults before genesis.
#[must_use]
pub fn params(state: &dyn State) -> Params {
    keys::PARAMS.get(state, &()).unwrap_or_default()
}

/// The validators, sorted.
#[must_use]
pub fn validators(state: &dyn State) -> Vec<AccountId> {
    keys::VALIDATORS.get(state, &()).unwrap_or_default()
}

/// What exists of each asset.
#[must_use]
pub fn supply(state: &dyn State) -> Supply {
    keys::SUPPLY.get(state, &()).unwrap_or_default()
}

/// An account.
#[must_use]
pub fn account(state: &dyn State, id: &AccountId) -> Option<Account> {
    keys::ACCOUNTS.get(state, id)
}

/// A provider.
#[must_use]
pub fn provider(state: &dyn State, id: &AccountId) -> Option<Provider> {
    keys::PROVIDERS.get(state, id)
}

/// Every provider, by account.
#[must_use]
pub fn providers(state: &dyn State) -> Vec<(AccountId, Provider)> {
    keys::PROVIDERS.scan(state, &(), None).collect()
}

/// A provider's risk premium, in hundredths of a per cent.
#[must_use]
pub fn risk_bps(state: &dyn State, provider: &Provider) -> u32 {
    risk::premium_bps(&provider.conduct, &params(state))
}

/// A host.
#[must_use]
pub fn host(state: &dyn State, id: &HostId) -> Option<Host> {
    keys::HOSTS.get(state, id)
}

/// A provider's hosts with their numbers.
#[must_use]
pub fn hosts(state: &dyn State, provider: &AccountId) -> Vec<(u32, Host)> {
    keys::HOSTS.scan(state, provider, None).map(|(id, host)| (id.index, host)).collect()
}

/// An order.
#[must_use]
pub fn order(state: &dyn State, id: &OrderId) -> Option<Order> {
    keys::ORDERS.get(state, id)
}

/// A lease.
#[must_use]
pub fn lease(state: &dyn State, id: &LeaseId) -> Option<Lease> {
    keys::LEASES.get(state, id)
}

/// An escrow.
#[must_use]
pub fn escrow(state: &dyn State, id: &EscrowId) -> Option<Escrow> {
    keys::ESCROWS.get(state, id)
}

/// A job.
#[must_use]
pub fn job(state: &dyn State, id: &JobId) -> Option<Job> {
    keys::JOBS.get(state, id)
}

/// A dispute.
#[must_use]
pub fn dispute(state: &dyn State, id: &DisputeId) -> Option<Dispute> {
    keys::DISPUTES.get(state, id)
}

/// The records that an index lists under `of`, in the order of their ids. Lazy: take what is
/// needed; to go on later, begin after the last id seen.
pub fn indexed<'a, P, R>(
    state: &'a dyn State,
    index: Index<(P, R::Key)>,
    of: P,
    after: Option<R::Key>,
) -> impl Iterator<Item = (R::Key, R)> + use<'a, P, R>
where
    P: Key + Copy + 'a,
    R: Record + 'a,
    R::Key: 'a,
{
    let after = after.map(|after| (of, after));
    index
        .scan(state, &of, after.as_ref())
        .filter_map(move |((_, id), ())| R::TABLE.get(state, &id).map(|record| (id, record)))
}

/// All leases of a provider.
#[must_use]
pub fn leases_of_provider(state: &dyn State, provider: &AccountId) -> Vec<(LeaseId, Lease)> {
    indexed(state, keys::LEASES_BY_PROVIDER, *provider, None).collect()
}

/// All leases of a tenant.
#[must_use]
pub fn leases_of_tenant(state: &dyn State, tenant: &AccountId) -> Vec<(LeaseId, Lease)> {
    indexed(state, keys::LEASES_BY_TENANT, *tenant, None).collect()
}

/// All leases of a job.
#[must_use]
pub fn leases_of_job(state: &dyn State, job: &JobId) -> Vec<(LeaseId, Lease)> {
    indexed(state, keys::LEASES_BY_JOB, *job, None).collect()
}

/// All leases of an escrow.
#[must_use]
pub fn leases_of_escrow(state: &dyn State, escrow: &EscrowId) -> Vec<(LeaseId, Lease)> {
    indexed(state, keys::LEASES_BY_ESCROW, *escrow, None).collect()
}

/// All orders of a tenant.
#[must_use]
pub fn orders_of_tenant(state: &dyn State, tenant: &AccountId) -> Vec<(OrderId, Order)> {
    indexed(state, keys::ORDERS_BY_TENANT, *tenant, None).collect()
}

/// All orders of an escrow.
#[must_use]
pub fn orders_of_escrow(state: &dyn State, escrow: &EscrowId) -> Vec<(OrderId, Order)> {
    indexed(state, keys::ORDERS_BY_ESCROW, *escrow, None).collect()
}

/// All jobs of a tenant.
#[must_use]
pub fn jobs_of_tenant(state: &dyn State, tenant: &AccountId) -> Vec<(JobId, Job)> {
    indexed(state, keys::JOBS_BY_TENANT, *tenant, None).collect()
}

/// All escrows of an owner.
#[must_use]
pub fn escrows_of_owner(state: &dyn State, owner: &AccountId) -> Vec<(EscrowId, Escrow)> {
    indexed(state, keys::ESCROWS_BY_OWNER, *owner, None).collect()
}

/// All disputes of a job.
#[must_use]
pub fn disputes_of_job(state: &dyn State, job: &JobId) -> Vec<(DisputeId, Dispute)> {
    indexed(state, keys::DISPUTES_BY_JOB, *job, None).collect()
}

/// The disputes that are open, the first to end first.
#[must_use]
pub fn open_disputes(state: &dyn State) -> Vec<(DisputeId, Dispute)> {
    let due = keys::DISPUTES_DUE.scan(state, &(), None);
    due.filter_map(|((_, id), ())| dispute(state, &id).map(|record| (id, record))).collect()
}

/// The orders that wait for offers, oldest first.
#[must_use]
pub fn waiting_orders(state: &dyn State) -> Vec<(OrderId, Order)> {
    let waiting = keys::ORDERS_WAITING.scan(state, &(), None);
    waiting.filter_map(|((_, id), ())| order(state, &id).map(|record| (id, record))).collect()
}

/// What an order with these terms would get in the next block, and what each constraint excludes.
#[must_use]
pub fn quote(state: &dyn State, terms: &Terms) -> Explanation {
    let (params, head) = (params(state), head(state));
    let height = head.map_or(0, |head| head.height).saturating_add(1);
    let now = head.map(|head| head.now).unwrap_or_default();
    let everybody = |_: &muster_market::HostView| true;
    let seen = std::cell::RefCell::default();
    let book = Offers::new(state, &params, height, &everybody, &seen);
    explain(&book, terms, &params.rules(), now)
}

/// The market in the form that answers quotes fast: see [`QuoteBook`].
#[must_use]
pub fn quote_book(state: &dyn State) -> QuoteBook {
    QuoteBook::new(state)
}
