//! Jobs: what leases work for, how results are checked, and what providers commit to.
//!
//! | state | action or event | next |
//! |---|---|---|
//! | none | `JobOpen` | open |
//! | open | `JobClose`, with no open order | closed: takes no new orders |
//!
//! What a provider commits to, and when its pay is free ([`Verification`] is a term of the job):
//!
//! | level | leaves under the commitment | the closed lease is settled |
//! |---|---|---|
//! | `none` | one for each task that it ran | at once: pay vests as time is covered |
//! | `replicate` | the same | a window after its end |
//! | `audit` | the same, at most as many as the job has tasks | a window after the later of end and draw |
//! | `dispute` | the state before each step that it ran, and the last one | the same |
//!
//! A commitment at the levels `audit` and `dispute`:
//!
//! | state | action or event | next |
//! |---|---|---|
//! | none | `ResultCommit`, the beacon being of round `r` | made |
//! | made | `ResultCommit`, the lease being open, on a block with round `r` | made, at its own round |
//! | made | the end of the block with round `r + 2` | final: that block's beacon is stored with it |
//! | none | the lease was closed a window ago | pay is forfeited: nothing stands for the results |
//!
//! Round `r + 2` is signed when round `r + 1` is in a final block, so who commits at round `r` cannot
//! know it, and from then on no replacement is taken. What is audited follows from the beacon by
//! [`draw`], where the argument is.
//!
//! Of a chain at level `dispute` the ledger itself knows state 0, the module and the data, from
//! the job, and that there are no more steps than the job has tasks. A lease that ended early
//! commits to the steps that it ran. Who goes on from a checkpoint opens a job that starts there.

pub(crate) mod close;
pub mod draw;
pub(crate) mod open;

use crate::{
    Reject, archive,
    keys::{self, Listing, Record, Table},
};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_market::Verifies;
use muster_types::{AccountId, Amount, EscrowId, Hash, JobId, Millis};
use muster_verify::Chain;
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
    /// The provider commits first, then a beacon draws the tasks that auditors run again. Pay is
    /// withheld until the window after the draw has ended.
    Audit {
        /// The probability of each task to be drawn, in hundredths of a per cent.
        rate_bps: u32,
    },
    /// The provider of a chain commits to every state; anybody may challenge it within the window,
    /// and the one step on which they disagree is run by the validators. Pay is withheld until
    /// then.
    Dispute,
}

impl Verification {
    /// What a host must be able to do for it.
    #[must_use]
    pub const fn capability(self) -> Option<Verifies> {
        match self {
            Self::None => None,
            Self::Replicate { .. } => Some(Verifies::Replicate),
            Self::Audit { .. } => Some(Verifies::Audit),
            Self::Dispute => Some(Verifies::Dispute),
        }
    }

    /// Whether results stand by the provider's commitment, which becomes final by a draw.
    #[must_use]
    pub const fn is_committed(self) -> bool {
        match self {
            Self::None | Self::Replicate { .. } => false,
            Self::Audit { .. } | Self::Dispute => true,
        }
    }
}

/// What every step of a chain at level `dispute` is run with, and what it starts from: what a
/// referee needs, but for the contents. Whoever challenges must be able to run it, so it is not
/// salted.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ChainStart {
    /// Content hash of the WASM module.
    pub module: Hash,
    /// Content hash of the data directory's listing.
    pub data: Hash,
    /// Content hash of state 0.
    pub initial: Hash,
    /// Memory that a step may use, in bytes. Its fuel is [`JobSpec::fuel_max`].
    pub memory_max_bytes: u64,
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
    /// Whether pay is bounded by committed fuel (see [`crate::market`]); needs a verification.
    pub metered: bool,
    /// What a chain at level `dispute` is made of; nothing at every other level.
    pub chain: Option<ChainStart>,
}

/// The least that a lease must pledge for cheating on it not to pay, where it is paid at most
/// `reward` and a wrong result is worth `outside_gain` to its provider beyond that (see
/// [`muster_verify::stake_floor`]). Only level `audit` leaves a wrong result a chance, so only it
/// asks for a pledge beyond the schedule's.
///
/// # Errors
/// [`Reject::Overflow`] where no pledge is enough.
pub fn pledge_for(spec: &JobSpec, reward: Amount, outside_gain: Amount) -> Result<Amount, Reject> {
    match spec.verification {
        Verification::None | Verification::Replicate { .. } | Verification::Dispute => {
            Ok(Amount::ZERO)
        }
        Verification::Audit { rate_bps } => {
            muster_verify::stake_floor(reward, outside_gain, rate_bps).ok_or(Reject::Overflow)
        }
    }
}

impl JobSpec {
    /// What the leaves of a chain at level `dispute` are bound to.
    pub(crate) fn chain_of(&self, job: &JobId) -> Result<(ChainStart, Chain), Reject> {
        let start = self.chain.ok_or_else(|| Reject::bad_field("spec.chain"))?;
        Ok((start, Chain { job: *job, module: start.module, data: start.data }))
    }
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
    const LISTING: Listing = Listing::Always;

    archive::leaves!(Job);

    fn is_final(&self) -> bool {
        self.closed && self.open_orders == 0 && self.open_leases == 0
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
