//! The layers that are here: a directory shared by all images.
//!
//! ```text
//! lock                            held while a process has the store open
//! layers/<diff id>.<ids>[.<scope>]/fs         an unpacked layer
//! layers/<diff id>.<ids>[.<scope>]/meta.json  what it is; its time is when it was last used
//! partial/<the same>.<digest>     a layer's download, as far as it came
//! tmp/<n>                         what is being made or taken away; swept when the store opens
//! ```
//!
//! A layer is made in `tmp`, written to the disk, and then renamed: half a layer is never seen. The
//! store holds at most its bound of bytes, in which layers in use, downloads, and what is being
//! unpacked count. For something new, what was used longest ago goes first; what is in use never.
//!
//! *Scope*: a layer that came with credentials is shared only within the repository that it came
//! from. Otherwise whoever knows the hash of a private layer could name it in an image of his own.

use super::{
    digest::Digest,
    error::PullError,
    unpack::{Opaque, Unpacked},
};
use rustix::{
    fs::{AtFlags, CWD, FlockOperation, Timespec, Timestamps, UTIME_NOW, flock, syncfs, utimensat},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File},
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::SystemTime,
};
use tokio::sync::OwnedMutexGuard;

const FORMAT: u32 = 1;
const META_BYTES_MAX: u64 = 4096;

/// The shared layers of one directory. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    pub(super) inner: Arc<Inner>,
}

/// What a store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreStats {
    /// Bytes that it may hold.
    pub bound: u64,
    /// Bytes that it holds, and has promised to what is on the way.
    pub bytes: u64,
    /// Bytes of layers in use.
    pub bytes_in_use: u64,
    /// Layers.
    pub layers: usize,
}

#[derive(Debug)]
pub(super) struct Inner {
    root: PathBuf,
    bound: u64,
    pub(super) opaque: Opaque,
    state: Mutex<State>,
    /// One pull at a time for each layer.
    flights: Mutex<BTreeMap<String, Weak<tokio::sync::Mutex<()>>>>,
    _lock: File,
}

#[derive(Debug, Default)]
struct State {
    /// By path in the store.
    entries: BTreeMap<PathBuf, Kept>,
    /// Of all entries and reservations.
    bytes: u64,
    clock: u64,
    scratch: u64,
}

#[derive(Debug)]
struct Kept {
    bytes: u64,
    entries: u64,
    used: u64,
    pins: usize,
}

/// What is written beside a layer.
#[derive(Debug, Serialize, Deserialize)]
struct Meta {
    format: u32,
    diff_id: Digest,
    bytes: u64,
    entries: u64,
    /// Whether its opaque directories are marked for mounts with `userxattr`.
    userxattr: bool,
}

/// An unpacked layer in use. It stays in the store until the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Layer {
    diff_id: Digest,
    pin: Arc<Pin>,
}

#[derive(Debug)]
struct Pin {
    inner: Arc<Inner>,
    path: PathBuf,
    bytes: u64,
    entries: u64,
}

impl Layer {
    /// The digest of its archive.
    #[must_use]
    pub const fn diff_id(&self) -> Digest {
        self.diff_id
    }

    /// The directory to give to overlayfs as a lower one.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.pin.inner.root.join(&self.pin.path).join("fs")
    }

    /// What it takes on disk, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.pin.bytes
    }

    /// Files, directories, links and whiteouts.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.pin.entries
    }

    /// Its name in the store.
    pub(super) fn name(&self) -> String {
        self.pin.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut state = self.inner.state();
        if let Some(kept) = state.entries.get_mut(&self.path) {
            kept.pins = kept.pins.saturating_sub(1);
        }
    }
}

