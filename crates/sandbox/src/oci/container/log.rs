//! A container's output on disk: bounded, rotated, readable after kill -9.
//!
//! One record a line: `MILLISECONDS o|e F|P TEXT`, where `o` is standard output and `e` standard
//! error, `P` marks a part of a line longer than [`MAX_LINE_BYTES`], and `F` its end. The file
//! `log` is renamed to `log.1` when it holds half of the bound, and a new one is begun. A record
//! that a crash cut short has no newline; readers skip it and the next writer ends it.

use super::{
    error::{ContainerError, Result},
    tools::now_ms,
};
use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

/// Longer lines are kept in parts of this length.
pub const MAX_LINE_BYTES: usize = 16 << 10;
/// How often a follower looks for more.
const POLL: Duration = Duration::from_millis(100);

/// Which of a process's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// A line of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When it was read, milliseconds since 1970.
    pub at_ms: u64,
    /// Where it was written.
    pub stream: Stream,
    /// Without its newline; not always UTF-8.
    pub text: Vec<u8>,
    /// Whether the line goes on in the next record of its stream.
    pub partial: bool,
}

/// Which lines are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Only the last this many of what is there.
    pub tail: Option<usize>,
    /// Only from this time on, milliseconds since 1970.
    pub since_ms: Option<u64>,
    /// Whether to wait for more until the container has ended.
    pub follow: bool,
}

pub(super) fn current(dir: &Path) -> PathBuf {
    dir.join("log")
}

fn previous(dir: &Path) -> PathBuf {
    dir.join("log.1")
}

impl LogLine {
    fn encode(&self) -> Vec<u8> {
        let stream = if self.stream == Stream::Out { 'o' } else { 'e' };
        let part = if self.partial { 'P' } else { 'F' };
        let mut record = format!("{} {stream} {part} ", self.at_ms).into_bytes();
        record.extend(&self.text);
        record.push(b'\n');
        record
    }

    /// The record of a line without its newline; `None` if it is damaged.
    fn decode(record: &[u8]) -> Option<Self> {
        let mut words = record.splitn(4, |byte| *byte == b' ');
        let at_ms = std::str::from_utf8(words.next()?).ok()?.parse().ok()?;
        let stream = match words.next()? {
            b"o" => Stream::Out,
            b"e" => Stream::Err,
            _ => return None,
        };
        let partial = match words.next()? {
            b"P" => true,
            b"F" => false,
            _ => return None,
        };
        Some(Self { at_ms, stream, text: words.next()?.to_vec(), partial })
    }
}

/// Writes records and rotates.
pub(super) struct LogWriter {
    dir: PathBuf,
    file: File,
    written: u64,
    half: u64,
}

impl LogWriter {
    /// Goes on where an earlier writer was; `bytes` bounds both files together.
    pub(super) fn open(dir: &Path, bytes: u64) -> io::Result<Self> {
        let path = current(dir);
        let options =
            || OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path);
        let mut file = options()?;
        let mut written = file.metadata()?.len();
        if written > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
                written += 1;
            }
        }
        Ok(Self { dir: dir.to_owned(), file, written, half: bytes / 2 })
    }

    fn write(&mut self, line: &LogLine) -> io::Result<()> {
        let record = line.encode();
        let length = record.len() as u64;
        if self.written > 0 && self.written + length > self.half {
            fs::rename(current(&self.dir), previous(&self.dir))?;
            *self = Self::open(&self.dir, self.half * 2)?;
        }
        self.file.write_all(&record)?;
        self.written += length;
        Ok(())
    }

    /// Copies a stream to its end. What cannot be kept (a full disk) is dropped: the container must
    /// never wait for its log.
    pub(super) fn copy(writer: &std::sync::Mutex<Self>, stream: Stream, from: impl Read) {
        let mut from = BufReader::with_capacity(MAX_LINE_BYTES, from);
        loop {
            let mut text = Vec::new();
            let limit = MAX_LINE_BYTES as u64;
            match (&mut from).take(limit).read_until(b'\n', &mut text) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            let partial = text.last() != Some(&b'\n') && text.len() >= MAX_LINE_BYTES;
            if text.last() == Some(&b'\n') {
                text.pop();
            }
            let line = LogLine { at_ms: now_ms(), stream, text, partial };
            let mut writer = writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let _ = writer.write(&line);
        }
    }
}

/// Reads a container's log. A reader that is slower than two rotations misses what they removed.
#[derive(Debug)]
pub(super) struct LogReader {
    dir: PathBuf,
    since_ms: u64,
    follow: bool,
    /// Lines that were there at the start, oldest first.
    ready: VecDeque<LogLine>,
    file: Option<BufReader<File>>,
    /// The beginning of a record that is still being written.
    begun: Vec<u8>,
}

impl LogReader {
    pub(super) fn open(dir: &Path, query: LogQuery) -> Result<Self> {
        let mut reader = Self {
            dir: dir.to_owned(),
            since_ms: query.since_ms.unwrap_or(0),
            follow: query.follow,
            ready: VecDeque::new(),
            file: None,
            begun: Vec::new(),
        };
        let mut ready = VecDeque::new();
        for path in [previous(dir), current(dir)] {
            reader.file = open(&path)?;
            while let Some(line) = reader.read().map_err(ContainerError::io("read", &path))? {
                ready.push_back(line);
                if query.tail.is_some_and(|tail| ready.len() > tail) {
                    ready.pop_front();
                }
            }
        }
        reader.ready = ready;
        Ok(reader)
    }

