//! Parameters: every number that the rules use.

use crate::market::CloseReason;
use borsh::{BorshDeserialize, BorshSerialize};
use muster_market::Rules;
use muster_types::{Amount, Millis, Rate};
use serde::{Deserialize, Serialize};

/// The numbers of the rules. Parts of a whole are in hundredths of a per cent (`bps`), money in
/// `usd`. [`Params::check`] holds the bounds.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Params {
    /// Fee for each byte of a transaction.
    pub fee_per_byte: Amount,
    /// Fee for each transaction, beside its bytes.
    pub fee_per_action: Amount,

    /// The most that one block's step counts in steady time.
    pub max_block_step_ms: Millis,
    /// The longest gap between heartbeats that is still covered, in steady time.
    pub heartbeat_gap_max_ms: Millis,
    /// A lease stalls when its heartbeats are missing for longer than this, in steady time ...
    pub stall_gap_ms: Millis,
    /// ... and for at least so many blocks.
    pub stall_gap_blocks: u64,
    /// A stalled lease closes after so much more steady time.
    pub stall_close_ms: Millis,
    /// A granted lease closes unless it is ready within this, in steady time.
    pub ready_timeout_ms: Millis,
    /// The leases of an escrow that stays short for this long close, in steady time.
    pub overdrawn_grace_ms: Millis,
    /// How long a closed lease's results can be challenged, in steady time.
    pub challenge_window_ms: Millis,
    /// How long validators have for a verdict, in steady time.
    pub dispute_timeout_ms: Millis,
    /// How long a bond stays locked after the last lease is settled, in block time.
    pub unbonding_ms: Millis,

    /// The least bond with which a provider takes orders.
    pub provider_bond_min: Amount,
    /// The auction: hosts visited, and the pledge, `max(pledge_min, rate x pledge_hours)`.
    pub market: Rules,
    /// The part of its pledge that a provider loses for not becoming ready.
    pub slash_not_ready_bps: u32,
    /// The part of its pledge that a provider loses for a stall.
    pub slash_stalled_bps: u32,
    /// The part of its pledge that a provider loses for leaving early.
    pub slash_exit_bps: u32,
    /// The part of its pledge that a provider loses for a wrong result.
    pub slash_fraud_bps: u32,
    /// The part of every slash that is burned at least.
    pub burn_min_bps: u32,
    /// The most that a reporter gets of what a slash leaves after compensation and `burn_min_bps`.
    pub reward_max_bps: u32,

    /// An offer stands at least so long when it is made, in block time.
    pub offer_lifetime_min_ms: Millis,
    /// Unit prices are multiples of this.
    pub price_tick: Rate,
    /// How many waiting orders a block tries again.
    pub retry_max: u32,

    /// The risk premium of a provider that has paid no fees yet.
    pub newcomer_premium_bps: u32,
    /// Fees paid that bring the newcomer's premium to nothing; less does in proportion.
    pub newcomer_fees: Amount,
    /// The risk premium of a provider all of whose leases were broken; fewer in proportion.
    pub risk_broken_bps: u32,
    /// The risk premium for one missed heartbeat a lease, in proportion.
    pub risk_missed_bps: u32,
    /// The risk premium for each dispute lost.
    pub risk_dispute_bps: u32,
    /// The highest risk premium.
    pub risk_max_bps: u32,
}

impl Default for Params {
    /// Fit for one validator on loopback, and not unreasonable in the world.
    fn default() -> Self {
        Self {
            fee_per_byte: Amount::from_nanos(1),
            fee_per_action: Amount::from_nanos(1_000),
            max_block_step_ms: Millis(1_000),
            heartbeat_gap_max_ms: Millis(2_500),
            stall_gap_ms: Millis(3_000),
            stall_gap_blocks: 3,
            stall_close_ms: Millis(2_000),
            ready_timeout_ms: Millis(30_000),
            overdrawn_grace_ms: Millis(10_000),
            challenge_window_ms: Millis(10_000),
            dispute_timeout_ms: Millis(60_000),
            unbonding_ms: Millis(600_000),
            provider_bond_min: Amount::from_units(10),
            market: Rules::default(),
            slash_not_ready_bps: 100,
            slash_stalled_bps: 1_000,
            slash_exit_bps: 500,
            slash_fraud_bps: 10_000,
            burn_min_bps: 2_000,
            reward_max_bps: 5_000,
            offer_lifetime_min_ms: Millis(60_000),
            price_tick: Rate::per_hour(Amount::from_nanos(1_000)),
            retry_max: 32,
            newcomer_premium_bps: 1_000,
            newcomer_fees: Amount::from_units(1),
            risk_broken_bps: 5_000,
            risk_missed_bps: 100,
            risk_dispute_bps: 20_000,
            risk_max_bps: 100_000,
        }
    }
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
            CloseReason::TenantClosed | CloseReason::OutOfFunds => 0,
            CloseReason::ProviderNotReady => self.slash_not_ready_bps,
            CloseReason::ProviderStalled => self.slash_stalled_bps,
            CloseReason::ProviderExit => self.slash_exit_bps,
            CloseReason::ProviderFraud => self.slash_fraud_bps,
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

