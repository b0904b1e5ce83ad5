//! How many transactions of 1 KiB four validators make final a second when there are always more.
//!
//! The validators are nodes of this process, with their history and their connections over
//! loopback. Transactions go straight into their pools: what HTTP costs is not measured, what
//! signing them costs is, on the same processors.

use super::{MANY, PATIENCE, POLL};
use crate::{network, printer::Printer};
use anyhow::Context as _;
use muster_ledger::{Action, Genesis, ProviderProfile, Tx, limits};
use muster_node::{
    Node, NodeConfig,
    consensus::{NetworkConfig, P2p, Peer},
    mempool::{PoolReject, Submission, TxOutcome, TxPool},
};
use muster_sandbox::{CompileLimits, Compiler};
use muster_types::{Amount, Envelope, Hash, Millis, SecretKey};
use std::{
    collections::{BTreeMap, VecDeque},
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::task::JoinSet;

/// Bytes of a transaction.
const BYTES: usize = 1024;
/// Who sends, a fourth of them to each validator, and how many each has waiting: together more
/// than two blocks hold, and fewer than the nonces that an account may use at a time.
const SENDERS: u8 = 192;
const WAITING: usize = 48;

/// Transactions a second, over `time`, after a fifth of it.
pub(super) async fn measure(printer: &Printer, time: Duration) -> anyhow::Result<f64> {
    printer.note("four validators in this process, flooded with transactions of 1 KiB");
    let dir = TempDir::new().context("cannot make a directory for the network")?;
    let genesis = genesis()?;
    let nodes = start(dir.path(), &genesis).await?;
    let done = Arc::new(AtomicU64::new(0));
    let mut senders = JoinSet::new();
    for index in 0..SENDERS {
        let node = nodes.get(usize::from(index) % MANY).context("there are four")?;
        let key = sender(index);
        let sender = Sender {
            padding: padding(&key),
            key,
            chain: genesis.id(),
            pool: node.consensus().pool().clone(),
            nonce: 0,
            waiting: VecDeque::new(),
            done: Arc::clone(&done),
        };
        senders.spawn(sender.send_for_ever());
    }
    let rate = tokio::select! {
        ended = senders.join_next() => match ended {
            Some(Ok(Err(error))) => Err(error),
            _ => Err(anyhow::anyhow!("a sender ended")),
        },
        rate = count(printer, &done, time) => Ok(rate),
    };
    senders.shutdown().await;
    let begin = Instant::now();
    while nodes.iter().any(|node| !node.consensus().pool().is_empty()) {
        anyhow::ensure!(begin.elapsed() < PATIENCE, "what was sent does not become final");
        tokio::time::sleep(POLL).await;
    }
    for node in &nodes {
        node.stop().await?;
    }
    rate
}

/// Watches `done` grow.
async fn count(printer: &Printer, done: &AtomicU64, time: Duration) -> f64 {
    while done.load(Ordering::Relaxed) == 0 {
        tokio::time::sleep(POLL).await;
    }
    tokio::time::sleep(time / 5).await;
    let (before, begin) = (done.load(Ordering::Relaxed), Instant::now());
    let bar = printer.bar("flood", time.as_secs());
    for second in 0..time.as_secs() {
        bar.set_position(second);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    bar.finish_and_clear();
    (done.load(Ordering::Relaxed) - before) as f64 / begin.elapsed().as_secs_f64()
}

fn sender(index: u8) -> SecretKey {
    SecretKey::from_seed([index; 32])
}

fn validator(index: usize) -> SecretKey {
    let hash = Hash::of("muster bench validator", &[&index.to_le_bytes()]);
    SecretKey::from_seed(*hash.as_bytes())
}

fn genesis() -> anyhow::Result<Genesis> {
    let validators = (0..MANY).map(|index| validator(index).account()).collect();
    let funded = (0..SENDERS).map(|index| sender(index).account());
    super::genesis(validators, funded, BTreeMap::new())
}

async fn start(dir: &Path, genesis: &Genesis) -> anyhow::Result<Vec<Node>> {
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut listeners = Vec::new();
    for _ in 0..MANY {
        listeners.push(TcpListener::bind(any_port)?.local_addr()?);
    }
    let compiler = Compiler::new(network::compiler_child()?, CompileLimits::default())?;
    let compiler = Arc::new(compiler);
    let first = listeners.first().copied().context("there are four")?;
    // Without it one that finds a chain under way would not vote before the next epoch.
    let unused = |index: usize| dir.join(format!("{index}.unused"));
    std::fs::create_dir_all(dir)?;
    for index in 0..listeners.len() {
        std::fs::write(unused(index), "")?;
    }
    let start = |index: usize, listen: SocketAddr| {
        let first = Peer { key: validator(0).account(), address: Some(first.into()) };
        let peers = if index == 0 { Vec::new() } else { vec![first] };
        Node::start(NodeConfig {
            dir: dir.join(index.to_string()),
            key: validator(index),
            genesis: genesis.clone(),
            http: any_port,
            fabric: any_port,
            compiler: Arc::clone(&compiler),
            network: NetworkConfig::P2p(P2p { listen, external: listen.into(), peers }),
            state_sync: false,
            unused_key: Some(unused(index)),
            anchor: None,
        })
    };
    let nodes = listeners.iter().enumerate().map(|(index, listen)| start(index, *listen));
    Ok(futures::future::try_join_all(nodes).await?)
}

/// Keeps a validator's pool filled.
struct Sender {
    key: SecretKey,
    padding: usize,
    chain: Hash,
    pool: TxPool,
    nonce: u64,
    waiting: VecDeque<Submission>,
    done: Arc<AtomicU64>,
}

impl Sender {
    async fn send_for_ever(mut self) -> anyhow::Result<()> {
        loop {
            let tx = signed(&self.key, self.chain, self.nonce, self.padding);
            self.nonce += 1;
            loop {
                if self.waiting.len() >= WAITING {
                    self.await_oldest().await?;
                }
                match self.pool.submit(tx.clone()) {
                    Ok(submission) => break self.waiting.push_back(submission),
                    Err(PoolReject::AccountFull { .. } | PoolReject::Full)
                        if !self.waiting.is_empty() =>
                    {
                        self.await_oldest().await?;
                    }
                    // Others fill the pool.
                    Err(PoolReject::Full) => tokio::time::sleep(POLL).await,
                    Err(reject) => return Err(reject.into()),
                }
            }
            // Signing is work: others have their turn.
            tokio::task::yield_now().await;
        }
    }

    async fn await_oldest(&mut self) -> anyhow::Result<()> {
        let Some(oldest) = self.waiting.pop_front() else { return Ok(()) };
        match oldest.outcome.await.context("the node stopped")? {
            TxOutcome::Final { .. } => {
                self.done.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            other => anyhow::bail!("a transaction of the benchmark was not applied: {other:?}"),
        }
    }
}

/// A transaction that describes its sender, with so many bytes of attributes.
fn signed(key: &SecretKey, chain: Hash, nonce: u64, padding: usize) -> Tx {
    let attributes = ["a", "b", "c", "d"].into_iter().zip(0..).map(|(name, part)| {
        let left = padding.saturating_sub(part * limits::VALUE_BYTES);
        (name.to_owned(), "x".repeat(left.min(limits::VALUE_BYTES)))
    });
    let profile = ProviderProfile {
        // No two are the same, and all are of one length.
        name: format!("{nonce:020}"),
        region: "bench".to_owned(),
        sockets: Vec::new(),
        attributes: attributes.collect(),
        jurisdiction: String::new(),
        operator: None,
    };
    let envelope = Envelope {
        chain,
        signer: key.account(),
        nonce,
        max_fee: Amount::from_units(1),
        tip: Amount::ZERO,
        expires: Millis::MAX,
        action: Action::ProviderSet { profile },
    };
    envelope.sign(key)
}

/// How many bytes of attributes make a transaction of [`BYTES`]: with each of them it is a byte
/// longer.
fn padding(key: &SecretKey) -> usize {
    BYTES.saturating_sub(signed(key, Hash::ZERO, 0, 0).encoded().wire().len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_has_the_length_that_the_figure_says() {
        let key = sender(1);
        for nonce in [0, u64::MAX] {
            let tx = signed(&key, Hash::ZERO, nonce, padding(&key));
            assert_eq!(tx.encoded().wire().len(), BYTES);
        }
    }
}
