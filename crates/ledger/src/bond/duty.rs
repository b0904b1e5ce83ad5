//! Duties that are registered, and pledge a part of the bond for as long.

use super::{pledge, release};
use crate::{
    Event, Reject,
    block::{due, for_each},
    ctx::{Ctx, rest},
    keys::{self, Listing, Record, Table},
};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_types::{AccountId, Amount, Hash, Millis};
use serde::{Deserialize, Serialize};

/// What is promised.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DutyKind {
    /// To sign only attributes that were checked.
    Auditor,
    /// A service by its name; the ledger does not know what it promises.
    Service(String),
}

/// A duty of an account, under (account, [`DutyKind::id`]).
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Duty {
    /// What is promised.
    pub kind: DutyKind,
    /// The part of the bond that it locks, `usd`.
    pub pledge: Amount,
    /// Block time since which it has been registered without a break.
    pub since: Millis,
    /// Given up: the block time at which the pledge is freed.
    pub leaving: Option<Millis>,
}

impl DutyKind {
    /// What the duty is kept under beside its account.
    #[must_use]
    pub fn id(&self) -> Hash {
        let of = |parts: &[&[u8]]| Hash::of("muster duty v1", parts);
        match self {
            Self::Auditor => of(&[b"auditor"]),
            Self::Service(name) => of(&[b"service", name.as_bytes()]),
        }
    }
}

impl Record for Duty {
    type Key = (AccountId, Hash);
    const KIND: &'static str = "registration";
    const TABLE: Table<(AccountId, Hash), Self> = keys::DUTIES;
    const LISTING: Listing = Listing::Always;

    fn entries(&self, key: &(AccountId, Hash), emit: &mut dyn FnMut(Vec<u8>)) {
        if let Some(until) = self.leaving {
            emit(keys::DUTIES_DUE.key(&(until, *key)));
        }
    }
}

/// Registers a duty that locks at least `amount`, or brings back one that was being left.
pub(crate) fn register(
    ctx: &mut Ctx<'_>,
    account: &AccountId,
    kind: DutyKind,
    amount: Amount,
) -> Result<(), Reject> {
    let key = (*account, kind.id());
    let now = ctx.env.head.now;
    let known: Option<Duty> = ctx.find(&key);
    let (locked, since) = match &known {
        None => (Amount::ZERO, now),
        Some(Duty { leaving: Some(_), pledge, .. }) => (*pledge, now),
        Some(Duty { leaving: None, pledge, .. }) if *pledge >= amount => {
            return Err(Reject::Duplicate);
        }
        Some(Duty { leaving: None, pledge, since, .. }) => (*pledge, *since),
    };
    let wanted = amount.max(locked);
    pledge(ctx, account, rest(wanted, locked)?)?;
    store(ctx, &key, &Duty { kind, pledge: wanted, since, leaving: None });
    Ok(())
}

/// Gives a duty up: its pledge is freed `unbonding_ms` from now.
pub(crate) fn leave(ctx: &mut Ctx<'_>, account: &AccountId, kind: &DutyKind) -> Result<(), Reject> {
    let key = (*account, kind.id());
    let mut duty: Duty = ctx.load(&key)?;
    if duty.leaving.is_some() {
        return Err(Reject::wrong_state("registration", "leaving"));
    }
    duty.leaving = Some(ctx.env.head.now.after(ctx.env.params.unbonding_ms));
    store(ctx, &key, &duty);
    Ok(())
}

/// The block's end: frees the pledges of the duties that were left long enough ago.
pub(crate) fn end_left(ctx: &mut Ctx<'_>) {
    let left = due(ctx, keys::DUTIES_DUE, ctx.env.head.now);
    for_each(ctx, left, |ctx, key| {
        let duty: Duty = ctx.load(key)?;
        keys::remove::<Duty>(&mut ctx.scratch, key);
        release(ctx, &key.0, duty.pledge)?;
        ctx.emit(Event::DutyEnded { account: key.0, duty: duty.kind });
        Ok(())
    });
}

fn store(ctx: &mut Ctx<'_>, key: &(AccountId, Hash), duty: &Duty) {
    ctx.store(key, duty);
    ctx.emit(Event::DutyChanged {
        account: key.0,
        duty: duty.kind.clone(),
        pledge: duty.pledge,
        leaving: duty.leaving,
    });
}
