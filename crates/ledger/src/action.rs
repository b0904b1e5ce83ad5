//! What a transaction may ask for: one variant an action, one file an action in its module.

use crate::{
    account::{Multisig, Scope, Scopes},
    dispute::{Claim, Finding},
    job::{JobSpec, TaskOutput},
    market::{Mode, OrderChange},
    provider::{HostSpec, ProviderProfile},
    stake::{Equivocation, SeatKey},
    vote::{Choice, ParamChange},
};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_market::Terms;
use muster_types::{
    AccountId, Amount, Asset, DisputeId, EscrowId, Hash, HostId, JobId, LeaseId, Millis, OrderId,
    ProposalId, Rate, UnbondingId,
};
use muster_verify::Opening;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A signed action: what the network carries.
pub type Tx = muster_types::Signed<Action>;

/// Everything that can be asked of the ledger. The order of the variants is their encoding: only
/// ever append.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::large_enum_variant, reason = "decoded once and borrowed from then on")]
pub enum Action {
    /// Moves money to another account.
    Transfer {
        /// Who gets it.
        to: AccountId,
        /// Which asset.
        asset: Asset,
        /// How much.
        amount: Amount,
    },
    /// Registers the signer as a provider, or replaces its description.
    ProviderSet {
        /// The new description.
        profile: ProviderProfile,
    },
    /// Adds `usd` to the signer's bond, which stands behind all its duties.
    BondAdd {
        /// How much.
        amount: Amount,
    },
    /// Stops taking leases; when none is left the free bond starts to unbond.
    ProviderDrain {},
    /// Takes back what has unbonded for long enough.
    BondWithdraw {},
    /// Adds a host or changes it; from the next block its standing offer takes orders.
    HostSet {
        /// The provider's own number for the host.
        index: u32,
        /// What it has and what it charges.
        spec: HostSpec,
    },
    /// Withdraws a host that has no open lease.
    HostRemove {
        /// The provider's own number for the host.
        index: u32,
    },
    /// Opens an escrow and pays into it.
    EscrowOpen {
        /// How much `usd`.
        deposit: Amount,
    },
    /// Pays into an open escrow, from anybody.
    EscrowDeposit {
        /// Which escrow.
        escrow: EscrowId,
        /// How much `usd`.
        amount: Amount,
    },
    /// Closes an escrow that nothing draws from any more; what is left goes back to its
    /// depositors in proportion to what is left of what each put in.
    EscrowClose {
        /// Which escrow; the signer opened it.
        escrow: EscrowId,
    },
    /// Opens a job: what its leases will be bound to and how its results are checked.
    JobOpen {
        /// The job's terms.
        spec: JobSpec,
    },
    /// Ends a job: no new orders; when its leases are closed and settled its escrow can close.
    JobClose {
        /// Which job; the signer opened it.
        job: JobId,
    },
    /// Places an order against the standing offers. It clears at the end of this block, or waits
    /// until `deadline`.
    OrderPlace {
        /// Who pays.
        escrow: EscrowId,
        /// The job that it works for, whose verification it takes over; `None` for a plain lease.
        job: Option<JobId>,
        /// What is wanted.
        terms: Terms,
        /// If not filled by then it expires.
        deadline: Millis,
        /// Salted hash of the manifest.
        manifest: Hash,
        /// Against standing offers, or bids.
        mode: Mode,
        /// Whether it opens again, against standing offers, for a lease that its provider broke.
        reauction: bool,
    },
    /// Withdraws an open order.
    OrderCancel {
        /// Which order; the signer placed it.
        order: OrderId,
    },
    /// The provider has everything that the lease needs: pay starts. Of an updating lease: it has
    /// taken up the new manifest.
    LeaseReady {
        /// Which lease; the signer provides it.
        lease: LeaseId,
    },
    /// The provider lives and serves: covers the time since the last one.
    Heartbeat {
        /// The leases covered, at most 1,024.
        leases: Vec<LeaseId>,
    },
    /// Ends a lease. By its tenant: no fault of anybody, for `min_charge_ms` at least. By its
    /// provider: an early exit, which costs by schedule, or free of cost from `guaranteed_until`
    /// on.
    LeaseClose {
        /// Which lease.
        lease: LeaseId,
    },
    /// The provider commits to its results on a lease: the Merkle root over its task outputs.
    ResultCommit {
        /// Which lease; the signer provides it.
        lease: LeaseId,
        /// Root over [`TaskOutput`] leaves in task order, or over the states of a chain at level
        /// `dispute` (see `muster-verify`).
        root: Hash,
        /// How many leaves; at most the job's tasks, and one more for a chain's state 0.
        count: u64,
        /// Fuel that they used together; at most `count` times the job's `fuel_max`.
        fuel: u64,
    },
    /// The tenant accepts a closed lease's results: what is withheld is paid at once.
    ResultAccept {
        /// Which lease; the signer is its tenant.
        lease: LeaseId,
    },
    /// Two providers signed different outputs of one task: asks the validators who is right.
    DisputeOpen {
        /// Which job; the signer is its tenant.
        job: JobId,
        /// The two claims, over the same task of the same job.
        claims: Box<[Claim; 2]>,
        /// Where the module and the inputs can be fetched: the tenant's fabric address, as text.
        evidence: String,
    },
    /// A validator re-ran the disputed task.
    DisputeVote {
        /// Which dispute.
        dispute: DisputeId,
        /// What the task really gives; `None`: the evidence could not be had.
        output: Option<TaskOutput>,
    },
    /// Lets another key act for the signer, within limits; replaces what it was granted before.
    KeyGrant {
        /// Which key.
        key: AccountId,
        /// What it may do.
        scopes: Scopes,
        /// The signer's free `usd` may fall by so much through it, fees included.
        usd: Amount,
        /// The signer's free `mst` may fall by so much through it.
        mst: Amount,
        /// Good up to this block time.
        expires: Millis,
    },
    /// Takes it back.
    KeyRevoke {
        /// Which key.
        key: AccountId,
    },
    /// From now on members act for the signer instead of its own key; `None`: its own key again.
    MultisigSet {
        /// Who, and how many of them.
        policy: Option<Multisig>,
    },
    /// Anybody says that a chain at level `dispute` ends in another state than its provider
    /// committed to, and locks a bond for it.
    ChallengeOpen {
        /// Which lease.
        lease: LeaseId,
        /// The state that the chain really ends in.
        last: Hash,
        /// Where module, data and states can be fetched: the challenger's fabric address, as text.
        evidence: String,
    },
    /// The provider opens the states that it is asked for in a challenge.
    BisectReveal {
        /// Which challenge; the signer provides its lease.
        dispute: DisputeId,
        /// The states, in rising order (see [`muster_verify::Game::asked`]).
        openings: Vec<Opening>,
    },
    /// The challenger picks the first part at whose end it disagrees.
    BisectPick {
        /// Which challenge; the signer opened it.
        dispute: DisputeId,
        /// The part, counted from 0.
        segment: u32,
    },
    /// A validator ran the step that a challenge ended at.
    StepVote {
        /// Which challenge.
        dispute: DisputeId,
        /// What it found.
        finding: Finding,
    },
    /// Registers the signer as a validator, or changes its commission.
    ValidatorSet {
        /// What it keeps of the rewards before they are shared out, in hundredths of a per cent.
        commission_bps: u32,
    },
    /// Adds `mst` to the signer's own stake as a validator.
    StakeAdd {
        /// How much `mst`.
        amount: Amount,
    },
    /// Stakes `mst` with a validator.
    Delegate {
        /// With whom; not the signer.
        validator: AccountId,
        /// How much `mst`.
        amount: Amount,
    },
    /// Takes stake back: it unbonds, and can be claimed after `stake_unbonding_ms`.
    Unstake {
        /// Where it is staked; the signer itself for its own stake.
        validator: AccountId,
        /// How much `mst`.
        amount: Amount,
    },
    /// Pays out stake that has unbonded.
    UnstakeClaim {
        /// Which; the signer's.
        entry: UnbondingId,
    },
    /// Pays out the signer's share of a validator's rewards.
    RewardClaim {
        /// Whose; the signer delegates to it.
        validator: AccountId,
    },
    /// Lets the signer, a jailed validator, back after its time.
    ValidatorUnjail {},
    /// Proposes to change parameters. Costs `proposal_fee`, which goes to the validators.
    Propose {
        /// What it is about, for people.
        title: String,
        /// The new values; each parameter at most once.
        changes: Vec<ParamChange>,
    },
    /// Votes on a proposal with the signer's stake, or changes its vote.
    Vote {
        /// Which proposal.
        proposal: ProposalId,
        /// How.
        choice: Choice,
    },
    /// Begins to take back a part of the signer's bond that no duty needs.
    BondUnbond {
        /// How much `usd`.
        amount: Amount,
    },
    /// Takes orders again after the time in jail.
    ProviderUnjail {},
    /// Says that a provider is operated by the signer, or is no more. It counts where the
    /// provider's profile says so too.
    AffiliateSet {
        /// Which provider.
        provider: AccountId,
        /// Whether it is.
        affiliated: bool,
    },
    /// Registers the signer as an auditor, with a pledge out of its bond.
    AuditorRegister {},
    /// Ends the signer's work as an auditor; the pledge is freed after the unbonding time.
    AuditorLeave {},
    /// Signs what the signer, a registered auditor, found out about a provider; replaces what it
    /// signed before.
    AttributeSign {
        /// About whom.
        provider: AccountId,
        /// What is true, at most [`crate::limits::SIGNED_ATTRIBUTES`] facts.
        attributes: BTreeMap<String, String>,
        /// Block time from which it holds no more.
        until: Millis,
    },
    /// Takes back what an auditor signed about a provider.
    AttributeRevoke {
        /// About whom.
        provider: AccountId,
        /// Who signed; the signer is one of the two.
        auditor: AccountId,
    },
    /// Registers a service of the signer with a pledge out of its bond, or raises the pledge.
    ServiceRegister {
        /// The service's name, 1 to 64 bytes.
        name: String,
        /// How much `usd` it locks in all.
        pledge: Amount,
    },
    /// Ends a service; its pledge is freed after the unbonding time.
    ServiceUnregister {
        /// The service's name.
        name: String,
    },
    /// Bids for an order that takes bids, or replaces the bid of that host; `bid_deposit` is held.
    BidPlace {
        /// Which order.
        order: OrderId,
        /// The signer's number for the host that would serve.
        host: u32,
        /// What each lease would cost: a multiple of `price_tick`, at most the order's `max_rate`.
        rate: Rate,
        /// For how many leases at most; the host has room for all of them.
        count: u32,
    },
    /// Takes a bid back before its window ends.
    BidWithdraw {
        /// Which order.
        order: OrderId,
        /// The signer's number for the host.
        host: u32,
    },
    /// The tenant picks bids, once the window has ended.
    BidAccept {
        /// Which order; the signer placed it.
        order: OrderId,
        /// The hosts whose bids are taken, the first served first; each once.
        hosts: Vec<HostId>,
    },
    /// Changes an order in place.
    OrderUpdate {
        /// Which order; the signer placed it.
        order: OrderId,
        /// How.
        change: OrderChange,
    },
    /// What a plain lease reported ready is not what was ordered: ends it unpaid.
    ReadyReject {
        /// Which lease; the signer is its tenant.
        lease: LeaseId,
    },
    /// The manifest (or the new one) was not delivered, or cannot be run: ends a lease that is
    /// granted or updating, without fault.
    LeaseDecline {
        /// Which lease; the signer provides it.
        lease: LeaseId,
    },
    /// Gives notice of the end of an interruptible lease.
    LeaseReclaim {
        /// Which lease; the signer provides it.
        lease: LeaseId,
    },
    /// Names the keys that vote for the signer, a validator, beside its account's own; replaces
    /// those named before.
    SeatsSet {
        /// The keys, at most [`crate::limits::SEATS`].
        seats: Vec<SeatKey>,
    },
    /// Anybody says that a key cast two contradicting votes on blocks.
    EquivocationReport {
        /// The votes.
        evidence: Box<Equivocation>,
    },
    /// The part of the signer, a key of the committee, in making an epoch's key for the beacon. A
    /// duty: free, without a nonce or an account ([`Action::is_duty`]).
    BeaconDeal {
        /// Which epoch: the current one.
        epoch: u64,
        /// What it deals, at most [`crate::limits::BEACON_DEAL_BYTES`].
        log: Vec<u8>,
    },
}

