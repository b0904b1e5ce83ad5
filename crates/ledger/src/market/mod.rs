//! Orders and leases. Matching itself is `muster-market`; this module keeps the books.
//!
//! An order:
//!
//! | state | action or event | next |
//! |---|---|---|
//! | none | `OrderPlace` | open |
//! | open | the block's end: offers fit | leased (partly filled, and no gang: open for the rest) |
//! | open | `OrderCancel` | cancelled |
//! | open | deadline passed | expired |
//!
//! A lease:
//!
//! | state | action or event | next |
//! |---|---|---|
//! | none | its order clears | granted |
//! | granted | `LeaseReady` by the provider | active |
//! | granted | no `LeaseReady` within `ready_timeout_ms` | closed(provider_not_ready) |
//! | active | no heartbeat for `stall_gap_ms` and `stall_gap_blocks` | stalled |
//! | stalled | `Heartbeat` | active (the gap is not paid) |
//! | stalled | `stall_close_ms` more | closed(provider_stalled) |
//! | granted, active, stalled | `LeaseClose` by the tenant | closed(tenant_closed) |
//! | granted, active, stalled | `LeaseClose` by the provider | closed(provider_exit) |
//! | granted, active, stalled | the escrow is short for `overdrawn_grace_ms` | closed(out_of_funds) |
//! | any open | its claim is judged wrong | closed(provider_fraud) |
//!
//! A lease is found active or stalled by its heartbeats in steady time (see [`crate::Head`]). A
//! gap of at most `heartbeat_gap_max_ms` before a heartbeat is covered, and so is the one before a
//! close of an active lease; a longer one never is.
//!
//! A closed lease is *settled* when its withheld pay is released or forfeited and its pledge is
//! free again: at once where nothing is withheld, else on `ResultAccept`, else when the challenge
//! window has ended without an open dispute.

pub(crate) mod accept;
pub(crate) mod cancel;
pub(crate) mod clear;
pub(crate) mod close;
pub(crate) mod commit;
pub(crate) mod due;
pub(crate) mod heartbeat;
mod offers;
pub(crate) mod place;
pub(crate) mod ready;
pub(crate) mod settled;

pub(crate) use offers::{Offers, offer_entries};

use crate::{
    archive::Kind,
    job::Verification,
    keys::{self, Record, Table},
};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_market::{Request, Terms};
use muster_types::{
    AccountId, Amount, EscrowId, Hash, HostId, JobId, LeaseId, Millis, OrderId, Rate, Resources,
};
use serde::{Deserialize, Serialize};

/// Where an order stands.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    /// Waits for offers that fit.
    Open,
    /// Filled.
    Leased,
    /// Its deadline passed.
    Expired,
    /// Withdrawn by its owner.
    Cancelled,
}

/// An order's state.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Order {
    /// Who placed it.
    pub tenant: AccountId,
    /// Who pays.
    pub escrow: EscrowId,
    /// The job that it works for.
    pub job: Option<JobId>,
    /// What is wanted.
    pub terms: Terms,
    /// Salted hash of the manifest.
    pub manifest: Hash,
    /// Where it stands.
    pub status: OrderStatus,
    /// When it was placed.
    pub placed_at: Millis,
    /// If not filled by then it expires.
    pub deadline: Millis,
    /// The fee that placing it paid: who paid more clears first.
    pub fee: Amount,
    /// The leases that it was granted.
    pub leases: Vec<LeaseId>,
    /// Those of them that are not settled.
    pub open_leases: u32,
    /// Since when nothing can change it, in steady time (see [`crate::archive`]).
    pub final_at: Option<Millis>,
}

/// Who ended a lease, and why.
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
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum CloseReason {
    /// Tenant: does not need it any more.
    TenantClosed,
    /// Tenant: the escrow ran dry and was not filled up.
    OutOfFunds,
    /// Provider: never became ready.
    ProviderNotReady,
    /// Provider: heartbeats stopped.
    ProviderStalled,
    /// Provider: left early.
    ProviderExit,
    /// Provider: signed a wrong result.
    ProviderFraud,
}

impl CloseReason {
    /// Whether the provider is to blame.
    #[must_use]
    pub const fn is_provider_fault(self) -> bool {
        match self {
            Self::ProviderNotReady
            | Self::ProviderStalled
            | Self::ProviderExit
            | Self::ProviderFraud => true,
            Self::TenantClosed | Self::OutOfFunds => false,
        }
    }
}

impl Lease {
    /// Pay that is held back in the escrow: earned, not paid out, not forfeited.
    #[must_use]
    pub const fn withheld(&self) -> Amount {
        if self.status.is_settled() {
            return Amount::ZERO;
        }
        self.accrued.saturating_sub(self.paid)
    }

    /// The provider that serves it.
    #[must_use]
    pub const fn provider(&self) -> AccountId {
        self.host.provider
    }
}

impl OrderStatus {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Leased => "leased",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }
}

impl LeaseStatus {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Active => "active",
            Self::Stalled { .. } => "stalled",
            Self::Closed { settled: false, .. } => "closed",
            Self::Closed { settled: true, .. } => "settled",
        }
    }

    /// Whether the lease has not ended.
    #[must_use]
    pub const fn is_open(self) -> bool {
        !self.is_closed()
    }

    /// Whether the lease has ended.
    #[must_use]
    pub const fn is_closed(self) -> bool {
        matches!(self, Self::Closed { .. })
    }

    /// Whether the lease has ended and pay and pledge are dealt with.
    #[must_use]
    pub const fn is_settled(self) -> bool {
        matches!(self, Self::Closed { settled: true, .. })
    }
}

