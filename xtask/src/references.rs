//! `docs/reference/`: pages that the code writes, compared on every check so that they stay true.

use std::path::Path;

use anyhow::{Context, Result, bail};
use syn::{Attribute, Expr, Fields, Item, ItemEnum, Lit, Meta};

use crate::shell;

/// Where the refusals are.
const REJECTS: &str = "crates/ledger/src/reject.rs";

/// A committed page, and what writes it.
struct Reference {
    /// Relative to the root.
    path: &'static str,
    write: fn() -> Result<String>,
}

const REFERENCES: [Reference; 3] = [
    Reference { path: "docs/reference/rejects.md", write: rejects },
    Reference { path: "docs/reference/openapi.json", write: || printed("openapi") },
    Reference { path: "docs/reference/cli.md", write: || printed("cli") },
];

/// Compares the pages with what the code says now, or writes them.
pub(crate) fn run(bless: bool) -> Result<()> {
    for reference in &REFERENCES {
        let now = (reference.write)().with_context(|| reference.path)?;
        if bless {
            write(&shell::root(), reference.path, &now)?;
        } else {
            compare(&shell::root(), reference.path, &now)?;
        }
    }
    let done = if bless { "written" } else { "compared" };
    println!("{} generated references {done}", REFERENCES.len());
    Ok(())
}

fn write(root: &Path, path: &str, text: &str) -> Result<()> {
    let path = root.join(path);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn compare(root: &Path, path: &str, now: &str) -> Result<()> {
    if std::fs::read_to_string(root.join(path)).unwrap_or_default() != now {
        bail!("{path} is not what the code says now; type\n    cargo xtask references --bless");
    }
    Ok(())
}

/// What the program prints of itself.
fn printed(of: &str) -> Result<String> {
    let mut command = shell::cargo();
    command.args(["run", "--locked", "--quiet", "--package", "muster-cli", "--", "reference", of]);
    shell::capture(&mut command)
}

fn rejects() -> Result<String> {
    let source = std::fs::read_to_string(shell::root().join(REJECTS)).context(REJECTS)?;
    table(&source)
}

/// The refusals in a source as a table: code, meaning, message, facts.
fn table(source: &str) -> Result<String> {
    let file = syn::parse_file(source).context("not Rust")?;
    let is_reject = |item: Item| match item {
        Item::Enum(item) if item.ident == "Reject" => Some(item),
        _ => None,
    };
    let Some(ItemEnum { variants, .. }) = file.items.into_iter().find_map(is_reject) else {
        bail!("no enum Reject");
    };
    let mut text = "# Why the ledger refuses\n\nThe codes never change; new ones come at the end. \
                    In JSON a refusal is an object with its `code` and its facts. \
                    `cargo xtask references --bless` writes this page.\n\n\
                    | code | meaning | message | facts |\n|---|---|---|---|\n"
        .to_owned();
    for variant in &variants {
        let meaning = doc(&variant.attrs);
        let message = message(&variant.attrs);
        if meaning.is_empty() || message.is_empty() {
            bail!("{} has no documentation or no message", variant.ident);
        }
        let fields = match &variant.fields {
            Fields::Named(fields) => fields.named.iter().collect(),
            Fields::Unit => Vec::new(),
            Fields::Unnamed(_) => bail!("{} has facts without names", variant.ident),
        };
        let fact = |field: &&syn::Field| {
            let name = field.ident.as_ref().map(ToString::to_string).unwrap_or_default();
            format!("`{name}`: {}", doc(&field.attrs).trim_end_matches('.'))
        };
        let facts: Vec<String> = fields.iter().map(fact).collect();
        let code = snake(&variant.ident.to_string());
        let row = [format!("`{code}`"), meaning, message, facts.join("; ")];
        text += &format!("| {} |\n", row.map(|cell| cell.replace('|', "\\|")).join(" | "));
    }
    Ok(text)
}

/// The documentation of an item as one line.
fn doc(attributes: &[Attribute]) -> String {
    let line = |attribute: &Attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => text_of(&pair.value),
        _ => None,
    };
    let lines: Vec<String> = attributes.iter().filter_map(line).collect();
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

/// The message of an error's variant.
fn message(attributes: &[Attribute]) -> String {
    let error = attributes.iter().find(|attribute| attribute.path().is_ident("error"));
    let expression = error.and_then(|error| error.parse_args::<Expr>().ok());
    expression.as_ref().and_then(text_of).unwrap_or_default()
}

fn text_of(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Str(text) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}

fn snake(name: &str) -> String {
    let mut code = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !code.is_empty() {
            code.push('_');
        }
        code.extend(letter.to_lowercase());
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_that_fell_behind_is_refused_with_the_command_that_mends_it() {
        let root = tempfile::tempdir().unwrap();
        let path = "docs/codes.md";
        let missing = compare(root.path(), path, "new").expect_err("the file is missing");
        assert!(missing.to_string().contains("cargo xtask references --bless"), "{missing}");
        write(root.path(), path, "old").unwrap();
        assert!(compare(root.path(), path, "new").is_err());
        write(root.path(), path, "new").unwrap();
        assert!(compare(root.path(), path, "new").is_ok());
    }

    #[test]
    fn a_refusal_is_a_row_and_one_without_a_word_about_it_is_an_error() {
        let source = "enum Reject {\n/// Past\n/// its expiry.\n#[error(\"expired at {at}|\")]\n\
                      TooLate {\n/// When.\nat: u64, /** And who. */ by: u8 },\n\
                      /// No.\n#[error(\"no\")]\nNo }";
        let table = table(source).unwrap();
        let row =
            "| `too_late` | Past its expiry. | expired at {at}\\| | `at`: When; `by`: And who |";
        assert!(table.contains(row), "{table}");
        assert!(table.ends_with("| `no` | No. | no |  |\n"), "{table}");
        for bad in ["enum Reject { A }", "enum Reject {/// A.\nA}", "enum Other {}"] {
            assert!(super::table(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_codes_of_the_page_are_those_of_the_code() {
        let source = std::fs::read_to_string(shell::root().join(REJECTS)).unwrap();
        let table = table(&source).unwrap();
        let codes = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let codes: Vec<&str> = codes.collect();
        assert!(codes.len() > 20, "{codes:?}");
        // `Reject::code` names each by hand.
        assert!(codes.iter().all(|code| source.contains(&format!("=> \"{code}\","))), "{codes:?}");
        assert_eq!(codes.len(), source.matches("=> \"").count());
    }
}
