//! Agreement on blocks: the engine, its storage and the resident state behind a boundary without
//! traits.
//!
//! ```text
//!   submit ──> TxPool ──take──> App::propose ─┐            ┌──> FinalizedBlock ──> told
//!                                             v            │
//!               Paced (when) <── Deferred <── simplex ──> Stateful (what is final)
//!                                             │            │
//!                               archive of blocks      Ledger = store on disk + state in memory
//! ```
//!
//! [`Consensus::start`] runs a node in this process, on a thread and a runtime of its own: as the
//! only validator without sockets ([`NetworkConfig::Alone`]), or among others
//! ([`NetworkConfig::P2p`]), where it votes while its key is among the ledger's validators and
//! follows otherwise. The wiring (`stack`) is generic over runtime and network, so the same code
//! runs in the deterministic simulator.
//!
//! What holds:
//! - A block is final once, and blocks become final in order. The resident state is the state
//!   after the latest final block, and the store on disk holds the same without the derived
//!   entries; the header's `state_root` is the store's root.
//! - A block is on disk before it is final. After a crash the state is that of a final block, and
//!   final blocks above it are executed again; their [`FinalizedBlock`]s are told again.
//! - Every block follows [`rules`]. Nothing but a block changes the state.
//! - Validators change only from one epoch to the next; the last block of an epoch names those of
//!   the next, and each epoch has an engine of its own (`rotation`).
//!
//! Storage errors end the engine on purpose ([`Consensus::failed`]): a process that cannot write
//! what it signs must not sign.

mod alone;
mod anchor;
mod app;
mod beacon;
mod block;
mod committee;
pub(crate) mod duty;
mod ends;
mod error;
mod evidence;
mod exit;
mod hot;
mod p2p;
mod pace;
mod proofs;
#[cfg(any(test, feature = "recode"))]
pub mod recode;
mod resolver;
mod rotation;
pub mod rules;
mod settings;
mod stack;
mod store;
#[cfg(test)]
mod tests;
mod trail;
mod watched;
mod wire;

pub use alone::commit_blocks;
pub use block::{
    Header, MAX_BLOCK_BYTES, MAX_BLOCK_TXS, PROTOCOL_VERSION, body_root, digest_of, knows_version,
};
pub(crate) use committee::Committees;
pub use committee::{Epochs, committee_hash};
pub use error::NodeError;
pub(crate) use hot::HotState;
pub use hot::{Executed, Head};
pub use p2p::{P2p, Peer, PeerAddress, PeerAddressError};
pub use pace::Pace;
pub use proofs::Certified;
pub use stack::{CHANNELS, max_message_bytes};
pub use store::store_key;
pub(crate) use trail::certified;
pub use trail::{EpochEnd, EpochEndError};

use crate::{files, mempool::TxPool};
use beacon::Beacon;
use block::{Block, preimage, to_hash};
use commonware_codec::Encode as _;
use commonware_consensus::types::Height;
use commonware_cryptography::{Digestible as _, Signer as _, ed25519};
use commonware_glue::stateful::db::DatabaseSet;
use commonware_runtime::{Handle, Runner as _, Spawner as _, Supervisor as _, tokio as runtime};
use commonware_utils::{TryCollect as _, ordered::Set};
use ends::LentEnds;
use exit::{Exit, died, exit_of, panic_text, supervise};
use muster_api::views::Anchor;
use muster_ledger::{Genesis, MemoryState, State, Tx, view};
use muster_market::{Explanation, Terms};
use muster_types::{AccountId, Hash, Millis, SecretKey};
use stack::StackConfig;
use std::{
    fs::{self, File, TryLockError},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::sync::{oneshot, watch};
use watched::{Failure, Watched};
use wire::{Peers, Wire};

/// A block that became final.
#[derive(Clone, Debug)]
pub struct FinalizedBlock {
    /// Its digest ([`digest_of`] its preimage): what the validators signed.
    pub digest: Hash,
    /// What it commits to.
    pub header: Header,
    /// The header's encoding followed by that of the consensus context.
    pub preimage: Vec<u8>,
    /// Its transactions and what executing them gave.
    pub executed: Arc<Executed>,
}

/// A block read back from disk.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredBlock {
    /// Its digest ([`digest_of`] its preimage): what the validators signed.
    pub digest: Hash,
    /// What it commits to.
    pub header: Header,
    /// The header's encoding followed by that of the consensus context.
    pub preimage: Vec<u8>,
    /// Its transactions.
    pub txs: Vec<Tx>,
}

