//! The directory that a layer becomes. Every name is resolved by the kernel with the layer's
//! directory as its root; the last part of a name is never followed.

use super::{BLOCK_BYTES, Cost, LayerProblem};
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{
        AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid,
        XattrFlags, chmodat, chownat, fchmod, fchown, fsetxattr, futimens, linkat, makedev,
        mkdirat, mknodat, openat, openat2, statat, symlinkat, unlinkat, utimensat,
    },
    io::Errno,
};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::File,
    io,
    path::{Path, PathBuf},
    rc::Rc,
};

/// The most bytes of directories' names that are kept until the end.
const DIRECTORY_NAMES_MAX: usize = 64 << 20;

/// Which extended attribute marks a directory as opaque: what the mounter of the overlay may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Opaque {
    /// `trusted.overlay.opaque`, for root.
    Trusted,
    /// `user.overlay.opaque`, for mounts with `userxattr`.
    User,
}

impl Opaque {
    const fn attribute(self) -> &'static str {
        match self {
            Self::Trusted => "trusted.overlay.opaque",
            Self::User => "user.overlay.opaque",
        }
    }

    /// The one that can be set on `directory`: root's if this process may.
    ///
    /// # Errors
    /// A file system that has neither.
    pub(in super::super) fn that_works_on(directory: &Path) -> io::Result<Self> {
        let directory = File::open(directory)?;
        let set =
            |opaque: Self| fsetxattr(&directory, opaque.attribute(), b"y", XattrFlags::empty());
        match set(Self::Trusted) {
            Ok(()) => Ok(Self::Trusted),
            Err(_) => Ok(set(Self::User).map(|()| Self::User)?),
        }
    }
}

/// What a file has beside its content.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attributes {
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mode: u32,
    pub(super) mtime: i64,
}

impl Attributes {
    fn owner(&self) -> (Option<Uid>, Option<Gid>) {
        (self.uid.map(Uid::from_raw), self.gid.map(Gid::from_raw))
    }

    fn mode(&self) -> Mode {
        Mode::from_raw_mode(self.mode)
    }

    const fn times(&self) -> Timestamps {
        let time = Timespec { tv_sec: self.mtime, tv_nsec: 0 };
        Timestamps { last_access: time, last_modification: time }
    }
}

/// Why something was not made.
#[derive(Debug)]
pub(super) enum TreeError {
    /// The archive is at fault.
    Refused(&'static str),
    /// It costs more than allowed.
    TooMuch(LayerProblem),
    /// The system is.
    Io(io::Error),
}

impl From<Errno> for TreeError {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

const NOWHERE: TreeError =
    TreeError::Refused("is below a file, or below a symbolic link that leads nowhere in the layer");

/// A layer's directory while it is filled.
pub(super) struct Tree {
    root: OwnedFd,
    opaque: Option<Opaque>,
    /// Set at the end: what is made in a directory changes its time, and its mode may forbid it.
    directories: BTreeMap<PathBuf, Attributes>,
    names: usize,
    /// The directory of the last name, which most often is that of the next one too.
    parent: Option<(PathBuf, OwnedFd)>,
    /// What directories get that have no entry.
    implied: Attributes,
    cost: Rc<Cost>,
}

impl Tree {
    /// The empty directory at `path`. What has no entry is `owner`'s, the root included.
    pub(super) fn open(
        path: &Path,
        opaque: Option<Opaque>,
        owner: Option<u32>,
        cost: Rc<Cost>,
    ) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = openat(CWD, path, flags, Mode::empty())?;
        let implied = Attributes { uid: owner, gid: owner, mode: 0o755, mtime: 0 };
        let directories = BTreeMap::from([(PathBuf::new(), implied)]);
        Ok(Self { root, opaque, directories, names: 0, parent: None, implied, cost })
    }

    /// The layer's root has an entry.
    pub(super) fn root(&mut self, attributes: Attributes) -> Result<(), TreeError> {
        self.keep(Path::new(""), attributes)
    }

    pub(super) fn directory(
        &mut self,
        path: &Path,
        attributes: Attributes,
    ) -> Result<(), TreeError> {
        let (parent, name) = self.parent(path)?;
        match look(&parent, name)? {
            Some(found) if is_directory(&found) => {}
            Some(found) => {
                self.remove(&parent, name)?;
                mkdirat(&parent, name, Mode::RWXU)?;
                // It was hidden by this layer and is made anew: what is below stays hidden.
                if is_whiteout(&found) {
                    self.mark(&parent, name)?;
                }
            }
            None => mkdirat(&parent, name, Mode::RWXU)?,
        }
        self.return_parent(path, parent);
        self.keep(path, attributes)
    }

