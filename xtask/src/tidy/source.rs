//! Rust source as the checks see it: a flat list of tokens, each marked as test code or not, and
//! the paths that the code names.

use proc_macro2::{Delimiter, Group, Spacing, TokenStream, TokenTree};
use syn::UseTree;

/// What a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Ident(String),
    /// A punctuation mark, and whether the next mark follows without a space.
    Mark(char, bool),
    Literal(String),
    Open,
    Close,
}

/// A token with its place.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    /// Counted from 1.
    pub(super) line: usize,
    /// Whether it is inside an item under `#[cfg(test)]`, or in a file of tests.
    pub(super) test: bool,
}

/// A path that the code names, such as `std::fs::read`, with every `use` written out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NamedPath {
    pub(super) text: String,
    pub(super) line: usize,
    pub(super) test: bool,
}

/// Whether a path is that of test code as a whole.
pub(super) fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.split('/').any(|part| part == "tests" || part == "benches")
}

/// The tokens of a Rust file. `Err` says why it cannot be read.
pub(super) fn tokens(path: &str, text: &str) -> Result<Vec<Token>, String> {
    // A byte order mark and `#!/...` are no tokens; neither occurs in ours.
    let stream: TokenStream = text.parse().map_err(|error| format!("not Rust: {error}"))?;
    let mut tokens = Vec::new();
    flatten(stream, is_test_file(path), &mut tokens);
    Ok(tokens)
}

fn flatten(stream: TokenStream, test: bool, into: &mut Vec<Token>) {
    let trees: Vec<TokenTree> = stream.into_iter().collect();
    // Set at `#[cfg(test)]` until the item under it ends: at its block or at its semicolon.
    let mut under_cfg_test = false;
    for (index, tree) in trees.iter().enumerate() {
        let line = tree.span().start().line;
        let test_here = test || under_cfg_test;
        let mut push = |kind| into.push(Token { kind, line, test: test_here });
        match tree {
            TokenTree::Ident(ident) => push(Kind::Ident(ident.to_string())),
            TokenTree::Literal(literal) => push(Kind::Literal(literal.to_string())),
            TokenTree::Punct(mark) => {
                push(Kind::Mark(mark.as_char(), mark.spacing() == Spacing::Joint));
                if mark.as_char() == '#' && is_cfg_test(trees.get(index + 1)) {
                    under_cfg_test = true;
                } else if mark.as_char() == ';' {
                    under_cfg_test = false;
                }
            }
            TokenTree::Group(group) => {
                push(Kind::Open);
                flatten(group.stream(), test_here, into);
                let line = group.span_close().end().line;
                into.push(Token { kind: Kind::Close, line, test: test_here });
                if group.delimiter() == Delimiter::Brace {
                    under_cfg_test = false;
                }
            }
        }
    }
}

/// Whether the tree after a `#` is `[cfg(test)]`.
fn is_cfg_test(tree: Option<&TokenTree>) -> bool {
    let bracket = |group: &Group| group.delimiter() == Delimiter::Bracket;
    let Some(TokenTree::Group(group)) = tree else { return false };
    let text: String = group.stream().to_string().split_whitespace().collect();
    bracket(group) && (text == "cfg(test)" || text.starts_with("cfg(all(test,"))
}

/// Every path of two or more parts that the tokens name.
pub(super) fn paths(tokens: &[Token]) -> Vec<NamedPath> {
    let mut paths = Vec::new();
    let mut index = 0;
    while let Some(token) = tokens.get(index) {
        let Kind::Ident(first) = &token.kind else {
            index += 1;
            continue;
        };
        let found = |text| NamedPath { text, line: token.line, test: token.test };
        if first == "use"
            && let Some((written_out, length)) = use_item(&tokens[index..])
        {
            paths.extend(written_out.into_iter().map(found));
            index += length;
            continue;
        }
        let mut text = first.clone();
        index += 1;
        while let Some([a, b, c]) = tokens.get(index..index + 3)
            && a.kind == Kind::Mark(':', true)
            && matches!(b.kind, Kind::Mark(':', _))
            && let Kind::Ident(next) = &c.kind
        {
            text.push_str("::");
            text.push_str(next);
            index += 3;
        }
        if text.contains("::") {
            paths.push(found(text));
        }
    }
    paths
}

/// The paths of the `use` item that starts here, and how many tokens it has.
fn use_item(tokens: &[Token]) -> Option<(Vec<String>, usize)> {
    let length = 1 + tokens.iter().position(|token| token.kind == Kind::Mark(';', false))?;
    // Within a `use` every group is in braces.
    let text: String = tokens[..length]
        .iter()
        .map(|token| match &token.kind {
            Kind::Ident(text) | Kind::Literal(text) => format!("{text} "),
            Kind::Mark(mark, _) => mark.to_string(),
            Kind::Open => "{".to_owned(),
            Kind::Close => "}".to_owned(),
        })
        .collect();
    let item: syn::ItemUse = syn::parse_str(&text).ok()?;
    let mut paths = Vec::new();
    write_out(&item.tree, "", &mut paths);
    Some((paths, length))
}