impl Store {
    /// Opens the store in `dir`, which is made if need be, with room for `bound` bytes. Sweeps
    /// what a crash has left. Nothing is in use at first: who goes on with containers of before
    /// holds their images ([`Store::hold`]) before anything is pulled.
    ///
    /// Blocks on the disk.
    ///
    /// # Errors
    /// [`PullError::StoreInUse`], [`PullError::Io`].
    pub fn open(dir: &Path, bound: u64) -> Result<Self, PullError> {
        let io = |what, path: &Path| {
            let path = path.to_owned();
            move |source: io::Error| PullError::io(what, path, source)
        };
        for part in [dir.to_owned(), dir.join("layers"), dir.join("partial"), dir.join("tmp")] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&part)
                .map_err(io("making a directory of the layers' store", &part))?;
        }
        let root = dir.canonicalize().map_err(io("finding the layers' store", dir))?;
        let lock = File::create(root.join("lock")).map_err(io("opening the lock", &root))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Err(PullError::StoreInUse { path: root }),
            locked => locked.map_err(|error| PullError::io("locking", &root, error))?,
        }
        let tmp = root.join("tmp");
        for left in fs::read_dir(&tmp).map_err(io("reading", &tmp))? {
            remove(&left.map_err(io("reading", &tmp))?.path());
        }
        let opaque = Opaque::that_works_on(&tmp)
            .map_err(io("setting extended attributes, which overlayfs needs,", &tmp))?;
        let state = Mutex::new(found(&root, opaque)?);
        let flights = Mutex::new(BTreeMap::new());
        let inner = Arc::new(Inner { root, bound, opaque, state, flights, _lock: lock });
        Ok(Self { inner })
    }

    /// Whether overlays of these layers are to be mounted with `userxattr`, because this process
    /// may not set root's attributes.
    #[must_use]
    pub fn userxattr(&self) -> bool {
        self.inner.opaque == Opaque::User
    }

    /// What it holds.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        let state = self.inner.state();
        let in_use = state.entries.values().filter(|kept| kept.pins > 0);
        StoreStats {
            bound: self.inner.bound,
            bytes: state.bytes,
            bytes_in_use: in_use.map(|kept| kept.bytes).sum(),
            layers: state.entries.keys().filter(|path| path.starts_with("layers")).count(),
        }
    }

    /// A layer that is here, from now on in use.
    pub(super) fn layer(&self, name: &str, diff_id: Digest) -> Option<Layer> {
        let path = Path::new("layers").join(name);
        let (bytes, entries) = {
            let mut state = self.inner.state();
            state.clock += 1;
            let now = state.clock;
            let kept = state.entries.get_mut(&path)?;
            kept.used = now;
            kept.pins += 1;
            (kept.bytes, kept.entries)
        };
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        let meta = self.inner.root.join(&path).join("meta.json");
        if let Err(error) = utimensat(CWD, &meta, &times, AtFlags::empty()) {
            tracing::debug!(%error, meta = %meta.display(), "the time of use was not written");
        }
        let pin = Pin { inner: Arc::clone(&self.inner), path, bytes, entries };
        Some(Layer { diff_id, pin: Arc::new(pin) })
    }

    /// Waits until nobody else brings the layer of this name.
    pub(super) async fn flight(&self, name: &str) -> OwnedMutexGuard<()> {
        let flight = {
            let mut flights = self.inner.flights.lock().unwrap_or_else(PoisonError::into_inner);
            flights.retain(|_, flight| flight.strong_count() > 0);
            let known = flights.get(name).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let flight = Arc::default();
                flights.insert(name.to_owned(), Arc::downgrade(&flight));
                flight
            })
        };
        flight.lock_owned().await
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn scratch(&self) -> PathBuf {
        let mut state = self.state();
        state.scratch += 1;
        self.root.join("tmp").join(state.scratch.to_string())
    }

    /// Takes `bytes` more into account, and away what was used longest ago if that is needed.
    fn reserve(&self, bytes: u64) -> Result<(), PullError> {
        loop {
            let gone = {
                let mut state = self.state();
                let wanted = state.bytes.saturating_add(bytes);
                if wanted <= self.bound {
                    state.bytes = wanted;
                    return Ok(());
                }
                let unused = state.entries.iter().filter(|(_, kept)| kept.pins == 0);
                let oldest = unused.min_by_key(|(_, kept)| kept.used).map(|(path, _)| path.clone());
                let Some(path) = oldest else {
                    return Err(PullError::StoreFull { needed: bytes, bound: self.bound });
                };
                let kept = state.entries.remove(&path);
                state.bytes = state.bytes.saturating_sub(kept.map_or(0, |kept| kept.bytes));
                state.scratch += 1;
                let gone = self.root.join("tmp").join(state.scratch.to_string());
                let from = self.root.join(&path);
                fs::rename(&from, &gone)
                    .map_err(|error| PullError::io("taking away a layer", from, error))?;
                gone
            };
            remove(&gone);
        }
    }
}