    /// An empty file to write to; [`Tree::seal`] ends it.
    pub(super) fn file(&mut self, path: &Path) -> Result<File, TreeError> {
        let (parent, name) = self.parent(path)?;
        self.clear(&parent, name)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&parent, name, flags, Mode::RUSR | Mode::WUSR)?;
        self.return_parent(path, parent);
        Ok(file.into())
    }

    /// Gives a written file its owner, mode and time.
    pub(super) fn seal(&self, file: &File, attributes: &Attributes) -> Result<(), TreeError> {
        let (uid, gid) = attributes.owner();
        fchown(file, uid, gid)?;
        // After the owner: a change of it takes setuid away.
        fchmod(file, attributes.mode())?;
        Ok(futimens(file, &attributes.times())?)
    }

    pub(super) fn symlink(
        &mut self,
        path: &Path,
        target: &OsStr,
        attributes: &Attributes,
    ) -> Result<(), TreeError> {
        let (parent, name) = self.parent(path)?;
        self.clear(&parent, name)?;
        symlinkat(target, &parent, name)?;
        own(&parent, name, attributes)?;
        utimensat(&parent, name, &attributes.times(), AtFlags::SYMLINK_NOFOLLOW)?;
        self.return_parent(path, parent);
        Ok(())
    }

    pub(super) fn fifo(&mut self, path: &Path, attributes: &Attributes) -> Result<(), TreeError> {
        let (parent, name) = self.parent(path)?;
        self.clear(&parent, name)?;
        mknodat(&parent, name, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        own(&parent, name, attributes)?;
        chmodat(&parent, name, attributes.mode(), AtFlags::empty())?;
        utimensat(&parent, name, &attributes.times(), AtFlags::SYMLINK_NOFOLLOW)?;
        self.return_parent(path, parent);
        Ok(())
    }

    /// False if the target is no file, symbolic link or fifo of this layer.
    pub(super) fn hard_link(&mut self, path: &Path, target: &Path) -> Result<bool, TreeError> {
        let Some(target_name) = target.file_name() else { return Ok(false) };
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let Ok(from) = self.resolve(target.parent().unwrap_or(Path::new("")), flags) else {
            return Ok(false);
        };
        let Some(found) = look(&from, target_name)? else { return Ok(false) };
        if is_directory(&found) || is_whiteout(&found) {
            return Ok(false);
        }
        let (parent, name) = self.parent(path)?;
        if let Some(there) = look(&parent, name)? {
            // The same file under the same name: to remove it first would be to lose it.
            if (there.st_dev, there.st_ino) == (found.st_dev, found.st_ino) {
                return Ok(true);
            }
            self.clear(&parent, name)?;
        }
        linkat(&from, target_name, &parent, name, AtFlags::empty())?;
        self.return_parent(path, parent);
        Ok(true)
    }

    /// Hides what the layers below have at `path`; what this layer has there stays.
    pub(super) fn whiteout(&mut self, path: &Path) -> Result<(), TreeError> {
        let (parent, name) = self.parent(path)?;
        match look(&parent, name)? {
            None => {
                let (kind, none) = (FileType::CharacterDevice, Mode::empty());
                mknodat(&parent, name, kind, none, makedev(0, 0))?;
            }
            Some(found) if is_directory(&found) => self.mark(&parent, name)?,
            Some(_) => {}
        }
        self.return_parent(path, parent);
        Ok(())
    }

    /// Hides all that the layers below have in the directory that `marker` is in.
    pub(super) fn opaque(&mut self, marker: &Path) -> Result<(), TreeError> {
        let (parent, _) = self.parent(marker)?;
        self.mark(&parent, OsStr::new("."))
    }

    /// Gives the directories what their entries say, the deepest first.
    pub(super) fn finish(mut self) -> io::Result<()> {
        for (path, attributes) in std::mem::take(&mut self.directories).iter().rev() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
            let opened = match self.resolve(path, flags) {
                // Something else has taken its name since.
                Err(Errno::NOTDIR | Errno::NOENT | Errno::LOOP) => continue,
                opened => opened?,
            };
            let (uid, gid) = attributes.owner();
            fchown(&opened, uid, gid)?;
            fchmod(&opened, attributes.mode())?;
            futimens(&opened, &attributes.times())?;
        }
        Ok(())
    }

