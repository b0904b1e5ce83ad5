//! Programs that take too much.

use crate::helpers::{command, plain, run, run_alone, words};
use muster_sandbox::{Limits, RunError, Task, TrapKind};

const FUEL: u64 = 30_000_000;

fn limits() -> Limits {
    Limits { fuel: FUEL, ..Limits::default() }
}

#[test]
fn what_never_ends_stops_on_fuel() {
    let table = "(table 1 funcref)";
    for (what, text) in [
        ("a loop", plain("", "(loop (br 0))")),
        ("a loop in the start function", plain("(func $s (loop (br 0))) (start $s)", "")),
        (
            "a loop of memory.fill",
            plain("", "(loop (memory.fill (i32.const 0) (i32.const 1) (i32.const 65536)) (br 0))"),
        ),
        (
            "a loop of memory.copy",
            plain("", "(loop (memory.copy (i32.const 0) (i32.const 8) (i32.const 65528)) (br 0))"),
        ),
        ("a loop of memory.grow", plain("", "(loop (drop (memory.grow (i32.const 1))) (br 0))")),
        (
            "a loop of table.grow",
            plain(table, "(loop (drop (table.grow 0 (ref.null func) (i32.const 1000))) (br 0))"),
        ),
        (
            "a loop of host calls",
            command(&[("sched_yield", "")], "", "(loop (drop (call $sched_yield)) (br 0))"),
        ),
        (
            "calls that call each other",
            plain(
                "(func $f (param i32) (loop (call $g)) (loop (br 0))) (func $g)",
                "(call $f (i32.const 0))",
            ),
        ),
    ] {
        let error = run(&text, Task::default(), &limits()).unwrap_err();
        assert_eq!(error, RunError::OutOfFuel { limit: FUEL }, "{what}");
        assert!(error.is_deterministic());
    }
}

#[test]
fn one_fill_costs_its_bytes() {
    let cost = |bytes: u32| {
        let start = format!("(memory.fill (i32.const 0) (i32.const 1) (i32.const {bytes}))");
        run_alone(&plain("", &start)).unwrap().fuel_used
    };
    assert_eq!(cost(65_536) - cost(0), 65_536);
}

#[test]
fn recursion_ends_on_fuel_or_on_a_stack_that_proves_nothing() {
    let text = plain(
        "(func $f (param i64) (result i64) (i64.add (i64.const 1) (call $f (local.get 0))))",
        "(drop (call $f (i64.const 1)))",
    );
    let error = run(&text, Task::default(), &Limits { fuel: 1_000, ..limits() }).unwrap_err();
    assert_eq!(error, RunError::OutOfFuel { limit: 1_000 });
    let error = run_alone(&text).unwrap_err();
    assert_eq!(error, RunError::StackOverflow);
    assert!(!error.is_deterministic());
}

#[test]
fn memory_grows_to_its_limit_and_not_a_page_further() {
    let start = "(local $pages i32)
        (loop $more
            (if (i32.ne (memory.grow (i32.const 1)) (i32.const -1)) (then (br $more))))
        (call $put (memory.size))
        (call $put (memory.grow (i32.const 65535)))
        (call $put (memory.grow (i32.const 0)))";
    let limits = Limits { memory_bytes: 40 * 65_536 + 17, ..Limits::default() };
    let outcome = run(&command(&[], "", start), Task::default(), &limits).unwrap();
    assert_eq!(words(&outcome), [40, u32::MAX, 40]);
}

#[test]
fn a_module_that_starts_beyond_its_memory_or_traps_for_want_of_it_says_so() {
    let limits = Limits { memory_bytes: 1 << 20, ..Limits::default() };
    let large = r#"(module (memory (export "memory") 17) (func (export "_start")))"#;
    let wants = "(if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable))";
    for text in [large, &plain("", wants)] {
        let error = run(text, Task::default(), &limits).unwrap_err();
        assert_eq!(error, RunError::MemoryLimit { limit: 1 << 20 });
        assert!(error.is_deterministic());
    }
}

/// Pins the wording by which the limiter tells the guest's own limit from a failure of the machine.
#[test]
fn a_memory_with_a_maximum_of_its_own_stops_there() {
    let text = r#"(module (memory (export "memory") 1 2)
        (func (export "_start")
            (if (i32.ne (memory.grow (i32.const 2)) (i32.const -1)) (then unreachable))
            (if (i32.ne (memory.grow (i32.const 65536)) (i32.const -1)) (then unreachable))
            (if (i32.ne (memory.grow (i32.const 1)) (i32.const 1)) (then unreachable))))"#;
    run_alone(text).unwrap();
}