/// Told every final block, in order and once, and after a crash again those whose state was not
/// on disk. Runs on the engine's thread and holds it up: hand the block on and return. A panic
/// ends the engine.
pub type OnBlock = Arc<dyn Fn(&FinalizedBlock) + Send + Sync>;

/// How a node reaches others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkConfig {
    /// There are none: it is the chain's only validator and opens no socket.
    Alone,
    /// Over authenticated connections.
    P2p(P2p),
}

/// What a node needs to start.
pub struct Config {
    /// Where it stores everything; created where missing, used by one node at a time.
    pub dir: PathBuf,
    /// The node's key. It votes while this is among the ledger's validators.
    pub key: SecretKey,
    /// What the chain starts from. Must be the one that `dir` was made with.
    pub genesis: Genesis,
    /// How it reaches others.
    pub network: NetworkConfig,
    /// Whether to fetch the state from peers where `dir` is empty, instead of executing every
    /// block since genesis. Blocks before that state are not told.
    pub state_sync: bool,
    /// A file that says that the key has never voted anywhere; deleted before it does. Where it is
    /// there, an empty `dir` has forgotten nothing, and the node votes at once on a chain that is
    /// under way.
    pub unused_key: Option<PathBuf>,
    /// Where `dir` is empty: what to begin with instead of genesis, as somebody trusted wrote it
    /// down.
    pub anchor: Option<Anchor>,
    /// Where it takes transactions from. Made for this chain.
    pub pool: TxPool,
    /// When it makes blocks.
    pub pace: Pace,
    /// Told a final block before anybody can read the state after it.
    pub on_applying: OnBlock,
    /// Told a final block when the state after it can be read.
    pub on_finalized: OnBlock,
}

/// A running node. Clones share it; when the last is dropped it stops, as after a crash.
#[derive(Clone)]
pub struct Consensus(Arc<Running>);

struct Running {
    pool: TxPool,
    hot: Arc<HotState>,
    genesis: Arc<Block>,
    epochs: Epochs,
    ends: LentEnds,
    stop: Mutex<Option<oneshot::Sender<()>>>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
    exit: watch::Receiver<Option<Exit>>,
}

/// The stack of the engine's first thread: the future that starts everything is large where code
/// is not optimized.
const STACK_BYTES: usize = 16 * 1024 * 1024;
/// Where the engine stores what it has, in the data directory.
const LEDGER: &str = "ledger";
/// How long a starting node waits for another to let go of the directory: one that was killed
/// just now still holds it until its last write has ended.
pub(crate) const LOCK_WAIT: Duration = Duration::from_secs(2);
/// How long actors have to finish what they do when the node stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

