//! What the demo says at its end.

use super::{cast::Cast, clouds::Cloud};
use crate::printer::{facts, table};
use muster_api::{Client, views::ProviderView};
use muster_jobs::Report as JobReport;
use muster_ledger::{job::JobKind, provider::ProviderStatus};
use muster_market::Explanation;
use muster_types::{AccountId, Amount, JobId, Rate};
use serde::Serialize;
use std::path::PathBuf;

/// What `muster demo --json` prints. The shape is a contract.
#[derive(Serialize)]
pub(crate) struct DemoReport {
    pub(crate) network: Network,
    pub(crate) quote: Quote,
    pub(crate) order_to_lease_ms: OrderToLease,
    pub(crate) jobs: Vec<Job>,
    pub(crate) accuracy: f64,
    pub(crate) providers: Vec<Provider>,
    pub(crate) escrow: Escrow,
    pub(crate) invariants: String,
    pub(crate) receipt: PathBuf,
}

#[derive(Serialize)]
pub(crate) struct Network {
    pub(crate) validators: usize,
    pub(crate) providers: usize,
    pub(crate) height: u64,
}

#[derive(Serialize)]
pub(crate) struct Quote {
    pub(crate) hosts_matched: u64,
    pub(crate) hosts_excluded: u64,
    pub(crate) price_per_hour_usd: Rate,
}

#[derive(Serialize)]
pub(crate) struct OrderToLease {
    pub(crate) p50: u64,
    pub(crate) max: u64,
}

#[derive(Serialize)]
pub(crate) struct Job {
    pub(crate) id: JobId,
    pub(crate) kind: JobKind,
    pub(crate) tasks: u64,
    pub(crate) completed: u64,
    pub(crate) retried: u64,
    pub(crate) failed_over: u64,
    pub(crate) verified: u64,
    pub(crate) mismatches: u64,
    pub(crate) seconds: f64,
}

#[derive(Serialize)]
pub(crate) struct Provider {
    pub(crate) id: AccountId,
    pub(crate) name: String,
    pub(crate) paid_usd: Amount,
    pub(crate) slashed_usd: Amount,
    pub(crate) state: String,
}

#[derive(Serialize)]
pub(crate) struct Escrow {
    pub(crate) deposited_usd: Amount,
    pub(crate) paid_usd: Amount,
    pub(crate) compensated_usd: Amount,
    pub(crate) refunded_usd: Amount,
    pub(crate) fees_usd: Amount,
}

/// What the report is made from.
pub(crate) struct Ending<'a> {
    pub(crate) client: &'a Client,
    pub(crate) cast: &'a Cast,
    pub(crate) quote: &'a Explanation,
    pub(crate) jobs: &'a [JobReport],
    pub(crate) accuracy: f64,
}

impl DemoReport {
    /// Asks the ledger how it all ended.
    pub(crate) async fn gather(ending: Ending<'_>) -> anyhow::Result<Self> {
        let status = ending.client.status().await?;
        let invariants = ending.client.invariants().await?;
        let views = ending.client.providers().await?;
        let providers: Vec<_> = views.iter().map(|view| provider(view, ending.cast)).collect();
        let mut waits: Vec<u64> =
            ending.jobs.iter().flat_map(|job| job.order_to_lease_ms.iter().copied()).collect();
        waits.sort_unstable();
        let last = ending.jobs.last().map(|job| job.receipt.clone()).unwrap_or_default();
        Ok(Self {
            network: Network {
                validators: status.validators.len(),
                providers: providers.len(),
                height: status.height,
            },
            quote: Quote {
                hosts_matched: ending.quote.matched,
                hosts_excluded: ending.quote.hosts.saturating_sub(ending.quote.matched),
                price_per_hour_usd: ending.quote.price_per_hour,
            },
            order_to_lease_ms: OrderToLease {
                p50: waits.get(waits.len().saturating_sub(1) / 2).copied().unwrap_or_default(),
                max: waits.last().copied().unwrap_or_default(),
            },
            jobs: ending.jobs.iter().map(job).collect(),
            accuracy: ending.accuracy,
            providers,
            escrow: escrow(ending.jobs)?,
            invariants: invariants.broken.unwrap_or_else(|| "ok".to_owned()),
            receipt: last,
        })
    }

    /// Whether everything went as it must: every task of every job has a result, money adds up,
    /// the model is as good as it should be, and no invariant is broken.
    pub(crate) fn failure(&self, accuracy_min: f64) -> Option<String> {
        for job in &self.jobs {
            if job.completed != job.tasks {
                return Some(format!(
                    "job {}: {} of {} tasks",
                    job.id.short(),
                    job.completed,
                    job.tasks
                ));
            }
        }
        let escrow = &self.escrow;
        let out = escrow.paid_usd.checked_add(escrow.refunded_usd);
        if out.and_then(|out| out.checked_add(escrow.fees_usd)) != Some(escrow.deposited_usd) {
            return Some("deposited is not paid, refunded and fees".to_owned());
        }
        if self.invariants != "ok" {
            return Some(format!("invariant broken: {}", self.invariants));
        }
        if self.accuracy < accuracy_min {
            return Some(format!("accuracy {:.4} is below {accuracy_min}", self.accuracy));
        }
        None
    }

