//! Turns a layer's archive into a directory that overlayfs takes as a lower one.
//!
//! The archive is a stranger's, and this runs with rights that the stranger does not have:
//!
//! | the archive has | what happens |
//! |---|---|
//! | `..` in a name or in a hard link's target | refused |
//! | an absolute name | taken from the layer's root |
//! | a name through a symbolic link | followed inside of the layer's root; refused if it leads nowhere there |
//! | a symbolic link, wherever to | made; never followed out of the layer |
//! | a hard link to what the layer does not have | refused |
//! | a device, a sparse file, an unknown kind | refused |
//! | a name twice | the last one counts; a directory is kept and only gets new attributes |
//! | setuid, setgid, sticky | kept (the container's mounts are nosuid); dropped if ids are squashed |
//! | owners | shifted by the [`IdMap`]; refused outside of its range |
//! | extended attributes | dropped: capabilities would do nothing without new privileges, and `overlay.*` would talk to the kernel |
//! | `.wh.name` | a whiteout: a character device 0/0 |
//! | `.wh..wh..opq` | the attribute `overlay.opaque` of its directory |
//! | more bytes, entries or headers than allowed | refused as soon as it shows |
//!
//! A layer is unpacked alone, so that images share it whatever is below. A directory that a layer
//! has files in but no entry for is root's with mode 755, even where a layer below says otherwise.

mod source;
mod tree;

use super::{digest::Digest, error::Blame, limits::IdMap};
use source::{Gate, open};
use std::{
    cell::Cell,
    ffi::OsStr,
    fs::File,
    io::{self, Read as _},
    os::unix::ffi::OsStrExt as _,
    path::{Component, Path, PathBuf},
    rc::Rc,
    sync::Arc,
};
use tar::{Archive, Entry, EntryType};
use tree::{Attributes, Tree};

pub(super) use tree::Opaque;

/// The longest name of an entry, as of the system.
const PATH_BYTES_MAX: usize = 4095;
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// What an entry costs beyond its bytes, which are rounded up to [`BLOCK_BYTES`].
const ENTRY_BYTES: u64 = 512;
const BLOCK_BYTES: u64 = 4096;
/// The deepest that an entry may be: every name is walked from the root.
const DEPTH_MAX: usize = 256;