impl Consensus {
    /// Starts a node and returns when its state is read from disk and it takes part.
    ///
    /// # Errors
    /// [`NodeError`] where the directory or the genesis is not usable or the engine dies.
    pub async fn start(config: Config) -> Result<Self, NodeError> {
        let stack = prepare(&config)?;
        let trusted = anchor::check(&config, local_time());
        let net = Net { config: config.network, key: config.key, chain: config.genesis.id() };
        let dir = config.dir.clone();
        let (hot, genesis, epochs) = (stack.hot.clone(), stack.genesis.clone(), stack.epochs);
        let (ready_sender, ready) = oneshot::channel();
        let (stop_sender, stop) = oneshot::channel();
        let (exit_sender, mut exit) = watch::channel(None);
        let thread = thread::Builder::new()
            .name("muster-consensus".into())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let opened = open_dir(&dir, net.chain);
                let lock = match opened.and_then(|lock| begins(&dir, trusted).map(|()| lock)) {
                    Ok(lock) => lock,
                    Err(error) => {
                        // Where nobody waits for it, nobody wants to know.
                        let _ = ready_sender.send(Err(error));
                        return;
                    }
                };
                let stopping = AtomicBool::new(false);
                let failure = Failure::default();
                let run = || {
                    run(&dir.join(LEDGER), stack, &net, ready_sender, (stop, &stopping), &failure)
                };
                let end = catch_unwind(AssertUnwindSafe(run));
                let end = end.map_err(|panic| panic_text(panic.as_ref()));
                let end = exit_of(end, stopping.load(Ordering::Relaxed), failure.get());
                drop(lock);
                exit_sender.send_replace(Some(end));
            })
            .map_err(|source| NodeError::Directory { dir: config.dir, source })?;
        let ends = match ready.await {
            Ok(started) => started?,
            Err(_) => return Err(died(&mut exit).await),
        };
        Ok(Self(Arc::new(Running {
            pool: config.pool,
            hot,
            genesis,
            epochs,
            ends,
            stop: Mutex::new(Some(stop_sender)),
            thread: Mutex::new(Some(thread)),
            exit,
        })))
    }

    /// Starts a node on a runtime and a network that somebody else owns, such as a simulator's, and
    /// returns when its state is read and it takes part. What it stores begins with `prefix`;
    /// `config.dir` and `config.network` are not used, beyond the peers that the latter names. The
    /// node ends with `context`.
    ///
    /// # Errors
    /// [`NodeError`] where the settings do not fit.
    ///
    /// # Panics
    /// If storage fails.
    pub async fn host<E, Tx, Rx, M, B>(
        context: E,
        config: &Config,
        prefix: &str,
        channels: [(Tx, Rx); CHANNELS],
        (peers, blocker): (M, B),
    ) -> Result<Self, NodeError>
    where
        E: commonware_runtime::Spawner + commonware_storage::Context + rand_core::CryptoRng,
        Tx: commonware_p2p::Sender<PublicKey = ed25519::PublicKey>,
        Rx: commonware_p2p::Receiver<PublicKey = ed25519::PublicKey>,
        M: commonware_p2p::Manager<PublicKey = ed25519::PublicKey>,
        B: commonware_p2p::Blocker<PublicKey = ed25519::PublicKey> + Sync,
    {
        let stack = StackConfig { prefix: prefix.to_owned(), ..prepare(config)? };
        let (hot, genesis, epochs) = (stack.hot.clone(), stack.genesis.clone(), stack.epochs);
        let (stop_sender, stop) = oneshot::channel();
        let (exit_sender, exit) = watch::channel(None);
        let supervisor = context.child("supervisor");
        let started = stack::start(context, stack, channels, peers, blocker).await;
        let ends = started.ends.clone();
        supervisor.spawn(move |_| async move {
            let exit = supervise(started.actors, stop).await;
            exit_sender.send_replace(Some(exit));
        });
        Ok(Self(Arc::new(Running {
            pool: config.pool.clone(),
            hot,
            genesis,
            epochs,
            ends,
            stop: Mutex::new(Some(stop_sender)),
            thread: Mutex::new(None),
            exit,
        })))
    }

    /// Where it takes transactions from.
    #[must_use]
    pub fn pool(&self) -> &TxPool {
        &self.0.pool
    }

    /// Lets `reader` read the state after the latest final block. No block becomes final
    /// meanwhile: be quick, and do not call the node from inside.
    pub fn read<T>(&self, reader: impl FnOnce(&dyn State, &Head) -> T) -> T {
        self.0.hot.read(reader)
    }

    /// What the market would do with an order of these terms in the next block, and why: the same
    /// as [`muster_ledger::view::quote`] of the state after the latest final block.
    #[must_use]
    pub fn explain(&self, terms: &Terms) -> Explanation {
        self.0.hot.explain(terms)
    }

    /// The latest final block.
    #[must_use]
    pub fn head(&self) -> Head {
        self.0.hot.head()
    }

    /// Follows the latest final block; heights may be skipped.
    #[must_use]
    pub fn heads(&self) -> watch::Receiver<Head> {
        self.0.hot.heads()
    }

    /// The final block at `height`, from disk; `None` above the head.
    ///
    /// # Errors
    /// [`NodeError::DamagedBlock`] where it cannot be read, [`NodeError::Stopped`] or
    /// [`NodeError::Died`] where the engine ended.
    pub async fn block(&self, height: u64) -> Result<Option<StoredBlock>, NodeError> {
        if height > self.head().height {
            return Ok(None);
        }
        let block = if height == 0 {
            self.0.genesis.clone()
        } else {
            match self.0.ends.marshal.get_block(Height::new(height)).await {
                Some(block) => Arc::new(block.inner().clone()),
                None => return self.ended().map_or(Ok(None), Err),
            }
        };
        let txs = block
            .body
            .iter()
            .map(|tx| Tx::decode(tx))
            .collect::<Result<_, _>>()
            .map_err(|source| NodeError::DamagedBlock { height, source })?;
        Ok(Some(StoredBlock {
            digest: to_hash(&block.digest()),
            header: block.header.clone(),
            preimage: preimage(&block.header, &block.context),
            txs,
        }))
    }

    /// The validators' encoded certificate that the block at `height` is final. Genesis has none.
    pub async fn certificate(&self, height: u64) -> Option<Vec<u8>> {
        let finalization = self.0.ends.marshal.get_finalization(Height::new(height)).await?;
        Some(finalization.encode().to_vec())
    }

    /// Stops the node and waits until it has let go of its directory. Stopping again does
    /// nothing.
    ///
    /// # Errors
    /// [`NodeError::Died`] where the engine had died.
    pub async fn stop(&self) -> Result<(), NodeError> {
        drop(self.0.stop.lock().unwrap_or_else(PoisonError::into_inner).take());
        let mut exit = self.0.exit.clone();
        // An error means that the thread is gone, which is what we wait for.
        let _ = exit.wait_for(Option::is_some).await;
        let thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // It has said how it ended; a panic was caught.
            let _ = thread.join();
        }
        match self.ended() {
            Some(NodeError::Stopped) | None => Ok(()),
            Some(error) => Err(error),
        }
    }

    /// Resolves if the engine dies. Never resolves where it is stopped.
    pub async fn failed(&self) -> NodeError {
        match died(&mut self.0.exit.clone()).await {
            NodeError::Stopped => futures::future::pending().await,
            error => error,
        }
    }

    /// How the engine ended, where it did.
    fn ended(&self) -> Option<NodeError> {
        self.0.exit.borrow().clone().map(NodeError::from)
    }
}

