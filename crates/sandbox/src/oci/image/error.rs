//! Why an image did not come.

use super::{digest::Digest, unpack::LayerProblem};
use std::{io, path::PathBuf};

/// Why an image was not pulled: what, where, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// This host does not speak to that one.
    #[error("{host} is not asked: {problem}")]
    HostRefused {
        /// `host[:port]`.
        host: String,
        /// Why, and the setting that allows it.
        problem: String,
    },
    /// No connection, or one that broke too often.
    #[error("{at} cannot be reached, or broke off: check the registry's name, and try again")]
    Unreachable {
        /// The address without its query.
        at: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// Not without the right credentials.
    #[error(
        "{at} does not give `{image}` to {who}{said}: check that it exists, and the credentials"
    )]
    Denied {
        /// The image.
        image: String,
        /// The address without its query.
        at: String,
        /// Whether credentials were shown.
        who: &'static str,
        /// The registry's words, or nothing.
        said: String,
    },
    /// There is no such image.
    #[error("`{image}` is not at {at}{said}: check repository, and tag or digest")]
    NotFound {
        /// The image.
        image: String,
        /// The address without its query.
        at: String,
        /// The registry's words, or nothing.
        said: String,
    },
    /// Too many requests.
    #[error("{at} wants fewer requests: wait {wait}, or name credentials")]
    RateLimited {
        /// The address without its query.
        at: String,
        /// How long, as the registry says it.
        wait: String,
    },
    /// An answer that is none of the above.
    #[error("{at} answered {status}{said}")]
    Answer {
        /// The address without its query.
        at: String,
        /// HTTP's.
        status: u16,
        /// The registry's words, or nothing.
        said: String,
    },
    /// An answer that no registry gives.
    #[error("{at} does not speak as a registry does: {problem}")]
    Protocol {
        /// The address without its query.
        at: String,
        /// What is wrong.
        problem: String,
    },
    /// A connection that breaks off again and again.
    #[error("{at} gave {got} of {size} bytes and broke off {attempts} times: try again later")]
    Cut {
        /// The address without its query.
        at: String,
        /// Bytes that are here, and from which the next pull goes on.
        got: u64,
        /// Bytes that there are.
        size: u64,
        /// How often.
        attempts: u32,
    },
    /// Bytes that are not those named.
    #[error("{what} is {got} and not {expected}: the registry or the way to it is broken")]
    Digest {
        /// What was asked for.
        what: String,
        /// The name.
        expected: Digest,
        /// What came.
        got: Digest,
    },
    /// Larger than allowed.
    #[error("{what} has more than {limit}: make the image smaller, or raise the provider's limit")]
    TooLarge {
        /// What.
        what: String,
        /// How much is allowed, with its unit.
        limit: String,
    },
    /// A manifest or configuration that says nothing that can be run.
    #[error("{what} is not what can be run: {problem}")]
    Malformed {
        /// What.
        what: String,
        /// What is wrong, and the fix.
        problem: String,
    },
    /// Not for this machine.
    #[error("`{image}` is not made for {wanted}, but for {offered}: build it for {wanted} too")]
    Platform {
        /// The image.
        image: String,
        /// This machine.
        wanted: String,
        /// What there is.
        offered: String,
    },
    /// A layer that is not unpacked.
    #[error("layer {layer} is refused")]
    Layer {
        /// Its digest as transferred.
        layer: Digest,
        /// Why.
        #[source]
        problem: LayerProblem,
    },
    /// No room, though nothing is left that could be dropped.
    #[error(
        "the layers' store of {bound} bytes is full of layers in use, {needed} bytes more are \
         needed: give it more room, or close leases"
    )]
    StoreFull {
        /// What was asked for.
        needed: u64,
        /// What the store may have.
        bound: u64,
    },
    /// A layer that was in use before is gone.
    #[error("layer {layer} is no longer in the store: pull `{image}` again")]
    Gone {
        /// The image.
        image: String,
        /// The layer's archive.
        layer: Digest,
    },
    /// A second process on the same store.
    #[error("{} is in use by another process: stop it, or name another directory", path.display())]
    StoreInUse {
        /// The store.
        path: PathBuf,
    },
    /// The disk or the system.
    #[error("{what} failed at {}: check rights and free space", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Whose doing it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The image, or what was said of it: the same everywhere, so trying elsewhere is no use.
    Image,
    /// The registry or the way to it: later or elsewhere it may succeed.
    Registry,
    /// This machine.
    Host,
}

impl PullError {
    /// Whose doing it is.
    #[must_use]
    pub const fn blame(&self) -> Blame {
        match self {
            Self::Denied { .. }
            | Self::NotFound { .. }
            | Self::TooLarge { .. }
            | Self::Malformed { .. }
            | Self::Platform { .. } => Blame::Image,
            Self::Layer { problem, .. } => problem.blame(),
            Self::Unreachable { .. }
            | Self::RateLimited { .. }
            | Self::Answer { .. }
            | Self::Protocol { .. }
            | Self::Cut { .. }
            | Self::Digest { .. } => Blame::Registry,
            Self::HostRefused { .. }
            | Self::StoreFull { .. }
            | Self::Gone { .. }
            | Self::StoreInUse { .. }
            | Self::Io { .. } => Blame::Host,
        }
    }

    pub(super) fn io(
        what: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::Io { what, path: path.into(), source: source.into() }
    }
}
