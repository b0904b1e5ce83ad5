//! `muster node run`: a validator, or a node that follows.

use super::settings::Settings;
use crate::{
    command::interrupted,
    keyfile, network,
    printer::{Printer, facts},
};
use clap::Args;
use muster_node::{Node, NodeConfig};
use muster_sandbox::{CompileLimits, Compiler};
use muster_types::{AccountId, Hash};
use serde::Serialize;
use std::{path::PathBuf, sync::Arc};

/// Run a node until interrupted.
///
/// It votes while its key is among the ledger's validators, and follows otherwise. Killed at any
/// moment, it goes on where it was when started again.
#[derive(Args)]
#[command(after_help = "Example:\n  muster node run --config ./ann/node.toml")]
pub(super) struct Run {
    /// The node's settings.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// End when the process that started this one ends.
    #[arg(long, hide = true)]
    end_with_parent: bool,
}

#[derive(Serialize)]
struct Started {
    account: AccountId,
    chain: Hash,
    height: u64,
    validator: bool,
    api: String,
}

impl Run {
    pub(super) async fn run(self, printer: &Printer) -> anyhow::Result<()> {
        if self.end_with_parent {
            let kill = rustix::process::Signal::KILL;
            rustix::process::set_parent_process_death_signal(Some(kill))?;
        }
        let settings = Settings::read(&self.config)?;
        let key = keyfile::load(&settings.key())?;
        let genesis = network::read_genesis(&settings.genesis())?;
        let (account, chain) = (key.account(), genesis.id());
        let compiler = Compiler::new(network::compiler_child()?, CompileLimits::default())?;
        let node = Node::start(NodeConfig {
            dir: settings.dir(),
            key,
            genesis,
            network: settings.network()?,
            state_sync: settings.state_sync,
            unused_key: Some(settings.unused_key()),
            anchor: settings.anchor()?,
            http: settings.api,
            fabric: settings.fabric,
            compiler: Arc::new(compiler),
        })
        .await?;
        let (height, validator) = node.consensus().read(|state, head| {
            (head.height, muster_ledger::view::validators(state).contains(&account))
        });
        let started = Started { account, chain, height, validator, api: node.url() };
        printer.data(&started, |started| {
            let role = if started.validator { "validator" } else { "follows, without a vote" };
            facts([
                ("account", started.account.to_string()),
                ("chain", started.chain.to_string()),
                ("height", started.height.to_string()),
                ("role", role.to_owned()),
                ("api", started.api.clone()),
            ])
        })?;
        printer.note("up; Ctrl-C stops it");
        let end = tokio::select! {
            error = node.failed() => Err(error.into()),
            result = interrupted() => result,
        };
        printer.note("stopping");
        let stopped = node.stop().await;
        end?;
        Ok(stopped?)
    }
}
