//! The bytes of an archive: unpacked, hashed and counted while they are read.

use super::{LayerProblem, Meter};
use crate::oci::image::digest::Digest;
use sha2::{Digest as _, Sha256};
use std::{
    cell::Cell,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::PathBuf,
    rc::Rc,
    sync::Arc,
};

/// The most bytes that may be between the content of one file and the next: names and attributes,
/// which are held in memory, and the content of what is no file.
const HEADER_BYTES_MAX: u64 = 1 << 20;
/// The most memory that a zstd frame may ask for, as a power of two: what zstd itself takes
/// without being told to.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// What the reader of an archive may still read.
#[derive(Clone)]
pub(super) struct Gate(Rc<State>);

struct State {
    limit: u64,
    left: Cell<u64>,
    /// `None` while a file's content is read, which has a limit of its own.
    headers_left: Cell<Option<u64>>,
    shut: Cell<Option<Shut>>,
}

#[derive(Clone, Copy)]
enum Shut {
    Archive,
    Headers,
}

impl Gate {
    pub(super) fn new(limit: u64) -> Self {
        let (left, headers_left) = (Cell::new(limit), Cell::new(None));
        Self(Rc::new(State { limit, left, headers_left, shut: Cell::new(None) }))
    }

    /// What is read from now on are headers.
    pub(super) fn in_headers(&self) {
        self.0.headers_left.set(Some(HEADER_BYTES_MAX));
    }

    /// What is read from now on is content.
    pub(super) fn in_data(&self) {
        self.0.headers_left.set(None);
    }

    fn pass(&self, bytes: u64) -> io::Result<()> {
        let state = &self.0;
        let shut = |why| {
            state.shut.set(Some(why));
            Err(io::Error::other("the archive is larger than allowed"))
        };
        let Some(left) = state.left.get().checked_sub(bytes) else { return shut(Shut::Archive) };
        state.left.set(left);
        if let Some(headers) = state.headers_left.get() {
            let Some(left) = headers.checked_sub(bytes) else { return shut(Shut::Headers) };
            state.headers_left.set(Some(left));
        }
        Ok(())
    }

    /// The problem that there really is, where reading failed because this gate was shut.
    pub(super) fn explain(&self, problem: LayerProblem, last: Option<&PathBuf>) -> LayerProblem {
        let limit = match self.0.shut.get() {
            None => return problem,
            Some(Shut::Archive) => format!("{} bytes when unpacked", self.0.limit),
            Some(Shut::Headers) => format!("{HEADER_BYTES_MAX} bytes of names and attributes"),
        };
        LayerProblem::TooLarge { limit, entry: last.cloned() }
    }
}

/// The archive, unpacked.
pub(super) struct Source {
    inner: Box<dyn Read>,
    gate: Gate,
    hasher: Sha256,
}

impl Source {
    /// Of all that was read.
    pub(super) fn digest(self) -> Digest {
        Digest::from_hasher(self.hasher)
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.gate.pass(read as u64)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

/// Counts what is read of the packed layer.
struct Counted {
    file: File,
    read: u64,
    meter: Arc<dyn Meter + Send + Sync>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.read += read as u64;
        self.meter.read(self.read);
        Ok(read)
    }
}

/// The archive in a packed layer. How it is packed is seen from its first bytes: registries and
/// build tools name it wrongly at times.
pub(super) fn open(
    blob: File,
    gate: &Gate,
    meter: &Arc<dyn Meter + Send + Sync>,
) -> io::Result<Source> {
    let counted = Counted { file: blob, read: 0, meter: Arc::clone(meter) };
    let mut packed = BufReader::with_capacity(256 << 10, counted);
    let first = packed.fill_buf()?;
    // A zstd layer may begin with a skippable frame, 0x184D2A50 to 0x184D2A5F.
    let skippable = matches!(first, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]);
    let inner: Box<dyn Read> = if first.starts_with(&[0x1f, 0x8b]) {
        Box::new(BufReader::with_capacity(64 << 10, flate2::bufread::MultiGzDecoder::new(packed)))
    } else if skippable || first.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        let mut decoder = zstd::Decoder::with_buffer(packed)?;
        decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
        Box::new(BufReader::with_capacity(64 << 10, decoder))
    } else {
        Box::new(packed)
    };
    Ok(Source { inner, gate: gate.clone(), hasher: Sha256::new() })
}
