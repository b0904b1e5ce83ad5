//! Matrix products through the import.

use crate::helpers::{run, run_alone};
use muster_sandbox::{Limits, RunError, Task, TrapKind};

/// A command that reads stdin to 1024, multiplies as told, and writes `c`.
fn text(product: &str, pointers: [u32; 3], [m, k, n]: [u32; 3], stdin: usize) -> String {
    let [a, b, c] = pointers;
    let output = u64::from(m.wrapping_mul(n) % (1 << 14)) * 4;
    format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
            (import "muster_det_v1" "{product}" (func $product (param i32 i32 i32 i32 i32 i32)))
            (memory (export "memory") 4)
            (func (export "_start")
                (i32.store (i32.const 0) (i32.const 1024))
                (i32.store (i32.const 4) (i32.const {stdin}))
                (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
                (call $product (i32.const {a}) (i32.const {b}) (i32.const {c})
                    (i32.const {m}) (i32.const {k}) (i32.const {n}))
                (i32.store (i32.const 0) (i32.const {c}))
                (i32.store (i32.const 4) (i32.const {output}))
                (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#
    )
}

#[test]
fn a_product_through_the_import_is_the_kernels_bit_for_bit() {
    type Product = fn(&[f32], &[f32], &mut [f32], usize, usize, usize);
    let products: [(&str, Product); 3] = [
        ("matmul_f32", muster_kernel::matmul),
        ("matmul_tn_f32", muster_kernel::matmul_tn),
        ("matmul_nt_f32", muster_kernel::matmul_nt),
    ];
    for (name, product) in products {
        for [m, k, n] in [[5usize, 7, 9], [1, 300, 1], [4, 8, 16], [3, 0, 2], [0, 4, 4]] {
            let count = m * k + k * n + m * n;
            let mut values: Vec<f32> =
                (0..count).map(|index| (index as f32 * 0.37).sin() * 1e3).collect();
            values.iter_mut().step_by(11).for_each(|value| *value = f32::from_bits(0xffc0_1234));
            let stdin: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let at = |index: usize| u32::try_from(1024 + 4 * index).unwrap();
            let pointers = [at(0), at(m * k), at(m * k + k * n)];
            let shape = [m, k, n].map(|size| u32::try_from(size).unwrap());
            let text = text(name, pointers, shape, stdin.len());
            let task = Task { stdin, ..Task::default() };
            let outcome = run(&text, task, &Limits::default()).unwrap();
            let (operands, c) = values.split_at_mut(m * k + k * n);
            product(&operands[..m * k], &operands[m * k..], c, m, k, n);
            let expected: Vec<u8> = c.iter().flat_map(|value| value.to_le_bytes()).collect();
            assert_eq!(outcome.output, expected, "{name} {m} {k} {n}");
        }
    }
}

#[test]
fn a_product_costs_its_price() {
    let fuel =
        |shape| run_alone(&text("matmul_f32", [1024, 4096, 8192], shape, 0)).unwrap().fuel_used;
    let price = |[m, k, n]: [u32; 3]| muster_kernel::matmul_fuel(m.into(), k.into(), n.into());
    // Both write as many bytes, so that only the product differs.
    let (small, large) = ([8, 1, 8], [8, 9, 8]);
    assert_eq!(fuel(large) - fuel(small), price(large) - price(small));
}

#[test]
fn malformed_products_end_the_guest() {
    use TrapKind::{BadProduct, HostPointer};
    let far = 4 * 65_536;
    for (what, pointers, shape, kind) in [
        ("a misaligned", [1025, 4096, 8192], [2, 2, 2], BadProduct),
        ("c misaligned", [1024, 4096, 8194], [2, 2, 2], BadProduct),
        ("c over a", [1024, 4096, 1024], [2, 2, 2], BadProduct),
        ("c over the end of b", [1024, 4096, 4108], [2, 2, 2], BadProduct),
        ("a over b", [1024, 1024, 8192], [2, 2, 2], BadProduct),
        ("a beyond memory", [far, 4096, 8192], [2, 2, 2], HostPointer),
        ("b across the end", [1024, far - 4, 8192], [2, 2, 2], HostPointer),
        ("c at the end of the address space", [1024, 4096, u32::MAX - 3], [2, 2, 2], HostPointer),
        ("c alone, beyond memory", [0, 0, far], [1, 0, 1], HostPointer),
        ("larger than memory", [0, 0, 0], [1, 1 << 20, 1], HostPointer),
        ("more work than one call may do", [0, 0, 0], [1 << 12, 1 << 12, 1 << 12], BadProduct),
        ("more work than a u64 counts", [0, 0, 0], [u32::MAX; 3], BadProduct),
    ] {
        let error = run_alone(&text("matmul_f32", pointers, shape, 0)).unwrap_err();
        assert_eq!(error, RunError::Trap { kind, stderr: String::new() }, "{what}");
    }
}

#[test]
fn a_product_that_the_fuel_does_not_pay_for_is_not_computed() {
    let text = text("matmul_f32", [1024, 4096, 8192], [16, 16, 16], 0);
    let limits = Limits { fuel: 1_500, ..Limits::default() };
    let error = run(&text, Task::default(), &limits).unwrap_err();
    assert_eq!(error, RunError::OutOfFuel { limit: 1_500 });
}
