//! Stake, in `mst`: validators, who delegates to them, what is unbonding, slashing and rewards.
//!
//! | state | action or event | next |
//! |---|---|---|
//! | none | `ValidatorSet` | registered |
//! | any | `ValidatorSet` to another [commission](#commission) | the same |
//! | registered | `StakeAdd` to at least `validator_stake_min` | active |
//! | registered, active, jailed | `StakeAdd` otherwise | the same, with more stake |
//! | active | `Delegate` by another account | the same, with more delegated |
//! | active | `Unstake` of its own, or slashed, to less than `validator_stake_min` | registered, or jailed |
//! | any | `Unstake` otherwise, of its own or by a delegator | the same, with less of it |
//! | any | [slashed](#slashing), or down in the [`committee`] | jailed(until) |
//! | jailed | `ValidatorUnjail` at or after `until` | active, or registered if its own stake is less than `validator_stake_min` |
//! | any | `RewardClaim` by a delegator | the same; a delegation that is worth nothing ends |
//!
//! | unbonding | action or event | next |
//! |---|---|---|
//! | none | `Unstake` | locked until `stake_unbonding_ms` from now |
//! | locked, free | slashed | the same, with less in it |
//! | free | `UnstakeClaim` by its owner | gone |
//!
//! A validator leaves by taking its own stake back: it is registered then, like one that never
//! staked. A `validator_stake_min` that was voted up or down counts from the next change of a
//! validator's own stake on, or from when it leaves jail. All times are steady time
//! ([`crate::Head`]), by which the windows run that slashing waits for; unbonding outlasts the
//! longest of them.
//!
//! Only an active validator's stake, own and delegated, counts in votes ([`crate::vote`]). From it
//! the [`committee`] that makes blocks and judges disputes is chosen, for an epoch at a time: a
//! jailed validator stays in it until the epoch's end, and one that a genesis names may have no
//! stake at all; then there is nothing to slash.
//!
//! # Pools
//! No action and no slash looks at more than a few records. What others delegate lies in one
//! [`Pool`], and so does what unbonds, own and delegated apart: slashing changes three pools and
//! one sum, and reaches everybody in proportion. How shares are rounded is in [`Pool`]. A validator
//! whose share is worth less than 2^-32 of a nano after ever so many slashes takes no new stake.
//!
//! # Commission
//! It falls at any time. It rises by at most `commission_step_bps`, and only where it has stood for
//! `commission_interval_ms`. While nobody delegates to a validator it is free. What a genesis
//! stakes has had a commission of nothing since steady time 0.
//!
//! # Rewards
//! A block's fees (`usd`) go to its proposer's validator, active or not:
//!
//! ```text
//! commission = floor(fees x commission), to its account
//! delegators = floor((fees - commission) x delegated / (own + delegated)), held for them
//! own        = the rest, to its account
//! ```
//!
//! A proposer that is no validator, or to whom nobody delegates, gets all of it. What is held is
//! divided by a sum that only rises, `per_share`, in 2^-64 of a nano:
//!
//! ```text
//! rise    = floor((carried + delegators) x 2^64 / shares), which `per_share` grows by
//! carried = carried + delegators - ceil(shares x rise / 2^64)
//! owed    = floor(a delegation's shares x the rise since it was last paid / 2^64)
//! ```
//!
//! A delegation is paid by `RewardClaim` and before every change of it; the fraction of a nano is
//! dropped then. What is carried waits for the validator's next block with fees and delegators;
//! where `per_share` would outgrow 128 bits, all of it is carried. A slash after which nothing is
//! delegated to a validator burns what is held.
//!
//! # Slashing
//! `slash` takes `ceil` of the same part of its own stake, of the delegated pool and of both
//! unbonding pools, and jails the validator for `validator_jail_ms`. What comes from own stake may go to the
//! harmed, up to their loss in `mst` and less `burn_min_bps` of it; in proportion to their losses
//! where it is not enough. Everything else is burned; delegated stake always is.
//!
//! | fault | part | harmed |
//! |---|---|---|
//! | a vote for another output than a dispute's verdict | `slash_wrong_vote_bps` | nobody |
//! | two contradicting votes on blocks ([`equivocation`]) | `slash_equivocation_bps` | nobody |

