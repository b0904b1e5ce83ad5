//! What checking a YAML form found: defects that refuse it, and warnings that do not.

use crate::Defect;

/// The most defects, and the most warnings, that one file is told of.
pub(crate) const MAX_NOTES: usize = 100;

/// A place in the text, both from 1; the column in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pos {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl Pos {
    /// The start of the text.
    pub(crate) const START: Self = Self { line: 1, column: 1 };
}

/// A form that was checked: what it says, or all that is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked<T> {
    /// What the file says; or every defect, at least one, in the order of the text.
    pub result: Result<T, Vec<Defect>>,
    /// What was understood although it is not well written, in the order of the text.
    pub warnings: Vec<Defect>,
}

/// Collects defects and warnings.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    errors: Vec<Defect>,
    warnings: Vec<Defect>,
}

impl Notes {
    pub(crate) fn error(
        &mut self,
        at: Pos,
        field: impl Into<String>,
        problem: impl Into<String>,
        fix: impl Into<String>,
    ) {
        push(&mut self.errors, at, field, problem, fix);
    }

    pub(crate) fn warn(
        &mut self,
        at: Pos,
        field: impl Into<String>,
        problem: impl Into<String>,
        fix: impl Into<String>,
    ) {
        push(&mut self.warnings, at, field, problem, fix);
    }

    /// Whether so much is wrong that nobody would read more.
    pub(crate) fn is_full(&self) -> bool {
        self.errors.len() >= MAX_NOTES
    }

    pub(crate) fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// The value, if nothing refuses it.
    pub(crate) fn finish<T>(mut self, value: Option<T>) -> Checked<T> {
        let order = |list: &mut Vec<Defect>| {
            list.sort_by(|left, right| {
                let place = |defect: &Defect| (defect.line, defect.column);
                place(left).cmp(&place(right)).then_with(|| left.field.cmp(&right.field))
            });
            list.dedup();
        };
        order(&mut self.errors);
        order(&mut self.warnings);
        let result = match value {
            Some(value) if self.errors.is_empty() => Ok(value),
            _ => Err(self.errors),
        };
        Checked { result, warnings: self.warnings }
    }
}

fn push(
    list: &mut Vec<Defect>,
    at: Pos,
    field: impl Into<String>,
    problem: impl Into<String>,
    fix: impl Into<String>,
) {
    if list.len() < MAX_NOTES {
        let Pos { line, column } = at;
        let (field, problem, fix) = (field.into(), problem.into(), fix.into());
        list.push(Defect { line, column, field, problem, fix });
    }
}
