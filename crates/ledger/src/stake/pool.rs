//! A pool: stake of many that is slashed at once, whoever they are and however many.
//!
//! Who puts stake in gets shares; slashing takes tokens and leaves the shares. All rounding is
//! against who puts in or takes out, and in favour of who stays:
//!
//! ```text
//! deposit   shares = floor(amount x pool's shares / pool's tokens); the first: one for each nano
//! worth     floor(shares x pool's tokens / pool's shares)
//! withdraw  shares given up = ceil(amount x pool's shares / pool's tokens); all of them where
//!           what is left would be worth nothing
//! slash     tokens lost = ceil(pool's tokens x bps)
//! ```
//!
//! So a share is never worth more than a nano (`tokens <= shares`), and there are tokens exactly
//! where there are shares: who leaves last takes all. A pool slashed to nothing begins a new epoch;
//! parts of an earlier one are worth nothing, without anybody having to look for them.

use crate::{
    Reject,
    ctx::{part_ceil, rest, sum},
};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_types::Amount;
use serde::{Deserialize, Serialize};

/// A share that is worth less than so little of a nano is not diluted any further: so shares never
/// outgrow their type.
const SHARES_PER_NANO_MAX: u64 = 1 << 32;

/// Stake held in common.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Pool {
    /// What is there, `mst`.
    pub tokens: Amount,
    /// Into how many shares it is divided.
    pub shares: u128,
    /// How often it was slashed to nothing.
    pub epoch: u64,
}

/// Somebody's part in a [`Pool`].
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Part {
    /// How many shares.
    pub shares: u128,
    /// Of the pool in which epoch: worth nothing in a later one.
    pub epoch: u64,
}

impl Pool {
    /// What a part is worth now, `mst`, rounded down.
    #[must_use]
    pub fn worth(&self, part: &Part) -> Amount {
        self.tokens.mul_div_floor(self.shares_of(part), self.shares).unwrap_or(Amount::ZERO)
    }

    /// The shares of a part, as far as they count still.
    pub(crate) const fn shares_of(&self, part: &Part) -> u128 {
        if part.epoch == self.epoch { part.shares } else { 0 }
    }

    /// Whether a share is worth enough to let new stake in.
    pub(crate) fn is_sound(&self) -> bool {
        let bound = self.tokens.checked_mul(SHARES_PER_NANO_MAX);
        bound.is_none_or(|bound| self.shares <= bound.nanos())
    }

    /// Puts stake in, for `part`.
    pub(crate) fn deposit(&mut self, part: &mut Part, amount: Amount) -> Result<(), Reject> {
        let shares = if self.shares == 0 {
            amount.nanos()
        } else {
            self.shares_floor(amount).ok_or(Reject::Overflow)?
        };
        let held = self.shares_of(part).checked_add(shares).ok_or(Reject::Overflow)?;
        self.tokens = sum(self.tokens, amount)?;
        self.shares = self.shares.checked_add(shares).ok_or(Reject::Overflow)?;
        *part = Part { shares: held, epoch: self.epoch };
        Ok(())
    }

    /// Takes stake out of `part`, which must be worth it.
    pub(crate) fn withdraw(&mut self, part: &mut Part, amount: Amount) -> Result<(), Reject> {
        let available = self.worth(part);
        if amount > available {
            return Err(Reject::InsufficientStake { needed: amount, available });
        }
        let held = self.shares_of(part);
        let shares = if amount == available {
            held
        } else {
            self.shares_ceil(amount).ok_or(Reject::Overflow)?
        };
        self.tokens = rest(self.tokens, amount)?;
        self.shares = self.shares.checked_sub(shares).ok_or(Reject::Overflow)?;
        let left = held.checked_sub(shares).ok_or(Reject::Overflow)?;
        *part = Part { shares: left, epoch: self.epoch };
        if self.worth(part).is_zero() {
            self.shares = self.shares.checked_sub(left).ok_or(Reject::Overflow)?;
            part.shares = 0;
        }
        Ok(())
    }

    /// Takes a part of everybody's stake, and tells how much.
    pub(crate) fn slash(&mut self, bps: u32) -> Result<Amount, Reject> {
        let lost = part_ceil(self.tokens, bps)?;
        self.tokens = rest(self.tokens, lost)?;
        if self.tokens.is_zero() && self.shares != 0 {
            self.shares = 0;
            self.epoch = self.epoch.checked_add(1).ok_or(Reject::Overflow)?;
        }
        Ok(lost)
    }

