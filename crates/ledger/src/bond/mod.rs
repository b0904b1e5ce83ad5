//! Bonds: an account's `usd` at stake, one bond for all its duties.
//!
//! ```text
//! amount = pledged + free        unbonding: on its way out, part of neither
//! ```
//!
//! What is *pledged* stands for one duty: a lease, an auditor's registration, a service. The same
//! money is never pledged twice, and pledges never exceed the amount. A provider's
//! `provider_bond_min` is a threshold of the amount and pledges nothing: what a lease can lock is
//! what is free.
//!
//! | part | action or event | becomes |
//! |---|---|---|
//! | free `usd` of the account | `BondAdd`, from any account, provider or not | amount |
//! | free | a lease is granted, `AuditorRegister`, `ServiceRegister` | pledged |
//! | pledged | a lease is settled; `unbonding_ms` after `AuditorLeave`, `ServiceUnregister` | free |
//! | pledged | slashed for the duty that pledged it | compensation, reward, burned (see [`slash`]) |
//! | free | `BondUnbond`, as far as it is not what an active provider needs at least | unbonding(until) |
//! | free | the last lease of a draining provider is settled | unbonding(until), all of it |
//! | unbonding | `BondWithdraw` after `until` | free `usd` of the account |
//!
//! What unbonds backs nothing any more and cannot be slashed: only free money unbonds, and no slash
//! reaches beyond the pledge of the duty at fault. `until` is `unbonding_ms` ahead, in block time.
//!
//! A duty that is registered (auditor or service):
//!
//! | state | action or event | next |
//! |---|---|---|
//! | none | `AuditorRegister`, `ServiceRegister`: the bond has the pledge free | registered: pledged |
//! | registered | `ServiceRegister` with a larger pledge | registered: the difference is pledged too |
//! | registered | `AuditorLeave`, `ServiceUnregister` | leaving(until): still pledged |
//! | leaving | `AuditorRegister`, `ServiceRegister` | registered, anew: what the pledge lacks is pledged too |
//! | leaving | the block's end at or after `until` | none: free |
//!
//! `unbonding_ms` is never shorter than all windows in which a fault can still be found, so a duty
//! answers for its past with its pledge.

pub(crate) mod add;
mod duty;
pub(crate) mod service_register;
pub(crate) mod service_unregister;
pub mod slash;
pub(crate) mod unbond;
pub(crate) mod withdraw;

pub use duty::{Duty, DutyKind};
pub(crate) use duty::{end_left, leave, register};

use crate::{
    Event, Reject,
    ctx::{Ctx, rest, sum},
    keys::{self, Listing, Record, Table},
    market, provider,
    state::State,
};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_types::{AccountId, Amount, Millis};
use serde::{Deserialize, Serialize};

/// A part of a bond that is on its way out.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Unbonding {
    /// How much.
    pub amount: Amount,
    /// Block time from which `BondWithdraw` pays it.
    pub until: Millis,
}

/// An account's bond. All amounts in `usd`.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Bond {
    /// What is at stake, pledged parts included; what unbonds is not.
    pub amount: Amount,
    /// The part of it that duties have locked; never more than the amount.
    pub pledged: Amount,
    /// All that it ever lost.
    pub slashed: Amount,
    /// What is on its way out, oldest first.
    pub unbonding: Vec<Unbonding>,
}

impl Bond {
    /// The part that no duty has locked.
    #[must_use]
    pub const fn free(&self) -> Amount {
        self.amount.saturating_sub(self.pledged)
    }
}

impl Record for Bond {
    type Key = AccountId;
    const KIND: &'static str = "bond";
    const TABLE: Table<AccountId, Self> = keys::BONDS;
    const LISTING: Listing = Listing::Never;
}

/// The part of an account's bond that no duty has locked.
#[must_use]
pub fn free(state: &dyn State, account: &AccountId) -> Amount {
    keys::BONDS.get(state, account).unwrap_or_default().free()
}

/// Locks a free part of a bond for a duty, which keeps the amount and gives it back by
/// [`release`], or loses of it by [`take`]. Returns what is free then.
pub(crate) fn pledge(
    ctx: &mut Ctx<'_>,
    account: &AccountId,
    amount: Amount,
) -> Result<Amount, Reject> {
    let mut bond: Bond = ctx.find(account).unwrap_or_default();
    let available = bond.free();
    if amount > available {
        return Err(Reject::InsufficientBond { needed: amount, available });
    }
    bond.pledged = sum(bond.pledged, amount)?;
    store(ctx, account, &bond);
    Ok(bond.free())
}

/// Frees what a duty has locked.
pub(crate) fn release(
    ctx: &mut Ctx<'_>,
    account: &AccountId,
    amount: Amount,
) -> Result<(), Reject> {
    let mut bond: Bond = ctx.find(account).unwrap_or_default();
    bond.pledged = rest(bond.pledged, amount)?;
    store(ctx, account, &bond);
    Ok(())
}

/// Takes money out of a pledge for good. The caller gives it to somebody or burns it, and takes it
/// off what its duty has locked.
pub(crate) fn take(ctx: &mut Ctx<'_>, account: &AccountId, amount: Amount) -> Result<(), Reject> {
    let mut bond: Bond = ctx.find(account).unwrap_or_default();
    bond.pledged = rest(bond.pledged, amount)?;
    bond.amount = rest(bond.amount, amount)?;
    bond.slashed = sum(bond.slashed, amount)?;
    change(ctx, account, &bond);
    Ok(())
}

/// All that is free of an account's bond begins to unbond. It never comes to more than one part
/// beyond [`crate::limits::UNBONDING`]: who leaves so takes back all that is due before it can
/// leave again.
pub(crate) fn unbond_free(
    ctx: &mut Ctx<'_>,
    account: &AccountId,
    until: Millis,
) -> Result<(), Reject> {
    let mut bond: Bond = ctx.find(account).unwrap_or_default();
    let amount = bond.free();
    if amount.is_zero() {
        return Ok(());
    }
    bond.amount = rest(bond.amount, amount)?;
    bond.unbonding.push(Unbonding { amount, until });
    change(ctx, account, &bond);
    Ok(())
}

/// Stores a bond whose amount or queue has changed, tells of it, and lets the account's provider
/// know.
fn change(ctx: &mut Ctx<'_>, account: &AccountId, bond: &Bond) {
    store(ctx, account, bond);
    ctx.emit(Event::BondChanged { account: *account, amount: bond.amount });
    provider::bond_changed(ctx, account);
}

/// A bond that never was is no record.
fn store(ctx: &mut Ctx<'_>, account: &AccountId, bond: &Bond) {
    let known: Option<Bond> = ctx.find(account);
    if known.as_ref().is_none_or(|known| known.free() < bond.free()) {
        market::wake::provider_changed(account, &mut ctx.scratch);
    }
    if known.is_some() || *bond != Bond::default() {
        ctx.store(account, bond);
    }
}

#[cfg(test)]
mod compensation;
#[cfg(test)]
mod tests;
