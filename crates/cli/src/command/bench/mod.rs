//! `muster bench`: measurements that compare with a baseline in the same run.

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
/// `classify_over_native` one task of classifying with it. Lower is better; the target is a
/// ceiling.
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
    target: f64,
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
        Self { name, value, unit, baseline, ratio, target: ceiling, ok: ratio <= ceiling }
    }
}

impl Bench {
    pub(crate) async fn run(self, printer: &Printer) -> anyhow::Result<()> {
        if cfg!(debug_assertions) {
            return Err(Failure::error(
                Exit::Failed,
                "this is not a release build: its figures would mean nothing",
                "cargo run --release -p muster-cli -- bench wasm",
            ));
        }
        let (bench, results) = match self.name {
            Name::Wasm => ("wasm", wasm::measure(printer).await?),
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
            format!("{:.2}", result.target),
            if result.ok { "ok" } else { "missed" }.to_owned(),
        ]
    });
    let head = ["NAME", "VALUE", "BASELINE", "RATIO", "TARGET", ""];
    format!("{}\n{}", report.machine.cpu, table(head, rows))
}