/// Bytes of the store for something that is on the way; given back when dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    inner: Arc<Inner>,
    bytes: u64,
}

impl Reservation {
    /// Blocks on the disk, as [`Reservation::grow`] does.
    pub(super) fn new(inner: &Arc<Inner>, bytes: u64) -> Result<Self, PullError> {
        inner.reserve(bytes)?;
        Ok(Self { inner: Arc::clone(inner), bytes })
    }

    pub(super) fn grow(&mut self, bytes: u64) -> Result<(), PullError> {
        self.inner.reserve(bytes)?;
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut state = self.inner.state();
        state.bytes = state.bytes.saturating_sub(self.bytes);
    }
}

/// A download on the way. When dropped, what there is of it is kept for the next one.
#[derive(Debug)]
pub(super) struct Partial {
    inner: Arc<Inner>,
    path: PathBuf,
    reservation: Option<Reservation>,
}

impl Partial {
    /// The download of `digest` for the layer of this name, as far as it came. Needs the layer's
    /// flight. Blocks on the disk.
    pub(super) fn new(
        store: &Store,
        name: &str,
        digest: Digest,
        size: u64,
    ) -> Result<Self, PullError> {
        let inner = Arc::clone(&store.inner);
        let path = Path::new("partial").join(format!("{name}.{}", digest.hex()));
        {
            let mut state = inner.state();
            let kept = state.entries.remove(&path).map_or(0, |kept| kept.bytes);
            state.bytes = state.bytes.saturating_sub(kept);
        }
        let mut partial = Self { inner, path, reservation: None };
        partial.reservation = Some(Reservation::new(&partial.inner, size)?);
        Ok(partial)
    }

    pub(super) fn path(&self) -> PathBuf {
        self.inner.root.join(&self.path)
    }

    /// It is of no more use.
    pub(super) fn discard(self) {
        if let Err(error) = fs::remove_file(self.path()) {
            tracing::warn!(%error, path = %self.path().display(), "a download was not removed");
        }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        drop(self.reservation.take());
        let Ok(file) = fs::metadata(self.path()) else { return };
        if file.len() == 0 {
            remove(&self.path());
            return;
        }
        let mut state = self.inner.state();
        state.keep(self.path.clone(), file.len(), 0);
    }
}

impl State {
    fn keep(&mut self, path: PathBuf, bytes: u64, entries: u64) {
        self.clock += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        self.entries.insert(path, Kept { bytes, entries, used: self.clock, pins: 0 });
    }
}

/// A layer's directory while it is filled; taken away when dropped.
#[derive(Debug)]
pub(super) struct Draft {
    inner: Arc<Inner>,
    dir: PathBuf,
}

impl Draft {
    pub(super) fn new(store: &Store) -> Result<Self, PullError> {
        let (inner, dir) = (Arc::clone(&store.inner), store.inner.scratch());
        let draft = Self { inner, dir };
        let made = DirBuilder::new().recursive(true).mode(0o700).create(draft.files());
        made.map_err(|error| PullError::io("making a layer's directory", draft.files(), error))?;
        Ok(draft)
    }

    /// Where the layer's files go.
    pub(super) fn files(&self) -> PathBuf {
        self.dir.join("fs")
    }