/// The validator's key as the engine's: the same seed, so the same public key.
fn engine_key(key: &SecretKey) -> ed25519::PrivateKey {
    commonware_codec::DecodeFixed::decode_fixed(*key.seed())
        .expect("every 32 bytes are the seed of an ed25519 key")
}

/// Validators as the engine's; `None` where one is no key or is named twice.
pub(crate) fn engine_validators(validators: &[AccountId]) -> Option<Set<ed25519::PublicKey>> {
    let keys = validators.iter().map(|account| ed25519::PublicKey::try_from(*account.as_bytes()));
    keys.collect::<Result<Vec<_>, _>>().ok()?.into_iter().try_collect().ok()
}

/// Checks the settings and puts together what the engine needs.
fn prepare(config: &Config) -> Result<StackConfig, NodeError> {
    let refuse = |reason| NodeError::Genesis { reason };
    let genesis = &config.genesis;
    let entries = genesis.changes().map_err(NodeError::GenesisInvalid)?;
    let chain = genesis.id();
    if config.pool.chain() != chain {
        return Err(refuse("the transaction pool was made for another chain"));
    }
    let key = engine_key(&config.key);
    let me = key.public_key();
    let mut state = MemoryState::default();
    state.apply(entries.clone());
    let validators = view::validators(&state);
    let keys = engine_validators(&validators)
        .ok_or(refuse("its validators are not distinct ed25519 keys"))?;
    let leader = keys.iter().next().cloned().ok_or(refuse("it names no validator"))?;
    let others = match &config.network {
        NetworkConfig::Alone if keys.len() != 1 || leader != me => {
            return Err(refuse(
                "a node that reaches no others must be its only validator: give it peers",
            ));
        }
        NetworkConfig::Alone => Set::default(),
        NetworkConfig::P2p(p2p) => p2p::keys(&p2p.peers)?,
    };
    let empty =
        <store::Ledger<runtime::Context> as DatabaseSet<runtime::Context>>::initial_sync_targets();
    let version = u16::try_from(genesis.protocol).unwrap_or(u16::MAX);
    let block = Block::genesis((version, chain), genesis.time, leader, &validators, &empty);
    let head = Head::of(&block.header, to_hash(&block.digest()));
    let hot = HotState::new(state, head);
    config.pool.judge_by(hot.clone());
    Ok(StackConfig {
        me,
        key: config.key.clone(),
        committees: Committees::new(&chain, key),
        beacon: Beacon::new(chain, &config.key),
        epochs: Epochs::new(genesis.epoch_blocks),
        others,
        validators,
        anchor: anchor::start(config)?,
        among_others: matches!(config.network, NetworkConfig::P2p(_)),
        state_sync: config.state_sync,
        unused_key: config.unused_key.clone(),
        prefix: "validator".into(),
        genesis: Arc::new(block),
        entries: Arc::new(entries),
        hot,
        pool: config.pool.clone(),
        pace: config.pace,
        on_applying: config.on_applying.clone(),
        on_finalized: config.on_finalized.clone(),
    })
}

