//! The state: an ordered map of bytes, read synchronously, written as a set of changes.
//!
//! Rules read through [`State`] and write into a [`Scratch`]; nothing else holds state. A block's
//! writes come out as one [`Changes`], which its host applies to whatever it keeps (a map in
//! tests; a resident map written through to an authenticated store in a node).

use std::{
    collections::{BTreeMap, btree_map},
    ops::Bound,
};

/// Read access to an ordered key-value state.
pub trait State {
    /// The value at `key`.
    fn get(&self, key: &[u8]) -> Option<Vec<u8>>;

    /// The entries with `start <= key < end`, in key order.
    fn range<'a>(
        &'a self,
        start: &[u8],
        end: &[u8],
    ) -> Box<dyn Iterator<Item = (Vec<u8>, Vec<u8>)> + 'a>;
}

/// What a block (or a transaction) writes: the new value of a key, or `None` where it is deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes(pub BTreeMap<Vec<u8>, Option<Vec<u8>>>);

/// State in memory: tests, simulations, and the resident copy of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryState(pub BTreeMap<Vec<u8>, Vec<u8>>);

impl MemoryState {
    /// Applies what a block wrote.
    pub fn apply(&mut self, changes: Changes) {
        for (mut key, value) in changes.0 {
            match value {
                // What stays takes no more room than it needs: writers reserve more.
                Some(mut value) => {
                    key.shrink_to_fit();
                    value.shrink_to_fit();
                    self.0.insert(key, value)
                }
                None => self.0.remove(&key),
            };
        }
    }
}

impl State for MemoryState {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.get(key).cloned()
    }

    fn range<'a>(
        &'a self,
        start: &[u8],
        end: &[u8],
    ) -> Box<dyn Iterator<Item = (Vec<u8>, Vec<u8>)> + 'a> {
        if start >= end {
            return Box::new(std::iter::empty());
        }
        let bounds = (Bound::Included(start), Bound::Excluded(end));
        Box::new(self.0.range::<[u8], _>(bounds).map(|(key, value)| (key.clone(), value.clone())))
    }
}

/// Changes over a base: reads see the changes first. Nesting two of them gives a transaction that
/// can be dropped without trace inside a block that can be dropped without trace.
pub struct Scratch<'a> {
    base: &'a dyn State,
    changes: Changes,
}

impl<'a> Scratch<'a> {
    /// No changes yet over `base`.
    #[must_use]
    pub fn new(base: &'a dyn State) -> Self {
        Self { base, changes: Changes::default() }
    }

    /// These changes over `base`.
    #[must_use]
    pub fn with(base: &'a dyn State, changes: Changes) -> Self {
        Self { base, changes }
    }

    /// Writes a key.
    pub fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.changes.0.insert(key, Some(value));
    }

    /// Deletes a key.
    pub fn delete(&mut self, key: Vec<u8>) {
        self.changes.0.insert(key, None);
    }

    /// Takes over what an inner scratch wrote.
    pub fn absorb(&mut self, inner: Changes) {
        self.changes.0.extend(inner.0);
    }

    /// What was written.
    #[must_use]
    pub fn into_changes(self) -> Changes {
        self.changes
    }
}

impl State for Scratch<'_> {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        match self.changes.0.get(key) {
            Some(value) => value.clone(),
            None => self.base.get(key),
        }
    }

    fn range<'a>(
        &'a self,
        start: &[u8],
        end: &[u8],
    ) -> Box<dyn Iterator<Item = (Vec<u8>, Vec<u8>)> + 'a> {
        if start >= end {
            return Box::new(std::iter::empty());
        }
        let bounds = (Bound::Included(start), Bound::Excluded(end));
        Box::new(Merged {
            over: self.changes.0.range::<[u8], _>(bounds).peekable(),
            base: self.base.range(start, end).peekable(),
        })
    }
}

/// Two ordered sequences in one; the upper one wins, its deletions hide.
struct Merged<'a, B: Iterator<Item = (Vec<u8>, Vec<u8>)>> {
    over: std::iter::Peekable<btree_map::Range<'a, Vec<u8>, Option<Vec<u8>>>>,
    base: std::iter::Peekable<B>,
}

impl<B: Iterator<Item = (Vec<u8>, Vec<u8>)>> Iterator for Merged<'_, B> {
    type Item = (Vec<u8>, Vec<u8>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let over_first = match (self.over.peek(), self.base.peek()) {
                (None, _) => return self.base.next(),
                (Some(_), None) => true,
                (Some((over, _)), Some((base, _))) => {
                    if *over == base {
                        self.base.next();
                    }
                    self.base.peek().is_none_or(|(base, _)| *over < base)
                }
            };
            if !over_first {
                return self.base.next();
            }
            if let Some((key, Some(value))) = self.over.next() {
                return Some((key.clone(), value.clone()));
            }
        }
    }
}
