//! A volume as an archive, to be kept under its hash and put back elsewhere.
//!
//! The archive is a plain tar with names as GNU has them. The same content gives the same bytes:
//! directories are walked in the order of their names' bytes, and owners are ids in the container.
//!
//! | in the volume | in the archive |
//! |---|---|
//! | a file, directory, symbolic link or fifo | with owner, mode and time in seconds |
//! | a second name of a file | a hard link to the first |
//! | a hole | zeros, which count |
//! | a socket | left out: nobody listens any more |
//! | extended attributes, access lists | left out |
//! | `lost+found` of the file system itself | left out |
//! | a device, an owner that containers do not have, a name deeper than [`DEPTH_MAX`] | refused |

use super::spec::IdRange;
use rustix::{
    fd::OwnedFd,
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat},
};
use std::{
    collections::BTreeMap,
    ffi::{CString, OsStr},
    fs::File,
    io::{self, Read, Write},
    os::unix::ffi::OsStrExt,
    path::Path,
};
use tar::{Builder, EntryType, Header};

/// How deep a name may be, and how long: what restoring takes.
const DEPTH_MAX: usize = 256;
const PATH_BYTES_MAX: usize = 4095;
/// What a tar's header holds of a name.
const SHORT: usize = 100;
const BLOCK: u64 = 512;

/// The most bytes that the archive of a volume of this size has, and that are read of one.
pub(super) const fn archive_bytes(volume: u64) -> u64 {
    volume.saturating_mul(2).saturating_add(64 << 20)
}

