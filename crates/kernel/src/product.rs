//! The loop nest that all products share.

use crate::{
    CANONICAL_NAN_BITS, Shape, TILE_COLUMNS, TILE_ROWS,
    operand::{Left, Right},
};

/// One row of a tile.
pub(crate) type Row = [f32; TILE_COLUMNS];

/// Terms summed between two stores of a tile. Storing and loading an f32 does not round, so it
/// changes no bit; it keeps the packed panel (8 KiB) in the first-level cache.
const TERMS: usize = 256;

/// `c += left * right`, lengths already checked.
pub(crate) fn product(left: impl Left, right: impl Right, c: &mut [f32], shape: Shape) {
    let Shape { m, k, n } = shape;
    if k == 0 {
        c.iter_mut().for_each(|element| *element = canonical(*element));
        return;
    }
    let mut panel = [[0.0; TILE_COLUMNS]; TERMS];
    for first_column in (0..n).step_by(TILE_COLUMNS) {
        let columns = first_column..n.min(first_column + TILE_COLUMNS);
        for first_term in (0..k).step_by(TERMS) {
            let terms = first_term..k.min(first_term + TERMS);
            let panel = &mut panel[..terms.len()];
            right.pack(panel, first_term, columns.clone());
            let mut row = 0;
            while row + TILE_ROWS <= m {
                let at = (row, first_column, columns.len());
                tile::<TILE_ROWS>(c, n, at, panel, left.rows(row, terms.clone()));
                row += TILE_ROWS;
            }
            if row + 2 <= m {
                let at = (row, first_column, columns.len());
                tile::<2>(c, n, at, panel, left.rows(row, terms.clone()));
                row += 2;
            }
            if row < m {
                let at = (row, first_column, columns.len());
                tile::<1>(c, n, at, panel, left.rows(row, terms));
            }
        }
    }
}

/// Adds one panel's terms to `R` rows of `c` from `(row, column)` on, `width` columns of them.
/// Lanes beyond `width` compute on whatever the panel holds there and are dropped.
#[inline(always)]
fn tile<const R: usize>(
    c: &mut [f32],
    n: usize,
    (row, column, width): (usize, usize, usize),
    panel: &[Row],
    left: impl Fn(usize) -> [f32; R],
) {
    let mut sums = [[0.0; TILE_COLUMNS]; R];
    for (index, sum) in sums.iter_mut().enumerate() {
        let start = (row + index) * n + column;
        if width == TILE_COLUMNS {
            sum.copy_from_slice(&c[start..start + TILE_COLUMNS]);
        } else {
            sum[..width].copy_from_slice(&c[start..start + width]);
        }
    }
    for (p, right) in panel.iter().enumerate() {
        let left = left(p);
        for index in 0..R {
            for lane in 0..TILE_COLUMNS {
                sums[index][lane] += left[index] * right[lane];
            }
        }
    }
    for (index, sum) in sums.iter_mut().enumerate() {
        let start = (row + index) * n + column;
        sum.iter_mut().for_each(|element| *element = canonical(*element));
        if width == TILE_COLUMNS {
            c[start..start + TILE_COLUMNS].copy_from_slice(sum);
        } else {
            c[start..start + width].copy_from_slice(&sum[..width]);
        }
    }
}

#[inline(always)]
fn canonical(value: f32) -> f32 {
    if value.is_nan() { f32::from_bits(CANONICAL_NAN_BITS) } else { value }
}
