//! The judge's arithmetic: what is committed to, and which tasks are checked again.
//!
//! A provider commits to its results on a lease by the Merkle root ([`muster_types::merkle`]) over
//! [`task_leaf`]s in rising task order. A seed that the provider does not know decides by
//! [`sample`] which tasks another provider runs again. Where two results differ, who is right is
//! settled by running the task once more.
//!
//! A provider of a chain that anybody can dispute commits to every state instead ([`Chain`]);
//! [`Game`] finds the first step on which two parties disagree.
//!
//! How much a provider must have at stake for cheating not to pay is [`stake_floor`].
//!
//! ```
//! use muster_types::{Hash, JobId, merkle};
//! use muster_verify::task_leaf;
//!
//! let (image, label) = (Hash::of_content(b"image"), Hash::of_content(b"cat"));
//! let leaves = [task_leaf(&JobId::default(), 0, &image, &label, 1_234)];
//! let root = merkle::root(&leaves);
//! assert!(merkle::verify(&root, &leaves[0], 0, 1, &merkle::proof(&leaves, 0)));
//! ```
//!
//! Everything here is a pure function over hashes and integers.

#![cfg_attr(
    not(test),
    deny(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::float_arithmetic)
)]

mod bisect;
mod commit;
mod economics;
mod sampling;

pub use bisect::{ARITY, BadMove, Game, Opening, Step, Turn, rounds_max};
pub use commit::{Chain, data_listing, data_listing_hash, task_leaf};
pub use economics::stake_floor;
pub use sampling::{BPS, falls_below, is_sampled, sample};
