//! Reading the state: typed look-ups for the API. Everything is `O(log n)` or in proportion to
//! what is returned, but [`providers`], [`auditors`], [`concentration`], [`stakers`],
//! [`proposals`] and [`quote`], which look at all there are.

use crate::{
    Head, Params, State, Supply,
    account::{Account, Authority, DelegatedKey},
    auditor,
    bond::{Bond, Duty, DutyKind},
    dispute::{Challenge, Dispute},
    escrow::Escrow,
    job::Job,
    keys::{self, Index, Key, Record},
    market::{Bid, Lease, Offers, Order, QuoteBook, TenantConduct},
    neutrality::{self, Concentration},
    provider::{self, Host, Provider, risk},
    stake::{Delegation, Unbonding, Validator},
    vote::{Ballot, Proposal},
};
use muster_market::{Explanation, Terms, explain};
use muster_types::{
    AccountId, Amount, DisputeId, EscrowId, HostId, JobId, LeaseId, Millis, OrderId, ProposalId,
    UnbondingId,
};
use std::collections::BTreeMap;

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

/// The active validators, the most stake first, own and delegated.
pub fn validators_by_weight(state: &dyn State) -> impl Iterator<Item = AccountId> {
    keys::VALIDATORS_BY_WEIGHT.scan(state, &(), None).map(|((_, id), ())| id)
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

/// Who acts for an account beside its own key, or instead of it.
#[must_use]
pub fn authority(state: &dyn State, id: &AccountId) -> Authority {
    keys::AUTHORITIES.get(state, id).unwrap_or_default()
}

/// What a key may do for an account.
#[must_use]
pub fn delegated_key(
    state: &dyn State,
    account: &AccountId,
    key: &AccountId,
) -> Option<DelegatedKey> {
    keys::KEYS.get(state, &(*account, *key))
}

/// The keys that an account has delegated to, in order, expired ones included.
#[must_use]
pub fn delegated_keys(state: &dyn State, account: &AccountId) -> Vec<(AccountId, DelegatedKey)> {
    keys::KEYS.scan(state, account, None).map(|((_, key), record)| (key, record)).collect()
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

/// A tenant's conduct, for providers to see whom they serve; all zeros for who never leased.
#[must_use]
pub fn tenant_conduct(state: &dyn State, tenant: &AccountId) -> TenantConduct {
    keys::TENANTS.get(state, tenant).unwrap_or_default()
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

/// A challenge.
#[must_use]
pub fn challenge(state: &dyn State, id: &DisputeId) -> Option<Challenge> {
    keys::CHALLENGES.get(state, id)
}

/// All challenges of a lease.
#[must_use]
pub fn challenges_of_lease(state: &dyn State, lease: &LeaseId) -> Vec<(DisputeId, Challenge)> {
    indexed(state, keys::CHALLENGES_BY_LEASE, *lease, None).collect()
}

/// The challenges that are open, the first to run out of time first.
#[must_use]
pub fn open_challenges(state: &dyn State) -> Vec<(DisputeId, Challenge)> {
    let due = keys::CHALLENGES_DUE.scan(state, &(), None);
    due.filter_map(|((_, id), ())| challenge(state, &id).map(|record| (id, record))).collect()
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
    let seen = std::cell::RefCell::default();
    let book = Offers::new(state, &params, height, &seen);
    explain(&book, terms, &params.rules(), now)
}

/// The market in the form that answers quotes fast: see [`QuoteBook`].
#[must_use]
pub fn quote_book(state: &dyn State) -> QuoteBook {
    QuoteBook::new(state)
}

/// A validator's stake; `None` for an account that never registered as one, in the committee
/// ([`validators`]) or not.
#[must_use]
pub fn validator(state: &dyn State, id: &AccountId) -> Option<Validator> {
    keys::STAKERS.get(state, id)
}

/// Everybody who registered as a validator, by account.
#[must_use]
pub fn stakers(state: &dyn State) -> Vec<(AccountId, Validator)> {
    keys::STAKERS.scan(state, &(), None).collect()
}

/// The stake of all active validators, own and delegated, `mst`.
#[must_use]
pub fn stake_total(state: &dyn State) -> Amount {
    keys::STAKE.get(state, &()).unwrap_or_default()
}

/// What an account delegates, by validator. Its worth is [`Validator::worth`].
#[must_use]
pub fn delegations_of(state: &dyn State, delegator: &AccountId) -> Vec<(AccountId, Delegation)> {
    let all = keys::DELEGATIONS.scan(state, delegator, None);
    all.map(|((_, validator), delegation)| (validator, delegation)).collect()
}

/// What others delegate to a validator, by delegator.
#[must_use]
pub fn delegations_to(state: &dyn State, validator: &AccountId) -> Vec<(AccountId, Delegation)> {
    let all = keys::DELEGATIONS_BY_VALIDATOR.scan(state, validator, None);
    all.filter_map(|((_, delegator), ())| {
        let delegation = keys::DELEGATIONS.get(state, &(delegator, *validator));
        delegation.map(|delegation| (delegator, delegation))
    })
    .collect()
}

/// What an account unbonds. Its worth is [`Validator::unbonding_worth`].
#[must_use]
pub fn unbondings_of(state: &dyn State, owner: &AccountId) -> Vec<(UnbondingId, Unbonding)> {
    indexed(state, keys::UNBONDINGS_BY_OWNER, *owner, None).collect()
}

/// A proposal.
#[must_use]
pub fn proposal(state: &dyn State, id: &ProposalId) -> Option<Proposal> {
    keys::PROPOSALS.get(state, id)
}

/// Every proposal, by id.
#[must_use]
pub fn proposals(state: &dyn State) -> Vec<(ProposalId, Proposal)> {
    keys::PROPOSALS.scan(state, &(), None).collect()
}

/// The votes on a proposal that is not tallied yet, by voter.
#[must_use]
pub fn ballots(state: &dyn State, proposal: &ProposalId) -> Vec<(AccountId, Ballot)> {
    let all = keys::BALLOTS.scan(state, proposal, None);
    all.map(|((_, voter), ballot)| (voter, ballot)).collect()
}
/// An account's bond; nothing at all where it never had one.
#[must_use]
pub fn bond(state: &dyn State, account: &AccountId) -> Bond {
    keys::BONDS.get(state, account).unwrap_or_default()
}

/// The duties that an account has registered, those that it is leaving included.
#[must_use]
pub fn duties(state: &dyn State, account: &AccountId) -> Vec<Duty> {
    keys::DUTIES.scan(state, account, None).map(|(_, duty)| duty).collect()
}

/// The registered auditors and since when they are (block time), by account.
#[must_use]
pub fn auditors(state: &dyn State) -> Vec<(AccountId, Millis)> {
    keys::DUTIES
        .scan(state, &(), None)
        .filter(|(_, duty)| duty.kind == DutyKind::Auditor && duty.leaving.is_none())
        .map(|((account, _), duty)| (account, duty.since))
        .collect()
}

/// What auditors have signed about a provider and what holds now, by auditor.
#[must_use]
pub fn signed(
    state: &dyn State,
    provider: &AccountId,
) -> BTreeMap<AccountId, BTreeMap<String, String>> {
    auditor::signed(state, provider)
}

/// Who operates a provider: itself, unless both it and another account say otherwise.
#[must_use]
pub fn operator_of(state: &dyn State, provider: &AccountId) -> AccountId {
    provider::operator_of(state, provider)
}

/// How far the market is in few hands: a lower bound.
#[must_use]
pub fn concentration(state: &dyn State) -> Concentration {
    neutrality::concentration(state)
}
/// The bids on an order, by host.
#[must_use]
pub fn bids_of_order(state: &dyn State, order: &OrderId) -> Vec<(HostId, Bid)> {
    keys::BIDS.scan(state, order, None).map(|((_, host), bid)| (host, bid)).collect()
}
