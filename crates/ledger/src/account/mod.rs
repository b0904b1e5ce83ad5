//! Accounts: balances, nonces, fees, and who acts for them.
//!
//! A nonce is good once, and only inside the window of [`NONCE_WINDOW`] above the lowest unused
//! one, so that a client can have many transactions in flight and order among them does not
//! matter. The account has a window, and each of its delegated keys has one of its own.
//!
//! # Who acts
//! An envelope names the account that acts and pays, and is signed in one of three ways
//! ([`muster_types::Auth`]), each in a domain of its own, so that a signature given in one way is
//! never good in another:
//!
//! | account | event | next |
//! |---|---|---|
//! | acts by its own key | `MultisigSet` with a policy | acts by members: k of n |
//! | acts by members | `MultisigSet` with another policy | acts by the new members |
//! | acts by members | `MultisigSet` without policy | acts by its own key |
//!
//! | delegated key | event | next |
//! |---|---|---|
//! | none, granted, expired | `KeyGrant` | granted: new scopes, limits and expiry; nonces go on |
//! | granted | block time passes `expires` | expired: refused |
//! | granted, expired | `KeyRevoke` | none |
//! | expired | `KeyGrant` of another key | none |
//!
//! A key that is granted anew begins with nonces above all that any key of the account that is
//! gone could have used. An account has at most [`crate::limits::KEYS`] keys. Keys are delegated
//! by whoever acts for the account, so members may delegate too.
//!
//! A delegated key may do what one of its scopes allows ([`crate::Action::scopes`]), and only the
//! account itself can grant, revoke and set its policy. Whatever the action is: what the account's
//! free balances fell by through it, fee included, is taken off the key's limits, and where there
//! is less left the transaction is refused. What comes in does not raise them. Money that the
//! owner put into an escrow or a bond is not free: a key with the scope disposes of it there.
//!
//! | action | who | needs | effect |
//! |---|---|---|---|
//! | `Transfer` | the account; scope `transfer` | balance >= amount | moves it |
//! | `KeyGrant` | the account | another's key; a scope; expiry ahead; room | the key may act |
//! | `KeyRevoke` | the account | the key is there | it is gone |
//! | `MultisigSet` | the account | 1 <= k <= n <= 16, distinct | who acts for the account |
//!
//! # Fees
//! Every transaction pays a fee in `usd` before its action runs: `fee_per_byte` for each byte of
//! its encoding, and `fee_per_unit` for each of its execution units ([`crate::Action::units`]) and
//! each signature beyond the first. The block's fees go to its proposer, and to those who delegate
//! to it, when it ends ([`crate::stake`]).

pub(crate) mod admission;
pub(crate) mod authority;
pub(crate) mod delegated;
pub(crate) mod envelope;
pub(crate) mod fees;
pub(crate) mod key_grant;
pub(crate) mod key_revoke;
pub(crate) mod multisig_set;
pub(crate) mod transfer;

pub use admission::{Admission, Standing};
pub use authority::{Authority, Multisig};
pub use delegated::{DelegatedKey, Scope, Scopes};

use crate::keys::{self, Listing, Record, Table};
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
    /// Whether members act for it instead of its own key (see [`Authority::policy`]).
    pub multisig: bool,
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
    const LISTING: Listing = Listing::Never;
}

#[cfg(test)]
mod tests;
