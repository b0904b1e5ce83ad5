//! `muster bench restart`: how long a node with a long history takes to its first answer.
//!
//! The history is made by the node itself, in final blocks, from transactions put into its pool.
//! Orders that nothing can fill are placed and cancelled; in the first network they leave the
//! state at once, in the second they stay. Then each node is stopped and started again.

use super::Measurement;
use crate::{network, printer::Printer};
use anyhow::Context as _;
use muster_api::Client;
use muster_ledger::{
    Action, Genesis, Params, State, Tx,
    genesis::{Balance, EPOCH_BLOCKS, PROTOCOL},
    keys,
    market::Mode,
};
use muster_market::{Request, Terms};
use muster_node::{
    Node, NodeConfig,
    consensus::NetworkConfig,
    mempool::{PoolReject, Submission, TxOutcome, TxPool},
};
use muster_sandbox::{CompileLimits, Compiler};
use muster_types::{Amount, Envelope, EscrowId, Hash, Millis, OrderId, SecretKey};
use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tempfile::TempDir;

/// Ended orders, where nobody says otherwise.
pub(super) const ORDERS: u64 = 1_300_000;
/// The most that the first answer may take.
const CEILING_MS: f64 = 2_000.0;
/// Starts of each network; the slowest counts.
const STARTS: u32 = 3;
/// Who place the orders, in turn: the pool holds only so much of each.
const TENANTS: u8 = 32;
/// The longest retention that the rules allow.
const FOR_EVER: Millis = Millis::from_secs(365 * 24 * 3_600);

/// Measures both figures.
pub(super) async fn measure(printer: &Printer, orders: u64) -> anyhow::Result<Vec<Measurement>> {
    let left = restart(printer, "leaving", orders, least()).await?;
    let kept = restart(printer, "kept", orders, FOR_EVER).await?;
    Ok(vec![
        Measurement::within("restart_ms", "ms", left.slowest, CEILING_MS),
        Measurement::fact("state_mb", "MB", left.state),
        Measurement::fact("state_files_mb", "MB", left.state_files),
        Measurement::fact("history_file_mb", "MB", left.history_file),
        Measurement::fact("restart_kept_ms", "ms", kept.slowest),
        Measurement::fact("kept_state_mb", "MB", kept.state),
        Measurement::fact("kept_state_files_mb", "MB", kept.state_files),
    ])
}

/// The shortest retention that the rules allow with [`params`].
const fn least() -> Millis {
    Millis(9)
}

/// With windows as short as can be, so that what ends is final at once.
fn params(retention: Millis) -> Params {
    let shortest = Millis(1);
    Params {
        heartbeat_gap_max_ms: shortest,
        stall_gap_ms: shortest,
        stall_close_ms: shortest,
        challenge_window_ms: shortest,
        dispute_timeout_ms: shortest,
        dispute_clock_ms: shortest,
        max_block_step_ms: shortest,
        retention_ms: retention,
        ..Params::default()
    }
}

/// What was found of one network.
struct Found {
    slowest: f64,
    state: f64,
    state_files: f64,
    history_file: f64,
}

async fn restart(
    printer: &Printer,
    label: &str,
    orders: u64,
    retention: Millis,
) -> anyhow::Result<Found> {
    let dir = TempDir::new().context("cannot make a directory for the network")?;
    let network = Network::new(retention)?;
    let node = network.start(dir.path()).await?;
    let placed = fill(printer, label, &network, &node, orders).await?;
    if retention == least() {
        settle(&node).await;
    }
    let (kept, state) = node
        .consensus()
        .read(|state, _| (keys::ORDERS.scan(state, &(), None).count(), size(state)));
    printer.note(format!("{label}: {orders} orders have ended, {kept} of them are in the state"));
    node.stop().await?;
    let mut slowest = Duration::ZERO;
    for _ in 0..STARTS {
        let (taken, node) = first_answer(&network, dir.path(), &placed).await?;
        printer.note(format!("{label}: answered after {} ms", taken.as_millis()));
        node.stop().await?;
        slowest = slowest.max(taken);
    }
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    Ok(Found {
        slowest: slowest.as_secs_f64() * 1e3,
        state: megabytes(state),
        state_files: megabytes(files(&dir.path().join("consensus"))?),
        history_file: megabytes(files(&dir.path().join("history.redb"))?),
    })
}

