use super::block::PROTOCOL_VERSION;
use crate::light::TrustError;
use muster_ledger::GenesisError;
use muster_types::{AccountId, Hash, codec::DecodeError};
use std::{io, net::SocketAddr, path::PathBuf};

/// Why a node cannot start, go on, or answer.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The data directory cannot be used.
    #[error("the data directory {dir} cannot be used: check that it exists and is writable")]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// Another process uses the data directory.
    #[error("another node uses the data directory {dir}: stop it or choose another directory")]
    Busy {
        /// The directory.
        dir: PathBuf,
    },
    /// The data directory holds another chain.
    #[error(
        "the data directory {dir} holds chain {found}, not {expected}: choose another directory \
         or the genesis that it was made with"
    )]
    OtherChain {
        /// The directory.
        dir: PathBuf,
        /// The chain in it.
        found: String,
        /// The chain of the genesis.
        expected: Hash,
    },
    /// The genesis cannot begin a chain.
    #[error("the genesis is not valid")]
    GenesisInvalid(#[source] GenesisError),
    /// The genesis is not one that this node can take part in.
    #[error("the genesis is not usable here: {reason}")]
    Genesis {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// What the node would have to believe of the past is not to be believed.
    #[error(
        "an empty directory begins with what is taken for granted: set `anchor` to a file of \
         `muster receipt anchor`, written by a node that you trust"
    )]
    Trust(#[source] TrustError),
    /// The anchor cannot be begun with.
    #[error("the anchor cannot be used: {reason}")]
    Anchor {
        /// Why.
        reason: &'static str,
    },
    /// A peer's key is none.
    #[error("peer {key} is no ed25519 key: correct the settings")]
    Peer {
        /// As given.
        key: AccountId,
    },
    /// The settings name too many peers.
    #[error("{given} peers are named, at most {limit} may be: leave out some")]
    Peers {
        /// How many are named.
        given: usize,
        /// How many may be.
        limit: usize,
    },
    /// The peer-to-peer listener.
    #[error("cannot listen on {address} for peers: choose another address, or stop what uses it")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The engine died.
    #[error("the consensus engine died ({reason}): its log says why; start the node again")]
    Died {
        /// What it said last.
        reason: String,
    },
    /// The node was stopped.
    #[error("the node was stopped")]
    Stopped,
    /// A stored block cannot be read.
    #[error("block {height} is damaged, or not of protocol {PROTOCOL_VERSION}")]
    DamagedBlock {
        /// Its height.
        height: u64,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
}
