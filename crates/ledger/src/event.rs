//! What happened: every applied transaction and every block's end yields typed events.
//!
//! An event carries the id of everything that it concerns ([`Event::subjects`]), so that a host
//! can index it under each of them and nobody has to join or scan.

use crate::{
    Reject,
    ctx::Ctx,
    dispute::{Dispute, DisputeStatus},
    market::{CloseReason, Lease},
    provider::ProviderStatus,
};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_types::{
    AccountId, Amount, Asset, DisputeId, EscrowId, Hash, HostId, JobId, LeaseId, Millis, OrderId,
    Rate, codec, merkle,
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
    /// A dispute.
    Dispute(DisputeId),
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

/// What one depositor got back out of a closed escrow.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Refund {
    /// Who.
    pub depositor: AccountId,
    /// How much `usd`.
    pub amount: Amount,
}

/// A fact that the ledger established. Hashed into the block's event root: only ever append.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// Money moved between accounts.
    Transferred {
        /// Who paid.
        from: AccountId,
        /// Who was paid.
        to: AccountId,
        /// Which asset.
        asset: Asset,
        /// How much.
        amount: Amount,
    },
    /// A provider registered, changed its description or its state.
    ProviderChanged {
        /// Which provider.
        provider: AccountId,
        /// Where it stands now.
        status: ProviderStatus,
        /// Its bond now, `usd`.
        bond: Amount,
    },
    /// A host was added or changed.
    HostOffered {
        /// Which host.
        host: HostId,
    },
    /// A host was withdrawn.
    HostRemoved {
        /// Which host.
        host: HostId,
    },
    /// An escrow was opened or filled up.
    EscrowDeposited {
        /// Which escrow.
        escrow: EscrowId,
        /// Who opened it.
        owner: AccountId,
        /// Who paid in.
        depositor: AccountId,
        /// How much `usd`.
        amount: Amount,
    },
    /// An escrow cannot pay in full.
    EscrowOverdrawn {
        /// Which escrow.
        escrow: EscrowId,
        /// Who opened it.
        owner: AccountId,
    },
    /// An escrow was closed and refunded.
    EscrowClosed {
        /// Which escrow.
        escrow: EscrowId,
        /// Who opened it.
        owner: AccountId,
        /// All that was paid in.
        deposited: Amount,
        /// All that providers were paid.
        paid: Amount,
        /// All that depositors got back.
        refunded: Amount,
        /// What each of them got back.
        refunds: Vec<Refund>,
        /// All that the tenant got out of bonds.
        compensated: Amount,
    },
    /// A job was opened.
    JobOpened {
        /// Which job.
        job: JobId,
        /// Whose.
        tenant: AccountId,
        /// Who pays for it.
        escrow: EscrowId,
    },
    /// A job was closed.
    JobClosed {
        /// Which job.
        job: JobId,
        /// Whose.
        tenant: AccountId,
        /// Who paid for it.
        escrow: EscrowId,
    },
    /// An order was placed.
    OrderPlaced {
        /// Which order.
        order: OrderId,
        /// Whose.
        tenant: AccountId,
        /// Who pays.
        escrow: EscrowId,
        /// The job that it works for.
        job: Option<JobId>,
    },
    /// An order ended without being filled.
    OrderEnded {
        /// Which order.
        order: OrderId,
        /// True if its deadline passed, false if it was cancelled.
        expired: bool,
        /// Whose.
        tenant: AccountId,
        /// Who would have paid.
        escrow: EscrowId,
        /// The job that it was for.
        job: Option<JobId>,
    },
    /// A lease was granted.
    LeaseGranted {
        /// Which lease.
        lease: LeaseId,
        /// Its order.
        order: OrderId,
        /// Whose.
        tenant: AccountId,
        /// Who pays.
        escrow: EscrowId,
        /// The job that it works for.
        job: Option<JobId>,
        /// The host.
        host: HostId,
        /// The price.
        rate: Rate,
        /// The bond that it locks.
        pledge: Amount,
    },
    /// A lease became ready: pay starts.
    LeaseStarted {
        /// Which lease.
        lease: LeaseId,
        /// The provider.
        provider: AccountId,
        /// What else it concerns.
        #[serde(flatten)]
        of: Parties,
    },
    /// Heartbeats of a lease are missing.
    LeaseStalled {
        /// Which lease.
        lease: LeaseId,
        /// The provider.
        provider: AccountId,
        /// What else it concerns.
        #[serde(flatten)]
        of: Parties,
    },
    /// A stalled lease's heartbeats are back.
    LeaseResumed {
        /// Which lease.
        lease: LeaseId,
        /// The provider.
        provider: AccountId,
        /// What else it concerns.
        #[serde(flatten)]
        of: Parties,
    },
    /// A lease ended.
    LeaseClosed {
        /// Which lease.
        lease: LeaseId,
        /// The provider.
        provider: AccountId,
        /// What else it concerns.
        #[serde(flatten)]
        of: Parties,
        /// Who ended it, and why.
        reason: CloseReason,
        /// Heartbeat-covered time in all.
        covered: Millis,
        /// Pay earned in all.
        accrued: Amount,
    },
    /// A lease's pay was released or forfeited and its pledge freed.
    LeaseSettled {
        /// Which lease.
        lease: LeaseId,
        /// The provider.
        provider: AccountId,
        /// What else it concerns.
        #[serde(flatten)]
        of: Parties,
        /// What the provider was paid in all.
        paid: Amount,
        /// What went back to the escrow.
        forfeited: Amount,
    },
    /// A provider committed to its results.
    ResultCommitted {
        /// Which lease.
        lease: LeaseId,
        /// The provider.
        provider: AccountId,
        /// What else it concerns.
        #[serde(flatten)]
        of: Parties,
        /// The Merkle root.
        root: Hash,
        /// How many results.
        count: u64,
    },
    /// A dispute was opened: validators re-run the task.
    DisputeOpened {
        /// Which dispute.
        dispute: DisputeId,
        /// What it is about.
        #[serde(flatten)]
        of: Case,
    },
    /// A validator voted.
    DisputeVoted {
        /// Which dispute.
        dispute: DisputeId,
        /// Who.
        validator: AccountId,
        /// What it is about.
        #[serde(flatten)]
        of: Case,
    },
    /// A dispute ended.
    DisputeClosed {
        /// Which dispute.
        dispute: DisputeId,
        /// What it is about.
        #[serde(flatten)]
        of: Case,
        /// How.
        status: DisputeStatus,
        /// The leases whose claims were wrong.
        losers: Vec<LeaseId>,
    },
    /// A provider lost bond.
    Slashed {
        /// Who.
        provider: AccountId,
        /// On which lease.
        lease: LeaseId,
        /// What else it concerns.
        #[serde(flatten)]
        of: Parties,
        /// Who reported it, where somebody did.
        reporter: Option<AccountId>,
        /// For what.
        reason: CloseReason,
        /// How much in all; the three parts below add up to it.
        amount: Amount,
        /// To the tenant, up to its loss on this lease.
        compensated: Amount,
        /// To who reported it.
        rewarded: Amount,
        /// Destroyed.
        burned: Amount,
    },
}

