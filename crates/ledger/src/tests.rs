//! The tests' world, and the tests that concern all modules at once. Those of one module stand
//! beside it.

mod bytes;
pub(crate) mod chain;
mod golden;
pub(crate) mod kinds;
mod limits;
mod random;
mod refusals;
pub(crate) mod world;

pub(crate) use world::{World, nanos, usd};
