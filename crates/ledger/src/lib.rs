//! The law: the pure state machine that every node applies to every block.
//!
//! # What it does
//! A [`State`] is an ordered map of bytes. A block is a [`BlockContext`] and a list of signed
//! actions ([`Tx`]). [`BlockBuilder`] applies them one by one; each applies whole, with a
//! [`Receipt`], or is refused ([`Reject`]) and changes nothing. The block's end then does what
//! time and the other blocks made due. The outcome is a set of [`Changes`] and typed [`Event`]s;
//! who keeps the state applies them. Nothing here reads a clock, draws entropy, does I/O or uses
//! floating point, so the same block on the same state gives the same changes on every machine.
//!
//! ```text
//!            Tx ─┐                       ┌─> Receipt (fee, events) or Reject
//! State ──> BlockBuilder ──push──> ... ──┤
//! BlockContext ─┘                        └─finish─> Changes, Events, event root
//! ```
//!
//! # How to re-implement it
//! 1. Records and their life cycles: the tables in [`account`], [`provider`], [`market`],
//!    [`escrow`], [`job`], [`dispute`], [`bond`], [`auditor`], [`stake`], [`vote`] and
//!    [`neutrality`].
//! 2. Keys and encodings: [`keys`]. Derived keys are not part of what is agreed on.
//! 3. A block, in this order: advance [`Head`]; each transaction: chain, expiry, signatures,
//!    account, who may act for it, nonce, fee ([`account`]), then its action, then what it took
//!    off a delegated key's limits; the block's end, in the order of [`block`].
//! 4. Numbers: [`Params`], limits of shape: [`limits`].
//! 5. What must hold after every block: [`invariant`].
//! 6. What leaves the state, and what its host keeps of it: [`archive`].
//!
//! # Example
//! ```
//! use muster_ledger::{
//!     BlockBuilder, BlockContext, Genesis, MemoryState, Params,
//!     genesis::{EPOCH_BLOCKS, PROTOCOL}, stake::Views,
//! };
//! use muster_types::{AccountId, Hash, Millis};
//!
//! let validator = AccountId::default();
//! let genesis = Genesis {
//!     name: "example".into(),
//!     time: Millis(1_000),
//!     protocol: PROTOCOL,
//!     validators: vec![validator],
//!     balances: Default::default(),
//!     stakes: Default::default(),
//!     epoch_blocks: EPOCH_BLOCKS,
//!     params: Params::default(),
//! };
//! let mut state = MemoryState::default();
//! state.apply(genesis.changes()?);
//! let context =
//!     BlockContext {
//!         height: 1,
//!         now: Millis(1_400),
//!         beacon: Hash::ZERO,
//!         beacon_round: 1,
//!         beacon_key: None,
//!         proposer: validator,
//!         views: Views::default(),
//!     };
//! let outcome = BlockBuilder::new(&state, context)?.finish();
//! state.apply(outcome.changes);
//! assert_eq!(muster_ledger::view::head(&state).map(|head| head.height), Some(1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![cfg_attr(
    not(test),
    deny(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::float_arithmetic)
)]

pub mod account;
pub mod action;
mod apply;
pub mod archive;
pub mod auditor;
pub mod block;
pub mod bond;
mod ctx;
mod derived;
pub mod dispute;
pub mod escrow;
pub mod event;
pub mod genesis;
mod head;
pub mod invariant;
pub mod job;
pub mod keys;
pub mod limits;
pub mod market;
pub mod neutrality;
pub mod param;
pub mod provider;
pub mod reject;
pub mod stake;
pub mod state;
pub mod view;
pub mod vote;

pub use action::{Action, Tx};
pub use block::{
    BlockBuilder, BlockContext, BlockError, BlockOutcome, ExecuteError, Receipt, execute_block,
    verify_batch,
};
pub use derived::rebuild_derived;
pub use event::{Event, event_root};
pub use genesis::{AssetSupply, Genesis, GenesisError, Supply};
pub use head::Head;
pub use param::Params;
pub use provider::ProviderProfile;
pub use reject::Reject;
pub use state::{Changes, MemoryState, Scratch, State};

#[cfg(test)]
mod tests;
