//! Why a job failed, and what to do about it.

use muster_api::{ClientError, WalletError, views::Explanation};
use muster_types::{EscrowId, codec::DecodeError};
use std::{io, path::PathBuf};

/// Why a job could not be run to its end.
///
/// Once a budget was set aside, every error but [`JobError::Unsettled`] and those of the journal
/// and the node means that it was settled: what was not earned is back.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// Another conductor is at work on the directory.
    #[error("{} is in use by another conductor: wait for it, or use another directory", dir.display())]
    Locked {
        /// The job's directory.
        dir: PathBuf,
    },
    /// The directory holds a job already.
    #[error("{} holds a job already: resume it, or use another directory", dir.display())]
    Occupied {
        /// The job's directory.
        dir: PathBuf,
    },
    /// The directory holds no job.
    #[error("{} holds no job to go on with: run one there first", dir.display())]
    Nothing {
        /// The job's directory.
        dir: PathBuf,
    },
    /// The directory's job belongs to another key or chain.
    #[error("the job in {} is another {what}'s: use the key and the node that it was started with", dir.display())]
    Foreign {
        /// The job's directory.
        dir: PathBuf,
        /// `account` or `chain`.
        what: &'static str,
    },
    /// The journal failed.
    #[error("the journal {} failed: is the disk full?", path.display())]
    Journal {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The journal does not decode.
    #[error("the journal {} is damaged or of another version: start the job anew", path.display())]
    Damaged {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: DecodeError,
    },
    /// A file of ours could not be written or read.
    #[error("{} cannot be {action}: check the disk and the permissions", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// `read` or `written`.
        action: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file that the job names cannot be used.
    #[error("{}: {reason}; correct `{field}` in the job file", path.display())]
    Input {
        /// Which file.
        path: PathBuf,
        /// The field that names it.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The node cannot be asked.
    #[error("the node could not be asked")]
    Node(#[from] ClientError),
    /// The wallet could not act.
    #[error("the wallet could not act")]
    Wallet(#[from] WalletError),
    /// The ledger refused a step.
    #[error("could not {step}")]
    Refused {
        /// What was to be done.
        step: &'static str,
        /// Why not.
        #[source]
        source: ClientError,
    },
    /// Our fabric endpoint failed.
    #[error("the endpoint for providers failed")]
    Fabric(#[from] muster_fabric::FabricError),
    /// A blob could not be added or read.
    #[error("the blob store failed")]
    Blob(#[from] muster_fabric::BlobError),
    /// No host matches; nothing was spent.
    #[error("no host matches the job: {}; `muster quote` says what to relax", why(explanation))]
    NoMatch {
        /// What the market says.
        explanation: Box<Explanation>,
    },
    /// Nobody is left to do the rest, and no offer came in time.
    #[error(
        "{done} of {tasks} tasks are done and no provider is left for the rest: {}; run the job \
         again later, or relax its constraints",
        why(explanation)
    )]
    NoProvider {
        /// Tasks with a result.
        done: u64,
        /// Tasks in all.
        tasks: u64,
        /// What the market says now.
        explanation: Box<Explanation>,
    },
    /// The budget is used up.
    #[error("the budget is used up with {done} of {tasks} tasks done: raise price.budget")]
    OutOfFunds {
        /// Tasks with a result.
        done: u64,
        /// Tasks in all.
        tasks: u64,
    },
    /// A task fails wherever it is run.
    #[error(
        "task {index} fails: {message}; correct the module, the input or [limits]{}",
        tail(stderr)
    )]
    Task {
        /// Which.
        index: u64,
        /// How.
        message: String,
        /// The end of its standard error.
        stderr: String,
    },
    /// Providers refuse the module.
    #[error("providers refuse the module: {reason}; correct code.wasm")]
    BadModule {
        /// What they say.
        reason: String,
    },
    /// The job took too long.
    #[error("the deadline passed with {done} of {tasks} tasks done: raise run.deadline")]
    Deadline {
        /// Tasks with a result.
        done: u64,
        /// Tasks in all.
        tasks: u64,
    },
    /// The job was cancelled.
    #[error("cancelled with {done} of {tasks} tasks done")]
    Cancelled {
        /// Tasks with a result.
        done: u64,
        /// Tasks in all.
        tasks: u64,
    },
    /// The money is not settled yet.
    #[error(
        "the work is over, but escrow {escrow} could not be settled in time: resume the job to \
         get back what is left"
    )]
    Unsettled {
        /// Which escrow.
        escrow: EscrowId,
    },
    /// A part of the conductor stopped.
    #[error("the conductor was stopped: resume the job to go on")]
    Stopped,
}

/// The step that deposits the budget.
pub(crate) const SET_ASIDE: &str = "set the budget aside";
/// The step that makes the job known; where it is refused, the deposit goes back.
pub(crate) const OPEN_JOB: &str = "open the job";

impl JobError {
    /// Whether nothing of the job is left to go on with: it was settled, or nothing was set aside
    /// and nothing will be. Its directory may be removed, and the job run anew.
    #[must_use]
    pub fn is_over(&self) -> bool {
        match self {
            Self::NoMatch { .. }
            | Self::NoProvider { .. }
            | Self::OutOfFunds { .. }
            | Self::Task { .. }
            | Self::BadModule { .. }
            | Self::Deadline { .. }
            | Self::Cancelled { .. }
            | Self::Wallet(WalletError::Unfunded { .. }) => true,
            Self::Refused { step, .. } => matches!(*step, SET_ASIDE | OPEN_JOB),
            _ => false,
        }
    }
}

/// An explanation in a line.
fn why(explanation: &Explanation) -> String {
    if explanation.hosts == 0 {
        return "there are no offers at all".to_owned();
    }
    let hosts = explanation.hosts;
    let matched = explanation.matched;
    match explanation.excluded.first() {
        _ if matched > 0 => format!("{matched} of {hosts} hosts match, too few"),
        Some(most) => format!(
            "of {hosts} hosts `{}` excludes {}, {} of them alone",
            most.constraint, most.total, most.alone
        ),
        None => format!("none of {hosts} hosts takes it"),
    }
}

/// What a task wrote last, on a line of its own.
fn tail(stderr: &str) -> String {
    let last = stderr.lines().rev().find(|line| !line.trim().is_empty());
    last.map_or_else(String::new, |line| {
        let line: String = line.chars().take(200).collect();
        format!("; it wrote: {line}")
    })
}

/// An error and its sources in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}
