//! Content-addressed blobs: what we keep, whom we serve, what we fetch.
//!
//! A blob's name is the plain BLAKE3 hash of its bytes, so that it is verified while it streams,
//! from any peer. What was added or fetched is pinned until [`Fabric::unpin`]; what nothing pins
//! is deleted at the next collection, where [`crate::Config::collect_every`] asks for one.

mod fetch;
mod gate;
mod serve;

use crate::{Config, Fabric, FabricError, Store};
use bytes::Bytes;
use iroh_blobs::{
    BlobFormat, HashAndFormat,
    api::blobs::{AddPathOptions, AddProgress, BlobStatus, ImportMode},
    store::{GcConfig, fs::FsStore, fs::options::Options as FsOptions, mem},
};
use muster_types::Hash;
use std::{fmt, io, path::Path, path::PathBuf};

pub(crate) use fetch::Flights;
pub use fetch::{Fault, FetchError, PeerFault};
pub use gate::Gate;
pub(crate) use serve::serve;

/// A blob that we hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blob {
    /// Plain BLAKE3 of the content: its name.
    pub hash: Hash,
    /// Its length in bytes.
    pub size: u64,
}

/// Why a blob was not added or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// Over the limit.
    #[error("the blob has {size} bytes, at most {limit} are allowed")]
    TooLarge {
        /// Its length in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// We do not hold all of it.
    #[error("blob {} is not held here; fetch it first", hash.short())]
    NotHeld {
        /// The blob.
        hash: Hash,
    },
    /// The file cannot be read.
    #[error("the file {} cannot be read", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The store failed, or is shut down.
    #[error("the blob store failed to {action}: {reason}")]
    Store {
        /// What was asked of it.
        action: &'static str,
        /// Why.
        reason: String,
    },
}

impl BlobError {
    /// The store's errors carry their chain in the alternate form, and not all are `Error`s.
    pub(crate) fn store<E: fmt::Display>(action: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::Store { action, reason: format!("{error:#}") }
    }
}

impl Fabric {
    /// Adds and pins a blob from memory.
    ///
    /// # Errors
    /// [`BlobError::TooLarge`] over the limit; [`BlobError::Store`].
    pub async fn add_bytes(&self, bytes: impl Into<Bytes>) -> Result<Blob, BlobError> {
        let bytes = bytes.into();
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.check_size(size)?;
        self.add(self.store().blobs().add_bytes(bytes)).await
    }

