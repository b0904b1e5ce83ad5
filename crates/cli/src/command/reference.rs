//! `muster reference`: the references in `docs/reference/` that this program knows by itself.

use super::Cli;
use crate::printer::Printer;
use clap::{Args, Command, CommandFactory as _, ValueEnum};
use std::fmt::Write as _;

/// Columns of the help: not those of a terminal that happens to be there.
const COLUMNS: usize = 100;

/// Print a generated reference (for internal use).
#[derive(Args)]
#[command(after_help = "Example:\n  muster reference cli")]
pub(crate) struct Reference {
    /// Which one.
    of: Of,
}

#[derive(Clone, Copy, ValueEnum)]
enum Of {
    /// The help of every command, as Markdown.
    Cli,
    /// The HTTP API of a node, as OpenAPI.
    Openapi,
}

impl Reference {
    pub(crate) fn run(self, printer: &Printer) -> anyhow::Result<()> {
        let text = match self.of {
            Of::Cli => commands(),
            Of::Openapi => serde_json::to_string_pretty(&muster_node::openapi())? + "\n",
        };
        printer.raw(&text)
    }
}

fn commands() -> String {
    let mut text =
        "# The commands\n\nWhat `--help` of each says. `cargo xtask references --bless` \
                    writes this page.\n"
            .to_owned();
    render(Cli::command(), "muster", &mut text);
    text
}

/// Appends the help of a command and of those in it, without what stands in the environment and
/// without the options that every command has: they stand with `muster` alone.
fn render(command: Command, path: &str, text: &mut String) {
    let mut command = command
        .bin_name(path)
        .term_width(COLUMNS)
        .disable_help_subcommand(true)
        .mut_args(|argument| argument.hide_env_values(true));
    let help = command.render_long_help().to_string();
    // Writing to a string does not fail.
    let _ = write!(text, "\n## `{path}`\n\n```text\n");
    for line in help.trim_end().lines() {
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text.push_str("```\n");
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        render(inner.clone(), &format!("{path} {}", inner.get_name()), text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_has_every_command_and_nothing_of_this_machine() {
        let text = commands();
        for command in ["muster", "muster node init", "muster wallet new", "muster receipt verify"]
        {
            assert!(text.contains(&format!("\n## `{command}`\n")), "{command}");
        }
        assert!(!text.contains("sandbox-compile"));
        let home = std::env::var("HOME").unwrap_or_default();
        assert!(home.len() < 2 || !text.contains(&home), "names {home}");
        assert!(text.contains("[env: MUSTER_NODE]"));
    }
}
