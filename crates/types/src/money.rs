//! Money: integers in nano-units, checked, with the rounding in the name.

use crate::Millis;
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

const NANOS: u128 = 1_000_000_000;
const MS_PER_HOUR: u128 = 3_600_000;

/// What an amount is an amount of.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Asset {
    /// The stable unit: prices, payments, provider and auditor bonds, fees.
    Usd,
    /// The native asset: validator stake, votes, rewards.
    Mst,
}

impl Asset {
    /// Every asset, in encoding order.
    pub const ALL: [Self; 2] = [Self::Usd, Self::Mst];
}

impl fmt::Display for Asset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Usd => "usd",
            Self::Mst => "mst",
        })
    }
}

/// A quantity of one asset, in nano-units (10^-9). Text and JSON: a decimal string, `"1.25"`.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, BorshSerialize, BorshDeserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(value_type = String))]
pub struct Amount(u128);

/// Parts of a whole that add up to it: what [`Amount::split_floor`] returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// The named part, rounded down.
    pub part: Amount,
    /// What is left of the whole.
    pub rest: Amount,
}

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount that can be written.
    pub const MAX: Self = Self(u128::MAX);

    /// So many nano-units.
    #[must_use]
    pub const fn from_nanos(nanos: u128) -> Self {
        Self(nanos)
    }

    /// So many whole units.
    #[must_use]
    pub const fn from_units(units: u64) -> Self {
        Self(units as u128 * NANOS)
    }

    /// The amount in nano-units.
    #[must_use]
    pub const fn nanos(self) -> u128 {
        self.0
    }

    /// True for nothing.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// `self + other`, `None` on overflow.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// `self - other`, `None` where `other` is more.
    #[must_use]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(rest) => Some(Self(rest)),
            None => None,
        }
    }

    /// `self - other`, or nothing where `other` is more.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// `self * times`, `None` on overflow.
    #[must_use]
    pub const fn checked_mul(self, times: u64) -> Option<Self> {
        match self.0.checked_mul(times as u128) {
            Some(product) => Some(Self(product)),
            None => None,
        }
    }

    /// `floor(self * numerator / denominator)`, exact through 256 bits; `None` where the
    /// denominator is zero or the result does not fit.
    #[must_use]
    pub fn mul_div_floor(self, numerator: u128, denominator: u128) -> Option<Self> {
        mul_div_floor(self.0, numerator, denominator).map(Self)
    }

    /// Splits off `floor(self * bps / 10_000)`; `bps` above 10,000 counts as 10,000.
    #[must_use]
    pub fn split_floor(self, bps: u32) -> Shares {
        let part = mul_div_floor(self.0, u128::from(bps.min(10_000)), 10_000).unwrap_or(self.0);
        Shares { part: Self(part), rest: Self(self.0.saturating_sub(part)) }
    }
}

/// `floor(a * b / d)` through a 256-bit product; `None` if `d` is zero or the quotient exceeds
/// 128 bits. Schoolbook multiplication in 64-bit halves, then binary long division.
fn mul_div_floor(a: u128, b: u128, d: u128) -> Option<u128> {
    if d == 0 {
        return None;
    }
    if let Some(product) = a.checked_mul(b) {
        return product.checked_div(d);
    }
    let mask = u128::from(u64::MAX);
    let (a_hi, a_lo, b_hi, b_lo) = (a >> 64, a & mask, b >> 64, b & mask);
    let low = a_lo * b_lo;
    let mid1 = a_hi * b_lo + (low >> 64);
    let mid2 = a_lo * b_hi + (mid1 & mask);
    let hi = a_hi * b_hi + (mid1 >> 64) + (mid2 >> 64);
    let lo = (mid2 << 64) | (low & mask);
    if hi >= d {
        return None;
    }
    let (mut rem, mut quot) = (hi, 0u128);
    for bit in (0..128).rev() {
        let carry = rem >> 127;
        rem = (rem << 1) | ((lo >> bit) & 1);
        quot <<= 1;
        if carry == 1 || rem >= d {
            rem = rem.wrapping_sub(d);
            quot |= 1;
        }
    }
    Some(quot)
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (units, nanos) = (self.0 / NANOS, self.0 % NANOS);
        let text = if nanos == 0 {
            units.to_string()
        } else {
            let fraction = format!("{nanos:09}");
            format!("{units}.{}", fraction.trim_end_matches('0'))
        };
        f.pad(&text)
    }
}

impl fmt::Debug for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Amount({self})")
    }
}

/// Text that is not an amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an amount: expected a decimal such as 12 or 0.25, at most 9 decimals")]
pub struct ParseAmountError {
    text: String,
}

impl FromStr for Amount {
    type Err = ParseAmountError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || ParseAmountError { text: text.chars().take(80).collect() };
        let (units, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if units.is_empty() || !digits(units) || !digits(fraction) || fraction.len() > 9 {
            return Err(refuse());
        }
        if text.ends_with('.') {
            return Err(refuse());
        }
        let units: u128 = units.parse().map_err(|_| refuse())?;
        let nanos: u128 = format!("{fraction:0<9}").parse().map_err(|_| refuse())?;
        units
            .checked_mul(NANOS)
            .and_then(|whole| whole.checked_add(nanos))
            .map(Self)
            .ok_or_else(refuse)
    }
}

impl Serialize for Amount {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <String as serde::Deserialize>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A price: nano-units of `usd` per hour for a whole allocation. Text and JSON: the amount per
/// hour as a decimal string.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct Rate(Amount);

impl Rate {
    /// For nothing.
    pub const ZERO: Self = Self(Amount::ZERO);
    /// Any price at all.
    pub const MAX: Self = Self(Amount::MAX);

    /// So much per hour.
    #[must_use]
    pub const fn per_hour(amount: Amount) -> Self {
        Self(amount)
    }

    /// What one hour costs.
    #[must_use]
    pub const fn amount_per_hour(self) -> Amount {
        self.0
    }

    /// `self + other`, `None` on overflow.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// `floor(rate x elapsed / 1 h)`, for the whole of `elapsed` at once: charge a segment from
    /// its start and subtract what it already paid, so that settling often or seldom pays the
    /// same. `None` on overflow.
    #[must_use]
    pub fn charge_floor(self, elapsed: Millis) -> Option<Amount> {
        self.0.mul_div_floor(u128::from(elapsed.0), MS_PER_HOUR)
    }

    /// Like [`Rate::charge_floor`], rounded up: what to deposit for `length`. `None` on overflow.
    #[must_use]
    pub fn charge_ceil(self, length: Millis) -> Option<Amount> {
        let floor = self.charge_floor(length)?;
        let exact =
            self.0.nanos().checked_mul(u128::from(length.0)).is_some_and(|p| p % MS_PER_HOUR == 0);
        if exact { Some(floor) } else { floor.checked_add(Amount(1)) }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rate({}/h)", self.0)
    }
}

impl FromStr for Rate {
    type Err = ParseAmountError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}
