//! What a tenant wants, typed and checked.

use crate::Input;
use muster_market::{Request, Spread, Terms};
use muster_types::{AccountId, Amount, Millis, Rate};
use std::{collections::BTreeMap, path::PathBuf};

/// The file in the output directory that holds the last state of a chain.
pub const CHAIN_RESULT: &str = "state.bin";

/// The file in the output directory that holds the outputs of a batch, joined in task order.
pub const BATCH_RESULT: &str = "output.bin";

/// A job as it was ordered. Paths are resolved against the job file's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// For people, and for the default output directory.
    pub name: String,
    /// What the tasks are.
    pub kind: Kind,
    /// The WASM filter.
    pub wasm: PathBuf,
    /// The files that the filter sees: name in `/data`, and where it is here.
    pub data: BTreeMap<String, PathBuf>,
    /// Where the results go.
    pub output_dir: PathBuf,
    /// What is leased of each provider.
    pub resources: Request,
    /// What one task may use.
    pub limits: TaskLimits,
    /// What it may cost.
    pub price: Price,
    /// How it is run.
    pub run: Run,
    /// How results are checked.
    pub verify: Verify,
    /// Which providers may serve.
    pub constraints: Constraints,
}

/// How tasks depend on each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Independent tasks.
    Batch(Input),
    /// Each step takes the state that the one before wrote.
    Chain(Chain),
}

/// A chain of steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// How many, at least 1.
    pub steps: u64,
    /// The file with the state before the first step; without it that state is empty.
    pub initial: Option<PathBuf>,
    /// After so many steps the state is fetched and kept, at least 1.
    pub checkpoint_every: u64,
}

/// What one task may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskLimits {
    /// Fuel: what the format meters, the same on every machine.
    pub fuel: u64,
    /// Linear memory in bytes.
    pub memory_bytes: u64,
    /// Output in bytes.
    pub output_bytes: u64,
    /// Wall time on the provider's machine.
    pub wall: Millis,
}

/// What a job may cost, in `usd`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Price {
    /// At most so much for each provider's lease.
    pub max_rate: Rate,
    /// At most so much in all: what is deposited.
    pub budget: Amount,
}

/// How a job is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// At most so many leases at once, each with another provider.
    pub providers: u32,
    /// A task that fails is tried again so many times.
    pub retries: u32,
    /// The job is given up after so long.
    pub deadline: Millis,
}

/// How results are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// Not at all.
    None,
    /// A sample is run again by another provider and compared bit for bit.
    Replicate {
        /// How much of the tasks, in hundredths of a per cent: 1 to 10,000.
        sample_bps: u32,
    },
}

/// Which providers may serve, beside price and capacity. Empty and zero set no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Constraints {
    /// Hosts in one of these.
    pub regions: Vec<String>,
    /// Hosts with all of these.
    pub attributes: BTreeMap<String, String>,
    /// Only these.
    pub providers: Vec<AccountId>,
    /// None of these.
    pub exclude: Vec<AccountId>,
    /// Free bond beside the lease's own pledge, in `usd`.
    pub min_bond: Amount,
    /// The highest risk premium, in hundredths of a per cent.
    pub max_risk_bps: u32,
    /// How much of a risk premium counts when hosts are compared, in hundredths of a per cent; else
    /// all of it.
    pub risk_weight_bps: Option<u32>,
    /// Offers that stand at least so much longer.
    pub min_duration: Millis,
}

impl Workload {
    /// The terms of the job's order: one lease with each of `run.providers` providers.
    #[must_use]
    pub fn terms(&self) -> Terms {
        let wanted = &self.constraints;
        Terms {
            request: self.resources.clone(),
            count: self.run.providers,
            gang: false,
            spread: Spread { per_provider: 1, ..Spread::default() },
            regions: wanted.regions.clone(),
            attributes: wanted.attributes.clone(),
            providers: wanted.providers.clone(),
            exclude: wanted.exclude.clone(),
            min_bond: wanted.min_bond,
            max_risk_bps: wanted.max_risk_bps,
            risk_weight_bps: wanted.risk_weight_bps,
            max_rate: self.price.max_rate,
            min_duration: wanted.min_duration,
            ..Terms::default()
        }
    }

    /// Where the job's result goes: [`CHAIN_RESULT`] or [`BATCH_RESULT`] in the output directory.
    #[must_use]
    pub fn result_file(&self) -> PathBuf {
        self.output_dir.join(match self.kind {
            Kind::Batch(_) => BATCH_RESULT,
            Kind::Chain(_) => CHAIN_RESULT,
        })
    }
}
