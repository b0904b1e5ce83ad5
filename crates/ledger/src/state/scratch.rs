//! What a block writes, over the state before it.
//!
//! A rule reads and writes the same few records again and again, and a block the same few thousand.
//! So a [`Scratch`] lasts for a whole block and keeps every record that was read or written as it
//! is in memory: it is decoded at most once, and encoded once, when the block ends. A transaction
//! that is refused is undone out of a log of what it overwrote, so that one that applies, which is
//! nearly every one, costs next to nothing for having been able to fail.

use super::{Changes, State, key::StateKey};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_types::codec;
use std::{
    any::Any, cell::RefCell, cmp::Ordering, collections::BTreeMap, iter::Peekable, ops::Bound,
    rc::Rc,
};

/// Changes over a base: reads see the changes first.
pub struct Scratch<'a> {
    base: &'a dyn State,
    /// Reading fills in what is known of the base.
    slots: RefCell<Slots>,
}

/// Where an attempt began, to undo it.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub(crate) struct Mark(usize);

/// What a record must be to be kept as it is.
pub(crate) trait Stored: BorshSerialize + BorshDeserialize + 'static {}

impl<V: BorshSerialize + BorshDeserialize + 'static> Stored for V {}

/// A record of whatever type, which can be encoded.
trait AnyRecord: Any {
    fn append(&self, out: &mut Vec<u8>);
}

impl<V: Stored> AnyRecord for V {
    fn append(&self, out: &mut Vec<u8>) {
        codec::append(out, self);
    }
}

#[derive(Default)]
enum Value {
    /// What the base has.
    #[default]
    Base,
    Absent,
    Bytes(Vec<u8>),
    Record(Rc<dyn AnyRecord>),
}

impl Value {
    /// Calls `reader` with the value's bytes; false where the base has to be asked.
    fn read(&self, reader: &mut dyn FnMut(Option<&[u8]>)) -> bool {
        match self {
            Self::Base => return false,
            Self::Absent => reader(None),
            Self::Bytes(bytes) => reader(Some(bytes)),
            Self::Record(record) => {
                let mut bytes = Vec::with_capacity(512);
                record.append(&mut bytes);
                reader(Some(&bytes));
            }
        }
        true
    }
}

#[derive(Default)]
struct Slot {
    value: Value,
    /// Whether it was written, or is only known.
    changed: bool,
}

/// All that was read or written.
#[derive(Default)]
pub(crate) struct Slots {
    /// Where the slot of a key is.
    places: BTreeMap<StateKey, usize>,
    slots: Vec<Slot>,
    /// What the attempts under way overwrote: the slot, its value, whether that was changed.
    log: Vec<(usize, Value, bool)>,
    /// How many attempts are under way, one inside the other.
    attempts: usize,
}

impl Slots {
    fn place(&self, key: &[u8]) -> Option<usize> {
        self.places.get(&key.into()).copied()
    }

    fn value(&self, key: &[u8]) -> &Value {
        let slot = self.place(key).and_then(|place| self.slots.get(place));
        slot.map_or(&Value::Base, |slot| &slot.value)
    }

    fn set(&mut self, key: Vec<u8>, value: Value) {
        let slots = &mut self.slots;
        let place = *self.places.entry(key.into()).or_insert_with(|| {
            slots.push(Slot::default());
            slots.len().saturating_sub(1)
        });
        let Some(slot) = self.slots.get_mut(place) else { return };
        let old = std::mem::replace(&mut slot.value, value);
        let changed = std::mem::replace(&mut slot.changed, true);
        if self.attempts > 0 {
            self.log.push((place, old, changed));
        }
    }

    /// The first thing written with a key in these bounds, what was undone left out.
    fn first(&self, start: Bound<&StateKey>, end: &StateKey) -> Option<(&StateKey, &Value)> {
        self.places.range::<StateKey, _>((start, Bound::Excluded(end))).find_map(|(key, place)| {
            let slot = self.slots.get(*place)?;
            slot.changed.then_some((key, &slot.value))
        })
    }
}

impl<'a> Scratch<'a> {
    /// No changes yet over `base`.
    #[must_use]
    pub fn new(base: &'a dyn State) -> Self {
        Self { base, slots: RefCell::default() }
    }

    /// What another one over the same base held.
    pub(crate) fn with(base: &'a dyn State, slots: Slots) -> Self {
        Self { base, slots: RefCell::new(slots) }
    }

    /// What it holds, for another one over the same base.
    pub(crate) fn into_slots(self) -> Slots {
        self.slots.into_inner()
    }

