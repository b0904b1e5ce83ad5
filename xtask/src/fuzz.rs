//! Longer searches than a test run has time for: the ledger's model, the simulator, and the fuzz
//! targets.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::shell;

/// The targets of `fuzz/` that need the pure crates alone.
const PURE: [&str; 6] = ["transaction", "records", "apply", "genesis", "job_file", "services"];

/// The targets of `fuzz/` that need the rooms above them: they take long to build.
const ROOMS: [&str; 4] = ["provider", "receipt", "module", "peer"];

/// Actions that the model goes through in about a minute on two cores.
const ACTIONS_PER_MINUTE: u64 = 500_000;

/// Runs the ledger against its model over more actions, and from another seed, than the tests do.
pub(crate) fn soak(minutes: u64, seed: u64) -> Result<()> {
    let actions = minutes.saturating_mul(ACTIONS_PER_MINUTE);
    println!("soak: {actions} actions from seed {seed}");
    let mut test = shell::cargo();
    test.args(["test", "--locked", "--release", "--package", "muster-ledger", "--test", "it"]);
    test.args(["--", "--nocapture"]);
    test.env("MUSTER_MODEL_ACTIONS", actions.to_string());
    test.env("MUSTER_MODEL_SEED", seed.to_string());
    shell::stream(&mut test)
}

/// Simulates validators under one seed after the other; fails where a seed does.
pub(crate) fn swarm(minutes: u64, seed: u64) -> Result<()> {
    let mut muster = shell::cargo();
    muster.args(["run", "--locked", "--package", "muster-cli", "--features", "sim", "--"]);
    muster.args(["sim", "swarm", "--minutes", &minutes.to_string(), "--seed", &seed.to_string()]);
    shell::stream(&mut muster)
}

/// Runs each fuzz target, or one of them, for so long.
pub(crate) fn fuzz(target: Option<&str>, each: Duration) -> Result<()> {
    if !has("nightly") || shell::capture(nightly().args(["fuzz", "--version"])).is_err() {
        bail!(
            "fuzzing needs a nightly compiler and cargo-fuzz; type:\n  \
             rustup toolchain install nightly --profile minimal\n  \
             cargo install cargo-fuzz --locked"
        );
    }
    let chosen: Vec<&str> = match target {
        None => targets().collect(),
        Some(name) if targets().any(|target| target == name) => vec![name],
        Some(name) => {
            let all: Vec<&str> = targets().collect();
            bail!("no fuzz target `{name}`: choose one of {}", all.join(", "));
        }
    };
    for name in chosen {
        println!("fuzz: {name} for {} s", each.as_secs());
        let limit = format!("-max_total_time={}", each.as_secs());
        let mut run = nightly();
        run.args(["fuzz", "run", "--features", "link"]);
        if ROOMS.contains(&name) {
            run.args(["--features", "rooms"]);
        }
        shell::stream(run.args([name, "--", &limit, "-max_len=4096"]))?;
    }
    Ok(())
}

fn targets() -> impl Iterator<Item = &'static str> {
    PURE.into_iter().chain(ROOMS)
}

/// Whether rustup has a toolchain of this channel.
fn has(channel: &str) -> bool {
    let listed = shell::capture(std::process::Command::new("rustup").args(["toolchain", "list"]));
    listed.is_ok_and(|listed| listed.lines().any(|line| line.starts_with(channel)))
}

/// Cargo of the nightly toolchain, at the root of the checkout.
fn nightly() -> std::process::Command {
    let mut command = std::process::Command::new("rustup");
    command.current_dir(shell::root()).args(["run", "nightly", "cargo"]);
    // The outer cargo's choice of compiler must not reach the inner one.
    for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(name);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_targets_are_those_of_the_fuzz_folder() {
        let folder = shell::root().join("fuzz/fuzz_targets");
        let mut found: Vec<String> = std::fs::read_dir(folder)
            .expect("the folder is part of the checkout")
            .map(|entry| entry.expect("readable").path())
            .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
            .collect();
        found.sort();
        let mut listed: Vec<&str> = targets().collect();
        listed.sort_unstable();
        assert_eq!(found, listed);
    }

    #[test]
    fn an_unknown_target_is_named_with_those_that_there_are() {
        if !has("nightly") {
            println!("skipped: no nightly toolchain");
            return;
        }
        let error = fuzz(Some("nothing"), Duration::from_secs(1)).expect_err("no such target");
        let text = error.to_string();
        assert!(text.contains("nothing") && text.contains("apply") || text.contains("cargo-fuzz"));
    }
}
