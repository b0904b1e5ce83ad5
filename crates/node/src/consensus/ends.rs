//! Ends of epochs: what leads from the validators of genesis to those of today.
//!
//! | the node | has the ends of |
//! |---|---|
//! | executed every block | all epochs, in its archive of blocks |
//! | fetched its state from peers | the epochs before that, as it proved them on its way; later ones in its archive |
//!
//! What it proved is in a journal of its own, in order from epoch 0. It is on disk before the state
//! is fetched; killed in between, the node walks again and adds what is missing.

use super::{
    committee::Epochs,
    settings::{BUFFER, SECTION},
    stack::Marshal,
    trail::{EpochEnd, MAX_END_BYTES, end_of},
};
use bytes::Bytes;
use commonware_codec::RangeCfg;
use commonware_consensus::types::Height;
use commonware_runtime::buffer::paged::CacheRef;
use commonware_storage::{
    Context as StorageContext,
    journal::contiguous::{
        Contiguous as _,
        variable::{Config, Journal},
    },
};
use futures::future::BoxFuture;
use muster_types::codec;
use std::sync::{Arc, Weak};

/// Ends of epochs that were proved on the way to a state of peers.
pub(crate) struct Proved<E: StorageContext>(Journal<E, Bytes>);

impl<E: StorageContext> Proved<E> {
    /// Opens them, and adds those of `walked`, which begins with epoch 0, that are missing.
    ///
    /// # Panics
    /// If storage fails.
    pub(crate) async fn open(
        context: E,
        (prefix, page_cache): (&str, CacheRef),
        walked: &[EpochEnd],
    ) -> Self {
        let settings = Config {
            partition: format!("{prefix}-ends"),
            items_per_section: SECTION,
            compression: None,
            codec_config: RangeCfg::from(..=MAX_END_BYTES),
            page_cache,
            write_buffer: BUFFER,
            replay_buffer: BUFFER,
        };
        let failed = "the ends of epochs cannot be stored";
        let mut journal = Journal::init(context, settings).await.expect(failed);
        let known = usize::try_from(journal.size()).unwrap_or(usize::MAX);
        if let Some(new) = walked.get(known..).filter(|new| !new.is_empty()) {
            for end in new {
                (journal, _) = journal.append(&codec::encode(end).into()).await.expect(failed);
            }
            journal = journal.sync().await.expect(failed);
        }
        Self(journal)
    }

    async fn get(&self, epoch: u64) -> Option<EpochEnd> {
        if !self.0.bounds().contains(&epoch) {
            return None;
        }
        let bytes = self.0.read(epoch).await.expect("the ends of epochs cannot be read");
        codec::decode(&bytes, MAX_END_BYTES).ok()
    }
}

type FindEnd = dyn Fn(u64) -> BoxFuture<'static, Option<EpochEnd>> + Send + Sync;
type Find = Arc<FindEnd>;

/// The ends of all epochs that a node has. Clones share it, and hold its storage: only what ends with
/// the engine may have one.
#[derive(Clone)]
pub(crate) struct Ends {
    pub(super) marshal: Marshal,
    epochs: Epochs,
    proved: Find,
}

/// [`Ends`] for whoever may outlive the engine.
#[derive(Clone)]
pub(crate) struct LentEnds {
    pub(super) marshal: Marshal,
    epochs: Epochs,
    proved: Weak<FindEnd>,
}

impl LentEnds {
    /// The end of an epoch, where the node has it and its engine has not ended.
    pub(crate) async fn get(&self, epoch: u64) -> Option<EpochEnd> {
        let Self { marshal, epochs, proved } = self.clone();
        Ends { marshal, epochs, proved: proved.upgrade()? }.get(epoch).await
    }
}

impl Ends {
    /// Those in the archive of blocks, and those that were `proved`.
    pub(crate) fn new<E: StorageContext>(
        marshal: Marshal,
        epochs: Epochs,
        proved: Proved<E>,
    ) -> Self {
        let proved = Arc::new(proved);
        let find = move |epoch| -> BoxFuture<'static, Option<EpochEnd>> {
            let proved = proved.clone();
            Box::pin(async move { proved.get(epoch).await })
        };
        Self { marshal, epochs, proved: Arc::new(find) }
    }

    /// For whoever may outlive the engine.
    pub(crate) fn lend(&self) -> LentEnds {
        let Self { marshal, epochs, proved } = self.clone();
        LentEnds { marshal, epochs, proved: Arc::downgrade(&proved) }
    }

    /// The end of an epoch, where the node has it.
    pub(crate) async fn get(&self, epoch: u64) -> Option<EpochEnd> {
        let last = Height::new(self.epochs.root(epoch.checked_add(1)?));
        match end_of(&self.marshal, last).await {
            Some(end) => Some(end),
            None => (self.proved)(epoch).await,
        }
    }
}
