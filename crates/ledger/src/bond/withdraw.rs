//! `BondWithdraw`: pays out every part of the bond that is due; a provider whose unbonding time is
//! over is gone with it.

use super::{Bond, change};
use crate::{
    Reject,
    ctx::{By, Ctx, sum},
    provider::{self, Provider, ProviderStatus},
};
use muster_types::{Amount, Asset};

pub(crate) fn run(ctx: &mut Ctx<'_>, by: &By) -> Result<(), Reject> {
    let now = ctx.env.head.now;
    let leaves = match ctx.find::<Provider>(&by.signer).map(|provider| provider.status) {
        Some(ProviderStatus::Unbonding { until }) => Some(until),
        None
        | Some(
            ProviderStatus::Registered
            | ProviderStatus::Active
            | ProviderStatus::Draining
            | ProviderStatus::Gone
            | ProviderStatus::Jailed { .. },
        ) => None,
    };
    let mut bond: Bond = ctx.find(&by.signer).unwrap_or_default();
    let parts = bond.unbonding.iter().map(|part| part.until);
    let Some(from) = parts.chain(leaves).min() else {
        return Err(Reject::wrong_state("bond", "not unbonding"));
    };
    if now < from {
        return Err(Reject::TooEarly { from, now });
    }
    let (due, later): (Vec<_>, Vec<_>) =
        std::mem::take(&mut bond.unbonding).into_iter().partition(|part| part.until <= now);
    bond.unbonding = later;
    let amount = due.iter().try_fold(Amount::ZERO, |total, part| sum(total, part.amount))?;
    if !amount.is_zero() {
        change(ctx, &by.signer, &bond);
        ctx.credit(&by.signer, Asset::Usd, amount)?;
    }
    if leaves.is_some_and(|until| until <= now) {
        provider::drain::leave(ctx, &by.signer)?;
    }
    Ok(())
}
