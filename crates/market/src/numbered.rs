//! Values under numbers that are used again.

/// Values, each under the number that it was given.
#[derive(Clone, Debug)]
pub(crate) struct Numbered<T> {
    items: Vec<Option<T>>,
    unused: Vec<u32>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self { items: Vec::new(), unused: Vec::new() }
    }
}

impl<T> Numbered<T> {
    pub(crate) fn add(&mut self, item: T) -> u32 {
        if let Some(number) = self.unused.pop()
            && let Some(place) = self.items.get_mut(number as usize)
        {
            *place = Some(item);
            return number;
        }
        self.items.push(Some(item));
        u32::try_from(self.items.len().saturating_sub(1)).unwrap_or(u32::MAX)
    }

    #[inline]
    pub(crate) fn get(&self, number: u32) -> Option<&T> {
        self.items.get(number as usize)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.items.get_mut(number as usize)?.as_mut()
    }

    pub(crate) fn take(&mut self, number: u32) -> Option<T> {
        let item = self.items.get_mut(number as usize)?.take();
        if item.is_some() {
            self.unused.push(number);
        }
        item
    }

    /// The numbers in use.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u32> {
        let numbered = self.items.iter().zip(0u32..);
        numbered.filter(|(item, _)| item.is_some()).map(|(_, number)| number)
    }
}