impl Action {
    /// What it costs to execute, in units: one for about every eight records that it reads,
    /// writes or lists beyond those of any transaction, and never less than one.
    ///
    /// | action | units | because |
    /// |---|---|---|
    /// | `Heartbeat` | one a lease | lease, escrow, provider, due times |
    /// | `OrderPlace` | one, and two a lease asked for | a grant writes lease, host, provider, escrow, indexes |
    /// | `LeaseClose`, `ResultAccept` | two | pay, pledge and refund are dealt with |
    /// | `BidPlace` | two | the order's other bids are looked at |
    /// | `BidAccept`, `OrderUpdate` that shrinks | one a host, one a lease | each is granted, or closed |
    /// | `Delegate`, `Unstake` | two | rewards are paid out first |
    /// | `Propose`, `Vote` | four | a vote is looked at again when it is tallied |
    /// | `AttributeSign`, `ServiceRegister` | four | they look through a list |
    /// | `BisectReveal` | one an opening | a proof is some twenty hashes |
    /// | `EscrowClose` | four | up to 64 depositors are paid |
    /// | `DisputeOpen` | eight | two signatures to check, and every validator re-runs a task |
    /// | `EquivocationReport` | eight | two signatures to check |
    /// | `SeatsSet` | four a key | a signature to check |
    /// | `KeyGrant` | two | lists the account's keys |
    /// | all others | one | |
    #[must_use]
    pub fn units(&self) -> u64 {
        match self {
            Self::Heartbeat { leases } => u64::try_from(leases.len()).unwrap_or(u64::MAX).max(1),
            Self::OrderPlace { terms, .. } => {
                u64::from(terms.count).saturating_mul(2).saturating_add(1)
            }
            // A proof is some twenty hashes, about as much as a record.
            Self::BisectReveal { openings, .. } => {
                u64::try_from(openings.len()).unwrap_or(u64::MAX).max(1)
            }
            Self::LeaseClose { .. }
            | Self::ResultAccept { .. }
            | Self::KeyGrant { .. }
            | Self::Delegate { .. }
            | Self::Unstake { .. } => 2,
            Self::EscrowClose { .. } => 4,
            // A vote is looked at again, with all its voter's delegations, when it is tallied.
            Self::Propose { .. } | Self::Vote { .. } => 4,
            // These look through a list.
            Self::AttributeSign { .. } | Self::ServiceRegister { .. } => 4,
            Self::BidPlace { .. } => 2,
            Self::BidAccept { hosts, .. } => u64::try_from(hosts.len()).unwrap_or(u64::MAX).max(1),
            Self::OrderUpdate { change: OrderChange::Shrink { leases }, .. } => {
                u64::try_from(leases.len()).unwrap_or(u64::MAX).max(1)
            }
            Self::DisputeOpen { .. } | Self::EquivocationReport { .. } => 8,
            Self::SeatsSet { seats } => {
                u64::try_from(seats.len()).unwrap_or(u64::MAX).saturating_mul(4).max(1)
            }
            Self::Transfer { .. }
            | Self::ProviderSet { .. }
            | Self::BondAdd { .. }
            | Self::ProviderDrain {}
            | Self::BondWithdraw {}
            | Self::HostSet { .. }
            | Self::HostRemove { .. }
            | Self::EscrowOpen { .. }
            | Self::EscrowDeposit { .. }
            | Self::JobOpen { .. }
            | Self::JobClose { .. }
            | Self::OrderCancel { .. }
            | Self::LeaseReady { .. }
            | Self::ResultCommit { .. }
            | Self::DisputeVote { .. }
            | Self::KeyRevoke { .. }
            | Self::MultisigSet { .. }
            | Self::ChallengeOpen { .. }
            | Self::BisectPick { .. }
            | Self::StepVote { .. }
            | Self::ValidatorSet { .. }
            | Self::StakeAdd { .. }
            | Self::UnstakeClaim { .. }
            | Self::RewardClaim { .. }
            | Self::ValidatorUnjail {}
            | Self::BondUnbond { .. }
            | Self::ProviderUnjail {}
            | Self::AffiliateSet { .. }
            | Self::AuditorRegister {}
            | Self::AuditorLeave {}
            | Self::AttributeRevoke { .. }
            | Self::ServiceUnregister { .. }
            | Self::BidWithdraw { .. }
            | Self::OrderUpdate { .. }
            | Self::ReadyReject { .. }
            | Self::LeaseDecline { .. }
            | Self::LeaseReclaim { .. }
            | Self::BeaconDeal { .. } => 1,
        }
    }

