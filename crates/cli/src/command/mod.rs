//! The subcommands: one file each, all with the same shape: arguments, then `run`.

mod bench;
mod close;
mod completions;
mod concentration;
mod container_shim;
mod containers;
mod cp;
mod demo;
mod deploy;
mod deployment;
mod dev;
mod exec;
mod forward;
mod genesis;
mod logs;
mod node;
mod provider;
mod ps;
mod quote;
mod receipt;
mod reference;
mod run;
mod sandbox_compile;
mod sdl;
#[cfg(feature = "sim")]
mod sim;
mod stake;
mod update;
mod vote;
mod wallet;

use crate::{
    error::{Exit, Failure},
    keyfile,
    printer::Printer,
};
use clap::{Args, Parser, Subcommand};
use muster_api::{Client, Wallet};
use muster_types::{AccountId, Amount};
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};

const AFTER_HELP: &str = "\
Exit status: 0 done · 1 failed · 2 bad input · 3 no node answers · 4 no host matches · 5 no funds

Example:
  muster dev &                          # a whole network on this machine
  muster quote examples/hello/hello.toml  # what would it cost, and who could run it
  muster run examples/hello/hello.toml    # run it";

/// The open compute network for AI: rent machines by the second, get results that were checked.
#[derive(Parser)]
#[command(name = "muster", version, after_help = AFTER_HELP, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command understands.
#[derive(Args, Clone)]
pub(crate) struct Global {
    /// Print one JSON document on stdout instead of text.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// The node to talk to.
    #[arg(
        long,
        global = true,
        env = "MUSTER_NODE",
        value_name = "URL",
        default_value = "http://127.0.0.1:8642"
    )]
    pub(crate) node: String,
    /// The key file to act with [default: ~/.config/muster/key.json].
    #[arg(long, global = true, env = "MUSTER_KEY", value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// Act for this account, which has delegated to the key [default: the key's own].
    #[arg(long, global = true, env = "MUSTER_ACCOUNT", value_name = "ACCOUNT")]
    pub(crate) account: Option<AccountId>,
    /// Write the action to this file for the account's members to sign, instead of acting.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) draft: Option<PathBuf>,
    /// Pay so much usd on top of the fee, for each transaction, to go before those that pay less.
    #[arg(long, global = true, value_name = "USD", default_value_t)]
    pub(crate) tip: Amount,
}

impl Global {
    /// The client of the chosen node.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::new(&self.node)?)
    }

    /// The key file's path.
    pub(crate) fn key_path(&self) -> anyhow::Result<PathBuf> {
        self.key.clone().map_or_else(keyfile::default_path, Ok)
    }

    /// The account that acts.
    pub(crate) fn account(&self) -> anyhow::Result<AccountId> {
        self.account.map_or_else(|| Ok(keyfile::load(&self.key_path()?)?.account()), Ok)
    }

    /// A wallet with the chosen key on the chosen node, for the chosen account.
    pub(crate) async fn wallet(&self) -> anyhow::Result<Wallet> {
        let key = keyfile::load(&self.key_path()?)?;
        let account = self.account.unwrap_or_else(|| key.account());
        Ok(Wallet::acting_for(self.client()?, key, account).await?.tipping(self.tip))
    }
}

/// Where things are kept that the user did not name a place for.
pub(crate) fn data_dir() -> anyhow::Result<PathBuf> {
    let home = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).or_else(|| {
        std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local").join("share"))
    });
    let home = home.ok_or_else(|| {
        Failure::error(Exit::BadInput, "neither HOME nor XDG_DATA_HOME is set", "export HOME=…")
    })?;
    Ok(home.join("muster"))
}

/// The source tree that this program was built from: where examples and guests are.
pub(crate) fn source_dir() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Resolves when the user or the system asks this process to end.
pub(crate) async fn interrupted() -> anyhow::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => Ok(result?),
        _ = term.recv() => Ok(()),
    }
}

