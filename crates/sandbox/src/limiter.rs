//! Says no to memory and tables, the same on every machine.

use crate::engine::MAX_TABLE_ELEMENTS;
use wasmtime::ResourceLimiter;

/// What wasmtime says when a memory would outgrow its own type; the guest's business, not a
/// failure of this machine. A test pins the wording.
const OUTGREW_TYPE: &str = "memory growth exceeds memory type's limits";

/// Limits of one run, and what was refused during it.
#[derive(Debug)]
pub(crate) struct Limiter {
    memory_bytes: usize,
    /// Whether memory was asked for beyond the limit.
    pub(crate) memory_refused: bool,
    /// Whether table elements were asked for beyond the limit.
    pub(crate) table_refused: bool,
    table_elements: usize,
}

impl Limiter {
    pub(crate) const fn new(memory_bytes: usize) -> Self {
        Self { memory_bytes, memory_refused: false, table_refused: false, table_elements: 0 }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let within = desired <= self.memory_bytes;
        self.memory_refused |= !within;
        Ok(within && maximum.is_none_or(|maximum| desired <= maximum))
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        // Growth that the limit allows must not depend on what this machine has left: the run is
        // given up instead of telling the guest.
        if error.to_string() == OUTGREW_TYPE { Ok(()) } else { Err(error) }
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self.table_elements.saturating_add(desired.saturating_sub(current));
        let within = total as u64 <= MAX_TABLE_ELEMENTS;
        self.table_refused |= !within;
        let granted = within && maximum.is_none_or(|maximum| desired <= maximum);
        if granted {
            self.table_elements = total;
        }
        Ok(granted)
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(error)
    }

    fn instances(&self) -> usize {
        1
    }

    fn memories(&self) -> usize {
        1
    }
}
