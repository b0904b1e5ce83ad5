//! `muster completions`: a shell's completion script.

use super::Cli;
use crate::printer::Printer;
use clap::{Args, CommandFactory as _};

/// Print the completion script of a shell.
#[derive(Args)]
#[command(after_help = "Example:\n  muster completions bash > /etc/bash_completion.d/muster")]
pub(crate) struct Completions {
    /// Which shell.
    shell: clap_complete::Shell,
}

impl Completions {
    pub(crate) fn run(self, printer: &Printer) -> anyhow::Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "muster", &mut script);
        let script = String::from_utf8(script)?;
        if printer.is_json() {
            return printer.data(&serde_json::json!({ "script": script }), |_| String::new());
        }
        printer.raw(&script)
    }
}
