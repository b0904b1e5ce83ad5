//! The cell against friendly and hostile programs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod compiler;
mod digits;
mod files;
mod helpers;
mod hostile;
mod limits;
mod products;
mod refused;
mod results;
