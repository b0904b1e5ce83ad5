//! `muster bench`: measurements that compare with a baseline in the same run.

mod consensus;
mod ledger;
mod market;
mod restart;
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
///
/// restart: from starting a node to its first answer, in milliseconds, when so many orders were
/// placed and have ended. `restart_ms`: they have left the state, as they do. `restart_kept_ms`,
/// without a target: all of them are still in it. With each the size of the state and of the files.
/// The orders are final blocks of the node's own, but nobody sends them over HTTP.
///
/// ledger: transactions a second that are applied, signatures included, over those whose signatures
/// are only checked, in the same batches on the same threads. Blocks of half transfers, half
/// heartbeats, each for one lease (`apply_over_verify`) or for eight (`apply_8_leases_over_verify`),
/// with the state in memory; `..._with_root_over_verify`, without a target, with the state's root
/// and a durable commit for each block. Higher is better; the target is a floor.
///
/// market: the ledger's block ends with standing hosts in memory, orders a tenth of them in number;
/// lower is better, the target is a ceiling. `clear_over_lookup` is the time for a lease with a
/// million hosts over that of one look-up in a sorted map of that size, `clear_growth` the same time
/// over that with a thousand hosts. Without a target: the time for a lease of mixed orders, of
/// orders that all ask for the same, for an order that nothing matches, and for writing a lease into
/// the state, with 10^3 to 10^6 hosts; `auction_...`: the auction alone, without the ledger.
///
/// consensus: validators on this machine. Finality from the moment that a block is built to be
/// sent until a validator has executed it as final; with 1, with 4, and with 4 whose messages all
/// take 50 ms (a simulated delay), in units of that delay. Memory, processor time and catching up
/// are of processes of `muster node run`, `tps_4` is of four nodes in this process. Ceilings:
/// `finality_4_wan_over_delay`, `idle_rss_mib`, `idle_cpu_pct`.
#[derive(Args)]
#[command(after_help = "Example:\n  cargo run --release -p muster-cli -- bench wasm --json")]
pub(crate) struct Bench {
    /// What to measure.
    name: Name,
    /// restart: how many orders.
    #[arg(long, value_name = "N", default_value_t = restart::ORDERS)]
    orders: u64,
    /// consensus: a few blocks of each, in any build, to see that it works.
    #[arg(long)]
    quick: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Name {
    /// Validators' finality, throughput, catching up, memory and processor time.
    Consensus,
    /// Applying transactions against checking their signatures.
    Ledger,
    /// The sandbox against native code.
    Wasm,
    /// Clearing against look-ups in a sorted map.
    Market,
    /// A node's start on a long history.
    Restart,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<f64>,
    /// Where `value` is a median.
    #[serde(skip_serializing_if = "Option::is_none")]
    p99: Option<f64>,
    /// Of what, and in what setting.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
    ok: bool,
}

impl Measurement {
    const fn new(name: &'static str, unit: &'static str, value: f64) -> Self {
        let (baseline, ratio, target, p99, note) = (None, None, None, None, None);
        Self { name, value, unit, baseline, ratio, target, p99, note, ok: true }
    }

    /// A figure whose ratio to the baseline must not exceed `ceiling`.
    fn at_most(
        name: &'static str,
        unit: &'static str,
        value: f64,
        baseline: f64,
        ceiling: f64,
    ) -> Self {
        let ratio = value / baseline;
        let (baseline, target) = (Some(baseline), Some(ceiling));
        let ok = ratio <= ceiling;
        Self { baseline, ratio: Some(ratio), target, ok, ..Self::new(name, unit, value) }
    }

    /// A figure that must not itself exceed `ceiling`.
    fn within(name: &'static str, unit: &'static str, value: f64, ceiling: f64) -> Self {
        Self { target: Some(ceiling), ok: value <= ceiling, ..Self::new(name, unit, value) }
    }

    /// A figure to go with the others.
    const fn fact(name: &'static str, unit: &'static str, value: f64) -> Self {
        Self::new(name, unit, value)
    }

    /// A figure and its baseline, measured together often enough for a ratio of their own, which
    /// must reach `floor` where there is one.
    fn at_least(
        name: &'static str,
        unit: &'static str,
        (value, baseline): (f64, f64),
        ratio: f64,
        floor: Option<f64>,
    ) -> Self {
        let ok = floor.is_none_or(|floor| ratio >= floor);
        let (baseline, ratio) = (Some(baseline), Some(ratio));
        Self { baseline, ratio, target: floor, ok, ..Self::new(name, unit, value) }
    }

    /// A figure beside its baseline, without a target.
    fn shown(name: &'static str, unit: &'static str, value: f64, baseline: f64) -> Self {
        let (baseline, ratio) = (Some(baseline), Some(value / baseline));
        Self { baseline, ratio, ..Self::new(name, unit, value) }
    }
}

impl Bench {
    pub(crate) async fn run(self, printer: &Printer) -> anyhow::Result<()> {
        let any_build = self.quick && matches!(self.name, Name::Consensus);
        if cfg!(debug_assertions) && !any_build {
            let name = self.name.to_possible_value().map(|value| value.get_name().to_owned());
            let name = name.unwrap_or_default();
            let hint = format!("cargo run --release -p muster-cli -- bench {name}");
            return Err(Failure::error(
                Exit::Failed,
                "this is not a release build: its figures would mean nothing",
                hint,
            ));
        }
        let (bench, results) = match self.name {
            Name::Consensus => ("consensus", consensus::measure(printer, self.quick).await?),
            Name::Ledger => ("ledger", ledger::measure(printer)?),
            Name::Wasm => ("wasm", wasm::measure(printer).await?),
            Name::Market => ("market", market::measure(printer)?),
            Name::Restart => ("restart", restart::measure(printer, self.orders).await?),
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
    let has_baselines = report.results.iter().any(|result| result.baseline.is_some());
    let rows = report.results.iter().map(row);
    let figures = match has_baselines {
        true => table(["NAME", "VALUE", "BASELINE", "RATIO", "TARGET", ""], rows),
        false => {
            let rows = rows.map(|[name, value, _, _, target, ok]| [name, value, target, ok]);
            table(["NAME", "VALUE", "TARGET", ""], rows)
        }
    };
    let notes = report
        .results
        .iter()
        .filter_map(|result| result.note.map(|note| [result.name.to_owned(), note.to_owned()]));
    let notes: Vec<_> = notes.collect();
    let notes = if notes.is_empty() { String::new() } else { table(["NAME", "OF WHAT"], notes) };
    [report.machine.cpu.as_str(), &figures, &notes].join("\n")
}

fn row(result: &Measurement) -> [String; 6] {
    let number = |value: Option<f64>, text: fn(f64) -> String| value.map(text).unwrap_or_default();
    let ok = match (result.target, result.ok) {
        (None, _) => "",
        (Some(_), true) => "met",
        (Some(_), false) => "missed",
    };
    [
        result.name.to_owned(),
        match result.p99 {
            Some(p99) => format!("{:.2} {}, p99 {p99:.2}", result.value, result.unit),
            None => format!("{:.3} {}", result.value, result.unit),
        },
        number(result.baseline, |value| format!("{value:.3}")),
        number(result.ratio, |value| format!("{value:.2}")),
        number(result.target, |value| format!("{value:.2}")),
        ok.to_owned(),
    ]
}
