//! What happened, block by block: a local index beside the consensus state.
//!
//! Written durably before a block's state is applied, so that after a crash it is never behind
//! the state; writing the same block again is harmless. Blocks without transactions and events
//! are not kept here.

use borsh::{BorshDeserialize, BorshSerialize};
use muster_ledger::Event;
use muster_types::{Amount, Hash, Millis, TxId, codec};
use redb::{Database, ReadableDatabase as _, TableDefinition};
use std::{path::Path, sync::Arc};
use tokio::sync::broadcast;

const BLOCKS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("blocks");
const TRANSACTIONS: TableDefinition<'_, &[u8], (u64, u32)> = TableDefinition::new("transactions");

/// Records come from this node's own disk; the bound only catches corruption.
const MAX_RECORD_BYTES: usize = 256 * 1024 * 1024;

/// How many blocks a slow listener may lag behind before it has to catch up from disk.
const LIVE_BLOCKS: usize = 1024;

/// A final block's record.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BlockRecord {
    /// Its height.
    pub height: u64,
    /// Its time.
    pub now: Millis,
    /// What the validators signed.
    pub digest: Hash,
    /// Root of the state after it.
    pub state_root: Hash,
    /// Root over its events.
    pub event_root: Hash,
    /// What hashes to `digest`.
    pub header: Vec<u8>,
    /// Its transactions, in order.
    pub transactions: Vec<TxRecord>,
    /// The events of its end.
    pub end_events: Vec<Event>,
}

/// One transaction of a final block.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TxRecord {
    /// Its id.
    pub id: TxId,
    /// What it cost, `usd`.
    pub fee: Amount,
    /// What it did.
    pub events: Vec<Event>,
}

impl BlockRecord {
    /// All events, in the order in which the event root has them.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.transactions.iter().flat_map(|tx| &tx.events).chain(&self.end_events)
    }

    /// Whether there is nothing to keep.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.transactions.is_empty() && self.end_events.is_empty()
    }
}

/// Why the index could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The database failed.
    #[error("the history database failed")]
    Database(#[source] Box<redb::Error>),
    /// A record cannot be read.
    #[error(
        "block {height} is unreadable in the history database: remove the file to rebuild it empty"
    )]
    Corrupt {
        /// Which block.
        height: u64,
        /// Why.
        #[source]
        source: codec::DecodeError,
    },
}

impl<E: Into<redb::Error>> From<E> for HistoryError {
    fn from(error: E) -> Self {
        Self::Database(Box::new(error.into()))
    }
}

/// The index. Clones share it.
#[derive(Clone)]
pub(crate) struct History {
    database: Arc<Database>,
    live: broadcast::Sender<Arc<BlockRecord>>,
}

impl History {
    /// Opens the index in the file `path`, or makes one.
    ///
    /// # Errors
    /// [`HistoryError::Database`], also where another process has it open.
    pub(crate) fn open(path: &Path) -> Result<Self, HistoryError> {
        let database = Database::create(path)?;
        let write = database.begin_write()?;
        write.open_table(BLOCKS)?;
        write.open_table(TRANSACTIONS)?;
        write.commit()?;
        let (live, _) = broadcast::channel(LIVE_BLOCKS);
        Ok(Self { database: Arc::new(database), live })
    }

    /// Keeps a block durably. May be called again for the same block.
    ///
    /// # Errors
    /// [`HistoryError::Database`].
    pub(crate) fn keep(&self, record: &BlockRecord) -> Result<(), HistoryError> {
        if record.is_empty() {
            return Ok(());
        }
        let write = self.database.begin_write()?;
        write.open_table(BLOCKS)?.insert(record.height, codec::encode(record).as_slice())?;
        {
            let mut transactions = write.open_table(TRANSACTIONS)?;
            for (index, tx) in (0u32..).zip(&record.transactions) {
                transactions.insert(tx.id.0.as_bytes().as_slice(), (record.height, index))?;
            }
        }
        write.commit()?;
        Ok(())
    }

