//! Orders and leases. Matching itself is `muster-market`; this module keeps the books.
//!
//! An order is open to standing offers, or takes bids first:
//!
//! | state | action or event | next |
//! |---|---|---|
//! | none | `OrderPlace` | open: to standing offers, or to bids for a window |
//! | open | the block's end: offers fit | leased (partly filled, and no gang: open for the rest) |
//! | open | `OrderCancel` | cancelled |
//! | open | deadline passed | expired |
//! | open | its turn, and the escrow cannot pay rent or visits | out of funds |
//! | open | `OrderUpdate` to a count that is granted | leased |
//! | open to bids | window ended, lowest wins, some bid won | leased |
//! | open to bids | window ended, lowest wins, the escrow is short or full | out of funds |
//! | open to bids | window ended, no bid (or none won) | expired |
//! | open to bids | window ended, the tenant picks | picking(until) |
//! | picking | `BidAccept` that gives leases | leased |
//! | picking | `OrderCancel` | cancelled |
//! | picking | `until` passed | expired |
//! | leased | `OrderUpdate` that grows | open to standing offers |
//! | leased, expired | `reauction`, and its provider broke a lease | open to standing offers |
//!
//! What is open or picking counts as open for its escrow and its job. Who has a turn when, is in
//! `wake`; what a turn does, in `clear`; what waiting costs, in `queue`; bids, in `bid`; changes in
//! place, in `update`; re-auction, in `ended`.
//!
//! A lease:
//!
//! | state | action or event | next |
//! |---|---|---|
//! | none | its order clears | granted |
//! | granted | `LeaseReady` by the provider | active |
//! | granted | a new manifest | granted: the time to get ready begins again |
//! | granted, updating | no `LeaseReady` within `ready_timeout_ms` | closed(provider_not_ready) |
//! | granted, updating | `LeaseDecline` by the provider | closed(undelivered) |
//! | active, updating | a new manifest | updating(since now) |
//! | updating | `LeaseReady` by the provider | active |
//! | active, updating | `LeaseReclaim` by the provider, with a notice in the terms | reclaiming(until now + notice) |
//! | reclaiming | a new manifest | the same: it ends soon |
//! | reclaiming | `until` has come | closed(reclaimed) |
//! | serving | no heartbeat for `stall_gap_ms` and `stall_gap_blocks` | stalled |
//! | stalled | a new manifest | stalled; goes back to updating, or to reclaiming |
//! | stalled | `Heartbeat` | what it was (the gap is not paid) |
//! | stalled | `stall_close_ms` more | closed(provider_stalled) |
//! | serving, stalled; no job | `ReadyReject` by the tenant within `ready_window_ms` of the first `LeaseReady` | closed(ready_rejected) |
//! | any open | `LeaseClose` by the tenant | closed(tenant_closed) |
//! | any open | `LeaseClose` by the provider before `guaranteed_until` | closed(provider_exit) |
//! | any open | `LeaseClose` by the provider at `guaranteed_until` or later | closed(offer_ended) |
//! | any open | the escrow is short for `overdrawn_grace_ms` | closed(out_of_funds) |
//! | any open | its claim is judged wrong, or it loses a challenge | closed(provider_fraud) |
//!
//! *Serving* is active, updating or reclaiming: heartbeats cover it and it is paid. A lease is
//! found serving or stalled by its heartbeats in steady time (see [`crate::Head`]). A gap of at
//! most `heartbeat_gap_max_ms` before a heartbeat is covered, and so is the one before a close of
//! a serving lease; a longer one never is. Who ended a lease, and whose fault it was, is in
//! [`CloseReason`].
//!
//! A plain lease (one without a job) is paid from `ready`: silence accepts. What it earns while
//! the tenant may still reject it is withheld in the escrow, and paid by the first settlement
//! after that, or when the lease closes; rejected, it is unpaid and unslashed, and counted against
//! both sides. A lease with a job cannot be rejected: its job says how its results are checked.
//!
//! A tenant that closes a lease pays for `min_charge_ms` at least, also before it was ready, as if
//! so much had been covered: by the rules of [`crate::escrow::settle`], so never more than the
//! escrow's share for it. Not where the lease is stalled: then its provider is not there.
//!
//! A lease of a metered job is paid at most
//! `floor(rate x committed fuel / (fuel_per_s x 3600 s))`, or `floor(rate x min_charge_ms)` where its
//! tenant closed it and that is more; the rest of what was withheld goes back to the escrow when it is settled.
//!
//! A closed lease is *settled* when its withheld pay is released or forfeited and its pledge is
//! free again: at once where nothing is withheld for its results, else on `ResultAccept`, else
//! when the challenge window has ended without an open dispute. At the levels that ask for a
//! commitment (see [`crate::job`]) a lease that has one waits for its window even where nothing is
//! withheld, and one that has none forfeits its pay then.

