//! What happened and what is over, beside the consensus state: blocks, their events under
//! everything that they concern, and the records that have left the state.
//!
//! | table | key | value |
//! |---|---|---|
//! | `blocks` | height | a block that had transactions or events, without the events |
//! | `transactions` | transaction | height, index in the block |
//! | `events` | height, position in the block | the block's time, the event |
//! | `subjects` | [`Subject`], height, position | (empty) |
//! | `archive` | state key | a record that has left the state; an index entry of one: (empty) |
//!
//! Written durably before a block's state is applied, so that after a crash it is never behind
//! the state: what has left the state is here already, and for a moment in both. So a reader that
//! looks into the state first and here next misses nothing. Writing the same block again is
//! harmless.

use crate::files;
use borsh::{BorshDeserialize, BorshSerialize};
use muster_ledger::{Event, State, archive, event::Subject};
use muster_types::{Amount, Hash, Millis, TxId, codec};
use redb::{
    Database, ReadOnlyTable, ReadTransaction, ReadableDatabase as _, TableDefinition,
    WriteTransaction,
};
use std::{
    cell::RefCell,
    fs::{self, File},
    io::{self, Read as _},
    path::Path,
    sync::Arc,
};
use tokio::sync::broadcast;

type Bytes = &'static [u8];

const BLOCKS: TableDefinition<'_, u64, Bytes> = TableDefinition::new("blocks");
const TRANSACTIONS: TableDefinition<'_, Bytes, (u64, u32)> = TableDefinition::new("transactions");
const EVENTS: TableDefinition<'_, (u64, u32), Bytes> = TableDefinition::new("events");
const SUBJECTS: TableDefinition<'_, Bytes, ()> = TableDefinition::new("subjects");
const ARCHIVE: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("archive");

/// Records come from this node's own disk; the bound only catches corruption.
const MAX_RECORD_BYTES: usize = 256 * 1024 * 1024;

/// The most memory that holds pages of the file.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// How many bytes say that a file is a database.
const MAGIC_BYTES: u64 = 9;

/// How many blocks a slow listener may lag behind before it has to catch up from disk.
const LIVE_BLOCKS: usize = 1024;

/// A final block's record.
#[derive(Clone, Debug, PartialEq, Eq)]
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
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// Where an event is: height, and position in the block's event root.
pub(crate) type Place = (u64, u32);

/// An event, where it is and when it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) place: Place,
    pub(crate) now: Millis,
    pub(crate) event: Event,
}

