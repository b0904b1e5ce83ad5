//! What happened: every applied transaction and every block's end yields typed events.
//!
//! An event carries the id of everything that it concerns ([`Event::subjects`]), so that a host
//! can index it under each of them and nobody has to join or scan.

mod root;
mod subject;

pub use root::event_root;
pub use subject::{Case, Contest, OrderParties, Parties, Subject};

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
        /// All that its orders were charged.
        fees: Amount,
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
    /// An order ended: filled or not.
    OrderEnded {
        /// Which order.
        order: OrderId,
        /// How: leased, expired, cancelled or out of funds.
        status: OrderStatus,
        /// All that it was charged for waiting and visits, `usd`.
        charged: Amount,
        /// What else it concerns.
        #[serde(flatten)]
        of: OrderParties,
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
        /// What was paid out to the provider in all, before the fee on its operator's share (see
        /// [`crate::neutrality`]), which it bears.
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
        /// Fuel that they used together.
        fuel: u64,
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
    /// A commitment is final: what is audited is drawn.
    CommitmentDrawn {
        /// Which lease.
        lease: LeaseId,
        /// The provider.
        provider: AccountId,
        /// What else it concerns.
        #[serde(flatten)]
        of: Parties,
        /// The beacon that says what.
        beacon: Hash,
    },
    /// A chain was challenged: its provider opens states next, or validators run its one step.
    ChallengeOpened {
        /// Which challenge.
        dispute: DisputeId,
        /// What it is about.
        #[serde(flatten)]
        of: Contest,
        /// What it locked, `usd`.
        bond: Amount,
    },
    /// A provider opened states.
    BisectRevealed {
        /// Which challenge.
        dispute: DisputeId,
        /// What it is about.
        #[serde(flatten)]
        of: Contest,
    },
    /// A challenger picked a part: the provider opens states next, or validators run the step.
    BisectPicked {
        /// Which challenge.
        dispute: DisputeId,
        /// What it is about.
        #[serde(flatten)]
        of: Contest,
        /// Both agree on this state ...
        lo: u64,
        /// ... and disagree on this one.
        hi: u64,
    },
    /// One step is left: validators run it.
    StepCalled {
        /// Which challenge.
        dispute: DisputeId,
        /// What it is about.
        #[serde(flatten)]
        of: Contest,
        /// The step's index.
        step: u64,
    },
    /// A validator voted on a step.
    StepVoted {
        /// Which challenge.
        dispute: DisputeId,
        /// What it is about.
        #[serde(flatten)]
        of: Contest,
        /// Who.
        validator: AccountId,
    },
    /// A challenge ended. What a provider lost by it is in a `slashed` event of its own.
    ChallengeClosed {
        /// Which challenge.
        dispute: DisputeId,
        /// What it is about.
        #[serde(flatten)]
        of: Contest,
        /// How.
        status: ChallengeStatus,
        /// What of the bond went back to the challenger, `usd`.
        returned: Amount,
        /// What of it went to the provider.
        compensated: Amount,
        /// What of it was destroyed.
        burned: Amount,
    },
    /// A validator registered, or its terms, its state or its stake changed.
    ValidatorChanged {
        /// Which validator.
        validator: AccountId,
        /// Where it stands now.
        status: ValidatorStatus,
        /// Its commission now, in hundredths of a per cent.
        commission_bps: u32,
        /// Its own stake now, `mst`.
        own: Amount,
        /// What others stake with it now, `mst`.
        delegated: Amount,
    },
    /// Somebody staked with a validator.
    Delegated {
        /// Who.
        delegator: AccountId,
        /// With whom.
        validator: AccountId,
        /// How much `mst`.
        amount: Amount,
    },
    /// Stake was taken back and began to unbond.
    Unstaked {
        /// What unbonds.
        entry: UnbondingId,
        /// Whose.
        owner: AccountId,
        /// Where it was staked.
        validator: AccountId,
        /// How much `mst`.
        amount: Amount,
        /// Steady time from which it can be claimed.
        until: Millis,
    },
    /// Stake that had unbonded was paid out.
    UnstakeClaimed {
        /// What unbonded.
        entry: UnbondingId,
        /// Whose.
        owner: AccountId,
        /// Where it was staked.
        validator: AccountId,
        /// How much `mst`, after what it was slashed by meanwhile.
        amount: Amount,
    },
    /// A delegator was paid its share of the rewards.
    RewardPaid {
        /// Who.
        delegator: AccountId,
        /// Of whose rewards.
        validator: AccountId,
        /// How much `usd`.
        amount: Amount,
    },
    /// A validator lost stake and was jailed.
    ValidatorSlashed {
        /// Who.
        validator: AccountId,
        /// How much `mst` in all, own and delegated; the two parts below add up to it.
        amount: Amount,
        /// To the harmed.
        compensated: Amount,
        /// Destroyed.
        burned: Amount,
        /// Steady time until which it is jailed.
        jailed_until: Millis,
    },
    /// A proposal was made.
    ProposalMade {
        /// Which proposal.
        proposal: ProposalId,
        /// By whom.
        proposer: AccountId,
        /// Steady time until which it is voted on.
        until: Millis,
    },
    /// Somebody voted on a proposal, or changed its vote.
    Voted {
        /// Which proposal.
        proposal: ProposalId,
        /// Who.
        voter: AccountId,
        /// How.
        choice: Choice,
    },
    /// A proposal's vote ended, or it took effect, or failed to.
    ProposalChanged {
        /// Which proposal.
        proposal: ProposalId,
        /// Who made it.
        proposer: AccountId,
        /// Where it stands now.
        status: ProposalStatus,
    },
    /// What an account has at stake has changed.
    BondChanged {
        /// Whose.
        account: AccountId,
        /// What is at stake now, `usd`; what unbonds is not.
        amount: Amount,
    },
    /// A duty was registered, its pledge was raised, or it is being left.
    DutyChanged {
        /// Whose.
        account: AccountId,
        /// Which duty.
        duty: DutyKind,
        /// What it locks of the bond, `usd`.
        pledge: Amount,
        /// The block time at which the pledge is freed, where it is being left.
        leaving: Option<Millis>,
    },
    /// A duty has ended; its pledge is free.
    DutyEnded {
        /// Whose.
        account: AccountId,
        /// Which duty.
        duty: DutyKind,
    },
    /// An auditor signed attributes of a provider.
    AttributesSigned {
        /// About whom.
        provider: AccountId,
        /// By whom.
        auditor: AccountId,
        /// Block time from which it holds no more.
        until: Millis,
    },
    /// What an auditor signed about a provider was taken back.
    AttributesRevoked {
        /// About whom.
        provider: AccountId,
        /// By whom it was signed.
        auditor: AccountId,
    },
    /// An operator said that a provider is its own, or is no more.
    AffiliationSet {
        /// Who says it.
        operator: AccountId,
        /// Of whom.
        provider: AccountId,
        /// Whether it is.
        affiliated: bool,
    },
    /// A host bid for an order, or changed its bid.
    BidPlaced {
        /// Which order.
        order: OrderId,
        /// What else it concerns.
        #[serde(flatten)]
        of: OrderParties,
        /// The host.
        host: HostId,
        /// What each lease would cost.
        rate: Rate,
        /// For how many leases at most.
        count: u32,
    },
    /// A bid ended.
    BidEnded {
        /// Which order.
        order: OrderId,
        /// What else it concerns.
        #[serde(flatten)]
        of: OrderParties,
        /// The host.
        host: HostId,
        /// How.
        outcome: BidOutcome,
    },
    /// An order's bid window ended: the tenant picks.
    OrderPicking {
        /// Which order.
        order: OrderId,
        /// What else it concerns.
        #[serde(flatten)]
        of: OrderParties,
        /// Until when (steady time).
        until: Millis,
    },
    /// An order was changed in place.
    OrderUpdated {
        /// Which order.
        order: OrderId,
        /// What else it concerns.
        #[serde(flatten)]
        of: OrderParties,
    },
    /// An order that had ended is open again.
    OrderReopened {
        /// Which order.
        order: OrderId,
        /// What else it concerns.
        #[serde(flatten)]
        of: OrderParties,
        /// For how many leases.
        missing: u32,
    },
    /// A serving lease has a new manifest, which its provider is to take up.
    LeaseUpdating {
        /// Which lease.
        lease: LeaseId,
        /// The provider.
        provider: AccountId,
        /// What else it concerns.
        #[serde(flatten)]
        of: Parties,
    },
    /// The provider has taken up a lease's new manifest.
    LeaseUpdated {
        /// Which lease.
        lease: LeaseId,
        /// The provider.
        provider: AccountId,
        /// What else it concerns.
        #[serde(flatten)]
        of: Parties,
    },
    /// The provider gave notice of a lease's end.
    LeaseReclaiming {
        /// Which lease.
        lease: LeaseId,
        /// The provider.
        provider: AccountId,
        /// What else it concerns.
        #[serde(flatten)]
        of: Parties,
        /// When it ends, in steady time.
        until: Millis,
    },
    /// Other validators vote on blocks from this epoch on.
    CommitteeChanged {
        /// Which.
        epoch: u64,
        /// Who votes, for whom.
        seats: Vec<Seat>,
    },
    /// A validator named the keys that vote for it.
    SeatsNamed {
        /// Who.
        validator: AccountId,
        /// The keys, its own aside.
        keys: Vec<AccountId>,
    },
    /// A key of the committee dealt its part of the beacon's key.
    BeaconDealt {
        /// Of which epoch.
        epoch: u64,
        /// Who.
        key: AccountId,
    },
    /// Another key signs the beacon from this block on.
    BeaconKeyChanged {
        /// The epoch that it was made in; `None`: whoever proposes a block is trusted.
        key: Option<u64>,
    },
}

#[cfg(test)]
pub(crate) mod tests;