pub(crate) mod accept;
pub(crate) mod bid;
pub(crate) mod bid_accept;
pub(crate) mod bid_place;
pub(crate) mod bid_withdraw;
pub(crate) mod cancel;
pub(crate) mod clear;
pub(crate) mod close;
pub(crate) mod commit;
pub(crate) mod conduct;
pub(crate) mod decline;
pub(crate) mod due;
pub(crate) mod ended;
pub(crate) mod grant;
pub(crate) mod heartbeat;
pub(crate) mod lease;
mod offers;
mod order;
pub(crate) mod place;
pub(crate) mod queue;
mod quotes;
pub(crate) mod ready;
pub(crate) mod reclaim;
pub(crate) mod reject;
pub(crate) mod settled;
pub(crate) mod update;
pub(crate) mod wake;

pub use bid::{Bid, BidOutcome};
pub use conduct::TenantConduct;
pub use lease::{Party, Serving};
pub(crate) use offers::{Offers, Seen, host_view, offer_entries, provider_view};
pub use order::{Bidding, Mode, Order, OrderChange, OrderStatus, Pick, Turn};
pub use quotes::QuoteBook;
pub use wake::Wake;

use crate::{
    archive,
    job::{Verification, draw},
    keys::{self, Listing, Record, Table},
};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_market::Request;
use muster_types::{
    AccountId, Amount, EscrowId, Hash, HostId, JobId, LeaseId, Millis, OrderId, Rate, Resources,
};
use serde::{Deserialize, Serialize};

