//! The wires: one QUIC endpoint for each role, named by the role's key.
//!
//! A peer is an account. The ed25519 key that signs a role's transactions is also the key of its
//! endpoint, so whoever answers a dial has proved that it holds the account's key; socket
//! addresses are only hints and nothing trusts them.
//!
//! Three protocols run over an endpoint:
//!
//! * **Blobs**: content named by its plain BLAKE3 hash, verified while it streams, served only to
//!   the peers that the [`Gate`] lets in.
//! * **Calls**: one request and one answer, each a bounded frame on a stream of its own, handled
//!   by a [`Service`] that knows which account calls.
//! * **Streams**: bytes both ways, accepted by a [`StreamService`] that knows which account opens.
//!
//! ```no_run
//! use muster_fabric::{Config, Fabric, RPC_ALPN, Refusal, Service};
//! use muster_types::{AccountId, SecretKey};
//! use std::time::Duration;
//!
//! struct Echo;
//!
//! impl Service for Echo {
//!     async fn call(&self, _: AccountId, request: bytes::Bytes) -> Result<bytes::Bytes, Refusal> {
//!         Ok(request)
//!     }
//! }
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Fabric::bind(Config::new(SecretKey::from_seed([1; 32]))).await?;
//! server.serve(RPC_ALPN, Echo)?;
//! let client = Fabric::bind(Config::new(SecretKey::from_seed([2; 32]))).await?;
//! let second = Duration::from_secs(1);
//! let answer = client.call(&server.local_addr(), RPC_ALPN, &b"hello"[..], second).await?;
//! assert_eq!(answer, &b"hello"[..]);
//!
//! let blob = server.add_bytes(&b"some content"[..]).await?;
//! server.gate().allow(client.account(), blob.hash);
//! client.fetch(blob.hash, 1024, &[server.local_addr()]).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Nothing here is global: what an endpoint runs ends when it is shut down or dropped.

mod accept;
mod addr;
mod blobs;
mod bound;
mod config;
mod error;
mod fabric;
mod hello;
mod pool;
mod rpc;
mod stream;

pub use addr::{MAX_SOCKETS, PeerAddr, PeerAddrError};
pub use blobs::{Blob, BlobError, Fault, FetchError, Gate, PeerFault};
pub use config::{Config, Limits, Store};
pub use error::{DialError, FabricError};
pub use fabric::Fabric;
pub use rpc::{CallError, ProtocolFault, RPC_ALPN, Refusal, RefusalCode, Service};
pub use stream::{Accepted, Channel, StreamService};