/// This machine's clock.
fn local_time() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Whether nothing of the chain is in the data directory.
fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir.join(LEDGER)).map_or(true, |mut all| all.next().is_none())
}

/// Refuses what would have to be believed where the directory is empty, and else does not mind.
fn begins(dir: &Path, trusted: Result<(), NodeError>) -> Result<(), NodeError> {
    if is_empty(dir) { trusted } else { Ok(()) }
}

/// Takes the data directory for this process and checks that it is of this chain. May block for
/// [`LOCK_WAIT`].
///
/// | `CHAIN` says | the ledger | the directory is |
/// |---|---|---|
/// | this chain | | this chain's |
/// | nothing: there is no such file | | made this chain's |
/// | nothing: it is empty, as where a first start was cut short | none yet | made this chain's |
/// | anything else | | refused |
fn open_dir(dir: &Path, chain: Hash) -> Result<File, NodeError> {
    let failed = |source| NodeError::Directory { dir: dir.to_owned(), source };
    fs::create_dir_all(dir).map_err(failed)?;
    let lock = File::create(dir.join("LOCK")).map_err(failed)?;
    let asked = Instant::now();
    loop {
        match lock.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(source)) => return Err(failed(source)),
            Err(TryLockError::WouldBlock) if asked.elapsed() < LOCK_WAIT => {
                thread::sleep(LOCK_WAIT / 20);
            }
            Err(TryLockError::WouldBlock) => {
                return Err(NodeError::Busy { dir: dir.to_owned() });
            }
        }
    }
    let name = dir.join("CHAIN");
    match fs::read_to_string(&name) {
        Ok(found) if found.trim() == chain.to_string() => {}
        Ok(found) if found.is_empty() && is_empty(dir) => {
            files::write_whole(&name, format!("{chain}\n").as_bytes()).map_err(failed)?;
        }
        Ok(found) => {
            let found = found.trim().chars().take(80).collect();
            return Err(NodeError::OtherChain { dir: dir.to_owned(), found, expected: chain });
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            files::write_whole(&name, format!("{chain}\n").as_bytes()).map_err(failed)?;
        }
        Err(error) => return Err(failed(error)),
    }
    Ok(lock)
}

/// What the engine's thread needs to open the network.
struct Net {
    config: NetworkConfig,
    key: SecretKey,
    chain: Hash,
}

impl Net {
    /// Every end of the network, and the actor that must not end.
    fn open(&self, context: &runtime::Context) -> Result<Opened, NodeError> {
        match &self.config {
            NetworkConfig::Alone => {
                let channels = std::array::from_fn(|_| (Wire(None), Wire(None)));
                Ok((channels, Peers::alone(), None))
            }
            NetworkConfig::P2p(p2p) => {
                let (channels, oracle, network) = p2p::open(context, p2p, &self.key, &self.chain)?;
                Ok((channels, Peers::Network(oracle), Some(network)))
            }
        }
    }
}

type Opened = (p2p::Channels, Peers<p2p::Oracle>, Option<Handle<()>>);

/// The engine's thread.
fn run(
    storage: &Path,
    stack: StackConfig,
    net: &Net,
    ready: oneshot::Sender<Result<LentEnds, NodeError>>,
    (stop, stopping): (oneshot::Receiver<()>, &AtomicBool),
    failure: &Failure,
) -> Exit {
    let settings = runtime::Config::new().with_worker_threads(2).with_storage_directory(storage);
    runtime::Runner::new(settings).start(async move |context| {
        let (channels, peers, network) = match net.open(&context) {
            Ok(opened) => opened,
            Err(error) => {
                // Where nobody waits for it, nobody wants to know.
                let _ = ready.send(Err(error));
                return Exit::Stopped;
            }
        };
        let watched = Watched::new(context.child("node"), failure.clone());
        let mut started = stack::start(watched, stack, channels, peers.clone(), peers).await;
        started.actors.extend(network.map(|network| ("network", network)));
        // Where nobody waits any more, the stop below has come too.
        let _ = ready.send(Ok(started.ends));
        let exit = supervise(started.actors, stop).await;
        stopping.store(matches!(exit, Exit::Stopped), Ordering::Relaxed);
        if matches!(exit, Exit::Stopped) && context.stop(0, Some(STOP_TIMEOUT)).await.is_err() {
            tracing::warn!("an actor did not stop in time and was cut off");
        }
        exit
    })
}
