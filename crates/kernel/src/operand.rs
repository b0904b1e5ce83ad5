//! How an operand is walked: the same matrix by rows, or by columns when it is transposed.

use crate::{TILE_COLUMNS, product::Row};
use std::{array, ops::Range};

/// `A`, read as `R` neighbouring rows at one `p`.
pub(crate) trait Left: Copy {
    /// A reader of `A(first_row .. first_row + R, terms.start + p)` for `p` below the length of
    /// `terms`.
    fn rows<const R: usize>(
        self,
        first_row: usize,
        terms: Range<usize>,
    ) -> impl Fn(usize) -> [f32; R];
}

/// `B`, copied into panels of [`TILE_COLUMNS`] columns.
pub(crate) trait Right: Copy {
    /// Fills `panel[p]` with `B(first_term + p, columns)`; lanes beyond `columns` are left alone.
    fn pack(self, panel: &mut [Row], first_term: usize, columns: Range<usize>);
}

/// A dense matrix whose rows lie in memory as the product reads them.
#[derive(Clone, Copy)]
pub(crate) struct ByRow<'a> {
    elements: &'a [f32],
    width: usize,
}

impl<'a> ByRow<'a> {
    pub(crate) const fn new(elements: &'a [f32], width: usize) -> Self {
        Self { elements, width }
    }
}

impl Left for ByRow<'_> {
    #[inline(always)]
    fn rows<const R: usize>(
        self,
        first_row: usize,
        terms: Range<usize>,
    ) -> impl Fn(usize) -> [f32; R] {
        let rows: [&[f32]; R] = array::from_fn(|row| {
            let start = (first_row + row) * self.width;
            &self.elements[start + terms.start..start + terms.end]
        });
        move |p| array::from_fn(|row| rows[row][p])
    }
}

impl Right for ByRow<'_> {
    #[inline(always)]
    fn pack(self, panel: &mut [Row], first_term: usize, columns: Range<usize>) {
        let rows = self.elements.chunks_exact(self.width).skip(first_term);
        if columns.len() == TILE_COLUMNS {
            for (to, from) in panel.iter_mut().zip(rows) {
                to.copy_from_slice(&from[columns.clone()]);
            }
        } else {
            for (to, from) in panel.iter_mut().zip(rows) {
                to[..columns.len()].copy_from_slice(&from[columns.clone()]);
            }
        }
    }
}

/// A dense matrix stored as the transpose of what the product reads.
#[derive(Clone, Copy)]
pub(crate) struct ByColumn<'a> {
    elements: &'a [f32],
    width: usize,
}

impl<'a> ByColumn<'a> {
    pub(crate) const fn new(elements: &'a [f32], width: usize) -> Self {
        Self { elements, width }
    }
}

impl Left for ByColumn<'_> {
    #[inline(always)]
    fn rows<const R: usize>(
        self,
        first_row: usize,
        terms: Range<usize>,
    ) -> impl Fn(usize) -> [f32; R] {
        let stored = &self.elements[terms.start * self.width..terms.end * self.width];
        move |p| {
            let row = &stored[p * self.width + first_row..][..R];
            array::from_fn(|index| row[index])
        }
    }
}

impl Right for ByColumn<'_> {
    #[inline(always)]
    fn pack(self, panel: &mut [Row], first_term: usize, columns: Range<usize>) {
        for (lane, column) in columns.enumerate() {
            let from = &self.elements[column * self.width + first_term..][..panel.len()];
            for (to, value) in panel.iter_mut().zip(from) {
                to[lane] = *value;
            }
        }
    }
}
