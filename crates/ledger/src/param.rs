//! Parameters: every number that the rules use, each with its default and its bounds.
//!
//! All of them stand in one table, [`Params`]; they are read by field, and written by name with a
//! whole number in their own unit: money in nano-units, time in milliseconds, parts of a whole in
//! hundredths of a per cent (`bps`).

use crate::market::CloseReason;
use borsh::{BorshDeserialize, BorshSerialize};
use muster_market::Rules;
use muster_types::{Amount, Millis, Rate};
use serde::{Deserialize, Serialize};

const DAY: u128 = 86_400_000;
const USD: u128 = 1_000_000_000;
const BPS: u128 = 10_000;

/// A parameter's type: a whole number in its own unit.
trait Number: Copy {
    fn number(self) -> u128;
    fn of(number: u128) -> Option<Self>;
}

macro_rules! numbers {
    ($($type:ty: $value:ident => $number:expr, $from:expr;)*) => {$(
        impl Number for $type {
            fn number(self) -> u128 {
                let $value = self;
                $number
            }

            fn of($value: u128) -> Option<Self> {
                $from
            }
        }
    )*};
}

numbers! {
    u32: value => u128::from(value), Self::try_from(value).ok();
    u64: value => u128::from(value), Self::try_from(value).ok();
    Millis: value => u128::from(value.0), u64::try_from(value).ok().map(Millis);
    Amount: value => value.nanos(), Some(Self::from_nanos(value));
    Rate: value => value.amount_per_hour().nanos(), Some(Self::per_hour(Amount::from_nanos(value)));
}