/// Starts the node and asks for an order that ended long ago.
async fn first_answer(
    network: &Network,
    dir: &Path,
    order: &OrderId,
) -> anyhow::Result<(Duration, Node)> {
    let start = Instant::now();
    let node = network.start(dir).await?;
    let answer = Client::new(&node.url())?.order(order).await?;
    let taken = start.elapsed();
    anyhow::ensure!(answer.is_some(), "the restarted node does not know order {order}");
    Ok((taken, node))
}

/// A chain and the keys to it.
struct Network {
    validator: SecretKey,
    genesis: Genesis,
}

fn tenant(index: u8) -> SecretKey {
    SecretKey::from_seed([index; 32])
}

impl Network {
    fn new(retention: Millis) -> anyhow::Result<Self> {
        let validator = SecretKey::from_seed([u8::MAX; 32]);
        let balance = Balance { usd: Amount::from_units(1_000_000), mst: Amount::ZERO };
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let genesis = Genesis {
            name: "muster-bench".to_owned(),
            time: Millis(u64::try_from(now)?),
            protocol: PROTOCOL,
            epoch_blocks: EPOCH_BLOCKS,
            validators: vec![validator.account()],
            balances: (0..TENANTS).map(|index| (tenant(index).account(), balance)).collect(),
            stakes: BTreeMap::new(),
            params: params(retention),
        };
        Ok(Self { validator, genesis })
    }

    async fn start(&self, dir: &Path) -> anyhow::Result<Node> {
        let compiler = Compiler::new(network::compiler_child()?, CompileLimits::default())?;
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let node = Node::start(NodeConfig {
            dir: dir.to_owned(),
            key: self.validator.clone(),
            genesis: self.genesis.clone(),
            http: any_port,
            fabric: any_port,
            compiler: Arc::new(compiler),
            network: NetworkConfig::Alone,
            state_sync: false,
            unused_key: None,
            anchor: None,
        });
        Ok(node.await?)
    }
}

/// Places and cancels `orders` orders. Gives one of them.
async fn fill(
    printer: &Printer,
    label: &str,
    network: &Network,
    node: &Node,
    orders: u64,
) -> anyhow::Result<OrderId> {
    let bar = printer.bar(label, orders);
    let mut tasks = Vec::new();
    for index in 0..TENANTS {
        let (each, rest) = (orders / u64::from(TENANTS), orders % u64::from(TENANTS));
        let share = each + u64::from(u64::from(index) < rest);
        let (pool, chain) = (node.consensus().pool().clone(), network.genesis.id());
        let (key, bar) = (tenant(index), bar.clone());
        let tenant = Tenant { key, chain, pool, nonce: 0, waiting: VecDeque::new() };
        tasks.push(tokio::spawn(tenant.place(share, bar)));
    }
    let mut placed = None;
    for task in tasks {
        placed = task.await??.or(placed);
    }
    bar.finish_and_clear();
    placed.context("no orders were asked for")
}

/// Waits until all that ended has left the state.
async fn settle(node: &Node) {
    let mut heads = node.consensus().heads();
    let due = |state: &dyn State| keys::ARCHIVE_DUE.scan(state, &(), None).next().is_some();
    while node.consensus().read(|state, _| due(state)) && heads.changed().await.is_ok() {}
}

/// Keys and values of the state, in bytes.
fn size(state: &dyn State) -> u64 {
    let all = state.range(&[], &[u8::MAX; 64]);
    let bytes = all.map(|(key, value)| key.len().saturating_add(value.len()));
    u64::try_from(bytes.fold(0, usize::saturating_add)).unwrap_or(u64::MAX)
}