    /// Adds and pins a copy of the file at `path`.
    ///
    /// # Errors
    /// [`BlobError::File`] where it cannot be read; [`BlobError::TooLarge`];
    /// [`BlobError::Store`].
    pub async fn add_file(&self, path: &Path) -> Result<Blob, BlobError> {
        let unreadable = |source| BlobError::File { path: path.to_owned(), source };
        let absolute = std::path::absolute(path).map_err(unreadable)?;
        let metadata = tokio::fs::metadata(&absolute).await.map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(unreadable(io::Error::other("not a regular file")));
        }
        self.check_size(metadata.len())?;
        let options =
            AddPathOptions { path: absolute, format: BlobFormat::Raw, mode: ImportMode::Copy };
        self.add(self.store().blobs().add_path_with_opts(options)).await
    }

    /// The whole content of a blob that we hold, where it has at most `max_bytes`.
    ///
    /// # Errors
    /// [`BlobError::NotHeld`], [`BlobError::TooLarge`], [`BlobError::Store`].
    pub async fn get_bytes(&self, hash: Hash, max_bytes: u64) -> Result<Bytes, BlobError> {
        let size = self.size(hash).await?.ok_or(BlobError::NotHeld { hash })?;
        if size > max_bytes {
            return Err(BlobError::TooLarge { size, limit: max_bytes });
        }
        self.store().blobs().get_bytes(name(hash)).await.map_err(BlobError::store("read a blob"))
    }

    /// Writes a blob that we hold to the file `path`, replacing what is there.
    ///
    /// # Errors
    /// [`BlobError::NotHeld`]; [`BlobError::File`] for a path that is none; [`BlobError::Store`]
    /// where it cannot be written.
    pub async fn export_file(&self, hash: Hash, path: &Path) -> Result<Blob, BlobError> {
        let size = self.size(hash).await?.ok_or(BlobError::NotHeld { hash })?;
        let absolute = std::path::absolute(path)
            .map_err(|source| BlobError::File { path: path.to_owned(), source })?;
        let export = self.store().blobs().export(name(hash), absolute);
        export.await.map_err(BlobError::store("export a blob"))?;
        Ok(Blob { hash, size })
    }

    /// Whether we hold all of a blob.
    ///
    /// # Errors
    /// [`BlobError::Store`].
    pub async fn has(&self, hash: Hash) -> Result<bool, BlobError> {
        Ok(self.size(hash).await?.is_some())
    }

    /// The length in bytes of a blob that we hold all of.
    ///
    /// # Errors
    /// [`BlobError::Store`].
    pub async fn size(&self, hash: Hash) -> Result<Option<u64>, BlobError> {
        let status = self.store().blobs().status(name(hash)).await;
        match status.map_err(BlobError::store("look for a blob"))? {
            BlobStatus::Complete { size } => Ok(Some(size)),
            BlobStatus::Partial { .. } | BlobStatus::NotFound => Ok(None),
        }
    }

    /// Lets go of a blob: it is deleted at the next collection. Who may fetch it until then is
    /// still the [`Gate`]'s business. Returns whether it was pinned.
    ///
    /// # Errors
    /// [`BlobError::Store`].
    pub async fn unpin(&self, hash: Hash) -> Result<bool, BlobError> {
        let deleted = self.store().tags().delete(pin_tag(hash)).await;
        Ok(deleted.map_err(BlobError::store("unpin a blob"))? > 0)
    }

    pub(crate) async fn pin(&self, hash: Hash) -> Result<(), BlobError> {
        let pinned = self.store().tags().set(pin_tag(hash), HashAndFormat::raw(name(hash))).await;
        pinned.map_err(BlobError::store("pin a blob"))
    }

    async fn add(&self, adding: AddProgress<'_>) -> Result<Blob, BlobError> {
        // Holds the blob until it is pinned.
        let kept = adding.temp_tag().await.map_err(BlobError::store("add a blob"))?;
        let hash = Hash(*kept.hash().as_bytes());
        self.pin(hash).await?;
        let size = self.size(hash).await?.ok_or(BlobError::NotHeld { hash })?;
        Ok(Blob { hash, size })
    }

    fn check_size(&self, size: u64) -> Result<(), BlobError> {
        let limit = self.limits().max_blob_bytes;
        if size > limit { Err(BlobError::TooLarge { size, limit }) } else { Ok(()) }
    }
}

/// A hash as the blob store spells it.
fn name(hash: Hash) -> iroh_blobs::Hash {
    iroh_blobs::Hash::from_bytes(hash.0)
}

fn pin_tag(hash: Hash) -> String {
    format!("pin/{hash}")
}

pub(crate) async fn open_store(config: &Config) -> Result<iroh_blobs::api::Store, FabricError> {
    let gc = config.collect_every.map(|interval| GcConfig { interval, add_protected: None });
    match &config.store {
        Store::Memory => {
            let store = mem::MemStore::new_with_opts(mem::Options { gc_config: gc });
            Ok((*store).clone())
        }
        Store::Directory(path) => {
            let unusable = |reason| FabricError::Store { path: path.clone(), reason };
            let root = std::path::absolute(path).map_err(|error| unusable(error.to_string()))?;
            let mut options = FsOptions::new(&root);
            options.gc = gc;
            let store = FsStore::load_with_opts(root.join("blobs.db"), options)
                .await
                .map_err(|error| unusable(format!("{error:#}")))?;
            Ok(store.into())
        }
    }
}

/// Writes out what the store still holds back and closes it.
pub(crate) async fn close_store(store: &iroh_blobs::api::Store) -> Result<(), BlobError> {
    store.sync_db().await.map_err(BlobError::store("write out its index"))?;
    store.shutdown().await.map_err(BlobError::store("close"))
}
