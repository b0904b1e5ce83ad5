//! What is wrong with an order form, where, and what to write instead.

use serde::Serialize;
use std::{fmt, path::PathBuf};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Defect {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The path of the field, e.g. `resources.cpu`; empty where the text is no TOML.
    pub field: String,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub fix: String,
}

/// Everything that is wrong with one file, in the order of the text. Displayed one a line:
/// `job.toml:12:5 resources.cpu: … — fix: …`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Defects {
    /// The file, as it was named.
    pub file: PathBuf,
    /// At least one.
    pub list: Vec<Defect>,
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)?;
        if !self.field.is_empty() {
            write!(f, " {}", self.field)?;
        }
        write!(f, ": {} — fix: {}", self.problem, self.fix)
    }
}

impl fmt::Display for Defects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, defect) in self.list.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}:{defect}", self.file.display())?;
        }
        Ok(())
    }
}

impl std::error::Error for Defects {}
