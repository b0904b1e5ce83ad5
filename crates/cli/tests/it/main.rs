//! Drives the real program as a user would: against a network that `muster dev` keeps up.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bad_input;
mod bench;
mod commands;
mod crashes;
mod demo;
mod devnet;
mod guests;
mod listeners;
mod namespaces;
mod netns;
mod receipts;
#[path = "../../../agent/tests/services/registry.rs"]
mod registry;
mod sdl;
mod services;
mod validators;
