//! The one binary, `muster`: one file a subcommand, one printer, and what starts the roles.

mod command;
mod diagnostic;
mod error;
mod files;
mod follow;
mod keyfile;
mod network;
mod printer;

use clap::Parser;
use command::Cli;
use error::Status;
use std::process::ExitCode;
use tikv_jemallocator::Jemalloc;

/// Blocks are small records in large maps, read and written by several threads: see
/// `muster bench ledger`. It maps memory as it needs it, so that the compiler's child can limit its
/// address space.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let printer = printer::Printer::new(cli.global.json);
    // The compiler's child limits its own memory, and a container's shim stays small: they must not
    // start threads first.
    match cli.command {
        command::Command::SandboxCompile(compile) => {
            return match compile.run() {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => printer.fail(&error),
            };
        }
        command::Command::ContainerShim(shim) => return shim.run(),
        _ => {}
    }
    start_logging();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return printer.fail(&anyhow::Error::new(error).context("cannot start threads"));
        }
    };
    let result = runtime.block_on(cli.command.run(&cli.global, &printer));
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => match error.downcast_ref::<Status>() {
            Some(status) => ExitCode::from(status.0),
            None => printer.fail(&error),
        },
    }
}

/// Logs go to stderr, and only where `MUSTER_LOG` asks for them (`info`, `muster_agent=debug`).
fn start_logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("MUSTER_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("off"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
