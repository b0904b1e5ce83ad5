//! What an endpoint is bound with.

use muster_types::SecretKey;
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// Where blobs are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// In memory: gone when the endpoint is.
    Memory,
    /// In this directory, which is created where missing. One endpoint at a time may use it.
    Directory(PathBuf),
}

/// What an endpoint is bound with. [`Config::new`] gives the defaults.
#[derive(Debug, Clone)]
pub struct Config {
    /// The role's key: its public half is the endpoint's name.
    pub key: SecretKey,
    /// The UDP socket to bind; port 0 lets the system choose. Default `127.0.0.1:0`.
    pub bind: SocketAddr,
    /// Sockets to tell others instead of the bound ones, where a router forwards to us. At most
    /// [`crate::MAX_SOCKETS`]. Default none.
    pub advertise: Vec<SocketAddr>,
    /// Where blobs are kept. Default in memory.
    pub store: Store,
    /// How often blobs that nothing pins are deleted. Default never.
    pub collect_every: Option<Duration>,
    /// A peer that is silent for this long is gone: its connection and the calls on it fail.
    /// Default 3 s.
    pub idle_timeout: Duration,
    /// How often a silent connection is probed; well under `idle_timeout`. Default 1 s.
    pub keep_alive: Duration,
    /// Longest wait for a peer to answer a dial. Default 5 s.
    pub dial_timeout: Duration,
    /// What peers may make us hold.
    pub limits: Limits,
}

impl Config {
    /// The defaults for `key`: loopback, blobs in memory.
    #[must_use]
    pub fn new(key: SecretKey) -> Self {
        Self {
            key,
            bind: SocketAddr::from(([127, 0, 0, 1], 0)),
            advertise: Vec::new(),
            store: Store::Memory,
            collect_every: None,
            idle_timeout: Duration::from_secs(3),
            keep_alive: Duration::from_secs(1),
            dial_timeout: Duration::from_secs(5),
            limits: Limits::default(),
        }
    }
}

/// Bounds on what peers may make us hold, or wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest blob that is added or fetched, in bytes. Default 16 GiB.
    pub max_blob_bytes: u64,
    /// Largest request, ours or a peer's, in bytes. Default 4 MiB.
    pub max_request_bytes: u32,
    /// Largest answer, ours or a peer's, in bytes. Default 4 MiB.
    pub max_response_bytes: u32,
    /// Calls of one peer that are handled at once. A connection's further calls wait; calls over
    /// further connections are refused with [`crate::RefusalCode::BUSY`]. Default 64.
    pub max_calls_per_peer: u32,
    /// Streams of one peer that are open at once. A connection's further streams wait; streams
    /// over further connections are refused with [`crate::RefusalCode::BUSY`]. Default 64.
    pub max_streams_per_peer: u32,
    /// Connections from one peer, over all protocols. Default 16.
    pub max_connections_per_peer: u32,
    /// Connections from all peers. Default 1024.
    pub max_connections: u32,
    /// Longest that a caller may take to send its request, or to take our answer. Default 10 s.
    pub transfer_timeout: Duration,
    /// Longest that a service may take for one call. Default 120 s.
    pub service_timeout: Duration,
    /// Longest that a peer which sends us a blob may pause. Default 10 s.
    pub stall_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_blob_bytes: 16 << 30,
            max_request_bytes: 4 << 20,
            max_response_bytes: 4 << 20,
            max_calls_per_peer: 64,
            max_streams_per_peer: 64,
            max_connections_per_peer: 16,
            max_connections: 1024,
            transfer_timeout: Duration::from_secs(10),
            service_timeout: Duration::from_mins(2),
            stall_timeout: Duration::from_secs(10),
        }
    }
}
