//! Make sure that this machine has what a build needs beyond cargo itself.
//!
//! The list is short on purpose: no cmake, no clang, no protoc. The C parts of the dependencies
//! (aws-lc, blst, ring, zstd) ship what they need and compile with any C compiler.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{guests, shell};

/// Checks the tools; adds the WASM target where rustup can, and iproute2 where apt-get can.
pub(crate) fn run() -> Result<()> {
    c_compiler()?;
    wasm_target()?;
    iproute2();
    Ok(())
}

/// One test makes network namespaces with it; without it that test is skipped.
fn iproute2() {
    let is_there = |program| shell::capture(Command::new(program).arg("-V")).is_ok();
    if is_there("ip") && is_there("tc") {
        return;
    }
    // Where there is no apt-get, or it may not, there is nothing to do.
    let mut install = Command::new("apt-get");
    if shell::capture(install.args(["install", "--yes", "iproute2"])).is_err() {
        eprintln!(
            "note: without iproute2 the test of validators on several hosts is skipped. On Debian \
             or Ubuntu type, as root:\n    apt-get install --yes iproute2"
        );
    }
}

fn c_compiler() -> Result<()> {
    let program = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    if shell::capture(Command::new(&program).arg("--version")).is_err() {
        bail!(
            "there is no C compiler ({}). On Debian or Ubuntu type, as root:\n    \
             apt-get install --yes gcc libc6-dev",
            program.display()
        );
    }
    Ok(())
}

fn wasm_target() -> Result<()> {
    let sysroot = shell::capture(Command::new("rustc").args(["--print", "sysroot"]))
        .context("the Rust toolchain of rust-toolchain.toml is not usable")?;
    if has_target(Path::new(sysroot.trim()), guests::TARGET) {
        return Ok(());
    }
    let mut add = Command::new("rustup");
    add.current_dir(shell::root()).args(["target", "add", guests::TARGET]);
    shell::stream(&mut add).with_context(|| {
        format!(
            "the Rust target {0} is missing and could not be added. With rustup type:\n    \
             rustup target add {0}",
            guests::TARGET
        )
    })
}

/// Whether a toolchain has the standard library of a target.
fn has_target(sysroot: &Path, target: &str) -> bool {
    sysroot.join("lib/rustlib").join(target).join("lib").is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_there_when_its_standard_library_is() {
        let sysroot = tempfile::tempdir().unwrap();
        assert!(!has_target(sysroot.path(), guests::TARGET));
        let folder = sysroot.path().join("lib/rustlib").join(guests::TARGET).join("lib");
        std::fs::create_dir_all(folder).unwrap();
        assert!(has_target(sysroot.path(), guests::TARGET));
    }
}
