//! Habits that a reader may count on: a crate says what it is for, tests wait for conditions,
//! nothing is left to do, and arithmetic in the law cannot overflow unseen.

use super::Finding;
use super::source::{self, Kind, Token};
use super::tree::Tree;

/// Crates whose lib.rs denies [`STRICT_LINTS`] outside tests.
const STRICT: &[&str] = &["ledger", "market", "verify"];

const STRICT_LINTS: &[&str] =
    &["clippy::arithmetic_side_effects", "clippy::indexing_slicing", "clippy::float_arithmetic"];

/// The one function of a test that may sleep: it polls a condition up to a deadline.
const POLLING: &str = "wait_until";

/// Reports what breaks these habits.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.rust() {
        findings.extend(check_header(path, text));
        // What does not lex is reported by the sizes.
        let Ok(tokens) = source::tokens(path, text) else { continue };
        findings.extend(check_unfinished(path, &tokens));
        findings.extend(check_sleeps(path, &tokens));
    }
    for name in STRICT {
        let path = format!("crates/{name}/src/lib.rs");
        if let Some(text) = tree.text(&path) {
            findings.extend(check_strict_lints(&path, text));
        }
    }
    findings
}

/// A crate's first line says what it is for.
fn check_header(path: &str, text: &str) -> Option<Finding> {
    if !path.ends_with("src/lib.rs") && !path.ends_with("src/main.rs") {
        return None;
    }
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let says = first.strip_prefix("//!").unwrap_or_default().trim();
    if says.starts_with(char::is_alphanumeric) || says.starts_with('`') {
        return None;
    }
    let message = "the crate's first line must be a `//!` sentence that says what it is for";
    Some(Finding::line(path, 1, message))
}

/// No `todo!`, no `unimplemented!`, no `#[ignore]`.
fn check_unfinished(path: &str, tokens: &[Token]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for window in tokens.windows(3) {
        let [first, second, third] = window else { continue };
        match (&first.kind, &second.kind, &third.kind) {
            (Kind::Ident(name), Kind::Mark('!', _), Kind::Open)
                if name == "todo" || name == "unimplemented" =>
            {
                findings.push(Finding::line(path, first.line, format!("`{name}!` is left here")));
            }
            (Kind::Mark('#', _), Kind::Open, Kind::Ident(name)) if name == "ignore" => {
                let message = "an ignored test proves nothing: mend it or delete it";
                findings.push(Finding::line(path, first.line, message));
            }
            _ => {}
        }
    }
    findings
}

/// Tests do not sleep, except to poll in [`POLLING`].
fn check_sleeps(path: &str, tokens: &[Token]) -> Vec<Finding> {
    let polling = polling_lines(tokens);
    source::paths(tokens)
        .into_iter()
        .filter(|named| named.test && is_sleep(&named.text))
        .filter(|named| !polling.iter().any(|lines| lines.contains(&named.line)))
        .map(|named| {
            let message = format!(
                "`{}` in a test: wait for the condition (polling goes into `fn {POLLING}`)",
                named.text
            );
            Finding::line(path, named.line, message)
        })
        .collect()
}

fn is_sleep(path: &str) -> bool {
    let (rest, last) = path.rsplit_once("::").unwrap_or_default();
    let from = rest.rsplit("::").next().unwrap_or_default();
    matches!(
        (from, last),
        ("thread" | "time", "sleep" | "sleep_until" | "sleep_ms" | "park_timeout")
    )
}

/// The lines of each function named [`POLLING`].
fn polling_lines(tokens: &[Token]) -> Vec<std::ops::RangeInclusive<usize>> {
    let starts = tokens.windows(2).enumerate().filter_map(|(index, window)| {
        let is = |token: &Token, name: &str| token.kind == Kind::Ident(name.to_owned());
        (is(&window[0], "fn") && is(&window[1], POLLING)).then_some(index)
    });
    starts
        .filter_map(|start| {
            // The groups after the name are the arguments, perhaps more in the types, then the
            // body: the last one before the next item's first word at the same depth.
            let mut depth = 0_usize;
            let mut end = None;
            for token in &tokens[start + 2..] {
                match &token.kind {
                    Kind::Open => depth += 1,
                    Kind::Close if depth == 0 => break,
                    Kind::Close => {
                        depth -= 1;
                        end = Some(token.line);
                    }
                    Kind::Ident(word)
                        if depth == 0 && ["fn", "pub", "mod", "struct"].contains(&&**word) =>
                    {
                        break;
                    }
                    Kind::Mark('#', _) if depth == 0 => break,
                    _ => {}
                }
            }
            Some(tokens[start].line..=end?)
        })
        .collect()
}

