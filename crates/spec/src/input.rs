//! From a job's input to the inputs of its tasks: pure, so that reading files is the caller's.

use std::{ops::Range, path::PathBuf};

/// The most tasks (or steps) of one job.
pub const MAX_TASKS: u64 = 1_000_000;

/// What a batch's tasks get on standard input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A file of equal records; a task gets some of them, the last task what is left.
    Records {
        /// The file.
        file: PathBuf,
        /// Bytes of one record, at least 1.
        record_bytes: u64,
        /// At least 1.
        records_per_task: u64,
    },
    /// A file of lines; a task gets some of them, newlines included, the last task what is left.
    Lines {
        /// The file.
        file: PathBuf,
        /// At least 1.
        lines_per_task: u64,
    },
    /// One task a file, in the order of the names (by byte).
    Files {
        /// Where they are.
        dir: PathBuf,
        /// Which names ([`matches()`]).
        pattern: String,
    },
    /// Task `i` gets `i` in decimal digits ([`range_input`]).
    Range {
        /// How many tasks, at least 1.
        count: u64,
    },
}

/// Why an input cannot be split into tasks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// Nothing to do.
    #[error("the input is empty: give at least one record")]
    Empty,
    /// The last record is not whole.
    #[error(
        "{bytes} bytes are not whole records of {record_bytes}: correct input.record_bytes or the \
         file"
    )]
    Ragged {
        /// Bytes of the file.
        bytes: u64,
        /// Bytes of a record.
        record_bytes: u64,
    },
    /// More tasks than a job may have.
    #[error("{tasks} tasks, at most {MAX_TASKS} are allowed: raise input.records_per_task")]
    TooMany {
        /// How many.
        tasks: u64,
    },
}

impl Input {
    /// The ranges of the file's bytes that the tasks get, in task order. Inputs that are no single
    /// file give the whole content as one task.
    ///
    /// # Errors
    /// [`SplitError`] where the content does not make 1 to [`MAX_TASKS`] tasks.
    pub fn split(&self, content: &[u8]) -> Result<Vec<Range<usize>>, SplitError> {
        if content.is_empty() {
            return Err(SplitError::Empty);
        }
        match self {
            Self::Records { record_bytes, records_per_task, .. } => {
                let bytes = content.len() as u64;
                if !bytes.is_multiple_of(*record_bytes) {
                    return Err(SplitError::Ragged { bytes, record_bytes: *record_bytes });
                }
                let step = record_bytes.saturating_mul((*records_per_task).max(1)).min(bytes);
                limit(bytes.div_ceil(step))?;
                let step = usize::try_from(step).unwrap_or(content.len());
                let end = |start: usize| start.saturating_add(step).min(content.len());
                Ok((0..content.len()).step_by(step).map(|start| start..end(start)).collect())
            }
            Self::Lines { lines_per_task, .. } => {
                let lines: Vec<usize> =
                    content.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::len).collect();
                let per_task = (*lines_per_task).max(1);
                limit((lines.len() as u64).div_ceil(per_task))?;
                let per_task = usize::try_from(per_task).unwrap_or(usize::MAX);
                let mut start = 0;
                let range = |chunk: &[usize]| {
                    let end = start + chunk.iter().sum::<usize>();
                    std::mem::replace(&mut start, end)..end
                };
                Ok(lines.chunks(per_task).map(range).collect())
            }
            Self::Files { .. } | Self::Range { .. } => {
                Ok(std::iter::once(0..content.len()).collect())
            }
        }
    }
}

fn limit(tasks: u64) -> Result<(), SplitError> {
    if tasks > MAX_TASKS { Err(SplitError::TooMany { tasks }) } else { Ok(()) }
}

/// The input of task `index` of an [`Input::Range`]: its decimal digits, without a newline.
#[must_use]
pub fn range_input(index: u64) -> Vec<u8> {
    index.to_string().into_bytes()
}

/// Whether a file name fits a pattern, in which `*` stands for any run of characters and `?` for
/// any one. As in a shell, a pattern that does not start with a dot leaves hidden files out.
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // Where to go on after the last star, should what follows it not fit.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p + 1, n));
                p += 1;
            }
            Some(letter) if *letter == '?' || *letter == name[n] => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((after, from)) = star else { return false };
                star = Some((after, from + 1));
                p = after;
                n = from + 1;
            }
        }
    }
    pattern[p..].iter().all(|letter| *letter == '*')
}

#[cfg(test)]
mod tests;
