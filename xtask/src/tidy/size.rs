//! Files and functions stay small. What is larger than the limits stands in a committed ratchet,
//! and its numbers may only shrink.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result};
use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::Finding;
use super::source::is_test_file;
use super::tree::Tree;
use crate::shell;

/// Where the exceptions are committed.
const RATCHET: &str = "xtask/ratchet.toml";

/// Limits, lines.
const FILE_LINES: usize = 600;
const TEST_FILE_LINES: usize = 1500;
/// Lines of a body that are neither blank nor comment, as clippy counts them.
const FUNCTION_LINES: usize = 100;
const TEST_FUNCTION_LINES: usize = 200;

const HEADER: &str = "\
# Files and functions that are longer than the limits of xtask/src/tidy/size.rs, with their present
# sizes in lines. Numbers may only shrink: `cargo xtask tidy --bless` lowers them and drops what is
# no longer needed. A new entry is written by hand, and its commit says why nothing else would do.
";

/// Sizes by place: a path for a file, `path::name` for a function.
type Sizes = BTreeMap<String, usize>;

/// Sizes of files and of functions, kept apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ratchet {
    files: Sizes,
    functions: Sizes,
}

/// Compares the checkout with its ratchet. With `bless`, lowers the ratchet first.
pub(super) fn run(tree: &Tree, bless: bool) -> Result<Vec<Finding>> {
    let (measured, mut findings) = measure(tree);
    let mut ratchet = Ratchet::parse(tree.text(RATCHET).unwrap_or_default())?;
    if bless {
        ratchet.lower(&measured);
        std::fs::write(shell::root().join(RATCHET), ratchet.to_string())
            .with_context(|| format!("cannot write {RATCHET}"))?;
    }
    findings.extend(compare(&ratchet.files, &measured.files, "file"));
    findings.extend(compare(&ratchet.functions, &measured.functions, "function"));
    Ok(findings)
}

/// What is larger than the limits, and the files that are not Rust.
fn measure(tree: &Tree) -> (Ratchet, Vec<Finding>) {
    let mut over = Ratchet::default();
    let mut findings = Vec::new();
    for (path, text) in tree.rust() {
        let parsed = match syn::parse_file(text) {
            Ok(parsed) => parsed,
            Err(error) => {
                findings.push(Finding::line(path, error.span().start().line, error.to_string()));
                continue;
            }
        };
        let mut functions = Functions { test: is_test_file(path), ..Functions::of(text) };
        functions.visit_file(&parsed);
        let tests = functions.test_lines;
        let (lines, limit) = if functions.test {
            (text.lines().count(), TEST_FILE_LINES)
        } else {
            (text.lines().count().saturating_sub(tests), FILE_LINES)
        };
        if lines > limit {
            over.files.insert(path.to_owned(), lines);
        } else if tests > TEST_FILE_LINES {
            over.files.insert(path.to_owned(), text.lines().count());
        }
        for (name, lines) in functions.over {
            let size = over.functions.entry(format!("{path}::{name}")).or_default();
            *size = lines.max(*size);
        }
    }
    (over, findings)
}

/// Collects the functions of a file that are over their limit.
struct Functions<'a> {
    lines: Vec<&'a str>,
    /// The modules and types that we are in.
    within: Vec<String>,
    /// Whether we are in test code.
    test: bool,
    /// Lines of the modules under `#[cfg(test)]` in a file that is no file of tests.
    test_lines: usize,
    over: Vec<(String, usize)>,
}

impl<'a> Functions<'a> {
    fn of(text: &'a str) -> Self {
        let lines = text.lines().collect();
        Self { lines, within: Vec::new(), test: false, test_lines: 0, over: Vec::new() }
    }

    fn function(&mut self, signature: &syn::Signature, attributes: &[syn::Attribute], body: Span) {
        let test =
            self.test || attributes.iter().any(|attribute| attribute.path().is_ident("test"));
        let limit = if test { TEST_FUNCTION_LINES } else { FUNCTION_LINES };
        let code = self.lines[body.start().line - 1..body.end().line]
            .iter()
            .map(|line| line.trim())
            .filter(|line| !line.is_empty() && !line.starts_with("//"))
            .count();
        // The lines with the braces are not counted.
        let code = code.saturating_sub(2);
        if code > limit {
            let mut name = self.within.clone();
            name.push(signature.ident.to_string());
            self.over.push((name.join("::"), code));
        }
    }

