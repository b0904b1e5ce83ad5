//! Commitments: hashes that pin down content without showing it.
//!
//! Every kind has a domain of its own, so that no hash of one kind can pass for another.

use muster_types::{Hash, JobId};
use std::collections::BTreeMap;

const TASK: &str = "muster task leaf v1";
const CHAIN: &str = "muster chain leaf v1";
const SALTED: &str = "muster salted commitment v1";

/// The leaf of one task of a batch job: its job and index, the content hashes of its input and
/// its output, and the fuel that it used.
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

/// The leaf of one step of a chain job: the content hash of the state after `step` steps. Leaf 0
/// is the initial state's.
#[must_use]
pub fn chain_leaf(step: u64, state: &Hash) -> Hash {
    Hash::of(CHAIN, &[&step.to_le_bytes(), state.as_bytes()])
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

/// A commitment to content that hides it, as long as the salt is secret and drawn at random: a
/// bare content hash would fetch the blob, and a small content could be guessed from it.
#[must_use]
pub fn salted(salt: &[u8; 32], content: &Hash) -> Hash {
    Hash::of(SALTED, &[salt, content.as_bytes()])
}

#[cfg(test)]
mod tests;
