//! Values that many hosts share: each is kept once, under a number.

use std::{borrow::Borrow, collections::BTreeMap};

/// Numbered values with the count of their users.
#[derive(Clone, Debug)]
pub(crate) struct Shared<T> {
    numbers: BTreeMap<T, u32>,
    /// By number: the value and how many use it. One without users is stale.
    values: Vec<(T, u32)>,
    unused: Vec<u32>,
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self { numbers: BTreeMap::new(), values: Vec::new(), unused: Vec::new() }
    }
}

impl<T: Ord + Clone> Shared<T> {
    /// The number of a value, for one more user.
    pub(crate) fn keep(&mut self, value: &T) -> u32 {
        if let Some(&number) = self.numbers.get(value) {
            if let Some((_, users)) = super::at_mut(&mut self.values, number) {
                *users = users.saturating_add(1);
            }
            return number;
        }
        let entry = (value.clone(), 1);
        let number = match self.unused.pop() {
            Some(number) => {
                if let Some(place) = super::at_mut(&mut self.values, number) {
                    *place = entry;
                }
                number
            }
            None => {
                self.values.push(entry);
                u32::try_from(self.values.len().saturating_sub(1)).unwrap_or(super::NONE)
            }
        };
        self.numbers.insert(value.clone(), number);
        number
    }

    /// One user less.
    pub(crate) fn drop(&mut self, number: u32) {
        let Some((value, users)) = super::at_mut(&mut self.values, number) else { return };
        *users = users.saturating_sub(1);
        if *users == 0 {
            self.numbers.remove(value);
            self.unused.push(number);
        }
    }

    /// The number of a value in use.
    pub(crate) fn number<Q: Ord + ?Sized>(&self, value: &Q) -> Option<u32>
    where
        T: Borrow<Q>,
    {
        self.numbers.get(value).copied()
    }

    #[inline]
    pub(crate) fn get(&self, number: u32) -> Option<&T> {
        super::at(&self.values, number).map(|(value, _)| value)
    }

    /// How many numbers there are, stale ones included.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// Something of every value, by number; of stale ones too.
    pub(crate) fn map<U>(&self, of: impl Fn(&T) -> U) -> Vec<U> {
        self.values.iter().map(|(value, _)| of(value)).collect()
    }

    /// The values in use with their numbers, in the order of the values.
    pub(crate) fn sorted(&self) -> impl Iterator<Item = (&T, u32)> {
        self.numbers.iter().map(|(value, number)| (value, *number))
    }
}
