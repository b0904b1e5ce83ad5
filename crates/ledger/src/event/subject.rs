//! What an event concerns: the parties that it names, and the subjects that it is found from.

use super::Event;
use crate::{
    Reject,
    ctx::Ctx,
    dispute::{Challenge, Dispute},
    market::{Lease, Order},
};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_types::{AccountId, DisputeId, EscrowId, HostId, JobId, LeaseId, OrderId, ProposalId};
use serde::{Deserialize, Serialize};

/// Something that an event concerns. Its canonical encoding has one width for each kind.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// An account, in whatever part it plays.
    Account(AccountId),
    /// A provider.
    Provider(AccountId),
    /// A validator.
    Validator(AccountId),
    /// A host.
    Host(HostId),
    /// An order.
    Order(OrderId),
    /// A lease.
    Lease(LeaseId),
    /// An escrow.
    Escrow(EscrowId),
    /// A job.
    Job(JobId),
    /// A dispute or a challenge.
    Dispute(DisputeId),
    /// A proposal.
    Proposal(ProposalId),
}

/// What a lease's event concerns beside the lease and its provider.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Parties {
    /// Its order.
    pub order: OrderId,
    /// Whose lease it is.
    pub tenant: AccountId,
    /// Who pays.
    pub escrow: EscrowId,
    /// The job that it works for.
    pub job: Option<JobId>,
}

impl Lease {
    /// What its events concern beside itself and its provider.
    #[must_use]
    pub const fn parties(&self) -> Parties {
        Parties { order: self.order, tenant: self.tenant, escrow: self.escrow, job: self.job }
    }
}

/// What an order's event concerns beside the order.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct OrderParties {
    /// Whose order it is.
    pub tenant: AccountId,
    /// Who pays.
    pub escrow: EscrowId,
    /// The job that it works for.
    pub job: Option<JobId>,
}

impl Order {
    /// What its events concern beside itself.
    #[must_use]
    pub const fn parties(&self) -> OrderParties {
        OrderParties { tenant: self.tenant, escrow: self.escrow, job: self.job }
    }
}

/// What a dispute's event concerns beside the dispute. The arrays go together: a claim each.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Case {
    /// The job.
    pub job: JobId,
    /// Who opened it.
    pub tenant: AccountId,
    /// The leases whose claims differ.
    pub leases: [LeaseId; 2],
    /// Their orders.
    pub orders: [OrderId; 2],
    /// Who made the claims.
    pub providers: [AccountId; 2],
}

impl Case {
    /// Of a dispute that is open or ends right now: its leases are in the state.
    pub(crate) fn of(ctx: &Ctx<'_>, dispute: &Dispute) -> Result<Self, Reject> {
        let leases = dispute.claims.map(|claim| claim.lease);
        let [first, second] = leases;
        let (first, second): (Lease, Lease) = (ctx.load(&first)?, ctx.load(&second)?);
        Ok(Self {
            job: dispute.job,
            tenant: dispute.opener,
            leases,
            orders: [first.order, second.order],
            providers: [first.provider(), second.provider()],
        })
    }
}

/// What a challenge's event concerns beside the challenge.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Contest {
    /// The lease whose chain it is about.
    pub lease: LeaseId,
    /// Who committed to the chain.
    pub provider: AccountId,
    /// Who opened it.
    pub challenger: AccountId,
    /// What else it concerns.
    #[serde(flatten)]
    pub of: Parties,
}

impl Contest {
    /// Of a challenge that is open or ends right now: its lease is in the state.
    pub(crate) fn of(ctx: &Ctx<'_>, challenge: &Challenge) -> Result<Self, Reject> {
        let lease: Lease = ctx.load(&challenge.lease)?;
        Ok(Self {
            lease: challenge.lease,
            provider: lease.provider(),
            challenger: challenge.challenger,
            of: lease.parties(),
        })
    }
}

impl Event {
    /// Everything that the event concerns, each once.
    #[must_use]
    pub fn subjects(&self) -> Vec<Subject> {
        let mut all = About::default();
        self.name(&mut all);
        all.0.sort_unstable();
        all.0.dedup();
        all.0
    }

