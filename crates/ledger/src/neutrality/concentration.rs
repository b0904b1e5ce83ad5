//! How concentrated the market is, in figures that others use too.

use super::{WHOLE, part_of};
use crate::{
    keys,
    provider::{ProviderStatus, operator_of},
    state::State,
};
use muster_types::{AccountId, Amount, Rate};
use serde::{Deserialize, Serialize};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, btree_map::Entry},
};

/// What is divided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// What open leases pay an hour.
    #[default]
    Leased,
    /// Nothing is leased: the bonds of the active providers.
    Bonded,
}

/// What one of many has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Share<T> {
    /// Who, or where.
    pub of: T,
    /// How much `usd`: an hour, where the basis is what is leased.
    pub value: Amount,
    /// How much of the whole, in hundredths of a per cent, rounded down.
    pub bps: u32,
}

/// How far the market is in few hands: a *lower bound*, for who splits its hosts among accounts
/// that declare no common operator counts as many.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Concentration {
    /// What the shares are shares of.
    pub basis: Basis,
    /// What all open leases pay.
    pub leased_per_hour: Rate,
    /// The operators, largest first, then by account.
    pub by_operator: Vec<Share<AccountId>>,
    /// The regions that providers declare, largest first, then by name.
    pub by_region: Vec<Share<String>>,
    /// The Herfindahl-Hirschman index over operators: the sum of the squared percentages, from 0
    /// (nobody) to 10,000 (one has all), rounded down.
    pub hhi: u32,
    /// What the five largest operators have together, in hundredths of a per cent.
    pub top5_bps: u32,
    /// The Nakamoto coefficient: the fewest operators that together have more than half.
    pub nakamoto: u32,
}

/// The concentration of a state, by operator and by region. Looks at every provider.
#[must_use]
pub fn concentration(state: &dyn State) -> Concentration {
    let leased_per_hour = keys::OPEN_RATE.get(state, &()).unwrap_or(Rate::ZERO);
    let basis = if leased_per_hour == Rate::ZERO { Basis::Bonded } else { Basis::Leased };
    let (mut by_operator, mut by_region) = (BTreeMap::new(), BTreeMap::new());
    for (id, provider) in keys::PROVIDERS.scan(state, &(), None) {
        let value = match basis {
            Basis::Leased => provider.open_rate.amount_per_hour(),
            Basis::Bonded if provider.status == ProviderStatus::Active => {
                keys::BONDS.get(state, &id).unwrap_or_default().amount
            }
            Basis::Bonded => Amount::ZERO,
        };
        if !value.is_zero() {
            add(by_operator.entry(operator_of(state, &id)), value);
            add(by_region.entry(provider.profile.region), value);
        }
    }
    let (by_operator, by_region) = (shares(by_operator), shares(by_region));
    Concentration {
        basis,
        leased_per_hour,
        hhi: hhi(&by_operator),
        top5_bps: together(&by_operator, 5),
        nakamoto: nakamoto(&by_operator),
        by_operator,
        by_region,
    }
}

/// All money together has its bound in the supply; a sum of rates has none, and stops there.
fn add<T: Ord>(entry: Entry<'_, T, Amount>, value: Amount) {
    let total = entry.or_insert(Amount::ZERO);
    *total = total.checked_add(value).unwrap_or(Amount::MAX);
}

fn total<T>(shares: &[Share<T>]) -> Amount {
    shares
        .iter()
        .fold(Amount::ZERO, |total, share| total.checked_add(share.value).unwrap_or(Amount::MAX))
}

fn bps(part: Amount, whole: Amount) -> u32 {
    let bps = Amount::from_nanos(10_000).mul_div_floor(part.nanos(), whole.nanos());
    u32::try_from(bps.unwrap_or_default().nanos()).unwrap_or(10_000)
}

fn shares<T: Ord>(values: BTreeMap<T, Amount>) -> Vec<Share<T>> {
    let mut shares: Vec<Share<T>> =
        values.into_iter().map(|(of, value)| Share { of, value, bps: 0 }).collect();
    let whole = total(&shares);
    for share in &mut shares {
        share.bps = bps(share.value, whole);
    }
    // Stable: equals stay in the order of what they are.
    shares.sort_by_key(|share| Reverse(share.value));
    shares
}

fn hhi<T>(shares: &[Share<T>]) -> u32 {
    let whole = total(shares);
    let squares = shares
        .iter()
        .map(|share| part_of(share.value, whole).saturating_pow(2))
        .fold(0u128, u128::saturating_add);
    // A part of one squared is 10,000 points.
    let points = squares.checked_div(WHOLE.saturating_pow(2) / 10_000).unwrap_or(0);
    u32::try_from(points).unwrap_or(10_000)
}

fn together<T>(shares: &[Share<T>], count: usize) -> u32 {
    let some = shares.get(..count).unwrap_or(shares);
    bps(total(some), total(shares))
}

fn nakamoto<T>(shares: &[Share<T>]) -> u32 {
    let whole = total(shares);
    let mut held = Amount::ZERO;
    let mut count = 0u32;
    for share in shares {
        held = held.checked_add(share.value).unwrap_or(Amount::MAX);
        count = count.saturating_add(1);
        if held > whole.saturating_sub(held) {
            break;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_follow_the_shares() {
        // (values, bps, hhi, top five, nakamoto)
        type Row = (&'static [u128], &'static [u32], u32, u32, u32);
        let table: [Row; 8] = [
            (&[], &[], 0, 0, 0),
            (&[7], &[10_000], 10_000, 10_000, 1),
            (&[1, 1], &[5_000, 5_000], 5_000, 10_000, 2),
            (&[1, 3], &[7_500, 2_500], 6_250, 10_000, 1),
            (&[1, 1, 1], &[3_333, 3_333, 3_333], 3_333, 10_000, 2),
            (&[1; 10], &[1_000; 10], 1_000, 5_000, 6),
            (
                &[2, 1, 1, 2, 1, 1, 2],
                &[2_000, 2_000, 2_000, 1_000, 1_000, 1_000, 1_000],
                1_600,
                8_000,
                3,
            ),
            (&[u128::MAX / 2, u128::MAX / 2], &[5_000, 5_000], 5_000, 10_000, 2),
        ];
        for (values, expected, index, top5, coefficient) in table {
            let values = values.iter().map(|value| Amount::from_nanos(*value)).enumerate();
            let shares = shares(values.collect());
            let parts: Vec<u32> = shares.iter().map(|share| share.bps).collect();
            assert_eq!(parts, expected);
            let figures = (hhi(&shares), together(&shares, 5), nakamoto(&shares));
            // Thirds are rounded down.
            assert_eq!(figures, (index, top5, coefficient), "{expected:?}");
        }
    }
}
