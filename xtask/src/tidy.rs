//! Style as a test: read the sources and report what is out of order.
//!
//! Each check is a module that takes what it judges as plain values and returns [`Finding`]s, so
//! that its tests can show it bad input and see it refuse.

mod builds;
mod levels;
mod links;
mod purity;
mod size;
mod source;
mod style;
mod tree;
mod words;

use std::fmt;

use anyhow::{Result, bail};

use tree::Tree;

/// One thing that is out of order, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    path: String,
    /// Counted from 1; none where the whole file is meant.
    line: Option<usize>,
    message: String,
}

impl Finding {
    fn file(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), line: None, message: message.into() }
    }

    fn line(path: impl Into<String>, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.into(), line: Some(line), message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.path, self.message),
            None => write!(f, "{}: {}", self.path, self.message),
        }
    }
}

/// Runs every check of this module on the checkout. With `bless`, lowers the ratchet first.
pub(crate) fn run(bless: bool) -> Result<()> {
    let tree = Tree::of_checkout()?;
    let members = levels::members()?;
    let mut findings = levels::check(&members, &tree);
    findings.extend(builds::check()?);
    findings.extend(purity::check_dependencies()?);
    findings.extend(purity::check_sources(&tree));
    findings.extend(links::check(&tree));
    findings.extend(size::run(&tree, bless)?);
    findings.extend(style::check(&tree));
    findings.extend(words::check(&tree));
    findings.sort();
    findings.dedup();
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("tidy found {} things out of order", findings.len());
    }
    println!("tidy: {} files read, nothing out of order", tree.len());
    Ok(())
}