/// Why a layer is not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum LayerProblem {
    /// Neither plain, gzip nor zstd, or broken.
    #[error("it is no archive that can be read{}: push the image again", of(entry.as_ref()))]
    Broken {
        /// The last entry.
        entry: Option<PathBuf>,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What was unpacked is not what the image's configuration names.
    #[error("its archive is {got}, the image's configuration says {expected}: build it again")]
    WrongArchive {
        /// What the configuration says.
        expected: Digest,
        /// What is there.
        got: Digest,
    },
    /// A name that is none, or leads up.
    #[error("`{}` {problem}", entry.display())]
    Name {
        /// The entry.
        entry: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
    /// A hard link out.
    #[error("`{}` is a hard link to `{}`, which is no file of the same layer", entry.display(), target.display())]
    HardLink {
        /// The entry.
        entry: PathBuf,
        /// What it links to.
        target: PathBuf,
    },
    /// Something that no container needs in its image.
    #[error("`{}` is {kind}: build the image without it", entry.display())]
    Kind {
        /// The entry.
        entry: PathBuf,
        /// What it is.
        kind: String,
    },
    /// An owner that the host does not have.
    #[error("`{}` belongs to id {id}, and containers here have 0 to {last}: change its owner in the image", entry.display())]
    Owner {
        /// The entry.
        entry: PathBuf,
        /// User or group.
        id: u64,
        /// The last one that there is.
        last: u32,
    },
    /// More than allowed.
    #[error("it has more than {limit}{}: make the image smaller, or raise the provider's limit", of(entry.as_ref()))]
    TooLarge {
        /// How much is allowed, with its unit.
        limit: String,
        /// The last entry.
        entry: Option<PathBuf>,
    },
    /// The layers' store.
    #[error("the layers' store is full of layers in use: give it more room, or close leases")]
    NoRoom,
    /// Nobody wants it any more.
    #[error("the pull was given up")]
    GivenUp,
    /// The disk or the system.
    #[error("{} cannot be written: check rights and free space", entry.as_ref().map_or_else(|| "the layer".into(), |entry| format!("`{}`", entry.display())))]
    Io {
        /// The entry.
        entry: Option<PathBuf>,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn of(entry: Option<&PathBuf>) -> String {
    entry.map_or_else(String::new, |entry| format!(", at `{}`", entry.display()))
}

impl LayerProblem {
    pub(super) const fn blame(&self) -> Blame {
        match self {
            Self::NoRoom | Self::GivenUp | Self::Io { .. } => Blame::Host,
            _ => Blame::Image,
        }
    }
}

/// What a layer may cost. Called with the bytes and entries that come next, before they are
/// written.
pub(super) trait Meter {
    /// Takes them into account.
    ///
    /// # Errors
    /// Why there may be no more.
    fn charge(&self, bytes: u64, entries: u64) -> Result<(), LayerProblem>;

    /// So many bytes of the packed layer have been read, all in all.
    fn read(&self, packed: u64);
}

/// What a layer has cost so far.
struct Cost {
    meter: Arc<dyn Meter + Send + Sync>,
    bytes: Cell<u64>,
    entries: Cell<u64>,
}

impl Cost {
    /// Takes one more entry into account, with so much content; a directory is a block.
    fn charge(&self, content: u64) -> Result<(), LayerProblem> {
        let content = content.div_ceil(BLOCK_BYTES).saturating_mul(BLOCK_BYTES);
        let bytes = content.saturating_add(ENTRY_BYTES);
        self.meter.charge(bytes, 1)?;
        self.bytes.set(self.bytes.get().saturating_add(bytes));
        self.entries.set(self.entries.get().saturating_add(1));
        Ok(())
    }
}

/// How to unpack.
pub(super) struct Job {
    pub(super) ids: IdMap,
    /// How layers hide what is below them; `None` where a name that begins with `.wh.` is a name
    /// like any other.
    pub(super) opaque: Option<Opaque>,
    /// The most bytes of the archive itself.
    pub(super) archive_bytes: u64,
    pub(super) meter: Arc<dyn Meter + Send + Sync>,
}

/// A layer that was unpacked.
#[derive(Debug)]
pub(super) struct Unpacked {
    /// Of the archive, all of it.
    pub(super) diff_id: Digest,
    /// What it costs on disk, as charged.
    pub(super) bytes: u64,
    pub(super) entries: u64,
}

/// Unpacks `blob` into the empty directory `into`. After an error, what is there is of no use.
pub(super) fn unpack(blob: File, into: &Path, job: &Job) -> Result<Unpacked, LayerProblem> {
    let gate = Gate::new(job.archive_bytes);
    let source = open(blob, &gate, &job.meter)
        .map_err(|source| LayerProblem::Broken { entry: None, source })?;
    let mut archive = Archive::new(source);
    let root = job.ids.host(0).unwrap_or_default();
    let meter = Arc::clone(&job.meter);
    let cost = Rc::new(Cost { meter, bytes: Cell::new(0), entries: Cell::new(0) });
    let tree = Tree::open(into, job.opaque, root, Rc::clone(&cost));
    let tree = tree.map_err(|source| LayerProblem::Io { entry: None, source })?;
    let mut unpacking = Unpacking { job, tree, cost, last: None };
    let read = unpacking.all(&mut archive, &gate);
    let Unpacking { tree, cost, last, .. } = unpacking;
    read.map_err(|problem| gate.explain(problem, last.as_ref()))?;
    let mut source = archive.into_inner();
    gate.in_data();
    io::copy(&mut source, &mut io::sink()).map_err(|source| {
        gate.explain(LayerProblem::Broken { entry: None, source }, last.as_ref())
    })?;
    tree.finish().map_err(|source| LayerProblem::Io { entry: None, source })?;
    let (bytes, entries) = (cost.bytes.get(), cost.entries.get());
    Ok(Unpacked { diff_id: source.digest(), bytes, entries })
}

/// Where the disk itself is the limit.
struct Unmetered;

impl Meter for Unmetered {
    fn charge(&self, _: u64, _: u64) -> Result<(), LayerProblem> {
        Ok(())
    }

    fn read(&self, _: u64) {}
}

/// Unpacks an archive that is no layer into a directory with a bounded disk of its own. It is as
/// little trusted as a layer; after an error, what is there is of no use.
pub(in crate::oci) fn restore(
    archive: File,
    into: &Path,
    ids: IdMap,
    archive_bytes: u64,
) -> Result<(), LayerProblem> {
    let job = Job { ids, opaque: None, archive_bytes, meter: Arc::new(Unmetered) };
    unpack(archive, into, &job).map(drop)
}

struct Unpacking<'a> {
    job: &'a Job,
    tree: Tree,
    cost: Rc<Cost>,
    last: Option<PathBuf>,
}

impl Unpacking<'_> {
    fn all(
        &mut self,
        archive: &mut Archive<source::Source>,
        gate: &Gate,
    ) -> Result<(), LayerProblem> {
        let broken = |entry: Option<&PathBuf>, source| LayerProblem::Broken {
            entry: entry.cloned(),
            source,
        };
        gate.in_headers();
        for entry in archive.entries().map_err(|error| broken(None, error))? {
            let mut entry = entry.map_err(|error| broken(self.last.as_ref(), error))?;
            gate.in_data();
            self.one(&mut entry)?;
            gate.in_headers();
        }
        Ok(())
    }

    fn one(&mut self, entry: &mut Entry<'_, source::Source>) -> Result<(), LayerProblem> {
        let given = PathBuf::from(OsStr::from_bytes(&entry.path_bytes()));
        let kind = match entry.header().entry_type() {
            EntryType::XGlobalHeader => return Ok(()),
            // As archives of before 1988 have it.
            EntryType::Regular if entry.path_bytes().ends_with(b"/") => EntryType::Directory,
            kind => kind,
        };
        self.last = Some(given.clone());
        let path = self.plain(&given, &given)?;
        let content = match kind {
            EntryType::Directory => BLOCK_BYTES,
            kind if is_file(kind) => entry.size(),
            _ => 0,
        };
        self.cost.charge(content)?;
        self.place(entry, kind, &given, &path)
    }

    fn place(
        &mut self,
        entry: &mut Entry<'_, source::Source>,
        kind: EntryType,
        given: &Path,
        path: &Path,
    ) -> Result<(), LayerProblem> {
        let named = |problem| LayerProblem::Name { entry: given.to_owned(), problem };
        let at = |error: tree::TreeError| match error {
            tree::TreeError::Refused(problem) => named(problem),
            tree::TreeError::TooMuch(problem) => problem,
            tree::TreeError::Io(source) => {
                LayerProblem::Io { entry: Some(given.to_owned()), source }
            }
        };
        let Some(name) = path.file_name() else {
            if kind != EntryType::Directory {
                return Err(named("is the layer's root and no directory"));
            }
            let attributes = self.attributes(entry, given)?;
            return self.tree.root(attributes).map_err(at);
        };
        let hidden = self.job.opaque.and(name.as_bytes().strip_prefix(WHITEOUT));
        if let Some(hidden) = hidden {
            if name.as_bytes() == OPAQUE {
                return self.tree.opaque(path).map_err(at);
            }
            // Aufs' own files, which mean nothing here.
            if hidden.starts_with(WHITEOUT) {
                return Ok(());
            }
            if matches!(hidden, b"" | b"." | b"..") {
                return Err(named("hides nothing that has a name"));
            }
            let hidden = path.with_file_name(OsStr::from_bytes(hidden));
            return self.tree.whiteout(&hidden).map_err(at);
        }
        let attributes = self.attributes(entry, given)?;
        match kind {
            EntryType::Directory => self.tree.directory(path, attributes).map_err(at),
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                if target.is_empty() || target.contains(&0) || target.len() > PATH_BYTES_MAX {
                    return Err(named("is a symbolic link to nothing that has a name"));
                }
                self.tree.symlink(path, OsStr::from_bytes(&target), &attributes).map_err(at)
            }
            EntryType::Link => {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                let target = PathBuf::from(OsStr::from_bytes(&target));
                let inside = self.plain(&target, given)?;
                let linked = self.tree.hard_link(path, &inside).map_err(at)?;
                let problem = || LayerProblem::HardLink { entry: given.to_owned(), target };
                if linked { Ok(()) } else { Err(problem()) }
            }
            EntryType::Fifo => self.tree.fifo(path, &attributes).map_err(at),
            kind if is_file(kind) => {
                // A sparse file under its PAX name: what is stored is not what it holds.
                if is_sparse(entry) {
                    return Err(strange(given, "a sparse file"));
                }
                let mut file = self.tree.file(path).map_err(at)?;
                copy(entry, &mut file, given)?;
                self.tree.seal(&file, &attributes).map_err(at)
            }
            EntryType::Char | EntryType::Block => Err(strange(given, "a device")),
            EntryType::GNUSparse => Err(strange(given, "a sparse file")),
            other => {
                let kind = format!("of the unknown kind {:?}", char::from(other.as_byte()));
                Err(strange(given, &kind))
            }
        }
    }

    /// As [`plain`], and not below what hides.
    fn plain(&self, path: &Path, entry: &Path) -> Result<PathBuf, LayerProblem> {
        let plain = plain(path, entry)?;
        let mut parents = plain.parent().into_iter().flat_map(Path::components);
        let hides = |part: Component<'_>| part.as_os_str().as_bytes().starts_with(WHITEOUT);
        if self.job.opaque.is_some() && parents.any(hides) {
            let (entry, problem) = (entry.to_owned(), "is below a whiteout");
            return Err(LayerProblem::Name { entry, problem });
        }
        Ok(plain)
    }

    fn attributes(
        &self,
        entry: &Entry<'_, source::Source>,
        given: &Path,
    ) -> Result<Attributes, LayerProblem> {
        let header = entry.header();
        let broken = |source| LayerProblem::Broken { entry: Some(given.to_owned()), source };
        let owner = |id: u64| {
            self.job.ids.host(id).map_err(|id| {
                let last = self.job.ids.range().map_or(u32::MAX, |(_, count)| count - 1);
                LayerProblem::Owner { entry: given.to_owned(), id, last }
            })
        };
        let squashed = self.job.ids.range().is_none();
        let mode = header.mode().map_err(broken)?;
        let mode = match (squashed, header.entry_type()) {
            (false, _) => mode & 0o7777,
            // Whoever unpacked it without rights must be able to take it away.
            (true, EntryType::Directory) => (mode & 0o1777) | 0o700,
            (true, _) => mode & 0o1777,
        };
        Ok(Attributes {
            uid: owner(header.uid().map_err(broken)?)?,
            gid: owner(header.gid().map_err(broken)?)?,
            mode,
            // A time that cannot be read, as one before 1970, is no reason to refuse a file.
            mtime: i64::try_from(header.mtime().unwrap_or(0)).unwrap_or(0),
        })
    }
}