#[test]
fn tables_share_one_limit() {
    let items = "(table $a 1000 funcref) (table $b 1 funcref)";
    let start = "(call $put (table.grow $a (ref.null func) (i32.const 98999)))
        (call $put (table.grow $b (ref.null func) (i32.const 1)))
        (call $put (table.grow $a (ref.null func) (i32.const -1)))";
    let outcome = run_alone(&command(&[], items, start)).unwrap();
    assert_eq!(words(&outcome), [1000, u32::MAX, u32::MAX]);
    let both = plain("(table 60000 funcref) (table 60000 funcref)", "");
    assert_eq!(run_alone(&both).unwrap_err(), RunError::TableLimit);
}

#[test]
fn output_stops_at_its_limit() {
    let start = "(i32.store (i32.const 4) (i32.const 1000))
        (loop (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))) (br 0))";
    let text = command(&[], "", start);
    let limits = Limits { output_bytes: 10_000, ..Limits::default() };
    let error = run(&text, Task::default(), &limits).unwrap_err();
    assert_eq!(error, RunError::OutputTooLarge { limit: 10_000 });
    assert!(error.is_deterministic());
    let exact = command(&[], "", "(call $put (i32.const 7))");
    let limits = Limits { output_bytes: 4, ..Limits::default() };
    assert_eq!(words(&run(&exact, Task::default(), &limits).unwrap()), [7]);
}

#[test]
fn of_stderr_only_the_end_is_kept() {
    let items = r#"(data (i32.const 100) "end")"#;
    let start = "(local $n i32)
        (i32.store (i32.const 4) (i32.const 50000))
        (loop $more
            (drop (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $more (i32.lt_u (local.get $n) (i32.const 9))))
        (i32.store (i32.const 0) (i32.const 100))
        (i32.store (i32.const 4) (i32.const 3))
        (drop (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))";
    let outcome = run_alone(&command(&[], items, start)).unwrap();
    assert_eq!(outcome.stderr_tail.len(), 65_536);
    assert!(outcome.stderr_tail.ends_with(b"\0end"));
    assert_eq!(outcome.output, b"");
}

#[test]
fn the_wall_clock_stops_a_run_and_proves_nothing() {
    let limits = Limits { fuel: u64::MAX, wall_ms: 1, ..Limits::default() };
    let calls = command(&[("sched_yield", "")], "", "(loop (drop (call $sched_yield)) (br 0))");
    for text in [plain("", "(loop (br 0))"), calls] {
        let error = run(&text, Task::default(), &limits).unwrap_err();
        assert_eq!(error, RunError::WallTimeout { limit_ms: 1 });
        assert!(!error.is_deterministic());
    }
}

#[test]
fn a_raised_flag_stops_a_run() {
    let limits = Limits { fuel: u64::MAX, ..Limits::default() };
    let task = Task::default();
    let stop = task.stop.clone();
    let compiled = crate::helpers::compile(plain("", "(loop (br 0))").as_bytes()).unwrap();
    let running = std::thread::spawn(move || compiled.run(task, &limits));
    stop.raise();
    assert_eq!(running.join().unwrap().unwrap_err(), RunError::Stopped);
}

#[test]
fn traps_and_exit_codes_are_told_apart() {
    let divide = "(drop (i32.div_u (i32.const 1) (i32.const 0)))";
    let minimum = "(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))";
    let convert = "(drop (i32.trunc_f32_s (f32.const nan)))";
    let table = "(table 1 funcref) (elem (i32.const 0) $other) (func $other (param i32))";
    let empty = "(table 1 funcref)";
    for (items, start, kind) in [
        ("", "unreachable", TrapKind::Unreachable),
        ("", "(drop (i32.load (i32.const 65533)))", TrapKind::MemoryOutOfBounds),
        ("", "(drop (i32.load (i32.const -1)))", TrapKind::MemoryOutOfBounds),
        (r#"(data (i32.const 65535) "xx")"#, "", TrapKind::MemoryOutOfBounds),
        (empty, "(call_indirect (i32.const 1))", TrapKind::TableOutOfBounds),
        (empty, "(call_indirect (i32.const 0))", TrapKind::NullCall),
        (table, "(call_indirect (i32.const 0))", TrapKind::BadSignature),
        ("", minimum, TrapKind::IntegerOverflow),
        ("", divide, TrapKind::DivisionByZero),
        ("", convert, TrapKind::BadConversion),
    ] {
        let error = run_alone(&plain(items, start)).unwrap_err();
        assert_eq!(error, RunError::Trap { kind, stderr: String::new() });
        assert!(error.is_deterministic());
    }
}
