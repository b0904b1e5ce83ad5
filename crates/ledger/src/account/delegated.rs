//! Delegated keys and what they may do.

use crate::keys::{self, Listing, Record, Table};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_types::{AccountId, Amount, Millis};
use serde::{Deserialize, Serialize};

/// A kind of actions that a delegated key may be allowed. Which actions fall under which:
/// [`crate::Action::scopes`]. The order of the variants is their encoding: only ever append.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Paying other accounts.
    Transfer,
    /// The bond, and the duties that are pledged out of it.
    Bond,
    /// The provider's description, hosts and draining, its way out of jail; affiliations.
    Provider,
    /// Serving leases: ready, heartbeats, results and their defence, ending them.
    Serve,
    /// Orders, and what their tenant does about leases.
    Order,
    /// Opening, filling and closing escrows.
    Escrow,
    /// Jobs, disputes and challenges.
    Job,
    /// Validating, its votes on outputs included, and what is staked.
    Stake,
    /// Proposals of parameters and votes on them.
    Vote,
    /// What the account signs as an auditor.
    Audit,
}

impl Scope {
    /// All of them, in order.
    pub const ALL: [Self; 10] = [
        Self::Transfer,
        Self::Bond,
        Self::Provider,
        Self::Serve,
        Self::Order,
        Self::Escrow,
        Self::Job,
        Self::Stake,
        Self::Vote,
        Self::Audit,
    ];

    const fn bit(self) -> u16 {
        match self {
            Self::Transfer => 1,
            Self::Bond => 1 << 1,
            Self::Provider => 1 << 2,
            Self::Serve => 1 << 3,
            Self::Order => 1 << 4,
            Self::Escrow => 1 << 5,
            Self::Job => 1 << 6,
            Self::Stake => 1 << 7,
            Self::Vote => 1 << 8,
            Self::Audit => 1 << 9,
        }
    }
}

/// A set of scopes: bit `i` stands for the `i`-th of [`Scope::ALL`]; in JSON a list of names.
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
#[cfg_attr(feature = "schema", schema(value_type = Vec<Scope>))]
#[serde(from = "Vec<Scope>", into = "Vec<Scope>")]
pub struct Scopes(u16);

impl Scopes {
    /// None at all.
    pub const NONE: Self = Self(0);

    /// A set of one.
    #[must_use]
    pub const fn of(scope: Scope) -> Self {
        Self(scope.bit())
    }

    /// This set and one more.
    #[must_use]
    pub const fn with(self, scope: Scope) -> Self {
        Self(self.0 | scope.bit())
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether some scope is in both.
    #[must_use]
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether there is at least one scope and no bit that stands for none.
    pub(crate) fn is_valid(self) -> bool {
        !self.is_empty() && Self::from(Vec::from(self)) == self
    }
}

impl From<Vec<Scope>> for Scopes {
    fn from(scopes: Vec<Scope>) -> Self {
        scopes.into_iter().fold(Self::NONE, Self::with)
    }
}

impl From<Scopes> for Vec<Scope> {
    fn from(scopes: Scopes) -> Self {
        Scope::ALL.into_iter().filter(|scope| scopes.0 & scope.bit() != 0).collect()
    }
}

/// What a key may do for an account that is not its own.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DelegatedKey {
    /// Which actions.
    pub scopes: Scopes,
    /// The account's free `usd` may fall by so much more through this key, fees included.
    pub usd_left: Amount,
    /// The account's free `mst` may fall by so much more through this key.
    pub mst_left: Amount,
    /// Good up to this block time.
    pub expires: Millis,
    /// The key's lowest unused nonce for this account.
    pub nonce: u64,
    /// Bit `i` is set where `nonce + i` is used already; bit 0 never is.
    pub nonces_used: u64,
}

impl Record for DelegatedKey {
    type Key = (AccountId, AccountId);
    const KIND: &'static str = "key";
    const TABLE: Table<(AccountId, AccountId), Self> = keys::KEYS;
    const LISTING: Listing = Listing::Never;
}