    /// The scopes of which a delegated key needs one to do this; none: only the account itself.
    #[must_use]
    pub const fn scopes(&self) -> Scopes {
        match self {
            Self::Transfer { .. } => Scopes::of(Scope::Transfer),
            Self::BondAdd { .. }
            | Self::BondUnbond { .. }
            | Self::BondWithdraw {}
            | Self::AuditorRegister {}
            | Self::AuditorLeave {}
            | Self::ServiceRegister { .. }
            | Self::ServiceUnregister { .. } => Scopes::of(Scope::Bond),
            Self::ProviderSet { .. }
            | Self::ProviderDrain {}
            | Self::ProviderUnjail {}
            | Self::HostSet { .. }
            | Self::HostRemove { .. }
            | Self::AffiliateSet { .. }
            | Self::BidPlace { .. }
            | Self::BidWithdraw { .. } => Scopes::of(Scope::Provider),
            Self::LeaseReady { .. }
            | Self::Heartbeat { .. }
            | Self::ResultCommit { .. }
            | Self::BisectReveal { .. }
            | Self::LeaseDecline { .. }
            | Self::LeaseReclaim { .. } => Scopes::of(Scope::Serve),
            // By the tenant or by the provider.
            Self::LeaseClose { .. } => Scopes::of(Scope::Serve).with(Scope::Order),
            Self::OrderPlace { .. }
            | Self::OrderCancel { .. }
            | Self::OrderUpdate { .. }
            | Self::BidAccept { .. }
            | Self::ReadyReject { .. }
            | Self::ResultAccept { .. } => Scopes::of(Scope::Order),
            Self::EscrowOpen { .. } | Self::EscrowDeposit { .. } | Self::EscrowClose { .. } => {
                Scopes::of(Scope::Escrow)
            }
            Self::JobOpen { .. }
            | Self::JobClose { .. }
            | Self::DisputeOpen { .. }
            | Self::ChallengeOpen { .. }
            | Self::BisectPick { .. } => Scopes::of(Scope::Job),
            // A move of a challenge, by a validator.
            Self::StepVote { .. } => Scopes::of(Scope::Job).with(Scope::Stake),
            Self::DisputeVote { .. }
            | Self::ValidatorSet { .. }
            | Self::StakeAdd { .. }
            | Self::Delegate { .. }
            | Self::Unstake { .. }
            | Self::UnstakeClaim { .. }
            | Self::RewardClaim { .. }
            | Self::ValidatorUnjail {}
            | Self::EquivocationReport { .. } => Scopes::of(Scope::Stake),
            Self::Propose { .. } | Self::Vote { .. } => Scopes::of(Scope::Vote),
            Self::AttributeSign { .. } => Scopes::of(Scope::Audit),
            // By the auditor or by the provider.
            Self::AttributeRevoke { .. } => Scopes::of(Scope::Audit).with(Scope::Provider),
            Self::KeyGrant { .. }
            | Self::KeyRevoke { .. }
            | Self::MultisigSet { .. }
            | Self::SeatsSet { .. }
            | Self::BeaconDeal { .. } => Scopes::NONE,
        }
    }

