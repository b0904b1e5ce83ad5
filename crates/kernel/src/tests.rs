use super::*;

/// The contract, word for word: one element at a time.
fn reference(
    a: impl Fn(usize, usize) -> f32,
    b: impl Fn(usize, usize) -> f32,
    c: &mut [f32],
    Shape { m, k, n }: Shape,
) {
    for i in 0..m {
        for j in 0..n {
            let mut sum = c[i * n + j];
            for p in 0..k {
                let product = a(i, p) * b(p, j);
                sum += product;
            }
            c[i * n + j] = if sum.is_nan() { f32::from_bits(0x7fc0_0000) } else { sum };
        }
    }
}

/// SplitMix64, mapped to a value kind and a value.
struct Values(u64);

impl Values {
    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn ordinary(&mut self) -> f32 {
        let bits = u16::try_from(self.next_u64() >> 48).unwrap();
        f32::from(bits) / 32768.0 - 1.0
    }

    /// Any bit pattern: NaNs with payloads, infinities, subnormals.
    fn wild(&mut self) -> f32 {
        f32::from_bits(u32::try_from(self.next_u64() >> 32).unwrap())
    }

    fn matrix(&mut self, len: usize, wild: bool) -> Vec<f32> {
        (0..len)
            .map(|_| {
                if wild && self.next_u64().is_multiple_of(7) {
                    self.wild()
                } else {
                    self.ordinary()
                }
            })
            .collect()
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn compare(shape: Shape, wild: bool) {
    let Shape { m, k, n } = shape;
    let mut values = Values((m * 1_000_000 + k * 1_000 + n) as u64);
    let (a, b) = (values.matrix(m * k, wild), values.matrix(k * n, wild));
    let c = values.matrix(m * n, wild);
    type Product = fn(&[f32], &[f32], &mut [f32], usize, usize, usize);
    let cases: [(&str, Product, bool, bool); 3] = [
        ("matmul", matmul, false, false),
        ("matmul_tn", matmul_tn, true, false),
        ("matmul_nt", matmul_nt, false, true),
    ];
    for (name, run, a_transposed, b_transposed) in cases {
        let (mut got, mut expected) = (c.clone(), c.clone());
        run(&a, &b, &mut got, m, k, n);
        let at_a = |i, p| if a_transposed { a[p * m + i] } else { a[i * k + p] };
        let at_b = |p, j| if b_transposed { b[j * k + p] } else { b[p * n + j] };
        reference(at_a, at_b, &mut expected, shape);
        assert_eq!(bits(&got), bits(&expected), "{name} {shape:?} wild={wild}");
    }
}

#[test]
fn every_product_equals_the_naive_loop_bit_for_bit() {
    for m in [0, 1, 2, 3, 4, 5, 7, 8, 13] {
        for k in [0, 1, 2, 3, 64] {
            for n in [0, 1, 7, 8, 9, 10, 16, 33] {
                for wild in [false, true] {
                    compare(Shape { m, k, n }, wild);
                }
            }
        }
    }
}

#[test]
fn long_sums_keep_their_order_across_blocks() {
    for (m, k, n) in [(5, 255, 9), (4, 256, 8), (6, 257, 10), (3, 700, 17)] {
        for wild in [false, true] {
            compare(Shape { m, k, n }, wild);
        }
    }
}

#[test]
fn products_add_to_what_is_there() {
    let mut c = [10.0, 20.0];
    matmul(&[2.0], &[3.0, 4.0], &mut c, 1, 1, 2);
    assert_eq!(c, [16.0, 28.0]);
}

#[test]
fn stored_nans_have_the_canonical_bits_even_without_terms() {
    let mut c = [f32::from_bits(0xffc1_2345), f32::from_bits(0x7fa0_0001), 1.0];
    matmul(&[], &[], &mut c, 1, 0, 3);
    assert_eq!(bits(&c), [CANONICAL_NAN_BITS, CANONICAL_NAN_BITS, 1.0f32.to_bits()]);
    let mut c = [0.0];
    matmul(&[f32::INFINITY, f32::INFINITY], &[1.0, -1.0], &mut c, 1, 2, 1);
    assert_eq!(bits(&c), [CANONICAL_NAN_BITS]);
}

#[test]
fn the_price_is_that_of_the_padded_tiles() {
    for (m, k, n, fuel) in [
        (0, 0, 0, 64),
        (1, 1, 1, 64 + 8 + 8 + 32),
        (4, 1, 8, 64 + 8 + 8 + 32),
        (5, 1, 9, 64 + 32 + 16 + 128),
        (64, 64, 256, 64 + 262_144 + 16_384 + 16_384),
        (u64::MAX, u64::MAX, u64::MAX, u64::MAX),
    ] {
        assert_eq!(matmul_fuel(m, k, n), fuel, "{m} {k} {n}");
    }
    assert_eq!(matmul_work(5, 3, 9), 8 * 3 * 16);
    assert_eq!(matmul_work(u64::MAX, 1, u64::MAX), u64::MAX);
}

#[test]
#[should_panic(expected = "b has not k * n elements")]
fn a_wrong_length_panics() {
    matmul(&[1.0], &[], &mut [0.0], 1, 1, 1);
}
