//! Descriptors 0 to 2.

use super::{buffers, errno, scatter, u32_of};
use crate::guest::{Fault, Guest, Halt};

/// Reads stdin.
pub(super) fn read(
    guest: &mut Guest<'_>,
    pointer: u32,
    count: u32,
    read_at: u32,
) -> Result<(), Fault> {
    let targets = buffers(guest, pointer, count)?;
    // Taken out while it is copied, because the guest is borrowed whole.
    let stdin = std::mem::take(&mut guest.cell.stdin);
    let moved = scatter(guest, targets, &stdin[guest.cell.stdin_read..], read_at);
    guest.cell.stdin = stdin;
    guest.cell.stdin_read += moved?;
    Ok(())
}

/// `fd_write`: stdout and stderr, nothing else.
pub(super) fn write(
    guest: &mut Guest<'_>,
    fd: u32,
    pointer: u32,
    count: u32,
    written_at: u32,
) -> Result<(), Fault> {
    match fd {
        1 | 2 => {}
        0 | 3 => return Err(Fault::Errno(errno::BADF)),
        _ => {
            super::files::open_file(guest, fd)?;
            return Err(Fault::Errno(errno::ROFS));
        }
    }
    let (sources, total) = buffers(guest, pointer, count)?;
    guest.pay_bytes(total)?;
    if fd == 1 && guest.cell.stdout.len().saturating_add(total) > guest.cell.stdout_limit {
        return Err(Halt::OutputTooLarge.into());
    }
    for (start, len) in sources {
        let end = start as usize + len as usize;
        let bytes = guest.memory.get(start as usize..end).ok_or(Halt::BadPointer)?;
        if fd == 1 {
            guest.cell.stdout.extend_from_slice(bytes);
        } else {
            guest.cell.stderr.push(bytes);
        }
    }
    guest.write(written_at, &u32_of(total)?.to_le_bytes())?;
    Ok(())
}