/// The crate denies the strict lints, at least outside its tests.
fn check_strict_lints(path: &str, text: &str) -> Option<Finding> {
    let Ok(file) = syn::parse_file(text) else { return None };
    let denied = |lint: &str| file.attrs.iter().any(|attribute| denies(attribute, lint));
    let missing: Vec<_> = STRICT_LINTS.iter().filter(|lint| !denied(lint)).copied().collect();
    if missing.is_empty() {
        return None;
    }
    let message = format!(
        "lib.rs must start with `#![cfg_attr(not(test), deny(...))]` for {}",
        missing.join(", ")
    );
    Some(Finding::line(path, 1, message))
}

/// Whether an attribute is `deny(.. lint ..)` or `forbid(..)`, bare or under `not(test)`.
fn denies(attribute: &syn::Attribute, lint: &str) -> bool {
    let syn::Meta::List(list) = &attribute.meta else { return false };
    let inside: String = list.tokens.to_string().split_whitespace().collect();
    let lints = if list.path.is_ident("deny") || list.path.is_ident("forbid") {
        Some(inside.as_str())
    } else if list.path.is_ident("cfg_attr") {
        let rest = inside.strip_prefix("not(test),");
        rest.and_then(|rest| rest.strip_prefix("deny(").or_else(|| rest.strip_prefix("forbid(")))
    } else {
        None
    };
    lints.is_some_and(|lints| lints.trim_end_matches(')').split(',').any(|word| word == lint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(path: &str, text: &str) -> Vec<String> {
        check(&Tree::of(&[(path, text)])).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_crate_says_what_it_is_for_on_its_first_line() {
        let table = [
            ("crates/a/src/lib.rs", "//! The vocabulary.\n", true),
            ("crates/a/src/lib.rs", "\n//! `muster`, the one binary.\n", true),
            ("crates/a/src/lib.rs", "// The vocabulary.\n", false),
            ("crates/a/src/lib.rs", "//!\n//! Late.\n", false),
            ("crates/a/src/lib.rs", "//! (to be written)\n", false),
            ("crates/a/src/lib.rs", "", false),
            ("guests/b/src/main.rs", "fn main() {}\n", false),
            ("crates/a/src/other.rs", "fn f() {}\n", true),
        ];
        for (path, text, fine) in table {
            assert_eq!(messages(path, text).is_empty(), fine, "{path}: {text:?}");
        }
    }

    #[test]
    fn nothing_is_left_to_do_and_no_test_is_ignored() {
        let table = [
            ("fn f() { todo!() }", false),
            ("fn f() { unimplemented!(\"later\"); }", false),
            ("#[test]\n#[ignore]\nfn f() {}", false),
            ("#[test]\n#[ignore = \"slow\"]\nfn f() {}", false),
            ("fn todo() { ignore(\"todo!()\"); } // todo!()", true),
        ];
        for (text, fine) in table {
            assert_eq!(messages("src/a.rs", text).is_empty(), fine, "{text}");
        }
    }

    #[test]
    fn tests_do_not_sleep_except_to_poll() {
        let polling = "fn wait_until(done: impl Fn() -> bool) -> bool {
            while !done() { std::thread::sleep(STEP); }
            true
        }";
        let table = [
            ("src/tests.rs", "fn f() { std::thread::sleep(D); }".to_owned(), false),
            ("src/tests.rs", "use tokio::time::{sleep, timeout};".to_owned(), false),
            ("tests/it/main.rs", "fn f() { tokio::time::sleep(D); }".to_owned(), false),
            ("src/a.rs", "#[cfg(test)] mod tests { fn f() { time::sleep(D); } }".to_owned(), false),
            ("src/a.rs", "fn f() { std::thread::sleep(D); }".to_owned(), true),
            ("src/tests.rs", "use tokio::time::timeout;".to_owned(), true),
            ("src/tests.rs", polling.to_owned(), true),
            ("src/tests.rs", format!("{polling}\nfn f() {{ thread::sleep(D); }}"), false),
            ("src/tests.rs", format!("{polling}\n#[test]\nfn f() {{ thread::sleep(D); }}"), false),
        ];
        for (path, text, fine) in table {
            let found = messages(path, &text);
            assert_eq!(found.is_empty(), fine, "{path}: {text}: {found:?}");
        }
    }

    #[test]
    fn the_law_denies_what_could_overflow_or_panic() {
        let lints = STRICT_LINTS.join(", ");
        let table = [
            (format!("#![deny({lints})]"), true),
            (format!("#![cfg_attr(not(test), deny({lints}))]"), true),
            (format!("#![cfg_attr(not(test), forbid({lints},))]"), true),
            (format!("#![cfg_attr(test, deny({lints}))]"), false),
            (format!("#![warn({lints})]"), false),
            ("#![deny(clippy::indexing_slicing)]".to_owned(), false),
            (format!("// #![deny({lints})]"), false),
            (String::new(), false),
        ];
        for (attribute, fine) in table {
            let text = format!("//! The law.\n{attribute}\n");
            let found = messages("crates/ledger/src/lib.rs", &text);
            assert_eq!(found.is_empty(), fine, "{attribute}: {found:?}");
            assert_eq!(messages("crates/node/src/lib.rs", &text).len(), 0);
        }
    }
}