    fn keep(&mut self, path: &Path, attributes: Attributes) -> Result<(), TreeError> {
        self.names = self.names.saturating_add(path.as_os_str().len() + size_of::<Attributes>());
        if self.names > DIRECTORY_NAMES_MAX {
            return Err(TreeError::Refused("is one directory too many"));
        }
        self.directories.insert(path.to_owned(), attributes);
        Ok(())
    }

    fn resolve(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        openat2(&self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), inside)
    }

    /// The directory of `path`, made if it is not there, and the name in it.
    fn parent<'p>(&mut self, path: &'p Path) -> Result<(OwnedFd, &'p OsStr), TreeError> {
        let name = path.file_name().ok_or(NOWHERE)?;
        let parent = path.parent().unwrap_or(Path::new(""));
        if let Some((known, opened)) = self.parent.take()
            && known == parent
        {
            return Ok((opened, name));
        }
        match self.resolve(parent, OFlags::PATH | OFlags::DIRECTORY) {
            Ok(opened) => Ok((opened, name)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok((self.make(parent)?, name)),
            Err(Errno::LOOP | Errno::XDEV) => Err(NOWHERE),
            Err(error) => Err(error.into()),
        }
    }

    fn return_parent(&mut self, path: &Path, parent: OwnedFd) {
        self.parent = path.parent().map(|path| (path.to_owned(), parent));
    }

    /// Makes a directory and those above it that are not there.
    fn make(&mut self, path: &Path) -> Result<OwnedFd, TreeError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let mut above = self.resolve(Path::new(""), flags)?;
        let mut so_far = PathBuf::new();
        for part in path {
            so_far.push(part);
            above = match self.resolve(&so_far, flags) {
                Ok(opened) => opened,
                Err(error @ (Errno::NOENT | Errno::NOTDIR)) => {
                    let found = look(&above, part)?;
                    match &found {
                        None if error == Errno::NOENT => {}
                        Some(found) if is_whiteout(found) => self.remove(&above, part)?,
                        _ => return Err(NOWHERE),
                    }
                    self.cost.charge(BLOCK_BYTES).map_err(TreeError::TooMuch)?;
                    mkdirat(&above, part, Mode::RWXU)?;
                    if found.is_some() {
                        self.mark(&above, part)?;
                    }
                    self.keep(&so_far, self.implied)?;
                    self.resolve(&so_far, flags)?
                }
                Err(Errno::LOOP | Errno::XDEV) => return Err(NOWHERE),
                Err(error) => return Err(error.into()),
            };
        }
        Ok(above)
    }

    /// Makes room for something that is no directory.
    fn clear(&mut self, parent: &OwnedFd, name: &OsStr) -> Result<(), TreeError> {
        match look(parent, name)? {
            None => Ok(()),
            Some(found) if is_directory(&found) => {
                self.parent = None;
                match unlinkat(parent, name, AtFlags::REMOVEDIR) {
                    Err(Errno::NOTEMPTY | Errno::EXIST) => {
                        Err(TreeError::Refused("takes the place of a directory that has files"))
                    }
                    removed => Ok(removed?),
                }
            }
            Some(_) => self.remove(parent, name),
        }
    }

    fn remove(&mut self, parent: &OwnedFd, name: &OsStr) -> Result<(), TreeError> {
        self.parent = None;
        Ok(unlinkat(parent, name, AtFlags::empty())?)
    }

    fn mark(&self, parent: &OwnedFd, name: &OsStr) -> Result<(), TreeError> {
        let Some(opaque) = self.opaque else { return Ok(()) };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = openat(parent, name, flags, Mode::empty())?;
        Ok(fsetxattr(&directory, opaque.attribute(), b"y", XattrFlags::empty())?)
    }
}

fn own(parent: &OwnedFd, name: &OsStr, attributes: &Attributes) -> Result<(), TreeError> {
    let (uid, gid) = attributes.owner();
    Ok(chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// What is at a name, the link itself if it is one.
fn look(parent: impl AsFd, name: &OsStr) -> Result<Option<Stat>, TreeError> {
    match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn is_directory(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::Directory
}

fn is_whiteout(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice && found.st_rdev == 0
}
