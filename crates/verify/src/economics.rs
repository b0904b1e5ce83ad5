//! What cheating must cost.
//!
//! A provider that is paid `R` for a job saves a part of it, `C`, by not doing the work, and may
//! gain `B` outside of the network by a wrong result that stands. It has `S` at stake. A wrong
//! result is audited with probability `q`; the auditor is in league with the provider with
//! probability `h`; so it is found with probability
//!
//! ```text
//! p = q (1 - h)
//! ```
//!
//! and then costs the pay and the stake; if it is not found the cheater keeps `C` and gains `B`.
//! Cheating does not pay if and only if
//!
//! ```text
//! p (R + S) >= C + (1 - p) B
//!         S >= (C + (1 - p) B) / p - R
//! ```
//!
//! With `h = 1/3` of colluding auditors and `C = 0.8 R` (a fifth of the pay covers what cannot be
//! saved), a rate of `q` in 10,000ths gives `p = q / 15_000` and
//!
//! ```text
//! S >= (12_000 R + (15_000 - q) B) / q - R
//! ```
//!
//! | audited | S at B = 0 | S more for each B |
//! |---|---|---|
//! | 1 % | 119 R | 149 B |
//! | 5 % | 23 R | 29 B |
//! | 10 % | 11 R | 14 B |
//! | 100 % | 0.2 R | 0.5 B |
//!
//! The case of one task is the worst one: who cheats on `n` tasks saves `n` times as much, but is
//! found with `1 - (1 - p)^n`, and loses all of `R + S` at the first. For a job of many tasks the
//! stake is more than is needed.

use crate::BPS;
use muster_types::Amount;

/// `10_000 / (1 - h)` with `h = 1/3`: what a rate is divided by to give `p`.
const P_WHOLE: u128 = 15_000;

/// The part of the pay that a cheater saves, in hundredths of a per cent.
const SAVED_BPS: u128 = 8_000;

/// The least stake at which cheating on a job that pays `reward` does not pay, where each task is
/// audited with a probability of `rate_bps` hundredths of a per cent and a wrong result that stands
/// is worth `outside_gain` to the provider. `None` where no stake is enough: nothing is audited, or
/// the amounts are beyond reckoning.
#[must_use]
pub fn stake_floor(reward: Amount, outside_gain: Amount, rate_bps: u32) -> Option<Amount> {
    let rate = u128::from(rate_bps.min(BPS));
    let saved = SAVED_BPS.checked_mul(P_WHOLE)?.checked_div(u128::from(BPS))?;
    let saved = reward.nanos().checked_mul(saved)?;
    let gained = outside_gain.nanos().checked_mul(P_WHOLE.checked_sub(rate)?)?;
    let wanted = saved.checked_add(gained)?;
    // Rounded up.
    let whole = wanted.checked_div(rate)?;
    let odd = u128::from(wanted.checked_rem(rate)? > 0);
    let at_risk = Amount::from_nanos(whole.checked_add(odd)?);
    Some(at_risk.saturating_sub(reward))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{prelude::*, test_runner::RngSeed};

    #[test]
    fn the_stake_is_as_the_table_says() {
        // (audited, stake for a reward of 1,000, more for an outside gain of 1,000)
        let table = [
            (100, 119_000, 149_000),
            (500, 23_000, 29_000),
            (1_000, 11_000, 14_000),
            (10_000, 200, 500),
            (20_000, 200, 500),
            // Rounded up: 12,000,000 / 7 = 1,714,285.7, and 14,993,000 / 7 = 2,141,857.1.
            (7, 1_713_286, 2_141_857),
        ];
        let nanos = Amount::from_nanos;
        for (rate, stake, more) in table {
            assert_eq!(stake_floor(nanos(1_000), nanos(0), rate), Some(nanos(stake)), "{rate}");
            let with_gain = stake_floor(nanos(1_000), nanos(1_000), rate);
            assert_eq!(with_gain, Some(nanos(stake + more)), "{rate}");
        }
        assert_eq!(stake_floor(nanos(1), nanos(0), 0), None);
        assert_eq!(stake_floor(Amount::MAX, nanos(0), 500), None);
        assert_eq!(stake_floor(nanos(0), Amount::MAX, 500), None);
        assert_eq!(stake_floor(nanos(0), nanos(0), 1), Some(nanos(0)));
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            rng_seed: RngSeed::Fixed(1),
            ..ProptestConfig::default()
        })]

        #[test]
        fn at_the_floor_cheating_does_not_pay_and_below_it_it_does(
            reward in 0u64..1 << 50, gain in 0u64..1 << 50, rate in 1u32..=BPS,
        ) {
            let (r, b) = (i128::from(reward), i128::from(gain));
            let (reward, gain) = (Amount::from_nanos(reward.into()), Amount::from_nanos(gain.into()));
            let floor = stake_floor(reward, gain, rate).unwrap();
            // p (R + S) - C - (1 - p) B, times 15,000 x 10.
            let p = i128::from(rate);
            let profit = |stake: i128| {
                8 * 15_000 * r + 10 * (15_000 - p) * b - 10 * p * (r + stake)
            };
            let floor = i128::try_from(floor.nanos()).unwrap();
            prop_assert!(profit(floor) <= 0);
            prop_assert!(floor == 0 || profit(floor - 1) > 0);
        }
    }
}
