//! The state on disk: an authenticated store, and the resident state kept equal to it.
//!
//! [`Ledger`] is what the engine manages as its one database. It opens the store, fills the
//! resident state from it, and moves both together; a batch carries both a batch of the store and
//! an overlay of the resident state, so they cannot drift apart.
//!
//! A state key is stored under its hash, so keys that share a beginning do not crowd the store's
//! index; the key itself is kept with the value, so that the resident state can be rebuilt.
//! Derived entries (prefix [`keys::DERIVED`] and above) are resident only. The commit of a block
//! names its height, so that an opened store knows where it stands.

use super::hot::{Executed, Head, HotState, Overlay, View};
use bytes::Bytes;
use commonware_codec::{Buf, EncodeSize, Error as CodecError, RangeCfg, Read, Write};
use commonware_cryptography::blake3::{Blake3, Digest};
use commonware_glue::stateful::db::{
    Barrier, DatabaseSet, Merkleized as _, Shared, Unmerkleized as _,
};
use commonware_parallel::Sequential;
use commonware_runtime::{BufMut, Spawner};
use commonware_storage::{
    Context as StorageContext,
    mmr::{self, Location},
    qmdb::{
        Error as StoreError,
        any::ordered::{Operation, Update, variable as any_variable},
        current::{VariableConfig, ordered::variable},
        sync::Target,
        verify::verify_proof,
    },
    translator::EightCap,
};
use commonware_utils::{NZU64, bitmap::Readable as _};
use futures::future::BoxFuture;
use muster_ledger::{Changes, MemoryState, keys, rebuild_derived};
use muster_types::Hash;
use std::{num::NonZeroU64, sync::Arc};

/// The longest state key, in bytes.
pub(crate) const MAX_KEY_BYTES: usize = 1024;
/// The longest state value, in bytes.
pub(crate) const MAX_VALUE_BYTES: usize = 1024 * 1024;
/// How many operations of the log are read at a time to fill the resident state.
const LOAD_OPS: NonZeroU64 = NZU64!(1 << 12);

/// The authenticated store.
pub(crate) type Store<E> =
    variable::Db<mmr::Family, E, Digest, Record, Blake3, EightCap, 32, Sequential>;
/// An operation of the store's log.
pub(crate) type StoreOp = any_variable::Operation<mmr::Family, Digest, Record>;
/// The store's settings.
pub(crate) type StoreConfig = VariableConfig<EightCap, ((), ()), Sequential>;

type StoreBatch<E> = <Shared<Store<E>> as DatabaseSet<E>>::Unmerkleized;
type StoreSealed<E> = <Shared<Store<E>> as DatabaseSet<E>>::Merkleized;

/// Finds the final block at a height.
pub(crate) type FindHead = Arc<dyn Fn(u64) -> BoxFuture<'static, Option<Head>> + Send + Sync>;

/// A stored entry: the state key and its value. In a commit: no key, and the height.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    key: Bytes,
    value: Bytes,
}

impl Record {
    pub(super) fn entry(key: &[u8], value: &[u8]) -> Self {
        Self { key: Bytes::copy_from_slice(key), value: Bytes::copy_from_slice(value) }
    }

    fn height(height: u64) -> Self {
        Self { key: Bytes::new(), value: Bytes::copy_from_slice(&height.to_le_bytes()) }
    }

    fn as_height(&self) -> Option<u64> {
        Some(u64::from_le_bytes(self.value.as_ref().try_into().ok()?))
    }
}

impl Write for Record {
    fn write(&self, buf: &mut impl BufMut) {
        self.key.write(buf);
        self.value.write(buf);
    }
}

impl EncodeSize for Record {
    fn encode_size(&self) -> usize {
        self.key.encode_size() + self.value.encode_size()
    }
}

impl Read for Record {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, CodecError> {
        Ok(Self {
            key: Bytes::read_cfg(buf, &RangeCfg::from(..=MAX_KEY_BYTES))?,
            value: Bytes::read_cfg(buf, &RangeCfg::from(..=MAX_VALUE_BYTES))?,
        })
    }
}

/// Where a state key is stored: the key to ask a proof for.
#[must_use]
pub fn store_key(key: &[u8]) -> Hash {
    Hash::of("muster state key v1", &[key])
}

/// Whether a key is derived from others, and so not stored.
fn is_derived(key: &[u8]) -> bool {
    key.first().is_some_and(|prefix| *prefix >= keys::DERIVED)
}

