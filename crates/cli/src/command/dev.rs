//! `muster dev`: a whole network in this process.

use super::{containers::ContainerArgs, data_dir, interrupted};
use crate::{
    keyfile,
    network::{self, Home, ProviderPlan},
    printer::{Printer, facts, table},
};
use clap::Args;
use muster_agent::Agent;
use muster_ledger::Params;
use muster_types::{AccountId, Amount, Hash};
use serde::Serialize;
use std::{net::SocketAddr, path::PathBuf};

/// The bond that each provider holds.
const BOND: Amount = Amount::from_units(50);

/// Start a whole network in this process and keep it up.
///
/// One validator, providers at different prices and a funded tenant. Started again on the same
/// directory it goes on where it was.
#[derive(Args)]
#[command(after_help = "Example:\n  muster dev --dir ./devnet --providers 3")]
pub(crate) struct Dev {
    /// Where everything is kept [default: ~/.local/share/muster/dev].
    #[arg(long)]
    dir: Option<PathBuf>,
    /// How many providers; settled when the directory is made.
    #[arg(long, default_value_t = 4)]
    providers: usize,
    /// Where the API listens.
    #[arg(long, default_value = "127.0.0.1:8642")]
    listen: SocketAddr,
    #[command(flatten)]
    containers: ContainerArgs,
}

#[derive(Serialize)]
struct Started {
    api: String,
    chain: Hash,
    height: u64,
    dir: PathBuf,
    tenant: Key,
    providers: Vec<Key>,
}

#[derive(Serialize)]
struct Key {
    account: AccountId,
    key_file: PathBuf,
    usd: Amount,
}

impl Dev {
    pub(crate) async fn run(self, printer: &Printer) -> anyhow::Result<()> {
        let dir = match self.dir {
            Some(dir) => dir,
            None => data_dir()?.join("dev"),
        };
        let home = Home::open_or_create(&dir, self.providers, Params::default())?;
        let node = home.start_node(self.listen).await?;
        let result = serve(&home, &node, printer, &dir, &self.containers).await;
        printer.note("stopping");
        node.stop().await?;
        result
    }
}

async fn serve(
    home: &Home,
    node: &muster_node::Node,
    printer: &Printer,
    dir: &std::path::Path,
    containers: &ContainerArgs,
) -> anyhow::Result<()> {
    let client = muster_api::Client::new(&node.url())?;
    let mut agents = Vec::new();
    let mut providers = Vec::new();
    for index in (0..).take_while(|&index| home.provider_key_path(index).exists()) {
        let plan = ProviderPlan::of(index);
        let key = keyfile::load(&home.provider_key_path(index))?;
        let account = key.account();
        let dir = home.provider_dir(index);
        let mut config = network::agent_config(dir, key, node.url())?;
        config.services = containers.config(&account, index)?;
        config.name = plan.name.to_owned();
        config.region = plan.region.to_owned();
        config.bond = BOND;
        config.hosts = vec![plan.host()];
        agents.push(Agent::start(config).await?);
        let usd = client.account(&account).await?.unwrap_or_default().usd;
        providers.push(Key { account, key_file: home.provider_key_path(index), usd });
    }
    let status = client.status().await?;
    let tenant_key = home.tenant_key_path();
    let tenant = keyfile::load(&tenant_key)?.account();
    let usd = client.account(&tenant).await?.unwrap_or_default().usd;
    let started = Started {
        api: node.url(),
        chain: status.chain,
        height: status.height,
        dir: dir.to_owned(),
        tenant: Key { account: tenant, key_file: tenant_key, usd },
        providers,
    };
    printer.data(&started, render)?;
    printer.note("up; Ctrl-C stops it");
    let agent_failed = async {
        match agents.is_empty() {
            true => std::future::pending().await,
            false => {
                let all = agents.iter().map(|agent| Box::pin(agent.failed()));
                futures::future::select_all(all).await.0
            }
        }
    };
    tokio::select! {
        error = node.failed() => return Err(error.into()),
        error = agent_failed => return Err(error.into()),
        result = interrupted() => result?,
    }
    for agent in &agents {
        agent.stop().await;
    }
    Ok(())
}

fn render(started: &Started) -> String {
    let mut text = facts([
        ("api", format!("{}   (/openapi.json, /v1/status)", started.api)),
        ("chain", started.chain.to_string()),
        ("height", started.height.to_string()),
        ("directory", started.dir.display().to_string()),
    ]);
    let row = |role: String, key: &Key| {
        [role, key.account.short(), key.usd.to_string(), key.key_file.display().to_string()]
    };
    let tenant = std::iter::once(row("tenant".to_owned(), &started.tenant));
    let providers = started
        .providers
        .iter()
        .enumerate()
        .map(|(index, key)| row(ProviderPlan::of(index).name.to_owned(), key));
    text.push('\n');
    text.push_str(&table(["ROLE", "ACCOUNT", "USD", "KEY FILE"], tenant.chain(providers)));
    text.push_str(&format!(
        "\nIn another terminal:\n  export MUSTER_NODE={} MUSTER_KEY={}\n  muster run \
         examples/hello/hello.toml\n",
        started.api,
        started.tenant.key_file.display()
    ));
    text
}
