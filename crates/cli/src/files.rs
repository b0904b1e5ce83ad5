//! Files from anybody, read up to a size: a pipe or a device may have no end.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

/// Reads a file of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= limit) {
        Ok(bytes)
    } else {
        let problem = format!("too large: at most {limit} bytes");
        Err(io::Error::new(io::ErrorKind::FileTooLarge, problem))
    }
}

/// Reads a text of at most `limit` bytes.
pub(crate) fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    let not_text = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    String::from_utf8(read(path, limit)?).map_err(not_text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "four").unwrap();
        assert_eq!(read_text(&path, 4).unwrap(), "four");
        assert!(read(&path, 3).unwrap_err().to_string().contains("at most 3 bytes"));
        std::fs::write(&path, [0xff]).unwrap();
        assert!(read_text(&path, 3).is_err());
        // It has no length, and no end.
        assert!(read(Path::new("/dev/zero"), 1 << 16).is_err());
    }
}
