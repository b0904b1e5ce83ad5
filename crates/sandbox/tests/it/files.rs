//! The directory `/data`, and what lies beyond it.

use crate::helpers::{command, run, run_alone, words};
use muster_sandbox::{DataDir, DataError, Limits, MAX_DATA_FILES, RunError, Task, TrapKind};
use std::{collections::BTreeMap, fmt::Write, sync::Arc};

const OPEN: (&str, &str) = ("path_open", "i32 i32 i32 i32 i32 i64 i64 i32 i32");
const READ: (&str, &str) = ("fd_read", "i32 i32 i32 i32");
const PREAD: (&str, &str) = ("fd_pread", "i32 i32 i32 i64 i32");
const SEEK: (&str, &str) = ("fd_seek", "i32 i64 i32 i32");
const STATUS: (&str, &str) = ("fd_filestat_get", "i32 i32");
const PATH_STATUS: (&str, &str) = ("path_filestat_get", "i32 i32 i32 i32 i32");
const CLOSE: (&str, &str) = ("fd_close", "i32");
const LIST: (&str, &str) = ("fd_readdir", "i32 i32 i32 i64 i32");

fn data() -> DataDir {
    let file = |name: &str, bytes: &[u8]| (name.to_owned(), Arc::from(bytes));
    DataDir::new(BTreeMap::from([
        file("model", b"0123456789"),
        file("empty", b""),
        file("b", b"x"),
    ]))
    .unwrap()
}

fn put_out(text: &str) -> Vec<u32> {
    let task = Task { data: data(), ..Task::default() };
    words(&run(text, task, &Limits::default()).unwrap())
}

/// Opens `path` of the directory at 3 with these flags and rights.
fn open(at: usize, path: &str, flags: u32, rights: u64) -> String {
    format!(
        "(call $path_open (i32.const 3) (i32.const 0) (i32.const {at}) (i32.const {len}) \
         (i32.const {flags}) (i64.const {rights}) (i64.const 0) (i32.const 0) (i32.const 64))",
        len = path.len()
    )
}

#[test]
fn only_files_of_the_directory_open_and_only_for_reading() {
    let (directory, create, truncate, write) = (2, 1, 8, 1 << 6);
    let rows: [(&str, u32, u64, u32); 18] = [
        ("model", 0, 2, 0),
        ("./model", 0, 2, 0),
        (".", directory, 0, 0),
        ("./", 0, 0, 0),
        ("absent", 0, 2, 44),
        ("", 0, 2, 44),
        ("model/", 0, 2, 54),
        ("model/x", 0, 2, 54),
        ("model", directory, 2, 54),
        ("..", 0, 2, 76),
        ("../etc/passwd", 0, 2, 76),
        ("model/../../x", 0, 2, 76),
        ("/data/model", 0, 2, 76),
        ("/etc/passwd", 0, 2, 76),
        ("model", create, 2, 69),
        ("model", truncate, 2, 69),
        ("model", 0, write, 69),
        ("\\ff", 0, 2, 25),
    ];
    let (mut items, mut start) = (String::new(), String::new());
    for (index, (path, flags, rights, _)) in rows.iter().enumerate() {
        let at = 1000 + index * 64;
        writeln!(items, "(data (i32.const {at}) \"{path}\")").unwrap();
        let path = if *path == "\\ff" { "x" } else { path };
        writeln!(start, "(call $put {})", open(at, path, *flags, *rights)).unwrap();
    }
    let found = put_out(&command(&[OPEN], &items, &start));
    for ((path, flags, rights, errno), found) in rows.iter().zip(&found) {
        assert_eq!(found, errno, "{path:?} flags {flags} rights {rights}");
    }
}

#[test]
fn changes_to_the_directory_are_refused() {
    const ROFS: u32 = 69;
    let rows = [
        ("path_create_directory", "i32 i32 i32", "(i32.const 3) (i32.const 64) (i32.const 1)"),
        ("path_unlink_file", "i32 i32 i32", "(i32.const 3) (i32.const 64) (i32.const 1)"),
        ("path_remove_directory", "i32 i32 i32", "(i32.const 3) (i32.const 64) (i32.const 1)"),
        ("fd_filestat_set_size", "i32 i64", "(i32.const 4) (i64.const 0)"),
        ("fd_allocate", "i32 i64 i64", "(i32.const 4) (i64.const 0) (i64.const 9)"),
        (
            "path_rename",
            "i32 i32 i32 i32 i32 i32",
            "(i32.const 3) (i32.const 64) (i32.const 1) (i32.const 3) (i32.const 65) (i32.const 1)",
        ),
    ];
    let functions: Vec<_> = rows.iter().map(|(name, params, _)| (*name, *params)).collect();
    let mut start = String::new();
    for (name, _, arguments) in rows {
        writeln!(start, "(call $put (call ${name} {arguments}))").unwrap();
    }
    assert_eq!(put_out(&command(&functions, "", &start)), [ROFS; 6]);
    // Writing to an open file, to the directory and to stdin.
    let write = |fd: u32| {
        format!(
            "(call $put (call $fd_write (i32.const {fd}) (i32.const 0) (i32.const 1) (i32.const 8)))"
        )
    };
    let items = r#"(data (i32.const 1000) "model")"#;
    let start =
        format!("(drop {}) {} {} {}", open(1000, "model", 0, 2), write(4), write(3), write(0));
    assert_eq!(put_out(&command(&[OPEN], items, &start)), [ROFS, 8, 8]);
}

