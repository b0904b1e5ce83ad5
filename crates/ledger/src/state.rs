//! The state: an ordered map of bytes, read synchronously, written as a set of changes.
//!
//! Rules read through [`State`] and write into a [`Scratch`]; nothing else holds state. A block's
//! writes come out as one [`Changes`], which its host applies to whatever it keeps (a map in
//! tests; a resident map written through to an authenticated store in a node).

use std::{
    cell::RefCell,
    collections::{BTreeMap, btree_map},
    ops::Bound,
};

/// Read access to an ordered key-value state.
pub trait State {
    /// The value at `key`.
    fn get(&self, key: &[u8]) -> Option<Vec<u8>>;

    /// Calls `reader` once with the value at `key`; without a copy where the state can.
    fn read(&self, key: &[u8], reader: &mut dyn FnMut(Option<&[u8]>)) {
        reader(self.get(key).as_deref());
    }

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
        for (key, value) in changes.0 {
            match value {
                Some(value) => self.0.insert(key, value),
                None => self.0.remove(&key),
            };
        }
    }
}

impl State for MemoryState {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.get(key).cloned()
    }

    fn read(&self, key: &[u8], reader: &mut dyn FnMut(Option<&[u8]>)) {
        reader(self.0.get(key).map(Vec::as_slice));
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
    recent: Option<RefCell<Recent>>,
}

/// What was read of the base last: a rule reads the same few records again and again.
#[derive(Default)]
struct Recent {
    entries: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Which entry is replaced next.
    next: usize,
}

impl Recent {
    const LENGTH: usize = 16;

    fn find(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        let found = self.entries.iter().rev().find(|(recent, _)| recent == key);
        found.map(|(_, value)| value.as_deref())
    }

    fn note(&mut self, key: &[u8], value: Option<&[u8]>) {
        let entry = (key.to_vec(), value.map(<[u8]>::to_vec));
        match self.entries.get_mut(self.next) {
            Some(oldest) => *oldest = entry,
            None => self.entries.push(entry),
        }
        self.next = self.next.saturating_add(1).checked_rem(Self::LENGTH).unwrap_or_default();
    }
}

impl<'a> Scratch<'a> {
    /// No changes yet over `base`.
    #[must_use]
    pub fn new(base: &'a dyn State) -> Self {
        Self::with(base, Changes::default())
    }

    /// The same for one transaction or rule: it keeps what it read last at hand.
    pub(crate) fn short_lived(base: &'a dyn State) -> Self {
        Self { recent: Some(RefCell::default()), ..Self::new(base) }
    }

    /// These changes over `base`.
    #[must_use]
    pub fn with(base: &'a dyn State, changes: Changes) -> Self {
        Self { base, changes, recent: None }
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

    fn read_base(&self, key: &[u8], reader: &mut dyn FnMut(Option<&[u8]>)) {
        let Some(recent) = &self.recent else { return self.base.read(key, reader) };
        if let Some(value) = recent.borrow().find(key) {
            return reader(value);
        }
        self.base.read(key, &mut |value| {
            recent.borrow_mut().note(key, value);
            reader(value);
        });
    }

    /// What was written.
    #[must_use]
    pub fn into_changes(self) -> Changes {
        self.changes
    }
}

impl State for Scratch<'_> {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let mut value = None;
        self.read(key, &mut |found| value = found.map(<[u8]>::to_vec));
        value
    }

    fn read(&self, key: &[u8], reader: &mut dyn FnMut(Option<&[u8]>)) {
        match self.changes.0.get(key) {
            Some(value) => reader(value.as_deref()),
            None => self.read_base(key, reader),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_before_a_write_is_not_read_after_it() {
        let mut base = MemoryState::default();
        for key in 0..40u8 {
            base.0.insert(vec![key], vec![key]);
        }
        let mut scratch = Scratch::short_lived(&base);
        for _ in 0..2 {
            for key in 0..50u8 {
                assert_eq!(scratch.get(&[key]), (key < 40).then(|| vec![key]));
            }
        }
        scratch.put(vec![49], vec![1]);
        scratch.put(vec![39], vec![2]);
        scratch.delete(vec![38]);
        let found = [49, 39, 38, 37].map(|key| scratch.get(&[key]));
        assert_eq!(found, [Some(vec![1]), Some(vec![2]), None, Some(vec![37])]);
        let all = scratch.range(&[37], &[60]).map(|(key, _)| key[0]).collect::<Vec<_>>();
        assert_eq!(all, [37, 39, 49]);
    }
}
