//! `muster provider`: offer this machine.

use super::{Global, containers::ContainerArgs};
use crate::{
    keyfile, network,
    printer::{Printer, facts},
};
use clap::{Args, Subcommand};
use muster_agent::{Agent, HostConfig, SimulatedFault};
use muster_market::{GIB, Prices};
use muster_types::{AccountId, Amount, Rate, Resources};
use serde::Serialize;
use std::{net::SocketAddr, path::PathBuf};

/// Offer this machine.
#[derive(Args)]
#[command(after_help = "Example:\n  muster provider run --name attic --cpu 4 --cpu-price 0.018")]
pub(crate) struct Provider {
    #[command(subcommand)]
    command: ProviderCommand,
}

#[derive(Subcommand)]
enum ProviderCommand {
    /// Register, offer a host, and serve leases until interrupted.
    Run(Box<Run>),
}

/// Register, offer a host, and serve leases until interrupted.
#[derive(Args)]
#[command(after_help = "Example:\n  muster provider run --name attic --region eu-central \\\n    \
    --cpu 4 --memory-gib 8 --cpu-price 0.018 --bond 20\n  \
    sudo muster provider run --containers --container-egress open")]
struct Run {
    /// Where the provider keeps its journal [default: ~/.local/share/muster/provider].
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Shown to tenants.
    #[arg(long, default_value = "unnamed")]
    name: String,
    /// Where this machine stands, e.g. `eu-central`.
    #[arg(long, default_value = "unknown")]
    region: String,
    /// CPU threads on offer.
    #[arg(long, default_value_t = 1)]
    cpu: u64,
    /// Memory on offer, GiB.
    #[arg(long, default_value_t = 1)]
    memory_gib: u64,
    /// Disk on offer, GiB.
    #[arg(long, default_value_t = 8)]
    disk_gib: u64,
    /// Bandwidth on offer, Mbit/s.
    #[arg(long, default_value_t = 1_000)]
    bandwidth_mbps: u64,
    /// Price of one CPU thread, usd per hour.
    #[arg(long, default_value = "0.02")]
    cpu_price: Rate,
    /// Price of one GiB of memory, usd per hour.
    #[arg(long, default_value = "0.002")]
    memory_price: Rate,
    /// Price of one GiB of disk, usd per hour.
    #[arg(long, default_value = "0.00005")]
    disk_price: Rate,
    /// The bond to hold, usd. It is what you can lose by breaking leases.
    #[arg(long, default_value = "20")]
    bond: Amount,
    /// Where the fabric endpoint listens (UDP).
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    #[command(flatten)]
    containers: ContainerArgs,
    /// Simulate a liar, for demonstrations: spoil every N-th task's output before signing it.
    #[arg(long, hide = true, value_name = "N")]
    simulate_wrong_output_every: Option<u32>,
    /// End when the process that started this one ends.
    #[arg(long, hide = true)]
    end_with_parent: bool,
}

#[derive(Serialize)]
struct Started {
    provider: AccountId,
    node: String,
    bond_usd: Amount,
}

impl Provider {
    pub(crate) async fn run(self, global: &Global, printer: &Printer) -> anyhow::Result<()> {
        match self.command {
            ProviderCommand::Run(run) => run.run(global, printer).await,
        }
    }
}

impl Run {
    async fn run(self, global: &Global, printer: &Printer) -> anyhow::Result<()> {
        if self.end_with_parent {
            let term = rustix::process::Signal::TERM;
            rustix::process::set_parent_process_death_signal(Some(term))?;
        }
        let key = keyfile::load(&global.key_path()?)?;
        let started =
            Started { provider: key.account(), node: global.node.clone(), bond_usd: self.bond };
        let dir = match &self.dir {
            Some(dir) => dir.clone(),
            None => super::data_dir()?.join("provider"),
        };
        let host = self.host();
        let services = self.containers.config(&key.account(), 0)?;
        let mut config = network::agent_config(dir, key, global.node.clone())?;
        config.name = self.name;
        config.region = self.region;
        config.bind = self.listen;
        config.bond = self.bond;
        config.hosts = vec![host];
        config.services = services;
        config.simulated_fault =
            self.simulate_wrong_output_every.map(|every| SimulatedFault::WrongOutput { every });
        let agent = Agent::start(config).await?;
        printer.data(&started, |started| {
            facts([
                ("provider", started.provider.to_string()),
                ("node", started.node.clone()),
                ("bond", format!("{} usd", started.bond_usd)),
            ])
        })?;
        printer.note("serving; Ctrl-C stops");
        tokio::select! {
            error = agent.failed() => return Err(error.into()),
            result = super::interrupted() => result?,
        }
        agent.stop().await;
        Ok(())
    }

    fn host(&self) -> HostConfig {
        HostConfig {
            capacity: Resources {
                cpu_milli: self.cpu.saturating_mul(1_000),
                memory_bytes: self.memory_gib.saturating_mul(GIB),
                disk_bytes: self.disk_gib.saturating_mul(GIB),
                bandwidth_bps: self.bandwidth_mbps.saturating_mul(1_000_000),
                gpus: Vec::new(),
            },
            prices: Prices {
                cpu: self.cpu_price,
                memory_gib: self.memory_price,
                disk_gib: self.disk_price,
                gpu: Rate::ZERO,
            },
        }
    }
}
