//! `muster ps`: your jobs, deployments and leases.

use super::{
    Global,
    deploy::{numbered, step},
    deployment::{self, Reach},
};
use crate::printer::{Printer, table};
use clap::Args;
use muster_api::views::{Job, Lease, Named};
use muster_jobs::services::{Replica, Services, ServicesError};
use muster_ledger::market::LeaseStatus;
use muster_types::{AccountId, JobId, LeaseId};
use serde::Serialize;

/// List your jobs, deployments and leases.
#[derive(Args)]
#[command(after_help = "Example:\n  muster ps --all --json | jq '.leases[].rate'")]
pub(crate) struct Ps {
    /// Also what has ended.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Serialize)]
struct Listing {
    account: AccountId,
    jobs: Vec<Named<JobId, Job>>,
    deployments: Vec<Deployment>,
    leases: Vec<Named<LeaseId, Lease>>,
}

/// A deployment that is kept here.
#[derive(Serialize)]
struct Deployment {
    name: String,
    replicas: Vec<Replica>,
}

impl Ps {
    pub(crate) async fn run(self, global: &Global, printer: &Printer) -> anyhow::Result<()> {
        let client = global.client()?;
        let account = global.account()?;
        let mut jobs = client.jobs_of(&account).await?;
        jobs.retain(|job| self.all || !job.record.closed);
        let leases = client.leases_of_tenant(&account, !self.all).await?;
        let deployments = self.deployments(global, printer).await?;
        let listing = Listing { account, jobs, deployments, leases };
        printer.data(&listing, render)?;
        let nothing = listing.jobs.is_empty() && listing.deployments.is_empty();
        if nothing && listing.leases.is_empty() {
            printer.note("nothing is running (`muster ps --all` lists what has ended)");
        }
        Ok(())
    }

    /// Those kept here that are the key's own.
    async fn deployments(
        &self,
        global: &Global,
        printer: &Printer,
    ) -> anyhow::Result<Vec<Deployment>> {
        let mut deployments = Vec::new();
        for name in deployment::names()? {
            let services = match Services::open(name.config(global, &self.reach)?).await {
                Ok(services) => services,
                Err(ServicesError::Foreign { .. } | ServicesError::Nothing { .. }) => continue,
                Err(error) => {
                    printer.note(format!("{}: {error}", name.as_str()));
                    continue;
                }
            };
            let replicas = services.replicas().await?;
            deployments.push(Deployment { name: name.as_str().to_owned(), replicas });
        }
        Ok(deployments)
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
    if !listing.deployments.is_empty() {
        let rows = listing.deployments.iter().flat_map(services);
        let head = ["DEPLOYMENT", "SERVICE", "PROVIDER", "USD/H", "STATE", "ADDRESS"];
        text.push_str(&table(head, rows));
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

/// A row for each replica.
fn services(deployment: &Deployment) -> Vec<[String; 6]> {
    let name = || deployment.name.clone();
    if deployment.replicas.is_empty() {
        return vec![[name(), "-".into(), "-".into(), "0".into(), "down".into(), "-".into()]];
    }
    let row = |(label, replica): (String, &Replica)| {
        let containers = replica.status.iter().flat_map(|status| &status.container);
        let ports = containers.flat_map(|one| &one.ports);
        let addresses: Vec<_> = ports.filter_map(|port| port.address.clone()).collect();
        let state = replica.status.as_ref().map_or("no answer", |status| step(&status.step));
        [
            name(),
            label,
            replica.provider.short(),
            replica.rate.to_string(),
            state.to_owned(),
            addresses.join(" "),
        ]
    };
    numbered(&deployment.replicas).into_iter().map(row).collect()
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
