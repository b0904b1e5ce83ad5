//! What a rule works with: the state under change, the block it runs in, the events it yields.

use crate::{
    Event, Head, Params, Reject,
    account::Account,
    genesis::Supply,
    keys::{self, Record},
    stake::Views,
    state::{Changes, Scratch},
};
use muster_types::{AccountId, Amount, Asset, TxId};
use std::rc::Rc;

/// What does not change within a block.
pub(crate) struct Env {
    /// The head that this block makes.
    pub(crate) head: Head,
    /// The head of the block before.
    pub(crate) previous: Head,
    pub(crate) params: Params,
    pub(crate) proposer: AccountId,
    pub(crate) views: Views,
}

/// Who acts, by which transaction.
pub(crate) struct By {
    pub(crate) signer: AccountId,
    pub(crate) tx: TxId,
    /// The fee without the tip: what nobody could have had back.
    pub(crate) floor: Amount,
    pub(crate) fee: Amount,
}

/// The state under change. Dropped, it leaves no trace.
pub(crate) struct Ctx<'a> {
    pub(crate) scratch: Scratch<'a>,
    pub(crate) env: &'a Env,
    pub(crate) events: Vec<Event>,
    /// Taken off somebody for the validators, and not paid out to them yet.
    pub(crate) fees: Amount,
}

/// What a rule did.
pub(crate) struct Effects {
    pub(crate) changes: Changes,
    pub(crate) events: Vec<Event>,
}

impl<'a> Ctx<'a> {
    pub(crate) fn new(scratch: Scratch<'a>, env: &'a Env) -> Self {
        Self { scratch, env, events: Vec::new(), fees: Amount::ZERO }
    }

    pub(crate) fn into_effects(self) -> Effects {
        Effects { changes: self.scratch.into_changes(), events: self.events }
    }

    /// Runs a rule that applies whole or changes nothing.
    pub(crate) fn attempt<T>(
        &mut self,
        rule: impl FnOnce(&mut Self) -> Result<T, Reject>,
    ) -> Result<T, Reject> {
        let (mark, events, fees) = (self.scratch.mark(), self.events.len(), self.fees);
        let done = rule(self);
        if done.is_ok() {
            self.scratch.keep(mark);
        } else {
            self.scratch.undo(mark);
            self.events.truncate(events);
            self.fees = fees;
        }
        done
    }

    /// Puts `usd` that was just taken off somebody into the block's fees.
    pub(crate) fn fee(&mut self, amount: Amount) -> Result<(), Reject> {
        self.fees = sum(self.fees, amount)?;
        Ok(())
    }

    pub(crate) fn emit(&mut self, event: Event) {
        self.events.push(event);
    }

    pub(crate) fn find<R: Record>(&self, key: &R::Key) -> Option<R> {
        keys::find(&self.scratch, key).map(Rc::unwrap_or_clone)
    }

    pub(crate) fn load<R: Record>(&self, key: &R::Key) -> Result<R, Reject> {
        self.find(key).ok_or_else(|| Reject::not_found(R::KIND))
    }

    pub(crate) fn store<R: Record>(&mut self, key: &R::Key, record: &R) {
        keys::store(&mut self.scratch, key, record);
    }

    /// Takes free money off an account.
    pub(crate) fn debit(
        &mut self,
        from: &AccountId,
        asset: Asset,
        amount: Amount,
    ) -> Result<(), Reject> {
        let mut account: Account = self.find(from).ok_or(Reject::NoAccount)?;
        let balance = account.balance_mut(asset);
        let available = *balance;
        *balance = available
            .checked_sub(amount)
            .ok_or(Reject::InsufficientFunds { needed: amount, available })?;
        self.store(from, &account);
        Ok(())
    }

    /// Gives free money to an account, which begins to exist by it.
    pub(crate) fn credit(
        &mut self,
        to: &AccountId,
        asset: Asset,
        amount: Amount,
    ) -> Result<(), Reject> {
        if amount.is_zero() {
            return Ok(());
        }
        let mut account: Account = self.find(to).unwrap_or_default();
        let balance = account.balance_mut(asset);
        *balance = sum(*balance, amount)?;
        self.store(to, &account);
        Ok(())
    }

    /// Changes what is known of the supply.
    pub(crate) fn supply(
        &mut self,
        change: impl FnOnce(&mut Supply) -> Result<(), Reject>,
    ) -> Result<(), Reject> {
        let mut supply = keys::SUPPLY.get(&self.scratch, &()).unwrap_or_default();
        change(&mut supply)?;
        keys::SUPPLY.put(&mut self.scratch, &(), &supply);
        Ok(())
    }
}

/// `left + right`.
pub(crate) fn sum(left: Amount, right: Amount) -> Result<Amount, Reject> {
    left.checked_add(right).ok_or(Reject::Overflow)
}

/// `whole - part`, where the books say that `part` is in `whole`.
pub(crate) fn rest(whole: Amount, part: Amount) -> Result<Amount, Reject> {
    whole.checked_sub(part).ok_or(Reject::Overflow)
}

/// `floor(amount * part / whole)`.
pub(crate) fn share_floor(amount: Amount, part: Amount, whole: Amount) -> Result<Amount, Reject> {
    amount.mul_div_floor(part.nanos(), whole.nanos()).ok_or(Reject::Overflow)
}

/// `ceil(amount * bps / 10_000)`.
pub(crate) fn part_ceil(amount: Amount, bps: u32) -> Result<Amount, Reject> {
    let kept = 10_000u32.saturating_sub(bps);
    rest(amount, amount.split_floor(kept).part)
}

/// Refuses nothing at all as an amount.
pub(crate) fn positive(amount: Amount) -> Result<(), Reject> {
    if amount.is_zero() { Err(Reject::ZeroAmount) } else { Ok(()) }
}

/// One more.
pub(crate) fn up(count: u32) -> Result<u32, Reject> {
    count.checked_add(1).ok_or(Reject::Overflow)
}

/// One less, where the books say that there is one.
pub(crate) fn down(count: u32) -> Result<u32, Reject> {
    count.checked_sub(1).ok_or(Reject::Overflow)
}