pub(crate) mod add;
pub mod beacon;
pub(crate) mod claim;
pub mod committee;
pub(crate) mod delegate;
pub mod equivocation;
mod pool;
pub(crate) mod reward;
pub mod seats;
pub(crate) mod set;
pub(crate) mod slash;
pub(crate) mod unjail;
pub(crate) mod unstake;
pub(crate) mod weight;

pub use committee::{Committee, Seat, Views};
pub use equivocation::Equivocation;
pub use pool::{Part, Pool};
pub use seats::SeatKey;

use crate::{
    Event, Params, Reject,
    ctx::{Ctx, rest, sum},
    keys::{self, Listing, Record, Table},
};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_types::{AccountId, Amount, Millis, UnbondingId};
use serde::{Deserialize, Serialize};

/// Where a validator stands.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ValidatorStatus {
    /// Known, but its own stake is too small to count.
    Registered,
    /// Its stake counts.
    Active,
    /// It was slashed; its stake does not count.
    Jailed {
        /// Steady time from which `ValidatorUnjail` works.
        until: Millis,
    },
}

/// What delegators are owed.
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
pub struct Rewards {
    /// All that a delegated share was ever given, in nano-`usd` / 2^64.
    pub per_share: u128,
    /// What is there for delegators, `usd`.
    pub held: Amount,
    /// The part of `held` that was too little to be divided: the next block's fees are added to it.
    pub carried: Amount,
}

/// A validator's stake.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Validator {
    /// Where it stands.
    pub status: ValidatorStatus,
    /// What it keeps of the rewards before they are shared out, in hundredths of a per cent.
    pub commission_bps: u32,
    /// Steady time at which the commission was last changed.
    pub commission_since: Millis,
    /// Its own stake, `mst`.
    pub own: Amount,
    /// What others stake with it.
    pub delegated: Pool,
    /// Its own stake that unbonds.
    pub own_unbonding: Pool,
    /// What others take back from it.
    pub delegated_unbonding: Pool,
    /// What its delegators are owed.
    pub rewards: Rewards,
    /// All that was ever slashed, own and delegated, `mst`.
    pub slashed: Amount,
}

/// What one account stakes with one validator.
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
pub struct Delegation {
    /// Its part of the validator's delegated pool.
    pub part: Part,
    /// [`Rewards::per_share`] up to which it was paid.
    pub paid_per_share: u128,
}

/// Stake on its way back.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Unbonding {
    /// Whose.
    pub owner: AccountId,
    /// Where it was staked; the owner itself for its own stake.
    pub validator: AccountId,
    /// Its part of the validator's unbonding pool.
    pub part: Part,
    /// Steady time from which it can be claimed.
    pub until: Millis,
}

impl ValidatorStatus {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Active => "active",
            Self::Jailed { .. } => "jailed",
        }
    }
}

impl Validator {
    /// A validator with nothing but stake of its own.
    pub(crate) fn with_stake(own: Amount, params: &Params) -> Self {
        let mut validator = Self {
            status: ValidatorStatus::Registered,
            commission_bps: 0,
            commission_since: Millis::ZERO,
            own,
            delegated: Pool::default(),
            own_unbonding: Pool::default(),
            delegated_unbonding: Pool::default(),
            rewards: Rewards::default(),
            slashed: Amount::ZERO,
        };
        validator.stand(params);
        validator
    }

    /// Own and delegated stake, `mst`.
    #[must_use]
    pub const fn stake(&self) -> Amount {
        // Both are parts of what exists.
        Amount::from_nanos(self.own.nanos().saturating_add(self.delegated.tokens.nanos()))
    }

    /// Own and delegated stake as far as it counts in votes, `mst`.
    #[must_use]
    pub const fn weight(&self) -> Amount {
        match self.status {
            ValidatorStatus::Active => self.stake(),
            ValidatorStatus::Registered | ValidatorStatus::Jailed { .. } => Amount::ZERO,
        }
    }

    /// What a delegation to this validator is worth, `mst`.
    #[must_use]
    pub fn worth(&self, delegation: &Delegation) -> Amount {
        self.delegated.worth(&delegation.part)
    }

