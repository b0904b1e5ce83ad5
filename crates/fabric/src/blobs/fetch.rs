//! Fetching blobs from peers.

use super::{Blob, BlobError, name};
use crate::{DialError, Fabric, PeerAddr};
use futures::StreamExt;
use iroh::endpoint::{Connection, ConnectionError};
use iroh_blobs::{
    HashAndFormat,
    api::remote::GetProgressItem,
    get::{
        GetError,
        fsm::{AtBlobHeaderNextError, DecodeError},
        request::get_verified_size,
    },
    protocol::{ERR_LIMIT, ERR_PERMISSION},
};
use muster_types::{AccountId, Hash};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};
use tokio::sync::OwnedMutexGuard;

/// Why a blob was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Over the limit. The size is proven by the hash, so no other peer was asked.
    #[error("blob {} has {size} bytes, at most {limit} are allowed", hash.short())]
    TooLarge {
        /// The blob.
        hash: Hash,
        /// Its length in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// None of the peers gave it.
    #[error("blob {} came from none of {} peers{}", hash.short(), faults.len(), List(faults))]
    NoPeer {
        /// The blob.
        hash: Hash,
        /// What went wrong, one for each peer in the order asked.
        faults: Vec<PeerFault>,
    },
    /// Our own store failed.
    #[error("blob {} could not be kept", hash.short())]
    Store {
        /// The blob.
        hash: Hash,
        /// Why.
        #[source]
        source: BlobError,
    },
}

/// One peer's failure to give a blob.
#[derive(Debug, Clone)]
pub struct PeerFault {
    /// Who was asked.
    pub peer: AccountId,
    /// What went wrong.
    pub fault: Fault,
}

/// How a peer failed to give a blob.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Fault {
    /// It could not be reached.
    #[error("cannot be reached")]
    Unreachable(#[source] DialError),
    /// The connection broke during the transfer.
    #[error("connection lost")]
    Lost(#[source] ConnectionError),
    /// It sent nothing for this long.
    #[error("silent for {0:?}")]
    Stalled(Duration),
    /// It does not hold the blob, or not all of it.
    #[error("does not hold it")]
    NotHeld,
    /// It does not let us have the blob.
    #[error("does not let us have it")]
    NotAllowed,
    /// It has too much to do.
    #[error("busy")]
    Busy,
    /// It sent bytes that are not the blob's.
    #[error("sent bytes that are not the blob's")]
    Corrupted,
}

/// The faults of an error's message.
struct List<'a>(&'a [PeerFault]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, PeerFault { peer, fault }) in self.0.iter().enumerate() {
            write!(f, "{}{}: {fault}", if index == 0 { ": " } else { "; " }, peer.short())?;
        }
        Ok(())
    }
}

/// The fetches under way: one at a time for each blob.
#[derive(Default)]
pub(crate) struct Flights {
    locks: Mutex<BTreeMap<Hash, Weak<tokio::sync::Mutex<()>>>>,
}

impl Flights {
    async fn enter(&self, hash: Hash) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            locks.retain(|_, lock| lock.strong_count() > 0);
            locks.get(&hash).and_then(Weak::upgrade).unwrap_or_else(|| {
                let lock = Arc::default();
                locks.insert(hash, Arc::downgrade(&lock));
                lock
            })
        };
        lock.lock_owned().await
    }
}

/// Why one attempt with one peer failed.
enum Failure {
    Peer(Fault),
    TooLarge(u64),
    Store(BlobError),
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Peer(fault)
    }
}

impl Fabric {
    /// Makes sure that we hold blob `hash` and pins it: from our own store, else from the first
    /// of the peers `from` that gives it, asked in turn.
    ///
    /// Every byte is verified as it arrives, and so is the size, which is asked for first: a blob
    /// of more than `max_bytes` (or the endpoint's limit, where that is less) is not transferred.
    /// What arrived before a peer failed is kept and the next one continues there. Concurrent
    /// fetches of one blob transfer it once. Dropping the future gives up.
    ///
    /// # Errors
    /// [`FetchError`]: too large, or each peer's [`Fault`], or our own store's failure.
    pub async fn fetch(
        &self,
        hash: Hash,
        max_bytes: u64,
        from: &[PeerAddr],
    ) -> Result<Blob, FetchError> {
        let limit = max_bytes.min(self.limits().max_blob_bytes);
        let too_large = |size| FetchError::TooLarge { hash, size, limit };
        let store = |source| FetchError::Store { hash, source };
        let _flight = self.flights().enter(hash).await;
        if let Some(size) = self.size(hash).await.map_err(store)? {
            if size > limit {
                return Err(too_large(size));
            }
            self.pin(hash).await.map_err(store)?;
            return Ok(Blob { hash, size });
        }
        let mut faults = Vec::with_capacity(from.len());
        for peer in from {
            match self.fetch_from(hash, limit, peer).await {
                Ok(size) => return Ok(Blob { hash, size }),
                Err(Failure::TooLarge(size)) => return Err(too_large(size)),
                Err(Failure::Store(source)) => return Err(store(source)),
                Err(Failure::Peer(fault)) => {
                    let peer = peer.account();
                    tracing::debug!(peer = %peer.short(), hash = %hash.short(), %fault, "fetch failed");
                    faults.push(PeerFault { peer, fault });
                }
            }
        }
        Err(FetchError::NoPeer { hash, faults })
    }