    fn name(&self, all: &mut About) {
        match self {
            Self::Transferred { from, to, asset: _, amount: _ } => {
                all.account(*from);
                all.account(*to);
            }
            Self::ProviderChanged { provider, status: _ } => all.provider(*provider),
            Self::HostOffered { host } | Self::HostRemoved { host } => all.host(*host),
            Self::SeatsNamed { validator, keys } => {
                all.validator(*validator);
                all.accounts(keys.iter().copied());
            }
            Self::BeaconDealt { epoch: _, key } => all.account(*key),
            Self::BeaconKeyChanged { key: _ } => {}
            Self::CommitteeChanged { epoch: _, seats } => {
                all.accounts(seats.iter().map(|seat| seat.owner));
            }
            Self::EscrowDeposited { .. }
            | Self::EscrowOverdrawn { .. }
            | Self::EscrowClosed { .. } => self.name_escrow(all),
            Self::JobOpened { job, tenant, escrow } | Self::JobClosed { job, tenant, escrow } => {
                all.of_tenant(*tenant, *escrow, Some(*job));
            }
            Self::OrderPlaced { order, tenant, escrow, job } => {
                all.order(*order);
                all.of_tenant(*tenant, *escrow, *job);
            }
            Self::OrderEnded { order, of, .. }
            | Self::OrderPicking { order, of, until: _ }
            | Self::OrderUpdated { order, of }
            | Self::OrderReopened { order, of, missing: _ } => all.of_order(*order, of),
            Self::BidPlaced { order, of, host, .. } | Self::BidEnded { order, of, host, .. } => {
                all.of_order(*order, of);
                all.host(*host);
            }
            Self::LeaseGranted { lease, order, tenant, escrow, job, host, rate: _, pledge: _ } => {
                let (order, tenant, escrow, job) = (*order, *tenant, *escrow, *job);
                all.lease(*lease, host.provider, &Parties { order, tenant, escrow, job });
                all.host(*host);
            }
            Self::LeaseStarted { lease, provider, of }
            | Self::LeaseStalled { lease, provider, of }
            | Self::LeaseResumed { lease, provider, of }
            | Self::LeaseClosed { lease, provider, of, .. }
            | Self::LeaseSettled { lease, provider, of, .. }
            | Self::LeaseUpdating { lease, provider, of }
            | Self::LeaseUpdated { lease, provider, of }
            | Self::LeaseReclaiming { lease, provider, of, until: _ }
            | Self::ResultCommitted { lease, provider, of, .. }
            | Self::CommitmentDrawn { lease, provider, of, beacon: _ } => {
                all.lease(*lease, *provider, of);
            }
            Self::Slashed { provider, lease, of, reporter, .. } => {
                all.lease(*lease, *provider, of);
                all.accounts(*reporter);
            }
            Self::DisputeOpened { .. }
            | Self::DisputeVoted { .. }
            | Self::DisputeClosed { .. }
            | Self::ChallengeOpened { .. }
            | Self::BisectRevealed { .. }
            | Self::BisectPicked { .. }
            | Self::StepCalled { .. }
            | Self::StepVoted { .. }
            | Self::ChallengeClosed { .. } => self.name_dispute(all),
            Self::ValidatorChanged { .. }
            | Self::Delegated { .. }
            | Self::Unstaked { .. }
            | Self::UnstakeClaimed { .. }
            | Self::RewardPaid { .. }
            | Self::ValidatorSlashed { .. }
            | Self::ProposalMade { .. }
            | Self::Voted { .. }
            | Self::ProposalChanged { .. } => self.name_stake(all),
            Self::KeyGranted { .. }
            | Self::KeyRevoked { .. }
            | Self::PolicyChanged { .. }
            | Self::BondChanged { .. }
            | Self::DutyChanged { .. }
            | Self::DutyEnded { .. }
            | Self::AttributesSigned { .. }
            | Self::AttributesRevoked { .. }
            | Self::AffiliationSet { .. } => self.name_account(all),
        }
    }

    fn name_escrow(&self, all: &mut About) {
        match self {
            Self::EscrowDeposited { escrow, owner, depositor, amount: _ } => {
                all.escrow(*escrow);
                all.accounts([*owner, *depositor]);
            }
            Self::EscrowOverdrawn { escrow, owner } => {
                all.escrow(*escrow);
                all.account(*owner);
            }
            Self::EscrowClosed { escrow, owner, refunds, .. } => {
                all.escrow(*escrow);
                all.account(*owner);
                all.accounts(refunds.iter().map(|refund| refund.depositor));
            }
            _ => {}
        }
    }

