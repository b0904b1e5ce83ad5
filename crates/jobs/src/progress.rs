//! What a job's run tells while it goes on, and what it says at its end.

use muster_api::views::{Escrow, Explanation};
use muster_ledger::{job::JobKind, market::CloseReason};
use muster_types::{AccountId, Amount, EscrowId, JobId, LeaseId, Millis, Rate};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Something that happened to a job, in the order of happening.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "progress", rename_all = "snake_case")]
pub enum Progress {
    /// The market was asked; nothing is spent yet.
    Quoted {
        /// What it said.
        explanation: Box<Explanation>,
    },
    /// The budget is set aside.
    Escrowed {
        /// Where.
        escrow: EscrowId,
        /// How much, `usd`.
        deposit: Amount,
    },
    /// The ledger knows the job.
    Opened {
        /// As which.
        job: JobId,
        /// How many tasks it has (steps of a chain).
        tasks: u64,
    },
    /// Leases were asked for.
    Ordered {
        /// How many.
        count: u32,
    },
    /// A lease was granted.
    Leased {
        /// Which.
        lease: LeaseId,
        /// By whom.
        provider: AccountId,
        /// Its price per hour.
        rate: Rate,
        /// Time from the order's sending until the lease was seen, milliseconds; `None` where the
        /// conductor was restarted in between.
        waited_ms: Option<u64>,
    },
    /// A provider has the module and the data and takes tasks.
    Prepared {
        /// Under which lease.
        lease: LeaseId,
        /// Who.
        provider: AccountId,
    },
    /// A task's result arrived and its claim holds.
    TaskDone {
        /// Which task.
        index: u64,
        /// Who ran it.
        provider: AccountId,
        /// Tasks done by now; falls when results are thrown away.
        done: u64,
        /// Tasks in all.
        tasks: u64,
    },
    /// A chain's state is safe on this disk.
    Checkpoint {
        /// After how many steps.
        step: u64,
        /// Steps in all.
        tasks: u64,
    },
    /// A task failed and is run again.
    Retried {
        /// Which.
        index: u64,
        /// What went wrong.
        message: String,
    },
    /// A provider is lost; its tasks go elsewhere.
    FailedOver {
        /// Who.
        provider: AccountId,
        /// How many tasks it had in work.
        tasks: u64,
        /// What is known of the reason.
        reason: String,
    },
    /// A second provider got the same output.
    Verified {
        /// Of which task.
        index: u64,
        /// Who ran it again.
        provider: AccountId,
    },
    /// Two providers signed different outputs of one task; the validators are asked.
    Mismatch {
        /// Which task.
        index: u64,
        /// Who ran it, who ran it again.
        providers: [AccountId; 2],
    },
    /// The validators found a claim wrong: all of that provider's results are thrown away.
    Judged {
        /// Whose.
        loser: AccountId,
        /// How many of its results were thrown away.
        discarded: u64,
    },
    /// The work is over; leases are being closed and settled.
    Closing,
    /// What was left of the budget is back.
    Closed {
        /// The money.
        escrow: EscrowTotals,
    },
    /// The receipt is written.
    Receipt {
        /// Where.
        path: PathBuf,
    },
}

/// Where a job's money went, `usd`. `deposited = paid + refunded + fees` once the escrow is
/// closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EscrowTotals {
    /// Set aside.
    pub deposited: Amount,
    /// Paid to providers.
    pub paid: Amount,
    /// Given back.
    pub refunded: Amount,
    /// Got out of providers' bonds, beside it.
    pub compensated: Amount,
    /// Taken for what its orders waited and looked at.
    pub fees: Amount,
}

impl EscrowTotals {
    pub(crate) const fn of(escrow: &Escrow) -> Self {
        let Escrow { deposited, paid, refunded, compensated, fees, .. } = *escrow;
        Self { deposited, paid, refunded, compensated, fees }
    }
}

/// One lease of a finished job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseReport {
    /// Which.
    pub lease: LeaseId,
    /// Whose host.
    pub provider: AccountId,
    /// Its price per hour.
    pub rate: Rate,
    /// Heartbeat-covered time.
    pub covered: Millis,
    /// What was paid for it, `usd`.
    pub paid: Amount,
    /// How it ended; `None` where it is open.
    pub reason: Option<CloseReason>,
}

/// What a finished job came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The job.
    pub id: JobId,
    /// Its name, for people.
    pub name: String,
    /// Batch or chain.
    pub kind: JobKind,
    /// How many tasks it has (steps of a chain).
    pub tasks: u64,
    /// How many of them have an accepted result.
    pub completed: u64,
    /// Times that a task was run again because it failed.
    pub retried: u64,
    /// Times that a task was moved because its provider was lost.
    pub failed_over: u64,
    /// Tasks whose result a second provider or the validators confirmed.
    pub verified: u64,
    /// Times that two providers signed different results.
    pub mismatches: u64,
    /// From the quote to the receipt, seconds.
    pub seconds: f64,
    /// For each lease the time from the order's sending until the lease was seen, milliseconds.
    pub order_to_lease_ms: Vec<u64>,
    /// The leases.
    pub leases: Vec<LeaseReport>,
    /// The money.
    pub escrow: EscrowTotals,
    /// The receipt's file.
    pub receipt: PathBuf,
    /// The file with the result: a batch's outputs joined in task order, or a chain's last state.
    pub result: PathBuf,
    /// The directory that it is in, with `tasks/NNNNNN` for each task of a batch job.
    pub output: PathBuf,
}