    /// One peer; a pooled connection that turns out to have been closed is dialled once more.
    async fn fetch_from(&self, hash: Hash, limit: u64, peer: &PeerAddr) -> Result<u64, Failure> {
        let first = self.fetch_over(hash, limit, peer).await;
        match first {
            Err(Failure::Peer(Fault::Lost(error))) if error != ConnectionError::TimedOut => {
                self.fetch_over(hash, limit, peer).await
            }
            done => done,
        }
    }

    async fn fetch_over(&self, hash: Hash, limit: u64, peer: &PeerAddr) -> Result<u64, Failure> {
        let dialled = self.pool().get(peer, iroh_blobs::ALPN).await;
        let connection = dialled.map_err(Fault::Unreachable)?;
        let stall = self.limits().stall_timeout;
        let sized = tokio::time::timeout(stall, get_verified_size(&connection, &name(hash))).await;
        let (size, _) = sized
            .map_err(|_| Fault::Stalled(stall))?
            .map_err(|error| classify(error, &connection))?;
        if size > limit {
            return Err(Failure::TooLarge(size));
        }
        self.transfer(hash, size, &connection).await?;
        // The store says complete only when it holds every verified byte.
        match self.size(hash).await.map_err(Failure::Store)? {
            Some(held) if held == size => {
                self.pin(hash).await.map_err(Failure::Store)?;
                Ok(size)
            }
            _ => Err(Fault::Corrupted.into()),
        }
    }

    async fn transfer(
        &self,
        hash: Hash,
        size: u64,
        connection: &Connection,
    ) -> Result<(), Failure> {
        let content = HashAndFormat::raw(name(hash));
        // Keeps what arrives from being collected before it is pinned.
        let _kept = self
            .store()
            .tags()
            .temp_tag(content)
            .await
            .map_err(BlobError::store("keep a blob"))
            .map_err(Failure::Store)?;
        let local = self
            .store()
            .remote()
            .local(content)
            .await
            .map_err(BlobError::store("look for parts of a blob"))
            .map_err(Failure::Store)?;
        // It may have been added here meanwhile; asking for nothing would be refused.
        if local.is_complete() {
            return Ok(());
        }
        let get = self.store().remote().execute_get(connection.clone(), local.missing());
        let mut progress = std::pin::pin!(get.stream());
        let stall = self.limits().stall_timeout;
        loop {
            let item = tokio::time::timeout(stall, progress.next()).await;
            match item.map_err(|_| Fault::Stalled(stall))? {
                Some(GetProgressItem::Progress(bytes)) if bytes > size => {
                    return Err(Fault::Corrupted.into());
                }
                Some(GetProgressItem::Progress(_)) => {}
                Some(GetProgressItem::Done(_)) => return Ok(()),
                Some(GetProgressItem::Error(error)) => return Err(classify(error, connection)),
                None => {
                    return Err(Failure::Store(BlobError::store("receive a blob")("no result")));
                }
            }
        }
    }
}

/// Whose fault an error is.
fn classify(error: GetError, connection: &Connection) -> Failure {
    if let Some(code) = error.iroh_error_code() {
        return match code {
            ERR_PERMISSION => Fault::NotAllowed.into(),
            ERR_LIMIT => Fault::Busy.into(),
            _ => Fault::NotHeld.into(),
        };
    }
    match error {
        GetError::AtBlobHeaderNext { source: AtBlobHeaderNextError::NotFound { .. }, .. }
        | GetError::Decode {
            source:
                DecodeError::ChunkNotFound { .. }
                | DecodeError::ParentNotFound { .. }
                | DecodeError::LeafNotFound { .. },
            ..
        } => Fault::NotHeld.into(),
        GetError::Decode {
            source: DecodeError::ParentHashMismatch { .. } | DecodeError::LeafHashMismatch { .. },
            ..
        } => Fault::Corrupted.into(),
        error => match connection.close_reason() {
            Some(reason) => Fault::Lost(reason).into(),
            None => Failure::Store(BlobError::store("receive a blob")(error)),
        },
    }
}
