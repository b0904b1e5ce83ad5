//! One node's services, wired: generic over the runtime (tokio or the deterministic simulator) and
//! the network (none, authenticated, simulated).

use super::{
    OnBlock,
    app::App,
    beacon::{self, Beacon},
    block::{Block, to_account, to_digest, to_hash},
    committee::{Committees, Epochs},
    ends::{Ends, LentEnds, Proved},
    evidence::{self, Watch},
    hot::{Head, HotState},
    pace::{Pace, Paced},
    resolver::{self, Resolver},
    rotation::{Boundary, Entry, Rotation},
    settings::{
        self, EngineSettings, MAILBOX, PRUNE, SYNC, archive, epocher, page_cache, store_config,
    },
    store::{FindHead, Ledger, LedgerConfig},
    trail::{self, Arrival, Trail, Walk, Walked},
};
use crate::{files, gossip, mempool::TxPool};
use commonware_broadcast::buffered;
use commonware_codec::CodecShared;
use commonware_consensus::{
    Reporters,
    marshal::{
        self,
        core::{Actor as MarshalActor, Mailbox as MarshalMailbox},
        resolver::p2p as marshal_resolver,
        standard::{Deferred, Standard},
    },
    simplex::{self, Floor, scheme::ed25519::Scheme},
    types::Height,
};
use commonware_cryptography::{
    Digested, Digestible as _, blake3::Digest, certificate::Verifier as _, ed25519,
};
use commonware_glue::stateful::{Config as StatefulConfig, Stateful, SyncPlan};
use commonware_p2p::{Blocker, Manager, Receiver, Sender, max_message_size, utils::mux::prefixed};
use commonware_parallel::Sequential;
use commonware_runtime::{Clock, Handle, Spawner, buffer::paged::CacheRef};
use commonware_storage::{
    Context as StorageContext,
    archive::immutable,
    metadata::{self, Metadata},
};
use commonware_utils::{ordered::Set, sequence::U64};
use muster_ledger::{Changes, limits, view};
use muster_types::{AccountId, SecretKey};
use rand_core::CryptoRng;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::mpsc;

/// Channels of the network that a node needs: votes, certificates, fetches of certificates, fetches
/// of blocks, blocks, transactions, ends of epochs, state, the beacon.
pub const CHANNELS: usize = 9;

/// The largest message that a node sends, in bytes.
///
/// # Panics
/// Never: it is far less than a message may have.
#[must_use]
pub fn max_message_bytes() -> u32 {
    let validators = u32::try_from(limits::VALIDATORS).expect("fits");
    max_message_size(&[
        prefixed(simplex::max_payload_size::<Scheme, Digest>(validators)),
        marshal::max_payload_size::<Standard<Block>, Scheme>(validators, &()),
        gossip::MAX_MESSAGE_BYTES,
        trail::MAX_MESSAGE_BYTES,
        resolver::MAX_MESSAGE_BYTES,
        beacon::MAX_MESSAGE_BYTES,
    ])
}

/// Settings of a node.
pub(crate) struct StackConfig {
    pub(crate) me: ed25519::PublicKey,
    /// The node's key, to report with.
    pub(crate) key: SecretKey,
    pub(crate) committees: Committees,
    pub(crate) beacon: Beacon,
    pub(crate) epochs: Epochs,
    /// Peers beside the validators.
    pub(crate) others: Set<ed25519::PublicKey>,
    /// The validators of genesis.
    pub(crate) validators: Vec<AccountId>,
    /// What to begin with instead of genesis: an epoch, and who votes in it.
    pub(crate) anchor: Option<(u64, Vec<AccountId>)>,
    /// Whether there are others.
    pub(crate) among_others: bool,
    /// Whether to fetch the state from peers where nothing is stored yet.
    pub(crate) state_sync: bool,
    /// See [`super::Config::unused_key`].
    pub(crate) unused_key: Option<PathBuf>,
    /// Begins the names of everything it stores.
    pub(crate) prefix: String,
    pub(crate) genesis: Arc<Block>,
    /// The entries of genesis, derived ones included.
    pub(crate) entries: Arc<Changes>,
    pub(crate) hot: Arc<HotState>,
    pub(crate) pool: TxPool,
    pub(crate) pace: Pace,
    pub(crate) on_applying: OnBlock,
    pub(crate) on_finalized: OnBlock,
}

