//! A disk that forgets: what was not synced when the power went is lost, or torn.
//!
//! | change | after a crash |
//! |---|---|
//! | synced, or written with `SYNC` | there |
//! | written, not synced | any subset of its bytes is there, each byte that is not as it was before |
//! | resized, not synced | happened or not |
//! | created, removed | there, gone |
//!
//! Which of the allowed outcomes comes true is drawn from the plan's seed. A disk that lies says
//! that it synced and did not.

use crate::life::Life;
use commonware_runtime::{
    Blob, BlobVersion, Error, Handle, IoBufs, IoBufsMut, ReadOptions, WriteOptions,
};
use muster_types::Hash;
use rand_core::Rng;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

/// What a crash does to changes that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unsynced {
    /// All are lost.
    Lost,
    /// Each write leaves a beginning, which may be all of it.
    Prefix,
    /// Each write leaves some of its bytes.
    Torn,
}

/// A validator's disk. It outlives the process that writes to it.
#[derive(Default)]
pub struct Disk {
    partitions: Mutex<BTreeMap<String, BTreeMap<Vec<u8>, Shared>>>,
    /// Partitions whose name contains this are not synced, though it says so.
    lies: Option<String>,
}

type Shared = Arc<Mutex<File>>;

#[derive(Default)]
struct File {
    version: Option<BlobVersion>,
    /// What a process reads.
    live: Vec<u8>,
    /// What a crash leaves for certain.
    durable: Vec<u8>,
    /// What leads from the one to the other, the oldest first.
    pending: Vec<Change>,
    /// Alive while it is open.
    holder: Weak<()>,
}

enum Change {
    Write { offset: usize, bytes: Vec<u8>, synced: bool },
    Resize(usize),
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes, .. } => write(to, *offset, bytes),
            Self::Resize(length) => to.resize(*length, 0),
        }
    }
}

fn write(to: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset.saturating_add(bytes.len());
    if to.len() < end {
        to.resize(end, 0);
    }
    to[offset..end].copy_from_slice(bytes);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl File {
    fn sync(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            change.apply(&mut self.durable);
        }
    }

    /// Leaves of what was not synced what `how` and the dice say.
    fn crash(&mut self, how: Unsynced, dice: &mut impl Rng) {
        for change in std::mem::take(&mut self.pending) {
            match (&change, how) {
                (Change::Write { synced: true, .. }, _) => change.apply(&mut self.durable),
                (_, Unsynced::Lost) => {}
                (Change::Resize(_), _) => {
                    if dice.next_u32().is_multiple_of(2) {
                        change.apply(&mut self.durable);
                    }
                }
                (Change::Write { offset, bytes, .. }, Unsynced::Prefix) => {
                    let most = u64::try_from(bytes.len()).unwrap_or(u64::MAX).saturating_add(1);
                    let kept = usize::try_from(dice.next_u64() % most).unwrap_or(0);
                    if kept > 0 {
                        write(&mut self.durable, *offset, &bytes[..kept]);
                    }
                }
                (Change::Write { offset, bytes, .. }, Unsynced::Torn) => {
                    let of_eight = dice.next_u32() % 9;
                    for (index, byte) in bytes.iter().enumerate() {
                        if dice.next_u32() % 8 < of_eight {
                            write(&mut self.durable, offset.saturating_add(index), &[*byte]);
                        }
                    }
                }
            }
        }
        self.live.clone_from(&self.durable);
        self.holder = Weak::new();
    }
}

impl Disk {
    /// An empty disk; one that `lies` does not sync the partitions whose name contains that.
    #[must_use]
    pub fn new(lies: Option<String>) -> Self {
        Self { lies, ..Self::default() }
    }

    /// The power goes, and comes back.
    pub fn crash(&self, how: Unsynced, dice: &mut impl Rng) {
        for file in lock(&self.partitions).values().flat_map(BTreeMap::values) {
            lock(file).crash(how, dice);
        }
    }

    /// Everything is gone.
    pub fn wipe(&self) {
        lock(&self.partitions).clear();
    }

    /// A hash of all that a process would read.
    #[must_use]
    pub fn digest(&self) -> Hash {
        let mut hasher = blake3::Hasher::new();
        for (partition, files) in lock(&self.partitions).iter() {
            for (name, file) in files {
                hasher.update(Hash::of("file", &[partition.as_bytes(), name]).as_bytes());
                hasher.update(Hash::of("contents", &[&lock(file).live]).as_bytes());
            }
        }
        Hash(hasher.finalize().into())
    }

