//! What a guest needs besides `std`: its input and output, and the host's matrix products.
//!
//! A guest is a filter: all of stdin in, all of stdout out, a read-only directory `/data`, and a
//! non-zero exit code for input that it refuses. It has no clock, no entropy and no network;
//! `std::collections::HashMap` asks for entropy, so guests use `BTreeMap`.
//!
//! ```no_run
//! fn main() -> std::process::ExitCode {
//!     muster_guest::filter(|input| Ok::<_, std::io::Error>(input.to_ascii_uppercase()))
//! }
//! ```

pub mod chain;
pub mod kernel;

use std::{
    fmt::Display,
    io::{self, Read, Write},
    process::ExitCode,
};

/// The exit code of a guest that refuses its input.
pub const REFUSED: u8 = 2;

/// The exit code of a guest that could not read or write. The host decides this, not the input.
pub const IO_FAILED: u8 = 3;

/// Runs a guest: stdin through `work` to stdout. An error goes to stderr, with exit code
/// [`REFUSED`].
pub fn filter<E: Display>(work: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>) -> ExitCode {
    let mut input = Vec::new();
    if let Err(error) = io::stdin().lock().read_to_end(&mut input) {
        return fail(IO_FAILED, "cannot read stdin", &error);
    }
    let output = match work(&input) {
        Ok(output) => output,
        Err(error) => return fail(REFUSED, "input refused", &error),
    };
    let mut stdout = io::stdout().lock();
    if let Err(error) = stdout.write_all(&output).and_then(|()| stdout.flush()) {
        return fail(IO_FAILED, "cannot write stdout", &error);
    }
    ExitCode::SUCCESS
}

fn fail(code: u8, what: &str, error: &dyn Display) -> ExitCode {
    // A failed write to stderr leaves the exit code to speak.
    let _ = writeln!(io::stderr(), "{what}: {error}");
    ExitCode::from(code)
}
