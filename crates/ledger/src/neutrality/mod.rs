//! Neutrality: how far the market is in few hands, and what that costs.
//!
//! The *leased value* is the sum of the rates of all open leases; an operator's *share* is the part
//! of it on the hosts of the providers that it operates ([`crate::provider::operator_of`]). Three
//! running totals make a share a look-up: of everything ([`crate::keys::OPEN_RATE`]), of an operator
//! ([`Operator`]) and of a provider.
//!
//! | event | provider | its operator | everything |
//! |---|---|---|---|
//! | a lease is granted | + rate | + rate | + rate |
//! | a lease closes | - rate | - rate | - rate |
//! | a provider's operator changes | | its total moves from the one to the other | |
//!
//! What is paid out for a lease carries a fee to the validators that rises with the share that the
//! provider's operator has at that moment:
//!
//! ```text
//! fee = floor(pay x share_fee_max x max(0, share - share_fee_from) / (1 - share_fee_from))
//! ```
//!
//! The share is rounded down to whole thousand-millionths first. The provider bears the fee, and
//! `share_fee_max_bps` is zero by default. A lease counts while it is open, so pay that is withheld
//! and released later meets the share of that later moment; while nothing is leased, nobody has a
//! share.
//!
//! Who splits its hosts among accounts that declare no common operator is not seen: every figure is
//! a lower bound ([`concentration()`]), the fee is no more than a nudge, and no rule that keeps money
//! safe leans on either.

mod concentration;

pub use concentration::{Basis, Concentration, Share, concentration};

use crate::{
    Params, Reject,
    ctx::{Ctx, rest, sum},
    keys::{self, Listing, Record, Table},
    provider::{Provider, operator_by, operator_of},
};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_types::{AccountId, Amount, Rate};
use serde::{Deserialize, Serialize};

/// A share is computed in parts of so many.
const WHOLE: u128 = 1_000_000_000;

/// Parts of [`WHOLE`] in a hundredth of a per cent.
const PARTS_PER_BPS: u128 = WHOLE / 10_000;

/// What an operator's providers have leased. There is none where they have nothing leased.
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
pub struct Operator {
    /// The sum of the rates of their open leases.
    pub open_rate: Rate,
}

impl Record for Operator {
    type Key = AccountId;
    const KIND: &'static str = "operator";
    const TABLE: Table<AccountId, Self> = keys::OPERATORS;
    const LISTING: Listing = Listing::Never;
}

/// Leases of a provider with this record, `rate` in all, begin to count. The caller stores the
/// record.
pub(crate) fn opened(
    ctx: &mut Ctx<'_>,
    id: &AccountId,
    provider: &mut Provider,
    rate: Rate,
) -> Result<(), Reject> {
    count(ctx, id, provider, |total| plus(total, rate))
}

/// A lease of a provider ceases to count.
pub(crate) fn closed(ctx: &mut Ctx<'_>, id: &AccountId, rate: Rate) -> Result<(), Reject> {
    let mut provider: Provider = ctx.load(id)?;
    count(ctx, id, &mut provider, |total| minus(total, rate))?;
    ctx.store(id, &provider);
    Ok(())
}

/// A provider's operator has changed.
pub(crate) fn moved(
    ctx: &mut Ctx<'_>,
    provider: &AccountId,
    before: AccountId,
    after: AccountId,
) -> Result<(), Reject> {
    let rate = ctx.load::<Provider>(provider)?.open_rate;
    set_operator(ctx, &before, |total| minus(total, rate))?;
    set_operator(ctx, &after, |total| plus(total, rate))
}

/// What the validators get of a provider's pay.
pub(crate) fn fee(ctx: &Ctx<'_>, provider: &AccountId, pay: Amount) -> Result<Amount, Reject> {
    let params = &ctx.env.params;
    if params.share_fee_max_bps == 0 {
        return Ok(Amount::ZERO);
    }
    let operator = operator_of(&ctx.scratch, provider);
    let operated = ctx.find::<Operator>(&operator).unwrap_or_default().open_rate;
    let total = keys::OPEN_RATE.get(&ctx.scratch, &()).unwrap_or(Rate::ZERO);
    fee_of(pay, operated, total, params).ok_or(Reject::Overflow)
}

fn fee_of(pay: Amount, operated: Rate, total: Rate, params: &Params) -> Option<Amount> {
    let share = part_of(operated.amount_per_hour(), total.amount_per_hour());
    let from = PARTS_PER_BPS.checked_mul(u128::from(params.share_fee_from_bps))?;
    let over = share.saturating_sub(from);
    let numerator = u128::from(params.share_fee_max_bps).checked_mul(over)?;
    let denominator = WHOLE.checked_sub(from)?.checked_mul(10_000)?;
    pay.mul_div_floor(numerator, denominator)
}

/// `part` as a part of `total`, in parts of [`WHOLE`], rounded down; zero of nothing.
fn part_of(part: Amount, total: Amount) -> u128 {
    Amount::from_nanos(WHOLE).mul_div_floor(part.nanos(), total.nanos()).unwrap_or_default().nanos()
}

fn count(
    ctx: &mut Ctx<'_>,
    id: &AccountId,
    provider: &mut Provider,
    change: impl Fn(Rate) -> Result<Rate, Reject>,
) -> Result<(), Reject> {
    provider.open_rate = change(provider.open_rate)?;
    let total = change(keys::OPEN_RATE.get(&ctx.scratch, &()).unwrap_or(Rate::ZERO))?;
    keys::OPEN_RATE.put(&mut ctx.scratch, &(), &total);
    set_operator(ctx, &operator_by(&ctx.scratch, id, provider), change)
}

fn set_operator(
    ctx: &mut Ctx<'_>,
    id: &AccountId,
    change: impl Fn(Rate) -> Result<Rate, Reject>,
) -> Result<(), Reject> {
    let known: Option<Operator> = ctx.find(id);
    let open_rate = change(known.unwrap_or_default().open_rate)?;
    if open_rate != Rate::ZERO {
        ctx.store(id, &Operator { open_rate });
    } else if known.is_some() {
        keys::remove::<Operator>(&mut ctx.scratch, id);
    }
    Ok(())
}

fn plus(total: Rate, rate: Rate) -> Result<Rate, Reject> {
    sum(total.amount_per_hour(), rate.amount_per_hour()).map(Rate::per_hour)
}

fn minus(total: Rate, rate: Rate) -> Result<Rate, Reject> {
    rest(total.amount_per_hour(), rate.amount_per_hour()).map(Rate::per_hour)
}

#[cfg(test)]
mod tests;
