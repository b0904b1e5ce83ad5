//! What the toy network's tasks compute, in place of a sandboxed module.

use muster_ledger::job::TaskOutput;
use muster_types::Hash;

/// A task's output, and what a claim says of it.
pub(crate) fn run(index: u64, input: &[u8]) -> (Vec<u8>, TaskOutput) {
    let hash = Hash::of("test program", &[&index.to_le_bytes(), input]);
    let output = hash.as_bytes().to_vec();
    let result = TaskOutput { output: Hash::of_content(&output), fuel: 100 + index };
    (output, result)
}
