//! `muster sim`: validators in a world that a seed decides. Only in builds with the feature `sim`.

use crate::{
    error::{Exit, Failure},
    files,
    printer::{Printer, facts},
};
use anyhow::Context as _;
use clap::{Args, Subcommand};
use muster_sim::{Plan, Report, each, replay, replay_file, swarm};
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

/// The largest plan, in bytes.
const MAX_PLAN_BYTES: u64 = 1 << 20;

/// How often a swarm says how far it is.
const TELL: Duration = Duration::from_secs(10);

/// Simulate validators, their network, disks and crashes.
#[derive(Args)]
#[command(after_help = "Example:\n  muster sim run --seed 7")]
pub(crate) struct Sim {
    #[command(subcommand)]
    command: SimCommand,
}

#[derive(Subcommand)]
enum SimCommand {
    /// Simulate one plan; the exit status is 1 where a property does not hold.
    #[command(after_help = "Example:\n  muster sim run --seed 7 --json\n  \
        muster sim run --seed 8 --plan plan.toml")]
    Run {
        /// The seed that decides the plan; of a plan in a file, what the plan leaves to chance.
        #[arg(long, required_unless_present = "plan")]
        seed: Option<u64>,
        /// A plan as TOML or JSON, instead of a seed's.
        #[arg(long, value_name = "FILE")]
        plan: Option<PathBuf>,
    },
    /// Print the plan of a seed, as TOML.
    #[command(after_help = "Example:\n  muster sim plan --seed 7 > plan.toml")]
    Plan {
        /// The seed that decides the plan.
        #[arg(long)]
        seed: u64,
    },
    /// Simulate one seed after the other on all cores.
    #[command(after_help = "Example:\n  muster sim swarm --minutes 5 --seed 1000")]
    Swarm {
        /// For how long.
        #[arg(long, default_value_t = 10)]
        minutes: u64,
        /// The first seed; the tests begin at 0.
        #[arg(long, default_value_t = 1_000)]
        seed: u64,
    },
}

impl Sim {
    /// Runs the command.
    pub(crate) fn run(self, printer: &Printer) -> anyhow::Result<()> {
        match self.command {
            SimCommand::Run { seed, plan: None } => {
                let plan = Plan::of(seed.unwrap_or_default());
                let again = replay(&plan);
                simulate(plan, &again, printer)
            }
            SimCommand::Run { seed, plan: Some(file) } => {
                let text = files::read_text(&file, MAX_PLAN_BYTES)
                    .with_context(|| format!("cannot read {}", file.display()))?;
                let mut plan =
                    Plan::read(&text).with_context(|| format!("{} is no plan", file.display()))?;
                plan.seed = seed.unwrap_or(plan.seed);
                let again = replay_file(plan.seed, &file.display().to_string());
                simulate(plan, &again, printer)
            }
            SimCommand::Plan { seed } => {
                let plan = Plan::of(seed);
                if printer.is_json() {
                    return printer.data(&plan, |_| String::new());
                }
                printer.raw(&plan.to_toml()?)
            }
            SimCommand::Swarm { minutes, seed } => {
                let time = Duration::from_secs(minutes.saturating_mul(60));
                run_swarm(seed, time, printer)
            }
        }
    }
}

fn simulate(plan: Plan, again: &str, printer: &Printer) -> anyhow::Result<()> {
    for report in each(vec![plan]) {
        printer.data(&report, people)?;
        if !report.is_clean() {
            let found = format!("seed {} broke a property", report.seed);
            return Err(Failure::error(Exit::Failed, found, again));
        }
    }
    Ok(())
}

fn people(report: &Report) -> String {
    let mut text = facts([
        ("seed", report.seed.to_string()),
        ("height", report.height.to_string()),
        ("transactions", report.applied.to_string()),
        ("restarts", report.restarts.to_string()),
        ("jailed", report.jailed.to_string()),
        ("beacon rounds signed", report.signed_rounds.to_string()),
        ("simulated", format!("{} ms", report.simulated_ms)),
        ("trace", report.trace.to_string()),
    ]);
    for violation in &report.violations {
        text.push_str(&format!("broken: {}: {}\n", violation.property, violation.found));
    }
    text
}

fn run_swarm(first: u64, time: Duration, printer: &Printer) -> anyhow::Result<()> {
    let start = Instant::now();
    let (mut done, mut failed, mut last) = (0_u64, Vec::new(), start);
    swarm((first..).map(Plan::of), |_, report| {
        done = done.saturating_add(1);
        if !report.is_clean() {
            printer.note(format!("{}{}", people(report), replay(&Plan::of(report.seed))));
            failed.push(report.clone());
        }
        if last.elapsed() >= TELL {
            last = Instant::now();
            let (seconds, failed) = (start.elapsed().as_secs(), failed.len());
            printer.note(format!("{seconds} s: {done} seeds, {failed} failed"));
        }
        start.elapsed() < time
    });
    printer.note(format!("{done} seeds from {first}, {} failed", failed.len()));
    printer.data(&failed, |failed| {
        failed.iter().map(|report| replay(&Plan::of(report.seed)) + "\n").collect()
    })?;
    match failed.first() {
        None => Ok(()),
        Some(report) => {
            let found = format!("{} of {done} seeds broke a property", failed.len());
            let hint = replay(&Plan::of(report.seed));
            Err(Failure::error(Exit::Failed, found, hint))
        }
    }
}
