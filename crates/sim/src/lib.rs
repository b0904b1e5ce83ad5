//! The wind tunnel: validators that run the node's own code in a world that a seed decides, and
//! properties that must hold there.
//!
//! ```text
//!  seed ──▶ Plan: faults, byzantine validators, workload, properties
//!              │
//!              ▼            deterministic runtime: one thread, one clock, one source of chance
//!   validator 0 … n ── each with a disk that forgets, a clock that is wrong, a process that dies
//!              │            simulated network: latency, loss, partitions
//!              ▼
//!   Chronicle: what each was told ──▶ a plain ledger executes it again ──▶ Report
//! ```
//!
//! The same plan gives the same [`Report`], down to a hash of every event. What is real:
//! agreement, mempool, gossip, ledger, stores, sync, epochs. What is not: HTTP, sockets, disks,
//! clocks.

mod chronicle;
mod disk;
mod life;
mod plan;
mod swarm;
mod wire;
mod world;

pub use chronicle::Violation;
pub use disk::{Disk, DiskBlob, Unsynced};
pub use life::{Host, Life, Skew};
pub use plan::{Bug, Byzantine, Deed, Fault, Links, Plan, PlanError, Property, Workload};
pub use swarm::{each, swarm};
pub use world::{Report, run};

/// What to type to simulate again what `plan`, as on the command line of `muster sim run`, names.
#[must_use]
pub fn replay(plan: &str) -> String {
    format!("cargo run --locked --package muster-cli --features sim -- sim run {plan}")
}
