//! Tools that a check needs and cargo does not bring: installed on demand, each in one pinned
//! version, under `target/tools/`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::shell;

/// A tool from crates.io.
pub(crate) struct Tool {
    name: &'static str,
    version: &'static str,
}

/// Checks licences, bans and sources of the dependency graph.
pub(crate) const CARGO_DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2" };

impl Tool {
    /// The path of the tool's executable, installed first where it is missing or of another
    /// version.
    pub(crate) fn path(&self) -> Result<PathBuf> {
        let tools = shell::root().join("target/tools");
        let executable = tools.join("bin").join(self.name);
        let present = shell::capture(Command::new(&executable).arg("--version"));
        if present.is_ok_and(|text| self.is_version(&text)) {
            return Ok(executable);
        }
        println!("installing {} {} into target/tools (once)", self.name, self.version);
        let mut install = shell::cargo();
        install
            .args(["install", "--locked", "--quiet", "--force", "--root"])
            .arg(&tools)
            .arg(format!("{}@{}", self.name, self.version))
            // It runs for seconds, so that the time to compile it is what counts.
            .envs([
                ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0"),
                ("CARGO_PROFILE_RELEASE_LTO", "off"),
                ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
                ("CARGO_PROFILE_RELEASE_DEBUG", "0"),
            ])
            .env_remove("CARGO_TARGET_DIR");
        shell::stream(&mut install)
            .with_context(|| format!("cannot install {} {}", self.name, self.version))?;
        Ok(executable)
    }

    /// Whether the output of `--version` is that of the pinned version.
    fn is_version(&self, output: &str) -> bool {
        output.split_whitespace().eq([self.name, self.version])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_pinned_version_counts_as_present() {
        assert!(CARGO_DENY.is_version(&format!("cargo-deny {}\n", CARGO_DENY.version)));
        assert!(!CARGO_DENY.is_version("cargo-deny 0.19.0\n"));
        assert!(!CARGO_DENY.is_version(&format!("another-tool {}\n", CARGO_DENY.version)));
        assert!(!CARGO_DENY.is_version(""));
    }
}
