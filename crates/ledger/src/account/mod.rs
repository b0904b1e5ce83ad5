//! Accounts: balances, nonces, fees.
//!
//! A nonce is good once, and only inside the window of [`NONCE_WINDOW`] above the lowest unused
//! one, so that a client can have many transactions in flight and order among them does not
//! matter.
//!
//! | action | who | needs | effect |
//! |---|---|---|---|
//! | `Transfer` | the owner | balance >= amount | moves it |
//!
//! Every transaction pays a fee in `usd` before its action runs: `fee_per_byte` for each byte of its
//! encoding and `fee_per_unit` for each of its execution units ([`crate::Action::units`]). The
//! block's fees go to its proposer, and to those who delegate to it, when it ends ([`crate::stake`]).

pub(crate) mod envelope;
pub(crate) mod fees;
pub(crate) mod transfer;

use crate::keys::{self, Record, Table};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_types::{AccountId, Amount, Asset};
use serde::{Deserialize, Serialize};

/// How far above the lowest unused nonce a transaction's nonce may be.
pub const NONCE_WINDOW: u64 = 64;

/// An account's state. An account that was never paid does not exist and cannot act.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Account {
    /// The lowest unused nonce.
    pub nonce: u64,
    /// Bit `i` is set where `nonce + i` is used already; bit 0 never is.
    pub nonces_used: u64,
    /// Free `usd`.
    pub usd: Amount,
    /// Free `mst`.
    pub mst: Amount,
}

impl Account {
    /// The free balance of `asset`.
    #[must_use]
    pub const fn balance(&self, asset: Asset) -> Amount {
        match asset {
            Asset::Usd => self.usd,
            Asset::Mst => self.mst,
        }
    }

    pub(crate) const fn balance_mut(&mut self, asset: Asset) -> &mut Amount {
        match asset {
            Asset::Usd => &mut self.usd,
            Asset::Mst => &mut self.mst,
        }
    }
}

impl Record for Account {
    type Key = AccountId;
    const KIND: &'static str = "account";
    const TABLE: Table<AccountId, Self> = keys::ACCOUNTS;
}

#[cfg(test)]
mod tests;
