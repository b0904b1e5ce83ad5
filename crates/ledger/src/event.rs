//! What happened: every applied transaction and every block's end yields typed events.
//!
//! An event carries the id of everything that it concerns ([`Event::subjects`]), so that a host
//! can index it under each of them and nobody has to join or scan.
//!
//! | what | yields |
//! |---|---|
//! | a transaction that is applied | one event or more, in its receipt |
//! | a transaction that is refused | none: it left no trace |
//! | a block's end | one for each thing that fell due, of the block itself |
//!
//! The event root is over the transactions' events in their order, then those of the block's end.

mod kind;
mod root;
mod subject;

pub use kind::Event;
pub use root::event_root;
pub use subject::{Case, Contest, OrderParties, Parties, Subject};

use borsh::{BorshDeserialize, BorshSerialize};
use muster_types::{AccountId, Amount};
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

#[cfg(test)]
pub(crate) mod tests;
