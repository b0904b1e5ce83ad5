//! Matrix products of format `wasm-det-v1`, computed by the host.
//!
//! In a guest these are imports; built natively they are the host's own code. Contract and price
//! are those of the crate `muster-kernel`.

macro_rules! product {
    ($(#[$doc:meta])* $name:ident, $import:ident) => {
        $(#[$doc])*
        ///
        /// # Panics
        /// If a slice's length is not exactly that of its matrix.
        #[cfg_attr(
            target_family = "wasm",
            allow(unsafe_code, reason = "calls an import; the lengths are checked before")
        )]
        pub fn $name(a: &[f32], b: &[f32], c: &mut [f32], m: usize, k: usize, n: usize) {
            #[cfg(not(target_family = "wasm"))]
            muster_kernel::$name(a, b, c, m, k, n);
            #[cfg(target_family = "wasm")]
            {
                assert_eq!(m.checked_mul(k), Some(a.len()), "a has not m * k elements");
                assert_eq!(k.checked_mul(n), Some(b.len()), "b has not k * n elements");
                assert_eq!(m.checked_mul(n), Some(c.len()), "c has not m * n elements");
                // SAFETY: the host reads m * k floats at `a` and k * n at `b` and writes m * n at
                // `c`, which are these slices whole. It keeps no pointer after it returns.
                unsafe { host::$import(a.as_ptr(), b.as_ptr(), c.as_mut_ptr(), m, k, n) }
            }
        }
    };
}

product!(
    /// `C += A * B`: `a` is `m` by `k`, `b` is `k` by `n`, `c` is `m` by `n`, all row-major.
    matmul, matmul_f32
);
product!(
    /// `C += transpose(A) * B`: `a` is `k` by `m`, `b` is `k` by `n`, `c` is `m` by `n`.
    matmul_tn, matmul_tn_f32
);
product!(
    /// `C += A * transpose(B)`: `a` is `m` by `k`, `b` is `n` by `k`, `c` is `m` by `n`.
    matmul_nt, matmul_nt_f32
);

#[cfg(target_family = "wasm")]
mod host {
    #[link(wasm_import_module = "muster_det_v1")]
    #[allow(unsafe_code, reason = "an import is foreign code")]
    unsafe extern "C" {
        pub(super) fn matmul_f32(
            a: *const f32,
            b: *const f32,
            c: *mut f32,
            m: usize,
            k: usize,
            n: usize,
        );
        pub(super) fn matmul_tn_f32(
            a: *const f32,
            b: *const f32,
            c: *mut f32,
            m: usize,
            k: usize,
            n: usize,
        );
        pub(super) fn matmul_nt_f32(
            a: *const f32,
            b: *const f32,
            c: *mut f32,
            m: usize,
            k: usize,
            n: usize,
        );
    }
}
