//! The containers' shim as a program of its own, for tests of this room. The `muster` program
//! starts itself instead.

use std::{path::Path, process::ExitCode};

fn main() -> ExitCode {
    let request = std::env::args_os().next_back().unwrap_or_default();
    muster_sandbox::oci::container::shim_main(Path::new(&request))
}