    fn inside(&mut self, name: Option<String>, go: impl FnOnce(&mut Self)) {
        let depth = self.within.len();
        self.within.extend(name);
        go(self);
        self.within.truncate(depth);
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        let outer = self.test;
        let starts_tests = !outer && module.attrs.iter().any(is_cfg_test);
        if starts_tests {
            let span = module.span();
            self.test_lines += span.end().line - span.start().line + 1;
            self.test = true;
        }
        self.inside(Some(module.ident.to_string()), |this| visit::visit_item_mod(this, module));
        self.test = outer;
    }

    fn visit_item_impl(&mut self, block: &'ast syn::ItemImpl) {
        let name = match &*block.self_ty {
            syn::Type::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()),
            _ => None,
        };
        self.inside(name, |this| visit::visit_item_impl(this, block));
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.inside(Some(item.ident.to_string()), |this| visit::visit_item_trait(this, item));
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig, &item.attrs, item.block.span());
        self.inside(Some(item.sig.ident.to_string()), |this| visit::visit_item_fn(this, item));
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig, &item.attrs, item.block.span());
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(body) = &item.default {
            self.function(&item.sig, &item.attrs, body.span());
        }
        visit::visit_trait_item_fn(self, item);
    }
}

fn is_cfg_test(attribute: &syn::Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute.parse_args::<syn::Ident>().is_ok_and(|name| name == "test")
}

fn compare(listed: &Sizes, measured: &Sizes, what: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (place, lines) in measured {
        let message = match listed.get(place) {
            None => format!("this {what} has {lines} lines of code, over the limit: split it"),
            Some(limit) if lines > limit => {
                format!("this {what} grew from {limit} to {lines} lines; {RATCHET} only shrinks")
            }
            Some(_) => continue,
        };
        findings.push(Finding::file(place, message));
    }
    for (place, lines) in listed {
        let now = measured.get(place);
        if now.is_none_or(|now| now < lines) {
            let now = now.map_or("within the limit or gone".to_owned(), |now| format!("now {now}"));
            let message = format!(
                "`{place}` is listed with {lines} lines and is {now}: run `cargo xtask tidy --bless`"
            );
            findings.push(Finding::file(RATCHET, message));
        }
    }
    findings
}

impl Ratchet {
    fn parse(text: &str) -> Result<Self> {
        let table: toml::Table = text.parse().with_context(|| format!("{RATCHET} is not TOML"))?;
        let read = |name: &str| -> Result<Sizes> {
            let Some(section) = table.get(name) else { return Ok(Sizes::new()) };
            let section = section
                .as_table()
                .with_context(|| format!("{RATCHET}: `{name}` must be a table"))?;
            section
                .iter()
                .map(|(place, lines)| {
                    let lines = lines.as_integer().and_then(|lines| usize::try_from(lines).ok());
                    let lines = lines.with_context(|| {
                        format!("{RATCHET}: `{place}` must be a count of lines")
                    })?;
                    Ok((place.clone(), lines))
                })
                .collect()
        };
        Ok(Self { files: read("files")?, functions: read("functions")? })
    }

    /// Takes over sizes that shrank and drops entries that are no longer needed; never raises or
    /// adds one.
    fn lower(&mut self, measured: &Self) {
        let lower = |listed: &mut Sizes, measured: &Sizes| {
            listed.retain(|place, _| measured.contains_key(place));
            for (place, lines) in listed {
                *lines = measured.get(place).map_or(*lines, |now| *lines.min(&mut now.clone()));
            }
        };
        lower(&mut self.files, &measured.files);
        lower(&mut self.functions, &measured.functions);
    }
}

