//! One running guest: what it holds open, and how host calls reach its memory and fuel.

use crate::{data::DataDir, fuel, limiter::Limiter, run::StopFlag};
use std::time::Instant;
use wasmtime::{Caller, Extern, Memory, Trap};

/// Bytes of stderr kept: the last ones.
const STDERR_TAIL_BYTES: usize = 64 << 10;

/// The store's data of one run.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) stdin: Vec<u8>,
    pub(crate) stdin_read: usize,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stdout_limit: usize,
    pub(crate) stderr: Tail,
    pub(crate) data: DataDir,
    /// Descriptors from 4 on.
    pub(crate) open: Vec<Option<crate::wasi::Open>>,
    pub(crate) limiter: Limiter,
    pub(crate) deadline: Instant,
    pub(crate) stop: StopFlag,
    /// Found at the first host call.
    memory: Option<Memory>,
}

impl Cell {
    pub(crate) fn new(
        stdin: Vec<u8>,
        data: DataDir,
        stdout_limit: usize,
        limiter: Limiter,
        (deadline, stop): (Instant, StopFlag),
    ) -> Self {
        Self {
            stdin,
            stdin_read: 0,
            stdout: Vec::new(),
            stdout_limit,
            stderr: Tail::default(),
            data,
            open: Vec::new(),
            limiter,
            deadline,
            stop,
            memory: None,
        }
    }
}

/// The last bytes of a stream.
#[derive(Debug, Default)]
pub(crate) struct Tail(Vec<u8>);

impl Tail {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let kept = &bytes[bytes.len().saturating_sub(STDERR_TAIL_BYTES)..];
        self.0.extend_from_slice(kept);
        // Twice the tail before cutting, so that many small writes do not move it each time.
        if self.0.len() > 2 * STDERR_TAIL_BYTES {
            self.0.drain(..self.0.len() - STDERR_TAIL_BYTES);
        }
    }

    pub(crate) fn into_bytes(mut self) -> Vec<u8> {
        let surplus = self.0.len().saturating_sub(STDERR_TAIL_BYTES);
        self.0.drain(..surplus);
        self.0
    }
}

/// Why a host call ends the guest. Reaches the runner through wasmtime's error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Halt {
    #[error("the guest exited with code {0}")]
    Exit(u32),
    #[error("the guest wrote more than it may")]
    OutputTooLarge,
    #[error("the guest passed a pointer outside its memory")]
    BadPointer,
    #[error("the guest asked for a malformed matrix product")]
    BadProduct,
    #[error("the deadline of this machine passed")]
    Deadline,
    #[error("the run was stopped")]
    Stopped,
}

/// How a host call ends other than well.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The guest is told.
    Errno(u16),
    /// The guest ends.
    Halt(Halt),
    /// The guest ends: the fuel does not pay for the call.
    OutOfFuel,
}

impl From<Halt> for Fault {
    fn from(halt: Halt) -> Self {
        Self::Halt(halt)
    }
}

/// A guest during one host call.
pub(crate) struct Guest<'a> {
    pub(crate) memory: &'a mut [u8],
    pub(crate) cell: &'a mut Cell,
    fuel: u64,
}

impl Guest<'_> {
    /// Takes `fuel` from the guest before the work that it pays for.
    pub(crate) fn pay(&mut self, fuel: u64) -> Result<(), Fault> {
        self.fuel = self.fuel.checked_sub(fuel).ok_or(Fault::OutOfFuel)?;
        Ok(())
    }

    /// Pays for moving `bytes`, beyond the price of the call itself.
    pub(crate) fn pay_bytes(&mut self, bytes: usize) -> Result<(), Fault> {
        self.pay(fuel::call(bytes as u64) - fuel::call(0))
    }

    /// The guest's bytes from `pointer` on.
    pub(crate) fn bytes(&self, pointer: u32, len: u32) -> Result<&[u8], Halt> {
        let (start, len) = (pointer as usize, len as usize);
        let end = start.checked_add(len).ok_or(Halt::BadPointer)?;
        self.memory.get(start..end).ok_or(Halt::BadPointer)
    }

    /// Writes the guest's bytes from `pointer` on.
    pub(crate) fn write(&mut self, pointer: u32, bytes: &[u8]) -> Result<(), Halt> {
        let start = pointer as usize;
        let end = start.checked_add(bytes.len()).ok_or(Halt::BadPointer)?;
        self.memory.get_mut(start..end).ok_or(Halt::BadPointer)?.copy_from_slice(bytes);
        Ok(())
    }

    /// Reads a little-endian u32 of the guest.
    pub(crate) fn read_u32(&self, pointer: u32) -> Result<u32, Halt> {
        let bytes = self.bytes(pointer, 4)?;
        Ok(u32::from_le_bytes(bytes.try_into().map_err(|_| Halt::BadPointer)?))
    }
}

/// Runs the body of a host call: pays for the call, then 0 for success or the errno.
pub(crate) fn host_call(
    caller: &mut Caller<'_, Cell>,
    body: impl FnOnce(&mut Guest<'_>) -> Result<(), Fault>,
) -> wasmtime::Result<u32> {
    let fuel = caller.get_fuel()?;
    let memory = memory_of(caller)?;
    let (memory, cell) = memory.data_and_store_mut(&mut *caller);
    let mut guest = Guest { memory, cell, fuel };
    let result = interrupted(&guest).and_then(|()| {
        guest.pay(fuel::call(0))?;
        body(&mut guest)
    });
    let fuel = guest.fuel;
    match result {
        Ok(()) => {
            caller.set_fuel(fuel)?;
            Ok(0)
        }
        Err(Fault::Errno(errno)) => {
            caller.set_fuel(fuel)?;
            Ok(u32::from(errno))
        }
        Err(Fault::Halt(halt)) => {
            caller.set_fuel(fuel)?;
            Err(halt.into())
        }
        Err(Fault::OutOfFuel) => {
            caller.set_fuel(0)?;
            Err(Trap::OutOfFuel.into())
        }
    }
}

/// Setting the fuel starts the interval between yields anew, so that host calls must look at the
/// clock themselves.
fn interrupted(guest: &Guest<'_>) -> Result<(), Fault> {
    if guest.cell.stop.is_raised() {
        return Err(Halt::Stopped.into());
    }
    if Instant::now() >= guest.cell.deadline {
        return Err(Halt::Deadline.into());
    }
    Ok(())
}

fn memory_of(caller: &mut Caller<'_, Cell>) -> wasmtime::Result<Memory> {
    if let Some(memory) = caller.data().memory {
        return Ok(memory);
    }
    let memory =
        caller.get_export("memory").and_then(Extern::into_memory).ok_or(Halt::BadPointer)?;
    caller.data_mut().memory = Some(memory);
    Ok(memory)
}
