//! The guests of this repository, where `cargo xtask guests` has built them.
#![allow(clippy::print_stderr, reason = "says what was not tested")]

use crate::helpers::compile;
use muster_sandbox::{Compiled, DataDir, Limits, RunError, Task};
use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn guest(name: &str) -> Option<Arc<Compiled>> {
    let path = root().join("target/guests").join(name);
    let Ok(module) = fs::read(&path) else {
        eprintln!("skipped: no {}; run `cargo xtask guests`", path.display());
        return None;
    };
    Some(compile(&module).unwrap())
}

fn example(name: &str) -> Vec<u8> {
    fs::read(root().join("examples/digits").join(name)).unwrap()
}

fn data(name: &str, bytes: &[u8]) -> DataDir {
    DataDir::new(BTreeMap::from([(name.to_owned(), Arc::from(bytes))])).unwrap()
}

#[test]
fn sandboxed_training_and_labels_are_the_native_ones() {
    let (Some(train), Some(classify)) = (guest("train.wasm"), guest("classify.wasm")) else {
        return;
    };
    let set = example("train.bin");
    let files = data("train", &set);
    let (mut sandboxed, mut native) = (Vec::new(), Vec::new());
    for step in 0..12 {
        let task = Task::chain_step(step, &sandboxed, files.clone());
        sandboxed = train.run(task, &Limits::default()).unwrap().output;
        let input = Task::chain_step(step, &native, DataDir::default()).stdin;
        native = muster_digits::train(&input, &set).unwrap();
        assert!(sandboxed == native, "step {step} differs");
    }
    let stdin = example("held-out.bin");
    let expected = muster_digits::classify(&stdin, &native).unwrap();
    let task = Task { stdin, data: data("model", &sandboxed), ..Task::default() };
    assert_eq!(classify.run(task, &Limits::default()).unwrap().output, expected);
}

#[test]
fn guests_refuse_bad_input_with_words() {
    let Some(train) = guest("train.wasm") else { return };
    let task = Task::chain_step(3, b"", data("train", &example("train.bin")));
    let error = train.run(task, &Limits::default()).unwrap_err();
    assert!(matches!(error, RunError::ExitCode { code: 2, .. }), "{error:?}");
    assert!(error.to_string().contains("step 3 cannot follow"), "{error}");
    let task = Task::chain_step(0, b"", DataDir::default());
    let error = train.run(task, &Limits::default()).unwrap_err();
    assert!(error.to_string().contains("/data/train"), "{error}");
}

#[test]
fn training_for_two_hundred_steps_reads_the_held_out_digits() {
    let set = example("train.bin");
    let mut state = Vec::new();
    for step in 0..200 {
        let input = Task::chain_step(step, &state, DataDir::default()).stdin;
        state = muster_digits::train(&input, &set).unwrap();
    }
    let labels = muster_digits::classify(&example("held-out.bin"), &state).unwrap();
    let expected = example("held-out.labels");
    assert_eq!(labels.len(), expected.len());
    let right = labels.chunks(2).zip(expected.chunks(2)).filter(|(a, b)| a == b).count();
    assert!(right * 100 > 95 * labels.len() / 2, "{right} of {} are right", labels.len() / 2);
}