/// A block as it is kept: how many events, not which.
#[derive(BorshSerialize, BorshDeserialize)]
struct Kept {
    now: Millis,
    digest: Hash,
    state_root: Hash,
    event_root: Hash,
    header: Vec<u8>,
    transactions: Vec<(TxId, Amount, u32)>,
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

/// Whether a database was ever begun in a file. The magic number is what is written last of a new
/// one: zeros in its place are one whose making was cut short, in which nothing was kept.
fn is_begun(path: &Path) -> io::Result<bool> {
    let mut magic = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(MAGIC_BYTES).read_to_end(&mut magic)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    Ok(magic.iter().any(|byte| *byte != 0))
}

/// Keeps another process from making the same file at the same time, until it is dropped.
fn lock(path: &Path) -> io::Result<File> {
    let file = File::create(path.with_added_extension("lock"))?;
    file.lock()?;
    Ok(file)
}

/// The index. Clones share it.
#[derive(Clone)]
pub(crate) struct History {
    database: Arc<Database>,
    live: broadcast::Sender<Arc<BlockRecord>>,
}

impl History {
    /// Opens the index in the file `path`, or makes one: under another name, so that where a crash
    /// comes in between, the next start makes it again.
    ///
    /// # Errors
    /// [`HistoryError::Database`], also where another process has it open.
    pub(crate) fn open(path: &Path) -> Result<Self, HistoryError> {
        if !is_begun(path)? {
            let _making = lock(path)?;
            if !is_begun(path)? {
                let beside = path.with_added_extension("new");
                match fs::remove_file(&beside) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(error.into());
                    }
                    Ok(()) | Err(_) => {}
                }
                let made = Self::open_as_is(&beside)?;
                files::put(&beside, path)?;
                return Ok(made);
            }
        }
        Self::open_as_is(path)
    }

    fn open_as_is(path: &Path) -> Result<Self, HistoryError> {
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(path)?;
        let history =
            Self { database: Arc::new(database), live: broadcast::channel(LIVE_BLOCKS).0 };
        let write = history.write()?;
        write.open_table(BLOCKS)?;
        write.open_table(TRANSACTIONS)?;
        write.open_table(EVENTS)?;
        write.open_table(SUBJECTS)?;
        write.open_table(ARCHIVE)?;
        write.commit()?;
        Ok(history)
    }

    /// A transaction whose commit leaves nothing to be repaired by a full scan after a crash.
    fn write(&self) -> Result<WriteTransaction, HistoryError> {
        let mut write = self.database.begin_write()?;
        write.set_quick_repair(true);
        Ok(write)
    }

    /// Keeps a block, and the records that left the state with it (storage key and value),
    /// durably and together. May be called again for the same block.
    ///
    /// # Errors
    /// [`HistoryError::Database`].
    pub(crate) fn keep(
        &self,
        record: &BlockRecord,
        archived: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<(), HistoryError> {
        if record.is_empty() && archived.is_empty() {
            return Ok(());
        }
        let write = self.write()?;
        if !record.is_empty() {
            keep_block(&write, record)?;
            keep_events(&write, record)?;
        }
        {
            let mut table = write.open_table(ARCHIVE)?;
            for (key, value) in archived {
                table.insert(key.as_slice(), value.as_slice())?;
                for entry in archive::entries(key, value) {
                    table.insert(entry.as_slice(), [].as_slice())?;
                }
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
        self.next_block(height, height.saturating_add(1))
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
        let height = key.value();
        let kept: Kept = decode(height, bytes.value())?;
        let mut events = events_of_block(&read, height)?.into_iter();
        let transactions = kept.transactions.into_iter().map(|(id, fee, count)| {
            let events = events.by_ref().take(count as usize).collect();
            TxRecord { id, fee, events }
        });
        Ok(Some(BlockRecord {
            height,
            now: kept.now,
            digest: kept.digest,
            state_root: kept.state_root,
            event_root: kept.event_root,
            header: kept.header,
            transactions: transactions.collect(),
            end_events: events.collect(),
        }))
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

    /// The first events that concern `subject`, after `after` and up to block `last`.
    ///
    /// # Errors
    /// [`HistoryError`].
    pub(crate) fn events_of(
        &self,
        subject: &Subject,
        after: Option<Place>,
        last: u64,
        limit: usize,
    ) -> Result<Vec<Placed>, HistoryError> {
        let subject = codec::encode(subject);
        let mut start = entry(&subject, after.unwrap_or((0, 0)));
        if after.is_some() {
            start.push(0);
        }
        let end = entry(&subject, (last, u32::MAX));
        if start > end {
            return Ok(Vec::new());
        }
        let read = self.database.begin_read()?;
        let (subjects, events) = (read.open_table(SUBJECTS)?, read.open_table(EVENTS)?);
        let mut found = Vec::new();
        for key in subjects.range(start.as_slice()..=end.as_slice())?.take(limit) {
            let (key, _) = key?;
            let Some(place) = place(key.value()) else { continue };
            let Some(bytes) = events.get(place)? else { continue };
            let (now, event) = decode(place.0, bytes.value())?;
            found.push(Placed { place, now, event });
        }
        Ok(found)
    }

    /// Lets `reader` look into the records that have left the state, as if they were a state.
    ///
    /// # Errors
    /// [`HistoryError::Database`].
    pub(crate) fn archive<T>(
        &self,
        reader: impl FnOnce(&dyn State) -> T,
    ) -> Result<T, HistoryError> {
        let table = self.database.begin_read()?.open_table(ARCHIVE)?;
        let archive = Archive { table, failure: RefCell::default() };
        let read = reader(&archive);
        match archive.failure.into_inner() {
            None => Ok(read),
            Some(error) => Err(error.into()),
        }
    }
}

/// The records that have left the state. A state has no errors: the first one is put aside, and
/// what was read with it is thrown away.
struct Archive {
    table: ReadOnlyTable<Bytes, Bytes>,
    failure: RefCell<Option<redb::StorageError>>,
}

impl Archive {
    fn done<T>(&self, result: Result<T, redb::StorageError>) -> Option<T> {
        result.map_err(|error| *self.failure.borrow_mut() = Some(error)).ok()
    }
}

impl State for Archive {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.done(self.table.get(key))?.map(|value| value.value().to_vec())
    }

    fn range<'a>(
        &'a self,
        start: &[u8],
        end: &[u8],
    ) -> Box<dyn Iterator<Item = (Vec<u8>, Vec<u8>)> + 'a> {
        if start >= end {
            return Box::new(std::iter::empty());
        }
        let Some(entries) = self.done(self.table.range(start..end)) else {
            return Box::new(std::iter::empty());
        };
        let owned = entries.map(|entry| {
            let (key, value) = self.done(entry)?;
            Some((key.value().to_vec(), value.value().to_vec()))
        });
        Box::new(owned.map_while(|entry| entry))
    }
}

