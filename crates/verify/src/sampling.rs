//! Which tasks are checked again.
//!
//! Each task is drawn on its own, from a hash over a seed, the job and the task's index. Whoever
//! does not know the seed before the results are committed cannot do the sampled tasks only; who
//! knows it can check the draw of any task alone.

use muster_types::{Hash, JobId};

/// All tasks: 100 per cent, in hundredths of a per cent.
pub const BPS: u32 = 10_000;

const DRAW: &str = "muster sample draw v1";

/// Whether task `index` of `job` is sampled at `rate_bps` hundredths of a per cent; from
/// [`BPS`] on, every task is.
///
/// The draw is [`falls_below`] of a hash over the three.
#[must_use]
pub fn is_sampled(seed: &Hash, job: &JobId, index: u64, rate_bps: u32) -> bool {
    falls_below(&Hash::of(DRAW, &[seed.as_bytes(), job.as_bytes(), &index.to_le_bytes()]), rate_bps)
}

/// Whether the fraction of 2^64 that the first 8 bytes of `hash` are, little-endian, is below
/// `rate_bps` hundredths of a per cent: exactly, and so for all hashes from [`BPS`] on.
#[must_use]
pub fn falls_below(hash: &Hash, rate_bps: u32) -> bool {
    let Some(first) = hash.as_bytes().first_chunk() else { return false };
    let draw = u128::from(u64::from_le_bytes(*first));
    // Below 2^64 x 10^4 on both sides: neither product saturates.
    draw.saturating_mul(u128::from(BPS)) < u128::from(rate_bps) << 64
}

/// The indices below `tasks` that are sampled, rising. Takes a hash a task.
#[must_use]
pub fn sample(seed: &Hash, job: &JobId, tasks: u64, rate_bps: u32) -> Vec<u64> {
    if rate_bps == 0 {
        return Vec::new();
    }
    (0..tasks).filter(|index| is_sampled(seed, job, *index, rate_bps)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{prelude::*, test_runner::RngSeed};

    #[test]
    fn nothing_and_everything_are_sampled_exactly() {
        let (seed, job) = (Hash::of_content(b"seed"), JobId::default());
        assert!(sample(&seed, &job, u64::MAX, 0).is_empty());
        assert_eq!(sample(&seed, &job, 5, BPS), [0, 1, 2, 3, 4]);
        assert_eq!(sample(&seed, &job, 3, u32::MAX), [0, 1, 2]);
        assert!(sample(&seed, &job, 0, BPS).is_empty());
    }

    #[test]
    fn a_hash_falls_below_a_rate_exactly() {
        let hash = |draw: u64| {
            let mut bytes = [0xff; 32];
            bytes[..8].copy_from_slice(&draw.to_le_bytes());
            Hash(bytes)
        };
        // A quarter of 2^64 is 2^62.
        let table = [
            (0, 0, false),
            (0, 1, true),
            ((1 << 62) - 1, 2_500, true),
            (1 << 62, 2_500, false),
            (u64::MAX, BPS - 1, false),
            (u64::MAX, BPS, true),
            (u64::MAX, u32::MAX, true),
        ];
        for (draw, rate, below) in table {
            assert_eq!(falls_below(&hash(draw), rate), below, "{draw} at {rate}");
        }
    }

    #[test]
    fn the_draw_is_fixed_for_all_time() {
        let (seed, job) = (Hash::of_content(b"seed"), JobId(Hash::of_content(b"job")));
        let expected = [0, 1, 7, 11, 12, 14, 15, 16, 17, 18, 21, 37, 39];
        assert_eq!(sample(&seed, &job, 40, 2_500), expected);
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            rng_seed: RngSeed::Fixed(1),
            ..ProptestConfig::default()
        })]

        #[test]
        fn a_sample_is_about_as_large_as_asked_and_grows_with_the_rate(
            seed in any::<[u8; 32]>(), rate in 0u32..=BPS,
        ) {
            let (seed, job) = (Hash(seed), JobId::default());
            let sampled = sample(&seed, &job, 2_000, rate);
            let (size, mean) = (sampled.len() as u64, u64::from(rate) / 5);
            // Six standard deviations of a binomial of 2,000 draws are at most 135.
            prop_assert!(size.abs_diff(mean) <= 135, "{size} instead of {mean}");
            let more = sample(&seed, &job, 2_000, rate + 100);
            prop_assert!(sampled.iter().all(|index| more.contains(index)));
        }

        #[test]
        fn seeds_and_jobs_draw_apart(seed in any::<[u8; 32]>(), job in any::<[u8; 32]>()) {
            let (seed, job) = (Hash(seed), JobId(Hash(job)));
            let drawn = sample(&seed, &job, 500, 5_000);
            prop_assert_ne!(&drawn, &sample(&job.0, &JobId(seed), 500, 5_000));
            prop_assert_ne!(&drawn, &sample(&Hash::of("x", &[]), &job, 500, 5_000));
            let fewer = sample(&seed, &job, 100, 5_000);
            prop_assert_eq!(&drawn[..fewer.len()], &fewer[..], "a prefix draws the same");
        }
    }
}