const fn is_file(kind: EntryType) -> bool {
    matches!(kind, EntryType::Regular | EntryType::Continuous)
}

fn is_sparse(entry: &mut Entry<'_, source::Source>) -> bool {
    let Ok(Some(extensions)) = entry.pax_extensions() else { return false };
    extensions.flatten().any(|extension| extension.key_bytes().starts_with(b"GNU.sparse."))
}

fn strange(entry: &Path, kind: &str) -> LayerProblem {
    LayerProblem::Kind { entry: entry.to_owned(), kind: kind.to_owned() }
}

/// The name from the layer's root: without a leading `/` or `.` anywhere, empty for the root.
fn plain(path: &Path, entry: &Path) -> Result<PathBuf, LayerProblem> {
    let refuse = |problem| LayerProblem::Name { entry: entry.to_owned(), problem };
    let bytes = path.as_os_str().as_bytes();
    if bytes.is_empty() || bytes.len() > PATH_BYTES_MAX || bytes.contains(&0) {
        return Err(refuse("has no name, or a longer one than a system has"));
    }
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(part) if part.len() > 255 => {
                return Err(refuse("has a longer name than a file system has"));
            }
            Component::Normal(part) => plain.push(part),
            Component::ParentDir | Component::Prefix(_) => {
                return Err(refuse("has `..` in its name or its target"));
            }
        }
    }
    if plain.components().count() > DEPTH_MAX {
        return Err(refuse("is below more than 256 directories"));
    }
    Ok(plain)
}

/// Copies a file, and says of an error whether it was the archive's or the disk's.
fn copy(
    entry: &mut Entry<'_, source::Source>,
    file: &mut File,
    given: &Path,
) -> Result<(), LayerProblem> {
    let size = entry.size();
    let mut written = 0_u64;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let broken = |source| LayerProblem::Broken { entry: Some(given.to_owned()), source };
        let read = entry.read(&mut buffer).map_err(broken)?;
        if read == 0 {
            break;
        }
        io::Write::write_all(file, &buffer[..read])
            .map_err(|source| LayerProblem::Io { entry: Some(given.to_owned()), source })?;
        written += read as u64;
    }
    if written == size {
        return Ok(());
    }
    let source = io::Error::from(io::ErrorKind::UnexpectedEof);
    Err(LayerProblem::Broken { entry: Some(given.to_owned()), source })
}

#[cfg(test)]
mod tests;