    fn name_dispute(&self, all: &mut About) {
        match self {
            Self::DisputeOpened { dispute, of } | Self::DisputeClosed { dispute, of, .. } => {
                all.dispute(*dispute, of);
            }
            Self::DisputeVoted { dispute, validator, of } => {
                all.dispute(*dispute, of);
                all.validator(*validator);
            }
            Self::ChallengeOpened { dispute, of, bond: _ }
            | Self::BisectRevealed { dispute, of }
            | Self::BisectPicked { dispute, of, .. }
            | Self::StepCalled { dispute, of, step: _ }
            | Self::ChallengeClosed { dispute, of, .. } => all.challenge(*dispute, of),
            Self::StepVoted { dispute, of, validator } => {
                all.challenge(*dispute, of);
                all.validator(*validator);
            }
            _ => {}
        }
    }

    fn name_stake(&self, all: &mut About) {
        match self {
            Self::ValidatorChanged { validator, .. } | Self::ValidatorSlashed { validator, .. } => {
                all.validator(*validator);
            }
            Self::Delegated { delegator: who, validator, .. }
            | Self::Unstaked { owner: who, validator, .. }
            | Self::UnstakeClaimed { owner: who, validator, .. }
            | Self::RewardPaid { delegator: who, validator, .. } => {
                all.account(*who);
                all.validator(*validator);
            }
            Self::ProposalMade { proposal, proposer: who, until: _ }
            | Self::Voted { proposal, voter: who, choice: _ }
            | Self::ProposalChanged { proposal, proposer: who, status: _ } => {
                all.0.push(Subject::Proposal(*proposal));
                all.account(*who);
            }
            _ => {}
        }
    }

    fn name_account(&self, all: &mut About) {
        match self {
            Self::KeyGranted { account, key, expires: _ } | Self::KeyRevoked { account, key } => {
                all.accounts([*account, *key]);
            }
            Self::PolicyChanged { account, threshold: _ }
            | Self::BondChanged { account, amount: _ }
            | Self::DutyChanged { account, .. }
            | Self::DutyEnded { account, duty: _ } => all.account(*account),
            Self::AttributesSigned { provider, auditor: by, until: _ }
            | Self::AttributesRevoked { provider, auditor: by }
            | Self::AffiliationSet { operator: by, provider, affiliated: _ } => {
                all.provider(*provider);
                all.account(*by);
            }
            _ => {}
        }
    }
}

/// Subjects under collection. Whoever plays a part is also named as an account.
#[derive(Default)]
struct About(Vec<Subject>);

impl About {
    fn account(&mut self, id: AccountId) {
        self.0.push(Subject::Account(id));
    }

    fn accounts(&mut self, ids: impl IntoIterator<Item = AccountId>) {
        self.0.extend(ids.into_iter().map(Subject::Account));
    }

    fn provider(&mut self, id: AccountId) {
        self.0.push(Subject::Provider(id));
        self.account(id);
    }

    fn validator(&mut self, id: AccountId) {
        self.0.push(Subject::Validator(id));
        self.account(id);
    }

    fn host(&mut self, id: HostId) {
        self.0.push(Subject::Host(id));
        self.provider(id.provider);
    }

    fn escrow(&mut self, id: EscrowId) {
        self.0.push(Subject::Escrow(id));
    }

    fn order(&mut self, id: OrderId) {
        self.0.push(Subject::Order(id));
    }

    fn of_tenant(&mut self, tenant: AccountId, escrow: EscrowId, job: Option<JobId>) {
        self.account(tenant);
        self.escrow(escrow);
        self.0.extend(job.map(Subject::Job));
    }

    fn of_order(&mut self, id: OrderId, of: &OrderParties) {
        self.order(id);
        self.of_tenant(of.tenant, of.escrow, of.job);
    }

    fn challenge(&mut self, id: DisputeId, of: &Contest) {
        self.0.push(Subject::Dispute(id));
        self.lease(of.lease, of.provider, &of.of);
        self.account(of.challenger);
    }

    fn lease(&mut self, id: LeaseId, provider: AccountId, of: &Parties) {
        self.0.push(Subject::Lease(id));
        self.provider(provider);
        self.order(of.order);
        self.of_tenant(of.tenant, of.escrow, of.job);
    }

    fn dispute(&mut self, id: DisputeId, of: &Case) {
        self.0.push(Subject::Dispute(id));
        self.0.push(Subject::Job(of.job));
        self.account(of.tenant);
        self.0.extend(of.leases.map(Subject::Lease));
        self.0.extend(of.orders.map(Subject::Order));
        for provider in of.providers {
            self.provider(provider);
        }
    }
}
