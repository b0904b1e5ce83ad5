//! Writes modules as text, compiles and runs them.

use muster_sandbox::{
    ChildProgram, CompileError, CompileLimits, Compiled, Compiler, Limits, Outcome, RunError, Task,
};
use std::{fmt::Write, sync::Arc};

pub(crate) fn child() -> ChildProgram {
    ChildProgram { program: env!("CARGO_BIN_EXE_muster-sandbox-child").into(), args: Vec::new() }
}

pub(crate) fn compiler(limits: CompileLimits) -> Compiler {
    Compiler::new(child(), limits).unwrap()
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Compiles binary or text.
pub(crate) fn compile(module: &[u8]) -> Result<Arc<Compiled>, CompileError> {
    block_on(compiler(CompileLimits::default()).compile(&wat::parse_bytes(module).unwrap()))
}

pub(crate) fn run(text: &str, task: Task, limits: &Limits) -> Result<Outcome, RunError> {
    compile(text.as_bytes()).unwrap().run(task, limits)
}

/// Runs without input under ordinary limits.
pub(crate) fn run_alone(text: &str) -> Result<Outcome, RunError> {
    run(text, Task::default(), &Limits::default())
}

/// The 32-bit words that a module of [`command`] put out.
pub(crate) fn words(outcome: &Outcome) -> Vec<u32> {
    let (words, rest) = outcome.output.as_chunks::<4>();
    assert_eq!(rest, b"");
    words.iter().map(|word| u32::from_le_bytes(*word)).collect()
}

/// A function of WASI: name and parameters; all but `proc_exit` return an errno.
pub(crate) type Function<'a> = (&'a str, &'a str);

/// A command with two pages of memory, the functions of WASI named and `$put`, which writes one
/// word to stdout. It uses the memory below 32.
pub(crate) fn command(functions: &[Function<'_>], items: &str, start: &str) -> String {
    let mut imports = String::new();
    for (name, params) in functions.iter().filter(|(name, _)| *name != "fd_write") {
        writeln!(
            imports,
            r#"(import "wasi_snapshot_preview1" "{name}" (func ${name} (param {params}) (result i32)))"#
        )
        .unwrap();
    }
    format!(
        r#"(module
            {imports}
            (import "wasi_snapshot_preview1" "fd_write"
                (func $fd_write (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 2)
            (func $put (param $word i32)
                (i32.store (i32.const 16) (local.get $word))
                (i32.store (i32.const 0) (i32.const 16))
                (i32.store (i32.const 4) (i32.const 4))
                (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))
                    (then unreachable)))
            {items}
            (func (export "_start") {start}))"#
    )
}

/// A command that needs nothing from outside.
pub(crate) fn plain(items: &str, start: &str) -> String {
    format!(r#"(module (memory (export "memory") 1) {items} (func (export "_start") {start}))"#)
}
