//! The rules against an independent model, over random and hostile sequences of actions.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod drive;
mod drive_stake;
mod model;
