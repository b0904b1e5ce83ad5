//! `muster bench`: measurements that compare with a baseline in the same run.

mod market;
mod wasm;

use crate::{
    error::{Exit, Failure},
    printer::{Printer, table},
};
use clap::{Args, ValueEnum};
use serde::Serialize;

/// Measure, against a baseline in the same run.
///
/// wasm: sandboxed CPU time with fuel and NaN canonicalisation on, over the same Rust code native
/// at opt-level 3, in microseconds. `train_over_native` is one step of training the digits model,
/// `classify_over_native` one task of classifying with it.
///
/// market: the auction over standing hosts in memory. `clear_over_lookup` is the time for a lease
/// with a million hosts over that of one look-up in a sorted map of that size, `clear_growth` the
/// same time over that with a thousand hosts. Without a target: the time for a lease of mixed
/// orders, of orders that all ask for the same, and the time for an order that nothing matches,
/// with 10^3 to 10^6 hosts.
///
/// Lower is better; the target is a ceiling.
#[derive(Args)]
#[command(after_help = "Example:\n  cargo run --release -p muster-cli -- bench wasm --json")]
pub(crate) struct Bench {
    /// What to measure.
    name: Name,
}

#[derive(Clone, Copy, ValueEnum)]
enum Name {
    /// The sandbox against native code.
    Wasm,
    /// The auction against look-ups in a sorted map.
    Market,
}

/// What a benchmark found.
#[derive(Serialize)]
struct Report {
    bench: &'static str,
    machine: Machine,
    results: Vec<Measurement>,
}

#[derive(Serialize)]
struct Machine {
    cpu: String,
    threads: usize,
    os: &'static str,
    arch: &'static str,
}

/// One figure. Whether more or less is better is the benchmark's to say.
#[derive(Serialize)]
struct Measurement {
    name: &'static str,
    value: f64,
    unit: &'static str,
    baseline: f64,
    ratio: f64,
    /// None of a figure that is only shown.
    target: Option<f64>,
    ok: bool,
}

impl Measurement {
    /// A figure whose ratio to the baseline must not exceed `ceiling`.
    fn at_most(
        name: &'static str,
        unit: &'static str,
        value: f64,
        baseline: f64,
        ceiling: f64,
    ) -> Self {
        let ratio = value / baseline;
        Self { name, value, unit, baseline, ratio, target: Some(ceiling), ok: ratio <= ceiling }
    }

    /// A figure without a target.
    fn shown(name: &'static str, unit: &'static str, value: f64, baseline: f64) -> Self {
        Self { name, unit, value, baseline, ratio: value / baseline, target: None, ok: true }
    }
}

impl Bench {
    pub(crate) async fn run(self, printer: &Printer) -> anyhow::Result<()> {
        if cfg!(debug_assertions) {
            let hint = match self.name {
                Name::Wasm => "cargo run --release -p muster-cli -- bench wasm",
                Name::Market => "cargo run --release -p muster-cli -- bench market",
            };
            return Err(Failure::error(
                Exit::Failed,
                "this is not a release build: its figures would mean nothing",
                hint,
            ));
        }
        let (bench, results) = match self.name {
            Name::Wasm => ("wasm", wasm::measure(printer).await?),
            Name::Market => ("market", market::measure(printer)?),
        };
        printer.data(&Report { bench, machine: machine(), results }, render)
    }
}

fn machine() -> Machine {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    Machine {
        cpu: cpu.unwrap_or_else(|| "unknown".to_owned()),
        threads: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        os: std::env::consts::OS,
        arch: std::env::consts::ARCH,
    }
}

fn render(report: &Report) -> String {
    let rows = report.results.iter().map(|result| {
        [
            result.name.to_owned(),
            format!("{:.3} {}", result.value, result.unit),
            format!("{:.3} {}", result.baseline, result.unit),
            format!("{:.2}", result.ratio),
            result.target.map(|target| format!("{target:.2}")).unwrap_or_default(),
            match (result.target, result.ok) {
                (None, _) => "",
                (Some(_), true) => "ok",
                (Some(_), false) => "missed",
            }
            .to_owned(),
        ]
    });
    let head = ["NAME", "VALUE", "BASELINE", "RATIO", "TARGET", ""];
    format!("{}\n{}", report.machine.cpu, table(head, rows))
}
