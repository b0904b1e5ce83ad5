//! Keep the house in order: `cargo xtask` builds the guests, runs the checks and the tests.
//!
//! | command | what it does |
//! |---|---|
//! | `setup` | makes sure that the tools a build needs are there, or says what to type |
//! | `guests` | compiles `guests/` to WASM and puts the modules into `target/guests/` |
//! | `tidy` | reads the sources: crate levels, purity, links, sizes, style |
//! | `test` | builds the guests and runs every test |
//! | `check` | formatting, lints, `tidy`, licences, generated references, then the tests |
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks")]

mod check;
mod guests;
mod setup;
mod shell;
mod test;
mod tidy;
mod tools;

use std::process::ExitCode;

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
    /// Run every check, then the tests.
    Check(check::Options),
    /// Build the guests and run every test.
    Test,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Setup => setup::run(),
        Command::Guests { profile } => guests::run(&profile),
        Command::Tidy { bless } => tidy::run(bless),
        Command::Check(options) => check::run(&options),
        Command::Test => test::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
