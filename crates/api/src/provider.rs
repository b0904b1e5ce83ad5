//! What a tenant (or a referee) says to a provider over the fabric.
//!
//! The peer's key is the tenant's account: the provider checks it against the lease. Content
//! travels as blobs named by BLAKE3 hash, fetched over the same fabric from who offers them.
//!
//! A lease's life on this protocol: `Prepare` (once, repeatable), any number of `Run`, `Commit`
//! (once, before the tenant closes the lease). Requests may be repeated after a lost connection:
//! the same task gives the same answer.

use borsh::{BorshDeserialize, BorshSerialize};
use muster_ledger::{dispute::Claim, job::JobKind};
use muster_types::{Hash, JobId, LeaseId};
use std::collections::BTreeMap;

/// The protocol's name on the fabric.
pub const ALPN: &[u8] = b"muster/provider/1";

/// The largest request or response, in bytes. Content goes by blob.
pub const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// Codes of a provider's refusals, as the fabric carries them (codes from `0xff00` are the
/// fabric's own). Stable: only ever append.
pub mod refusal {
    /// No such lease, or another provider's.
    pub const UNKNOWN_LEASE: u16 = 1;
    /// The caller is not the lease's tenant.
    pub const NOT_YOURS: u16 = 2;
    /// The lease is closed.
    pub const OVER: u16 = 3;
    /// `Prepare` is missing, as it is after the provider was restarted: send it (again).
    pub const NOT_PREPARED: u16 = 4;
    /// The request is beyond a limit or contradicts the lease or the job.
    pub const BAD_REQUEST: u16 = 5;
    /// The module is not of the format, or does not compile within the limits.
    pub const BAD_MODULE: u16 = 6;
    /// A blob could not be fetched from the source: is it there, is the provider allowed to?
    pub const NOT_FETCHED: u16 = 7;
    /// It contradicts what was prepared or committed under this lease before.
    pub const CONFLICT: u16 = 8;
    /// Too many runs at once: try again later.
    pub const BUSY: u16 = 9;
    /// The provider could not reach the ledger, or was refused there: try again later.
    pub const LEDGER: u16 = 10;
    /// The provider is stopping: go elsewhere.
    pub const STOPPING: u16 = 11;
    /// The provider runs no containers: order from one with the attribute `containers`.
    pub const NO_CONTAINERS: u16 = 12;
    /// There is no such service, port or running container under the lease.
    pub const NO_SERVICE: u16 = 13;
}

/// A request to a provider.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Request {
    /// Get ready to run a job under a lease. Answered with [`Response::Prepared`] when the module
    /// is fetched and compiled and `LeaseReady` is on its way to the ledger.
    Prepare(Box<Prepare>),
    /// Run consecutive tasks.
    Run(Run),
    /// Commit to the results given under a lease so far and answer with the root.
    Commit {
        /// Which lease.
        lease: LeaseId,
    },
}

/// What a lease needs in order to run tasks.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Prepare {
    /// Under which lease.
    pub lease: LeaseId,
    /// For which job.
    pub job: JobId,
    /// How tasks get their input.
    pub kind: JobKind,
    /// Content hash of the WASM module.
    pub module: Hash,
    /// The files of the data directory: name to content hash.
    pub data: BTreeMap<String, Hash>,
    /// What each task may use.
    pub limits: TaskLimits,
    /// Where to fetch all of it: a fabric peer address, as text.
    pub source: String,
}

/// What one task may use. All four are part of what a result means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TaskLimits {
    /// Fuel.
    pub fuel: u64,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Output in bytes.
    pub output_bytes: u64,
    /// Local time limit in milliseconds: a guard, not part of the result.
    pub wall_ms: u64,
}

/// Consecutive tasks. Of a batch job: one input a task. Of a chain: only the first state is
/// given; each step takes the output of the one before.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Run {
    /// Under which lease.
    pub lease: LeaseId,
    /// Index of the first task.
    pub first: u64,
    /// How many tasks; at most 256.
    pub count: u32,
    /// Content hashes: of each task's input, or of the chain's first state.
    pub inputs: Vec<Hash>,
    /// Where to fetch them: a fabric peer address, as text.
    pub source: String,
}

/// A provider's answer.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Response {
    /// Ready to run.
    Prepared,
    /// Every task ran. The outputs can be fetched from the provider as blobs until the lease is
    /// settled: all of a batch's; of a chain's, every state.
    Done {
        /// One signed claim a task, in order.
        claims: Vec<Claim>,
    },
    /// A task failed; those before it ran.
    Failed {
        /// The claims of the tasks that ran.
        claims: Vec<Claim>,
        /// What stopped the next one.
        failure: Failure,
    },
    /// The root was sent to the ledger.
    Committed {
        /// Merkle root over the lease's results.
        root: Hash,
        /// How many results.
        count: u64,
    },
}

/// Why a task did not run to its end.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Failure {
    /// True where every machine would fail the same way: the task is to blame, not the host.
    pub deterministic: bool,
    /// For people: out of fuel, trapped, and where.
    pub message: String,
    /// The end of the task's standard error.
    pub stderr: String,
}
