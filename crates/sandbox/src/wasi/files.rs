//! The directory `/data` and what is open in it.

use super::{buffers, errno, scatter, u32_of};
use crate::{
    data::MAX_DATA_FILES,
    guest::{Fault, Guest},
};
use std::sync::Arc;

/// The preopened directory's descriptor.
const DATA: u32 = 3;
const DATA_PATH: &[u8] = b"/data";

/// Descriptors open at once, above [`DATA`].
const MAX_OPEN: usize = 64;

/// Bytes of a path.
const MAX_PATH_BYTES: u32 = 1024;

mod rights {
    pub(super) const FD_READ: u64 = 1 << 1;
    pub(super) const FD_SEEK: u64 = 1 << 2;
    pub(super) const FD_TELL: u64 = 1 << 5;
    pub(super) const FD_WRITE: u64 = 1 << 6;
    pub(super) const PATH_OPEN: u64 = 1 << 13;
    pub(super) const FD_READDIR: u64 = 1 << 14;
    pub(super) const PATH_FILESTAT_GET: u64 = 1 << 18;
    pub(super) const FD_FILESTAT_GET: u64 = 1 << 21;
    pub(super) const FILE: u64 = FD_READ | FD_SEEK | FD_TELL | FD_FILESTAT_GET;
    pub(super) const DIRECTORY: u64 = PATH_OPEN | FD_READDIR | PATH_FILESTAT_GET | FD_FILESTAT_GET;
}

mod filetype {
    pub(super) const UNKNOWN: u8 = 0;
    pub(super) const DIRECTORY: u8 = 3;
    pub(super) const REGULAR: u8 = 4;
}

mod oflags {
    pub(super) const CREATE: u32 = 1;
    pub(super) const DIRECTORY: u32 = 2;
    pub(super) const EXCLUSIVE: u32 = 4;
    pub(super) const TRUNCATE: u32 = 8;
}

/// What a descriptor from 4 on refers to.
#[derive(Debug, Clone)]
pub(crate) enum Open {
    /// The directory `/data`.
    Directory,
    /// A file in it.
    File {
        /// Its bytes.
        bytes: Arc<[u8]>,
        /// Where the next read starts; may lie beyond the end.
        position: u64,
    },
}

/// What a path names.
enum Node {
    Directory,
    File(Arc<[u8]>),
}

fn slot<'a>(guest: &'a mut Guest<'_>, fd: u32) -> Result<&'a mut Option<Open>, Fault> {
    let index = fd.checked_sub(DATA + 1).ok_or(Fault::Errno(errno::BADF))?;
    guest.cell.open.get_mut(index as usize).ok_or(Fault::Errno(errno::BADF))
}

/// An open file's bytes and position.
pub(super) fn open_file<'a>(
    guest: &'a mut Guest<'_>,
    fd: u32,
) -> Result<(&'a Arc<[u8]>, &'a mut u64), Fault> {
    if fd == DATA {
        return Err(Fault::Errno(errno::ISDIR));
    }
    match slot(guest, fd)? {
        Some(Open::File { bytes, position }) => Ok((bytes, position)),
        Some(Open::Directory) => Err(Fault::Errno(errno::ISDIR)),
        None => Err(Fault::Errno(errno::BADF)),
    }
}

fn require_directory(guest: &mut Guest<'_>, fd: u32) -> Result<(), Fault> {
    if fd == DATA {
        return Ok(());
    }
    if fd < DATA {
        return Err(Fault::Errno(errno::NOTDIR));
    }
    match slot(guest, fd)? {
        Some(Open::Directory) => Ok(()),
        Some(Open::File { .. }) => Err(Fault::Errno(errno::NOTDIR)),
        None => Err(Fault::Errno(errno::BADF)),
    }
}

/// Resolves a path relative to the directory: `.`, or a name.
fn resolve(guest: &mut Guest<'_>, fd: u32, pointer: u32, len: u32) -> Result<Node, Fault> {
    require_directory(guest, fd)?;
    if len > MAX_PATH_BYTES {
        return Err(Fault::Errno(errno::NAMETOOLONG));
    }
    guest.pay_bytes(len as usize)?;
    let path =
        std::str::from_utf8(guest.bytes(pointer, len)?).map_err(|_| Fault::Errno(errno::ILSEQ))?;
    if path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return Err(Fault::Errno(errno::NOTCAPABLE));
    }
    if path.is_empty() {
        return Err(Fault::Errno(errno::NOENT));
    }
    let must_be_directory = path.ends_with('/');
    let mut parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
    let Some(name) = parts.next() else { return Ok(Node::Directory) };
    let file = guest.cell.data.get(name).ok_or(Fault::Errno(errno::NOENT))?;
    if must_be_directory || parts.next().is_some() {
        return Err(Fault::Errno(errno::NOTDIR));
    }
    Ok(Node::File(Arc::clone(file)))
}

