//! The auction: matches orders with hosts' standing offers, and explains the outcome.
//!
//! An order ([`Terms`]) asks for a number of equal leases ([`Request`]) under hard constraints and
//! a price limit. A host ([`HostView`]) offers what it has free at its own [`Prices`]. [`clear`]
//! picks the winners among standing offers, [`clear_bids`] among bids for one order; [`explain`]
//! runs the same checks over every host and counts what each constraint excluded and what to
//! relax. The ledger calls `clear` at the end of a block, `muster quote` calls `explain`, both over
//! the same [`Book`]; [`IndexedBook`] is one that clears fast, and [`Columns`] keeps the same hosts
//! in a form that `explain` reads fast.
//!
//! ```
//! use muster_market::{MemoryBook, Rules, Terms, clear};
//! use muster_types::Millis;
//!
//! let nobody = MemoryBook::default();
//! let terms = Terms { count: 1, ..Terms::default() };
//! assert!(clear(&nobody, &terms, &Rules::default(), Millis::ZERO).placements.is_empty());
//! ```
//!
//! Everything here is a pure function of its arguments, in integers: the same on every machine.

#![cfg_attr(
    not(test),
    deny(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::float_arithmetic)
)]

mod book;
pub mod capacity;
mod check;
mod class;
mod clear;
mod columns;
mod explain;
mod host;
mod indexed;
mod numbered;
mod rules;
mod terms;

pub use book::{Book, Cursor, MemoryBook, Met, Offer};
pub use check::Constraint;
pub use class::{Class, Level, Query};
pub use clear::{BidView, Cleared, Held, Placement, Progress, Stop, clear, clear_bids, clear_on};
pub use columns::Columns;
pub use explain::{Exclusion, Explanation, Relax, Shortfall, explain};
pub use host::{HostView, Interruptible, Prices, ProviderView};
pub use indexed::IndexedBook;
pub use rules::Rules;
pub use terms::{
    GIB, MAX_COUNT, MAX_RISK_WEIGHT_BPS, Request, Spread, Terms, Together, Verifies,
    is_jurisdiction,
};

#[cfg(test)]
mod testing;
