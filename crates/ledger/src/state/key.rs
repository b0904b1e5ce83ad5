//! Keys as ordered maps in memory hold them.

use std::cmp::Ordering;

/// A key that a map compares where it is: most keys are short enough to be held in the map's nodes,
/// and of longer ones the first bytes are, which nearly always tell them apart. So a walk down a map
/// need not look up each key somewhere else in memory, which is what such a walk takes its time
/// for. (A map by hash would be no slower, but keys can be chosen by whoever sends money to them:
/// without a secret to hash with, and rules draw none, they could be chosen to collide.)
#[derive(Clone, Debug)]
pub(super) enum StateKey {
    Short { length: u8, bytes: [u8; SHORT] },
    Long { front: [u8; FRONT], bytes: Box<[u8]> },
}

/// Records' keys fit: a prefix, an id, and a number in four bytes.
const SHORT: usize = 38;
const FRONT: usize = 16;

fn front(bytes: &[u8]) -> [u8; FRONT] {
    bytes.first_chunk().copied().unwrap_or_else(|| {
        let mut short = [0; FRONT];
        short.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        short
    })
}

impl StateKey {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Short { length, bytes } => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Self::Long { bytes, .. } => bytes,
        }
    }

    /// The first bytes as a number, which sorts as they do as far as they differ.
    #[inline]
    fn front(&self) -> u128 {
        u128::from_be_bytes(match self {
            // What is behind the end of a shorter one is zero.
            Self::Short { bytes, .. } => front(bytes),
            Self::Long { front, .. } => *front,
        })
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Short { .. } => self.bytes().to_vec(),
            Self::Long { bytes, .. } => bytes.into(),
        }
    }
}

impl From<&[u8]> for StateKey {
    fn from(key: &[u8]) -> Self {
        match u8::try_from(key.len()) {
            Ok(length) if key.len() <= SHORT => {
                let mut bytes = [0; SHORT];
                bytes.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
                Self::Short { length, bytes }
            }
            _ => Self::Long { front: front(key), bytes: key.into() },
        }
    }
}

impl From<Vec<u8>> for StateKey {
    fn from(key: Vec<u8>) -> Self {
        if key.len() > SHORT {
            Self::Long { front: front(&key), bytes: key.into() }
        } else {
            key.as_slice().into()
        }
    }
}

impl Ord for StateKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.front().cmp(&other.front()).then_with(|| self.bytes().cmp(other.bytes()))
    }
}

impl PartialOrd for StateKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for StateKey {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for StateKey {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_their_bytes_do() {
        let mut all: Vec<Vec<u8>> = vec![vec![], vec![0], vec![0, 0], vec![0; 16], vec![0; 17]];
        for length in [1, 2, 15, 16, 17, 37, 38, 39, 60] {
            for last in [0, 1, u8::MAX] {
                let mut key = vec![7; length];
                key.push(last);
                all.push(key);
            }
        }
        for left in &all {
            for right in &all {
                let keys = (StateKey::from(left.as_slice()), StateKey::from(right.clone()));
                assert_eq!(keys.0.cmp(&keys.1), left.cmp(right), "{left:?} {right:?}");
            }
            assert_eq!(StateKey::from(left.clone()).into_bytes(), *left);
        }
    }
}