impl std::fmt::Display for Ratchet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = HEADER.to_owned();
        for (name, sizes) in [("files", &self.files), ("functions", &self.functions)] {
            write!(text, "\n[{name}]\n")?;
            for (place, lines) in sizes {
                writeln!(text, "{place:?} = {lines}")?;
            }
        }
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(name: &str, lines: usize) -> String {
        format!("fn {name}() {{\n{}}}\n", "    g();\n".repeat(lines))
    }

    fn measured(path: &str, text: &str) -> Ratchet {
        let (ratchet, findings) = measure(&Tree::of(&[(path, text)]));
        assert_eq!(findings, []);
        ratchet
    }

    #[test]
    fn long_files_and_functions_are_found_and_those_at_the_limit_are_not() {
        let file = |lines: usize| "// line\n".repeat(lines);
        let table = [
            ("src/a.rs", file(FILE_LINES), 0),
            ("src/a.rs", file(FILE_LINES + 1), 1),
            ("src/tests.rs", file(FILE_LINES + 1), 0),
            ("src/tests.rs", file(TEST_FILE_LINES + 1), 1),
            ("src/a.rs", function("f", FUNCTION_LINES), 0),
            ("src/a.rs", function("f", FUNCTION_LINES + 1), 1),
            ("src/tests.rs", function("f", FUNCTION_LINES + 1), 0),
            ("src/tests.rs", function("f", TEST_FUNCTION_LINES + 1), 1),
            ("src/a.rs", format!("#[test]\n{}", function("f", FUNCTION_LINES + 1)), 0),
        ];
        for (path, text, expected) in table {
            let over = measured(path, &text);
            let lines = text.lines().count();
            let found = over.files.len() + over.functions.len();
            assert_eq!(found, expected, "{path} with {lines} lines: {over:?}");
        }
    }

    #[test]
    fn blank_lines_and_comments_of_a_function_are_free() {
        let text = format!("fn f() {{\n{}\n}}\n", "    // why\n\n".repeat(FUNCTION_LINES));
        assert_eq!(measured("src/a.rs", &text), Ratchet::default());
    }

    #[test]
    fn inline_tests_count_against_the_limit_of_tests() {
        let tests =
            |lines: usize| format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "\n".repeat(lines));
        assert_eq!(measured("src/a.rs", &tests(FILE_LINES)).files.len(), 0);
        assert_eq!(measured("src/a.rs", &tests(TEST_FILE_LINES)).files.len(), 1);
    }

    #[test]
    fn functions_are_named_by_module_and_type() {
        let long = function("f", FUNCTION_LINES + 1);
        let text = format!("mod m {{ impl A<u8> {{ {long} }} trait T {{ {long} }} }} {long}");
        let names: Vec<_> = measured("a.rs", &text).functions.into_keys().collect();
        assert_eq!(names, ["a.rs::f", "a.rs::m::A::f", "a.rs::m::T::f"]);
    }

    #[test]
    fn a_file_that_does_not_parse_is_reported() {
        let (_, findings) = measure(&Tree::of(&[("a.rs", "\nfn f() -> { }")]));
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].line, Some(2));
    }

    fn sizes(entries: &[(&str, usize)]) -> Sizes {
        entries.iter().map(|(place, lines)| ((*place).to_owned(), *lines)).collect()
    }

    #[test]
    fn the_ratchet_refuses_growth_new_entries_and_stale_entries() {
        let listed = sizes(&[("a.rs", 700)]);
        let table = [
            (sizes(&[("a.rs", 700)]), None),
            (sizes(&[("a.rs", 701)]), Some("grew from 700 to 701")),
            (sizes(&[("a.rs", 699)]), Some("--bless")),
            (sizes(&[]), Some("--bless")),
            (sizes(&[("a.rs", 700), ("b.rs", 601)]), Some("split it")),
        ];
        for (measured, expected) in table {
            let findings = compare(&listed, &measured, "file");
            match expected {
                None => assert_eq!(findings, []),
                Some(text) => {
                    assert_eq!(findings.len(), 1, "{measured:?}");
                    assert!(findings[0].message.contains(text), "{}", findings[0]);
                }
            }
        }
    }

    #[test]
    fn bless_lowers_and_drops_and_never_raises_or_adds() {
        let mut ratchet = Ratchet {
            files: sizes(&[("gone.rs", 700), ("grew.rs", 700), ("shrank.rs", 700)]),
            functions: sizes(&[("a.rs::f", 120)]),
        };
        ratchet.lower(&Ratchet {
            files: sizes(&[("grew.rs", 800), ("new.rs", 900), ("shrank.rs", 650)]),
            functions: sizes(&[("a.rs::f", 110)]),
        });
        assert_eq!(ratchet.files, sizes(&[("grew.rs", 700), ("shrank.rs", 650)]));
        assert_eq!(ratchet.functions, sizes(&[("a.rs::f", 110)]));
        assert_eq!(Ratchet::parse(&ratchet.to_string()).unwrap(), ratchet);
    }

    #[test]
    fn a_ratchet_that_makes_no_sense_is_refused() {
        for text in ["files = 3", "[files]\n\"a.rs\" = \"long\"", "[files]\n\"a.rs\" = -1", "["] {
            assert!(Ratchet::parse(text).is_err(), "{text}");
        }
        assert_eq!(Ratchet::parse("").unwrap(), Ratchet::default());
    }
}
