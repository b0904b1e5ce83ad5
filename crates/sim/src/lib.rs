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

mod beacon;
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
pub use plan::{Bug, Byzantine, Deed, Fault, Jail, Links, Plan, PlanError, Property, Workload};
pub use swarm::{each, swarm};
pub use world::{Report, run};

const RUN: &str = "cargo run --locked --package muster-cli --features sim -- sim run";

/// What to type to simulate a plan again: its seed, where that decides all of it; else also what
/// makes a file of the plan.
#[must_use]
pub fn replay(plan: &Plan) -> String {
    if *plan == Plan::of(plan.seed) {
        return format!("{RUN} --seed {}", plan.seed);
    }
    let file = "plan.toml";
    match plan.to_toml() {
        Ok(text) => {
            format!("cat > {file} <<'END'\n{text}END\n{}", replay_file(plan.seed, file))
        }
        // A number that TOML has no room for: then nothing shorter says what the plan is.
        Err(_) => format!("{plan:?}"),
    }
}

/// What to type to simulate the plan in a file again, under this seed.
#[must_use]
pub fn replay_file(seed: u64, file: &str) -> String {
    format!("{RUN} --seed {seed} --plan {file}")
}
