//! Keep the house in order: `cargo xtask` builds the guests, runs the checks and the tests.
//!
//! | command | what it does |
//! |---|---|
//! | `setup` | makes sure that the tools a build needs are there, or says what to type |
//! | `guests` | compiles `guests/` to WASM and puts the modules into `target/guests/` |
//! | `tidy` | reads the sources: crate levels, purity, links, sizes, style |
//! | `references` | compares, or writes, what is generated in `docs/reference/` |
//! | `test` | builds the guests and runs every test |
//! | `soak` | runs the ledger against its model for longer than the tests do |
//! | `swarm` | simulates validators under one seed after the other on all cores |
//! | `fuzz` | runs the fuzz targets of `fuzz/`, where there is a nightly compiler |
//! | `check` | formatting, lints, `tidy`, licences, generated references, then the tests |
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks")]

mod check;
mod fuzz;
mod guests;
mod references;
mod setup;
mod shell;
mod test;
mod tidy;
mod tools;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// Upkeep of the Muster workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make sure that this machine has what a build needs.
    Setup,
    /// Compile the WASM guests into target/guests/.
    Guests {
        /// The cargo profile to compile them with.
        #[arg(long, default_value = "release")]
        profile: String,
    },
    /// Read the sources and report what is out of order.
    Tidy {
        /// Lower the entries of the ratchet to the present sizes (never raises one).
        #[arg(long)]
        bless: bool,
    },
    /// Compare the generated references in docs/reference/ with what the code says now.
    References {
        /// Write them instead.
        #[arg(long)]
        bless: bool,
    },
    /// Run every check, then the tests.
    Check(check::Options),
    /// Build the guests and run every test.
    Test,
    /// Run the ledger against its model for longer than the tests do.
    Soak {
        /// About how long, on two cores.
        #[arg(long, default_value_t = 10)]
        minutes: u64,
        /// The first seed; the tests begin at 0.
        #[arg(long, default_value_t = 1_000_000)]
        seed: u64,
    },
    /// Simulate validators under one seed after the other, on all cores.
    Swarm {
        /// For how long.
        #[arg(long, default_value_t = 10)]
        minutes: u64,
        /// The first seed; the tests begin at 0.
        #[arg(long, default_value_t = 1_000)]
        seed: u64,
    },
    /// Run the fuzz targets.
    Fuzz {
        /// Only this one.
        target: Option<String>,
        /// How long each runs.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Setup => setup::run(),
        Command::Guests { profile } => guests::run(&profile),
        Command::Tidy { bless } => tidy::run(bless),
        Command::References { bless } => references::run(bless),
        Command::Check(options) => check::run(&options),
        Command::Test => test::run(),
        Command::Soak { minutes, seed } => fuzz::soak(minutes, seed),
        Command::Swarm { minutes, seed } => fuzz::swarm(minutes, seed),
        Command::Fuzz { target, seconds } => {
            fuzz::fuzz(target.as_deref(), Duration::from_secs(seconds))
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
