//! What validators do, by `BeaconDeal`, to share a key for the beacon.
//!
//! In every epoch the keys of the committee make a key of which each holds a share: whatever it
//! signs takes two thirds of them, and nobody else knows before. The beacon's values are hashes of
//! its signatures of consecutive numbers. The ledger knows nothing of this arithmetic. It has the
//! messages agreed on, bounds them, and keeps them for whoever computes the key from them, which
//! anybody can: a node that was away, or that fetched the state alone.
//!
//! In an epoch of `b` blocks, of which the first has offset 0:
//!
//! | offset | what |
//! |---|---|
//! | below [`Phases::deals`] | each key of the committee deals its part, once: `BeaconDeal` |
//! | from [`Phases::signs`] on | where enough was dealt that is valid, the epoch's key signs; otherwise the one before goes on |
//! | the last block's end | an epoch that gave no key is forgotten |
//!
//! Which key signs, the node says with each block ([`crate::BlockContext::beacon_key`]): none, where
//! the committee has fewer than `beacon_seats_min` keys. When another does, what made the one
//! before is forgotten.
//!
//! `BeaconDeal` is a duty ([`crate::Action::is_duty`]).

use crate::{
    Event, Reject,
    ctx::{By, Ctx},
    keys, limits,
};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_types::{AccountId, Hash, codec};
use serde::{Deserialize, Serialize};

/// The offsets in an epoch at which its phases begin and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phases {
    /// Below this, parts are dealt.
    pub deals: u64,
    /// From this on the epoch's key signs: until then every node has computed it.
    pub signs: u64,
}

/// Who makes the key of an epoch.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Roster {
    /// The keys of the epoch's committee, in order.
    pub keys: Vec<AccountId>,
    /// A hash of them and of all that they dealt, in order: what the epoch's key follows from.
    pub dealt: Hash,
}

impl Phases {
    /// The phases of an epoch of so many blocks: parts of it, and in long epochs no longer than
    /// they need to be.
    #[must_use]
    pub fn of(epoch_blocks: u64) -> Self {
        let part = |quarters: u64, most: u64| {
            epoch_blocks.saturating_mul(quarters).checked_div(4).unwrap_or_default().min(most)
        };
        let deals = part(2, 256);
        Self { deals, signs: deals.saturating_add(part(1, 64)) }
    }
}

/// `BeaconDeal`.
pub(crate) fn run(ctx: &mut Ctx<'_>, by: &By, epoch: u64, log: &[u8]) -> Result<(), Reject> {
    if log.is_empty() || log.len() > limits::BEACON_DEAL_BYTES {
        return Err(Reject::bad_field("log"));
    }
    let committee = keys::COMMITTEE.get(&ctx.scratch, &()).ok_or(Reject::not_found("committee"))?;
    if !committee.seats.iter().any(|seat| seat.key == by.signer) {
        return Err(Reject::not_yours("validator"));
    }
    if epoch != committee.epoch {
        return Err(Reject::bad_field("epoch"));
    }
    let first = epoch.checked_mul(committee.epoch_blocks).ok_or(Reject::Overflow)?;
    let offset = ctx.env.head.height.checked_sub(first).ok_or(Reject::Overflow)?;
    if offset >= Phases::of(committee.epoch_blocks).deals {
        return Err(Reject::wrong_state("beacon", "dealt in this epoch"));
    }
    let dealt = (epoch, by.signer);
    if keys::BEACON_DEALS.contains(&ctx.scratch, &dealt) {
        return Err(Reject::Duplicate);
    }
    let mut roster = keys::BEACON_ROSTERS.get(&ctx.scratch, &epoch).unwrap_or_else(|| {
        let keys: Vec<AccountId> = committee.seats.iter().map(|seat| seat.key).collect();
        let parts = [&ctx.env.head.chain.0[..], &epoch.to_le_bytes(), &codec::encode(&keys)];
        Roster { dealt: Hash::of("muster beacon roster v1", &parts), keys }
    });
    let parts = [roster.dealt.as_bytes().as_slice(), by.signer.as_bytes(), log];
    roster.dealt = Hash::of("muster beacon deal v1", &parts);
    keys::BEACON_DEALS.put(&mut ctx.scratch, &dealt, &log.to_vec());
    keys::BEACON_ROSTERS.put(&mut ctx.scratch, &epoch, &roster);
    ctx.emit(Event::BeaconDealt { epoch, key: by.signer });
    Ok(())
}

/// At a block's end: forgets what made a key that signs no more.
pub(crate) fn change(ctx: &mut Ctx<'_>) {
    let key = ctx.env.head.beacon_key;
    if key == ctx.env.previous.beacon_key {
        return;
    }
    let epoch = keys::COMMITTEE.get(&ctx.scratch, &()).map_or(0, |committee| committee.epoch);
    forget(ctx, |made| made >= epoch || Some(made) == key);
    ctx.emit(Event::BeaconKeyChanged { key });
}

/// At the end of an epoch: forgets what gave no key.
pub(crate) fn end_epoch(ctx: &mut Ctx<'_>) {
    let key = ctx.env.head.beacon_key;
    forget(ctx, |epoch| Some(epoch) == key);
}

/// Forgets the rosters, and what they dealt, of epochs that are not kept.
fn forget(ctx: &mut Ctx<'_>, is_kept: impl Fn(u64) -> bool) {
    let epochs: Vec<u64> = keys::BEACON_ROSTERS
        .scan(&ctx.scratch, &(), None)
        .map(|(epoch, _)| epoch)
        .filter(|epoch| !is_kept(*epoch))
        .collect();
    for epoch in epochs {
        let deals: Vec<(u64, AccountId)> =
            keys::BEACON_DEALS.scan(&ctx.scratch, &epoch, None).map(|(deal, _)| deal).collect();
        for deal in deals {
            keys::BEACON_DEALS.delete(&mut ctx.scratch, &deal);
        }
        keys::BEACON_ROSTERS.delete(&mut ctx.scratch, &epoch);
    }
}
