//! Modules and calls of chance.

use crate::helpers::{block_on, compile, compiler, plain};
use muster_hostile::{Meter, allowance, bent, peak_during};
use muster_sandbox::{
    CompileError, CompileLimits, DataDir, Limits, ModuleLimits, Task, check_module,
};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};
use std::{collections::BTreeMap, fmt::Write, sync::Arc};

#[global_allocator]
static METER: Meter = Meter;

/// What a bent module may use.
const LIMITS: Limits =
    Limits { fuel: 200_000, memory_bytes: 1 << 20, output_bytes: 4096, wall_ms: 10_000 };

/// How many bent modules that pass the check are compiled and run too.
const RUNS: u32 = 60;

fn modules() -> Vec<Vec<u8>> {
    let items = r#"
        (type $binary (func (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write"
            (func $fd_write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
        (memory (export "memory") 1 4)
        (table 4 8 funcref)
        (global $seen (mut i64) (i64.const 7))
        (elem (i32.const 0) $add $add)
        (data (i32.const 16) "some data")
        (func $add (type $binary) (i32.add (local.get 0) (local.get 1)))
        (func (export "_start") (local $i i32) (local $v v128)
            (block $done (loop $again
                (br_if $done (i32.gt_u (local.get $i) (i32.const 40)))
                (local.set $i (call_indirect (type $binary)
                    (local.get $i) (i32.const 1) (i32.and (local.get $i) (i32.const 1))))
                (i64.store (local.get $i) (i64.add (global.get $seen) (i64.const 1)))
                (global.set $seen (i64.load (local.get $i)))
                (br $again)))
            (local.set $v (i8x16.splat (local.get $i)))
            (drop (memory.grow (i32.const 1)))
            (memory.copy (i32.const 100) (i32.const 16) (i32.const 9))
            (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
            (call $proc_exit (i32.const 0)))"#;
    [format!("(module {items})"), plain("(func $f (param i32))", "(call $f (i32.const 1))")]
        .iter()
        .map(|text| wat::parse_str(text).unwrap())
        .collect()
}

#[test]
fn a_bent_module_is_refused_or_is_compiled_and_run_within_its_limits() {
    let modules = modules();
    let limits = ModuleLimits::default();
    let compiler = compiler(CompileLimits::default());
    let (mut passed, mut run, mut finished) = (0_u32, 0, 0);
    bent(&modules, 12_000, |bytes| {
        let (checked, peak) = peak_during(|| check_module(bytes, &limits));
        assert!(peak <= allowance(bytes.len()), "{peak}: {bytes:?}");
        if checked.is_err() {
            return;
        }
        passed += 1;
        if !passed.is_multiple_of(8) || run == RUNS {
            return;
        }
        run += 1;
        match block_on(compiler.compile(bytes)) {
            Ok(compiled) => finished += u32::from(compiled.run(Task::default(), &LIMITS).is_ok()),
            // The check does not know the types of imports and of `_start`.
            Err(CompileError::Refused { .. }) => {}
            Err(error) => panic!("{error}: {bytes:?}"),
        }
    });
    assert!(run == RUNS && finished > 5, "{finished} of {run} finished, {passed} passed the check");
}

/// What a guest can call with any arguments: module, name, parameters and result.
const CALLS: [(&str, &str, &str); 30] = [
    (WASI, "args_get", "ii:i"),
    (WASI, "args_sizes_get", "ii:i"),
    (WASI, "clock_time_get", "iIi:i"),
    (WASI, "environ_sizes_get", "ii:i"),
    (WASI, "fd_advise", "iIIi:i"),
    (WASI, "fd_close", "i:i"),
    (WASI, "fd_fdstat_get", "ii:i"),
    (WASI, "fd_filestat_get", "ii:i"),
    (WASI, "fd_filestat_set_size", "iI:i"),
    (WASI, "fd_pread", "iiiIi:i"),
    (WASI, "fd_prestat_dir_name", "iii:i"),
    (WASI, "fd_prestat_get", "ii:i"),
    (WASI, "fd_pwrite", "iiiIi:i"),
    (WASI, "fd_read", "iiii:i"),
    (WASI, "fd_readdir", "iiiIi:i"),
    (WASI, "fd_renumber", "ii:i"),
    (WASI, "fd_seek", "iIii:i"),
    (WASI, "fd_tell", "ii:i"),
    (WASI, "fd_write", "iiii:i"),
    (WASI, "path_filestat_get", "iiiii:i"),
    (WASI, "path_open", "iiiiiIIii:i"),
    (WASI, "path_open", "iiiiiIIii:i"),
    (WASI, "path_readlink", "iiiiii:i"),
    (WASI, "path_rename", "iiiiii:i"),
    (WASI, "poll_oneoff", "iiii:i"),
    (WASI, "proc_exit", "i:"),
    (WASI, "random_get", "ii:i"),
    (PRODUCT, "matmul_f32", "iiiiii:"),
    (PRODUCT, "matmul_nt_f32", "iiiiii:"),
    (PRODUCT, "matmul_tn_f32", "iiiiii:"),
];
const WASI: &str = "wasi_snapshot_preview1";
const PRODUCT: &str = muster_kernel::IMPORT_MODULE;

/// The most arguments of a call.
const ARGUMENTS: usize = 9;
/// Bytes that name one call and its arguments.
const CALL_BYTES: usize = 8 * (1 + ARGUMENTS);

/// A guest that makes the calls that its input names.
fn caller() -> String {
    let (mut imports, mut blocks, mut arms) = (String::new(), String::new(), String::new());
    for (number, (module, name, signature)) in CALLS.iter().enumerate() {
        let (params, result) = signature.split_once(':').unwrap();
        let kind = |letter| if letter == 'i' { "i32" } else { "i64" };
        let types: String = params.chars().map(|one| format!(" {}", kind(one))).collect();
        let result_type = if result.is_empty() { "" } else { "(result i32)" };
        writeln!(
            imports,
            r#"(import "{module}" "{name}" (func $call{number} (param{types}) {result_type}))"#
        )
        .unwrap();
        let load = |(place, letter)| {
            let load = format!("(i64.load (i32.const {}))", 32 + 8 * (place + 1));
            if letter == 'i' { format!("(i32.wrap_i64 {load})") } else { load }
        };
        let arguments: String = params.chars().enumerate().map(load).collect();
        let drop = if result.is_empty() { "" } else { "drop" };
        blocks.insert_str(0, &format!("(block $b{number} "));
        writeln!(arms, ") (call $call{number} {arguments}) {drop} (br $again)").unwrap();
    }
    let targets: String = (0..CALLS.len()).map(|number| format!("$b{number} ")).collect();
    format!(
        r#"(module {imports}
        (import "{WASI}" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 2)
        (data (i32.const 256) "model") (data (i32.const 272) "../x")
        (data (i32.const 320) "\00\04\00\00\10\00\00\00\00\05\00\00\08\00\00\00")
        (func (export "_start")
            (loop $again
                (i32.store (i32.const 0) (i32.const 32))
                (i32.store (i32.const 4) (i32.const {CALL_BYTES}))
                (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
                (if (i32.ne (i32.load (i32.const 8)) (i32.const {CALL_BYTES})) (then return))
                {blocks}
                (br_table {targets} (i32.rem_u (i32.load (i32.const 32)) (i32.const {count})))
                {arms})))"#,
        count = CALLS.len()
    )
}

/// Arguments that lead somewhere: descriptors, places in memory, and what is beyond.
fn argument(random: &mut ChaCha8Rng) -> u64 {
    let places = [256, 272, 320, 1024, 1280, 131_056, 131_071, 131_072];
    let extremes = [u64::from(u32::MAX), 1 << 31, u64::MAX, 1 << 63, (1 << 32) - 8, 1 << 20];
    let any = random.next_u64();
    let pick = |all: &[u64]| all[usize::try_from(any >> 8).unwrap_or_default() % all.len()];
    match any % 16 {
        0..=6 => (any >> 8) % 8,
        7..=11 => pick(&places),
        12 | 13 => (any >> 8) % 200,
        14 => pick(&extremes),
        _ => any,
    }
}

#[test]
fn calls_with_any_arguments_end_the_guest_at_most_and_end_it_the_same_way_again() {
    let compiled = compile(caller().as_bytes()).unwrap();
    let file = |name: &str, bytes: &[u8]| (name.to_owned(), Arc::from(bytes));
    let files = BTreeMap::from([file("model", b"0123456789"), file("empty", b"")]);
    let data = DataDir::new(files).unwrap();
    let limits = Limits { fuel: 2_000_000, memory_bytes: 1 << 20, ..LIMITS };
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let (mut finished, mut ended) = (0, 0);
    for _ in 0..3_000 {
        let calls = 1 + random.next_u64() % 12;
        let words = calls * (1 + ARGUMENTS as u64);
        let stdin: Vec<u8> = (0..words)
            .flat_map(|word| {
                let is_call = word % (1 + ARGUMENTS as u64) == 0;
                let word = if is_call { random.next_u64() } else { argument(&mut random) };
                word.to_le_bytes()
            })
            .collect();
        let task = || Task { stdin: stdin.clone(), data: data.clone(), ..Task::default() };
        let (outcome, peak) = peak_during(|| compiled.run(task(), &limits));
        assert!(peak <= 4 << 20, "{peak} bytes of memory of ours");
        let again = compiled.run(task(), &limits);
        match (&outcome, &again) {
            (Ok(one), Ok(two)) => {
                assert_eq!((&one.output, one.fuel_used), (&two.output, two.fuel_used));
                finished += 1;
            }
            (Err(one), Err(two)) => {
                assert_eq!(one.to_string(), two.to_string());
                ended += 1;
            }
            _ => panic!("{outcome:?}, then {again:?}"),
        }
    }
    assert!(finished > 200 && ended > 200, "{finished} finished, {ended} were ended");
}
