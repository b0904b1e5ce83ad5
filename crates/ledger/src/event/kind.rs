//! The kinds of events.

use super::{
    Case, Contest, OrderParties, Parties, Refund,
    subject::{About, Field},
};
use crate::{
    bond::DutyKind,
    dispute::{ChallengeStatus, DisputeStatus},
    market::{BidOutcome, CloseReason, OrderStatus},
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

/// Declares [`Event`]: documentation and name of each kind; name, type and documentation of each of
/// its fields.
macro_rules! events {
    ($($(#[$about:meta])* $kind:ident {
        $($(#[$attribute:meta])* $field:ident: $type:ty = $doc:literal;)*
    })*) => {
        /// A fact that the ledger established. Hashed into the block's event root: only ever append.
        #[derive(
            Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
        )]
        #[serde(rename_all = "snake_case", tag = "event")]
        pub enum Event {
            $($(#[$about])* $kind {
                $(#[doc = $doc] $(#[$attribute])* $field: $type,)*
            },)*
        }

        impl Event {
            /// The names of all kinds, in the order of their encoding.
            pub const KINDS: &'static [&'static str] = &[$(stringify!($kind),)*];

            /// The name of its kind.
            #[must_use]
            pub const fn kind(&self) -> &'static str {
                match self {
                    $(Self::$kind { .. } => stringify!($kind),)*
                }
            }

            /// Collects what its fields name.
            pub(super) fn name_fields(&self, all: &mut About) {
                match self {
                    $(Self::$kind { $($field,)* } => {
                        $(Field::name($field, stringify!($field), all);)*
                    })*
                }
            }
        }
    };
}

