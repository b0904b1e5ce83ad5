//! What an account is allowed, promises and stakes, and how the network is governed.

use super::Bond;
use muster_ledger::{
    account::{DelegatedKey, Multisig},
    bond::Duty,
    stake::{Delegation, Unbonding, Validator},
    vote::{Ballot, Proposal},
};
use muster_types::{AccountId, Amount, ProposalId, UnbondingId};
use serde::{Deserialize, Serialize};

/// Who acts for an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AccountKeys {
    /// The members that act instead of its own key; none: its own key acts.
    pub policy: Option<Multisig>,
    /// The keys that it has delegated to, expired ones included.
    pub delegated: Vec<KeyView>,
}

/// A delegated key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct KeyView {
    /// The key.
    pub key: AccountId,
    /// What it may still do.
    #[serde(flatten)]
    pub record: DelegatedKey,
}

/// What an account has pledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AccountBond {
    /// Its bond, which stands behind all its duties.
    #[serde(flatten)]
    pub bond: Bond,
    /// Its duties beside leases: as an auditor, as the owner of services.
    pub duties: Vec<Duty>,
}

/// What an account has staked with validators, its own stake as a validator left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AccountStake {
    /// With whom.
    pub delegations: Vec<DelegationView>,
    /// What is on its way back, own stake included.
    pub unbonding: Vec<UnbondingView>,
}

/// A delegation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DelegationView {
    /// With whom.
    pub validator: AccountId,
    /// What it is worth, `mst`.
    pub worth: Amount,
    /// The reward that can be claimed, `usd`.
    pub owed: Amount,
    /// The record.
    pub record: Delegation,
}

/// Stake on its way back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct UnbondingView {
    /// Names it in `UnstakeClaim`.
    pub id: UnbondingId,
    /// What it is worth, `mst`.
    pub worth: Amount,
    /// The record.
    pub record: Unbonding,
}

/// A validator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ValidatorView {
    /// Its account.
    pub id: AccountId,
    /// Whether it makes blocks and votes on them now.
    pub in_committee: bool,
    /// Its record; absent for one of the committee that has no stake.
    pub record: Option<Validator>,
}

/// A proposal and who voted how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ProposalView {
    /// Its id.
    pub id: ProposalId,
    /// Its record.
    pub record: Proposal,
    /// The votes, until they are tallied.
    pub ballots: Vec<BallotView>,
}

/// A vote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BallotView {
    /// Whose.
    pub voter: AccountId,
    /// How.
    #[serde(flatten)]
    pub record: Ballot,
}
