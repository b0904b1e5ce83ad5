//! The contracts between the roles: what the node's HTTP API says, what a tenant and a provider
//! say to each other over the fabric, and the typed client for the former.
//!
//! - [`views`]: requests and responses of the HTTP API (JSON; the OpenAPI document is generated
//!   from them), under `/v1`.
//! - [`Client`]: the typed client. [`Wallet`]: a client with a key, which signs and sends.
//! - [`provider`]: the messages of the protocol [`provider::ALPN`] (borsh over the fabric).
//! - [`service`]: those of [`service::ALPN`], for services in containers.
//! - [`receipt`]: the record of a finished job.
//!
//! Ledger records travel as the ledger defines them; there is no second vocabulary.

mod bounded;
mod client;
pub mod provider;
pub mod receipt;
pub mod service;
pub mod views;
mod wallet;

pub use client::{Client, ClientError, EventStream};
pub use wallet::{Wallet, WalletError, draft};

#[cfg(test)]
mod tests;
