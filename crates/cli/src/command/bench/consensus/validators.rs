//! Validators, each a process of this very program, and their files.

use super::{relay::Relay, timing};
use crate::{command::node::unused_mark, keyfile, network};
use anyhow::Context as _;
use muster_api::Client;
use muster_ledger::Genesis;
use muster_types::{Amount, SecretKey};
use serde::Deserialize;
use std::{
    fmt::Write as _,
    fs::File,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

/// Ticks of a second in `/proc/PID/stat`, on every Linux that Rust supports.
const TICKS: u64 = 100;
/// How long a node has to stop.
const STOP: Duration = Duration::from_secs(10);

/// The files of a network: validators, and after them nodes that follow.
pub(super) struct Validators {
    dir: TempDir,
    keys: Vec<SecretKey>,
    _relays: Vec<Relay>,
}

impl Validators {
    /// Makes the files of `votes` validators, and of `others` that the first one lets in. With a
    /// delay everything between two of them takes that long.
    pub(super) async fn new(
        votes: usize,
        others: usize,
        delay: Option<Duration>,
    ) -> anyhow::Result<Self> {
        let dir = TempDir::new().context("cannot make a directory for the network")?;
        let mut keys = Vec::new();
        for index in 0..votes + others {
            let path = dir.path().join(index.to_string()).join("keys/node.json");
            std::fs::create_dir_all(path.parent().context("a file is in a directory")?)?;
            keys.push(keyfile::load_or_create(&path)?);
            network::write_atomically(&unused_mark(&path), b"")?;
        }
        let mut validators = Self { dir, keys, _relays: Vec::new() };
        let genesis = serde_json::to_vec(&validators.genesis(votes)?)?;
        let listen: Vec<SocketAddr> =
            validators.keys.iter().map(|_| free_address()).collect::<Result<_, _>>()?;
        let mut reached = listen.clone();
        if let Some(delay) = delay {
            for address in &mut reached {
                let relay = Relay::start(*address, delay).await?;
                *address = relay.address;
                validators._relays.push(relay);
            }
        }
        for (index, (listen, external)) in listen.iter().zip(&reached).enumerate() {
            let home = validators.home(index);
            network::write_atomically(&home.join("genesis.json"), &genesis)?;
            let mut text = "dir = \"data\"\nkey = \"keys/node.json\"\ngenesis = \
                            \"genesis.json\"\napi = \"127.0.0.1:0\"\n"
                .to_owned();
            if validators.keys.len() > 1 {
                let p2p = format!("[p2p]\nlisten = \"{listen}\"\nexternal = \"{external}\"\n");
                text.push_str(&p2p);
            }
            for (peer, (key, address)) in validators.keys.iter().zip(&reached).enumerate() {
                // Everybody begins with the first one, which names those that do not vote.
                let named = if index == 0 { peer >= votes } else { peer == 0 };
                if named {
                    let account = key.account();
                    write!(text, "[[p2p.peers]]\nkey = \"{account}\"\naddress = \"{address}\"\n")?;
                }
            }
            network::write_atomically(&home.join("node.toml"), text.as_bytes())?;
        }
        Ok(validators)
    }

    fn genesis(&self, votes: usize) -> anyhow::Result<Genesis> {
        let accounts = || self.keys.iter().take(votes).map(SecretKey::account);
        let stakes = accounts().map(|account| (account, Amount::from_units(1_000))).collect();
        super::genesis(accounts().collect(), accounts(), stakes)
    }

    fn home(&self, index: usize) -> PathBuf {
        self.dir.path().join(index.to_string())
    }

    pub(super) fn key(&self, index: usize) -> &SecretKey {
        &self.keys[index]
    }

    /// Where a node logs to.
    pub(super) fn log(&self, index: usize) -> PathBuf {
        self.home(index).join("log.txt")
    }

    /// Starts a node and returns when it is up. Its log goes on where it ended.
    pub(super) async fn start(&self, index: usize) -> anyhow::Result<Process> {
        let log = File::options().create(true).append(true).open(self.log(index))?;
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let mut child = Command::new(program)
            .args(["node", "run", "--json", "--end-with-parent", "--config"])
            .arg(self.home(index).join("node.toml"))
            .env("MUSTER_LOG", format!("warn,{}", timing::LOG))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start a node")?;
        let mut lines =
            BufReader::new(child.stdout.take().context("its stdout is a pipe")?).lines();
        let mut said = String::new();
        while let Some(line) = lines.next_line().await? {
            said.push_str(&line);
            if line == "}" {
                let started: Started = serde_json::from_str(&said)?;
                return Ok(Process { child, api: started.api });
            }
        }
        let log = std::fs::read_to_string(self.log(index)).unwrap_or_default();
        anyhow::bail!("node {index} ended at its start: {}", log.lines().last().unwrap_or_default())
    }

    /// Starts the first `votes` nodes.
    pub(super) async fn start_all(&self, votes: usize) -> anyhow::Result<Vec<Process>> {
        futures::future::try_join_all((0..votes).map(|index| self.start(index))).await
    }
}

/// What a node says when it is up, as far as it matters here.
#[derive(Deserialize)]
struct Started {
    api: String,
}

fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind(("127.0.0.1", 0))?.local_addr()
}

/// A running node; killed when dropped.
pub(super) struct Process {
    child: Child,
    api: String,
}

impl Process {
    pub(super) fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::new(&self.api)?)
    }

    /// Asks it to stop and waits until it has.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.pid()?).ok().and_then(rustix::process::Pid::from_raw);
        let pid = pid.context("a process has a number")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let status = tokio::time::timeout(STOP, self.child.wait()).await;
        let status = status.context("a node does not stop when asked")??;
        anyhow::ensure!(status.success(), "a node ended with {status}");
        Ok(())
    }

    fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().context("a node has ended")
    }

    /// What it holds in memory, in MiB.
    pub(super) fn resident_mib(&self) -> anyhow::Result<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
    }

    /// How long it had a processor for since it started.
    pub(super) fn processor_time(&self) -> anyhow::Result<Duration> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()?))?;
        // Its name, which may have blanks, ends with the last parenthesis; user and system time are
        // the 12th and 13th after it.
        let (_, fields) = text.rsplit_once(')').context("/proc/PID/stat has another form")?;
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
        let ticks: u64 = ticks.sum::<Result<u64, _>>()?;
        Ok(Duration::from_millis(ticks * 1_000 / TICKS))
    }
}
