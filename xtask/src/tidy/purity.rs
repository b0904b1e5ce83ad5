//! Pure crates stay pure: no clock, entropy, files, network, threads; and money knows no floats.

use anyhow::Result;

use super::Finding;
use super::source;
use super::tree::Tree;
use crate::shell;

/// Crates whose results depend only on their arguments.
const PURE: &[&str] = &["types", "kernel", "market", "ledger", "spec", "verify"];

/// Crates that count money: integers only.
const MONEY: &[&str] = &["types", "market", "ledger"];

/// What a pure crate may not depend on, however far down: runtimes, entropy, clocks, network,
/// storage.
const FORBIDDEN_CRATES: &[&str] = &[
    "async-io",
    "async-std",
    "axum",
    "chrono",
    "fastrand",
    "getrandom",
    "hyper",
    "iroh",
    "memmap2",
    "mio",
    "parking_lot",
    "polling",
    "quinn",
    "rand",
    "rayon",
    "redb",
    "reqwest",
    "rusqlite",
    "rustix",
    "smol",
    "socket2",
    "tempfile",
    "time",
    "tokio",
    "ureq",
    "wasmtime",
    "web-time",
];

/// What the code of a pure crate may not name; deeper paths are meant too.
const FORBIDDEN_PATHS: &[(&str, &str)] = &[
    ("std::env", "the environment"),
    ("std::fs", "files"),
    ("std::net", "the network"),
    ("std::os", "the operating system"),
    ("std::process", "processes"),
    ("std::thread", "threads"),
    ("std::time::Instant", "a clock"),
    ("std::time::SystemTime", "a clock"),
    ("std::time::UNIX_EPOCH", "a clock"),
    ("std::time::*", "a clock"),
    ("time::Instant", "a clock"),
    ("time::SystemTime", "a clock"),
    ("std::io::stdin", "standard input"),
    ("std::io::stdout", "standard output"),
    ("std::io::stderr", "standard error"),
];

/// The files that may name one of these all the same, and why the crate stays pure.
const ALLOWED: &[(&str, &str)] = &[
    // Scoped threads that only check signatures: they end with the call, and its result is the
    // same for any number of them.
    ("crates/ledger/src/block/execute.rs", "std::thread"),
    // Scoped threads that read halves of one table: the sums are the same however it is cut.
    ("crates/market/src/columns/evaluate.rs", "std::thread::scope"),
    // Only its parser: a compose file may bind a port to an address.
    ("crates/spec/src/compose/ports.rs", "std::net::IpAddr"),
];

/// Asks cargo what each pure crate is built from and reports what is not pure.
pub(super) fn check_dependencies() -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for name in PURE {
        // Built alone, so that features which others switch on do not count against it.
        let printed = shell::capture(shell::cargo().args([
            "tree",
            "--locked",
            "--package",
            &format!("muster-{name}"),
            "--edges",
            "normal,no-proc-macro",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ]))?;
        findings.extend(judge_dependencies(name, &printed));
    }
    Ok(findings)
}

fn judge_dependencies(name: &str, printed: &str) -> Vec<Finding> {
    let manifest = format!("crates/{name}/Cargo.toml");
    printed
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|used| FORBIDDEN_CRATES.contains(used))
        .map(|used| {
            let message = format!(
                "`{name}` is pure and is built with `{used}`; see who brings it with \
                 `cargo tree -p muster-{name} -e normal,no-proc-macro -i {used}`"
            );
            Finding::file(&manifest, message)
        })
        .collect()
}

/// Reports what the sources of pure crates name outside their tests.
pub(super) fn check_sources(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.rust() {
        let Some(name) = PURE.iter().find(|name| path.starts_with(&format!("crates/{name}/src/")))
        else {
            continue;
        };
        let tokens = match source::tokens(path, text) {
            Ok(tokens) => tokens,
            Err(reason) => {
                findings.push(Finding::file(path, reason));
                continue;
            }
        };
        for named in source::paths(&tokens).iter().filter(|named| !named.test) {
            if ALLOWED.contains(&(path, named.text.as_str())) {
                continue;
            }
            if let Some(what) = forbidden(&named.text) {
                let message = format!("`{name}` is pure and names {what}: `{}`", named.text);
                findings.push(Finding::line(path, named.line, message));
            }
        }
        if MONEY.contains(name) {
            for line in source::float_lines(&tokens) {
                let message = format!("`{name}` counts money: no floating point here");
                findings.push(Finding::line(path, line, message));
            }
        }
    }
    findings
}

fn forbidden(path: &str) -> Option<&'static str> {
    let covers = |rule: &str| path.strip_prefix(rule).is_some_and(is_end_or_deeper);
    FORBIDDEN_PATHS.iter().find(|(rule, _)| covers(rule)).map(|(_, what)| *what)
}

fn is_end_or_deeper(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with("::")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pure_crate_that_is_built_with_a_runtime_is_reported() {
        let clean = "muster-ledger v0.1.0 (somewhere)\nserde v1.0.0\nrand_core v0.10.1\n";
        assert_eq!(judge_dependencies("ledger", clean), []);
        for used in ["tokio", "getrandom", "rand", "hyper"] {
            let findings = judge_dependencies("ledger", &format!("{clean}{used} v1.0.0 (*)\n"));
            assert_eq!(findings.len(), 1, "{used}");
            assert!(findings[0].message.contains(used), "{}", findings[0]);
        }
    }

    #[test]
    fn the_list_for_cargo_tree_names_only_crates_that_the_house_has() {
        for name in PURE {
            assert!(shell::root().join("crates").join(name).is_dir(), "{name}");
        }
        assert!(MONEY.iter().all(|name| PURE.contains(name)));
    }

    #[test]
    fn the_sources_of_a_pure_crate_name_no_effect() {
        let table = [
            ("use std::time::Instant;", false),
            ("use std::time::{Duration, SystemTime};", false),
            ("use std::time::*;", false),
            ("use std::time; fn f() { time::Instant::now(); }", false),
            ("fn f() { std::fs::read(\"x\"); }", false),
            ("use std::{collections::BTreeMap, env};", false),
            ("fn f() { std::thread::spawn(g); }", false),
            ("use std::net::SocketAddr;", false),
            ("fn f() { std::process::abort(); }", false),
            ("use std::time::Duration;", true),
            ("use std::environment::x;", true),
            ("use std::io::Read;", true),
            ("#[cfg(test)] mod tests { use std::fs; }", true),
        ];
        for (code, pure) in table {
            let findings = check_sources(&Tree::of(&[("crates/verify/src/a.rs", code)]));
            assert_eq!(findings.is_empty(), pure, "{code}: {findings:?}");
            let elsewhere = check_sources(&Tree::of(&[("crates/node/src/a.rs", code)]));
            assert_eq!(elsewhere, [], "{code}");
        }
    }

    #[test]
    fn money_knows_no_floats_and_kernels_do() {
        let code = "\nconst PREMIUM: f64 = 0.1;";
        for (name, lines) in [("types", 1), ("market", 1), ("ledger", 1), ("kernel", 0)] {
            let path = format!("crates/{name}/src/lib.rs");
            let mut findings = check_sources(&Tree::of(&[(&path, code)]));
            findings.dedup();
            assert_eq!(findings.len(), lines, "{name}");
            assert!(findings.iter().all(|finding| finding.line == Some(2)));
        }
    }

    #[test]
    fn a_source_that_is_not_rust_is_reported() {
        let findings = check_sources(&Tree::of(&[("crates/types/src/lib.rs", "fn f( {")]));
        assert_eq!(findings.len(), 1);
    }
}