    /// Writes a key.
    pub fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.slots.get_mut().set(key, Value::Bytes(value));
    }

    /// Deletes a key.
    pub fn delete(&mut self, key: Vec<u8>) {
        self.slots.get_mut().set(key, Value::Absent);
    }

    /// Writes a record.
    pub(crate) fn put_record<V: Stored>(&mut self, key: Vec<u8>, record: V) {
        self.slots.get_mut().set(key, Value::Record(Rc::new(record)));
    }

    /// The record at `key`; `decode` makes it of its bytes.
    pub(crate) fn record<V: Stored>(
        &self,
        key: &[u8],
        decode: impl Fn(&[u8]) -> V,
    ) -> Option<Rc<V>> {
        let slots = &mut *self.slots.borrow_mut();
        let place = *slots.places.entry(key.into()).or_insert_with(|| {
            slots.slots.push(Slot::default());
            slots.slots.len().saturating_sub(1)
        });
        let slot = slots.slots.get_mut(place)?;
        if let Value::Record(record) = &slot.value {
            let record: Rc<dyn Any> = record.clone();
            if let Ok(record) = record.downcast() {
                return Some(record);
            }
        }
        let mut found = None;
        let mut reader = |bytes: Option<&[u8]>| found = bytes.map(|bytes| Rc::new(decode(bytes)));
        if !slot.value.read(&mut reader) {
            self.base.read(key, &mut reader);
        }
        slot.value = found.clone().map_or(Value::Absent, |record| Value::Record(record));
        found
    }

    /// Whether a key was written, or deleted.
    pub(crate) fn has_written(&self, key: &[u8]) -> bool {
        let slots = self.slots.borrow();
        let slot = slots.place(key).and_then(|place| slots.slots.get(place));
        slot.is_some_and(|slot| slot.changed)
    }

    /// Begins something that can be undone. Ends with [`Scratch::undo`] or [`Scratch::keep`]; what
    /// began inside of it ends before.
    pub(crate) fn mark(&mut self) -> Mark {
        let slots = self.slots.get_mut();
        slots.attempts = slots.attempts.saturating_add(1);
        Mark(slots.log.len())
    }

    /// Takes back everything that was written since the mark.
    pub(crate) fn undo(&mut self, mark: Mark) {
        let slots = self.slots.get_mut();
        for (place, value, changed) in slots.log.drain(mark.0..).rev() {
            if let Some(slot) = slots.slots.get_mut(place) {
                (slot.value, slot.changed) = (value, changed);
            }
        }
        slots.attempts = slots.attempts.saturating_sub(1);
    }

    /// Leaves what was written since the mark to whatever it began inside of.
    pub(crate) fn keep(&mut self, _: Mark) {
        let slots = self.slots.get_mut();
        slots.attempts = slots.attempts.saturating_sub(1);
        if slots.attempts == 0 {
            slots.log.clear();
        }
    }

    /// What was written.
    #[must_use]
    pub fn into_changes(self) -> Changes {
        let Slots { places, mut slots, .. } = self.into_slots();
        let mut changes = Vec::with_capacity(places.len());
        let mut buffer = Vec::new();
        for (key, place) in places {
            let Some(slot) = slots.get_mut(place).filter(|slot| slot.changed) else { continue };
            let value = match std::mem::take(&mut slot.value) {
                Value::Base | Value::Absent => None,
                Value::Bytes(bytes) => Some(bytes),
                // By way of a buffer, so that no more is held on to than is needed.
                Value::Record(record) => {
                    buffer.clear();
                    record.append(&mut buffer);
                    Some(buffer.clone())
                }
            };
            changes.push((key.into_bytes(), value));
        }
        Changes(changes.into_iter().collect())
    }
}

impl State for Scratch<'_> {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let mut value = None;
        self.read(key, &mut |found| value = found.map(<[u8]>::to_vec));
        value
    }

    fn read(&self, key: &[u8], reader: &mut dyn FnMut(Option<&[u8]>)) {
        if !self.slots.borrow().value(key).read(reader) {
            self.base.read(key, reader);
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
        let (from, end_key) = (start.into(), end.into());
        let over = Written { slots: &self.slots, from, given: false, end: end_key };
        Box::new(Merged { over: over.peekable(), base: self.base.range(start, end).peekable() })
    }
}

/// What was written, in order. It looks for the next entry anew each time, so that what is only
/// read can be noted meanwhile.
struct Written<'a> {
    slots: &'a RefCell<Slots>,
    /// The last one that it gave, or where it begins.
    from: StateKey,
    /// Whether it gave that one.
    given: bool,
    end: StateKey,
}

impl Iterator for Written<'_> {
    type Item = (StateKey, Option<Vec<u8>>);

    fn next(&mut self) -> Option<Self::Item> {
        let slots = self.slots.borrow();
        let from = if self.given { Bound::Excluded } else { Bound::Included }(&self.from);
        let (key, value) = slots.first(from, &self.end)?;
        let mut bytes = None;
        value.read(&mut |value| bytes = value.map(<[u8]>::to_vec));
        (self.from, self.given) = (key.clone(), true);
        Some((key.clone(), bytes))
    }
}

/// Two ordered sequences in one; the upper one wins, its deletions hide.
struct Merged<'a, B: Iterator<Item = (Vec<u8>, Vec<u8>)>> {
    over: Peekable<Written<'a>>,
    base: Peekable<B>,
}

impl<B: Iterator<Item = (Vec<u8>, Vec<u8>)>> Iterator for Merged<'_, B> {
    type Item = (Vec<u8>, Vec<u8>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let over_first = match (self.over.peek(), self.base.peek()) {
                (None, _) => return self.base.next(),
                (Some(_), None) => true,
                (Some((over, _)), Some((base, _))) => match base.as_slice().cmp(over.bytes()) {
                    Ordering::Less => false,
                    Ordering::Equal => {
                        self.base.next();
                        true
                    }
                    Ordering::Greater => true,
                },
            };
            if !over_first {
                return self.base.next();
            }
            if let Some((key, Some(value))) = self.over.next() {
                return Some((key.into_bytes(), value));
            }
        }
    }
}

#[cfg(test)]
mod tests;
