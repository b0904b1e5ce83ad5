//! What a tenant says to a provider about a lease of services in containers.
//!
//! Calls ([`ALPN`]): [`Request`] and [`Response`]. Streams ([`STREAM_ALPN`]): opened with [`Open`],
//! then frames, each a length (u32, big-endian) and its bytes. All of it is borsh. The peer's key
//! is the tenant's account, and the fabric's connection is encrypted to the provider's key, so
//! that a manifest with its secrets is read by the leased provider alone.
//!
//! Refusals have the codes of [`crate::provider::refusal`].
//!
//! | step | what the provider does | then |
//! |---|---|---|
//! | pulling | fetches the images and checks every layer | starting |
//! | starting | makes volumes and containers | probing |
//! | probing | waits until every TCP port that is exposed takes a connection | running |
//! | running | serves; a container that ends is started again, ever later | closed |
//! | updating | another manifest: as pulling, starting and probing, in the place of what served | running |
//! | failed | what a step could not do, or not in its time, is named; the lease is declined | |
//! | closed | nothing of it is left | |

mod frame;

pub use frame::{read_frame, write_frame};

use borsh::{BorshDeserialize, BorshSerialize};
use muster_spec::sdl::Manifest;
use muster_types::{Hash, LeaseId, codec};
use serde::Serialize;

/// The calls' name on the fabric.
pub const ALPN: &[u8] = b"muster/service/1";
/// The streams' name on the fabric.
pub const STREAM_ALPN: &[u8] = b"muster/service-stream/1";
/// The largest request or response, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 2 << 20;
/// The largest frame of a stream, in bytes.
pub const MAX_FRAME_BYTES: usize = 64 << 10;

/// A call to a provider.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Request {
    /// Run a service of a manifest under a lease, in the place of what runs there. Answered with
    /// [`Response::Taken`] when it is written down; what becomes of it, [`Request::Status`] tells.
    /// Repeatable.
    Deploy(Box<Deploy>),
    /// Where a lease stands.
    Status {
        /// Which lease.
        lease: LeaseId,
    },
}

/// What runs under a lease.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Deploy {
    /// Under which lease.
    pub lease: LeaseId,
    /// Which of the manifest's services: one replica of it, which must fit the lease.
    pub service: String,
    /// What the order commits to.
    pub manifest: Manifest,
    /// What hides it there.
    pub salt: Hash,
}

/// The salted hash of a manifest that an order commits to.
#[must_use]
pub fn commitment(manifest: &Manifest, salt: &Hash) -> Hash {
    Hash::of("muster service manifest v1", &[salt.as_bytes(), &codec::encode(manifest)])
}

/// A provider's answer.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Response {
    /// The manifest is taken.
    Taken,
    /// Where the lease stands.
    Status(Box<Status>),
}

/// Where a lease of services stands.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct Status {
    /// What the provider does.
    pub step: Step,
    /// The commitment of the manifest that it does it for; `None` before one was delivered.
    pub manifest: Option<Hash>,
    /// The lease's container.
    pub container: Option<Container>,
    /// Why an update to this manifest, or to one after it, was given up; until the next one.
    pub update_failed: Option<String>,
}

/// What a provider does for a lease.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
#[serde(rename_all = "snake_case", tag = "name")]
pub enum Step {
    /// Nothing was delivered yet.
    Waiting,
    /// Fetches an image.
    Pulling {
        /// Which.
        image: String,
        /// Bytes so far.
        done_bytes: u64,
        /// Bytes in all, where that is known.
        total_bytes: u64,
    },
    /// Makes volumes and containers.
    Starting,
    /// Waits for exposed ports.
    Probing,
    /// Serves.
    Running,
    /// Takes up another manifest.
    Updating,
    /// It ended before it ran.
    Failed {
        /// In which step.
        step: String,
        /// Why, and what to do.
        reason: String,
    },
    /// The lease is over.
    Closed,
}

/// The container of a lease.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct Container {
    /// Its service.
    pub service: String,
    /// The digest of its image, where it was pulled.
    pub image: Option<String>,
    /// Whether its process lives.
    pub running: bool,
    /// How often it was started again.
    pub restarts: u32,
    /// How it ended last, for people.
    pub last_exit: Option<String>,
    /// Its exposed ports.
    pub ports: Vec<Port>,
}

/// A port that a container exposes.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct Port {
    /// In the container.
    pub port: u16,
    /// `host:port` at which the provider serves it; `None` where only a tunnel reaches it.
    pub address: Option<String>,
}

/// Opens a stream.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Open {
    /// What a service printed: frames of [`LogLine`], from the provider.
    Logs {
        /// Of which lease.
        lease: LeaseId,
        /// Of which service.
        service: String,
        /// From this time on, milliseconds since 1970.
        since_ms: Option<u64>,
        /// The last so many lines.
        tail: Option<u32>,
        /// Goes on with what is printed next.
        follow: bool,
    },
    /// A connection to a port of a service: bytes both ways, without frames.
    Forward {
        /// Of which lease.
        lease: LeaseId,
        /// Of which service.
        service: String,
        /// The TCP port, exposed or not.
        port: u16,
    },
    /// A command in a running container: frames of [`Input`] from the tenant, of [`Output`] from
    /// the provider. A tenant's direction that ends without [`Input::End`] ends the command.
    Exec {
        /// Of which lease.
        lease: LeaseId,
        /// Of which service.
        service: String,
        /// The program and its arguments.
        args: Vec<String>,
        /// Columns and rows of the terminal, where it is to have one.
        terminal: Option<(u16, u16)>,
    },
}

/// A line that a service printed.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct LogLine {
    /// When, milliseconds since 1970, by the provider's clock.
    pub at_ms: u64,
    /// Whether on standard error.
    pub stderr: bool,
    /// What, without its newline; what is no UTF-8 is replaced.
    pub text: String,
}

/// What a tenant sends to a command.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Input {
    /// For standard input.
    Bytes(Vec<u8>),
    /// Standard input ends.
    End,
    /// The terminal has another size.
    Resize {
        /// In characters.
        columns: u16,
        /// In lines.
        rows: u16,
    },
}

/// What a command gives.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Output {
    /// From standard output, or from the terminal.
    Stdout(Vec<u8>),
    /// From standard error.
    Stderr(Vec<u8>),
    /// It ended with this status; 128 and more are signals. The last frame.
    Exit(i32),
}