    fn shares_floor(&self, amount: Amount) -> Option<u128> {
        amount.mul_div_floor(self.shares, self.tokens.nanos()).map(Amount::nanos)
    }

    /// The fewest shares that are worth `amount`.
    fn shares_ceil(&self, amount: Amount) -> Option<u128> {
        let floor = self.shares_floor(amount)?;
        let worth = self.tokens.mul_div_floor(floor, self.shares)?;
        if worth < amount { floor.checked_add(1) } else { Some(floor) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nanos(nanos: u128) -> Amount {
        Amount::from_nanos(nanos)
    }

    #[test]
    fn rounding_is_against_who_moves_and_the_last_takes_all() {
        let (mut ann, mut bob, mut eve) = (Part::default(), Part::default(), Part::default());
        let mut pool = Pool::default();
        let state = |pool: &Pool| (pool.tokens.nanos(), pool.shares, pool.epoch);
        pool.deposit(&mut ann, nanos(10)).unwrap();
        pool.deposit(&mut bob, nanos(5)).unwrap();
        assert_eq!(state(&pool), (15, 15, 0));
        // A tenth of a per cent of 15 nanos is a whole one.
        assert_eq!(pool.slash(10), Ok(nanos(1)));
        assert_eq!((pool.worth(&ann), pool.worth(&bob)), (nanos(9), nanos(4)));
        // Eve puts in 3, worth 3.2 shares, and gets 3, worth 2.8.
        pool.deposit(&mut eve, nanos(3)).unwrap();
        assert_eq!((state(&pool), eve.shares, pool.worth(&eve)), ((17, 18, 0), 3, nanos(2)));
        let short = Reject::InsufficientStake { needed: nanos(3), available: nanos(2) };
        assert_eq!(pool.withdraw(&mut eve, nanos(3)), Err(short));
        // All that they are worth: all shares go.
        pool.withdraw(&mut eve, nanos(2)).unwrap();
        assert_eq!((state(&pool), eve.shares), ((15, 15, 0), 0));
        pool.slash(3_000).unwrap();
        assert_eq!(state(&pool), (10, 15, 0));
        // 4 nanos are 6 shares; 1 is 1.5 of them, which is 2.
        pool.withdraw(&mut ann, nanos(4)).unwrap();
        assert_eq!((state(&pool), ann.shares), ((6, 9, 0), 4));
        pool.withdraw(&mut ann, nanos(1)).unwrap();
        assert_eq!((state(&pool), ann.shares), ((5, 7, 0), 2));
        pool.withdraw(&mut ann, nanos(1)).unwrap();
        assert_eq!((state(&pool), pool.worth(&bob)), ((4, 5, 0), nanos(4)));
        pool.withdraw(&mut bob, nanos(4)).unwrap();
        assert_eq!(state(&pool), (0, 0, 0));
    }

    #[test]
    fn a_pool_slashed_to_nothing_begins_anew_and_old_parts_are_worth_nothing() {
        let (mut ann, mut bob) = (Part::default(), Part::default());
        let mut pool = Pool::default();
        assert_eq!((pool.slash(10_000), pool.epoch), (Ok(nanos(0)), 0));
        pool.deposit(&mut ann, nanos(7)).unwrap();
        assert_eq!(pool.slash(10_000), Ok(nanos(7)));
        assert_eq!(pool, Pool { epoch: 1, ..Pool::default() });
        pool.deposit(&mut bob, nanos(5)).unwrap();
        assert_eq!((pool.worth(&ann), pool.worth(&bob)), (nanos(0), nanos(5)));
        // Who comes back begins anew, too.
        pool.deposit(&mut ann, nanos(1)).unwrap();
        assert_eq!((ann, pool.worth(&ann)), (Part { shares: 1, epoch: 1 }, nanos(1)));
    }

    #[test]
    fn shares_that_are_worth_next_to_nothing_are_not_diluted() {
        let pool = |tokens, shares| Pool { tokens: nanos(tokens), shares, epoch: 0 };
        let table = [
            (0, 0, true),
            (1, 1 << 32, true),
            (1, (1 << 32) + 1, false),
            (1_000, 1_000 << 32, true),
            (u128::MAX, u128::MAX, true),
        ];
        for (tokens, shares, sound) in table {
            assert_eq!(pool(tokens, shares).is_sound(), sound, "{tokens} {shares}");
        }
    }
}