    /// Opens or creates a file.
    pub(crate) fn open(
        &self,
        life: &Arc<Life>,
        (partition, name): (&str, &[u8]),
        versions: &RangeInclusive<BlobVersion>,
    ) -> Result<(DiskBlob, u64, BlobVersion), Error> {
        let mut partitions = lock(&self.partitions);
        let files = partitions.entry(partition.to_owned()).or_default();
        let created = !files.contains_key(name);
        let shared = files.entry(name.to_owned()).or_default().clone();
        let mut file = lock(&shared);
        if created {
            file.version = Some(*versions.end());
        }
        if file.holder.strong_count() > 0 {
            return Err(Error::BlobAlreadyOpen(partition.to_owned(), hex(name)));
        }
        let version = file.version.unwrap_or_else(|| *versions.end());
        if !versions.contains(&version) {
            let (expected, found) = (versions.clone(), version);
            return Err(Error::BlobVersionMismatch { expected, found });
        }
        let lies = self.lies.as_ref().is_some_and(|lies| partition.contains(lies.as_str()));
        if !lies {
            // What a process reads when it opens a file must survive the next crash.
            file.pending.retain(|change| matches!(change, Change::Write { synced: true, .. }));
            file.sync();
            file.live = file.durable.clone();
        }
        let holder = Arc::new(());
        file.holder = Arc::downgrade(&holder);
        let length = u64::try_from(file.live.len()).unwrap_or(u64::MAX);
        drop(file);
        Ok((DiskBlob { life: life.clone(), file: shared, lies, _holder: holder }, length, version))
    }

    pub(crate) fn remove(&self, partition: &str, name: Option<&[u8]>) -> Result<(), Error> {
        let mut partitions = lock(&self.partitions);
        let missing = || Error::PartitionMissing(partition.to_owned());
        match name {
            Some(name) => {
                let files = partitions.get_mut(partition).ok_or_else(missing)?;
                let blob = || Error::BlobMissing(partition.to_owned(), hex(name));
                files.remove(name).ok_or_else(blob)?;
            }
            None => drop(partitions.remove(partition).ok_or_else(missing)?),
        }
        Ok(())
    }

    pub(crate) fn scan(&self, partition: &str) -> Result<Vec<Vec<u8>>, Error> {
        let partitions = lock(&self.partitions);
        let files = partitions.get(partition);
        let files = files.ok_or_else(|| Error::PartitionMissing(partition.to_owned()))?;
        Ok(files.keys().cloned().collect())
    }
}

fn hex(name: &[u8]) -> String {
    use std::fmt::Write as _;
    name.iter().fold(String::new(), |mut text, byte| {
        // Writing into a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// An open file. It answers nothing once the process that opened it is dead.
pub struct DiskBlob {
    life: Arc<Life>,
    file: Shared,
    lies: bool,
    _holder: Arc<()>,
}

impl DiskBlob {
    fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>, Error> {
        let file = lock(&self.file);
        let start = usize::try_from(offset).map_err(|_| Error::OffsetOverflow)?;
        let end = start.checked_add(length).ok_or(Error::OffsetOverflow)?;
        file.live.get(start..end).map(<[u8]>::to_vec).ok_or(Error::BlobInsufficientLength)
    }

    fn change(&self, change: Change) {
        let mut file = lock(&self.file);
        change.apply(&mut file.live);
        file.pending.push(change);
    }

    /// A last change that the crash overtakes.
    fn overtaken(&self, change: Change) {
        lock(&self.file).pending.push(change);
    }
}

impl Blob for DiskBlob {
    async fn read_at_buf(
        &self,
        offset: u64,
        len: usize,
        bufs: impl Into<IoBufsMut> + Send,
        _: ReadOptions,
    ) -> Result<IoBufsMut, Error> {
        self.life.alive().await;
        let read = self.read(offset, len)?;
        let mut bufs = bufs.into();
        if bufs.len() == len {
            bufs.copy_from_slice(&read);
            return Ok(bufs);
        }
        Ok(read.into())
    }

    async fn read_at(&self, offset: u64, len: usize, _: ReadOptions) -> Result<IoBufsMut, Error> {
        self.life.alive().await;
        Ok(self.read(offset, len)?.into())
    }

    async fn write_at(
        &self,
        offset: u64,
        bufs: impl Into<IoBufs> + Send,
        options: WriteOptions,
    ) -> Result<(), Error> {
        let bytes = bufs.into().coalesce().as_ref().to_vec();
        let offset = usize::try_from(offset).map_err(|_| Error::OffsetOverflow)?;
        let synced = options.contains(WriteOptions::SYNC) && !self.lies;
        if self.life.is_dead() {
            return std::future::pending().await;
        }
        if self.life.writes() {
            self.overtaken(Change::Write { offset, bytes, synced: false });
            return std::future::pending().await;
        }
        self.change(Change::Write { offset, bytes, synced });
        Ok(())
    }

    async fn resize(&self, len: u64) -> Result<(), Error> {
        let length = usize::try_from(len).map_err(|_| Error::OffsetOverflow)?;
        if self.life.is_dead() {
            return std::future::pending().await;
        }
        if self.life.writes() {
            self.overtaken(Change::Resize(length));
            return std::future::pending().await;
        }
        self.change(Change::Resize(length));
        Ok(())
    }

    async fn sync(&self) -> Result<(), Error> {
        if self.life.is_dead() || self.life.writes() {
            return std::future::pending().await;
        }
        if !self.lies {
            lock(&self.file).sync();
        }
        Ok(())
    }

    async fn start_sync(&self) -> Handle<()> {
        Handle::ready(self.sync().await)
    }
}
