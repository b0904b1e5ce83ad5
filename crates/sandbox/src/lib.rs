//! The cell: runs strangers' programs without trusting them, and gives the same bytes everywhere.
//!
//! A program is a WASM module of format [`FORMAT`]: a filter that reads stdin and a read-only
//! directory `/data`, and writes stdout. It has no clock, no entropy, no network and nothing to
//! write to but its output.
//!
//! ```text
//!  module bytes --> Compiler ==child process, under rlimits==> Compiled --run(Task, Limits)--> Outcome
//!                     |          check_module, Cranelift           |
//!                     '-- cache by content hash                    '-- a fresh instance each time
//! ```
//!
//! # The format `wasm-det-v1`
//! - WASM 1.0 with mutable globals, saturating conversions, sign extension, multi-value, bulk
//!   memory, function references in tables (reference types without `externref`) and fixed-width
//!   SIMD. Everything else is refused: relaxed SIMD, threads and shared memory, GC, exceptions,
//!   tail calls, several memories, 64-bit memory, components.
//! - A command: exports the function `_start` and the memory `memory`; imports nothing but
//!   [`IMPORTS`]. At most [`MAX_TABLES`] tables with
//!   [`MAX_TABLE_ELEMENTS`] elements together.
//! - NaNs are canonical, so that no machine shows which one it is.
//! - Fuel is the limit that counts. An instruction costs 1, structure (`block`, `end`, `nop`..) 0;
//!   bulk operations cost 1 more for each byte or element, `memory.grow` 255 for each page asked
//!   for. A host
//!   call costs [`fuel::call`]; a matrix product costs [`muster_kernel::matmul_fuel`] on top.
//! - Memory growth beyond the limit of the task gives -1 on every machine.
//! - Clock, entropy, polling and yielding answer `ENOSYS`; changes to files answer `EROFS`.
//!
//! What a run gives is then a function of the module, the task and the limits: the same output and
//! the same fuel, or the same deterministic [`RunError`]. Two things are local and prove nothing
//! ([`RunError::is_deterministic`]): the wall clock, and running out of native stack, whose frames
//! the compiler sizes differently for each processor.

mod check;
mod child;
mod compile;
mod data;
mod engine;
mod gate;
mod guest;
mod limiter;
mod product;
mod run;
mod wasi;

pub mod oci;

pub use check::{ModuleError, ModuleLimits, check_module};
pub use child::compile_child_main;
pub use compile::{ChildProgram, CompileError, CompileLimits, Compiled, Compiler};
pub use data::{DataDir, DataError, MAX_DATA_FILES, MAX_NAME_BYTES};
pub use engine::{FORMAT, MAX_TABLE_ELEMENTS, MAX_TABLES};
pub use run::{Limits, Outcome, RunError, StopFlag, Task, TrapKind};
pub use wasi::IMPORTS;

pub mod fuel {
    //! What host calls cost.

    /// Fuel of a host call that moves `bytes` between guest and host: `256 + ceil(bytes / 8)`.
    #[must_use]
    pub const fn call(bytes: u64) -> u64 {
        256 + bytes.div_ceil(8)
    }
}