    /// What a delegation to this validator is owed of its rewards, `usd`.
    #[must_use]
    pub fn owed(&self, delegation: &Delegation) -> Amount {
        reward::owed(self, delegation)
    }

    /// What an unbonding from this validator is worth, `mst`.
    #[must_use]
    pub fn unbonding_worth(&self, unbonding: &Unbonding) -> Amount {
        let own = unbonding.owner == unbonding.validator;
        let pool = if own { &self.own_unbonding } else { &self.delegated_unbonding };
        pool.worth(&unbonding.part)
    }

    /// The pool of what unbonds: the validator's own, or its delegators'.
    pub(crate) const fn unbonding_mut(&mut self, own: bool) -> &mut Pool {
        if own { &mut self.own_unbonding } else { &mut self.delegated_unbonding }
    }

    /// Whether it can take new stake: every pool's shares are worth something.
    pub(crate) fn is_sound(&self) -> bool {
        [&self.delegated, &self.own_unbonding, &self.delegated_unbonding]
            .into_iter()
            .all(Pool::is_sound)
    }

    /// Active or registered, by its own stake; jail is left by `ValidatorUnjail` alone.
    pub(crate) fn stand(&mut self, params: &Params) {
        if !matches!(self.status, ValidatorStatus::Jailed { .. }) {
            self.status = if self.own >= params.validator_stake_min {
                ValidatorStatus::Active
            } else {
                ValidatorStatus::Registered
            };
        }
    }
}

/// Stores a validator, keeps the sum of all active stake, and tells what changed.
pub(crate) fn save(ctx: &mut Ctx<'_>, id: &AccountId, validator: &Validator) -> Result<(), Reject> {
    let old: Option<Validator> = ctx.find(id);
    let before = old.as_ref().map_or(Amount::ZERO, Validator::weight);
    let after = validator.weight();
    if before != after {
        let all = keys::STAKE.get(&ctx.scratch, &()).unwrap_or_default();
        keys::STAKE.put(&mut ctx.scratch, &(), &sum(rest(all, before)?, after)?);
    }
    ctx.store(id, validator);
    let seen = |validator: &Validator| {
        let Validator { status, commission_bps, own, delegated, .. } = validator;
        (*status, *commission_bps, *own, delegated.tokens)
    };
    if old.as_ref().map(seen) != Some(seen(validator)) {
        let (status, commission_bps, own, delegated) = seen(validator);
        let validator = *id;
        ctx.emit(Event::ValidatorChanged { validator, status, commission_bps, own, delegated });
    }
    Ok(())
}

impl Record for Validator {
    type Key = AccountId;
    const KIND: &'static str = "validator";
    const TABLE: Table<AccountId, Self> = keys::STAKERS;
    const LISTING: Listing = Listing::Always;

    fn entries(&self, key: &AccountId, emit: &mut dyn FnMut(Vec<u8>)) {
        let weight = self.weight();
        if !weight.is_zero() {
            emit(keys::VALIDATORS_BY_WEIGHT.key(&(!weight.nanos(), *key)));
        }
    }
}

impl Record for Delegation {
    type Key = (AccountId, AccountId);
    const KIND: &'static str = "delegation";
    const TABLE: Table<(AccountId, AccountId), Self> = keys::DELEGATIONS;
    const LISTING: Listing = Listing::Always;

    fn entries(&self, key: &(AccountId, AccountId), emit: &mut dyn FnMut(Vec<u8>)) {
        emit(keys::DELEGATIONS_BY_VALIDATOR.key(&(key.1, key.0)));
    }
}

impl Record for Unbonding {
    type Key = UnbondingId;
    const KIND: &'static str = "unbonding";
    const TABLE: Table<UnbondingId, Self> = keys::UNBONDINGS;
    const LISTING: Listing = Listing::Always;

    fn entries(&self, key: &UnbondingId, emit: &mut dyn FnMut(Vec<u8>)) {
        emit(keys::UNBONDINGS_BY_OWNER.key(&(self.owner, *key)));
    }
}

#[cfg(test)]
mod tests;
