//! `muster run`: a job, from order to receipt.

use super::{Global, interrupted, quote::read_job};
use crate::{
    error::{Exit, Failure, chain},
    follow::Follower,
    keyfile,
    printer::{Printer, facts},
};
use clap::Args;
use muster_api::WalletError;
use muster_jobs::{Conductor, Config, JobError, Report};
use muster_sandbox::{ModuleLimits, check_module};
use muster_types::AccountId;
use std::{
    fs::File,
    io::Read as _,
    net::SocketAddr,
    path::{Path, PathBuf},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Run a job: order, lease, run, verify, pay.
///
/// What happens is written down first: run the same command again after a crash, and the job goes
/// on where it was. Ctrl-C gives the job up: its leases are closed and the money comes back. A job
/// that failed is over: the same command then starts anew.
#[derive(Args)]
#[command(after_help = "Example:\n  muster run examples/digits/train.toml --json")]
pub(crate) struct Run {
    /// The job file.
    job: PathBuf,
    /// Where results and receipt go [default: what the job file says].
    #[arg(long)]
    out: Option<PathBuf>,
    /// Start anew, also where this job is under way or done already.
    #[arg(long)]
    fresh: bool,
    /// Where providers fetch inputs from (UDP).
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

impl Run {
    pub(crate) async fn run(self, global: &Global, printer: &Printer) -> anyhow::Result<()> {
        let mut workload = read_job(&self.job)?;
        if let Some(out) = self.out {
            workload.output_dir = out;
        }
        let key = keyfile::load(&global.key_path()?)?;
        let dir = workload.output_dir.join(".job");
        if self.fresh && dir.exists() {
            std::fs::remove_dir_all(&dir)?;
        }
        let journal = dir.clone();
        let (progress, mut seen) = mpsc::unbounded_channel();
        let cancel = CancellationToken::new();
        let conductor = Conductor::open(Config {
            dir,
            key,
            node: global.node.clone(),
            bind: self.listen,
            progress: Some(progress),
            cancel: cancel.clone(),
        })
        .await
        .map_err(explain)?;
        let mut follower = Follower::new(printer, &workload.name, AccountId::short);
        let resume = conductor.has_job().await.map_err(explain)?;
        if resume {
            printer.note("going on with this job (--fresh starts anew)");
        } else {
            refuse_bad_module(&workload.wasm)?;
        }
        let job = async {
            if resume { conductor.resume().await } else { conductor.run(&workload).await }
        };
        let follow = async {
            while let Some(progress) = seen.recv().await {
                follower.see(&progress);
            }
        };
        let stop = async {
            // Without a signal handler the default action ends the process, which is no harm.
            if interrupted().await.is_ok() {
                printer.note("giving the job up; its money comes back");
                cancel.cancel();
            }
            std::future::pending::<()>().await;
        };
        let report = tokio::select! {
            (report, ()) = async { tokio::join!(job, follow) } => report,
            () = stop => return Ok(()),
        };
        if matches!(&report, Err(error) if error.is_over()) {
            // Nothing is left to go on with: a corrected job must not find the old one here.
            std::fs::remove_dir_all(&journal)?;
        }
        printer.data(&report.map_err(explain)?, render)
    }
}

/// Refuses here, before anything is paid for, the module that every provider would refuse. One that
/// cannot be read is left to the job, which says so for all of its files alike.
fn refuse_bad_module(path: &Path) -> anyhow::Result<()> {
    let limits = ModuleLimits::default();
    let mut module = Vec::new();
    let Ok(file) = File::open(path) else { return Ok(()) };
    let most = u64::try_from(limits.module_bytes).unwrap_or(u64::MAX).saturating_add(1);
    if file.take(most).read_to_end(&mut module).is_err() {
        return Ok(());
    }
    let length = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let checked = match length >= most {
        true => Err(muster_sandbox::ModuleError::TooLarge {
            bytes: usize::try_from(length).unwrap_or(usize::MAX),
            limit: limits.module_bytes,
        }),
        false => check_module(&module, &limits),
    };
    checked.map_err(|error| {
        let message = format!("{}: {error}; correct `code.wasm` in the job file", path.display());
        Failure::error(Exit::BadInput, message, "cargo build --release --target wasm32-wasip1")
    })
}

/// Gives a job's failure its exit status and what to type next.
pub(crate) fn explain(error: JobError) -> anyhow::Error {
    let exit = match &error {
        JobError::Input { .. } | JobError::BadModule { .. } => Exit::BadInput,
        JobError::NoMatch { explanation } => return super::quote::no_match(explanation),
        JobError::NoProvider { .. } => Exit::NoMatch,
        JobError::OutOfFunds { .. } | JobError::Wallet(WalletError::Unfunded { .. }) => {
            Exit::NoFunds
        }
        JobError::Refused { source, .. } if source.code() == Some("insufficient_funds") => {
            Exit::NoFunds
        }
        _ => return error.into(),
    };
    let hint = match exit {
        Exit::NoMatch => "muster quote JOB.toml   # who matches, and what to relax",
        Exit::NoFunds if matches!(error, JobError::OutOfFunds { .. }) => {
            "muster wallet show   # then raise price.budget in the job file"
        }
        Exit::NoFunds => "muster wallet show   # then add funds, or lower price.budget",
        _ => "muster quote JOB.toml   # after the correction",
    };
    Failure::error(exit, chain(&error), hint)
}

fn render(report: &Report) -> String {
    let escrow = &report.escrow;
    facts([
        ("job", format!("{} ({})", report.name, report.id.short())),
        ("tasks", format!("{} of {}", report.completed, report.tasks)),
        ("retried", report.retried.to_string()),
        ("moved", report.failed_over.to_string()),
        ("verified", format!("{}, {} differed", report.verified, report.mismatches)),
        ("time", format!("{:.1} s", report.seconds)),
        ("paid", format!("{} of {} usd; the rest is back", escrow.paid, escrow.deposited)),
        ("result", report.result.display().to_string()),
        ("receipt", report.receipt.display().to_string()),
    ])
}
