//! Keys as ordered maps in memory hold them.

use std::{borrow::Borrow, cmp::Ordering};

/// A key with its first bytes beside it as a number. Numbers sort as the bytes do as far as they
/// differ, which they nearly always do: so a walk down a map compares what is in its nodes and
/// need not look up each key somewhere else in memory, which is what such a walk takes its time
/// for. (A map by hash would be no slower, but keys can be chosen by whoever sends money to them:
/// without a secret to hash with, and rules draw none, they could be chosen to collide.)
#[derive(Clone, Debug)]
pub(super) struct StateKey {
    front: u128,
    bytes: Box<[u8]>,
}

/// A key that is only looked for.
pub(super) struct Probe<'a> {
    front: u128,
    bytes: &'a [u8],
}

/// What both have in common: what a map compares.
pub(super) trait AsKey {
    fn parts(&self) -> (u128, &[u8]);
}

fn front(bytes: &[u8]) -> u128 {
    let whole = bytes.first_chunk().copied();
    u128::from_be_bytes(whole.unwrap_or_else(|| {
        let mut short = [0; 16];
        short.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        short
    }))
}

impl<'a> Probe<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { front: front(bytes), bytes }
    }
}

impl StateKey {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes.into()
    }
}

impl From<Vec<u8>> for StateKey {
    fn from(bytes: Vec<u8>) -> Self {
        Self { front: front(&bytes), bytes: bytes.into() }
    }
}

impl AsKey for StateKey {
    fn parts(&self) -> (u128, &[u8]) {
        (self.front, &self.bytes)
    }
}

impl AsKey for Probe<'_> {
    fn parts(&self) -> (u128, &[u8]) {
        (self.front, self.bytes)
    }
}

impl<'a> Borrow<dyn AsKey + 'a> for StateKey {
    fn borrow(&self) -> &(dyn AsKey + 'a) {
        self
    }
}

impl Ord for dyn AsKey + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}

impl PartialOrd for dyn AsKey + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for dyn AsKey + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for dyn AsKey + '_ {}

impl Ord for StateKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}

impl PartialOrd for StateKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for StateKey {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for StateKey {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_their_bytes_do() {
        let mut all: Vec<Vec<u8>> = vec![vec![], vec![0], vec![0, 0], vec![0; 16], vec![0; 17]];
        for length in [1, 2, 15, 16, 17, 40] {
            for last in [0, 1, u8::MAX] {
                let mut key = vec![7; length];
                key.push(last);
                all.push(key);
            }
        }
        for left in &all {
            for right in &all {
                let keys = (StateKey::from(left.clone()), StateKey::from(right.clone()));
                assert_eq!(keys.0.cmp(&keys.1), left.cmp(right), "{left:?} {right:?}");
                let probe: &dyn AsKey = &Probe::new(left);
                assert_eq!(probe.cmp(keys.1.borrow()), left.cmp(right), "{left:?} {right:?}");
            }
        }
    }
}
