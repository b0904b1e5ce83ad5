//! Modules that are not of the format.

use crate::helpers::{compile, plain};
use muster_sandbox::{CompileError, ModuleError, ModuleLimits, check_module};
use std::fmt::Write;

fn check(text: &str) -> Result<(), ModuleError> {
    check_module(&wat::parse_str(text).unwrap(), &ModuleLimits::default())
}

#[test]
fn features_outside_the_format_are_refused_by_name() {
    let memory = r#"(memory (export "memory") 1) (func (export "_start"))"#;
    for (what, text, says) in [
        (
            "relaxed SIMD",
            plain(
                "",
                "(drop (f32x4.relaxed_madd (v128.const i32x4 0 0 0 0) (v128.const i32x4 0 0 0 0) (v128.const i32x4 0 0 0 0)))",
            ),
            "relaxed SIMD",
        ),
        (
            "shared memory",
            r#"(module (memory (export "memory") 1 2 shared) (func (export "_start")))"#.to_owned(),
            "threads",
        ),
        ("atomics", plain("", "(atomic.fence)"), "threads"),
        (
            "64-bit memory",
            r#"(module (memory (export "memory") i64 1) (func (export "_start")))"#.to_owned(),
            "memory64",
        ),
        ("several memories", format!("(module {memory} (memory 1))"), "multiple memories"),
        ("externref", format!("(module {memory} (table 1 externref))"), "requires gc"),
        ("tail calls", plain("(func $f (return_call $f))", ""), "tail calls"),
        ("exceptions", format!("(module {memory} (tag))"), "exceptions"),
        ("GC", format!("(module {memory} (type (struct (field i32))))"), "gc"),
        ("a component", "(component)".to_owned(), "component"),
    ] {
        let error = check(&text).unwrap_err();
        assert!(matches!(error, ModuleError::Invalid { .. }), "{what}: {error:?}");
        assert!(error.to_string().contains(says), "{what}: {error}");
    }
}

#[test]
fn imports_beyond_the_format_are_named() {
    let with = |import: &str| {
        format!(r#"(module {import} (memory (export "memory") 1) (func (export "_start")))"#)
    };
    let unknown = |module: &str, name: &str| ModuleError::UnknownImport {
        module: module.to_owned(),
        name: name.to_owned(),
    };
    let wasi = "wasi_snapshot_preview1";
    for (import, error) in [
        (r#"(import "env" "time" (func))"#, unknown("env", "time")),
        (r#"(import "wasi_snapshot_preview1" "sock_send" (func))"#, unknown(wasi, "sock_send")),
        (r#"(import "wasi_unstable" "fd_read" (func))"#, unknown("wasi_unstable", "fd_read")),
        (r#"(import "muster_det_v2" "matmul_f32" (func))"#, unknown("muster_det_v2", "matmul_f32")),
        (
            r#"(import "wasi_snapshot_preview1" "fd_read" (global i32))"#,
            ModuleError::ImportKind { module: wasi.to_owned(), name: "fd_read".to_owned() },
        ),
    ] {
        assert_eq!(check(&with(import)).unwrap_err(), error);
    }
    let imported = r#"(module (import "env" "memory" (memory 1)) (export "memory" (memory 0)))"#;
    assert!(matches!(check(imported), Err(ModuleError::ImportKind { .. })));
}

#[test]
fn a_command_exports_its_start_and_its_memory() {
    for (text, what) in [
        (r#"(module (memory (export "memory") 1))"#, "function `_start`"),
        (
            r#"(module (memory (export "memory") 1) (global (export "_start") i32 (i32.const 0)))"#,
            "function `_start`",
        ),
        (r#"(module (memory 1) (func (export "_start")))"#, "memory `memory`"),
    ] {
        assert_eq!(check(text).unwrap_err(), ModuleError::MissingExport { what });
    }
}

#[test]
fn types_that_do_not_fit_are_refused_when_compiled() {
    let takes = r#"(module (memory (export "memory") 1) (func (export "_start") (param i32)))"#;
    let wrong = r#"(module (import "wasi_snapshot_preview1" "fd_read" (func (param i32)))
        (memory (export "memory") 1) (func (export "_start")))"#;
    for (text, says) in [(takes, "`_start`"), (wrong, "fd_read")] {
        match compile(text.as_bytes()) {
            Err(CompileError::Refused { reason }) => assert!(reason.contains(says), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn sizes_over_the_limits_are_refused() {
    let module = wat::parse_str(plain("", "")).unwrap();
    let limits = ModuleLimits { module_bytes: module.len() - 1, ..ModuleLimits::default() };
    let error = ModuleError::TooLarge { bytes: module.len(), limit: module.len() - 1 };
    assert_eq!(check_module(&module, &limits).unwrap_err(), error);

    let mut body = String::new();
    for _ in 0..(128 << 10) / 3 + 1 {
        write!(body, "(drop (i32.const 1))").unwrap();
    }
    assert!(matches!(
        check(&plain("(func)", &body)).unwrap_err(),
        ModuleError::BodyTooLarge { function: 1, limit: 131_072, .. }
    ));
    let tables = "(table 1 funcref)".repeat(9);
    assert_eq!(check(&plain(&tables, "")).unwrap_err(), ModuleError::TooManyTables { count: 9 });
    for elements in [100_001, 4_000_000_000] {
        let error = check(&plain(&format!("(table {elements} funcref)"), "")).unwrap_err();
        assert_eq!(error, ModuleError::TableTooLarge { elements });
    }
}

#[test]
fn bytes_that_are_no_module_are_refused() {
    let module = wat::parse_str(plain("(func (param i32 i64))", "(drop (i32.const 300))")).unwrap();
    let cut = (1..module.len()).map(|len| module[..len].to_vec());
    let others = [b"".to_vec(), b"\0asm".to_vec(), b"ELF and so on".to_vec(), vec![0xff; 64]];
    for bytes in cut.chain(others) {
        assert!(check_module(&bytes, &ModuleLimits::default()).is_err(), "{bytes:?}");
    }
    // One changed byte gives some answer, never a panic.
    for index in 0..module.len() {
        for change in [1, 0x80, 0xff] {
            let mut bytes = module.clone();
            bytes[index] ^= change;
            let _ = check_module(&bytes, &ModuleLimits::default());
        }
    }
}
