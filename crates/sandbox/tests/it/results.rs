//! The same bytes and the same fuel, wherever and whenever.

use crate::helpers::{command, compile, plain, run, run_alone, words};
use muster_sandbox::{Limits, RunError, Task};

const EXIT: &str = r#"(module
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (import "wasi_snapshot_preview1" "fd_write"
        (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\10\00\00\00\0a\00\00\00")
    (data (i32.const 16) "no\nfile x\n")
    (func (export "_start")
        (drop (call $write (i32.const FD) (i32.const 0) (i32.const 1) (i32.const 8)))
        (call $exit (i32.const CODE))
        unreachable))"#;

#[test]
fn exit_code_zero_is_success_and_others_carry_the_last_words() {
    let text = EXIT.replace("FD", "1").replace("CODE", "0");
    assert_eq!(run_alone(&text).unwrap().output, b"no\nfile x\n");
    let text = EXIT.replace("FD", "2").replace("CODE", "7");
    let error = run_alone(&text).unwrap_err();
    assert_eq!(error, RunError::ExitCode { code: 7, stderr: "no\nfile x\n".to_owned() });
    assert!(error.is_deterministic());
    assert_eq!(error.to_string(), "the guest exited with code 7: file x");
}

/// Reads stdin in pieces of 7 bytes and writes each back.
fn echo() -> String {
    command(
        &[("fd_read", "i32 i32 i32 i32")],
        "",
        "(i32.store (i32.const 32) (i32.const 64))
         (loop $more
            (i32.store (i32.const 36) (i32.const 7))
            (if (call $fd_read (i32.const 0) (i32.const 32) (i32.const 1) (i32.const 40))
                (then unreachable))
            (i32.store (i32.const 36) (i32.load (i32.const 40)))
            (drop (call $fd_write (i32.const 1) (i32.const 32) (i32.const 1) (i32.const 44)))
            (br_if $more (i32.load (i32.const 40))))",
    )
}

#[test]
fn two_runs_give_the_same_output_and_fuel() {
    let stdin: Vec<u8> = (0..200).collect();
    let task = Task { stdin: stdin.clone(), ..Task::default() };
    let compiled = compile(echo().as_bytes()).unwrap();
    let first = compiled.run(task.clone(), &Limits::default()).unwrap();
    let second = compile(echo().as_bytes()).unwrap().run(task, &Limits::default()).unwrap();
    assert_eq!(first, second);
    assert_eq!(first.output, stdin);
}

#[test]
fn a_run_leaves_nothing_behind_for_the_next() {
    let text = command(
        &[],
        "(global $g (mut i32) (i32.const 5))",
        "(call $put (i32.load (i32.const 1000)))
         (call $put (global.get $g))
         (call $put (memory.size))
         (i32.store (i32.const 1000) (i32.const 9))
         (global.set $g (i32.const 9))
         (memory.fill (i32.const 32) (i32.const 0xff) (i32.const 100000))
         (drop (memory.grow (i32.const 100)))
         (memory.fill (i32.const 131072) (i32.const 0xff) (i32.const 6553600))",
    );
    let compiled = compile(text.as_bytes()).unwrap();
    for _ in 0..40 {
        let outcome = compiled.run(Task::default(), &Limits::default()).unwrap();
        assert_eq!(words(&outcome), [0, 5, 2]);
    }
}

/// The prices of the format. A change of any of these numbers is a new format.
#[test]
fn the_fuel_of_known_modules_is_pinned() {
    let sum = "(local $i i32) (local $sum i32)
        (loop $more
            (local.set $sum (i32.add (local.get $sum) (local.get $i)))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $more (i32.lt_u (local.get $i) (i32.const 1000))))";
    let vector = "(v128.store (i32.const 64) (f32x4.mul (v128.load (i32.const 32)) (v128.load (i32.const 48))))";
    for (what, text, fuel) in [
        ("nothing", plain("", ""), 1),
        ("a loop", plain("", sum), 1 + 1000 * 12),
        ("a vector", plain("", vector), 1 + 7),
        ("one page", plain("", "(drop (memory.grow (i32.const 1)))"), 1 + 2 + 255),
        (
            "a host call",
            command(&[("sched_yield", "")], "", "(drop (call $sched_yield))"),
            1 + 1 + 256,
        ),
    ] {
        assert_eq!(run_alone(&text).unwrap().fuel_used, fuel, "{what}");
    }
    // 200 bytes in pieces of 7: 30 rounds, the last of which finds nothing. Each is 21 instructions
    // and two calls with a buffer's 8 bytes; 29 of them move 4 or 7 bytes each way.
    let calls = 2 * (30 * (256 + 1) + 29);
    let task = Task { stdin: vec![1; 200], ..Task::default() };
    let fuel = run(&echo(), task, &Limits::default()).unwrap().fuel_used;
    assert_eq!(fuel, 1 + 3 + 30 * 21 + calls);
}

