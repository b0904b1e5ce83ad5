//! State in memory.

use super::{Changes, State, key::StateKey};
use std::{collections::BTreeMap, fmt};

/// State in memory: tests, simulations, and the resident copy of a node.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct MemoryState(BTreeMap<StateKey, Vec<u8>>);

impl MemoryState {
    /// Applies what a block wrote.
    pub fn apply(&mut self, changes: Changes) {
        for (key, value) in changes.0 {
            match value {
                Some(value) => self.insert(key, value),
                None => self.0.remove(&key.into()),
            };
        }
    }

    /// Sets one entry; gives what was there.
    pub fn insert(&mut self, key: Vec<u8>, value: Vec<u8>) -> Option<Vec<u8>> {
        self.0.insert(key.into(), value)
    }

    /// Removes one entry; gives what was there.
    pub fn remove(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.remove(&key.into())
    }

    /// All entries, in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(key, value)| (key.bytes(), value.as_slice()))
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(Vec<u8>, Vec<u8>)> for MemoryState {
    fn from_iter<I: IntoIterator<Item = (Vec<u8>, Vec<u8>)>>(entries: I) -> Self {
        Self(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
    }
}

impl fmt::Debug for MemoryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl State for MemoryState {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.get(&key.into()).cloned()
    }

    fn read(&self, key: &[u8], reader: &mut dyn FnMut(Option<&[u8]>)) {
        reader(self.0.get(&key.into()).map(Vec::as_slice));
    }

    fn range<'a>(
        &'a self,
        start: &[u8],
        end: &[u8],
    ) -> Box<dyn Iterator<Item = (Vec<u8>, Vec<u8>)> + 'a> {
        if start >= end {
            return Box::new(std::iter::empty());
        }
        let entries = self.0.range(StateKey::from(start)..StateKey::from(end));
        Box::new(entries.map(|(key, value)| (key.bytes().to_vec(), value.clone())))
    }
}
