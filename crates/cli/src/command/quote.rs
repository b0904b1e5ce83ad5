//! `muster quote`: what a job would cost now, and why not more hosts match.

use super::Global;
use crate::{
    error::{Exit, Failure},
    files,
    printer::{Printer, facts, table},
};
use clap::Args;
use muster_market::{Constraint, Explanation};
use muster_spec::Workload;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Say what a job would cost now, who could run it, and what excludes the others.
#[derive(Args)]
#[command(after_help = "Example:\n  muster quote examples/digits/classify.toml")]
pub(crate) struct Quote {
    /// The job file.
    job: PathBuf,
}

/// What `muster quote --json` prints.
#[derive(Serialize)]
pub(crate) struct QuoteReport {
    /// The job's name.
    pub(crate) job: String,
    /// Hosts that pass every constraint.
    pub(crate) hosts_matched: u64,
    /// Hosts that do not.
    pub(crate) hosts_excluded: u64,
    /// What all leases together would cost, per hour.
    pub(crate) price_per_hour_usd: String,
    /// What the validators can promise about audits.
    pub(crate) beacon: &'static str,
    /// The beacon's latest round.
    pub(crate) beacon_round: u64,
    /// The market's full explanation.
    pub(crate) explanation: Explanation,
}

impl Quote {
    pub(crate) async fn run(self, global: &Global, printer: &Printer) -> anyhow::Result<()> {
        let workload = read_job(&self.job)?;
        let client = global.client()?;
        let status = client.status().await?;
        let explanation = client.quote(&workload.terms()).await?;
        let report = QuoteReport {
            job: workload.name.clone(),
            hosts_matched: explanation.matched,
            hosts_excluded: explanation.hosts.saturating_sub(explanation.matched),
            price_per_hour_usd: explanation.price_per_hour.to_string(),
            beacon: if status.beacon_trusted { "trusted: the validators' word" } else { "shared" },
            beacon_round: status.beacon_round,
            explanation,
        };
        printer.data(&report, render)?;
        if report.explanation.would_grant == 0 {
            return Err(no_match(&report.explanation));
        }
        Ok(())
    }
}

/// Reads and checks a job file; errors name line, column, field and fix.
pub(crate) fn read_job(path: &Path) -> anyhow::Result<Workload> {
    let hint = "muster run examples/hello/hello.toml   # a job file that works, to start from";
    let text = files::read_text(path, muster_spec::MAX_JOB_BYTES as u64).map_err(|error| {
        Failure::error(Exit::BadInput, format!("job file {}: {error}", path.display()), hint)
    })?;
    muster_spec::parse(path, &text).map_err(|defects| {
        Failure::error(Exit::BadInput, defects.to_string().trim_end().to_owned(), hint)
    })
}

/// The failure of an order that nothing matches, with what to relax.
pub(crate) fn no_match(explanation: &Explanation) -> anyhow::Error {
    let hint = explanation.excluded.first().map_or_else(
        || "muster provider run   # offer a host".to_owned(),
        |first| {
            let field = muster_spec::field_of(&first.constraint);
            format!("correct `{field}` in the job file: {}", first.hint())
        },
    );
    let message = match explanation.hosts {
        0 => "no host is on offer".to_owned(),
        hosts => format!("none of {hosts} hosts matches"),
    };
    Failure::error(Exit::NoMatch, message, hint)
}

fn render(report: &QuoteReport) -> String {
    let explanation = &report.explanation;
    let rates = explanation.rates.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mut text = facts([
        ("job", report.job.clone()),
        ("hosts", format!("{} match of {}", explanation.matched, explanation.hosts)),
        ("leases", format!("{} at {rates} usd/h", explanation.would_grant)),
        ("price", format!("{} usd/h in all", report.price_per_hour_usd)),
        ("beacon", format!("{}, round {}", report.beacon, report.beacon_round)),
    ]);
    if !explanation.excluded.is_empty() {
        text.push('\n');
        text.push_str(&exclusions(explanation, muster_spec::field_of));
    }
    text
}

/// What keeps hosts out, most important first, with each constraint's name by `field`.
pub(crate) fn exclusions(
    explanation: &Explanation,
    field: impl Fn(&Constraint) -> String,
) -> String {
    let rows = explanation.excluded.iter().map(|exclusion| {
        [
            field(&exclusion.constraint),
            exclusion.alone.to_string(),
            exclusion.total.to_string(),
            exclusion.hint(),
        ]
    });
    table(["EXCLUDED BY", "ALONE", "IN ALL", "TO LET THEM IN"], rows)
}
