//! What happened: every applied transaction and every block's end yields typed events.

use crate::{dispute::DisputeStatus, market::CloseReason, provider::ProviderStatus};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_types::{
    AccountId, Amount, Asset, DisputeId, EscrowId, Hash, HostId, JobId, LeaseId, Millis, OrderId,
    Rate, codec, merkle,
};
use serde::{Deserialize, Serialize};

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
        /// Who paid in.
        depositor: AccountId,
        /// How much `usd`.
        amount: Amount,
    },
    /// An escrow cannot pay in full.
    EscrowOverdrawn {
        /// Which escrow.
        escrow: EscrowId,
    },
    /// An escrow was closed and refunded.
    EscrowClosed {
        /// Which escrow.
        escrow: EscrowId,
        /// All that was paid in.
        deposited: Amount,
        /// All that providers were paid.
        paid: Amount,
        /// All that depositors got back.
        refunded: Amount,
        /// All that the tenant got out of bonds.
        compensated: Amount,
    },
    /// A job was opened.
    JobOpened {
        /// Which job.
        job: JobId,
        /// Whose.
        tenant: AccountId,
    },
    /// A job was closed.
    JobClosed {
        /// Which job.
        job: JobId,
    },
    /// An order was placed.
    OrderPlaced {
        /// Which order.
        order: OrderId,
        /// Whose.
        tenant: AccountId,
    },
    /// An order ended without being filled.
    OrderEnded {
        /// Which order.
        order: OrderId,
        /// True if its deadline passed, false if it was cancelled.
        expired: bool,
    },
    /// A lease was granted.
    LeaseGranted {
        /// Which lease.
        lease: LeaseId,
        /// Its order.
        order: OrderId,
        /// Whose.
        tenant: AccountId,
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
    },
    /// Heartbeats of a lease are missing.
    LeaseStalled {
        /// Which lease.
        lease: LeaseId,
        /// The provider.
        provider: AccountId,
    },
    /// A stalled lease's heartbeats are back.
    LeaseResumed {
        /// Which lease.
        lease: LeaseId,
        /// The provider.
        provider: AccountId,
    },
    /// A lease ended.
    LeaseClosed {
        /// Which lease.
        lease: LeaseId,
        /// The provider.
        provider: AccountId,
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
        /// What the provider was paid in all.
        paid: Amount,
        /// What went back to the escrow.
        forfeited: Amount,
    },
    /// A provider committed to its results.
    ResultCommitted {
        /// Which lease.
        lease: LeaseId,
        /// The Merkle root.
        root: Hash,
        /// How many results.
        count: u64,
    },
    /// A dispute was opened: validators re-run the task.
    DisputeOpened {
        /// Which dispute.
        dispute: DisputeId,
        /// The job.
        job: JobId,
        /// The leases whose claims differ.
        leases: [LeaseId; 2],
    },
    /// A validator voted.
    DisputeVoted {
        /// Which dispute.
        dispute: DisputeId,
        /// Who.
        validator: AccountId,
    },
    /// A dispute ended.
    DisputeClosed {
        /// Which dispute.
        dispute: DisputeId,
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
    /// An account let a key act for it, or changed what it may do.
    KeyGranted {
        /// Which account.
        account: AccountId,
        /// Which key.
        key: AccountId,
        /// Good up to this block time.
        expires: Millis,
    },
    /// A key does not act for an account any more.
    KeyRevoked {
        /// Which account.
        account: AccountId,
        /// Which key.
        key: AccountId,
    },
    /// An account decided who acts for it.
    PolicyChanged {
        /// Which account.
        account: AccountId,
        /// How many of its members must sign from now on; 0: its own key acts.
        threshold: u8,
    },
}

impl Event {
    /// The event's leaf under a block's event root.
    #[must_use]
    pub fn leaf(&self) -> Hash {
        Hash::of("muster event v1", &[&codec::encode(self)])
    }
}

/// The Merkle root ([`muster_types::merkle`]) over a block's events: those of its transactions in
/// order, then those of its end.
#[must_use]
pub fn event_root<'a>(events: impl IntoIterator<Item = &'a Event>) -> Hash {
    let leaves: Vec<Hash> = events.into_iter().map(Event::leaf).collect();
    merkle::root(&leaves)
}
