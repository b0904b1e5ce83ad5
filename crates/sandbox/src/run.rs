//! Runs one task in a fresh instance.

use crate::{
    compile::Compiled,
    data::DataDir,
    guest::{Cell, Halt},
    limiter::Limiter,
};
use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};
use wasmtime::{Store, Trap};

/// Fuel between two looks at the clock: some tens of milliseconds. It does not change the count.
const YIELD_FUEL: u64 = 50_000_000;

/// What one run may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Fuel: the limit that counts, the same everywhere. About 3 x 10^9 a second.
    pub fuel: u64,
    /// Bytes of linear memory. Growth beyond it gives the guest -1.
    pub memory_bytes: u64,
    /// Bytes of stdout.
    pub output_bytes: u64,
    /// Wall time on this machine, milliseconds. Exceeding it proves nothing about the guest.
    pub wall_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fuel: 20_000_000_000,
            memory_bytes: 256 << 20,
            output_bytes: 64 << 20,
            wall_ms: 60_000,
        }
    }
}

/// Stops a run from outside: at the next host call, or within some tens of milliseconds.
#[derive(Debug, Clone, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Asks every run with this flag to stop.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether [`StopFlag::raise`] was called.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one run works on.
#[derive(Debug, Clone, Default)]
pub struct Task {
    /// All of stdin.
    pub stdin: Vec<u8>,
    /// The files under `/data`.
    pub data: DataDir,
    /// Raise it to stop the run.
    pub stop: StopFlag,
}

impl Task {
    /// A task of a chain job: step `step` (from 0) after `state`, which is empty before step 0.
    /// stdin is the index as u64, little-endian, then the state.
    #[must_use]
    pub fn chain_step(step: u64, state: &[u8], data: DataDir) -> Self {
        let mut stdin = Vec::with_capacity(8 + state.len());
        stdin.extend_from_slice(&step.to_le_bytes());
        stdin.extend_from_slice(state);
        Self { stdin, data, stop: StopFlag::default() }
    }
}

/// What a run gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// All of stdout.
    pub output: Vec<u8>,
    /// Fuel used: the same on every machine.
    pub fuel_used: u64,
    /// The last bytes of stderr, for people.
    pub stderr_tail: Vec<u8>,
}

/// Why the guest's own code could not go on. The codes are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TrapKind {
    /// It executed `unreachable`: most often a panic, or an allocation that was refused.
    #[error("it executed `unreachable`, as a panic does")]
    Unreachable = 1,
    /// It read or wrote outside its memory.
    #[error("it accessed memory out of bounds")]
    MemoryOutOfBounds = 2,
    /// It accessed a table out of bounds.
    #[error("it accessed a table out of bounds")]
    TableOutOfBounds = 3,
    /// It called through an empty table element.
    #[error("it called an empty table element")]
    NullCall = 4,
    /// It called through a table element of another type.
    #[error("it called a function of another type")]
    BadSignature = 5,
    /// Signed division overflowed, or a conversion from float did.
    #[error("an integer overflowed")]
    IntegerOverflow = 6,
    /// It divided by zero.
    #[error("it divided an integer by zero")]
    DivisionByZero = 7,
    /// It converted NaN to an integer.
    #[error("it converted a value that is no integer")]
    BadConversion = 8,
    /// It passed a host call a pointer outside its memory.
    #[error("it passed the host a pointer outside its memory")]
    HostPointer = 9,
    /// It asked for a matrix product that is misaligned, overlapping or too large.
    #[error("it asked for a matrix product that is misaligned, overlapping or too large")]
    BadProduct = 10,
}