    /// Name, value, least and most of every parameter. Where one parameter bounds another, the
    /// bound is its value here: a covered gap is no stall, and unbonding outlasts every window.
    fn bounds(&self) -> Vec<(&'static str, u128, u128, u128)> {
        const DAY: u64 = 86_400_000;
        const USD: u128 = 1_000_000_000;
        const BPS: u128 = 10_000;
        let ms = |name, value: Millis, min: u64, max: u64| {
            (name, u128::from(value.0), u128::from(min), u128::from(max))
        };
        let bps = |name, value: u32, min: u128, max: u128| (name, u128::from(value), min, max);
        let usd = |name, value: Amount, min: u128, max: u128| (name, value.nanos(), min, max);
        let windows = self
            .challenge_window_ms
            .after(self.dispute_timeout_ms)
            .after(self.stall_gap_ms)
            .after(self.stall_close_ms);
        vec![
            usd("fee_per_byte", self.fee_per_byte, 0, USD),
            usd("fee_per_action", self.fee_per_action, 0, 1_000 * USD),
            ms("max_block_step_ms", self.max_block_step_ms, 1, DAY),
            ms("heartbeat_gap_max_ms", self.heartbeat_gap_max_ms, 1, DAY),
            ms("stall_gap_ms", self.stall_gap_ms, self.heartbeat_gap_max_ms.0, DAY),
            ("stall_gap_blocks", u128::from(self.stall_gap_blocks), 1, 1_000_000),
            ms("stall_close_ms", self.stall_close_ms, 1, DAY),
            ms("ready_timeout_ms", self.ready_timeout_ms, 1, DAY),
            ms("overdrawn_grace_ms", self.overdrawn_grace_ms, 0, 30 * DAY),
            ms("challenge_window_ms", self.challenge_window_ms, 1, 30 * DAY),
            ms("dispute_timeout_ms", self.dispute_timeout_ms, 1, 30 * DAY),
            ms("unbonding_ms", self.unbonding_ms, windows.0, 365 * DAY),
            usd("provider_bond_min", self.provider_bond_min, 0, 1_000_000_000 * USD),
            bps("market.visit_max", self.market.visit_max, 1, 1_000_000),
            usd("market.pledge_min", self.market.pledge_min, 0, 1_000_000 * USD),
            bps("market.pledge_hours", self.market.pledge_hours, 0, 10_000),
            bps("slash_not_ready_bps", self.slash_not_ready_bps, 0, BPS),
            bps("slash_stalled_bps", self.slash_stalled_bps, 0, BPS),
            bps("slash_exit_bps", self.slash_exit_bps, 0, BPS),
            bps("slash_fraud_bps", self.slash_fraud_bps, 1, BPS),
            bps("burn_min_bps", self.burn_min_bps, 1, BPS),
            bps("reward_max_bps", self.reward_max_bps, 0, 5_000),
            ms("offer_lifetime_min_ms", self.offer_lifetime_min_ms, 1, 365 * DAY),
            usd("price_tick", self.price_tick.amount_per_hour(), 1, USD),
            bps("retry_max", self.retry_max, 1, 10_000),
            bps("newcomer_premium_bps", self.newcomer_premium_bps, 0, 1_000_000),
            usd("newcomer_fees", self.newcomer_fees, 1, 1_000_000 * USD),
            bps("risk_broken_bps", self.risk_broken_bps, 0, 1_000_000),
            bps("risk_missed_bps", self.risk_missed_bps, 0, 1_000_000),
            bps("risk_dispute_bps", self.risk_dispute_bps, 0, 1_000_000),
            bps("risk_max_bps", self.risk_max_bps, 0, 10_000_000),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_within_bounds_and_changes_beyond_them_are_named() {
        assert_eq!(Params::default().check(), Ok(()));
        type Change = fn(&mut Params);
        let table: [(&str, Change); 6] = [
            ("burn_min_bps", |params| params.burn_min_bps = 0),
            ("slash_fraud_bps", |params| params.slash_fraud_bps = 10_001),
            ("stall_gap_ms", |params| params.stall_gap_ms = Millis(2_499)),
            ("unbonding_ms", |params| params.unbonding_ms = Millis(74_999)),
            ("price_tick", |params| params.price_tick = Rate::ZERO),
            ("reward_max_bps", |params| params.reward_max_bps = 5_001),
        ];
        for (name, change) in table {
            let mut params = Params::default();
            change(&mut params);
            assert_eq!(params.check().map_err(|error| error.name), Err(name));
        }
    }
}
