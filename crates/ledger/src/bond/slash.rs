//! Slashing: a fault costs a part of the lease's pledge, and nothing else of the bond.
//!
//! ```text
//! amount      = ceil(pledge x slash(reason))
//! burned      >= ceil(amount x burn_min)
//! compensated = min(amount - burn_min, what the tenant paid on this lease)
//! rewarded    = floor(what is left x reward_max), for fraud only
//! burned      = the rest
//! ```
//!
//! | reason | slash(reason) | who gets of it |
//! |---|---|---|
//! | provider_not_ready | `slash_not_ready_bps` | burned: the tenant has paid nothing |
//! | provider_stalled | `slash_stalled_bps` | the tenant, burned |
//! | provider_exit | `slash_exit_bps` | the tenant, burned |
//! | provider_fraud | `slash_fraud_bps` | the tenant, the reporter, burned |
//! | any other | nothing | |
//!
//! A lease is slashed when it is settled, once, for fraud alone where there was any: only then is
//! it known what of its withheld pay the provider got, and what came back to the escrow. The tenant
//! is given at most what the provider was paid, so that together with what came back it never has
//! more than it began with, and to bring about a fault that is not fraud gains it nothing. Whoever
//! is tenant, provider and reporter at once loses what is burned.

use super::take;
use crate::{
    Event, Reject,
    ctx::{Ctx, rest, sum},
    escrow::Escrow,
    market::{CloseReason, Lease},
};
use muster_types::{AccountId, Amount, Asset, LeaseId};

/// How a slash is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Division {
    pub(crate) compensated: Amount,
    pub(crate) rewarded: Amount,
    pub(crate) burned: Amount,
}

/// Slashes the provider of `lease`, whose pay is released or forfeited, for `reason`, and stores
/// the lease. `reporter` is rewarded.
pub(crate) fn slash(
    ctx: &mut Ctx<'_>,
    id: &LeaseId,
    lease: &mut Lease,
    reason: CloseReason,
    reporter: Option<AccountId>,
) -> Result<(), Reject> {
    let params = &ctx.env.params;
    let amount = part_ceil(lease.pledge, params.slash_bps(reason))?;
    if amount.is_zero() {
        return Ok(());
    }
    let reward_bps = if reporter.is_some() { params.reward_max_bps } else { 0 };
    let division = divide(amount, lease.paid, params.burn_min_bps, reward_bps)?;
    let Division { compensated, rewarded, burned } = division;

    lease.pledge = rest(lease.pledge, amount)?;
    lease.compensated = compensated;
    ctx.store(id, lease);

    let provider_id = lease.provider();
    take(ctx, &provider_id, amount)?;

    let mut escrow: Escrow = ctx.load(&lease.escrow)?;
    escrow.compensated = sum(escrow.compensated, compensated)?;
    ctx.store(&lease.escrow, &escrow);
    ctx.credit(&lease.tenant, Asset::Usd, compensated)?;
    if let Some(reporter) = reporter {
        ctx.credit(&reporter, Asset::Usd, rewarded)?;
    }
    ctx.supply(|supply| {
        supply.usd.burned = sum(supply.usd.burned, burned)?;
        Ok(())
    })?;
    ctx.emit(Event::Slashed {
        provider: provider_id,
        lease: *id,
        of: lease.parties(),
        reporter,
        reason,
        amount,
        compensated,
        rewarded,
        burned,
    });
    Ok(())
}

/// `ceil(amount * bps / 10_000)`.
fn part_ceil(amount: Amount, bps: u32) -> Result<Amount, Reject> {
    let kept = 10_000u32.saturating_sub(bps);
    rest(amount, amount.split_floor(kept).part)
}

/// Divides what somebody loses: first `burn_min`, then up to `loss`, then the reward.
pub(crate) fn divide(
    amount: Amount,
    loss: Amount,
    burn_min_bps: u32,
    reward_bps: u32,
) -> Result<Division, Reject> {
    let burn_min = part_ceil(amount, burn_min_bps)?;
    let left = rest(amount, burn_min)?;
    let compensated = left.min(loss);
    let left = rest(left, compensated)?;
    let rewarded = left.split_floor(reward_bps).part;
    let burned = sum(burn_min, rest(left, rewarded)?)?;
    Ok(Division { compensated, rewarded, burned })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_is_divided_by_the_rule_and_adds_up() {
        // (amount, loss, burn_min, reward) -> (compensated, rewarded, burned)
        let table = [
            ((1_000, 0, 2_000, 0), (0, 0, 1_000)),
            ((1_000, 300, 2_000, 0), (300, 0, 700)),
            ((1_000, 300, 2_000, 5_000), (300, 250, 450)),
            ((1_000, 5_000, 2_000, 5_000), (800, 0, 200)),
            ((1, 1, 2_000, 5_000), (0, 0, 1)),
            ((7, 3, 1, 5_000), (3, 1, 3)),
            ((1_000, 0, 10_000, 5_000), (0, 0, 1_000)),
        ];
        let nanos = Amount::from_nanos;
        for ((amount, loss, burn, reward), (compensated, rewarded, burned)) in table {
            let division = divide(nanos(amount), nanos(loss), burn, reward);
            let expected = Division {
                compensated: nanos(compensated),
                rewarded: nanos(rewarded),
                burned: nanos(burned),
            };
            assert_eq!(division, Ok(expected), "{amount} {loss} {burn} {reward}");
            assert_eq!(compensated + rewarded + burned, amount);
        }
        assert_eq!(part_ceil(nanos(10_001), 1), Ok(nanos(2)));
        assert_eq!(part_ceil(nanos(10_000), 1), Ok(nanos(1)));
        assert_eq!(part_ceil(nanos(5), 0), Ok(nanos(0)));
        assert_eq!(part_ceil(nanos(5), 10_000), Ok(nanos(5)));
    }
}
