//! `muster ps`: your jobs and leases.

use super::Global;
use crate::printer::{Printer, table};
use clap::Args;
use muster_api::views::{Job, Lease, Named};
use muster_ledger::market::LeaseStatus;
use muster_types::{AccountId, JobId, LeaseId};
use serde::Serialize;

/// List your jobs and leases.
#[derive(Args)]
#[command(after_help = "Example:\n  muster ps --all --json | jq '.leases[].rate'")]
pub(crate) struct Ps {
    /// Also what has ended.
    #[arg(long)]
    all: bool,
}

#[derive(Serialize)]
struct Listing {
    account: AccountId,
    jobs: Vec<Named<JobId, Job>>,
    leases: Vec<Named<LeaseId, Lease>>,
}

impl Ps {
    pub(crate) async fn run(self, global: &Global, printer: &Printer) -> anyhow::Result<()> {
        let client = global.client()?;
        let account = global.account()?;
        let mut jobs = client.jobs_of(&account).await?;
        jobs.retain(|job| self.all || !job.record.closed);
        let leases = client.leases_of_tenant(&account, !self.all).await?;
        let listing = Listing { account, jobs, leases };
        printer.data(&listing, render)?;
        if listing.jobs.is_empty() && listing.leases.is_empty() {
            printer.note("nothing is running (`muster ps --all` lists what has ended)");
        }
        Ok(())
    }
}

fn render(listing: &Listing) -> String {
    let mut text = String::new();
    if !listing.jobs.is_empty() {
        let rows = listing.jobs.iter().map(|job| {
            let spec = &job.record.spec;
            [
                job.id.short(),
                format!("{:?}", spec.kind).to_lowercase(),
                spec.tasks.to_string(),
                if job.record.closed { "closed" } else { "open" }.to_owned(),
            ]
        });
        text.push_str(&table(["JOB", "KIND", "TASKS", "STATE"], rows));
    }
    if !listing.leases.is_empty() {
        let rows = listing.leases.iter().map(|lease| {
            let record = &lease.record;
            [
                lease.id.short(),
                record.job.map_or_else(String::new, |job| job.short()),
                record.host.to_string(),
                record.rate.to_string(),
                record.accrued.to_string(),
                state(&record.status),
            ]
        });
        text.push_str(&table(["LEASE", "JOB", "HOST", "USD/H", "EARNED", "STATE"], rows));
    }
    text
}

/// A lease's state in a word.
pub(crate) fn state(status: &LeaseStatus) -> String {
    match status {
        LeaseStatus::Granted => "granted".to_owned(),
        LeaseStatus::Active => "active".to_owned(),
        LeaseStatus::Stalled { .. } => "stalled".to_owned(),
        LeaseStatus::Updating { .. } => "updating".to_owned(),
        LeaseStatus::Reclaiming { .. } => "reclaiming".to_owned(),
        LeaseStatus::Closed { reason, .. } => format!("{reason:?}"),
    }
}