impl Event {
    /// The event's leaf under a block's event root.
    #[must_use]
    pub fn leaf(&self) -> Hash {
        Hash::of("muster event v1", &[&codec::encode(self)])
    }

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
            Self::ProviderChanged { provider, status: _, bond: _ } => all.provider(*provider),
            Self::HostOffered { host } | Self::HostRemoved { host } => all.host(*host),
            Self::EscrowDeposited { escrow, owner, depositor, amount: _ } => {
                all.escrow(*escrow);
                all.account(*owner);
                all.account(*depositor);
            }
            Self::EscrowOverdrawn { escrow, owner } => {
                all.escrow(*escrow);
                all.account(*owner);
            }
            Self::EscrowClosed { escrow, owner, refunds, .. } => {
                all.escrow(*escrow);
                all.account(*owner);
                for refund in refunds {
                    all.account(refund.depositor);
                }
            }
            Self::JobOpened { job, tenant, escrow } | Self::JobClosed { job, tenant, escrow } => {
                all.of_tenant(*tenant, *escrow, Some(*job));
            }
            Self::OrderPlaced { order, tenant, escrow, job }
            | Self::OrderEnded { order, expired: _, tenant, escrow, job } => {
                all.order(*order);
                all.of_tenant(*tenant, *escrow, *job);
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
            | Self::ResultCommitted { lease, provider, of, .. } => all.lease(*lease, *provider, of),
            Self::DisputeOpened { dispute, of } | Self::DisputeClosed { dispute, of, .. } => {
                all.dispute(*dispute, of);
            }
            Self::DisputeVoted { dispute, validator, of } => {
                all.dispute(*dispute, of);
                all.validator(*validator);
            }
            Self::Slashed { provider, lease, of, reporter, .. } => {
                all.lease(*lease, *provider, of);
                if let Some(reporter) = reporter {
                    all.account(*reporter);
                }
            }
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

/// The Merkle root ([`muster_types::merkle`]) over a block's events: those of its transactions in
/// order, then those of its end.
#[must_use]
pub fn event_root<'a>(events: impl IntoIterator<Item = &'a Event>) -> Hash {
    let leaves: Vec<Hash> = events.into_iter().map(Event::leaf).collect();
    merkle::root(&leaves)
}

#[cfg(test)]
pub(crate) mod tests;
