//! The settings of the engine's parts: sizes, times, names on disk.

use super::{
    block::{Block, Ctx},
    committee::{Committees, Epochs},
    stack::StackConfig,
    store::StoreConfig,
};
use commonware_broadcast::buffered;
use commonware_consensus::{
    CertifiableAutomaton, Relay, Reporter,
    marshal::{self, Start, resolver::p2p as marshal_resolver},
    simplex::{
        self,
        config::{Floor, ForwardPolicy, SkipPolicy},
        elector::RoundRobin,
        scheme::ed25519::Scheme,
        types::Activity,
    },
    types::{Epoch, FixedEpocher, ViewDelta},
};
use commonware_cryptography::{Digested, Sha256, blake3::Digest, ed25519};
use commonware_glue::stateful::{
    PruneConfig,
    db::{SyncEngineConfig, p2p as state_p2p},
};
use commonware_p2p::{Blocker, Provider};
use commonware_parallel::Sequential;
use commonware_runtime::buffer::paged::CacheRef;
use commonware_storage::{
    archive::immutable, journal::contiguous::variable::Config as LogConfig,
    mmr::full::Config as MmrConfig, translator::EightCap,
};
use commonware_utils::{NZDuration, NZU16, NZU64, NZUsize};
use std::{
    num::{NonZeroU16, NonZeroU64, NonZeroUsize},
    time::Duration,
};

/// A page of the cache: with its checksum of 12 bytes it fills one of the file system's.
const PAGE: NonZeroU16 = NZU16!(4_084);
/// Pages in the cache: 8 MiB.
const PAGES: NonZeroUsize = NZUsize!(2_048);
/// Bytes of each journal's write and replay buffer.
pub(super) const BUFFER: NonZeroUsize = NZUsize!(64 * 1024);
/// Items in each file of an archive.
pub(super) const SECTION: NonZeroU64 = NZU64!(4_096);
/// Views in each file of the blocks that are not known to be final. Files go as a whole, and a
/// start reads what is left in them, so they hold no more than is kept of the past anyway.
const VIEWS_PER_FILE: NonZeroU64 = NZU64!(64);
/// Bytes of blocks in each file of an archive.
const ARCHIVE_FILE_BYTES: u64 = 64 * 1024 * 1024;
/// Operations in each file of the state's log; files that only hold overwritten values go.
const OPS_PER_FILE: NonZeroU64 = NZU64!(1 << 14);
/// How often, in blocks, overwritten values are removed from the state's log, and for how many
/// blocks they are kept.
pub(super) const PRUNE: PruneConfig = PruneConfig {
    maintenance_interval: NZUsize!(256),
    retained_marshal_blocks: 64,
    retained_qmdb_blocks: 64,
};
/// Messages that wait for an actor before it keeps only those that still matter. Room for all of
/// them is taken at the start, and the largest have kilobytes.
pub(super) const MAILBOX: NonZeroUsize = NZUsize!(128);
/// The most operations of the state's log that are asked for, and served, at a time.
const FETCH_OPS: NonZeroU64 = NZU64!(1_024);
/// Fetching the state from peers.
pub(super) const SYNC: SyncEngineConfig = SyncEngineConfig {
    fetch_batch_size: FETCH_OPS,
    apply_batch_size: NZU64!(4_096),
    max_outstanding_requests: NZUsize!(8),
};

/// The cache of pages of all files.
pub(super) fn page_cache() -> CacheRef {
    CacheRef::new(PAGE, PAGES)
}

/// Blocks and certificates are kept for ever, on disk and out of memory.
pub(super) fn archive<C>(
    prefix: &str,
    name: &str,
    cache: CacheRef,
    codec_config: C,
) -> immutable::Config<C> {
    let partition = |part| format!("{prefix}-{name}-{part}");
    immutable::Config {
        metadata_partition: partition("meta"),
        freezer_table_partition: partition("table"),
        freezer_table_initial_size: 1 << 12,
        freezer_table_resize_frequency: 4,
        freezer_table_resize_chunk_size: 1 << 10,
        freezer_key_partition: partition("key"),
        freezer_key_page_cache: cache,
        freezer_value_partition: partition("value"),
        freezer_value_target_size: ARCHIVE_FILE_BYTES,
        freezer_value_compression: None,
        ordinal_partition: partition("ordinal"),
        items_per_section: SECTION,
        freezer_key_write_buffer: BUFFER,
        freezer_value_write_buffer: BUFFER,
        ordinal_write_buffer: BUFFER,
        replay_buffer: BUFFER,
        codec_config,
    }
}

pub(super) fn store_config(prefix: &str, cache: CacheRef) -> StoreConfig {
    StoreConfig {
        merkle_config: MmrConfig {
            journal_partition: format!("{prefix}-state-mmr"),
            metadata_partition: format!("{prefix}-state-mmr-meta"),
            items_per_blob: OPS_PER_FILE,
            write_buffer: BUFFER,
            replay_buffer: BUFFER,
            strategy: Sequential,
            page_cache: cache.clone(),
        },
        journal_config: LogConfig {
            partition: format!("{prefix}-state-log"),
            items_per_section: OPS_PER_FILE,
            compression: None,
            codec_config: ((), ()),
            page_cache: cache,
            write_buffer: BUFFER,
            replay_buffer: BUFFER,
        },
        grafted_metadata_partition: format!("{prefix}-state-grafted-meta"),
        translator: EightCap,
        init_cache: Some(NZUsize!(1 << 16)),
        init_buffer: NZUsize!(1 << 20),
        init_concurrency: (),
    }
}

