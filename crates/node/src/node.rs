//! The whole role: consensus, history, HTTP API and referee, started and stopped together.

use crate::{
    consensus::{self, Consensus, FinalizedBlock, LOCK_WAIT, NetworkConfig, Pace},
    history::{BlockRecord, History, HistoryError, TxRecord},
    http::{self, Shared},
    mempool::{PoolLimits, TxPool},
    referee::Referee,
};
use muster_api::views::Anchor;
use muster_fabric::{Fabric, FabricError};
use muster_ledger::Genesis;
use muster_sandbox::Compiler;
use muster_types::SecretKey;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// What a node is started with.
pub struct NodeConfig {
    /// Where everything is kept. One process at a time.
    pub dir: PathBuf,
    /// The node's key: it votes while this is among the ledger's validators.
    pub key: SecretKey,
    /// What the chain starts from; the same at every start.
    pub genesis: Genesis,
    /// How it reaches other nodes.
    pub network: NetworkConfig,
    /// Whether to fetch the state from peers where `dir` is empty.
    pub state_sync: bool,
    /// A file that says that the key has never voted ([`consensus::Config::unused_key`]).
    pub unused_key: Option<PathBuf>,
    /// What to begin with where `dir` is empty ([`consensus::Config::anchor`]).
    pub anchor: Option<Anchor>,
    /// Where the HTTP API listens. Port 0 lets the system choose.
    pub http: SocketAddr,
    /// Where the referee's fabric endpoint listens (UDP).
    pub fabric: SocketAddr,
    /// Compiles disputed modules.
    pub compiler: Arc<Compiler>,
}

/// Why a node could not start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The consensus engine.
    #[error("the consensus engine failed")]
    Consensus(#[source] consensus::NodeError),
    /// The history database.
    #[error("the history database cannot be opened")]
    History(#[source] HistoryError),
    /// The HTTP listener.
    #[error("cannot listen on {address}: choose another address, or stop what uses it")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The fabric endpoint.
    #[error("the fabric endpoint cannot be opened")]
    Fabric(#[source] FabricError),
    /// The node's directory.
    #[error("cannot use the directory {}", dir.display())]
    Directory {
        /// Which.
        dir: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// A running node. Dropping it without [`Node::stop`] is like a crash: what is final stays.
pub struct Node {
    consensus: Consensus,
    fabric: Arc<Fabric>,
    address: SocketAddr,
    stopping: CancellationToken,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Node {
    /// Starts every part. Returns when the API answers.
    ///
    /// # Errors
    /// [`NodeError`]; nothing is left running.
    pub async fn start(config: NodeConfig) -> Result<Self, NodeError> {
        std::fs::create_dir_all(&config.dir)
            .map_err(|source| NodeError::Directory { dir: config.dir.clone(), source })?;
        let history =
            open_history(&config.dir.join("history.redb")).await.map_err(NodeError::History)?;
        let listener = TcpListener::bind(config.http)
            .await
            .map_err(|source| NodeError::Listen { address: config.http, source })?;
        let address = listener
            .local_addr()
            .map_err(|source| NodeError::Listen { address: config.http, source })?;
        let mut fabric = muster_fabric::Config::new(config.key.clone());
        fabric.bind = config.fabric;
        let fabric = Arc::new(Fabric::bind(fabric).await.map_err(NodeError::Fabric)?);

        let chain = config.genesis.id();
        let consensus = Consensus::start(consensus::Config {
            dir: config.dir.join("consensus"),
            key: config.key.clone(),
            genesis: config.genesis.clone(),
            network: config.network,
            state_sync: config.state_sync,
            unused_key: config.unused_key,
            anchor: config.anchor,
            pool: TxPool::new(chain, PoolLimits::default()),
            pace: Pace::default(),
            on_applying: keep_history(history.clone()),
            on_finalized: announce(history.clone()),
        })
        .await
        .map_err(NodeError::Consensus)?;

        let stopping = CancellationToken::new();
        let shared = Arc::new(Shared {
            consensus: consensus.clone(),
            history: history.clone(),
            genesis: config.genesis,
            referee: Some(fabric.local_addr().to_string()),
            stopping: stopping.clone(),
        });
        let referee = Referee {
            consensus: consensus.clone(),
            history,
            fabric: Arc::clone(&fabric),
            compiler: config.compiler,
            key: config.key,
            chain,
            stopping: stopping.clone(),
        };
        let serve = axum::serve(listener, http::router(shared))
            .with_graceful_shutdown(stopping.clone().cancelled_owned());
        let tasks = vec![
            tokio::spawn(async move {
                if let Err(error) = serve.await {
                    tracing::error!(%error, "the HTTP API stopped");
                }
            }),
            tokio::spawn(referee.run()),
        ];
        Ok(Self { consensus, fabric, address, stopping, tasks: Mutex::new(tasks) })
    }

    /// Where the HTTP API answers.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The consensus engine, for queries in process.
    #[must_use]
    pub const fn consensus(&self) -> &Consensus {
        &self.consensus
    }

    /// Resolves when the engine died; the node is of no use then.
    pub async fn failed(&self) -> NodeError {
        NodeError::Consensus(self.consensus.failed().await)
    }

    /// Stops every part and waits for it. What is final stays; may be called again.
    ///
    /// # Errors
    /// [`NodeError::Consensus`] where the engine had failed.
    pub async fn stop(&self) -> Result<(), NodeError> {
        self.stopping.cancel();
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            // A task that panicked has stopped as well.
            let _ = task.await;
        }
        self.fabric.shutdown().await;
        self.consensus.stop().await.map_err(NodeError::Consensus)
    }
}

/// Opens the history; waits a moment for another node to let go of it: one that was killed just now
/// still holds it until its last write has ended.
async fn open_history(path: &Path) -> Result<History, HistoryError> {
    let asked = Instant::now();
    loop {
        match History::open(path) {
            Err(HistoryError::Database(error))
                if matches!(*error, redb::Error::DatabaseAlreadyOpen)
                    && asked.elapsed() < LOCK_WAIT =>
            {
                tokio::time::sleep(LOCK_WAIT / 20).await;
            }
            opened => return opened,
        }
    }
}

/// What the history keeps of a block.
pub(crate) fn record(block: &FinalizedBlock) -> BlockRecord {
    let executed = &block.executed;
    let transactions = executed.receipts.iter().map(|receipt| TxRecord {
        id: receipt.tx,
        fee: receipt.fee,
        events: receipt.events.clone(),
    });
    BlockRecord {
        height: block.header.height,
        now: block.header.time,
        digest: block.digest,
        state_root: block.header.state_root,
        event_root: block.header.event_root,
        header: block.preimage.clone(),
        transactions: transactions.collect(),
        end_events: executed.events.clone(),
    }
}

/// Before a block's state is applied its events are on disk, and so is what leaves the state. A
/// node that cannot write its history must not go on without it.
fn keep_history(history: History) -> consensus::OnBlock {
    Arc::new(move |block: &FinalizedBlock| {
        if let Err(error) = history.keep(&record(block), &block.executed.archived) {
            panic!("the history of block {} cannot be written: {error}", block.header.height);
        }
    })
}

fn announce(history: History) -> consensus::OnBlock {
    Arc::new(move |block: &FinalizedBlock| history.announce(Arc::new(record(block))))
}