    /// Tells listeners of a block whose state is applied.
    pub(crate) fn announce(&self, record: Arc<BlockRecord>) {
        // No listener is no error.
        let _ = self.live.send(record);
    }

    /// Blocks from now on, as they become final.
    #[must_use]
    pub(crate) fn listen(&self) -> broadcast::Receiver<Arc<BlockRecord>> {
        self.live.subscribe()
    }

    /// The block at `height`; `None` where it is not kept.
    ///
    /// # Errors
    /// [`HistoryError`].
    pub(crate) fn block(&self, height: u64) -> Result<Option<BlockRecord>, HistoryError> {
        let read = self.database.begin_read()?;
        let found = read.open_table(BLOCKS)?.get(height)?;
        found.map(|bytes| decode(height, bytes.value())).transpose()
    }

    /// The first kept block at or above `height` and below `end`.
    ///
    /// # Errors
    /// [`HistoryError`].
    pub(crate) fn next_block(
        &self,
        height: u64,
        end: u64,
    ) -> Result<Option<BlockRecord>, HistoryError> {
        if height >= end {
            return Ok(None);
        }
        let read = self.database.begin_read()?;
        let table = read.open_table(BLOCKS)?;
        let Some(entry) = table.range(height..end)?.next() else { return Ok(None) };
        let (key, bytes) = entry?;
        decode(key.value(), bytes.value()).map(Some)
    }

    /// The block and place in it of a transaction; `None` where it is not final.
    ///
    /// # Errors
    /// [`HistoryError`].
    pub(crate) fn transaction(
        &self,
        id: &TxId,
    ) -> Result<Option<(BlockRecord, usize)>, HistoryError> {
        let read = self.database.begin_read()?;
        let found = read.open_table(TRANSACTIONS)?.get(id.0.as_bytes().as_slice())?;
        let Some((height, index)) = found.map(|place| place.value()) else { return Ok(None) };
        let block = self.block(height)?;
        Ok(block.map(|block| (block, index as usize)))
    }
}

fn decode(height: u64, bytes: &[u8]) -> Result<BlockRecord, HistoryError> {
    codec::decode(bytes, MAX_RECORD_BYTES)
        .map_err(|source| HistoryError::Corrupt { height, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(height: u64) -> BlockRecord {
        BlockRecord {
            height,
            now: Millis(height * 10),
            digest: Hash::of_content(&height.to_le_bytes()),
            state_root: Hash::ZERO,
            event_root: Hash::ZERO,
            header: vec![1, 2],
            transactions: vec![TxRecord {
                id: TxId(Hash::of_content(&height.to_be_bytes())),
                fee: Amount::from_nanos(5),
                events: vec![],
            }],
            end_events: vec![],
        }
    }

    #[test]
    fn blocks_are_found_after_a_reopen_and_writing_twice_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.redb");
        let history = History::open(&path).unwrap();
        for height in [3, 5, 5] {
            history.keep(&record(height)).unwrap();
        }
        drop(history);
        let history = History::open(&path).unwrap();
        assert_eq!(history.block(5).unwrap(), Some(record(5)));
        assert_eq!(history.block(4).unwrap(), None);
        assert_eq!(history.next_block(0, 9).unwrap(), Some(record(3)));
        assert_eq!(history.next_block(4, 9).unwrap(), Some(record(5)));
        assert_eq!(history.next_block(4, 5).unwrap(), None);
        let id = record(5).transactions[0].id;
        assert_eq!(history.transaction(&id).unwrap(), Some((record(5), 0)));
        assert_eq!(history.transaction(&TxId(Hash::ZERO)).unwrap(), None);
    }

    #[test]
    fn blocks_without_content_are_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let history = History::open(&dir.path().join("history.redb")).unwrap();
        history.keep(&BlockRecord { transactions: vec![], ..record(1) }).unwrap();
        assert_eq!(history.block(1).unwrap(), None);
    }
}