/// Declares [`Params`]: documentation, name, type, default, least and most allowed. Where one
/// parameter bounds another, the bound is its value in `$params`.
macro_rules! params {
    (|$params:ident| $($(#[$doc:meta])* $name:ident: $type:ty = $default:expr, $min:expr, $max:expr;)*) => {
        /// The numbers of the rules. Parts of a whole are in hundredths of a per cent (`bps`),
        /// money in `usd` where nothing else is said. [`Params::check`] holds the bounds.
        #[derive(
            Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
        )]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
        #[serde(default)]
        pub struct Params {
            $($(#[$doc])* pub $name: $type,)*
        }

        impl Default for Params {
            /// Fit for one validator on loopback, and not unreasonable in the world.
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        impl Params {
            /// The names of all parameters.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name),)*];

            /// Sets one parameter by name; whether it is in bounds is [`Params::check`]'s to say.
            /// False, and nothing is changed, where there is no such parameter or its type cannot
            /// hold the number.
            #[must_use]
            pub fn set(&mut self, name: &str, number: u128) -> bool {
                match name {
                    $(stringify!($name) => {
                        <$type as Number>::of(number).map(|value| self.$name = value).is_some()
                    })*
                    _ => false,
                }
            }

            /// One parameter by name, in its own unit.
            #[must_use]
            pub fn get(&self, name: &str) -> Option<u128> {
                match name {
                    $(stringify!($name) => Some(Number::number(self.$name)),)*
                    _ => None,
                }
            }

            /// Name, value, least and most of every parameter.
            fn bounds(&self) -> Vec<(&'static str, u128, u128, u128)> {
                let $params = self;
                vec![$((stringify!($name), Number::number(self.$name), $min, $max),)*]
            }
        }
    };
}

params! { |p|
    /// Fee for each byte of a transaction.
    fee_per_byte: Amount = Amount::from_nanos(1), 0, USD;
    /// Fee for each execution unit of a transaction (see [`crate::Action::units`]).
    fee_per_unit: Amount = Amount::from_nanos(1_000), 0, 1_000 * USD;
    /// The most that one block's step counts in steady time.
    max_block_step_ms: Millis = Millis(1_000), 1, DAY;
    /// The longest gap between heartbeats that is still covered, in steady time.
    heartbeat_gap_max_ms: Millis = Millis(2_500), 1, DAY;
    /// A lease stalls when its heartbeats are missing for longer than this, in steady time ...
    stall_gap_ms: Millis = Millis(3_000), p.heartbeat_gap_max_ms.number(), DAY;
    /// ... and for at least so many blocks.
    stall_gap_blocks: u64 = 3, 1, 1_000_000;
    /// A stalled lease closes after so much more steady time.
    stall_close_ms: Millis = Millis(2_000), 1, DAY;
    /// A granted lease closes unless it is ready within this, in steady time.
    ready_timeout_ms: Millis = Millis(30_000), 1, DAY;
    /// The leases of an escrow that stays short for this long close, in steady time.
    overdrawn_grace_ms: Millis = Millis(10_000), 0, 30 * DAY;
    /// How long a closed lease's results can be challenged, in steady time.
    challenge_window_ms: Millis = Millis(10_000), 1, 30 * DAY;
    /// How long validators have for a verdict, in steady time.
    dispute_timeout_ms: Millis = Millis(60_000), 1, 30 * DAY;
    /// How long a part of a bond stays locked after it began to unbond, in block time.
    unbonding_ms: Millis = Millis(600_000), p.windows_ms(), 365 * DAY;
    /// The least bond with which a provider takes orders.
    provider_bond_min: Amount = Amount::from_units(10), 0, 1_000_000_000 * USD;
    /// The most hosts that one order may look at in one turn.
    visit_max: u32 = 1_024, 1, 1_000_000;
    /// The least bond that a lease locks.
    pledge_min: Amount = Amount::from_units(1), 0, 1_000_000 * USD;
    /// A lease locks so many hours of its own rate, if that is more than `pledge_min`.
    pledge_hours: u32 = 24, 0, 10_000;
    /// The part of its pledge that a provider loses for not becoming ready.
    slash_not_ready_bps: u32 = 100, 0, BPS;
    /// The part of its pledge that a provider loses for a stall.
    slash_stalled_bps: u32 = 1_000, 0, BPS;
    /// The part of its pledge that a provider loses for leaving early.
    slash_exit_bps: u32 = 500, 0, BPS;
    /// The part of its pledge that a provider loses for a wrong result.
    slash_fraud_bps: u32 = 10_000, 1, BPS;
    /// The part of every slash that is burned at least.
    burn_min_bps: u32 = 2_000, 1, BPS;
    /// The most that a reporter gets of what a slash leaves after compensation and `burn_min_bps`.
    reward_max_bps: u32 = 5_000, 0, 5_000;
    /// An offer stands at least so long when it is made, and is bound for so long: it may not become
    /// worse, nor be withdrawn. In block time.
    offer_lifetime_min_ms: Millis = Millis(60_000), 1, 365 * DAY;
    /// Unit prices are multiples of this.
    price_tick: Rate = Rate::per_hour(Amount::from_nanos(1_000)), 1, USD;
    /// How many orders a block tries again: of those that wake under one bell, and of those that
    /// go on where they were cut.
    retry_max: u32 = 32, 1, 10_000;
    /// The risk premium of a provider that has paid no fees yet.
    newcomer_premium_bps: u32 = 1_000, 0, 1_000_000;
    /// Fees paid that bring the newcomer's premium to nothing; less does in proportion.
    newcomer_fees: Amount = Amount::from_units(1), 1, 1_000_000 * USD;
    /// The risk premium of a provider all of whose leases were broken; fewer in proportion.
    risk_broken_bps: u32 = 5_000, 0, 1_000_000;
    /// The risk premium for one missed heartbeat a lease, in proportion.
    risk_missed_bps: u32 = 100, 0, 1_000_000;
    /// The risk premium for each dispute lost.
    risk_dispute_bps: u32 = 20_000, 0, 1_000_000;
    /// The highest risk premium.
    risk_max_bps: u32 = 100_000, 0, 10_000_000;
    /// What the first open challenge of a lease locks; the second locks twice as much, and so on.
    challenge_bond: Amount = Amount::from_units(5), 1, 1_000_000 * USD;
    /// Into how many parts a round of a challenge cuts the chain.
    bisect_arity: u32 = 16, u128::from(*muster_verify::ARITY.start()), u128::from(*muster_verify::ARITY.end());
    /// How long each side of a challenge may think in all, in steady time.
    dispute_clock_ms: Millis = Millis(60_000), 1, 30 * DAY;
    /// The least own stake, `mst`, with which a validator's stake counts.
    validator_stake_min: Amount = Amount::from_units(1), 1, 1_000_000_000 * USD;
    /// How long stake stays locked, and can be slashed, after it is taken back, in steady time. A
    /// vote only ever raises it: whoever trusts a genesis or a later block counts on what it was
    /// then, and stake must not be free before.
    stake_unbonding_ms: Millis = Millis(1_209_600_000), p.windows_ms(), 365 * DAY;
    /// The most by which a commission rises at a time ...
    commission_step_bps: u32 = 100, 0, BPS;
    /// ... and how long it stands before it can rise, in steady time.
    commission_interval_ms: Millis = Millis(86_400_000), 0, 365 * DAY;
    /// The part of its stake that a validator loses for a vote against a verdict.
    slash_wrong_vote_bps: u32 = 100, 0, BPS;
    /// The least stake with which one proposes, `mst`.
    proposal_stake_min: Amount = Amount::from_units(1), 1, 1_000_000_000 * USD;
    /// What a proposal costs beside its transaction's fee.
    proposal_fee: Amount = Amount::from_units(1), 0, 1_000_000 * USD;
    /// The least stake with which one votes, `mst`.
    vote_stake_min: Amount = Amount::from_units(1), 1, 1_000_000_000 * USD;
    /// How long a proposal is voted on, in steady time. No longer than unbonding takes, so that no
    /// stake fills the places of two voters.
    vote_period_ms: Millis = Millis(259_200_000), 1, p.stake_unbonding_ms.number();
    /// The part of all active stake that must vote for a proposal to pass.
    vote_quorum_bps: u32 = 3_334, 1, BPS;
    /// How long after its vote a proposal takes effect, in steady time.
    vote_delay_ms: Millis = Millis(86_400_000), 1, 365 * DAY;
    /// How long a provider at fault is jailed, in block time.
    jail_ms: Millis = Millis(3_600_000), 0, 365 * DAY;
    /// How long a slashed validator is jailed, in steady time.
    validator_jail_ms: Millis = Millis(600_000), 0, 365 * DAY;
    /// A provider that breaks so many leases in a row is jailed.
    jail_breaks: u32 = 5, 1, 1_000_000;
    /// What an auditor pledges.
    auditor_bond_min: Amount = Amount::from_units(100), 0, 1_000_000_000 * USD;
    /// The share of the leased value above which an operator's pay carries a fee.
    share_fee_from_bps: u32 = 2_000, 0, BPS - 1;
    /// The part of its pay that goes to fees where one operator has all leased value; in
    /// proportion from `share_fee_from_bps` on.
    share_fee_max_bps: u32 = 0, 0, BPS;
    /// What an order pays for waiting, for each lease that it misses, in steady time.
    rent_per_lease: Rate = Rate::per_hour(Amount::from_nanos(10)), 0, 1_000 * USD;
    /// What an order pays for each host that it looks at.
    fee_per_visit: Amount = Amount::from_nanos(10), 0, USD;
    /// What is held for a bid until it is decided.
    bid_deposit: Amount = Amount::from_nanos(10_000_000), 0, 1_000 * USD;
    /// How long a tenant may pick among the bids on its order, in steady time.
    pick_window_ms: Millis = Millis(60_000), 1, DAY;
    /// How long an order is open again for a lease that its provider broke, in block time.
    reauction_ms: Millis = Millis(600_000), 1, 30 * DAY;
    /// How long after it was reported ready a tenant may reject a plain lease, in steady time.
    ready_window_ms: Millis = Millis(10_000), 0, DAY;
    /// What a tenant that closes a lease pays for at least, in covered time.
    min_charge_ms: Millis = Millis(1_000), 0, DAY;
    /// The risk premium of a provider all of whose leases were rejected or declined; fewer in
    /// proportion.
    risk_refused_bps: u32 = 1_000, 0, 1_000_000;
    /// How many more hosts are compared once an order could be filled, and how many more at a time
    /// while one of its leases is beyond `look_ahead_slack_bps`.
    look_ahead: u32 = 8, 0, 1_000_000;
    /// How long a record stays in the state after it became final, in steady time: longer than
    /// anything that could still name it.
    retention_ms: Millis = Millis(600_000), p.windows_ms(), 365 * DAY;
    /// How much more than the least that a host not looked at could score a lease may score for
    /// `look_ahead` to end the walk, in parts of that least.
    look_ahead_slack_bps: u32 = 30_000, 0, 1_000_000;
    /// What each vote on blocks costs in stake, own and delegated, `mst`.
    seat_stake: Amount = Amount::from_units(1_000), 1, 1_000_000_000 * USD;
    /// The most votes on blocks.
    seats_max: u32 = 64, 1, 100;
    /// With fewer votes than this to give, the committee stays as it is.
    seats_min: u32 = 1, 1, 100;
    /// The part of its stake that a validator loses for contradicting votes on blocks.
    slash_equivocation_bps: u32 = 500, 1, BPS;
    /// A validator is jailed that misses this part of its turns in an epoch ...
    downtime_bps: u32 = 5_000, 1, BPS;
    /// ... and at least so many of them.
    downtime_turns_min: u64 = 8, 1, 1_000_000;
    /// With fewer votes on blocks than this the validators share no key for the beacon, and whoever
    /// proposes a block is trusted with it.
    beacon_seats_min: u32 = 2, 2, 101;
    /// The risk premium counts a provider with fewer leases than this as one with so many, so that
    /// one bad day at the beginning is not everything.
    risk_leases_min: u64 = 10, 1, 1_000_000;
    /// The version of the rules that the next block follows. A vote for another is an upgrade: a
    /// program that does not know it makes and accepts no block after it takes effect, and says so.
    /// Every program lets any version be voted for, or those that know it would part from the rest.
    protocol: u32 = crate::genesis::PROTOCOL, 1, u128::from(u16::MAX);
}

/// A parameter out of its bounds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("parameter `{name}` is {value}, it must be from {min} to {max}")]
pub struct ParamError {
    /// Which.
    pub name: &'static str,
    /// As given, in its own unit (money in nano-units).
    pub value: u128,
    /// The least allowed.
    pub min: u128,
    /// The most allowed.
    pub max: u128,
}

impl Params {
    /// The part of its pledge that a provider loses when a lease closes for this reason.
    #[must_use]
    pub const fn slash_bps(&self, reason: CloseReason) -> u32 {
        match reason {
            CloseReason::TenantClosed
            | CloseReason::OutOfFunds
            | CloseReason::ReadyRejected
            | CloseReason::Undelivered
            | CloseReason::Reclaimed
            | CloseReason::OfferEnded => 0,
            CloseReason::ProviderNotReady => self.slash_not_ready_bps,
            CloseReason::ProviderStalled => self.slash_stalled_bps,
            CloseReason::ProviderExit => self.slash_exit_bps,
            CloseReason::ProviderFraud => self.slash_fraud_bps,
        }
    }

    /// The auction's numbers.
    #[must_use]
    pub const fn rules(&self) -> Rules {
        Rules {
            visit_max: self.visit_max,
            look_ahead: self.look_ahead,
            look_ahead_slack_bps: self.look_ahead_slack_bps,
            pledge_min: self.pledge_min,
            pledge_hours: self.pledge_hours,
        }
    }

    /// Checks every parameter against its bounds.
    ///
    /// # Errors
    /// The first one that is out of them.
    pub fn check(&self) -> Result<(), ParamError> {
        for (name, value, min, max) in self.bounds() {
            if value < min || value > max {
                return Err(ParamError { name, value, min, max });
            }
        }
        Ok(())
    }

    /// Checks the parameters that a vote makes of `before`: every bound, and that nothing is lowered
    /// that others count on never to be.
    ///
    /// # Errors
    /// The first one that is out of them.
    pub fn check_change(&self, before: &Self) -> Result<(), ParamError> {
        self.check()?;
        let (name, value) = ("stake_unbonding_ms", self.stake_unbonding_ms.number());
        let (min, max) = (before.stake_unbonding_ms.number(), 365 * DAY);
        if value < min { Err(ParamError { name, value, min, max }) } else { Ok(()) }
    }

    /// The longest time from a lease's end to the last that can be taken for it: unbonding must
    /// outlast it.
    fn windows_ms(&self) -> u128 {
        // A commitment may come at the end of a window; the one after its draw, two blocks later,
        // may end in a challenge that uses up both clocks and the time for the verdict.
        self.challenge_window_ms
            .after(self.challenge_window_ms)
            .after(self.max_block_step_ms)
            .after(self.max_block_step_ms)
            .after(self.dispute_clock_ms)
            .after(self.dispute_clock_ms)
            .after(self.dispute_timeout_ms)
            .after(self.stall_gap_ms)
            .after(self.stall_close_ms)
            .number()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_within_bounds_and_changes_beyond_them_are_named() {
        assert_eq!(Params::default().check(), Ok(()));
        type Change = fn(&mut Params);
        let table: [(&str, Change); 7] = [
            ("vote_delay_ms", |params| params.vote_delay_ms = Millis(0)),
            ("burn_min_bps", |params| params.burn_min_bps = 0),
            ("slash_fraud_bps", |params| params.slash_fraud_bps = 10_001),
            ("stall_gap_ms", |params| params.stall_gap_ms = Millis(2_499)),
            ("unbonding_ms", |params| params.unbonding_ms = Millis(206_999)),
            ("price_tick", |params| params.price_tick = Rate::ZERO),
            ("reward_max_bps", |params| params.reward_max_bps = 5_001),
        ];
        for (name, change) in table {
            let mut params = Params::default();
            change(&mut params);
            assert_eq!(params.check().map_err(|error| error.name), Err(name));
        }
    }

    #[test]
    fn every_parameter_is_written_and_read_by_its_name() {
        let defaults = Params::default();
        for (name, value, _, _) in defaults.bounds() {
            let mut params = defaults.clone();
            assert!(params.set(name, value + 1), "{name}");
            assert_eq!(params.get(name), Some(value + 1), "{name}");
            assert_ne!(params, defaults, "{name}");
            assert!(params.set(name, value));
            assert_eq!(params, defaults, "{name}");
        }
        let mut params = defaults.clone();
        assert!(!params.set("no_such", 1) && !params.set("visit_max", 1 << 40));
        assert_eq!((params.get("no_such"), params), (None, defaults));
    }
}
