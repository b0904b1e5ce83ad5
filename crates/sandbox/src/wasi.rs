//! WASI preview 1, as much of it as a deterministic filter may have.
//!
//! | descriptor | what |
//! |---|---|
//! | 0 | stdin |
//! | 1 | stdout, bounded |
//! | 2 | stderr; its end is kept |
//! | 3 | the directory `/data`, read-only, flat |
//! | 4.. | what `path_open` opened |
//!
//! No arguments and no environment. What a filter may not have answers an errno, the same one
//! everywhere; sockets cannot be imported at all. Every call costs [`crate::fuel::call`] of the
//! bytes that it moves, and a pointer outside memory ends the guest.

mod files;
mod imports;
mod stdio;

pub(crate) use files::Open;
pub use imports::IMPORTS;
pub(crate) use imports::add_to;

use crate::guest::{Fault, Guest, Halt};

/// Error numbers of WASI preview 1 that this room uses.
pub(crate) mod errno {
    pub(crate) const BADF: u16 = 8;
    pub(crate) const ILSEQ: u16 = 25;
    pub(crate) const INVAL: u16 = 28;
    pub(crate) const ISDIR: u16 = 31;
    pub(crate) const MFILE: u16 = 33;
    pub(crate) const NAMETOOLONG: u16 = 37;
    pub(crate) const NOENT: u16 = 44;
    pub(crate) const NOSYS: u16 = 52;
    pub(crate) const NOTDIR: u16 = 54;
    pub(crate) const ROFS: u16 = 69;
    pub(crate) const SPIPE: u16 = 70;
    pub(crate) const NOTCAPABLE: u16 = 76;
}

/// Buffers that one read or write may name.
const MAX_BUFFERS: u32 = 1024;

/// The (pointer, length) pairs that a read or write names, all inside memory, and their bytes
/// together.
fn buffers(
    guest: &mut Guest<'_>,
    pointer: u32,
    count: u32,
) -> Result<(Vec<(u32, u32)>, usize), Fault> {
    if count > MAX_BUFFERS {
        return Err(Fault::Errno(errno::INVAL));
    }
    let bytes = count * 8;
    guest.pay_bytes(bytes as usize)?;
    let mut found = Vec::with_capacity(count as usize);
    let mut total = 0usize;
    for index in 0..count {
        let entry = pointer.checked_add(index * 8).ok_or(Halt::BadPointer)?;
        let start = guest.read_u32(entry)?;
        let len = guest.read_u32(entry.checked_add(4).ok_or(Halt::BadPointer)?)?;
        guest.bytes(start, len)?;
        total = total.saturating_add(len as usize);
        found.push((start, len));
    }
    Ok((found, total))
}

/// Copies as much of `from` as fits into the buffers named; writes how much at `count_at`.
fn scatter(
    guest: &mut Guest<'_>,
    (buffers, total): (Vec<(u32, u32)>, usize),
    from: &[u8],
    count_at: u32,
) -> Result<usize, Fault> {
    let moved = total.min(from.len());
    guest.pay_bytes(moved)?;
    let mut rest = &from[..moved];
    for (start, len) in buffers {
        let (now, later) = rest.split_at(rest.len().min(len as usize));
        guest.write(start, now)?;
        rest = later;
    }
    guest.write(count_at, &u32_of(moved)?.to_le_bytes())?;
    Ok(moved)
}

fn u32_of(value: usize) -> Result<u32, Fault> {
    u32::try_from(value).map_err(|_| Fault::Errno(errno::INVAL))
}
