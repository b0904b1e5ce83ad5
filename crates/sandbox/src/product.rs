//! The matrix products that a guest imports from its host.
//!
//! `name(a, b, c: pointer, m, k, n: u32)` with the matrices of the function of `muster-kernel` that
//! has the same name. Pointers are multiples of 4; `a`, `b` and `c` lie inside memory and share no
//! byte; the work is at most [`muster_kernel::MAX_WORK`]. Anything else ends the guest.

use crate::guest::{Cell, Fault, Guest, Halt, host_call};
use muster_kernel::{
    IMPORT_MODULE, MAX_WORK, matmul, matmul_fuel, matmul_nt, matmul_tn, matmul_work,
};
use std::ops::Range;
use wasmtime::{Caller, Linker};

#[cfg(target_endian = "big")]
compile_error!("matrix products read the guest's little-endian memory in place");

type Product = fn(&[f32], &[f32], &mut [f32], usize, usize, usize);

/// Names offered under [`IMPORT_MODULE`].
const PRODUCTS: [(&str, Product); 3] =
    [("matmul_f32", matmul), ("matmul_nt_f32", matmul_nt), ("matmul_tn_f32", matmul_tn)];

/// Adds the products to what a module may import.
pub(crate) fn add_to(linker: &mut Linker<Cell>) -> wasmtime::Result<()> {
    for (name, product) in PRODUCTS {
        linker.func_wrap(
            IMPORT_MODULE,
            name,
            move |mut caller: Caller<'_, Cell>, a: u32, b: u32, c: u32, m: u32, k: u32, n: u32| {
                host_call(&mut caller, |guest| multiply(guest, product, [a, b, c], [m, k, n]))
                    .map(|_| ())
            },
        )?;
    }
    Ok(())
}

fn multiply(
    guest: &mut Guest<'_>,
    product: Product,
    [a, b, c]: [u32; 3],
    [m, k, n]: [u32; 3],
) -> Result<(), Fault> {
    let (rows, terms, columns) = (u64::from(m), u64::from(k), u64::from(n));
    if matmul_work(rows, terms, columns) > MAX_WORK {
        return Err(Halt::BadProduct.into());
    }
    guest.pay(matmul_fuel(rows, terms, columns))?;
    if m == 0 || n == 0 {
        return Ok(());
    }
    let ranges = [matrix(a, m, k)?, matrix(b, k, n)?, matrix(c, m, n)?];
    let [m, k, n] = [m as usize, k as usize, n as usize];
    if k == 0 {
        let [_, _, c] = ranges;
        let c = guest.memory.get_mut(c).ok_or(Halt::BadPointer)?;
        product(&[], &[], floats(c)?, m, k, n);
        return Ok(());
    }
    if ranges.iter().any(|range| range.end > guest.memory.len()) {
        return Err(Halt::BadPointer.into());
    }
    let [a, b, c] =
        guest.memory.get_disjoint_mut(ranges).map_err(|_| Fault::from(Halt::BadProduct))?;
    product(floats(a)?, floats(b)?, floats(c)?, m, k, n);
    Ok(())
}

/// The bytes of a matrix of `rows` by `columns` at `pointer`.
fn matrix(pointer: u32, rows: u32, columns: u32) -> Result<Range<usize>, Halt> {
    let bytes = u64::from(rows) * u64::from(columns);
    let start = u64::from(pointer);
    let end = bytes.checked_mul(4).and_then(|bytes| bytes.checked_add(start));
    let end = end.ok_or(Halt::BadPointer)?;
    let index = |at: u64| usize::try_from(at).map_err(|_| Halt::BadPointer);
    Ok(index(start)?..index(end)?)
}

/// Bytes of the guest, seen as f32.
#[allow(unsafe_code, reason = "the one place that reads guest memory as numbers without a copy")]
fn floats(bytes: &mut [u8]) -> Result<&mut [f32], Halt> {
    // SAFETY: every bit pattern is a valid f32 and a valid u8, and `align_to_mut` returns only
    // whole, aligned f32 in the middle part.
    let (before, floats, after) = unsafe { bytes.align_to_mut::<f32>() };
    // Memory starts on a page, so that this refuses exactly the pointers not multiples of 4.
    if before.is_empty() && after.is_empty() { Ok(floats) } else { Err(Halt::BadProduct) }
}
