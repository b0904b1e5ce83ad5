//! `muster sim`, as a user types it. Only in builds with the feature `sim`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::Value;
use std::{
    fs,
    process::{Command, Output},
};
use tempfile::TempDir;

/// A directory to run in.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut muster = Command::new(env!("CARGO_BIN_EXE_muster"));
        muster.current_dir(self.0.path()).arg("sim").args(args).output().unwrap()
    }

    /// The document of a command that succeeds.
    fn json(&self, args: &[&str]) -> Value {
        let said = self.run(&[args, &["--json"]].concat());
        assert!(said.status.success(), "{said:?}");
        serde_json::from_slice(&said.stdout).unwrap()
    }
}

fn stderr(said: &Output) -> String {
    String::from_utf8(said.stderr.clone()).unwrap()
}

#[test]
fn a_plan_in_a_file_runs_as_its_seeds_does_and_another_seed_takes_its_place() {
    let home = Home::new();
    let by_seed = home.json(&["run", "--seed", "7"]);
    assert_eq!((&by_seed["seed"], &by_seed["violations"]), (&7.into(), &Value::Array(vec![])));
    let plan = home.run(&["plan", "--seed", "7"]);
    assert!(plan.status.success(), "{plan:?}");
    fs::write(home.0.path().join("plan.toml"), plan.stdout).unwrap();
    assert_eq!(home.json(&["run", "--plan", "plan.toml"]), by_seed);
    assert_eq!(home.json(&["run", "--seed", "7", "--plan", "plan.toml"]), by_seed);
    let other = home.json(&["run", "--seed", "8", "--plan", "plan.toml"]);
    assert_eq!(other["seed"], 8);
    assert_ne!(other["trace"], by_seed["trace"]);
}

#[test]
fn what_no_plan_is_made_of_is_refused() {
    let home = Home::new();
    fs::write(home.0.path().join("plan.toml"), "seed = \"seven\"").unwrap();
    for (args, word) in [
        (&["run"][..], "--seed"),
        (&["run", "--plan", "nowhere.toml"], "nowhere.toml"),
        (&["run", "--plan", "plan.toml"], "plan.toml is no plan"),
    ] {
        let said = home.run(args);
        assert!(!said.status.success() && stderr(&said).contains(word), "{args:?}: {said:?}");
    }
}

#[test]
fn a_failure_prints_what_shows_it_again() {
    let home = Home::new();
    // The first seeds with a validator that forges blocks, where nobody checks signatures.
    let planted = (0..60).map(|seed: u64| home.json(&["plan", "--seed", &seed.to_string()]));
    let mut planted = planted.filter(|plan| plan["byzantine"].to_string().contains("forge"));
    let failed = planted.find_map(|mut plan| {
        plan["bugs"] = serde_json::json!([{ "bug": "unsigned_blocks" }]);
        fs::write(home.0.path().join("planted.json"), plan.to_string()).unwrap();
        let said = home.run(&["run", "--plan", "planted.json", "--json"]);
        (!said.status.success()).then_some(said)
    });
    let failed = failed.expect("a seed that shows the bug");
    assert_eq!(failed.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&failed.stdout).unwrap();
    assert!(report["violations"].to_string().contains("validity"), "{report}");
    let text = stderr(&failed);
    let command = text.lines().find(|line| line.contains("cargo run")).unwrap();
    let (_, args) = command.split_once("-- sim ").unwrap();
    let args: Vec<&str> = args.split_whitespace().chain(["--json"]).collect();
    let again = home.run(&args);
    assert_eq!((again.status.code(), again.stdout), (Some(1), failed.stdout));
}
