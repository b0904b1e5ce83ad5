//! `muster bench wasm`: what the sandbox costs.

use super::Measurement;
use crate::{
    error::{Exit, Failure},
    network,
    printer::Printer,
};
use anyhow::Context as _;
use muster_sandbox::{CompileLimits, Compiled, Compiler, DataDir, Limits, Task};
use rustix::time::{ClockId, clock_gettime};
use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

/// Both sides run so often, in turn; the best of each counts, because what else the machine does
/// only ever adds.
const ROUNDS: u32 = 15;
const STEPS: u64 = 40;
/// The held-out images, so many times over, make up the task to classify.
const COPIES: usize = 16;
const CEILING: f64 = 1.5;

/// Measures both figures.
pub(crate) async fn measure(printer: &Printer) -> anyhow::Result<Vec<Measurement>> {
    let root = crate::command::source_dir();
    let guests = root.join("target/guests");
    let examples = root.join("examples/digits");
    let compiler = Compiler::new(network::compiler_child()?, CompileLimits::default())?;
    let train = compile(&compiler, &guests.join("train.wasm")).await?;
    let classify = compile(&compiler, &guests.join("classify.wasm")).await?;
    let training_set = read(&examples.join("train.bin"))?;
    let images = read(&examples.join("held-out.bin"))?.repeat(COPIES);
    printer.note(format!("{ROUNDS} rounds of each, in turn; the best CPU time counts"));

    let data = directory("train", &training_set)?;
    let sandboxed = || sandboxed_training(&train, &data);
    let native = || native_training(&training_set);
    let model = native()?;
    anyhow::ensure!(sandboxed()? == model, "sandboxed and native training give other bits");
    let (value, baseline) = compare(sandboxed, native)?;
    let per_step = |time: Duration| time.as_secs_f64() * 1e6 / STEPS as f64;
    let trained = Measurement::at_most(
        "train_over_native",
        "us",
        per_step(value),
        per_step(baseline),
        CEILING,
    );

    let data = directory("model", &model)?;
    let sandboxed = || {
        let task = Task { stdin: images.clone(), data: data.clone(), ..Task::default() };
        Ok(classify.run(task, &Limits::default())?.output)
    };
    let native = || Ok(muster_digits::classify(&images, &model)?);
    anyhow::ensure!(sandboxed()? == native()?, "sandboxed and native labels differ");
    let (value, baseline) = compare(sandboxed, native)?;
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let classified = Measurement::at_most(
        "classify_over_native",
        "us",
        micros(value),
        micros(baseline),
        CEILING,
    );
    Ok(vec![trained, classified])
}

async fn compile(compiler: &Compiler, path: &Path) -> anyhow::Result<Arc<Compiled>> {
    Ok(compiler.compile(&read(path)?).await?)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| {
        let message = format!("{} cannot be read: {error}", path.display());
        Failure::error(
            Exit::BadInput,
            message,
            "cargo xtask guests   # in a checkout of the source",
        )
    })
}

fn directory(name: &str, content: &[u8]) -> anyhow::Result<DataDir> {
    Ok(DataDir::new(BTreeMap::from([(name.to_owned(), Arc::from(content))]))?)
}

fn sandboxed_training(train: &Compiled, data: &DataDir) -> anyhow::Result<Vec<u8>> {
    (0..STEPS).try_fold(Vec::new(), |state, step| {
        let task = Task::chain_step(step, &state, data.clone());
        Ok(train.run(task, &Limits::default())?.output)
    })
}

fn native_training(training_set: &[u8]) -> anyhow::Result<Vec<u8>> {
    (0..STEPS).try_fold(Vec::new(), |state, step| {
        let input = Task::chain_step(step, &state, DataDir::default()).stdin;
        Ok(muster_digits::train(&input, training_set)?)
    })
}

/// The best CPU time of each side over all rounds.
fn compare(
    sandboxed: impl Fn() -> anyhow::Result<Vec<u8>>,
    native: impl Fn() -> anyhow::Result<Vec<u8>>,
) -> anyhow::Result<(Duration, Duration)> {
    let (mut best_sandboxed, mut best_native) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        best_sandboxed = best_sandboxed.min(cpu_time(&sandboxed)?);
        best_native = best_native.min(cpu_time(&native)?);
    }
    Ok((best_sandboxed, best_native))
}

fn cpu_time(work: &impl Fn() -> anyhow::Result<Vec<u8>>) -> anyhow::Result<Duration> {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
    };
    let start = now();
    work().context("a measured run failed")?;
    Ok(now().saturating_sub(start))
}