/// `fd_prestat_get`.
pub(super) fn prestat(guest: &mut Guest<'_>, fd: u32, at: u32) -> Result<(), Fault> {
    if fd != DATA {
        return Err(Fault::Errno(errno::BADF));
    }
    let mut record = [0; 8];
    record[4..].copy_from_slice(&u32_of(DATA_PATH.len())?.to_le_bytes());
    Ok(guest.write(at, &record)?)
}

/// `fd_prestat_dir_name`.
pub(super) fn prestat_name(guest: &mut Guest<'_>, fd: u32, at: u32, len: u32) -> Result<(), Fault> {
    if fd != DATA {
        return Err(Fault::Errno(errno::BADF));
    }
    if (len as usize) < DATA_PATH.len() {
        return Err(Fault::Errno(errno::NAMETOOLONG));
    }
    Ok(guest.write(at, DATA_PATH)?)
}

/// `path_open`, for reading only.
pub(super) fn open(
    guest: &mut Guest<'_>,
    fd: u32,
    (pointer, len): (u32, u32),
    flags: u32,
    wanted: u64,
    fd_at: u32,
) -> Result<(), Fault> {
    let node = resolve(guest, fd, pointer, len)?;
    let changing = oflags::CREATE | oflags::EXCLUSIVE | oflags::TRUNCATE;
    if flags & changing != 0 || wanted & rights::FD_WRITE != 0 {
        return Err(Fault::Errno(errno::ROFS));
    }
    let opened = match node {
        Node::Directory => Open::Directory,
        Node::File(_) if flags & oflags::DIRECTORY != 0 => {
            return Err(Fault::Errno(errno::NOTDIR));
        }
        Node::File(bytes) => Open::File { bytes, position: 0 },
    };
    let open = &mut guest.cell.open;
    let free = open.iter().position(Option::is_none).unwrap_or(open.len());
    if free == MAX_OPEN {
        return Err(Fault::Errno(errno::MFILE));
    }
    if free == open.len() {
        open.push(None);
    }
    open[free] = Some(opened);
    let fd = u32_of(free)? + DATA + 1;
    Ok(guest.write(fd_at, &fd.to_le_bytes())?)
}

/// `fd_close`. Closing a standard descriptor or the directory changes nothing.
pub(super) fn close(guest: &mut Guest<'_>, fd: u32) -> Result<(), Fault> {
    if fd <= DATA {
        return Ok(());
    }
    slot(guest, fd)?.take().map(|_| ()).ok_or(Fault::Errno(errno::BADF))
}

/// `fd_read` of a file.
pub(super) fn read(
    guest: &mut Guest<'_>,
    fd: u32,
    pointer: u32,
    count: u32,
    read_at: u32,
) -> Result<(), Fault> {
    let position = *open_file(guest, fd)?.1;
    let moved = read_from(guest, fd, (pointer, count), position, read_at)?;
    *open_file(guest, fd)?.1 = position.saturating_add(moved as u64);
    Ok(())
}

/// `fd_pread`, and the copying of [`read`].
pub(super) fn read_from(
    guest: &mut Guest<'_>,
    fd: u32,
    (pointer, count): (u32, u32),
    position: u64,
    read_at: u32,
) -> Result<usize, Fault> {
    if fd < DATA {
        return Err(Fault::Errno(errno::SPIPE));
    }
    let bytes = Arc::clone(open_file(guest, fd)?.0);
    let targets = buffers(guest, pointer, count)?;
    let start = usize::try_from(position).unwrap_or(usize::MAX).min(bytes.len());
    scatter(guest, targets, &bytes[start..], read_at)
}

/// `fd_seek`.
pub(super) fn seek(
    guest: &mut Guest<'_>,
    fd: u32,
    offset: i64,
    whence: u32,
    position_at: u32,
) -> Result<(), Fault> {
    if fd < DATA {
        return Err(Fault::Errno(errno::SPIPE));
    }
    let (bytes, position) = open_file(guest, fd)?;
    let base = match whence {
        0 => 0,
        1 => *position,
        2 => bytes.len() as u64,
        _ => return Err(Fault::Errno(errno::INVAL)),
    };
    let moved = base.checked_add_signed(offset).ok_or(Fault::Errno(errno::INVAL))?;
    *position = moved;
    Ok(guest.write(position_at, &moved.to_le_bytes())?)
}

