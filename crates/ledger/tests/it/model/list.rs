//! Lists of records.

use std::rc::Rc;

/// A list that is searched from end to end. A copy of it shares its records until one of them
/// changes, so that to throw one away costs little.
#[derive(Clone, Debug)]
pub(crate) struct List<T>(Rc<Vec<Rc<T>>>);

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Rc::default())
    }
}

impl<T: Clone> List<T> {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|record| &**record)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn find(&self, is: impl Fn(&T) -> bool) -> Option<&T> {
        self.iter().find(|record| is(record))
    }

    pub(crate) fn find_mut(&mut self, is: impl Fn(&T) -> bool) -> Option<&mut T> {
        let place = self.iter().position(is)?;
        Rc::make_mut(&mut self.0).get_mut(place).map(Rc::make_mut)
    }

    pub(crate) fn push(&mut self, record: T) {
        Rc::make_mut(&mut self.0).push(Rc::new(record));
    }

    /// Takes out the records that are so.
    pub(crate) fn remove(&mut self, is: impl Fn(&T) -> bool) {
        if self.iter().any(&is) {
            Rc::make_mut(&mut self.0).retain(|record| !is(record));
        }
    }
}