/// A running node.
pub(crate) struct Stack {
    pub(crate) ends: LentEnds,
    /// The actors that must not end.
    pub(crate) actors: Vec<(&'static str, Handle<()>)>,
}

type Plan<E> = SyncPlan<E, Scheme, Standard<Block>>;

/// Under which the last epoch without a vote is remembered.
const SILENT: U64 = U64::new(0);
/// Remembered where too few answered to know which it is.
const UNPROVED: u64 = u64::MAX;
/// Under which it is remembered that all votes of the key are in this directory.
const ALL_VOTES: U64 = U64::new(1);

/// What keeps the blocks.
pub(crate) type Marshal = MarshalMailbox<Scheme, Standard<Block>>;

/// Looks up final blocks in the archive.
fn find_head(marshal: Marshal, genesis: Arc<Block>) -> FindHead {
    Arc::new(move |height| {
        let (marshal, genesis) = (marshal.clone(), genesis.clone());
        Box::pin(async move {
            if height == 0 {
                return Some(Head::of(&genesis.header, to_hash(&genesis.digest())));
            }
            let block = marshal.get_block(Height::new(height)).await?;
            Some(Head::of(&block.inner().header, to_hash(&block.digest())))
        })
    })
}

/// Where the node takes up agreement: in the epoch of the block after its state's, on the block
/// that the epoch builds on, or where the state came from peers, on the latest certified one.
///
/// # Panics
/// If there is neither: the data directory is damaged.
async fn entry(hot: &HotState, epochs: Epochs, find: &FindHead, marshal: &Marshal) -> Entry {
    let (head, validators) = hot.read(|state, head| (*head, view::validators(state)));
    let epoch = epochs.of(head.height.saturating_add(1));
    let root = epochs.root(epoch);
    let found = if head.height == root { Some(head) } else { find(root).await };
    if let Some(found) = found {
        let floor = Floor::Genesis(to_digest(found.digest));
        return Entry { epoch, floor, validators };
    }
    for height in (root..=head.height).rev() {
        if let Some(certificate) = marshal.get_finalization(Height::new(height)).await {
            return Entry { epoch, floor: Floor::Finalized(certificate), validators };
        }
    }
    panic!("neither block {root}, on which epoch {epoch} builds, nor any certificate is on disk");
}

/// Whether no vote of the key can be elsewhere than in this directory. What says so of a new key is
/// deleted once the directory says it: of an empty one it must not be true a second time.
///
/// | file | directory | it was | vote |
/// |---|---|---|---|
/// | there | empty | never run | yes |
/// | there | says so | killed in between, before any vote | yes |
/// | gone | says so | run | yes |
/// | gone | empty | wiped, or moved without its data | not before the next epoch ([`trail`]) |
async fn has_all_votes<E: StorageContext>(
    mut memory: Metadata<E, U64, u64>,
    unused_key: Option<&Path>,
) -> (Metadata<E, U64, u64>, bool) {
    if let Some(file) = unused_key.filter(|file| file.exists()) {
        let remembered = memory.put_sync(ALL_VOTES, 1).await;
        memory = remembered.expect("that the key is new cannot be written");
        let deleted = files::remove(file);
        deleted.expect("what says that the key has never voted cannot be deleted");
    }
    let all = memory.get(&ALL_VOTES).is_some();
    (memory, all)
}

/// Where nothing is stored yet, or too few answered when nothing was, asks peers for the present: the
/// last epoch in which this node must not vote, and if it is to fetch the state, the block whose
/// state that is. Both are remembered.
async fn plan_sync<E, Tx, M>(
    ctx: &E,
    config: &StackConfig,
    mut plan: Plan<E>,
    trail: &mut Trail<Tx>,
    peers: &M,
) -> (Plan<E>, Option<u64>)
where
    E: Spawner + StorageContext + CryptoRng,
    Tx: Sender<PublicKey = ed25519::PublicKey>,
    M: Manager<PublicKey = ed25519::PublicKey>,
{
    let settings =
        metadata::Config { partition: format!("{}-silent", config.prefix), codec_config: () };
    let memory = Metadata::<_, U64, u64>::init(ctx.child("silent"), settings)
        .await
        .expect("the epoch without a vote cannot be read");
    let silent = memory.get(&SILENT).copied();
    let (memory, all_votes) = has_all_votes(memory, config.unused_key.as_deref()).await;
    let is_new = plan.may_sync();
    if !config.among_others || !(is_new || silent == Some(UNPROVED)) {
        return (plan, silent);
    }
    if is_new && plan.floor().is_none() {
        trail.is_new();
        // Nobody else votes, and nobody is known who follows: there is nobody to ask.
        if config.others.is_empty() && config.validators == [to_account(&config.me)] {
            return (plan, silent);
        }
    }
    loop {
        let genesis = (0, &*config.validators);
        let anchor = config.anchor.as_ref().map(|(epoch, validators)| (*epoch, &**validators));
        let walk = Walk {
            chain: &config.genesis.header.chain,
            epochs: config.epochs,
            committees: &config.committees,
            from: anchor.unwrap_or(genesis),
            peers: peers.clone(),
            others: &config.others,
            forgetful: (!all_votes).then_some(&config.me),
        };
        let Walked { arrival, is_proved } = trail.walk(ctx.child("walk"), walk).await;
        let is_begun = plan.floor().is_some() || anchor.is_some();
        if is_new && is_begun && arrival.is_none() {
            // Begun before, it must be ended, and that takes the validators of then; and before an
            // anchor nothing is to be believed.
            tracing::warn!("no peer tells what is final: the state cannot be fetched yet");
            continue;
        }
        let until = arrival.as_ref().map(|Arrival { epoch, .. }| *epoch);
        let until = if is_proved { until } else { Some(UNPROVED) };
        let silent = match until.filter(|_| !all_votes) {
            Some(until) => Some(stay_silent(memory, silent, until).await),
            None => silent.filter(|silent| *silent != UNPROVED),
        };
        if let Some(Arrival { epoch, floor }) = arrival
            && is_new
            && plan.should_sync(config.state_sync)
        {
            tracing::info!(epoch, "fetching the state from peers");
            plan = plan.set_floor(floor).await;
        }
        return (plan, silent);
    }
}

/// Remembers until when this node does not vote, where it did not vote until `before` already.
async fn stay_silent<E: StorageContext>(
    memory: Metadata<E, U64, u64>,
    before: Option<u64>,
    until: u64,
) -> u64 {
    let before = before.filter(|before| *before != UNPROVED);
    let until = before.map_or(until, |before| before.max(until));
    if until == UNPROVED {
        tracing::warn!(
            "the directory was empty, and too few validators answered to know what is final: this \
             node follows without a vote; start it again when it reaches more of them"
        );
    } else {
        tracing::info!(
            until = until.saturating_add(1),
            "the directory was empty: no vote before this epoch, lest it contradict one of before; \
             a validator may be jailed for it, which `muster stake unjail` ends"
        );
    }
    let remembered = memory.put_sync(SILENT, until).await;
    drop(remembered.expect("the epoch without a vote cannot be written"));
    until
}

/// What builds and checks blocks; tells `boundaries` when an epoch has ended.
fn app(config: &StackConfig, boundaries: mpsc::UnboundedSender<Boundary>) -> App {
    App {
        genesis: config.genesis.clone(),
        epochs: config.epochs,
        pool: config.pool.clone(),
        hot: config.hot.clone(),
        beacon: config.beacon.clone(),
        on_applying: config.on_applying.clone(),
        on_finalized: config.on_finalized.clone(),
        boundaries,
    }
}

fn ledger_config(config: &StackConfig, cache: CacheRef, find_head: FindHead) -> LedgerConfig {
    LedgerConfig {
        store: store_config(&config.prefix, cache),
        hot: config.hot.clone(),
        genesis: config.entries.clone(),
        find_head,
    }
}

/// Starts what goes on beside agreement: spreading transactions, the beacon, and reporting
/// contradictions, which the engines tell the [`Watch`].
fn beside<E, B>(
    ctx: &E,
    config: &StackConfig,
    transactions: (
        impl Sender<PublicKey = ed25519::PublicKey>,
        impl Receiver<PublicKey = ed25519::PublicKey>,
    ),
    (beacon_sender, beacon_receiver): (
        impl Sender<PublicKey = ed25519::PublicKey>,
        impl Receiver<PublicKey = ed25519::PublicKey>,
    ),
    blocker: B,
) -> (Watch, [(&'static str, Handle<()>); 3])
where
    E: Spawner + Clock,
    B: Blocker<PublicKey = ed25519::PublicKey> + Sync,
{
    let (pool, committees) = (config.pool.clone(), config.committees.clone());
    let gossip = gossip::run(ctx.child("gossip"), pool, committees, transactions, blocker.clone());
    let beacon = beacon::Actor {
        beacon: config.beacon.clone(),
        key: config.key.clone(),
        hot: config.hot.clone(),
        pool: config.pool.clone(),
        sender: beacon_sender,
        work: beacon::Work::default(),
    };
    let clock = ctx.child("beacon");
    let beacon = beacon.run(clock, beacon_receiver, blocker);
    let (watch, found) = Watch::new(config.committees.clone());
    let reporter = evidence::Reporter {
        chain: config.genesis.header.chain,
        key: config.key.clone(),
        hot: config.hot.clone(),
        pool: config.pool.clone(),
    };
    let actors = [
        ("gossip", ctx.child("gossip").spawn(move |_| gossip)),
        ("evidence", ctx.child("evidence").spawn(move |_| reporter.run(found))),
        ("beacon", ctx.child("beacon").spawn(move |_| beacon)),
    ];
    (watch, actors)
}

async fn open_archive<E: StorageContext, V: CodecShared>(
    ctx: E,
    config: immutable::Config<V::Cfg>,
) -> immutable::Archive<E, Digest, V> {
    let opened = immutable::Archive::init(ctx, config).await;
    opened.expect("an archive of blocks or certificates cannot be opened")
}

/// Starts a node on `channels` (see [`CHANNELS`]).
///
/// # Panics
/// If storage fails: nothing sound can be done without it.
pub(crate) async fn start<E, Tx, Rx, M, B>(
    ctx: E,
    config: StackConfig,
    channels: [(Tx, Rx); CHANNELS],
    peers: M,
    blocker: B,
) -> Stack
where
    E: Spawner + StorageContext + CryptoRng,
    Tx: Sender<PublicKey = ed25519::PublicKey>,
    Rx: Receiver<PublicKey = ed25519::PublicKey>,
    M: Manager<PublicKey = ed25519::PublicKey>,
    B: Blocker<PublicKey = ed25519::PublicKey> + Sync,
{
    let [votes, certificates, fetches, backfill, broadcast, transactions, ends, states, beacon] =
        channels;
    let prefix = &config.prefix;
    let cache = page_cache();
    let (boundary_sender, boundaries) = mpsc::unbounded_channel();

    // Blocks: spread, fetched, kept.
    let resolver = marshal_resolver::init(
        ctx.child("marshal_resolver"),
        settings::resolver(config.me.clone(), peers.clone(), blocker.clone()),
        backfill,
    );
    let (engine, buffer) = buffered::Engine::new(
        ctx.child("broadcast"),
        settings::broadcast(config.me.clone(), peers.clone()),
    );
    let broadcast = engine.start(broadcast);
    let limits = Scheme::certificate_codec_config_unbounded();
    let finalizations = archive(prefix, "finalizations", cache.clone(), limits);
    let finalizations = open_archive(ctx.child("finalizations"), finalizations).await;
    let blocks = archive(prefix, "blocks", cache.clone(), ());
    let blocks = open_archive(ctx.child("blocks"), blocks).await;
    let (mut trail, trail_actor) = Trail::start(&ctx, ends, blocker.clone());
    let plan = SyncPlan::init(ctx.child("plan"), prefix.clone()).await;
    let (plan, silent) = plan_sync(&ctx, &config, plan, &mut trail, &peers).await;
    // Where every block is executed, the archive of blocks will have the ends.
    let walked = if plan.floor().is_some() { trail.take_walked() } else { Vec::new() };
    let proved = Proved::open(ctx.child("ends"), (prefix, cache.clone()), &walked).await;
    let genesis = Digested::precomputed(config.genesis.as_ref().clone(), config.genesis.digest());
    let start = plan.marshal_start(genesis);
    let (marshal_actor, marshal, floor) = MarshalActor::<_, Standard<Block>, _, _, _, _, _>::init(
        ctx.child("marshal"),
        finalizations,
        blocks,
        settings::marshal(&config, start, cache.clone()),
    )
    .await;

    let ends = Ends::new(marshal.clone(), config.epochs, proved);
    let lent = ends.lend();
    trail.attach(ends);

    // The ledger.
    let (resolver_states, state_resolver) = Resolver::start(
        ctx.child("states"),
        settings::state_resolver(config.me.clone(), peers.clone(), blocker.clone()),
        states,
    );
    let find = find_head(marshal.clone(), config.genesis.clone());
    let (state_actor, state) = Stateful::<_, App, Standard<Block>, _, _>::new(
        ctx.child("stateful"),
        StatefulConfig {
            application: app(&config, boundary_sender),
            db_config: ledger_config(&config, cache.clone(), find.clone()),
            provider: (),
            marshal: (marshal.clone(), floor),
            mailbox_size: MAILBOX,
            plan,
            resolvers: resolver_states,
            sync_config: SYNC,
            // The archives of blocks ignore this: only the state's log is pruned.
            prune_config: Some(PRUNE),
            strategy: Sequential,
        },
    );
    let paced = Paced { inner: state.clone(), pool: config.pool.clone(), pace: config.pace };
    let deferred =
        Deferred::new(ctx.child("deferred"), paced, marshal.clone(), epocher(config.epochs));
    let marshal_actor = marshal_actor.start(state.clone(), buffer, resolver);
    let state_actor = state_actor.start();
    // Resolves once the state is read from disk.
    let _: Ledger<E> = state.subscribe_databases().await;

    // Agreement.
    let entry = entry(&config.hot, config.epochs, &find, &marshal).await;
    let (watch, beside) = beside(&ctx, &config, transactions, beacon, blocker.clone());
    let rotation = Rotation {
        context: ctx.child("agreement"),
        epochs: config.epochs,
        committees: config.committees,
        peers,
        others: config.others,
        hot: config.hot,
        blocker,
        automaton: deferred.clone(),
        reporter: Reporters::from((deferred, watch)),
        marshal: marshal.clone(),
        engine: EngineSettings {
            prefix: config.prefix,
            leader_timeout: config.pace.leader_timeout,
            page_cache: cache,
        },
        tracked: trail.tracked(),
        silent,
    };
    let rotation = rotation.start(entry, boundaries, [votes, certificates, fetches]);
    let mut actors = vec![
        ("agreement", rotation),
        ("state", state_actor),
        ("archive", marshal_actor),
        ("broadcast", broadcast),
        ("trail", trail_actor),
        ("state resolver", state_resolver),
    ];
    actors.extend(beside);
    Stack { ends: lent, actors }
}