/// `fd_fdstat_get`.
pub(super) fn descriptor(guest: &mut Guest<'_>, fd: u32, at: u32) -> Result<(), Fault> {
    let (kind, base, inheriting) = match fd {
        0 => (filetype::UNKNOWN, rights::FD_READ, 0),
        1 | 2 => (filetype::UNKNOWN, rights::FD_WRITE, 0),
        DATA => (filetype::DIRECTORY, rights::DIRECTORY, rights::FILE),
        _ => match slot(guest, fd)? {
            Some(Open::Directory) => (filetype::DIRECTORY, rights::DIRECTORY, rights::FILE),
            Some(Open::File { .. }) => (filetype::REGULAR, rights::FILE, 0),
            None => return Err(Fault::Errno(errno::BADF)),
        },
    };
    let mut record = [0; 24];
    record[0] = kind;
    record[8..16].copy_from_slice(&base.to_le_bytes());
    record[16..].copy_from_slice(&inheriting.to_le_bytes());
    Ok(guest.write(at, &record)?)
}

/// `fd_filestat_get`: kind and size; device, inode and times are 0.
pub(super) fn status(guest: &mut Guest<'_>, fd: u32, at: u32) -> Result<(), Fault> {
    let (kind, size) = match fd {
        0..DATA => (filetype::UNKNOWN, 0),
        DATA => (filetype::DIRECTORY, 0),
        _ => match slot(guest, fd)? {
            Some(Open::Directory) => (filetype::DIRECTORY, 0),
            Some(Open::File { bytes, .. }) => (filetype::REGULAR, bytes.len()),
            None => return Err(Fault::Errno(errno::BADF)),
        },
    };
    write_status(guest, kind, size, at)
}

/// `path_filestat_get`.
pub(super) fn path_status(
    guest: &mut Guest<'_>,
    fd: u32,
    (pointer, len): (u32, u32),
    at: u32,
) -> Result<(), Fault> {
    match resolve(guest, fd, pointer, len)? {
        Node::Directory => write_status(guest, filetype::DIRECTORY, 0, at),
        Node::File(bytes) => write_status(guest, filetype::REGULAR, bytes.len(), at),
    }
}

fn write_status(guest: &mut Guest<'_>, kind: u8, size: usize, at: u32) -> Result<(), Fault> {
    let mut record = [0; 64];
    record[16] = kind;
    record[24..32].copy_from_slice(&1u64.to_le_bytes());
    record[32..40].copy_from_slice(&(size as u64).to_le_bytes());
    Ok(guest.write(at, &record)?)
}

/// `fd_readdir`: the files in order of name, without `.` and `..`.
pub(super) fn list(
    guest: &mut Guest<'_>,
    fd: u32,
    (pointer, len): (u32, u32),
    cookie: u64,
    used_at: u32,
) -> Result<(), Fault> {
    require_directory(guest, fd)?;
    guest.bytes(pointer, len)?;
    let skipped = usize::try_from(cookie).unwrap_or(usize::MAX);
    guest.pay(skipped.min(MAX_DATA_FILES) as u64)?;
    let room = len as usize;
    let mut listing = Vec::new();
    for (index, (name, _)) in guest.cell.data.entries().enumerate().skip(skipped) {
        if listing.len() >= room {
            break;
        }
        listing.extend_from_slice(&(index as u64 + 1).to_le_bytes());
        listing.extend_from_slice(&0u64.to_le_bytes());
        listing.extend_from_slice(&u32_of(name.len())?.to_le_bytes());
        listing.extend_from_slice(&[filetype::REGULAR, 0, 0, 0]);
        listing.extend_from_slice(name.as_bytes());
    }
    // An entry cut short tells the guest to call again with a larger buffer.
    listing.truncate(room);
    guest.pay_bytes(listing.len())?;
    guest.write(pointer, &listing)?;
    Ok(guest.write(used_at, &u32_of(listing.len())?.to_le_bytes())?)
}

/// `fd_tell`.
pub(super) fn tell(guest: &mut Guest<'_>, fd: u32, at: u32) -> Result<(), Fault> {
    seek(guest, fd, 0, 1, at)
}