/// Who ended a lease, and why.
///
/// | reason | ended by | provider's fault: slashed | counted against |
/// |---|---|---|---|
/// | `TenantClosed` | tenant | no | nobody |
/// | `OutOfFunds` | network | no | tenant |
/// | `ProviderNotReady`, `ProviderStalled`, `ProviderFraud` | network | yes | provider |
/// | `ProviderExit` | provider | yes | provider |
/// | `ReadyRejected` | tenant | no | both |
/// | `Undelivered` | provider | no | both |
/// | `Reclaimed`, `OfferEnded` | provider | no | nobody |
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
    /// Provider: signed or committed to a wrong result, or did not answer for it.
    ProviderFraud,
    /// Tenant: what was reported ready is not what was ordered.
    ReadyRejected,
    /// Provider: the manifest was not delivered, or cannot be run.
    Undelivered,
    /// Provider: took back what was leased as interruptible, with notice.
    Reclaimed,
    /// Provider: left when its offer had ended.
    OfferEnded,
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
            Self::TenantClosed
            | Self::OutOfFunds
            | Self::ReadyRejected
            | Self::Undelivered
            | Self::Reclaimed
            | Self::OfferEnded => false,
        }
    }

    /// Whose act, or which rule's, ended the lease.
    #[must_use]
    pub const fn ended_by(self) -> Party {
        match self {
            Self::TenantClosed | Self::ReadyRejected => Party::Tenant,
            Self::ProviderExit | Self::Undelivered | Self::Reclaimed | Self::OfferEnded => {
                Party::Provider
            }
            Self::OutOfFunds
            | Self::ProviderNotReady
            | Self::ProviderStalled
            | Self::ProviderFraud => Party::Network,
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

    /// Steady time from which a closed lease's challenge window runs: its end, or the draw of its
    /// commitment where that is later. `None` while that draw is due.
    #[must_use]
    pub fn window_from(&self) -> Option<Millis> {
        match self.commitment.filter(|_| self.verification.is_committed()) {
            Some(commitment) => commitment.draw.map(|draw| draw.steady.max(self.seen_steady)),
            None => Some(self.seen_steady),
        }
    }

    /// The provider that serves it.
    #[must_use]
    pub const fn provider(&self) -> AccountId {
        self.host.provider
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
            Self::Updating { .. } => "updating",
            Self::Reclaiming { .. } => "reclaiming",
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
        /// What a heartbeat takes it back to.
        was: Serving,
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
    /// Serves the manifest before and is paid; the provider takes up the new one.
    Updating {
        /// Steady time of the new manifest.
        since: Millis,
    },
    /// Serves and is paid until then.
    Reclaiming {
        /// Steady time of the end.
        until: Millis,
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
    /// What of it was paid out; the rest is withheld in the escrow until it vests.
    pub paid: Amount,
    /// What the tenant got for this lease out of the bond: never more than `accrued`.
    pub compensated: Amount,
    /// The committed results.
    pub commitment: Option<Commitment>,
    /// Open disputes that name this lease.
    pub disputes: u32,
    /// The end of its host's offer when it was granted, or when its order was last extended: up
    /// to then its price stands, from then on its provider may leave freely (block time).
    pub guaranteed_until: Millis,
    /// How much notice the provider has to give before it takes back what is leased; `None`: it
    /// may not.
    pub reclaim_notice: Option<Millis>,
    /// Fuel that the host offered to burn in a second, for a metered job; zero: not metered.
    pub fuel_per_s: u64,
    /// Until when the tenant may reject it, in steady time: set by the first `LeaseReady` of a
    /// plain lease. What is earned before is withheld.
    pub rejectable_until: Millis,
    /// Since when nothing can change it, in steady time (see [`crate::archive`]).
    pub final_at: Option<Millis>,
}

/// A provider's commitment to its results on a lease.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Commitment {
    /// Merkle root over the task outputs; of a chain at level `dispute`, over its states.
    pub root: Hash,
    /// How many leaves.
    pub count: u64,
    /// Block time of the commitment.
    pub at: Millis,
    /// Fuel that its leaves used together.
    pub fuel: u64,
    /// Height of the same.
    pub height: u64,
    /// The beacon's round in the block of the same: [`draw::DELAY_ROUNDS`] later it is drawn.
    pub round: u64,
    /// What made it final, at the levels where something does (see [`crate::job`]).
    pub draw: Option<Draw>,
    /// The last state of a chain, once it was opened in a dispute.
    pub last: Option<Hash>,
}

/// What made a commitment final.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Draw {
    /// The beacon that says what is audited (see [`crate::job::draw`]).
    pub beacon: Hash,
    /// Steady time of its block.
    pub steady: Millis,
}

impl Record for Lease {
    type Key = LeaseId;
    const KIND: &'static str = "lease";
    const TABLE: Table<LeaseId, Self> = keys::LEASES;
    const LISTING: Listing = Listing::Always;

    archive::leaves!(Lease);

    fn is_final(&self) -> bool {
        self.status.is_settled() && self.disputes == 0 && self.pledge.is_zero()
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
        if self.status.serving().is_some() {
            emit(keys::ACTIVE_DUE.key(&(self.seen_steady, *key)));
        }
        match self.status {
            LeaseStatus::Granted => emit(keys::GRANTED_DUE.key(&(self.seen_steady, *key))),
            LeaseStatus::Active => {}
            LeaseStatus::Updating { since } => emit(keys::UPDATING_DUE.key(&(since, *key))),
            LeaseStatus::Reclaiming { until } => emit(keys::RECLAIMING_DUE.key(&(until, *key))),
            LeaseStatus::Stalled { since, .. } => emit(keys::STALLED_DUE.key(&(since, *key))),
            LeaseStatus::Closed { settled: false, .. } if self.disputes == 0 => {
                if let Some(from) = self.window_from() {
                    emit(keys::CLOSED_DUE.key(&(from, *key)));
                }
            }
            LeaseStatus::Closed { .. } => {}
        }
        if let Some(Commitment { round, draw: None, .. }) = self.commitment
            && self.verification.is_committed()
            && !self.status.is_settled()
        {
            emit(keys::DRAWS_DUE.key(&(round.saturating_add(draw::DELAY_ROUNDS), *key)));
        }
    }
}

#[cfg(test)]
mod tests;
