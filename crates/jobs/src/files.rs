//! Files written so that a crash leaves the old or the new content, never half of it; and content
//! kept by hash.

use crate::JobError;
use muster_types::Hash;
use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// The permissions of results and receipts, before the umask.
const SHARED: u32 = 0o666;
/// Those of secrets.
const PRIVATE: u32 = 0o600;

static NEXT_TEMPORARY: AtomicU64 = AtomicU64::new(0);

/// Writes `parts` to `path`: a temporary file beside it, synced, renamed over it, the directory
/// synced. Creates the directory where missing.
pub(crate) fn write_atomic<'a>(
    path: &Path,
    parts: impl IntoIterator<Item = io::Result<std::borrow::Cow<'a, [u8]>>>,
) -> Result<(), JobError> {
    write_with_mode(path, parts, SHARED)
}

fn write_with_mode<'a>(
    path: &Path,
    parts: impl IntoIterator<Item = io::Result<std::borrow::Cow<'a, [u8]>>>,
    mode: u32,
) -> Result<(), JobError> {
    let failed = |source| JobError::File { path: path.to_owned(), action: "written", source };
    let dir = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir).map_err(failed)?;
    let number = NEXT_TEMPORARY.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = dir.join(format!(".{name}.{}.{number}", std::process::id()));
    let written = write_parts(&temporary, parts, mode).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The write failed already; what is left of it is only litter.
        drop(fs::remove_file(&temporary));
    }
    written.map_err(failed)?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)
}

/// Writes `content` like [`write_atomic`], for its owner's eyes alone.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<(), JobError> {
    write_with_mode(path, [Ok(content.into())], PRIVATE)
}

fn write_parts<'a>(
    path: &Path,
    parts: impl IntoIterator<Item = io::Result<std::borrow::Cow<'a, [u8]>>>,
    mode: u32,
) -> io::Result<()> {
    let file = File::options().write(true).create_new(true).mode(mode).open(path)?;
    let mut file = io::BufWriter::new(file);
    for part in parts {
        file.write_all(&part?)?;
    }
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

/// Content kept on disk under its hash: what a job takes in and what it got so far.
#[derive(Clone, Debug)]
pub(crate) struct Objects {
    dir: PathBuf,
}

impl Objects {
    /// Those in `dir`, which is created by the first write.
    pub(crate) const fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Where an object is, if it is held.
    pub(crate) fn path(&self, hash: Hash) -> PathBuf {
        self.dir.join(hash.to_string())
    }

    /// Whether an object is held.
    pub(crate) fn has(&self, hash: Hash) -> bool {
        self.path(hash).is_file()
    }

    /// Keeps `content` durably and returns its hash.
    pub(crate) fn put(&self, content: &[u8]) -> Result<Hash, JobError> {
        let hash = Hash::of_content(content);
        if !self.has(hash) {
            write_atomic(&self.path(hash), [Ok(content.into())])?;
        }
        Ok(hash)
    }

    /// An object's content, checked against its hash.
    pub(crate) fn get(&self, hash: Hash) -> Result<Vec<u8>, JobError> {
        let path = self.path(hash);
        let content = fs::read(&path).and_then(|content| {
            if Hash::of_content(&content) == hash {
                Ok(content)
            } else {
                Err(io::Error::new(io::ErrorKind::InvalidData, "the content was changed"))
            }
        });
        content.map_err(|source| JobError::File { path, action: "read", source })
    }

    /// Deletes all of them.
    pub(crate) fn clear(&self) -> Result<(), JobError> {
        match fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(JobError::File { path: self.dir.clone(), action: "written", source: error })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_what_its_hash_says_or_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let objects = Objects::new(dir.path().join("objects"));
        assert!(!objects.has(Hash::of_content(b"a")));
        let hash = objects.put(b"a").unwrap();
        assert_eq!(objects.put(b"a").unwrap(), hash);
        assert_eq!(objects.get(hash).unwrap(), b"a");
        fs::write(objects.path(hash), b"b").unwrap();
        assert!(matches!(objects.get(hash), Err(JobError::File { action: "read", .. })));
        objects.clear().unwrap();
        objects.clear().unwrap();
        assert!(!objects.has(hash));
    }

    #[test]
    fn a_failed_write_leaves_the_old_content_and_no_litter() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        write_atomic(&path, [Ok(b"old".as_slice().into())]).unwrap();
        let parts = [Ok(b"new".as_slice().into()), Err(io::Error::other("no more"))];
        assert!(write_atomic(&path, parts).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
