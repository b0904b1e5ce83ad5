//! One validator's services, wired: generic over the runtime (tokio or the deterministic
//! simulator), the network (none, authenticated, simulated) and the signature scheme.

use super::{
    OnBlock,
    app::{App, ConsensusScheme},
    block::{Block, to_hash},
    hot::{Head, HotState},
    pace::{Pace, Paced},
    settings::{
        self, EPOCH, MAILBOX, PRUNE, SYNC, archive, page_cache, simplex_config, store_config,
    },
    store::{FindHead, Ledger, LedgerConfig, NoStateSync},
};
use crate::mempool::TxPool;
use commonware_broadcast::buffered;
use commonware_consensus::{
    Reporter, Reporters,
    marshal::{
        Update,
        core::{Actor as MarshalActor, Mailbox as MarshalMailbox},
        resolver::p2p as marshal_resolver,
        standard::{Deferred, Standard},
    },
    simplex::{self, types::Activity},
    types::{FixedEpocher, Height},
};
use commonware_cryptography::{Digested, Digestible as _, blake3::Digest, ed25519};
use commonware_glue::stateful::{self, Config as StatefulConfig, Stateful, SyncPlan};
use commonware_p2p::{Blocker, Provider, Receiver, Sender};
use commonware_parallel::Sequential;
use commonware_runtime::{Handle, Spawner};
use commonware_storage::{Context as StorageContext, archive::immutable};
use muster_ledger::Changes;
use rand_core::CryptoRng;
use std::{marker::PhantomData, sync::Arc};

/// Channels of the network that a validator needs.
pub(crate) const CHANNELS: usize = 5;

/// Settings of a validator.
pub(crate) struct StackConfig<S> {
    pub(crate) me: ed25519::PublicKey,
    pub(crate) scheme: S,
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

/// A running validator.
pub(crate) struct Stack<S: ConsensusScheme> {
    pub(crate) marshal: MarshalMailbox<S, Standard<Block>>,
    /// The actors that must not end.
    pub(crate) actors: Vec<(&'static str, Handle<()>)>,
}

/// Logs what only a faulty validator does.
#[derive(Clone)]
struct Watch<S>(PhantomData<fn() -> S>);

impl<S: ConsensusScheme> Reporter for Watch<S> {
    type Activity = Activity<S, Digest>;

    fn report(&mut self, activity: Self::Activity) -> commonware_actor::Feedback {
        match activity {
            Activity::ConflictingNotarize(_)
            | Activity::ConflictingFinalize(_)
            | Activity::NullifyFinalize(_) => {
                tracing::warn!(?activity, "a validator contradicted itself");
            }
            _ => {}
        }
        commonware_actor::Feedback::Ok
    }
}

/// Looks up final blocks in the archive.
fn find_head<S: ConsensusScheme>(
    marshal: MarshalMailbox<S, Standard<Block>>,
    genesis: Arc<Block>,
) -> FindHead {
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

/// Starts a validator on `channels`: votes, certificates, fetches, backfill, blocks. `observe`
/// wraps what is told about final blocks.
///
/// # Panics
/// If storage fails: nothing sound can be done without it.
pub(crate) async fn start<E, S, Tx, Rx, P, B, R>(
    ctx: E,
    config: StackConfig<S>,
    channels: [(Tx, Rx); CHANNELS],
    peers: P,
    blocker: B,
    observe: impl FnOnce(stateful::Mailbox<E, App<S>>) -> R,
) -> Stack<S>
where
    E: Spawner + StorageContext + CryptoRng,
    S: ConsensusScheme,
    Tx: Sender<PublicKey = ed25519::PublicKey>,
    Rx: Receiver<PublicKey = ed25519::PublicKey>,
    P: Provider<PublicKey = ed25519::PublicKey>,
    B: Blocker<PublicKey = ed25519::PublicKey> + Sync,
    R: Reporter<Activity = Update<Block>>,
{
    let [votes, certificates, fetches, backfill, broadcast] = channels;
    let prefix = &config.prefix;
    let cache = page_cache();

    // Blocks: spread, fetched, kept.
    let resolver = marshal_resolver::init(
        ctx.child("marshal_resolver"),
        settings::resolver(config.me.clone(), peers.clone(), blocker.clone()),
        backfill,
    );
    let (engine, buffer) = buffered::Engine::new(
        ctx.child("broadcast"),
        settings::broadcast(config.me.clone(), peers),
    );
    let broadcast = engine.start(broadcast);
    let limits = S::certificate_codec_config_unbounded();
    let finalizations = archive(prefix, "finalizations", cache.clone(), limits);
    let finalizations = immutable::Archive::init(ctx.child("finalizations"), finalizations)
        .await
        .expect("the archive of certificates cannot be opened");
    let blocks = archive(prefix, "blocks", cache.clone(), ());
    let blocks = immutable::Archive::init(ctx.child("blocks"), blocks)
        .await
        .expect("the archive of blocks cannot be opened");
    let plan = SyncPlan::init(ctx.child("plan"), prefix.clone()).await;
    let genesis = Digested::precomputed(config.genesis.as_ref().clone(), config.genesis.digest());
    let start = plan.marshal_start(genesis);
    let (marshal_actor, marshal, floor) = MarshalActor::<_, Standard<Block>, _, _, _, _, _>::init(
        ctx.child("marshal"),
        finalizations,
        blocks,
        settings::marshal(&config, start, cache.clone()),
    )
    .await;

    // The ledger.
    let (state_actor, state) = Stateful::<_, App<S>, Standard<Block>, _, _>::new(
        ctx.child("stateful"),
        StatefulConfig {
            application: App {
                genesis: config.genesis.clone(),
                pool: config.pool.clone(),
                on_applying: config.on_applying.clone(),
                on_finalized: config.on_finalized.clone(),
                scheme: PhantomData,
            },
            db_config: LedgerConfig {
                store: store_config(prefix, cache.clone()),
                hot: config.hot.clone(),
                genesis: config.entries.clone(),
                find_head: find_head(marshal.clone(), config.genesis.clone()),
            },
            provider: (),
            marshal: (marshal.clone(), floor),
            mailbox_size: MAILBOX,
            plan,
            resolvers: NoStateSync,
            sync_config: SYNC,
            // The archives of blocks ignore this: only the state's log is pruned.
            prune_config: Some(PRUNE),
            strategy: Sequential,
        },
    );
    let paced = Paced { inner: state.clone(), pool: config.pool.clone(), pace: config.pace };
    let deferred =
        Deferred::new(ctx.child("deferred"), paced, marshal.clone(), FixedEpocher::new(EPOCH));
    let marshal_actor = marshal_actor.start(observe(state.clone()), buffer, resolver);
    let state_actor = state_actor.start();
    // Resolves once the state is read from disk.
    let _: Ledger<E> = state.subscribe_databases().await;

    // Agreement.
    let reporter = Reporters::from((deferred.clone(), Watch::<S>(PhantomData)));
    let engine = simplex::Engine::new(
        ctx.child("simplex"),
        simplex_config(&config, (blocker, deferred.clone(), deferred, reporter), cache),
    )
    .start(votes, certificates, fetches);
    let actors = vec![
        ("agreement", engine),
        ("state", state_actor),
        ("archive", marshal_actor),
        ("broadcast", broadcast),
    ];
    Stack { marshal, actors }
}