/// What [`Ledger`] needs to open.
pub(crate) struct LedgerConfig {
    /// The store's settings.
    pub(crate) store: StoreConfig,
    /// The resident state to fill; it holds the state of genesis.
    pub(crate) hot: Arc<HotState>,
    /// The entries of genesis, derived ones included.
    pub(crate) genesis: Arc<Changes>,
    /// Finds the block at which the store stands.
    pub(crate) find_head: FindHead,
}

/// Store and resident state as one database.
pub(crate) struct Ledger<E: StorageContext + Spawner> {
    store: Shared<Store<E>>,
    hot: Arc<HotState>,
    genesis: Arc<Changes>,
}

impl<E: StorageContext + Spawner> Clone for Ledger<E> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), hot: self.hot.clone(), genesis: self.genesis.clone() }
    }
}

/// A block being executed.
pub(crate) struct Batch<E: StorageContext + Spawner> {
    store: StoreBatch<E>,
    view: View,
    hot: Arc<HotState>,
    /// The entries of genesis, where this is a first block: it writes them to the store.
    genesis: Option<Arc<Changes>>,
}

/// An executed block with its roots.
pub(crate) struct Sealed<E: StorageContext + Spawner> {
    store: StoreSealed<E>,
    overlay: Arc<Overlay>,
    hot: Arc<HotState>,
}

impl<E: StorageContext + Spawner> Clone for Sealed<E> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), overlay: self.overlay.clone(), hot: self.hot.clone() }
    }
}

/// The roots that a header commits to.
pub(crate) struct Roots {
    /// Of the current state.
    pub(crate) state: Hash,
    /// Of the log of operations.
    pub(crate) ops: Hash,
    /// The first operation that state sync needs.
    pub(crate) ops_start: u64,
    /// The length of the log.
    pub(crate) ops_end: u64,
}

impl<E: StorageContext + Spawner> Batch<E> {
    /// The state before the block.
    pub(crate) fn view(&self) -> &View {
        &self.view
    }

    /// Writes what the block at `height` changed and computes the roots. `None` where a competing
    /// block became final meanwhile: then this one cannot.
    ///
    /// # Panics
    /// If the store fails, or if the ledger wrote an entry too large to be read back.
    pub(crate) async fn seal(self, height: u64, executed: Executed) -> Option<Sealed<E>> {
        let mut store = self.store;
        if let Some(genesis) = &self.genesis {
            for (key, value) in &genesis.0 {
                // What the block itself writes to a key of genesis wins.
                if !executed.changes.0.contains_key(key) {
                    store = write::<E>(store, key, value.as_deref());
                }
            }
        }
        for (key, value) in &executed.changes.0 {
            store = write::<E>(store, key, value.as_deref());
        }
        let store = match store.with_metadata(Record::height(height)).merkleize().await {
            Ok(store) => store,
            Err(StoreError::StaleBatch | StoreError::StaleRead) => return None,
            Err(error) => panic!("the state store failed at block {height}: {error:?}"),
        };
        let overlay = self.view.overlay(Arc::new(executed));
        Some(Sealed { store, overlay, hot: self.hot })
    }
}

/// Writes one entry, unless it is derived.
fn write<E: StorageContext + Spawner>(
    store: StoreBatch<E>,
    key: &[u8],
    value: Option<&[u8]>,
) -> StoreBatch<E> {
    if is_derived(key) {
        return store;
    }
    #[cfg(feature = "planted")]
    if value.is_none() && crate::planted::keeps_deleted() {
        return store;
    }
    assert!(
        key.len() <= MAX_KEY_BYTES && value.is_none_or(|value| value.len() <= MAX_VALUE_BYTES),
        "invariant: a state key has at most {MAX_KEY_BYTES} bytes, a value {MAX_VALUE_BYTES}"
    );
    let slot = super::block::to_digest(store_key(key));
    store.write(slot, value.map(|value| Record::entry(key, value)))
}

impl<E: StorageContext + Spawner> Sealed<E> {
    /// The resident half.
    pub(crate) fn overlay(&self) -> &Overlay {
        &self.overlay
    }

    /// The roots after the block.
    pub(crate) fn roots(&self) -> Roots {
        Roots {
            state: super::block::to_hash(&self.store.root()),
            ops: super::block::to_hash(&self.store.ops_root()),
            ops_start: self.store.sync_boundary().as_u64(),
            ops_end: self.store.bounds().tip.size.as_u64(),
        }
    }
}

impl<E: StorageContext + Spawner> Ledger<E> {
    /// An opened store, with the resident state filled from it.
    ///
    /// # Panics
    /// If the store cannot be read or its block is missing: the data directory is damaged.
    pub(crate) async fn open(config: LedgerConfig, store: Shared<Store<E>>) -> Self {
        Self::load(&config, &store).await;
        Self { store, hot: config.hot, genesis: config.genesis }
    }

