//! Containers as a provider runs them, with a real runtime: `runc`, or what the environment
//! variable `MUSTER_TEST_RUNTIME` names (`runsc`), with the global options of
//! `MUSTER_TEST_RUNTIME_ARGS`. Without root or the runtime the tests skip, and say so.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod archive;
mod confined;
mod helpers;
mod hostile;
mod image;
mod life;
mod network;
mod process;
#[path = "../oci/registry.rs"]
mod registry;
mod restart;
mod storage;
