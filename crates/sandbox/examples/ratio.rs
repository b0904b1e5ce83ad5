//! Prints what the sandbox costs: CPU time of the digits guests over that of the same code native.
//!
//! `cargo run --release -p muster-sandbox --example ratio` after `cargo xtask guests`.
#![allow(clippy::print_stdout, reason = "a measuring tool for people")]

use muster_sandbox::{ChildProgram, CompileLimits, Compiled, Compiler, DataDir, Limits, Task};
use rustix::time::{ClockId, clock_gettime};
use std::{collections::BTreeMap, error::Error, fs, path::Path, sync::Arc, time::Duration};

const ROUNDS: usize = 15;
const STEPS: u64 = 40;
/// The held-out images, this many times over, in one task.
const COPIES: usize = 16;

fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args().nth(1).as_deref() == Some("child") {
        return Ok(muster_sandbox::compile_child_main(
            &mut std::io::stdin().lock(),
            &mut std::io::stdout().lock(),
        )?);
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let guests = match std::env::var_os("GUESTS") {
        Some(folder) => folder.into(),
        None => root.join("target/guests"),
    };
    let child = ChildProgram { program: std::env::current_exe()?, args: vec!["child".into()] };
    let compiler = Compiler::new(child, CompileLimits::default())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let compile = |name: &str| -> Result<Arc<Compiled>, Box<dyn Error>> {
        Ok(runtime.block_on(compiler.compile(&fs::read(guests.join(name))?))?)
    };
    let (train, classify) = (compile("train.wasm")?, compile("classify.wasm")?);
    let set = fs::read(root.join("examples/digits/train.bin"))?;
    let held_out = fs::read(root.join("examples/digits/held-out.bin"))?;
    let limits = Limits::default();

    let train_data = data("train", &set)?;
    let sandboxed = || {
        (0..STEPS).fold((Vec::new(), 0), |(state, fuel), step| {
            let task = Task::chain_step(step, &state, train_data.clone());
            let outcome = train.run(task, &limits).expect("the guest runs");
            (outcome.output, fuel + outcome.fuel_used)
        })
    };
    let native = || {
        (0..STEPS).fold(Vec::new(), |state, step| {
            let input = Task::chain_step(step, &state, DataDir::default()).stdin;
            muster_digits::train(&input, &set).expect("it trains")
        })
    };
    let model = native();
    assert_eq!(sandboxed().0, model, "sandboxed and native state differ");
    report("train, a step", STEPS, || drop(sandboxed()), || drop(native()));
    println!("fuel of a step: {}", sandboxed().1 / STEPS);

    let images = held_out.repeat(COPIES);
    let model_data = data("model", &model)?;
    let sandboxed = |images: &[u8]| {
        let task = Task { stdin: images.to_vec(), data: model_data.clone(), ..Task::default() };
        classify.run(task, &limits).expect("the guest runs")
    };
    let native = |images: &[u8]| muster_digits::classify(images, &model).expect("it classifies");
    assert_eq!(sandboxed(&images).output, native(&images), "sandboxed and native labels differ");
    let count = images.len() / 64;
    report(
        &format!("classify, a task of {count} images"),
        1,
        || drop(sandboxed(&images)),
        || drop(native(&images)),
    );
    println!("fuel of it: {}", sandboxed(&images).fuel_used);
    let few = &held_out[..8 * 64];
    report("classify, a task of 8 images", 1, || drop(sandboxed(few)), || drop(native(few)));
    Ok(())
}

fn data(name: &str, bytes: &[u8]) -> Result<DataDir, Box<dyn Error>> {
    Ok(DataDir::new(BTreeMap::from([(name.to_owned(), Arc::from(bytes))]))?)
}

/// Alternates the two, so that what else this machine does touches both, and takes the best of each.
fn report(what: &str, parts: u64, sandboxed: impl Fn(), native: impl Fn()) {
    let (mut best_sandboxed, mut best_native) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        best_sandboxed = best_sandboxed.min(cpu_time(&sandboxed));
        best_native = best_native.min(cpu_time(&native));
    }
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / parts as f64;
    println!(
        "{what}: sandboxed {:.1} us, native {:.1} us, ratio {:.2}",
        micros(best_sandboxed),
        micros(best_native),
        best_sandboxed.as_secs_f64() / best_native.as_secs_f64()
    );
}

fn cpu_time(work: &impl Fn()) -> Duration {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
    };
    let start = now();
    work();
    now().saturating_sub(start)
}