    /// The store.
    pub(crate) const fn store(&self) -> &Shared<Store<E>> {
        &self.store
    }

    /// Fills the resident state from an opened store. Every operation that it reads is proved
    /// against the root in the header of the store's block.
    ///
    /// # Panics
    /// If the store cannot be read, is not what its block says, or that is missing: the data
    /// directory is damaged.
    async fn load(config: &LedgerConfig, store: &Shared<Store<E>>) {
        let store = store.read().await;
        let commit = store.get_metadata().await.expect("the state store cannot be read");
        let Some(height) = commit.as_ref().and_then(Record::as_height) else {
            return; // Nothing committed yet: the resident state is that of genesis.
        };
        let head = (config.find_head)(height)
            .await
            .unwrap_or_else(|| panic!("the state is at block {height}, which is not on disk"));
        // The root that the header has commits to that of the log.
        assert!(
            store.root() == super::block::to_digest(head.state_root),
            "the state on disk is not the one that block {height} commits to: the data directory \
             is damaged"
        );
        let root = store.ops_root();
        let mut state = MemoryState::default();
        // The log is read forward, and from the first write on that still stands: looking up one
        // key after the other would read it at as many places.
        let standing: Vec<u64> = store.bitmap().ones_iter_from(0).collect();
        let (mut standing, end) = (standing.into_iter().peekable(), store.bounds().end);
        while let Some(start) = standing.peek().copied() {
            let part = store.ops_historical_proof(end, Location::new(start), LOAD_OPS).await;
            let (proof, part) = part.expect("the state store cannot be read");
            assert!(
                verify_proof::<Blake3, _, _>(&proof, Location::new(start), &part, &root),
                "operations of the state's log from {start} on are not those that block {height} \
                 commits to: the data directory is damaged"
            );
            for (location, operation) in (start..).zip(part) {
                if standing.next_if_eq(&location).is_some()
                    && let Operation::Update(Update { value: record, .. }) = operation
                {
                    state.insert(record.key.to_vec(), record.value.to_vec());
                }
            }
        }
        let derived = rebuild_derived(&state);
        state.apply(derived);
        config.hot.load(state, head);
    }
}

impl<E: StorageContext + Spawner> DatabaseSet<E> for Ledger<E> {
    type Unmerkleized = Batch<E>;
    type Merkleized = Sealed<E>;
    type Readers = ();
    type Config = LedgerConfig;
    type SyncTargets = Target<mmr::Family, Digest>;

    async fn init(context: E, config: Self::Config, expected: Option<Self::SyncTargets>) -> Self {
        let store =
            <Shared<Store<E>> as DatabaseSet<E>>::init(context, config.store.clone(), expected)
                .await;
        Self::open(config, store).await
    }

    fn initial_sync_targets() -> Self::SyncTargets {
        <Shared<Store<E>> as DatabaseSet<E>>::initial_sync_targets()
    }

    async fn new_batches(&self) -> Self::Unmerkleized {
        Batch {
            store: DatabaseSet::<E>::new_batches(&self.store).await,
            view: View::of_final(self.hot.clone()),
            hot: self.hot.clone(),
            genesis: (self.hot.head().height == 0).then(|| self.genesis.clone()),
        }
    }

    fn fork_batches(parent: &Self::Merkleized) -> Self::Unmerkleized {
        Batch {
            store: <Shared<Store<E>> as DatabaseSet<E>>::fork_batches(&parent.store),
            view: View::after(parent.hot.clone(), parent.overlay.clone()),
            hot: parent.hot.clone(),
            genesis: None,
        }
    }

    fn matches_sync_targets(batches: &Self::Merkleized, targets: &Self::SyncTargets) -> bool {
        <Shared<Store<E>> as DatabaseSet<E>>::matches_sync_targets(&batches.store, targets)
    }

    fn readers(&self) {}

    async fn apply(&self, batches: Self::Merkleized) {
        DatabaseSet::<E>::apply(&self.store, batches.store).await;
        self.hot.apply(&batches.overlay);
    }

    async fn finalize(&self) -> Barrier {
        DatabaseSet::<E>::finalize(&self.store).await
    }

    async fn prune(&self, targets: &Self::SyncTargets) {
        DatabaseSet::<E>::prune(&self.store, targets).await;
    }

    async fn committed_targets(&self) -> Self::SyncTargets {
        DatabaseSet::<E>::committed_targets(&self.store).await
    }
}