    /// The next complete record of the open file; `None` at its end.
    fn read(&mut self) -> io::Result<Option<LogLine>> {
        let Some(file) = &mut self.file else { return Ok(None) };
        loop {
            // A record is bounded; a damaged file is not.
            let room = (2 * MAX_LINE_BYTES).saturating_sub(self.begun.len()) as u64;
            if file.take(room.max(1)).read_until(b'\n', &mut self.begun)? == 0 {
                return Ok(None);
            }
            if self.begun.last() != Some(&b'\n') {
                if self.begun.len() > MAX_LINE_BYTES + 64 {
                    self.begun.clear();
                }
                continue;
            }
            self.begun.pop();
            let record = std::mem::take(&mut self.begun);
            match LogLine::decode(&record) {
                Some(line) if line.at_ms >= self.since_ms => return Ok(Some(line)),
                _ => {}
            }
        }
    }

    /// The next line there is; `None` if there is none for now.
    fn poll(&mut self) -> Result<Option<LogLine>> {
        if let Some(line) = self.ready.pop_front() {
            return Ok(Some(line));
        }
        let path = current(&self.dir);
        loop {
            if let Some(line) = self.read().map_err(ContainerError::io("read", &path))? {
                return Ok(Some(line));
            }
            // Rotated away under us: the old file is read to its end, the next one follows.
            let mine = self.file.as_ref().and_then(|file| file.get_ref().metadata().ok());
            let now = fs::metadata(&path).ok();
            if now.is_none() || mine.map(|data| data.ino()) == now.map(|data| data.ino()) {
                return Ok(None);
            }
            if let Some(line) = self.read().map_err(ContainerError::io("read", &path))? {
                return Ok(Some(line));
            }
            self.begun.clear();
            self.file = open(&path)?;
        }
    }

    /// The next line; `None` at the end. `ended` tells whether nothing more can come. May be
    /// dropped while waiting without losing a line.
    pub(super) async fn next(&mut self, ended: impl Fn() -> bool) -> Result<Option<LogLine>> {
        loop {
            // Asked first: what was written before the end is read after it.
            let over = !self.follow || ended();
            if let Some(line) = self.poll()? {
                return Ok(Some(line));
            }
            if over {
                return Ok(None);
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

fn open(path: &Path) -> Result<Option<BufReader<File>>> {
    match File::open(path) {
        Ok(file) => Ok(Some(BufReader::new(file))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ContainerError::io("read", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    fn lines(dir: &Path, query: LogQuery) -> Vec<String> {
        let mut reader = LogReader::open(dir, query).unwrap();
        let mut out = Vec::new();
        while let Some(line) = reader.poll().unwrap() {
            out.push(String::from_utf8(line.text).unwrap());
        }
        out
    }

    fn write(dir: &Path, bytes: u64, text: &str) {
        let writer = Mutex::new(LogWriter::open(dir, bytes).unwrap());
        LogWriter::copy(&writer, Stream::Out, text.as_bytes());
    }

    #[test]
    fn both_files_together_stay_under_the_bound_and_hold_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let text: String = (0..1000).map(|n| format!("line {n}\n")).collect();
        write(dir.path(), 4096, &text);
        let size = |path: PathBuf| fs::metadata(path).unwrap().len();
        assert!(size(current(dir.path())) + size(previous(dir.path())) <= 4096);
        let kept = lines(dir.path(), LogQuery::default());
        assert_eq!(kept.last().unwrap(), "line 999");
        assert!(kept.len() > 60, "{}", kept.len());
        let tail = lines(dir.path(), LogQuery { tail: Some(2), ..LogQuery::default() });
        assert_eq!(tail, ["line 998", "line 999"]);
        let none = LogQuery { since_ms: Some(u64::MAX), ..LogQuery::default() };
        assert!(lines(dir.path(), none).is_empty());
    }

    #[test]
    fn a_record_that_a_crash_cut_short_is_skipped_and_the_next_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 4096, "one\n");
        let mut file = OpenOptions::new().append(true).open(current(dir.path())).unwrap();
        file.write_all(b"17").unwrap();
        assert_eq!(lines(dir.path(), LogQuery::default()), ["one"]);
        write(dir.path(), 4096, "two\n");
        assert_eq!(lines(dir.path(), LogQuery::default()), ["one", "two"]);
    }

    #[test]
    fn a_long_line_comes_in_parts_and_any_bytes_survive() {
        let dir = tempfile::tempdir().unwrap();
        let mut text = vec![b'x'; MAX_LINE_BYTES + 5];
        text.extend(b"\n\xff\x00 \\n\nlast");
        let writer = Mutex::new(LogWriter::open(dir.path(), 1 << 20).unwrap());
        LogWriter::copy(&writer, Stream::Err, &text[..]);
        let mut reader = LogReader::open(dir.path(), LogQuery::default()).unwrap();
        let mut next = || reader.poll().unwrap().unwrap();
        let (first, second, third, last) = (next(), next(), next(), next());
        assert!(first.partial && first.text.len() == MAX_LINE_BYTES);
        assert!(!second.partial && second.text.len() == 5);
        assert_eq!(third.text, b"\xff\x00 \\n");
        assert_eq!((last.text.as_slice(), last.stream), (&b"last"[..], Stream::Err));
    }

    #[test]
    fn a_follower_goes_on_across_a_rotation() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 100, "a\nb\n");
        let mut reader = LogReader::open(dir.path(), LogQuery::default()).unwrap();
        write(dir.path(), 100, "c\nd\n");
        let mut seen = Vec::new();
        while let Some(line) = reader.poll().unwrap() {
            seen.extend(line.text);
        }
        assert_eq!(seen, b"abcd");
    }
}
