//! The matrix products of format `wasm-det-v1`: f32, in one fixed order, the same bits everywhere.
//!
//! A guest imports these products from its host ([`IMPORT_MODULE`]) instead of computing them in
//! WASM, where metering and NaN canonicalization cost the most. The host's copy and the native
//! baseline are this crate. It has no dependencies, no `unsafe`, no allocation and no state.
//!
//! # Contract (version [`VERSION`])
//! All three products *add* to `c`, which is `m` rows of `n` columns. Matrices are row-major and
//! dense. Writing `A(i,p)` and `B(p,j)` for the operands after any transposition:
//!
//! ```text
//! s = C(i,j)
//! for p in 0, 1, .., k-1:  s = round(s + round(A(i,p) * B(p,j)))
//! C(i,j) = s, or the bits 0x7fc00000 where s is NaN
//! ```
//!
//! `round` is IEEE 754 binary32, to nearest, ties to even, subnormals kept. The product and the sum
//! are rounded apart: rustc never contracts them into a fused multiply-add. The order within one
//! element is that of `p`; different elements are independent, which lets the compiler compute
//! [`TILE_COLUMNS`] columns at a time without changing a bit.
//!
//! # Price
//! [`matmul_fuel`] counts the padded tiles that are really computed. A change of the order, of the
//! NaN rule or of the price is a new version.

mod operand;
mod product;
#[cfg(test)]
mod tests;

use operand::{ByColumn, ByRow};
use product::product;

/// The version of this contract; the number in [`IMPORT_MODULE`].
pub const VERSION: u32 = 1;

/// The largest [`matmul_work`] that a host does in one call (about a second of one core), so that a
/// host can stop a guest between calls.
pub const MAX_WORK: u64 = 1 << 33;

/// The module name under which a guest imports the products.
pub const IMPORT_MODULE: &str = "muster_det_v1";

/// The bits of every NaN that a product stores.
pub const CANONICAL_NAN_BITS: u32 = 0x7fc0_0000;

/// Rows of `c` computed together. `m` is padded to a multiple of it in the price.
pub const TILE_ROWS: usize = 4;

/// Columns of `c` computed together. `n` is padded to a multiple of it in the price.
pub const TILE_COLUMNS: usize = 8;

/// The rows, columns and inner length of one product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Rows of `c`.
    pub m: usize,
    /// Terms of the sum in each element of `c`.
    pub k: usize,
    /// Columns of `c`.
    pub n: usize,
}

/// `C += A * B`: `a` is `m` by `k`, `b` is `k` by `n`, `c` is `m` by `n`.
///
/// # Panics
/// If a slice's length is not exactly that of its matrix.
pub fn matmul(a: &[f32], b: &[f32], c: &mut [f32], m: usize, k: usize, n: usize) {
    let shape = checked(a, b, c, Shape { m, k, n });
    product(ByRow::new(a, k), ByRow::new(b, n), c, shape);
}

/// `C += transpose(A) * B`: `a` is `k` by `m`, `b` is `k` by `n`, `c` is `m` by `n`.
///
/// # Panics
/// If a slice's length is not exactly that of its matrix.
pub fn matmul_tn(a: &[f32], b: &[f32], c: &mut [f32], m: usize, k: usize, n: usize) {
    let shape = checked(a, b, c, Shape { m, k, n });
    product(ByColumn::new(a, m), ByRow::new(b, n), c, shape);
}

/// `C += A * transpose(B)`: `a` is `m` by `k`, `b` is `n` by `k`, `c` is `m` by `n`.
///
/// # Panics
/// If a slice's length is not exactly that of its matrix.
pub fn matmul_nt(a: &[f32], b: &[f32], c: &mut [f32], m: usize, k: usize, n: usize) {
    let shape = checked(a, b, c, Shape { m, k, n });
    product(ByRow::new(a, k), ByColumn::new(b, k), c, shape);
}

/// The fuel that one product costs, transposed or not.
///
/// With `M` = `m` rounded up to [`TILE_ROWS`] and `N` = `n` rounded up to [`TILE_COLUMNS`]:
/// `64 + ceil(M * k * N / 4) + k * N + M * N`, saturating. One unit is about the time of one plain
/// WASM instruction; a multiplication with its addition costs a quarter of one.
#[must_use]
pub fn matmul_fuel(m: u64, k: u64, n: u64) -> u64 {
    let (rows, columns) = padded(m, n);
    let packed = k.saturating_mul(columns);
    rows.saturating_mul(packed)
        .div_ceil(4)
        .saturating_add(packed)
        .saturating_add(rows.saturating_mul(columns))
        .saturating_add(64)
}

/// Multiplications that one product really makes: `M * k * N` of [`matmul_fuel`], saturating.
#[must_use]
pub fn matmul_work(m: u64, k: u64, n: u64) -> u64 {
    let (rows, columns) = padded(m, n);
    rows.saturating_mul(k).saturating_mul(columns)
}

fn padded(m: u64, n: u64) -> (u64, u64) {
    let round_up =
        |value: u64, unit: usize| value.div_ceil(unit as u64).saturating_mul(unit as u64);
    (round_up(m, TILE_ROWS), round_up(n, TILE_COLUMNS))
}

fn checked(a: &[f32], b: &[f32], c: &[f32], shape: Shape) -> Shape {
    let Shape { m, k, n } = shape;
    assert_eq!(m.checked_mul(k), Some(a.len()), "a has not m * k elements");
    assert_eq!(k.checked_mul(n), Some(b.len()), "b has not k * n elements");
    assert_eq!(m.checked_mul(n), Some(c.len()), "c has not m * n elements");
    shape
}