    /// Makes a layer of it, once it is on the disk. Needs the layer's flight.
    pub(super) fn commit(
        self,
        store: &Store,
        name: &str,
        unpacked: &Unpacked,
        mut reservation: Reservation,
    ) -> Result<Layer, PullError> {
        let io = |what, path: &Path| {
            let path = path.to_owned();
            move |source: io::Error| PullError::io(what, path, source)
        };
        let meta = Meta {
            format: FORMAT,
            diff_id: unpacked.diff_id,
            bytes: unpacked.bytes,
            entries: unpacked.entries,
            userxattr: store.userxattr(),
        };
        let beside = self.dir.join("meta.json");
        let text = serde_json::to_vec(&meta).map_err(io::Error::from);
        let mut file = File::create(&beside).map_err(io("writing", &beside))?;
        file.write_all(&text.map_err(io("writing", &beside))?).map_err(io("writing", &beside))?;
        syncfs(&file).map_err(|error| PullError::io("writing to disk", &beside, error))?;

        let path = Path::new("layers").join(name);
        let to = self.inner.root.join(&path);
        fs::rename(&self.dir, &to).map_err(io("naming a layer", &to))?;
        let layers = self.inner.root.join("layers");
        let synced = File::open(&layers).and_then(|layers| layers.sync_all());
        synced.map_err(io("writing to disk", &layers))?;
        let mut state = self.inner.state();
        state.bytes = state.bytes.saturating_sub(std::mem::take(&mut reservation.bytes));
        let (bytes, entries) = (unpacked.bytes, unpacked.entries);
        state.keep(path.clone(), bytes, entries);
        if let Some(kept) = state.entries.get_mut(&path) {
            kept.pins = 1;
        }
        drop(state);
        let pin = Pin { inner: Arc::clone(&self.inner), path, bytes, entries };
        Ok(Layer { diff_id: unpacked.diff_id, pin: Arc::new(pin) })
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        remove(&self.dir);
    }
}

/// What is in a store's directory. What cannot be used is taken away.
fn found(root: &Path, opaque: Opaque) -> Result<State, PullError> {
    let mut all: Vec<(SystemTime, PathBuf, u64, u64)> = Vec::new();
    for kind in ["layers", "partial"] {
        let dir = root.join(kind);
        let io = |error| PullError::io("reading", &dir, error);
        for entry in fs::read_dir(&dir).map_err(io)? {
            let name = entry.map_err(io)?.file_name();
            let path = dir.join(&name);
            let known = if kind == "layers" { layer(&path, opaque) } else { partial(&path) };
            match known {
                Some((used, bytes, entries)) => {
                    all.push((used, Path::new(kind).join(name), bytes, entries));
                }
                None => remove(&path),
            }
        }
    }
    all.sort();
    let mut state = State::default();
    for (_, path, bytes, entries) in all {
        state.keep(path, bytes, entries);
    }
    Ok(state)
}

fn layer(path: &Path, opaque: Opaque) -> Option<(SystemTime, u64, u64)> {
    let beside = path.join("meta.json");
    let used = fs::metadata(&beside).ok().filter(|meta| meta.len() <= META_BYTES_MAX)?;
    let meta: Meta = serde_json::from_slice(&fs::read(&beside).ok()?).ok()?;
    let named = path.file_name()?.to_str()?.starts_with(&meta.diff_id.hex());
    let fits = meta.format == FORMAT && meta.userxattr == (opaque == Opaque::User) && named;
    (fits && path.join("fs").is_dir())
        .then(|| (used.modified().unwrap_or(SystemTime::UNIX_EPOCH), meta.bytes, meta.entries))
}

fn partial(path: &Path) -> Option<(SystemTime, u64, u64)> {
    let file = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file)?;
    Some((file.modified().unwrap_or(SystemTime::UNIX_EPOCH), file.len(), 0))
}

/// Takes a file or a directory away. What stays is swept when the store opens the next time.
fn remove(path: &Path) {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, path = %path.display(), "it was not removed");
        }
        _ => {}
    }
}
