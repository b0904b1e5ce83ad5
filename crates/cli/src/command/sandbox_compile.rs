//! `muster sandbox-compile`: the compiler's child process.

use clap::Args;

/// Compile a WASM module read from stdin, under limits.
#[derive(Args)]
pub(crate) struct SandboxCompile {}

impl SandboxCompile {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
        Ok(muster_sandbox::compile_child_main(&mut input, &mut output)?)
    }
}
