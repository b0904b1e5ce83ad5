//! Commitments: hashes that pin down content without showing it.
//!
//! Every kind has a domain of its own, so that no hash of one kind can pass for another.

use muster_types::{Hash, JobId};
use std::collections::BTreeMap;

const TASK: &str = "muster task leaf v1";
const STATE: &str = "muster chain state leaf v1";

/// The leaf of one task (of a chain: of one step, whose input is the state before it): its job and
/// index, the content hashes of its input and its output, and the fuel that it used.
///
/// A provider's tree on a lease holds one leaf for each task that it ran there, in rising order of
/// index; the indices need not be consecutive.
#[must_use]
pub fn task_leaf(job: &JobId, index: u64, input: &Hash, output: &Hash, fuel: u64) -> Hash {
    Hash::of(
        TASK,
        &[
            job.as_bytes(),
            &index.to_le_bytes(),
            input.as_bytes(),
            output.as_bytes(),
            &fuel.to_le_bytes(),
        ],
    )
}

/// A chain that anybody can dispute: what each leaf of its tree is bound to.
///
/// The tree holds one leaf a state: leaf 0 is the state that the job starts from, leaf `i + 1` what
/// step `i` makes of state `i`. So a chain of `n` steps has `n + 1` leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The job.
    pub job: JobId,
    /// Content hash of the WASM module that every step runs.
    pub module: Hash,
    /// Content hash of the data directory's listing.
    pub data: Hash,
}

impl Chain {
    /// The leaf of state `index`, whose content hash is `state`.
    #[must_use]
    pub fn leaf(&self, index: u64, state: &Hash) -> Hash {
        Hash::of(
            STATE,
            &[
                self.job.as_bytes(),
                self.module.as_bytes(),
                self.data.as_bytes(),
                &index.to_le_bytes(),
                state.as_bytes(),
            ],
        )
    }
}

/// The listing of a data directory: every file's path in it and the content hash of the file, in
/// order of path, canonically encoded. It is a blob like any other, so that who must re-run a task
/// can fetch it by [`data_listing_hash`] and then the files.
#[must_use]
pub fn data_listing(files: &BTreeMap<String, Hash>) -> Vec<u8> {
    muster_types::codec::encode(files)
}

/// The content hash of a directory's [`data_listing`].
#[must_use]
pub fn data_listing_hash(files: &BTreeMap<String, Hash>) -> Hash {
    Hash::of_content(&data_listing(files))
}

#[cfg(test)]
mod tests;
