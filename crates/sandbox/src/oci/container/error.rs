//! What can go wrong with a container, each with the place and the fix.

use super::spec::ContainerId;
use std::{io, path::PathBuf};

/// Why a container could not be made, run or removed.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// This machine lacks something that containers need.
    #[error("containers cannot run here: {reason}; {fix}")]
    Unsupported {
        /// What is missing.
        reason: String,
        /// What to do about it.
        fix: &'static str,
    },
    /// A file, directory or mount.
    #[error("cannot {act} {}", path.display())]
    Io {
        /// What was tried.
        act: &'static str,
        /// The place.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A program that we drive failed.
    #[error("`{program} {verb}` failed: {reason}")]
    Tool {
        /// Its name.
        program: String,
        /// What it was told to do.
        verb: String,
        /// What it said.
        reason: String,
    },
    /// The specification asks for what is malformed or not allowed.
    #[error("{field}: {reason}")]
    Refused {
        /// The field of the specification.
        field: &'static str,
        /// What is wrong and what would do.
        reason: String,
    },
    /// There is no such container.
    #[error("there is no container {id}")]
    Unknown {
        /// The name asked for.
        id: ContainerId,
    },
    /// There is such a container or volume already.
    #[error("{name} exists already; remove it first")]
    Exists {
        /// Its name.
        name: String,
    },
    /// The container is not in the state that the act needs.
    #[error("container {id} is not {wanted}")]
    NotNow {
        /// The container.
        id: ContainerId,
        /// The state that the act needs.
        wanted: &'static str,
    },
    /// Another process keeps its containers under this root.
    #[error("another process runs containers under {}; stop it or choose another root", root.display())]
    InUse {
        /// The root.
        root: PathBuf,
    },
    /// Every address of the pool is taken.
    #[error("no address is left in {pool}; close containers or configure a larger pool")]
    NoAddress {
        /// The pool.
        pool: ipnet::Ipv4Net,
    },
}

impl ContainerError {
    pub(in crate::oci) fn refused(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Refused { field, reason: reason.into() }
    }

    /// For `map_err`: the act and the path around an I/O error.
    pub(super) fn io<S: Into<io::Error>>(
        act: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(S) -> Self {
        let path = path.into();
        move |source| Self::Io { act, path, source: source.into() }
    }
}

pub(super) type Result<T, E = ContainerError> = std::result::Result<T, E>;
