//! Errors of the endpoint itself.

use muster_types::AccountId;
use std::{error::Error, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

/// Why an endpoint could not be bound, or a service not registered.
#[derive(Debug, thiserror::Error)]
pub enum FabricError {
    /// A setting makes no sense.
    #[error("the fabric setting `{setting}` is not usable: {reason}")]
    Setting {
        /// The setting's name in [`crate::Config`].
        setting: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The socket could not be bound.
    #[error("the UDP socket {socket} cannot be bound; choose another address or port")]
    Bind {
        /// The socket asked for.
        socket: SocketAddr,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The blob store could not be opened.
    #[error(
        "the blob store in {} cannot be opened (is another process using it?): {reason}",
        path.display()
    )]
    Store {
        /// The store's directory.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The protocol is served already, or is the fabric's own.
    #[error("the protocol `{alpn}` is taken")]
    Taken {
        /// The protocol's name.
        alpn: String,
    },
}

/// Why no connection to a peer came about.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DialError {
    /// The account is not a public key, so nobody can prove to be it.
    #[error("account {0} is not a public key")]
    NotAKey(AccountId),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// Nobody there, somebody else there, or the peer does not speak the protocol.
    #[error("the connection was not established")]
    Connect(#[source] Arc<iroh::endpoint::ConnectError>),
}