#[test]
fn a_file_is_read_in_order_from_anywhere_and_again() {
    // A buffer of 4 at 128 and one of 2 at 144; counts go to 80.
    let items = r#"(data (i32.const 1000) "model")
        (data (i32.const 96) "\80\00\00\00\04\00\00\00\90\00\00\00\02\00\00\00")"#;
    let read =
        "(call $put (call $fd_read (i32.const 4) (i32.const 96) (i32.const 2) (i32.const 80)))
        (call $put (i32.load (i32.const 80)))";
    let start = format!(
        "(drop {open})
        {read} (call $put (i32.load (i32.const 128))) (call $put (i32.load16_u (i32.const 144)))
        {read} (call $put (i32.load (i32.const 128)))
        {read}
        (call $put (call $fd_pread (i32.const 4) (i32.const 96) (i32.const 1) (i64.const 8) (i32.const 80)))
        (call $put (i32.load (i32.const 80)))
        (call $put (call $fd_pread (i32.const 4) (i32.const 96) (i32.const 1) (i64.const -1) (i32.const 80)))
        (call $put (i32.load (i32.const 80)))
        (call $put (call $fd_seek (i32.const 4) (i64.const -3) (i32.const 2) (i32.const 80)))
        (call $put (i32.load (i32.const 80)))
        {read}
        (call $put (call $fd_seek (i32.const 4) (i64.const -11) (i32.const 1) (i32.const 80)))
        (call $put (call $fd_close (i32.const 4)))
        (call $put (call $fd_read (i32.const 4) (i32.const 96) (i32.const 2) (i32.const 80)))
        (call $put (call $fd_close (i32.const 4)))",
        open = open(1000, "model", 0, 2),
    );
    let word = |text: &[u8; 4]| u32::from_le_bytes(*text);
    assert_eq!(
        put_out(&command(&[OPEN, READ, PREAD, SEEK, CLOSE], items, &start)),
        [
            // 6 bytes, 4 bytes, none.
            [0, 6, word(b"0123"), word(b"45\0\0")].as_slice(),
            &[0, 4, word(b"6789"), 0, 0],
            // From 8, from beyond the end.
            &[0, 2, 0, 0],
            // 3 before the end, read them; before the start is refused.
            &[0, 7, 0, 3, 28],
            // Closed is closed.
            &[0, 8, 8],
        ]
        .concat()
    );
}

#[test]
fn status_tells_kind_and_size_and_nothing_of_the_machine() {
    let items = r#"(data (i32.const 1000) "model")"#;
    let show = "(call $put (i32.load8_u (i32.const 272))) (call $put (i32.load (i32.const 288)))
        (call $put (i32.or (i32.load (i32.const 256)) (i32.load (i32.const 264))))
        (call $put (i32.wrap_i64 (i64.or (i64.load (i32.const 296)) (i64.load (i32.const 304)))))";
    let start = format!(
        "(drop (call $path_filestat_get (i32.const 3) (i32.const 0) (i32.const 1000) (i32.const 5) (i32.const 256))) {show}
         (drop (call $fd_filestat_get (i32.const 3) (i32.const 256))) {show}
         (call $put (call $fd_filestat_get (i32.const 9) (i32.const 256)))"
    );
    let found = put_out(&command(&[STATUS, PATH_STATUS], items, &start));
    assert_eq!(found, [4, 10, 0, 0, 3, 0, 0, 0, 8]);
}

#[test]
fn the_directory_lists_its_files_by_name() {
    let start = "
        (call $put (call $fd_readdir (i32.const 3) (i32.const 512) (i32.const 1024) (i64.const 0) (i32.const 80)))
        (call $put (i32.load (i32.const 80)))
        (i32.store (i32.const 0) (i32.const 512)) (i32.store (i32.const 4) (i32.load (i32.const 80)))
        (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))";
    let task = Task { data: data(), ..Task::default() };
    let outcome = run(&command(&[LIST], "", start), task, &Limits::default()).unwrap();
    let mut expected = vec![0, 0, 0, 0, 83, 0, 0, 0];
    for (next, name) in (1u64..).zip(["b", "empty", "model"]) {
        expected.extend(next.to_le_bytes());
        expected.extend(0u64.to_le_bytes());
        expected.extend(u32::try_from(name.len()).unwrap().to_le_bytes());
        expected.extend([4, 0, 0, 0]);
        expected.extend(name.as_bytes());
    }
    assert_eq!(outcome.output, expected);
    // A small buffer is filled and cut; a cookie goes on where it points.
    let start = "
        (drop (call $fd_readdir (i32.const 3) (i32.const 512) (i32.const 30) (i64.const 0) (i32.const 80)))
        (call $put (i32.load (i32.const 80)))
        (drop (call $fd_readdir (i32.const 3) (i32.const 512) (i32.const 1024) (i64.const 2) (i32.const 80)))
        (call $put (i32.load (i32.const 80)))
        (drop (call $fd_readdir (i32.const 3) (i32.const 512) (i32.const 1024) (i64.const -1) (i32.const 80)))
        (call $put (i32.load (i32.const 80)))";
    assert_eq!(put_out(&command(&[LIST], "", start)), [30, 29, 0]);
}