/// Where a lease stands.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum LeaseStatus {
    /// Won; the provider prepares.
    Granted,
    /// Serves and is paid for covered time.
    Active,
    /// Heartbeats are missing since then; unpaid.
    Stalled {
        /// Steady time at which the stall was found.
        since: Millis,
    },
    /// Ended.
    Closed {
        /// Who ended it, and why.
        reason: CloseReason,
        /// Block time of the end.
        at: Millis,
        /// Whether pay and pledge are dealt with.
        settled: bool,
    },
}

/// A lease's state. Times named `steady` are in steady time (see [`crate::Head`]).
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Lease {
    /// Its order.
    pub order: OrderId,
    /// Who pays.
    pub escrow: EscrowId,
    /// The job that it works for.
    pub job: Option<JobId>,
    /// Whose lease it is.
    pub tenant: AccountId,
    /// The host that serves it.
    pub host: HostId,
    /// What it asked of the host.
    pub request: Request,
    /// What it takes of the host, its GPUs tied to one kind.
    pub takes: Resources,
    /// How its results are checked: its job's terms; none for a plain lease.
    pub verification: Verification,
    /// Its price.
    pub rate: Rate,
    /// The part of the provider's bond that it locks.
    pub pledge: Amount,
    /// Where it stands.
    pub status: LeaseStatus,
    /// Block time of the grant.
    pub granted_at: Millis,
    /// Steady time up to which coverage was judged: the last heartbeat, `LeaseReady`, grant, or
    /// close.
    pub seen_steady: Millis,
    /// Height of the same.
    pub seen_height: u64,
    /// Heartbeat-covered time so far.
    pub covered: Millis,
    /// `floor(rate x covered)`, less the shortfall.
    pub accrued: Amount,
    /// What the escrow could not pay. Later deposits pay it first, until the lease closes.
    pub shortfall: Amount,
    /// What of it was paid out; the rest is withheld in the escrow until the results stand.
    pub paid: Amount,
    /// What the tenant got for this lease out of the bond: never more than `accrued`.
    pub compensated: Amount,
    /// The committed results.
    pub commitment: Option<Commitment>,
    /// Open disputes that name this lease.
    pub disputes: u32,
    /// Since when nothing can change it, in steady time (see [`crate::archive`]).
    pub final_at: Option<Millis>,
}

/// A provider's commitment to its results on a lease.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Commitment {
    /// Merkle root over the task outputs.
    pub root: Hash,
    /// How many leaves.
    pub count: u64,
    /// Block time of the commitment.
    pub at: Millis,
}

impl Record for Order {
    type Key = OrderId;
    const KIND: &'static str = "order";
    const TABLE: Table<OrderId, Self> = keys::ORDERS;
    const LEAVES: Option<Kind> = Some(Kind::Order);

    fn is_final(&self) -> bool {
        let ended = match self.status {
            OrderStatus::Leased | OrderStatus::Expired | OrderStatus::Cancelled => true,
            OrderStatus::Open => false,
        };
        ended && self.open_leases == 0
    }

    fn final_at(&self) -> Option<Millis> {
        self.final_at
    }

    fn set_final_at(&mut self, at: Option<Millis>) {
        self.final_at = at;
    }

    fn entries(&self, key: &OrderId, emit: &mut dyn FnMut(Vec<u8>)) {
        emit(keys::ORDERS_BY_TENANT.key(&(self.tenant, *key)));
        emit(keys::ORDERS_BY_ESCROW.key(&(self.escrow, *key)));
        if self.status == OrderStatus::Open {
            emit(keys::ORDERS_WAITING.key(&(self.placed_at, *key)));
            emit(keys::ORDERS_DUE.key(&(self.deadline, *key)));
        }
    }
}

impl Record for Lease {
    type Key = LeaseId;
    const KIND: &'static str = "lease";
    const TABLE: Table<LeaseId, Self> = keys::LEASES;
    const LEAVES: Option<Kind> = Some(Kind::Lease);

    fn is_final(&self) -> bool {
        self.status.is_settled() && self.disputes == 0 && self.pledge.is_zero()
    }

    fn final_at(&self) -> Option<Millis> {
        self.final_at
    }

    fn set_final_at(&mut self, at: Option<Millis>) {
        self.final_at = at;
    }

    fn entries(&self, key: &LeaseId, emit: &mut dyn FnMut(Vec<u8>)) {
        emit(keys::LEASES_BY_PROVIDER.key(&(self.host.provider, *key)));
        emit(keys::LEASES_BY_TENANT.key(&(self.tenant, *key)));
        emit(keys::LEASES_BY_ESCROW.key(&(self.escrow, *key)));
        if let Some(job) = self.job {
            emit(keys::LEASES_BY_JOB.key(&(job, *key)));
        }
        if !self.status.is_closed() {
            emit(keys::OPEN_LEASES_BY_ESCROW.key(&(self.escrow, *key)));
        }
        match self.status {
            LeaseStatus::Granted => emit(keys::GRANTED_DUE.key(&(self.seen_steady, *key))),
            LeaseStatus::Active => emit(keys::ACTIVE_DUE.key(&(self.seen_steady, *key))),
            LeaseStatus::Stalled { since } => emit(keys::STALLED_DUE.key(&(since, *key))),
            LeaseStatus::Closed { settled: false, .. } if self.disputes == 0 => {
                emit(keys::CLOSED_DUE.key(&(self.seen_steady, *key)));
            }
            LeaseStatus::Closed { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests;
