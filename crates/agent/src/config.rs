//! What a provider is started with, and the bounds on what others may make it do.

use crate::ServicesConfig;
use muster_market::Prices;
use muster_sandbox::ChildProgram;
use muster_types::{Amount, Resources, SecretKey};
use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

/// What a provider is started with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the journal, the blobs and the compiled modules are kept; created where missing. One
    /// process at a time may use it.
    pub dir: PathBuf,
    /// The provider's key: its account on the ledger and its name on the fabric.
    pub key: SecretKey,
    /// The node's address, `http://host:port`.
    pub node: String,
    /// The UDP socket to bind; port 0 lets the system choose.
    pub bind: SocketAddr,
    /// The provider's name, for people.
    pub name: String,
    /// Where it stands, e.g. `eu-central`.
    pub region: String,
    /// Facts that orders may ask for.
    pub attributes: BTreeMap<String, String>,
    /// The hosts on offer; a host's place in the list is its number on the ledger.
    pub hosts: Vec<HostConfig>,
    /// The bond to stand behind leases with, `usd`. What is missing of it is paid in at the start.
    pub bond: Amount,
    /// Time between two heartbeats, milliseconds. At most half of the longest gap that the ledger
    /// still pays for; [`DEFAULT_HEARTBEAT_MS`] unless there is a reason.
    pub heartbeat_ms: u64,
    /// The program that compiles modules, a child process each time.
    pub compiler: ChildProgram,
    /// Tasks that run at the same time, over all leases; at least 1.
    pub workers: usize,
    /// What it runs containers with; `None` where it runs none.
    pub services: Option<ServicesConfig>,
    /// Makes this provider misbehave on purpose, for demonstrations and tests.
    pub simulated_fault: Option<SimulatedFault>,
}

/// A host on offer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostConfig {
    /// What it has.
    pub capacity: Resources,
    /// What it charges.
    pub prices: Prices,
}

/// Misbehaviour on purpose, for demonstrations and tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimulatedFault {
    /// The provider changes the first byte of a task's output and signs the result, for every task
    /// whose `index + 1` is a multiple of `every`. By index, so that a task that is run twice
    /// lies twice in the same way.
    WrongOutput {
        /// Which tasks; 1 is all of them, 0 is none.
        every: u32,
    },
}

impl SimulatedFault {
    /// Does to the output of task `index` what the fault asks for. Returns whether it did.
    pub(crate) fn apply(self, index: u64, output: &mut Vec<u8>) -> bool {
        let Self::WrongOutput { every } = self;
        let Some(rest) = index.wrapping_add(1).checked_rem(u64::from(every)) else { return false };
        if rest != 0 {
            return false;
        }
        match output.first_mut() {
            Some(byte) => *byte ^= 1,
            None => output.push(1),
        }
        true
    }
}

/// A heartbeat each second.
pub const DEFAULT_HEARTBEAT_MS: u64 = 1_000;

/// Tasks in one `Run` request.
pub const MAX_RUN_TASKS: u32 = 256;

/// `Run` requests of one lease that are handled at once; further ones are refused as busy.
pub const MAX_RUNS_PER_LEASE: usize = 8;

/// Tasks of one lease that run at once, however many CPUs it has.
pub const MAX_TASKS_PER_LEASE: u64 = 256;

/// Largest input of one task, and largest state of a chain, in bytes.
pub const MAX_INPUT_BYTES: u64 = 64 << 20;

/// Largest output of one task, in bytes.
pub const MAX_OUTPUT_BYTES: u64 = 64 << 20;

/// Largest data directory of a lease, in bytes over all files; also at most its leased memory.
pub const MAX_DATA_BYTES: u64 = 1 << 30;

/// Longest time limit of one task, milliseconds.
pub const MAX_WALL_MS: u64 = 600_000;

/// Inputs and outputs that are kept for a lease, in bytes; a lease of more disk gets as much.
pub const MIN_STORED_BYTES: u64 = 1 << 30;

/// Tasks whose results are kept for a lease.
pub const MAX_RESULTS_PER_LEASE: u64 = 1 << 20;

/// The end of a task's standard error that is passed on, in bytes.
pub const MAX_STDERR_BYTES: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_output_differs_in_one_byte_for_every_nth_index_and_no_other() {
        for (every, index, before, after) in [
            (3, 0, "7\n", "7\n"),
            (3, 1, "7\n", "7\n"),
            (3, 2, "7\n", "6\n"),
            (3, 5, "8\n", "9\n"),
            (1, 0, "x", "y"),
            (1, 4, "", "\u{1}"),
            (0, 0, "x", "x"),
            (2, u64::MAX, "x", "y"),
        ] {
            let mut output = before.as_bytes().to_vec();
            let changed = SimulatedFault::WrongOutput { every }.apply(index, &mut output);
            assert_eq!(output, after.as_bytes(), "every {every}, index {index}");
            assert_eq!(changed, before != after);
        }
    }
}
