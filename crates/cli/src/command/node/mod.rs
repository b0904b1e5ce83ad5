//! `muster node`: be part of the ledger's network, as a validator or following it.

mod init;
mod run;
mod settings;

pub(crate) use settings::unused_mark;

use super::Global;
use crate::printer::Printer;
use clap::{Args, Subcommand};

/// Be part of the ledger's network: vote on its blocks, or follow them.
#[derive(Args)]
#[command(after_help = "Example:\n  muster node init --dir ./ann --p2p 127.0.0.1:8640\n  \
    muster node run --config ./ann/node.toml")]
pub(crate) struct Node {
    #[command(subcommand)]
    command: NodeCommand,
}

#[derive(Subcommand)]
enum NodeCommand {
    /// Make a key, a genesis and settings for a node.
    Init(init::Init),
    /// Run a node until interrupted.
    Run(run::Run),
}

impl Node {
    pub(crate) async fn run(self, _: &Global, printer: &Printer) -> anyhow::Result<()> {
        match self.command {
            NodeCommand::Init(init) => init.run(printer),
            NodeCommand::Run(run) => run.run(printer).await,
        }
    }
}