/// Why a run gave no output.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// The fuel did not suffice.
    #[error(
        "the task used all its fuel ({limit}): raise the job's fuel, or make the tasks smaller"
    )]
    OutOfFuel {
        /// The fuel given.
        limit: u64,
    },
    /// The guest trapped after memory beyond the limit was refused to it, or could not start.
    #[error("the task needs more than {limit} bytes of memory: raise the job's memory limit")]
    MemoryLimit {
        /// The bytes allowed.
        limit: u64,
    },
    /// The guest trapped after table elements were refused to it, or could not start.
    #[error("the task needs more table elements than the format allows: use fewer")]
    TableLimit,
    /// The guest did what it may not.
    #[error("the guest trapped: {kind}{}", last_line(stderr))]
    Trap {
        /// What it did.
        kind: TrapKind,
        /// The end of its stderr, for people.
        stderr: String,
    },
    /// The guest ended with an exit code other than 0.
    #[error("the guest exited with code {code}{}", last_line(stderr))]
    ExitCode {
        /// The code.
        code: u32,
        /// The end of its stderr, for people.
        stderr: String,
    },
    /// The output is over its limit.
    #[error("the output is larger than {limit} bytes: raise the limit, or make the tasks smaller")]
    OutputTooLarge {
        /// The bytes allowed.
        limit: u64,
    },
    /// This machine took too long.
    #[error("the task took longer than {limit_ms} ms on this machine: give it to another")]
    WallTimeout {
        /// The milliseconds allowed.
        limit_ms: u64,
    },
    /// The native stack ran out; how deep that is depends on the machine.
    #[error("the guest's calls nest too deep for this machine's stack: recurse less")]
    StackOverflow,
    /// [`StopFlag::raise`] was called.
    #[error("the run was stopped from outside")]
    Stopped,
    /// This machine failed.
    #[error("this machine could not run the task: {reason}")]
    Host {
        /// What failed.
        reason: String,
    },
}

impl RunError {
    /// Whether every honest machine gets this same error for the same module, task and limits, so
    /// that it may be committed to and compared. Texts are for people and may not be compared.
    #[must_use]
    pub const fn is_deterministic(&self) -> bool {
        match self {
            Self::OutOfFuel { .. }
            | Self::MemoryLimit { .. }
            | Self::TableLimit
            | Self::Trap { .. }
            | Self::ExitCode { .. }
            | Self::OutputTooLarge { .. } => true,
            Self::WallTimeout { .. } | Self::StackOverflow | Self::Stopped | Self::Host { .. } => {
                false
            }
        }
    }
}

fn last_line(stderr: &str) -> String {
    let line = stderr.trim_end().lines().next_back().unwrap_or_default();
    if line.is_empty() { String::new() } else { format!(": {line}") }
}

impl Compiled {
    /// Runs `task` in a fresh instance on the calling thread; for async callers, inside
    /// `spawn_blocking`.
    ///
    /// # Errors
    /// [`RunError`]; see [`RunError::is_deterministic`].
    pub fn run(&self, task: Task, limits: &Limits) -> Result<Outcome, RunError> {
        let host = |error: wasmtime::Error| RunError::Host { reason: error.to_string() };
        let Task { stdin, data, stop } = task;
        let deadline = Instant::now() + Duration::from_millis(limits.wall_ms);
        let _permit = self.gate.enter(deadline, &stop).map_err(|halt| halted(halt, limits))?;
        let limiter = Limiter::new(to_usize(limits.memory_bytes));
        let output_limit = to_usize(limits.output_bytes);
        let cell = Cell::new(stdin, data, output_limit, limiter, (deadline, stop.clone()));
        let mut store = Store::new(self.pre.module().engine(), cell);
        store.limiter(|cell| &mut cell.limiter);
        store.set_fuel(limits.fuel).map_err(host)?;
        store.fuel_async_yield_interval(Some(YIELD_FUEL)).map_err(host)?;

        let mut instantiated = false;
        let result = {
            let mut run = pin!(async {
                let instance = self.pre.instantiate_async(&mut store).await?;
                instantiated = true;
                let start = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
                start.call_async(&mut store, ()).await
            });
            let mut context = Context::from_waker(Waker::noop());
            loop {
                match run.as_mut().poll(&mut context) {
                    Poll::Ready(result) => break result,
                    // The guest yielded: its fuel interval ended.
                    Poll::Pending if stop.is_raised() => break Err(Halt::Stopped.into()),
                    Poll::Pending if Instant::now() >= deadline => {
                        break Err(Halt::Deadline.into());
                    }
                    Poll::Pending => {}
                }
            }
        };
        let fuel_left = store.get_fuel().map_err(host)?;
        let cell = store.into_data();
        match result.or_else(|error| exited_well(&error).then_some(()).ok_or(error)) {
            Ok(()) => Ok(Outcome {
                output: cell.stdout,
                fuel_used: limits.fuel.saturating_sub(fuel_left),
                stderr_tail: cell.stderr.into_bytes(),
            }),
            Err(error) => Err(run_error(&error, cell, limits, instantiated)),
        }
    }
}

fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn exited_well(error: &wasmtime::Error) -> bool {
    error.downcast_ref::<Halt>() == Some(&Halt::Exit(0))
}

fn run_error(error: &wasmtime::Error, cell: Cell, limits: &Limits, instantiated: bool) -> RunError {
    let stderr = || String::from_utf8_lossy(&cell.stderr.into_bytes()).into_owned();
    let found = if let Some(halt) = error.downcast_ref::<Halt>() {
        halted(*halt, limits)
    } else if let Some(found) = error.downcast_ref::<Trap>() {
        match trap_kind(*found) {
            Some(kind) => trapped(kind),
            None if *found == Trap::OutOfFuel => RunError::OutOfFuel { limit: limits.fuel },
            None if *found == Trap::StackOverflow => RunError::StackOverflow,
            None => RunError::Host { reason: error.to_string() },
        }
    } else {
        RunError::Host { reason: error.to_string() }
    };
    // What was refused explains the trap or the failed instantiation that followed.
    let failed = match found {
        RunError::Trap { .. } => true,
        RunError::Host { .. } => !instantiated,
        _ => false,
    };
    match found {
        _ if failed && cell.limiter.memory_refused => {
            RunError::MemoryLimit { limit: limits.memory_bytes }
        }
        _ if failed && cell.limiter.table_refused => RunError::TableLimit,
        RunError::Trap { kind, .. } => RunError::Trap { kind, stderr: stderr() },
        RunError::ExitCode { code, .. } => RunError::ExitCode { code, stderr: stderr() },
        other => other,
    }
}

fn halted(halt: Halt, limits: &Limits) -> RunError {
    match halt {
        Halt::Exit(code) => RunError::ExitCode { code, stderr: String::new() },
        Halt::OutputTooLarge => RunError::OutputTooLarge { limit: limits.output_bytes },
        Halt::BadPointer => trapped(TrapKind::HostPointer),
        Halt::BadProduct => trapped(TrapKind::BadProduct),
        Halt::Deadline => RunError::WallTimeout { limit_ms: limits.wall_ms },
        Halt::Stopped => RunError::Stopped,
    }
}

const fn trapped(kind: TrapKind) -> RunError {
    RunError::Trap { kind, stderr: String::new() }
}

fn trap_kind(trap: Trap) -> Option<TrapKind> {
    Some(match trap {
        Trap::UnreachableCodeReached => TrapKind::Unreachable,
        Trap::MemoryOutOfBounds => TrapKind::MemoryOutOfBounds,
        Trap::TableOutOfBounds => TrapKind::TableOutOfBounds,
        Trap::IndirectCallToNull => TrapKind::NullCall,
        Trap::BadSignature => TrapKind::BadSignature,
        Trap::IntegerOverflow => TrapKind::IntegerOverflow,
        Trap::IntegerDivisionByZero => TrapKind::DivisionByZero,
        Trap::BadConversionToInteger => TrapKind::BadConversion,
        _ => return None,
    })
}
