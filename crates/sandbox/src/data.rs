//! The directory that a guest sees as `/data`.

use std::{collections::BTreeMap, sync::Arc};

/// Files in one directory.
pub const MAX_DATA_FILES: usize = 1024;

/// Bytes of a file's name.
pub const MAX_NAME_BYTES: usize = 255;

/// Why a directory was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DataError {
    /// A name that no file may have.
    #[error(
        "data file name {name:?}: use 1 to {MAX_NAME_BYTES} bytes without `/` or NUL, not `.` or `..`"
    )]
    BadName {
        /// The name, at most its first 80 characters.
        name: String,
    },
    /// Too many files.
    #[error("{count} data files, at most {MAX_DATA_FILES} are allowed: pack them")]
    TooMany {
        /// Files given.
        count: usize,
    },
}

/// A flat, read-only directory of named files in memory. Cloning shares the bytes.
#[derive(Debug, Clone, Default)]
pub struct DataDir {
    files: Arc<BTreeMap<String, Arc<[u8]>>>,
}

impl DataDir {
    /// A directory of these files.
    ///
    /// # Errors
    /// A bad name, or too many files.
    pub fn new(files: BTreeMap<String, Arc<[u8]>>) -> Result<Self, DataError> {
        if files.len() > MAX_DATA_FILES {
            return Err(DataError::TooMany { count: files.len() });
        }
        for name in files.keys() {
            let reserved = matches!(name.as_str(), "" | "." | "..");
            if reserved || name.len() > MAX_NAME_BYTES || name.contains(['/', '\0']) {
                return Err(DataError::BadName { name: name.chars().take(80).collect() });
            }
        }
        Ok(Self { files: Arc::new(files) })
    }

    /// The bytes of one file.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<[u8]>> {
        self.files.get(name)
    }

    /// The names with their bytes, in order of name.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, &Arc<[u8]>)> {
        self.files.iter().map(|(name, bytes)| (name.as_str(), bytes))
    }
}