#[test]
fn exactly_the_fuel_used_is_enough() {
    let fuel = run_alone(&echo()).unwrap().fuel_used;
    for (given, enough) in [(fuel + 1, true), (fuel / 2, false)] {
        let limits = Limits { fuel: given, ..Limits::default() };
        assert_eq!(run(&echo(), Task::default(), &limits).is_ok(), enough, "{given} of {fuel}");
    }
}

#[test]
fn nans_have_one_spelling() {
    let start = "
        (call $put (i32.reinterpret_f32 (f32.div (f32.const 0) (f32.const -0))))
        (call $put (i32.reinterpret_f32 (f32.sqrt (f32.const -1))))
        (call $put (i32.reinterpret_f32 (f32.add (f32.reinterpret_i32 (i32.const 0x7fa12345)) (f32.const 1))))
        (call $put (i32.reinterpret_f32 (f32.demote_f64 (f64.reinterpret_i64 (i64.const 0xfff4000000000001)))))
        (call $put (i32x4.extract_lane 2 (f32x4.sub
            (f32x4.splat (f32.const inf)) (f32x4.splat (f32.const inf)))))";
    let outcome = run_alone(&command(&[], "", start)).unwrap();
    assert_eq!(words(&outcome), [0x7fc0_0000; 5]);
}

#[test]
fn clock_entropy_and_waiting_are_refused_the_same_way_everywhere() {
    const NOSYS: u32 = 52;
    let functions = [
        ("clock_res_get", "i32 i32"),
        ("clock_time_get", "i32 i64 i32"),
        ("random_get", "i32 i32"),
        ("poll_oneoff", "i32 i32 i32 i32"),
        ("sched_yield", ""),
    ];
    let start = "
        (call $put (call $clock_res_get (i32.const 0) (i32.const 64)))
        (call $put (call $clock_time_get (i32.const 1) (i64.const 0) (i32.const 64)))
        (call $put (call $random_get (i32.const 64) (i32.const 8)))
        (call $put (call $poll_oneoff (i32.const 64) (i32.const 128) (i32.const 1) (i32.const 32)))
        (call $put (call $sched_yield))
        (call $put (i32.load (i32.const 64)))";
    let outcome = run_alone(&command(&functions, "", start)).unwrap();
    assert_eq!(words(&outcome), [NOSYS, NOSYS, NOSYS, NOSYS, NOSYS, 0]);
}

#[test]
fn there_are_no_arguments_and_no_environment() {
    let functions = [("args_sizes_get", "i32 i32"), ("environ_sizes_get", "i32 i32")];
    let start = "
        (i64.store (i32.const 64) (i64.const -1))
        (call $put (call $args_sizes_get (i32.const 64) (i32.const 68)))
        (call $put (i32.load (i32.const 64)))
        (call $put (i32.load (i32.const 68)))
        (i64.store (i32.const 64) (i64.const -1))
        (call $put (call $environ_sizes_get (i32.const 64) (i32.const 68)))
        (call $put (i32.load (i32.const 64)))
        (call $put (i32.load (i32.const 68)))";
    assert_eq!(words(&run_alone(&command(&functions, "", start)).unwrap()), [0; 6]);
}