/// What to do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run two real AI jobs through a whole network on this machine.
    Demo(demo::Demo),
    /// Start a whole network in this process and keep it up.
    Dev(dev::Dev),
    /// Say what a job would cost now, who could run it, and what excludes the others.
    Quote(quote::Quote),
    /// Run a job: order, lease, run, verify, pay.
    Run(run::Run),
    /// Check files of services in containers, or make one of a docker-compose file.
    Sdl(sdl::Sdl),
    /// Run services in containers: order, lease, deliver, wait until they serve.
    Deploy(deploy::Deploy),
    /// Change what a deployment runs, in place.
    Update(update::Update),
    /// Show what services print.
    Logs(logs::Logs),
    /// Run a command in a running container; its exit status is the command's.
    Exec(exec::Exec),
    /// Copy files into a running container, or out of it.
    Cp(cp::Cp),
    /// Reach a TCP port of a service from this machine; the provider needs no open port for it.
    Forward(forward::Forward),
    /// End a deployment: its leases are closed, and what is left of its money comes back.
    Close(close::Close),
    /// List your jobs, deployments and leases.
    Ps(ps::Ps),
    /// Make keys, look at balances, send money.
    Wallet(wallet::Wallet),
    /// Validate, delegate, and take stake back.
    Stake(stake::Stake),
    /// Propose parameters and vote on them.
    Vote(vote::Vote),
    /// Show how far the market is in few hands.
    Concentration(concentration::Concentration),
    /// Look at a job's receipt, or check it without asking anybody.
    Receipt(receipt::Receipt),
    /// Offer this machine.
    Provider(provider::Provider),
    /// Be part of the ledger's network: vote on its blocks, or follow them.
    Node(node::Node),
    /// Assemble one genesis of several validators' genesis files.
    Genesis(genesis::GenesisCommand),
    /// Measure, against a baseline in the same run.
    Bench(bench::Bench),
    /// Simulate validators, their network, disks and crashes.
    #[cfg(feature = "sim")]
    Sim(sim::Sim),
    /// Print the completion script of a shell.
    Completions(completions::Completions),
    /// Print a generated reference (for internal use).
    #[command(hide = true)]
    Reference(reference::Reference),
    /// Compile a WASM module read from stdin, under limits (for internal use).
    #[command(hide = true)]
    SandboxCompile(sandbox_compile::SandboxCompile),
    /// Watch over a container (for internal use).
    #[command(hide = true)]
    ContainerShim(container_shim::ContainerShim),
}

impl Command {
    /// Runs the command.
    pub(crate) async fn run(self, global: &Global, printer: &Printer) -> anyhow::Result<()> {
        let one_action = matches!(self, Self::Wallet(_) | Self::Stake(_) | Self::Vote(_));
        if global.draft.is_some() && !one_action {
            let message = "this command is more than one action: it cannot be drafted";
            let hint = "muster wallet grant --help   # a key that may do this for the account";
            return Err(Failure::error(Exit::BadInput, message, hint));
        }
        match self {
            Self::Demo(command) => command.run(printer).await,
            Self::Dev(command) => command.run(printer).await,
            Self::Quote(command) => command.run(global, printer).await,
            Self::Run(command) => command.run(global, printer).await,
            Self::Sdl(command) => command.run(printer),
            Self::Deploy(command) => command.run(global, printer).await,
            Self::Update(command) => command.run(global, printer).await,
            Self::Logs(command) => command.run(global, printer).await,
            Self::Exec(command) => command.run(global, printer).await,
            Self::Cp(command) => command.run(global, printer).await,
            Self::Forward(command) => command.run(global, printer).await,
            Self::Close(command) => command.run(global, printer).await,
            Self::Ps(command) => command.run(global, printer).await,
            Self::Wallet(command) => command.run(global, printer).await,
            Self::Stake(command) => command.run(global, printer).await,
            Self::Vote(command) => command.run(global, printer).await,
            Self::Concentration(command) => command.run(global, printer).await,
            Self::Receipt(command) => command.run(global, printer).await,
            Self::Provider(command) => command.run(global, printer).await,
            Self::Node(command) => command.run(global, printer).await,
            Self::Genesis(command) => command.run(printer),
            Self::Bench(command) => command.run(printer).await,
            #[cfg(feature = "sim")]
            Self::Sim(command) => command.run(printer),
            Self::Completions(command) => command.run(printer),
            Self::Reference(command) => command.run(printer),
            Self::SandboxCompile(command) => command.run(),
            // `main` runs it before there are threads.
            Self::ContainerShim(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Cli;
    use clap::{Command, CommandFactory as _};

    fn without_example(command: &Command, path: &str, found: &mut Vec<String>) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        if !help.contains("Example:\n  ") {
            found.push(path.to_owned());
        }
        for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
            without_example(inner, &format!("{path} {}", inner.get_name()), found);
        }
    }

    fn clashing(command: &Command, globals: &[&str], path: &str, found: &mut Vec<String>) {
        for inner in command.get_subcommands() {
            let path = format!("{path} {}", inner.get_name());
            let ids = inner.get_arguments().map(|argument| argument.get_id().as_str());
            found.extend(ids.filter(|id| globals.contains(id)).map(|id| format!("{path}: {id}")));
            clashing(inner, globals, &path, found);
        }
    }

    #[test]
    fn no_argument_has_the_name_of_one_that_every_command_understands() {
        let command = Cli::command();
        let globals: Vec<_> = command.get_arguments().map(|one| one.get_id().as_str()).collect();
        assert!(globals.contains(&"account") && globals.contains(&"key"));
        let mut found = Vec::new();
        clashing(&command, &globals, "muster", &mut found);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn the_help_of_every_command_has_an_example() {
        let command = Cli::command();
        command.clone().debug_assert();
        let mut found = Vec::new();
        without_example(&command, "muster", &mut found);
        assert_eq!(found, Vec::<String>::new());
    }
}
