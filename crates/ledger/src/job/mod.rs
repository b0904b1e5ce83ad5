//! Jobs: what leases work for, how results are checked, and what providers commit to.
//!
//! | state | action or event | next |
//! |---|---|---|
//! | none | `JobOpen` | open |
//! | open | `JobClose`, with no open order | closed: takes no new orders |

pub(crate) mod close;
pub(crate) mod open;

use crate::{
    archive::Kind,
    keys::{self, Record, Table},
};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_types::{AccountId, EscrowId, Hash, JobId, Millis};
use serde::{Deserialize, Serialize};

/// How a job's tasks depend on each other.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// Independent tasks.
    Batch,
    /// Task `i + 1` takes the output of task `i`.
    Chain,
}

/// How results are checked before they are paid for.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Verification {
    /// Not at all: pay vests as time is covered.
    None,
    /// A sample of the tasks is run again by another provider and compared bit for bit; the
    /// validators re-run a disagreement. Pay is withheld until accepted or unchallenged.
    Replicate {
        /// The sampled part of the tasks, in hundredths of a per cent.
        sample_bps: u32,
    },
}

/// A job's terms. Content is committed to by salted hashes only.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct JobSpec {
    /// Batch or chain.
    pub kind: JobKind,
    /// Who pays; the signer opened it.
    pub escrow: EscrowId,
    /// How many tasks (steps of a chain).
    pub tasks: u64,
    /// How results are checked.
    pub verification: Verification,
    /// Salted hash of the module's hash, the data's hashes and the limits.
    pub manifest: Hash,
    /// The most fuel that one task may use; a referee re-runs at most so much.
    pub fuel_max: u64,
}

/// A job's state.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Job {
    /// Who opened it.
    pub tenant: AccountId,
    /// Its terms.
    pub spec: JobSpec,
    /// Whether `JobClose` was applied.
    pub closed: bool,
    /// Open orders for it.
    pub open_orders: u32,
    /// Leases for it that are not settled.
    pub open_leases: u32,
    /// Since when nothing can change it, in steady time (see [`crate::archive`]).
    pub final_at: Option<Millis>,
}

impl Record for Job {
    type Key = JobId;
    const KIND: &'static str = "job";
    const TABLE: Table<JobId, Self> = keys::JOBS;
    const LEAVES: Option<Kind> = Some(Kind::Job);

    fn is_final(&self) -> bool {
        self.closed && self.open_orders == 0 && self.open_leases == 0
    }

    fn final_at(&self) -> Option<Millis> {
        self.final_at
    }

    fn set_final_at(&mut self, at: Option<Millis>) {
        self.final_at = at;
    }

    fn entries(&self, key: &JobId, emit: &mut dyn FnMut(Vec<u8>)) {
        emit(keys::JOBS_BY_TENANT.key(&(self.tenant, *key)));
    }
}

/// What running one task gives: a leaf under a commitment, and what a claim is about. The same
/// module, input, data and limits give the same value on every machine.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TaskOutput {
    /// Content hash of the output.
    pub output: Hash,
    /// Fuel used.
    pub fuel: u64,
}

/// One task, pinned down: everything that its output depends on.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TaskRef {
    /// The job.
    pub job: JobId,
    /// The task's index in it.
    pub index: u64,
    /// Content hash of the WASM module.
    pub module: Hash,
    /// Content hash of the task's standard input.
    pub input: Hash,
    /// Content hash of the data directory's listing (see `muster-verify`).
    pub data: Hash,
    /// Fuel limit.
    pub fuel_limit: u64,
    /// Memory limit in bytes.
    pub memory_limit_bytes: u64,
}

#[cfg(test)]
mod tests;
