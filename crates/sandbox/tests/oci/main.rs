//! Images from registries that are friendly, broken and hostile.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod auth;
mod build;
mod debian;
mod fake;
mod hostile;
mod overlay;
mod pull;
mod registry;
mod resume;
mod store;
mod unpack;