/// Fetching missing blocks from peers.
pub(super) fn resolver<P, B>(
    public_key: ed25519::PublicKey,
    peer_provider: P,
    blocker: B,
) -> marshal_resolver::Config<ed25519::PublicKey, P, B>
where
    P: Provider<PublicKey = ed25519::PublicKey>,
    B: Blocker<PublicKey = ed25519::PublicKey>,
{
    marshal_resolver::Config {
        public_key,
        peer_provider,
        blocker,
        mailbox_size: MAILBOX,
        fetch_timeout: NZDuration!(Duration::from_secs(2)),
        fetch_retry_delay: Duration::from_millis(100),
        priority_requests: false,
        priority_responses: false,
    }
}

/// Fetching the state from peers, and serving it.
pub(super) fn state_resolver<P, B, DB>(
    me: ed25519::PublicKey,
    peer_provider: P,
    blocker: B,
) -> state_p2p::Config<ed25519::PublicKey, P, B, DB>
where
    P: Provider<PublicKey = ed25519::PublicKey>,
    B: Blocker<PublicKey = ed25519::PublicKey>,
{
    state_p2p::Config {
        peer_provider,
        blocker,
        database: None,
        mailbox_size: MAILBOX,
        me: Some(me),
        fetch_timeout: NZDuration!(Duration::from_secs(2)),
        fetch_retry_delay: Duration::from_millis(100),
        max_serve_ops: FETCH_OPS,
        priority_requests: false,
        priority_responses: false,
    }
}

/// Sending blocks to peers.
pub(super) fn broadcast<P>(
    public_key: ed25519::PublicKey,
    peer_provider: P,
) -> buffered::Config<ed25519::PublicKey, (), P, Sequential>
where
    P: Provider<PublicKey = ed25519::PublicKey>,
{
    buffered::Config {
        public_key,
        mailbox_size: MAILBOX,
        deque_size: 16,
        priority: false,
        codec_config: (),
        peer_provider,
        strategy: Sequential,
    }
}

/// Keeping final blocks and telling them in order.
pub(super) fn marshal(
    stack: &StackConfig,
    start: Start<Scheme, Digest, Digested<Block>>,
    page_cache: CacheRef,
) -> marshal::Config<Committees, FixedEpocher, Sequential, Block, Digested<Block>> {
    marshal::Config {
        provider: stack.committees.clone(),
        epocher: epocher(stack.epochs),
        start,
        partition_prefix: stack.prefix.clone(),
        mailbox_size: MAILBOX,
        view_retention: ViewDelta::new(64),
        prunable_items_per_section: VIEWS_PER_FILE,
        page_cache,
        replay_buffer: BUFFER,
        key_write_buffer: BUFFER,
        value_write_buffer: BUFFER,
        block_codec_config: (),
        max_repair: NZUsize!(32),
        max_pending_acks: NZUsize!(16),
        strategy: Sequential,
    }
}

/// Our epochs as the engine's.
pub(super) const fn epocher(epochs: Epochs) -> FixedEpocher {
    FixedEpocher::new(epochs.blocks())
}

/// What the engines of all epochs have in common.
pub(super) struct EngineSettings {
    /// Begins the names of their journals.
    pub(super) prefix: String,
    pub(super) leader_timeout: Duration,
    pub(super) page_cache: CacheRef,
}

impl EngineSettings {
    /// The name of an epoch's journal.
    pub(super) fn partition(&self, epoch: u64) -> String {
        format!("{}-simplex-{epoch}", self.prefix)
    }
}

/// Agreeing on the blocks of an epoch.
pub(super) fn simplex<B, A, R, F>(
    settings: &EngineSettings,
    scheme: Scheme,
    epoch: Epoch,
    floor: Floor<Scheme, Digest>,
    (blocker, automaton, relay, reporter): (B, A, R, F),
) -> simplex::Config<Scheme, RoundRobin<Sha256>, B, Digest, A, R, F, Sequential>
where
    B: Blocker<PublicKey = ed25519::PublicKey>,
    A: CertifiableAutomaton<Context = Ctx, Digest = Digest>,
    R: Relay,
    F: Reporter<Activity = Activity<Scheme, Digest>>,
{
    let leader_timeout = settings.leader_timeout;
    simplex::Config {
        scheme,
        elector: RoundRobin::default(),
        blocker,
        automaton,
        relay,
        reporter,
        strategy: Sequential,
        partition: settings.partition(epoch.get()),
        mailbox_size: MAILBOX,
        epoch,
        floor,
        replay_buffer: BUFFER,
        write_buffer: BUFFER,
        page_cache: settings.page_cache.clone(),
        leader_timeout,
        certification_timeout: leader_timeout * 2,
        timeout_retry: Duration::from_secs(2),
        view_retention: ViewDelta::new(64),
        skip: SkipPolicy::Enabled {
            timeout: leader_timeout * 5,
            budget: simplex::SkipBudget::Participants,
        },
        fetch_timeout: NZDuration!(Duration::from_secs(2)),
        fetch_retry_delay: Duration::from_millis(500),
        forward: ForwardPolicy::Disabled,
        track_historical_votes: true,
    }
}
