//! Try decoders with what a hostile peer would send: for the tests of every room, and in no
//! program.
//!
//! | what is sent | what must happen |
//! |---|---|
//! | a valid encoding | it decodes to what encodes to the same bytes |
//! | the same, cut anywhere | it is refused |
//! | the same with a byte changed, or bent in several places | it is refused, or is canonical too |
//! | bytes out of nowhere | the same |
//!
//! Never a panic, and never more memory at a time than [`allowance`] gives; that is measured where
//! the test binary allocates by [`Meter`]. The bytes are the same on every run.

mod meter;

pub use meter::{Meter, peak_during};

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};

/// The most places of a sample at which single bytes are changed.
const PLACES: usize = 2_048;
/// The most bytes out of nowhere.
const NOWHERE: u64 = 512;

/// What a decoder may allocate for so many bytes: records take more room than their encoding, and
/// a library may prepare for what a length announces up to a point.
#[must_use]
pub const fn allowance(bytes: usize) -> usize {
    (4 << 20) + 64 * bytes
}

/// Tries a decoder that gives the encoding of what it decoded, or nothing where it refuses. Tells
/// how many of the bent encodings it took.
///
/// # Panics
/// Where it does not do what the crate's table says.
pub fn canonical(
    samples: &[Vec<u8>],
    cases: u32,
    decode: impl Fn(&[u8]) -> Option<Vec<u8>>,
) -> u32 {
    for sample in samples {
        assert_eq!(decode(sample).as_deref(), Some(&sample[..]), "a sample must be valid");
        for cut in (0..sample.len()).rev().take(PLACES) {
            assert!(decode(&sample[..cut]).is_none(), "decoded though cut at {cut}");
        }
    }
    let mut taken = 0;
    bent(samples, cases, |bytes| {
        let (decoded, peak) = peak_during(|| decode(bytes));
        let allowed = allowance(bytes.len());
        assert!(peak <= allowed, "{peak} bytes of memory for {}: {bytes:?}", bytes.len());
        if let Some(encoded) = decoded {
            assert_eq!(encoded, bytes, "two encodings of one value");
            taken += 1;
        }
    });
    taken
}

/// Passes on samples with single bytes changed, samples bent in several places, and bytes out of
/// nowhere.
pub fn bent(samples: &[Vec<u8>], cases: u32, mut each: impl FnMut(&[u8])) {
    for sample in samples {
        let step = sample.len().div_ceil(PLACES).max(1);
        for place in (0..sample.len()).step_by(step) {
            for change in [1, 0x80, 0xff] {
                let mut bytes = sample.clone();
                bytes[place] ^= change;
                each(&bytes);
            }
        }
    }
    let mut hand = Hand(ChaCha8Rng::seed_from_u64(u64::from(cases)));
    for case in 0..cases {
        let bytes = if case % 4 == 0 { hand.nowhere() } else { hand.bend(samples) };
        each(&bytes);
    }
}

/// As [`bent`], for texts: what is no UTF-8 any more is replaced.
pub fn bent_text(samples: &[&str], cases: u32, mut each: impl FnMut(&str)) {
    let samples: Vec<Vec<u8>> = samples.iter().map(|text| text.as_bytes().to_vec()).collect();
    bent(&samples, cases, |bytes| each(&String::from_utf8_lossy(bytes)));
}

/// The hand that bends.
struct Hand(ChaCha8Rng);