fn keep_block(write: &WriteTransaction, record: &BlockRecord) -> Result<(), HistoryError> {
    let count = |tx: &TxRecord| u32::try_from(tx.events.len()).unwrap_or(u32::MAX);
    let kept = Kept {
        now: record.now,
        digest: record.digest,
        state_root: record.state_root,
        event_root: record.event_root,
        header: record.header.clone(),
        transactions: record.transactions.iter().map(|tx| (tx.id, tx.fee, count(tx))).collect(),
    };
    write.open_table(BLOCKS)?.insert(record.height, codec::encode(&kept).as_slice())?;
    let mut transactions = write.open_table(TRANSACTIONS)?;
    for (index, tx) in (0u32..).zip(&record.transactions) {
        transactions.insert(tx.id.0.as_bytes().as_slice(), (record.height, index))?;
    }
    Ok(())
}

fn keep_events(write: &WriteTransaction, record: &BlockRecord) -> Result<(), HistoryError> {
    let mut events = write.open_table(EVENTS)?;
    let mut subjects = write.open_table(SUBJECTS)?;
    for (position, event) in (0u32..).zip(record.events()) {
        let place = (record.height, position);
        events.insert(place, codec::encode(&(record.now, event)).as_slice())?;
        for subject in event.subjects() {
            subjects.insert(entry(&codec::encode(&subject), place).as_slice(), ())?;
        }
    }
    Ok(())
}

fn events_of_block(read: &ReadTransaction, height: u64) -> Result<Vec<Event>, HistoryError> {
    let table = read.open_table(EVENTS)?;
    let entries = table.range((height, 0)..=(height, u32::MAX))?;
    let event = |entry: Result<_, redb::StorageError>| {
        let (_, bytes): (_, redb::AccessGuard<'_, Bytes>) = entry?;
        decode::<(Millis, Event)>(height, bytes.value()).map(|(_, event)| event)
    };
    entries.map(event).collect()
}

/// The key of an event under a subject; sorts by place.
fn entry(subject: &[u8], (height, position): Place) -> Vec<u8> {
    [subject, height.to_be_bytes().as_slice(), position.to_be_bytes().as_slice()].concat()
}

/// The place at the end of such a key.
fn place(entry: &[u8]) -> Option<Place> {
    let (rest, position) = entry.split_last_chunk::<4>()?;
    let (_, height) = rest.split_last_chunk::<8>()?;
    Some((u64::from_be_bytes(*height), u32::from_be_bytes(*position)))
}

fn decode<T: BorshDeserialize>(height: u64, bytes: &[u8]) -> Result<T, HistoryError> {
    codec::decode(bytes, MAX_RECORD_BYTES)
        .map_err(|source| HistoryError::Corrupt { height, source })
}

#[cfg(test)]
mod tests;
