//! What an event concerns: the parties that it names, and the subjects that it is found from.

use super::{Event, Refund};
use crate::{
    Reject,
    bond::DutyKind,
    ctx::Ctx,
    dispute::{Challenge, ChallengeStatus, Dispute, DisputeStatus},
    market::{BidOutcome, CloseReason, Lease, Order, OrderStatus},
    provider::ProviderStatus,
    stake::{Seat, ValidatorStatus},
    vote::{Choice, ProposalStatus},
};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_types::{
    AccountId, Amount, Asset, DisputeId, EscrowId, Hash, HostId, JobId, LeaseId, Millis, OrderId,
    ProposalId, Rate, UnbondingId,
};
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
    /// Everything that the event concerns, each once: what the types and names of its fields say.
    #[must_use]
    pub fn subjects(&self) -> Vec<Subject> {
        let mut all = About::default();
        self.name_fields(&mut all);
        all.0.sort_unstable();
        all.0.dedup();
        all.0
    }
}

/// What a field of an event may name.
pub(super) trait Field {
    /// Collects what it names, as the field `name`.
    fn name(&self, name: &str, all: &mut About);
}

impl Field for AccountId {
    fn name(&self, name: &str, all: &mut About) {
        match name {
            "provider" => all.provider(*self),
            "validator" => all.validator(*self),
            _ => all.account(*self),
        }
    }
}

impl<T: Field> Field for Option<T> {
    fn name(&self, name: &str, all: &mut About) {
        self.iter().for_each(|one| one.name(name, all));
    }
}

impl<T: Field> Field for Vec<T> {
    fn name(&self, name: &str, all: &mut About) {
        self.iter().for_each(|one| one.name(name, all));
    }
}

/// How fields of a type are collected, whatever their name.
macro_rules! fields {
    ($($type:ty: |$field:ident, $all:ident| $does:expr;)*) => {$(
        impl Field for $type {
            fn name(&self, _: &str, $all: &mut About) {
                let $field = self;
                $does;
            }
        }
    )*};
}

fields! {
    HostId: |id, all| all.host(*id);
    OrderId: |id, all| all.0.push(Subject::Order(*id));
    LeaseId: |id, all| all.0.push(Subject::Lease(*id));
    EscrowId: |id, all| all.0.push(Subject::Escrow(*id));
    JobId: |id, all| all.0.push(Subject::Job(*id));
    DisputeId: |id, all| all.0.push(Subject::Dispute(*id));
    ProposalId: |id, all| all.0.push(Subject::Proposal(*id));
    Refund: |refund, all| all.account(refund.depositor);
    Seat: |seat, all| all.account(seat.owner);
    Parties: |of, all| all.lease(of);
    OrderParties: |of, all| all.of_tenant(of.tenant, of.escrow, of.job);
    Case: |of, all| all.dispute(of);
    Contest: |of, all| all.challenge(of);
}

/// What names nobody.
macro_rules! facts {
    ($($type:ty)*) => {$(
        impl Field for $type {
            fn name(&self, _: &str, _: &mut About) {}
        }
    )*};
}

facts! {
    bool u8 u32 u64 Amount Asset Hash Millis Rate UnbondingId
    BidOutcome ChallengeStatus Choice CloseReason DisputeStatus DutyKind OrderStatus
    ProposalStatus ProviderStatus ValidatorStatus
}

/// Subjects under collection. Whoever plays a part is also named as an account.
#[derive(Default)]
pub(super) struct About(Vec<Subject>);

impl About {
    fn account(&mut self, id: AccountId) {
        self.0.push(Subject::Account(id));
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

    fn of_tenant(&mut self, tenant: AccountId, escrow: EscrowId, job: Option<JobId>) {
        self.account(tenant);
        self.0.push(Subject::Escrow(escrow));
        self.0.extend(job.map(Subject::Job));
    }

    fn lease(&mut self, of: &Parties) {
        self.0.push(Subject::Order(of.order));
        self.of_tenant(of.tenant, of.escrow, of.job);
    }

    fn challenge(&mut self, of: &Contest) {
        self.0.push(Subject::Lease(of.lease));
        self.provider(of.provider);
        self.account(of.challenger);
        self.lease(&of.of);
    }

    fn dispute(&mut self, of: &Case) {
        self.0.push(Subject::Job(of.job));
        self.account(of.tenant);
        self.0.extend(of.leases.map(Subject::Lease));
        self.0.extend(of.orders.map(Subject::Order));
        for provider in of.providers {
            self.provider(provider);
        }
    }
}
