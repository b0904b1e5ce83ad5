//! The ledger's host: agrees on blocks, keeps the state on disk and in memory, and feeds it
//! transactions.
//!
//! [`consensus`] holds the engine behind a boundary without traits, [`mempool`] what waits to be
//! put into a block.

pub mod consensus;
mod files;
mod gossip;
mod history;
mod http;
pub mod light;
pub mod mempool;
mod node;
#[cfg(feature = "planted")]
pub mod planted;
mod referee;

pub use history::{BlockRecord, HistoryError, TxRecord};
pub use http::openapi;
pub use node::{Node, NodeConfig, NodeError};
