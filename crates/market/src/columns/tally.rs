//! What constraints were seen to exclude, gathered row by row.

/// A set of numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks(Vec<u64>);

impl Marks {
    pub(super) fn of(size: usize) -> Self {
        Self(vec![0; size.div_ceil(64)])
    }

    #[inline]
    pub(super) fn set(&mut self, number: u32) {
        if let Some(word) = self.0.get_mut((number >> 6) as usize) {
            *word |= 1 << (number & 63);
        }
    }

    #[inline]
    pub(super) fn has(&self, number: u32) -> bool {
        self.0.get((number >> 6) as usize).is_some_and(|word| word >> (number & 63) & 1 == 1)
    }

    fn join(&mut self, other: &Self) {
        for (word, more) in self.0.iter_mut().zip(&other.0) {
            *word |= more;
        }
    }
}

/// What lets a host pass a constraint: a number, or one of the shared values.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cure {
    /// Nothing.
    None,
    /// The greater the easier.
    Number(u128),
    /// The value with this number.
    Shared(u32),
}

/// The best of what was seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Best {
    pub(super) number: Option<u128>,
    pub(super) marks: Marks,
}

impl Best {
    #[inline]
    fn take(&mut self, cure: Cure) {
        match cure {
            Cure::None => {}
            Cure::Number(number) => self.number = self.number.max(Some(number)),
            Cure::Shared(number) => self.marks.set(number),
        }
    }
}

/// What one constraint excludes.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) alone: u64,
    pub(super) total: u64,
    best_alone: Best,
    best_any: Best,
}

impl Tally {
    /// For values with numbers below `size`.
    pub(super) fn of(size: usize) -> Self {
        let best = || Best { number: None, marks: Marks::of(size) };
        Self { alone: 0, total: 0, best_alone: best(), best_any: best() }
    }

    #[inline]
    pub(super) fn count(&mut self, alone: bool, cure: Cure) {
        self.total = self.total.saturating_add(1);
        if alone {
            self.alone = self.alone.saturating_add(1);
            self.best_alone.take(cure);
        }
        self.best_any.take(cure);
    }

    /// Adds what was seen in other rows.
    pub(super) fn join(&mut self, other: &Self) {
        self.alone = self.alone.saturating_add(other.alone);
        self.total = self.total.saturating_add(other.total);
        for (mine, more) in
            [(&mut self.best_alone, &other.best_alone), (&mut self.best_any, &other.best_any)]
        {
            mine.number = mine.number.max(more.number);
            mine.marks.join(&more.marks);
        }
    }

    /// What the advice is made from: hosts that fail nothing else, where there are any.
    pub(super) fn best(&self) -> &Best {
        if self.alone > 0 { &self.best_alone } else { &self.best_any }
    }
}
