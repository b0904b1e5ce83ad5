//! Votes: stakers change the parameters ([`crate::Params`]).
//!
//! | state | action or event | next |
//! |---|---|---|
//! | none | `Propose` by who has at least `proposal_stake_min` of its own stake [where it counts](#who-votes) | voting(until) |
//! | voting | `Vote` before `until` | the same; a later vote of an account replaces its earlier one |
//! | voting | `until` is reached, more yes than no, and enough stake voted | passed(effective_at) |
//! | voting | `until` is reached otherwise | rejected |
//! | passed | `effective_at` is reached, and all parameters are in bounds with the changes | applied |
//! | passed | `effective_at` is reached, and they are not | failed |
//!
//! A proposal names parameters and their new values, each a whole number in the parameter's own
//! unit. It is refused where there is no such parameter, or where the parameters of the moment
//! would be out of bounds with it, or `stake_unbonding_ms` lower than it is. It costs `proposal_fee` in `usd`, which goes to the validators
//! like every fee and does not come back. All times are steady time ([`crate::Head`]).
//!
//! # Who votes
//! An active validator, and every account with at least `vote_stake_min` of its own stake where it
//! counts: as an active validator, or delegated to active ones. One proposal takes
//! [`crate::limits::VOTES_PER_PROPOSAL`] votes; unbonding lasts no shorter than voting, so that who
//! would crowd others out needs that many times `vote_stake_min`.
//!
//! # What a vote weighs
//! Stake is counted when voting has ended, at the end of the block that tallies; one block tallies
//! [`crate::limits::TALLIES_PER_BLOCK`], the first to end first, on equality by id.
//!
//! ```text
//! a delegator   what its delegations to active validators are worth
//! a validator   own + delegated, less what the delegators who voted themselves delegate to it
//! ```
//!
//! A validator that delegates to others votes with both. A proposal passes where `yes > no` and
//! `yes + no + abstain >= ceil(active stake x vote_quorum_bps)`. The ballots are deleted then; what
//! they came to stays in the proposal.
//!
//! What passed takes effect `vote_delay_ms` later, in the order of those times, on equality by id:
//! each changes the parameters that the one before it left, and the next block is the first that
//! runs by them. A block that tallies does so before changes take effect, and by its own
//! parameters.

pub(crate) mod cast;
pub(crate) mod due;
pub(crate) mod propose;
pub(crate) mod tally;

use crate::{
    archive,
    keys::{self, Listing, Record, Table},
};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_types::{AccountId, Amount, Millis, ProposalId};
use serde::{Deserialize, Serialize};

/// A parameter's new value.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ParamChange {
    /// Which: one of [`crate::Params::NAMES`].
    pub name: String,
    /// The value, in the parameter's own unit (money in nano-units).
    pub value: u128,
}

/// How somebody votes.
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
pub enum Choice {
    /// For it.
    Yes,
    /// Against it.
    No,
    /// Neither; counts for the quorum.
    Abstain,
}

/// Where a proposal stands.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ProposalStatus {
    /// It is voted on.
    Voting {
        /// Steady time at which voting ends.
        until: Millis,
    },
    /// It was voted for.
    Passed {
        /// Steady time at which it takes effect.
        effective_at: Millis,
    },
    /// It was voted down, or too few voted.
    Rejected,
    /// The parameters are changed.
    Applied,
    /// The parameters would have been out of bounds, with what others changed meanwhile.
    Failed,
}

/// What a vote came to, `mst`.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Tally {
    /// Stake for it.
    pub yes: Amount,
    /// Stake against it.
    pub no: Amount,
    /// Stake that voted neither for nor against it.
    pub abstain: Amount,
    /// All active stake at the time.
    pub stake: Amount,
}

/// A proposal's state.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Proposal {
    /// Who made it.
    pub proposer: AccountId,
    /// What it is about, for people.
    pub title: String,
    /// The new values.
    pub changes: Vec<ParamChange>,
    /// Where it stands.
    pub status: ProposalStatus,
    /// How many voted.
    pub votes: u32,
    /// What the vote came to; nothing before it has ended.
    pub tally: Tally,
    /// Since when nothing can change it, in steady time (see [`crate::archive`]).
    pub final_at: Option<Millis>,
}

/// An account's vote on a proposal.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Ballot {
    /// How.
    pub choice: Choice,
}

impl ProposalStatus {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Voting { .. } => "voting",
            Self::Passed { .. } => "passed",
            Self::Rejected => "rejected",
            Self::Applied => "applied",
            Self::Failed => "failed",
        }
    }
}

impl Record for Proposal {
    type Key = ProposalId;
    const KIND: &'static str = "proposal";
    const TABLE: Table<ProposalId, Self> = keys::PROPOSALS;
    const LISTING: Listing = Listing::Always;

    archive::leaves!(Proposal);

    fn is_final(&self) -> bool {
        match self.status {
            ProposalStatus::Voting { .. } | ProposalStatus::Passed { .. } => false,
            ProposalStatus::Rejected | ProposalStatus::Applied | ProposalStatus::Failed => true,
        }
    }

    fn entries(&self, key: &ProposalId, emit: &mut dyn FnMut(Vec<u8>)) {
        match self.status {
            ProposalStatus::Voting { until } => emit(keys::VOTING_DUE.key(&(until, *key))),
            ProposalStatus::Passed { effective_at } => {
                emit(keys::EFFECT_DUE.key(&(effective_at, *key)));
            }
            ProposalStatus::Rejected | ProposalStatus::Applied | ProposalStatus::Failed => {}
        }
    }
}

impl Record for Ballot {
    type Key = (ProposalId, AccountId);
    const KIND: &'static str = "ballot";
    const TABLE: Table<(ProposalId, AccountId), Self> = keys::BALLOTS;
    const LISTING: Listing = Listing::Never;
}

#[cfg(test)]
mod tests;