    /// For people.
    pub(crate) fn render(&self, clouds: &[Cloud]) -> String {
        let mut text = facts([
            (
                "network",
                format!(
                    "{} validator, {} providers, {} blocks",
                    self.network.validators, self.network.providers, self.network.height
                ),
            ),
            (
                "order to lease",
                format!(
                    "{} ms median, {} ms longest",
                    self.order_to_lease_ms.p50, self.order_to_lease_ms.max
                ),
            ),
            ("accuracy", format!("{:.2} % on held-out images", self.accuracy * 100.0)),
            ("invariants", self.invariants.clone()),
        ]);
        let jobs = self.jobs.iter().map(|job| {
            [
                format!("{:?}", job.kind).to_lowercase(),
                format!("{}/{}", job.completed, job.tasks),
                job.retried.to_string(),
                job.failed_over.to_string(),
                job.verified.to_string(),
                job.mismatches.to_string(),
                format!("{:.1}", job.seconds),
            ]
        });
        let head = ["JOB", "TASKS", "RETRIED", "MOVED", "VERIFIED", "DIFFERED", "SECONDS"];
        text.push_str(&format!("\n{}", table(head, jobs)));
        let providers = self.providers.iter().map(|provider| {
            [
                provider.name.clone(),
                provider.paid_usd.to_string(),
                provider.slashed_usd.to_string(),
                provider.state.clone(),
            ]
        });
        let head = ["PROVIDER", "PAID USD", "SLASHED USD", "STATE"];
        text.push_str(&format!("\n{}", table(head, providers)));
        let escrow = &self.escrow;
        text.push_str(&format!(
            "\n{}",
            facts([
                ("deposited", format!("{} usd", escrow.deposited_usd)),
                ("paid", format!("{} usd", escrow.paid_usd)),
                ("refunded", format!("{} usd", escrow.refunded_usd)),
                ("fees", format!("{} usd", escrow.fees_usd)),
                ("compensated", compensated(escrow.compensated_usd)),
            ])
        ));
        text.push_str(&format!("\n{}", prices(self.quote.price_per_hour_usd, clouds)));
        text.push_str(&format!("\nreceipt  {}\n", self.receipt.display()));
        text
    }
}

fn prices(ours: Rate, clouds: &[Cloud]) -> String {
    let rows = std::iter::once(["these leases (3 threads)".to_owned(), ours.to_string()]).chain(
        clouds.iter().map(|cloud| {
            [format!("{} ({} threads)", cloud.name, cloud.threads), cloud.usd_per_hour.to_string()]
        }),
    );
    table(["PRICE", "USD/H"], rows)
}

fn job(report: &JobReport) -> Job {
    Job {
        id: report.id,
        kind: report.kind,
        tasks: report.tasks,
        completed: report.completed,
        retried: report.retried,
        failed_over: report.failed_over,
        verified: report.verified,
        mismatches: report.mismatches,
        seconds: report.seconds,
    }
}

fn provider(view: &ProviderView, cast: &Cast) -> Provider {
    let killed = cast.find(&view.id).is_some_and(|member| member.killed);
    let state = match view.record.status {
        _ if killed => "killed",
        _ if view.record.conduct.disputes_lost > 0 => "slashed",
        ProviderStatus::Registered => "registered",
        ProviderStatus::Active => "active",
        ProviderStatus::Draining => "draining",
        ProviderStatus::Unbonding { .. } => "unbonding",
        ProviderStatus::Gone => "gone",
        ProviderStatus::Jailed { .. } => "jailed",
    };
    Provider {
        id: view.id,
        name: view.record.profile.name.clone(),
        paid_usd: view.record.paid,
        slashed_usd: view.bond.slashed,
        state: state.to_owned(),
    }
}

fn escrow(jobs: &[JobReport]) -> anyhow::Result<Escrow> {
    let sum = |of: fn(&JobReport) -> Amount| {
        jobs.iter()
            .try_fold(Amount::ZERO, |total, job| total.checked_add(of(job)))
            .ok_or_else(|| anyhow::anyhow!("the amounts are too large to be added"))
    };
    Ok(Escrow {
        deposited_usd: sum(|job| job.escrow.deposited)?,
        paid_usd: sum(|job| job.escrow.paid)?,
        compensated_usd: sum(|job| job.escrow.compensated)?,
        refunded_usd: sum(|job| job.escrow.refunded)?,
        fees_usd: sum(|job| job.escrow.fees)?,
    })
}

/// Only what was paid is a loss: of a lease that failed before it was paid for there is none.
fn compensated(amount: Amount) -> String {
    if amount.is_zero() {
        "0 usd: what failed was not paid for".to_owned()
    } else {
        format!("{amount} usd, out of bonds")
    }
}