    /// Whether a key of the committee owes it to the chain: signed by that key itself it costs
    /// nothing, needs no account and uses no nonce. Keys that vote on blocks and do nothing else
    /// have no money. The rules take each once, so nothing can be done again by repeating it:
    ///
    /// | duty | taken once for each |
    /// |---|---|
    /// | `BeaconDeal` | key and epoch |
    /// | `EquivocationReport` | accused key and epoch, whoever reports it |
    /// | `DisputeVote`, `StepVote` | key and open dispute, which somebody paid for |
    ///
    /// Signed by anybody else it is paid for like every other action.
    #[must_use]
    pub const fn is_duty(&self) -> bool {
        matches!(
            self,
            Self::BeaconDeal { .. }
                | Self::EquivocationReport { .. }
                | Self::DisputeVote { .. }
                | Self::StepVote { .. }
        )
    }

    /// Whether somebody loses by it not being in a block in time: the moves and votes of disputes,
    /// and what opens them within a window. Who makes blocks keeps room for these, lest censorship
    /// pass for silence.
    #[must_use]
    pub const fn is_dispute_move(&self) -> bool {
        matches!(
            self,
            Self::DisputeOpen { .. }
                | Self::DisputeVote { .. }
                | Self::ChallengeOpen { .. }
                | Self::BisectReveal { .. }
                | Self::BisectPick { .. }
                | Self::StepVote { .. }
        )
    }
}