fn write_out(tree: &UseTree, prefix: &str, into: &mut Vec<String>) {
    let under = |name: &dyn std::fmt::Display| {
        if prefix.is_empty() { name.to_string() } else { format!("{prefix}::{name}") }
    };
    match tree {
        UseTree::Path(path) => write_out(&path.tree, &under(&path.ident), into),
        UseTree::Name(name) if name.ident == "self" => into.push(prefix.to_owned()),
        UseTree::Name(name) => into.push(under(&name.ident)),
        UseTree::Rename(rename) if rename.ident == "self" => into.push(prefix.to_owned()),
        UseTree::Rename(rename) => into.push(under(&rename.ident)),
        UseTree::Glob(_) => into.push(under(&"*")),
        UseTree::Group(group) => {
            for tree in &group.items {
                write_out(tree, prefix, into);
            }
        }
    }
}

/// The lines on which the tokens name a floating-point type or write a floating-point number,
/// outside tests.
pub(super) fn float_lines(tokens: &[Token]) -> Vec<usize> {
    let mut lines = Vec::new();
    for (index, token) in tokens.iter().enumerate().filter(|(_, token)| !token.test) {
        let float = match &token.kind {
            Kind::Ident(name) => name == "f32" || name == "f64",
            // `pair.0.1` reads as `pair`, `.`, `0.1`; after a range's two dots it is a number.
            Kind::Literal(text) => is_float(text) && !after_single_dot(&tokens[..index]),
            _ => false,
        };
        if float {
            lines.push(token.line);
        }
    }
    lines
}

fn is_float(literal: &str) -> bool {
    match syn::parse_str(literal) {
        Ok(syn::Lit::Float(_)) => true,
        Ok(syn::Lit::Int(number)) => number.suffix() == "f32" || number.suffix() == "f64",
        _ => false,
    }
}

fn after_single_dot(before: &[Token]) -> bool {
    let dot = |token: &Token| matches!(token.kind, Kind::Mark('.', _));
    let mut last = before.iter().rev();
    last.next().is_some_and(dot) && !last.next().is_some_and(dot)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Vec<(String, bool)> {
        let tokens = tokens("src/a.rs", text).unwrap();
        paths(&tokens).into_iter().map(|path| (path.text, path.test)).collect()
    }

    #[test]
    fn paths_are_found_in_uses_code_types_and_macros() {
        let table = [
            ("use std::{fs, time::{Duration, Instant as I}};", "std::fs"),
            ("use std::{fs, time::{Duration, Instant as I}};", "std::time::Duration"),
            ("use std::{fs, time::{Duration, Instant as I}};", "std::time::Instant"),
            ("use std::time::{self};", "std::time"),
            ("pub use std::fs::*;", "std::fs::*"),
            ("fn f() { let _ = std::env::var(\"X\"); }", "std::env::var"),
            ("fn f(at: &std::time::SystemTime) {}", "std::time::SystemTime"),
            ("fn f() { log!(\"{}\", std::process::id()); }", "std::process::id"),
        ];
        for (code, path) in table {
            assert!(named(code).contains(&(path.to_owned(), false)), "{code}: {:?}", named(code));
        }
    }

    #[test]
    fn comments_and_strings_name_no_path() {
        assert_eq!(named("// std::fs\nconst A: &str = \"std::fs::read\";"), []);
    }

    #[test]
    fn a_use_inside_a_bound_is_no_import() {
        assert_eq!(named("fn f<'a>() -> impl Sized + use<'a> { a::b() }").len(), 1);
    }

    #[test]
    fn what_is_under_cfg_test_is_test_code_and_what_follows_is_not() {
        let code = "#[cfg(test)] mod tests { fn f() { a::b(); } } fn g() { c::d(); }
            #[cfg(test)] mod more; fn h() { e::f(); } #[cfg(all(test, unix))] use i::j;";
        let expected = [("a::b", true), ("c::d", false), ("e::f", false), ("i::j", true)];
        let expected = expected.map(|(path, test)| (path.to_owned(), test));
        assert_eq!(named(code), expected);
    }

    #[test]
    fn files_of_tests_are_test_code_throughout() {
        for path in ["crates/a/src/tests.rs", "crates/a/tests/it/main.rs", "a/src/b/tests/c.rs"] {
            assert!(is_test_file(path), "{path}");
        }
        for path in ["crates/a/src/lib.rs", "xtask/src/test.rs", "a/src/attests.rs"] {
            assert!(!is_test_file(path), "{path}");
        }
    }

    #[test]
    fn floats_are_found_and_fields_of_fields_are_not_floats() {
        let table = [
            ("const A: f64 = ZERO;", true),
            ("fn f(x: f32) {}", true),
            ("fn f() { g(1.5); }", true),
            ("fn f() { g(2f32 as u8); }", true),
            ("fn f() { g(1e3); }", true),
            ("fn f() { assert!(x < 0.5); }", true),
            ("fn f() { g(0..1.5); }", true),
            ("fn f() { g(pair.0.1); }", false),
            ("fn f() { g(0..1); }", false),
            ("fn f() { g(\"1.5\", 0x1f32); } // 1.5", false),
            ("#[cfg(test)] mod tests { const A: f64 = 1.5; }", false),
        ];
        for (code, float) in table {
            let lines = float_lines(&tokens("src/a.rs", code).unwrap());
            assert_eq!(!lines.is_empty(), float, "{code}");
        }
    }

    #[test]
    fn what_does_not_lex_is_refused() {
        assert!(tokens("src/a.rs", "fn f( {").is_err());
    }
}