events! {
    /// Money moved between accounts.
    Transferred {
        from: AccountId = "Who paid.";
        to: AccountId = "Who was paid.";
        asset: Asset = "Which asset.";
        amount: Amount = "How much.";
    }
    /// A provider registered, changed its description or its state.
    ProviderChanged {
        provider: AccountId = "Which provider.";
        status: ProviderStatus = "Where it stands now.";
    }
    /// A host was added or changed.
    HostOffered {
        host: HostId = "Which host.";
    }
    /// A host was withdrawn.
    HostRemoved {
        host: HostId = "Which host.";
    }
    /// An escrow was opened or filled up.
    EscrowDeposited {
        escrow: EscrowId = "Which escrow.";
        owner: AccountId = "Who opened it.";
        depositor: AccountId = "Who paid in.";
        amount: Amount = "How much `usd`.";
    }
    /// An escrow cannot pay in full.
    EscrowOverdrawn {
        escrow: EscrowId = "Which escrow.";
        owner: AccountId = "Who opened it.";
    }
    /// An escrow was closed and refunded.
    EscrowClosed {
        escrow: EscrowId = "Which escrow.";
        owner: AccountId = "Who opened it.";
        deposited: Amount = "All that was paid in.";
        paid: Amount = "All that providers were paid.";
        refunded: Amount = "All that depositors got back.";
        refunds: Vec<Refund> = "What each of them got back.";
        compensated: Amount = "All that the tenant got out of bonds.";
        fees: Amount = "All that its orders were charged.";
    }
    /// A job was opened.
    JobOpened {
        job: JobId = "Which job.";
        tenant: AccountId = "Whose.";
        escrow: EscrowId = "Who pays for it.";
    }
    /// A job was closed.
    JobClosed {
        job: JobId = "Which job.";
        tenant: AccountId = "Whose.";
        escrow: EscrowId = "Who paid for it.";
    }
    /// An order was placed.
    OrderPlaced {
        order: OrderId = "Which order.";
        tenant: AccountId = "Whose.";
        escrow: EscrowId = "Who pays.";
        job: Option<JobId> = "The job that it works for.";
    }
    /// An order ended: filled or not.
    OrderEnded {
        order: OrderId = "Which order.";
        status: OrderStatus = "How: leased, expired, cancelled or out of funds.";
        charged: Amount = "All that it was charged for waiting and visits, `usd`.";
        #[serde(flatten)] of: OrderParties = "What else it concerns.";
    }
    /// A lease was granted.
    LeaseGranted {
        lease: LeaseId = "Which lease.";
        order: OrderId = "Its order.";
        tenant: AccountId = "Whose.";
        escrow: EscrowId = "Who pays.";
        job: Option<JobId> = "The job that it works for.";
        host: HostId = "The host.";
        rate: Rate = "The price.";
        pledge: Amount = "The bond that it locks.";
    }
    /// A lease became ready: pay starts.
    LeaseStarted {
        lease: LeaseId = "Which lease.";
        provider: AccountId = "The provider.";
        #[serde(flatten)] of: Parties = "What else it concerns.";
    }
    /// Heartbeats of a lease are missing.
    LeaseStalled {
        lease: LeaseId = "Which lease.";
        provider: AccountId = "The provider.";
        #[serde(flatten)] of: Parties = "What else it concerns.";
    }
    /// A stalled lease's heartbeats are back.
    LeaseResumed {
        lease: LeaseId = "Which lease.";
        provider: AccountId = "The provider.";
        #[serde(flatten)] of: Parties = "What else it concerns.";
    }
    /// A lease ended.
    LeaseClosed {
        lease: LeaseId = "Which lease.";
        provider: AccountId = "The provider.";
        #[serde(flatten)] of: Parties = "What else it concerns.";
        reason: CloseReason = "Who ended it, and why.";
        covered: Millis = "Heartbeat-covered time in all.";
        accrued: Amount = "Pay earned in all.";
    }
    /// A lease's pay was released or forfeited and its pledge freed.
    LeaseSettled {
        lease: LeaseId = "Which lease.";
        provider: AccountId = "The provider.";
        #[serde(flatten)] of: Parties = "What else it concerns.";
        paid: Amount = "What was paid out to the provider in all, before the fee on its operator's share \
            (see [`crate::neutrality`]), which it bears.";
        forfeited: Amount = "What went back to the escrow.";
    }
    /// A provider committed to its results.
    ResultCommitted {
        lease: LeaseId = "Which lease.";
        provider: AccountId = "The provider.";
        #[serde(flatten)] of: Parties = "What else it concerns.";
        root: Hash = "The Merkle root.";
        count: u64 = "How many results.";
        fuel: u64 = "Fuel that they used together.";
    }
    /// A dispute was opened: validators re-run the task.
    DisputeOpened {
        dispute: DisputeId = "Which dispute.";
        #[serde(flatten)] of: Case = "What it is about.";
    }
    /// A validator voted.
    DisputeVoted {
        dispute: DisputeId = "Which dispute.";
        validator: AccountId = "Who.";
        #[serde(flatten)] of: Case = "What it is about.";
    }
    /// A dispute ended.
    DisputeClosed {
        dispute: DisputeId = "Which dispute.";
        #[serde(flatten)] of: Case = "What it is about.";
        status: DisputeStatus = "How.";
        losers: Vec<LeaseId> = "The leases whose claims were wrong.";
    }
    /// A provider lost bond.
    Slashed {
        provider: AccountId = "Who.";
        lease: LeaseId = "On which lease.";
        #[serde(flatten)] of: Parties = "What else it concerns.";
        reporter: Option<AccountId> = "Who reported it, where somebody did.";
        reason: CloseReason = "For what.";
        amount: Amount = "How much in all; the three parts below add up to it.";
        compensated: Amount = "To the tenant, up to its loss on this lease.";
        rewarded: Amount = "To who reported it.";
        burned: Amount = "Destroyed.";
    }
    /// An account let a key act for it, or changed what it may do.
    KeyGranted {
        account: AccountId = "Which account.";
        key: AccountId = "Which key.";
        expires: Millis = "Good up to this block time.";
    }
    /// A key does not act for an account any more.
    KeyRevoked {
        account: AccountId = "Which account.";
        key: AccountId = "Which key.";
    }
    /// An account decided who acts for it.
    PolicyChanged {
        account: AccountId = "Which account.";
        threshold: u8 = "How many of its members must sign from now on; 0: its own key acts.";
    }
    /// A commitment is final: what is audited is drawn.
    CommitmentDrawn {
        lease: LeaseId = "Which lease.";
        provider: AccountId = "The provider.";
        #[serde(flatten)] of: Parties = "What else it concerns.";
        beacon: Hash = "The beacon that says what.";
    }
    /// A chain was challenged: its provider opens states next, or validators run its one step.
    ChallengeOpened {
        dispute: DisputeId = "Which challenge.";
        #[serde(flatten)] of: Contest = "What it is about.";
        bond: Amount = "What it locked, `usd`.";
    }
    /// A provider opened states.
    BisectRevealed {
        dispute: DisputeId = "Which challenge.";
        #[serde(flatten)] of: Contest = "What it is about.";
    }
    /// A challenger picked a part: the provider opens states next, or validators run the step.
    BisectPicked {
        dispute: DisputeId = "Which challenge.";
        #[serde(flatten)] of: Contest = "What it is about.";
        lo: u64 = "Both agree on this state ...";
        hi: u64 = "... and disagree on this one.";
    }
    /// One step is left: validators run it.
    StepCalled {
        dispute: DisputeId = "Which challenge.";
        #[serde(flatten)] of: Contest = "What it is about.";
        step: u64 = "The step's index.";
    }
    /// A validator voted on a step.
    StepVoted {
        dispute: DisputeId = "Which challenge.";
        #[serde(flatten)] of: Contest = "What it is about.";
        validator: AccountId = "Who.";
    }
    /// A challenge ended. What a provider lost by it is in a `slashed` event of its own.
    ChallengeClosed {
        dispute: DisputeId = "Which challenge.";
        #[serde(flatten)] of: Contest = "What it is about.";
        status: ChallengeStatus = "How.";
        returned: Amount = "What of the bond went back to the challenger, `usd`.";
        compensated: Amount = "What of it went to the provider.";
        burned: Amount = "What of it was destroyed.";
    }
    /// A validator registered, or its terms, its state or its stake changed.
    ValidatorChanged {
        validator: AccountId = "Which validator.";
        status: ValidatorStatus = "Where it stands now.";
        commission_bps: u32 = "Its commission now, in hundredths of a per cent.";
        own: Amount = "Its own stake now, `mst`.";
        delegated: Amount = "What others stake with it now, `mst`.";
    }
    /// Somebody staked with a validator.
    Delegated {
        delegator: AccountId = "Who.";
        validator: AccountId = "With whom.";
        amount: Amount = "How much `mst`.";
    }
    /// Stake was taken back and began to unbond.
    Unstaked {
        entry: UnbondingId = "What unbonds.";
        owner: AccountId = "Whose.";
        validator: AccountId = "Where it was staked.";
        amount: Amount = "How much `mst`.";
        until: Millis = "Steady time from which it can be claimed.";
    }
    /// Stake that had unbonded was paid out.
    UnstakeClaimed {
        entry: UnbondingId = "What unbonded.";
        owner: AccountId = "Whose.";
        validator: AccountId = "Where it was staked.";
        amount: Amount = "How much `mst`, after what it was slashed by meanwhile.";
    }
    /// A delegator was paid its share of the rewards.
    RewardPaid {
        delegator: AccountId = "Who.";
        validator: AccountId = "Of whose rewards.";
        amount: Amount = "How much `usd`.";
    }
    /// A validator lost stake and was jailed.
    ValidatorSlashed {
        validator: AccountId = "Who.";
        amount: Amount = "How much `mst` in all, own and delegated; the two parts below add up to \
            it.";
        compensated: Amount = "To the harmed.";
        burned: Amount = "Destroyed.";
        jailed_until: Millis = "Steady time until which it is jailed.";
    }
    /// A proposal was made.
    ProposalMade {
        proposal: ProposalId = "Which proposal.";
        proposer: AccountId = "By whom.";
        until: Millis = "Steady time until which it is voted on.";
    }
    /// Somebody voted on a proposal, or changed its vote.
    Voted {
        proposal: ProposalId = "Which proposal.";
        voter: AccountId = "Who.";
        choice: Choice = "How.";
    }
    /// A proposal's vote ended, or it took effect, or failed to.
    ProposalChanged {
        proposal: ProposalId = "Which proposal.";
        proposer: AccountId = "Who made it.";
        status: ProposalStatus = "Where it stands now.";
    }
    /// What an account has at stake has changed.
    BondChanged {
        account: AccountId = "Whose.";
        amount: Amount = "What is at stake now, `usd`; what unbonds is not.";
    }
    /// A duty was registered, its pledge was raised, or it is being left.
    DutyChanged {
        account: AccountId = "Whose.";
        duty: DutyKind = "Which duty.";
        pledge: Amount = "What it locks of the bond, `usd`.";
        leaving: Option<Millis> = "The block time at which the pledge is freed, where it is being \
            left.";
    }
    /// A duty has ended; its pledge is free.
    DutyEnded {
        account: AccountId = "Whose.";
        duty: DutyKind = "Which duty.";
    }
    /// An auditor signed attributes of a provider.
    AttributesSigned {
        provider: AccountId = "About whom.";
        auditor: AccountId = "By whom.";
        until: Millis = "Block time from which it holds no more.";
    }
    /// What an auditor signed about a provider was taken back.
    AttributesRevoked {
        provider: AccountId = "About whom.";
        auditor: AccountId = "By whom it was signed.";
    }
    /// An operator said that a provider is its own, or is no more.
    AffiliationSet {
        operator: AccountId = "Who says it.";
        provider: AccountId = "Of whom.";
        affiliated: bool = "Whether it is.";
    }
    /// A host bid for an order, or changed its bid.
    BidPlaced {
        order: OrderId = "Which order.";
        #[serde(flatten)] of: OrderParties = "What else it concerns.";
        host: HostId = "The host.";
        rate: Rate = "What each lease would cost.";
        count: u32 = "For how many leases at most.";
    }
    /// A bid ended.
    BidEnded {
        order: OrderId = "Which order.";
        #[serde(flatten)] of: OrderParties = "What else it concerns.";
        host: HostId = "The host.";
        outcome: BidOutcome = "How.";
    }
    /// An order's bid window ended: the tenant picks.
    OrderPicking {
        order: OrderId = "Which order.";
        #[serde(flatten)] of: OrderParties = "What else it concerns.";
        until: Millis = "Until when (steady time).";
    }
    /// An order was changed in place.
    OrderUpdated {
        order: OrderId = "Which order.";
        #[serde(flatten)] of: OrderParties = "What else it concerns.";
    }
    /// An order that had ended is open again.
    OrderReopened {
        order: OrderId = "Which order.";
        #[serde(flatten)] of: OrderParties = "What else it concerns.";
        missing: u32 = "For how many leases.";
    }
    /// A serving lease has a new manifest, which its provider is to take up.
    LeaseUpdating {
        lease: LeaseId = "Which lease.";
        provider: AccountId = "The provider.";
        #[serde(flatten)] of: Parties = "What else it concerns.";
    }
    /// The provider has taken up a lease's new manifest.
    LeaseUpdated {
        lease: LeaseId = "Which lease.";
        provider: AccountId = "The provider.";
        #[serde(flatten)] of: Parties = "What else it concerns.";
    }
    /// The provider gave notice of a lease's end.
    LeaseReclaiming {
        lease: LeaseId = "Which lease.";
        provider: AccountId = "The provider.";
        #[serde(flatten)] of: Parties = "What else it concerns.";
        until: Millis = "When it ends, in steady time.";
    }
    /// Other validators vote on blocks from this epoch on.
    CommitteeChanged {
        epoch: u64 = "Which.";
        seats: Vec<Seat> = "Who votes, for whom.";
    }
    /// A validator named the keys that vote for it.
    SeatsNamed {
        validator: AccountId = "Who.";
        keys: Vec<AccountId> = "The keys, its own aside.";
    }
    /// A key of the committee dealt its part of the beacon's key.
    BeaconDealt {
        epoch: u64 = "Of which epoch.";
        key: AccountId = "Who.";
    }
    /// Another key signs the beacon from this block on.
    BeaconKeyChanged {
        key: Option<u64> = "The epoch that it was made in; `None`: whoever proposes a block is \
            trusted.";
    }
    /// A provider's heartbeat was taken.
    Covered {
        provider: AccountId = "Which provider.";
        count: u32 = "On how many of its leases it proves time.";
        covered: Millis = "How much time on all of them together.";
    }
    /// An overdrawn escrow pays in full again.
    EscrowReopened {
        escrow: EscrowId = "Which escrow.";
        owner: AccountId = "Who opened it.";
    }
    /// Who proposed a block was paid its fees.
    FeesPaid {
        validator: AccountId = "Who.";
        amount: Amount = "How much `usd` in all; what delegators have of it is theirs to claim.";
    }
}