/// Writes the directory at `root` as an archive of at most `most` bytes. Links are not followed.
pub(super) fn pack<W: Write>(root: &Path, ids: IdRange, most: u64, to: W) -> io::Result<W> {
    let root = openat(CWD, root, DIRECTORY, Mode::empty())?;
    let mut packer = Packer { to: Builder::new(to), ids, most, left: most, links: BTreeMap::new() };
    let found = fstat(&root)?;
    packer.add(b"./", &found, EntryType::Directory, b"")?;
    packer.directory(&root, b"", 1)?;
    let mut to = packer.to.into_inner()?;
    to.flush()?;
    Ok(to)
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const FILE: OFlags =
    OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

struct Packer<W: Write> {
    to: Builder<W>,
    ids: IdRange,
    most: u64,
    left: u64,
    /// The first name of every file that has several.
    links: BTreeMap<(u64, u64), Vec<u8>>,
}

impl<W: Write> Packer<W> {
    fn directory(&mut self, directory: &OwnedFd, path: &[u8], depth: usize) -> io::Result<()> {
        let mut names: Vec<CString> = Vec::new();
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            if ![&b"."[..], b".."].contains(&entry.file_name().to_bytes()) {
                names.push(entry.file_name().to_owned());
            }
        }
        names.sort();
        for name in names {
            let mut child = path.to_vec();
            child.extend_from_slice(name.as_bytes());
            let shown = child.clone();
            self.entry(directory, &name, child, depth).map_err(|error| {
                let said = format!("`{}`: {error}", Path::new(OsStr::from_bytes(&shown)).display());
                // Said once, by the innermost.
                if error.get_ref().is_some() { error } else { io::Error::new(error.kind(), said) }
            })?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        parent: &OwnedFd,
        name: &CString,
        mut path: Vec<u8>,
        depth: usize,
    ) -> io::Result<()> {
        let found = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(found.st_mode);
        let own = kind == FileType::Directory && path == b"lost+found" && found.st_uid == 0;
        if own || kind == FileType::Socket {
            return Ok(());
        }
        // With the slash of a directory.
        if depth > DEPTH_MAX || path.len() >= PATH_BYTES_MAX {
            return Err(refuse(&path, "is deeper or longer than an archive may have it"));
        }
        let several = kind != FileType::Directory && found.st_nlink > 1;
        if several && let Some(first) = self.links.get(&(found.st_dev, found.st_ino)) {
            let first = first.clone();
            return self.add(&path, &found, EntryType::Link, &first);
        }
        match kind {
            FileType::Directory => {
                path.push(b'/');
                self.add(&path, &found, EntryType::Directory, b"")?;
                let directory = openat(parent, name, DIRECTORY, Mode::empty())?;
                return self.directory(&directory, &path, depth + 1);
            }
            FileType::RegularFile => self.file(parent, name, &path)?,
            FileType::Symlink => {
                let target = readlinkat(parent, name, Vec::new())?;
                self.add(&path, &found, EntryType::Symlink, target.as_bytes())?;
            }
            FileType::Fifo => self.add(&path, &found, EntryType::Fifo, b"")?,
            _ => return Err(refuse(&path, "is a device")),
        }
        if several {
            self.links.insert((found.st_dev, found.st_ino), path);
        }
        Ok(())
    }

    fn file(&mut self, parent: &OwnedFd, name: &CString, path: &[u8]) -> io::Result<()> {
        let file = File::from(openat(parent, name, FILE, Mode::empty())?);
        let found = fstat(&file)?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return Err(refuse(path, CHANGED));
        }
        let size = u64::try_from(found.st_size).unwrap_or(0);
        self.take(path, size)?;
        let header = self.header(path, &found, EntryType::Regular, b"", size)?;
        let data = Exactly { file, left: size, path };
        self.to.append(&header, data)
    }

    /// Something without content.
    fn add(&mut self, path: &[u8], found: &Stat, kind: EntryType, link: &[u8]) -> io::Result<()> {
        let header = self.header(path, found, kind, link, 0)?;
        self.to.append(&header, io::empty())
    }

    fn header(
        &mut self,
        path: &[u8],
        found: &Stat,
        kind: EntryType,
        link: &[u8],
        size: u64,
    ) -> io::Result<Header> {
        for (text, kind) in [(path, EntryType::GNULongName), (link, EntryType::GNULongLink)] {
            if text.len() > SHORT {
                self.long(path, text, kind)?;
            }
        }
        let (uid, gid) = (self.inside(path, found.st_uid)?, self.inside(path, found.st_gid)?);
        self.take(path, BLOCK)?;
        let mut header = Header::new_gnu();
        let old = header.as_old_mut();
        let short = |text: &[u8]| text.len().min(SHORT);
        old.name[..short(path)].copy_from_slice(&path[..short(path)]);
        old.linkname[..short(link)].copy_from_slice(&link[..short(link)]);
        header.set_entry_type(kind);
        header.set_mode(found.st_mode & 0o7777);
        header.set_uid(uid);
        header.set_gid(gid);
        header.set_mtime(u64::try_from(found.st_mtime).unwrap_or(0));
        header.set_size(size);
        header.set_cksum();
        Ok(header)
    }

    /// A name that the next header has no room for.
    fn long(&mut self, path: &[u8], text: &[u8], kind: EntryType) -> io::Result<()> {
        let text = [text, b"\0"].concat();
        self.take(path, BLOCK + text.len() as u64)?;
        let mut header = Header::new_gnu();
        let name = b"././@LongLink";
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(text.len() as u64);
        header.set_cksum();
        self.to.append(&header, text.as_slice())
    }

    fn inside(&self, path: &[u8], id: u32) -> io::Result<u64> {
        let inside = id.checked_sub(self.ids.base).filter(|id| *id < self.ids.size);
        inside.map(u64::from).ok_or_else(|| refuse(path, "belongs to an id that no container has"))
    }

    fn take(&mut self, path: &[u8], bytes: u64) -> io::Result<()> {
        let left = self.left.checked_sub(bytes.div_ceil(BLOCK).saturating_mul(BLOCK));
        self.left = left.ok_or_else(|| {
            let most = self.most;
            refuse(path, &format!("makes the archive larger than {most} bytes; holes count, too"))
        })?;
        Ok(())
    }
}

const CHANGED: &str = "changed while it was packed: stop who uses the volume";

fn refuse(path: &[u8], problem: &str) -> io::Error {
    io::Error::other(format!("`{}` {problem}", Path::new(OsStr::from_bytes(path)).display()))
}

/// A file's content, of just the length that its header says.
struct Exactly<'a> {
    file: File,
    left: u64,
    path: &'a [u8],
}

impl Read for Exactly<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = (&self.file).take(self.left).read(buffer)?;
        if read == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(refuse(self.path, CHANGED));
        }
        self.left = self.left.saturating_sub(read as u64);
        Ok(read)
    }
}