/// What a file, or a directory with all below it, takes.
fn files(path: &Path) -> anyhow::Result<u64> {
    let about = std::fs::metadata(path).with_context(|| path.display().to_string())?;
    if !about.is_dir() {
        return Ok(about.len());
    }
    std::fs::read_dir(path)?.try_fold(0, |sum, entry| Ok(sum + files(&entry?.path())?))
}

/// Who places orders, many transactions ahead of the blocks.
struct Tenant {
    key: SecretKey,
    chain: Hash,
    pool: TxPool,
    nonce: u64,
    waiting: VecDeque<Submission>,
}

impl Tenant {
    /// Places and cancels `count` orders; gives the last one.
    async fn place(
        mut self,
        count: u64,
        bar: indicatif::ProgressBar,
    ) -> anyhow::Result<Option<OrderId>> {
        let opened = self.act(Action::EscrowOpen { deposit: Amount::from_units(1) }).await?;
        let escrow = EscrowId::derive(&opened.id());
        let mut last = None;
        for _ in 0..count {
            let placed = self.act(hopeless(escrow)).await?;
            let order = OrderId::derive(&placed.id());
            self.act(Action::OrderCancel { order }).await?;
            last = Some(order);
            bar.inc(1);
        }
        while !self.waiting.is_empty() {
            self.await_oldest().await?;
        }
        Ok(last)
    }

    /// Puts a transaction into the pool as soon as there is room for it.
    async fn act(&mut self, action: Action) -> anyhow::Result<Tx> {
        let envelope = Envelope {
            chain: self.chain,
            signer: self.key.account(),
            nonce: self.nonce,
            max_fee: Amount::from_units(1),
            tip: Amount::ZERO,
            expires: Millis::MAX,
            action,
        };
        let tx = envelope.sign(&self.key);
        self.nonce += 1;
        loop {
            match self.pool.submit(tx.clone()) {
                Ok(submission) => {
                    self.waiting.push_back(submission);
                    return Ok(tx);
                }
                Err(PoolReject::AccountFull { .. } | PoolReject::Full)
                    if !self.waiting.is_empty() =>
                {
                    self.await_oldest().await?;
                }
                Err(reject) => return Err(reject.into()),
            }
        }
    }

    async fn await_oldest(&mut self) -> anyhow::Result<()> {
        let Some(oldest) = self.waiting.pop_front() else { return Ok(()) };
        match oldest.outcome.await.context("the node stopped")? {
            TxOutcome::Final { .. } => Ok(()),
            other => anyhow::bail!("a transaction of the benchmark was not applied: {other:?}"),
        }
    }
}

/// An order that no host can fill: there are none.
fn hopeless(escrow: EscrowId) -> Action {
    let terms = Terms {
        request: Request { cpu_milli: 1_000, ..Request::default() },
        count: 1,
        max_rate: muster_types::Rate::per_hour(Amount::from_units(1)),
        ..Terms::default()
    };
    Action::OrderPlace {
        escrow,
        job: None,
        terms,
        deadline: Millis::MAX,
        manifest: Hash::ZERO,
        mode: Mode::Standing,
        reauction: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_node_answers_for_what_ended_whether_it_is_in_the_state_or_not() {
        let printer = Printer::new(true);
        let found = measure(&printer, 100).await.unwrap();
        let value = |name: &str| found.iter().find(|found| found.name == name).unwrap().value;
        assert!(value("restart_ms") > 0.0 && value("restart_kept_ms") > 0.0);
        // A hundred orders of some hundred bytes each.
        assert!(value("kept_state_mb") > value("state_mb") + 0.02, "nothing left the state");
        assert!(value("history_file_mb") > 0.0 && value("state_files_mb") > 0.0);
        assert_eq!(found.iter().filter(|found| found.target.is_some()).count(), 1);
    }

    #[test]
    fn the_benchs_parameters_are_within_their_bounds() {
        for retention in [least(), FOR_EVER] {
            assert_eq!(params(retention).check(), Ok(()));
        }
        assert!(params(Millis(8)).check().is_err(), "`least` is not the least");
    }
}