impl Hand {
    /// A number below `limit`, or 0.
    fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.0.next_u64() % limit).unwrap_or_default()
    }

    fn byte(&mut self) -> u8 {
        let [byte, kind, ..] = self.0.next_u64().to_le_bytes();
        let telling = [0, 1, 2, 0x7f, 0x80, 0xff, b'"', byte];
        telling[usize::from(kind) % telling.len()]
    }

    fn nowhere(&mut self) -> Vec<u8> {
        let length = self.0.next_u64() % NOWHERE;
        (0..length).map(|_| self.byte()).collect()
    }

    /// A range of `bytes`, short more often than long.
    fn range(&mut self, bytes: &[u8]) -> std::ops::Range<usize> {
        let start = self.below(bytes.len() + 1);
        let most = if self.below(4) == 0 { bytes.len() } else { 40 };
        let length = self.below(most + 1).min(bytes.len() - start);
        start..start + length
    }

    fn bend(&mut self, samples: &[Vec<u8>]) -> Vec<u8> {
        let Some(sample) = samples.get(self.below(samples.len())) else { return self.nowhere() };
        let mut bytes = sample.clone();
        for _ in 0..=self.below(4) {
            self.bend_once(&mut bytes, samples);
        }
        bytes
    }

    fn bend_once(&mut self, bytes: &mut Vec<u8>, samples: &[Vec<u8>]) {
        let range = self.range(bytes);
        match self.below(9) {
            0 => bytes.truncate(range.start),
            1 => drop(bytes.drain(range)),
            2 => {
                let copy = bytes[range.clone()].to_vec();
                bytes.splice(range.end..range.end, copy);
            }
            3 => {
                let new: Vec<u8> = (0..self.below(12)).map(|_| self.byte()).collect();
                bytes.splice(range.start..range.start, new);
            }
            4 => {
                // The end of another one.
                let other = &samples[self.below(samples.len())];
                let from = self.below(other.len() + 1);
                bytes.truncate(range.start);
                bytes.extend_from_slice(&other[from..]);
            }
            5 => {
                // What may be a length.
                let near = u64::try_from(bytes.len()).unwrap_or_default();
                let lengths =
                    [0, 1, near, near + 1, 1 << 20, 1 << 31, u64::from(u32::MAX), u64::MAX];
                let length = lengths[self.below(lengths.len())].to_le_bytes();
                let width = [1, 2, 4, 8][self.below(4)].min(bytes.len() - range.start);
                bytes[range.start..range.start + width].copy_from_slice(&length[..width]);
            }
            6 => {
                if let Some(byte) = bytes.get_mut(range.start) {
                    *byte = byte.wrapping_add(if self.below(2) == 0 { 1 } else { 255 });
                }
            }
            _ => {
                let new = self.byte();
                if let Some(byte) = bytes.get_mut(range.start) {
                    *byte = new;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static METER: Meter = Meter;

    /// A byte that says how many follow.
    fn good(bytes: &[u8]) -> Option<Vec<u8>> {
        let (length, rest) = bytes.split_first()?;
        (usize::from(*length) == rest.len()).then(|| bytes.to_vec())
    }

    fn sample() -> Vec<Vec<u8>> {
        vec![vec![3, 1, 2, 3], vec![0]]
    }

    fn is_caught(decode: impl Fn(&[u8]) -> Option<Vec<u8>> + std::panic::UnwindSafe) -> bool {
        std::panic::catch_unwind(|| canonical(&sample(), 2_000, decode)).is_err()
    }

    #[test]
    fn a_good_decoder_passes_and_takes_some_of_what_was_bent() {
        assert!(canonical(&sample(), 2_000, good) > 10);
    }

    #[test]
    fn decoders_with_a_fault_are_caught() {
        assert!(is_caught(|bytes| good(bytes).filter(|_| bytes[0] < 3)), "refuses what is valid");
        assert!(is_caught(|bytes| good(&bytes[..=usize::from(*bytes.first()?)])), "panics");
        assert!(
            is_caught(|bytes| {
                let all = bytes.get(..=usize::from(*bytes.first()?))?;
                good(all)
            }),
            "takes trailing bytes"
        );
        assert!(
            is_caught(|bytes| {
                let announced =
                    bytes.first_chunk::<8>().map_or(0, |head| u64::from_le_bytes(*head));
                let room = usize::try_from(announced % (64 << 20)).unwrap();
                drop(Vec::<u8>::with_capacity(room));
                good(bytes)
            }),
            "allocates what a length announces"
        );
    }

    #[test]
    fn texts_stay_texts() {
        let mut count = 0;
        bent_text(&["{\"a\": 1}"], 500, |text| count += usize::from(text.contains('a')));
        assert!(count > 100);
    }
}