#[test]
fn a_pointer_outside_memory_ends_the_guest() {
    let functions = [
        OPEN,
        READ,
        PREAD,
        SEEK,
        STATUS,
        PATH_STATUS,
        LIST,
        ("args_sizes_get", "i32 i32"),
        ("fd_fdstat_get", "i32 i32"),
        ("fd_prestat_get", "i32 i32"),
        ("fd_prestat_dir_name", "i32 i32 i32"),
    ];
    // Memory is 131072 bytes; at 96 a buffer that ends one byte beyond it.
    let items =
        r#"(data (i32.const 1000) "model") (data (i32.const 96) "\fc\ff\01\00\05\00\00\00")"#;
    let opened = format!("(drop {})", open(1000, "model", 0, 2));
    for call in [
        "(call $fd_read (i32.const 0) (i32.const 131070) (i32.const 1) (i32.const 80))",
        "(call $fd_read (i32.const 0) (i32.const -4) (i32.const 1) (i32.const 80))",
        "(call $fd_read (i32.const 0) (i32.const 96) (i32.const 1) (i32.const 80))",
        "(call $fd_read (i32.const 4) (i32.const 96) (i32.const 1) (i32.const 80))",
        "(call $fd_read (i32.const 4) (i32.const 0) (i32.const 1) (i32.const -1))",
        "(call $fd_pread (i32.const 4) (i32.const 96) (i32.const 1) (i64.const 0) (i32.const 80))",
        "(call $fd_write (i32.const 1) (i32.const 96) (i32.const 1) (i32.const 80))",
        "(call $fd_write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const -2))",
        "(call $fd_seek (i32.const 4) (i64.const 0) (i32.const 0) (i32.const 131065))",
        "(call $fd_filestat_get (i32.const 4) (i32.const 131009))",
        "(call $fd_fdstat_get (i32.const 1) (i32.const 131049))",
        "(call $fd_prestat_get (i32.const 3) (i32.const -1))",
        "(call $fd_prestat_dir_name (i32.const 3) (i32.const 131068) (i32.const 5))",
        "(call $fd_readdir (i32.const 3) (i32.const 131000) (i32.const 100) (i64.const 0) (i32.const 80))",
        "(call $args_sizes_get (i32.const -3) (i32.const 0))",
        "(call $path_filestat_get (i32.const 3) (i32.const 0) (i32.const 1000) (i32.const 5) (i32.const -8))",
        "(call $path_open (i32.const 3) (i32.const 0) (i32.const 131070) (i32.const 5) (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 64))",
        "(call $path_open (i32.const 3) (i32.const 0) (i32.const 1000) (i32.const 5) (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const -1))",
    ] {
        let text = command(&functions, items, &format!("{opened} (drop {call})"));
        let task = Task { data: data(), ..Task::default() };
        let error = run(&text, task, &Limits::default()).unwrap_err();
        let expected = RunError::Trap { kind: TrapKind::HostPointer, stderr: String::new() };
        assert_eq!(error, expected, "{call}");
    }
}

#[test]
fn too_many_buffers_or_open_files_are_an_errno() {
    let read =
        "(call $put (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1025) (i32.const 80)))";
    assert_eq!(words(&run_alone(&command(&[READ], "", read)).unwrap()), [28]);
    let items = r#"(data (i32.const 1000) "b")"#;
    let start = format!(
        "(local $n i32) (local $last i32)
        (loop $more
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $more (i32.eqz (local.tee $last {}))))
        (call $put (local.get $n)) (call $put (local.get $last))",
        open(1000, "b", 0, 2)
    );
    assert_eq!(put_out(&command(&[OPEN], items, &start)), [65, 33]);
}

#[test]
fn names_that_are_no_names_are_refused() {
    let one = |name: &str| DataDir::new(BTreeMap::from([(name.to_owned(), Arc::from([]))]));
    for name in ["", ".", "..", "a/b", "/a", "a\0", &"x".repeat(256)] {
        assert!(matches!(one(name), Err(DataError::BadName { .. })), "{name:?}");
    }
    for name in ["a", "...", "a b", &"x".repeat(255)] {
        assert!(one(name).is_ok(), "{name:?}");
    }
    let many = (0..=MAX_DATA_FILES).map(|index| (index.to_string(), Arc::from([])));
    let count = MAX_DATA_FILES + 1;
    assert_eq!(DataDir::new(many.collect()).unwrap_err(), DataError::TooMany { count });
}
