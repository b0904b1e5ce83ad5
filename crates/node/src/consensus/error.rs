use super::block::PROTOCOL_VERSION;
use muster_ledger::GenesisError;
use muster_types::{Hash, codec::DecodeError};
use std::{io, path::PathBuf};

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
