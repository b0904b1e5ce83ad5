//! Every check in order, each under its heading, then the tests.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{guests, references, setup, shell, test, tidy, tools};

/// What to leave out.
#[derive(Args)]
pub(crate) struct Options {
    /// Stop before the tests (for a caller that runs them next).
    #[arg(long)]
    no_tests: bool,
    /// Do not ask for the advisory database (for a caller without the internet).
    #[arg(long)]
    no_advisories: bool,
}

/// Where the advisory database is fetched from.
const ADVISORIES: &str = "https://github.com/rustsec/advisory-db";

/// How long the advisory database may take to answer.
const ADVISORIES_TIMEOUT: Duration = Duration::from_secs(15);

/// Runs the checks; the tests run only when every check passed.
pub(crate) fn run(options: &Options) -> Result<()> {
    let start = Instant::now();
    setup::run()?;
    let mut failed = Vec::new();
    let mut step = |name: &'static str, check: &dyn Fn() -> Result<()>| {
        println!("\n== {name}");
        let start = Instant::now();
        let result = check();
        let seconds = start.elapsed().as_secs_f32();
        match result {
            Ok(()) => println!("== {name}: passed in {seconds:.1} s"),
            Err(error) => {
                println!("{error:#}\n== {name}: FAILED after {seconds:.1} s");
                failed.push(name);
            }
        }
    };
    step("format", &format);
    step("tidy", &|| tidy::run(false));
    step("guests", &|| guests::run("release"));
    step("lints", &lints);
    step("docs", &docs);
    step("licences, bans, sources", &|| deny(&["licenses", "bans", "sources"]));
    step("advisories", &|| advisories(options));
    step("references", &|| references::run(false));
    if !options.no_tests && failed.is_empty() {
        println!("\n== tests");
        test::run()?;
    }
    let seconds = start.elapsed().as_secs();
    if !failed.is_empty() {
        bail!("after {seconds} s, these checks failed: {}", failed.join("; "));
    }
    println!("\nevery check passed in {seconds} s");
    Ok(())
}

/// Whether the guests are part of this checkout; they are a workspace of their own.
fn has_guests() -> bool {
    shell::root().join("guests/Cargo.toml").is_file()
}

fn format() -> Result<()> {
    shell::stream(shell::cargo().args(["fmt", "--all", "--check"]))?;
    if has_guests() {
        let manifest = ["--manifest-path", "guests/Cargo.toml"];
        shell::stream(shell::cargo().args(["fmt", "--all", "--check"]).args(manifest))?;
    }
    Ok(())
}

fn lints() -> Result<()> {
    // Apart, for the reasons given at `test::run`.
    for selection in [
        &[
            "--workspace",
            "--features",
            "muster-fuzz/rooms",
            "--exclude",
            "xtask",
            "--exclude",
            "muster-sim",
        ][..],
        &["--package", "muster-sim", "--package", "muster-cli", "--features", "muster-cli/sim"],
        &["--package", "xtask"],
    ] {
        let mut clippy = shell::cargo();
        clippy.args(["clippy", "--locked", "--all-targets"]).args(selection);
        shell::stream(clippy.args(["--", "-D", "warnings"]))?;
    }
    if has_guests() {
        let mut clippy = shell::cargo();
        clippy
            .current_dir(shell::root().join("guests"))
            .env("CARGO_TARGET_DIR", shell::root().join(guests::BUILD))
            .args([
                "clippy",
                "--locked",
                "--workspace",
                "--all-targets",
                "--target",
                guests::TARGET,
            ]);
        shell::stream(clippy.args(["--", "-D", "warnings"]))?;
    }
    Ok(())
}

/// Builds our pages of documentation: links between items must resolve.
fn docs() -> Result<()> {
    let mut doc = shell::cargo();
    doc.args(["doc", "--locked", "--quiet", "--workspace", "--exclude", "xtask", "--no-deps"])
        .env("RUSTDOCFLAGS", "-D rustdoc::broken_intra_doc_links");
    shell::stream(&mut doc)
}

fn deny(checks: &[&str]) -> Result<()> {
    let deny = tools::CARGO_DENY.path()?;
    let mut manifests = vec!["Cargo.toml"];
    if has_guests() {
        manifests.push("guests/Cargo.toml");
    }
    for manifest in manifests {
        let mut command = Command::new(&deny);
        command
            .current_dir(shell::root())
            .args(["--manifest-path", manifest, "--locked", "--config", "deny.toml"])
            .args(["check", "--hide-inclusion-graph"])
            .args(checks);
        shell::stream(&mut command)?;
    }
    Ok(())
}

fn advisories(options: &Options) -> Result<()> {
    if options.no_advisories {
        println!("not checked: --no-advisories");
        return Ok(());
    }
    let mut ask = Command::new("git");
    ask.args(["ls-remote", "--exit-code", ADVISORIES, "HEAD"]).env("GIT_TERMINAL_PROMPT", "0");
    if !answers_within(&mut ask, ADVISORIES_TIMEOUT)? {
        println!("not checked: the database at {ADVISORIES} cannot be reached from here");
        return Ok(());
    }
    deny(&["advisories"])
}

/// Whether a command ends well within a time; it is killed after that.
fn answers_within(command: &mut Command, limit: Duration) -> Result<bool> {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = quiet.spawn().context("cannot start git")?;
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        if Instant::now() >= end {
            child.kill()?;
            child.wait()?;
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_refuses_or_does_not_answer_counts_as_out_of_reach() {
        let long = Duration::from_secs(60);
        assert!(answers_within(&mut Command::new("true"), long).unwrap());
        assert!(!answers_within(&mut Command::new("false"), long).unwrap());
        let short = Duration::from_millis(50);
        assert!(!answers_within(Command::new("sleep").arg("60"), short).unwrap());
    }
}
