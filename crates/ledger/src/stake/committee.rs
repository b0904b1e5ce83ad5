//! The committee: who votes on blocks in an epoch, and who is missing from it.
//!
//! Heights are divided into epochs of `epoch_blocks` ([`crate::Genesis`]). One key is one vote, and
//! every vote costs the same, `seat_stake`. At the end of an epoch's last block:
//!
//! | step | what |
//! |---|---|
//! | 1 | seats that were [down](#who-was-down) are found, and their validators jailed |
//! | 2 | seats are dealt: one at a time, to the active validator with the most stake, own and delegated, for each seat that it would then have (`floor(stake / seats)`; on equality to the smaller account), as long as it has a key without a seat and `seat_stake` for each of its seats |
//! | 3 | after `seats_max` seats, or when nobody can take one, it is done; so only the `seats_max` validators with the most stake are looked at |
//! | 4 | with fewer than `seats_min` seats the committee stays as it was |
//!
//! A validator's first key is its account's; `SeatsSet` names more. The committee of a genesis is
//! its `validators`, with stake or without, until enough stake takes its place.
//!
//! # Who was down
//! In view `v` of epoch `e` it is the turn of seat `(e + v) mod seats` to propose ([`turn`]). A view
//! between a block's and its parent's has passed without a block: its turn was missed. A seat is
//! down that has missed at least `downtime_turns_min` turns of an epoch and at least
//! `downtime_bps` of its turns. Where a third of the seats or more are, it is the network's
//! fault: then nobody is jailed. Being down costs no stake.

use super::{Validator, ValidatorStatus, save};
use crate::{Event, Params, Reject, ctx::Ctx, keys, state::State};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_types::{AccountId, Amount};
use serde::{Deserialize, Serialize};
use std::{cmp::Reverse, collections::BinaryHeap};

/// One vote.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Seat {
    /// The key that votes.
    pub key: AccountId,
    /// Whose stake stands behind it.
    pub owner: AccountId,
}

/// Who votes on the next block.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Committee {
    /// Blocks in an epoch.
    pub epoch_blocks: u64,
    /// The epoch of the next block.
    pub epoch: u64,
    /// In order of their keys; [`keys::VALIDATORS`] has the keys alone.
    pub seats: Vec<Seat>,
}

/// A block's place in the agreement of its epoch.
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
pub struct Views {
    /// The view of its parent; 0 where that is of the epoch before.
    pub parent: u64,
    /// Its own.
    pub own: u64,
}

/// Which of `seats` proposes in a view.
#[must_use]
pub fn turn(epoch: u64, view: u64, seats: u64) -> u64 {
    epoch.wrapping_add(view).checked_rem(seats).unwrap_or_default()
}

/// The validator that answers for a key: its owner, where it is a seat's.
#[must_use]
pub(crate) fn owner(state: &dyn State, key: &AccountId) -> AccountId {
    keys::SEAT_KEYS.get(state, key).unwrap_or(*key)
}

/// Whether a key votes on blocks.
#[must_use]
pub(crate) fn is_seat(state: &dyn State, key: &AccountId) -> bool {
    let seats = keys::COMMITTEE.get(state, &()).map(|committee| committee.seats);
    seats.is_some_and(|seats| seats.iter().any(|seat| seat.key == *key))
}

/// How many of the views from `from` to `to`, both included, are the turn of a seat.
fn turns(epoch: u64, from: u64, to: u64, seat: u64, seats: u64) -> u64 {
    let Some(views) = to.checked_sub(from).and_then(|views| views.checked_add(1)) else { return 0 };
    let first = turn(epoch, from, seats);
    // How many views after the first the seat has its first turn.
    let until = seat.checked_add(seats).and_then(|seat| seat.checked_sub(first));
    let until = until.and_then(|until| until.checked_rem(seats)).unwrap_or_default();
    let Some(left) = views.checked_sub(until).filter(|left| *left > 0) else { return 0 };
    left.saturating_sub(1).checked_div(seats).unwrap_or_default().saturating_add(1)
}

/// Counts missed turns, and at the end of an epoch chooses who votes in the next.
pub(crate) fn run(ctx: &mut Ctx<'_>) {
    let done = ctx.attempt(|ctx| {
        let committee =
            keys::COMMITTEE.get(&ctx.scratch, &()).ok_or(Reject::not_found("committee"))?;
        note_missed(ctx, &committee);
        let next = ctx.env.head.height.checked_add(1).ok_or(Reject::Overflow)?;
        if next.checked_rem(committee.epoch_blocks) == Some(0) {
            end(ctx, committee)
        } else {
            Ok(())
        }
    });
    debug_assert_eq!(done, Ok(()), "the committee could not be kept");
}

fn note_missed(ctx: &mut Ctx<'_>, committee: &Committee) {
    let Views { parent, own } = ctx.env.views;
    let (from, to) = (parent.saturating_add(1), own.saturating_sub(1));
    if from > to {
        return;
    }
    let seats = len(&committee.seats);
    let mut missed = keys::MISSED.get(&ctx.scratch, &()).unwrap_or_default();
    missed.resize(committee.seats.len(), 0);
    for (seat, missed) in (0..).zip(&mut missed) {
        *missed = missed.saturating_add(turns(committee.epoch, from, to, seat, seats));
    }
    keys::MISSED.put(&mut ctx.scratch, &(), &missed);
}

fn len(seats: &[Seat]) -> u64 {
    u64::try_from(seats.len()).unwrap_or(u64::MAX)
}

fn end(ctx: &mut Ctx<'_>, committee: Committee) -> Result<(), Reject> {
    for owner in down(ctx, &committee) {
        jail(ctx, &owner)?;
    }
    keys::MISSED.delete(&mut ctx.scratch, &());
    super::equivocation::end_epoch(ctx, committee.epoch);
    let epoch = committee.epoch.checked_add(1).ok_or(Reject::Overflow)?;
    let params = &ctx.env.params;
    let chosen = choose(&ctx.scratch, params);
    let enough = len(&chosen) >= u64::from(params.seats_min);
    let changed = enough && chosen != committee.seats;
    let seats = if changed { chosen } else { committee.seats };
    if changed {
        let validators: Vec<AccountId> = seats.iter().map(|seat| seat.key).collect();
        keys::VALIDATORS.put(&mut ctx.scratch, &(), &validators);
        ctx.emit(Event::CommitteeChanged { epoch, seats: seats.clone() });
    }
    super::beacon::end_epoch(ctx);
    keys::COMMITTEE.put(&mut ctx.scratch, &(), &Committee { epoch, seats, ..committee });
    Ok(())
}

/// The validators with a seat that was down in the epoch that ends.
fn down(ctx: &Ctx<'_>, committee: &Committee) -> Vec<AccountId> {
    let params = &ctx.env.params;
    let missed = keys::MISSED.get(&ctx.scratch, &()).unwrap_or_default();
    let seats = len(&committee.seats);
    let is_down = |seat: u64, missed: u64| {
        let turns = turns(committee.epoch, 1, ctx.env.views.own, seat, seats);
        let part = u128::from(missed).saturating_mul(10_000);
        missed >= params.downtime_turns_min
            && part >= u128::from(turns).saturating_mul(params.downtime_bps.into())
    };
    let mut owners = Vec::new();
    let mut count = 0_u64;
    for ((seat, missed), Seat { owner, .. }) in (0..).zip(missed).zip(&committee.seats) {
        if is_down(seat, missed) {
            count = count.saturating_add(1);
            if !owners.contains(owner) {
                owners.push(*owner);
            }
        }
    }
    if count > seats.saturating_sub(1).checked_div(3).unwrap_or_default() {
        return Vec::new();
    }
    owners
}

/// Jails a validator that was down. Nothing happens to an account that is no validator.
fn jail(ctx: &mut Ctx<'_>, id: &AccountId) -> Result<(), Reject> {
    let Some(mut validator) = ctx.find::<Validator>(id) else { return Ok(()) };
    let until = ctx.env.head.steady.after(ctx.env.params.validator_jail_ms);
    let until = match validator.status {
        ValidatorStatus::Jailed { until: before } => before.max(until),
        ValidatorStatus::Registered | ValidatorStatus::Active => until,
    };
    validator.status = ValidatorStatus::Jailed { until };
    save(ctx, id, &validator)
}

/// Who can take another seat.
struct Bidder {
    id: AccountId,
    stake: Amount,
    /// Its keys without a seat.
    keys: std::vec::IntoIter<AccountId>,
    seats: u64,
}

impl Bidder {
    /// Its stake for each seat, if it takes one more.
    fn bid(&self, seat_stake: Amount) -> Option<(Amount, Reverse<AccountId>)> {
        let seats = self.seats.checked_add(1)?;
        let needed = seat_stake.checked_mul(seats)?;
        let each = self.stake.nanos().checked_div(seats.into())?;
        let able = self.stake >= needed && self.keys.len() > 0;
        able.then_some((Amount::from_nanos(each), Reverse(self.id)))
    }
}

/// Those who can take a seat. Of the validators with the most stake, as many as there are seats:
/// the first bid of each of them is above any of the others', and each has a key for it, so that
/// they have taken all seats before it would be another's turn.
fn bidders(state: &dyn State, params: &Params) -> Vec<Bidder> {
    let most = usize::try_from(params.seats_max).unwrap_or(usize::MAX);
    keys::VALIDATORS_BY_WEIGHT
        .scan(state, &(), None)
        .take(most)
        .map(|((turned, id), ())| (id, Amount::from_nanos(!turned)))
        .take_while(|(_, stake)| *stake >= params.seat_stake)
        .map(|(id, stake)| {
            let more = keys::SEATS.get(state, &id).unwrap_or_default();
            let keys: Vec<AccountId> = std::iter::once(id).chain(more).collect();
            Bidder { id, stake, keys: keys.into_iter(), seats: 0 }
        })
        .collect()
}

/// Deals the seats.
fn choose(state: &dyn State, params: &Params) -> Vec<Seat> {
    deal(bidders(state, params), params)
}

fn deal(mut bidders: Vec<Bidder>, params: &Params) -> Vec<Seat> {
    let mut bids: BinaryHeap<_> = bidders
        .iter()
        .enumerate()
        .filter_map(|(index, bidder)| Some((bidder.bid(params.seat_stake)?, index)))
        .collect();
    let mut seats = Vec::new();
    while len(&seats) < u64::from(params.seats_max) {
        let Some((_, index)) = bids.pop() else { break };
        let Some(bidder) = bidders.get_mut(index) else { break };
        let Some(key) = bidder.keys.next() else { continue };
        seats.push(Seat { key, owner: bidder.id });
        bidder.seats = bidder.seats.saturating_add(1);
        bids.extend(bidder.bid(params.seat_stake).map(|bid| (bid, index)));
    }
    seats.sort_unstable_by_key(|seat| seat.key);
    seats
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{MemoryState, Scratch};
    use muster_types::{Hash, SecretKey};

    #[test]
    fn who_is_not_among_those_with_the_most_stake_would_get_no_seat_anyway() {
        for seed in 0..24_u64 {
            let mut state = MemoryState::default();
            let number = |what: &str, index: u64, most: u64| {
                let hash = Hash::of(what, &[&seed.to_le_bytes(), &index.to_le_bytes()]);
                u64::from(hash.0[0]) % most
            };
            let seats_max = u32::try_from(number("test seats", 0, 7) + 1).unwrap();
            let seat_stake = Amount::from_units(3);
            let params = Params { seats_max, seat_stake, ..Params::default() };
            let nothing = MemoryState::default();
            let mut scratch = Scratch::new(&nothing);
            for index in 0..12 {
                let id = SecretKey::from_seed([u8::try_from(index).unwrap(); 32]).account();
                let own = Amount::from_units(number("test stake", index, 10));
                keys::store(&mut scratch, &id, &Validator::with_stake(own, &params));
                let more: Vec<AccountId> = (0..number("test keys", index, 4))
                    .map(|key| {
                        AccountId(Hash::of("test key", &[&index.to_le_bytes(), &key.to_le_bytes()]))
                    })
                    .collect();
                keys::SEATS.put(&mut scratch, &id, &more);
            }
            state.apply(scratch.into_changes());
            let all = keys::STAKERS.scan(&state, &(), None).map(|(id, validator)| {
                let more = keys::SEATS.get(&state, &id).unwrap_or_default();
                let keys: Vec<AccountId> = std::iter::once(id).chain(more).collect();
                Bidder { id, stake: validator.weight(), keys: keys.into_iter(), seats: 0 }
            });
            let all = all.filter(|bidder| bidder.stake >= params.seat_stake).collect();
            assert_eq!(choose(&state, &params), deal(all, &params), "seed {seed}");
        }
    }

    #[test]
    fn turns_are_counted_as_they_are_taken() {
        for seats in 1..6 {
            for epoch in 0..3 {
                for from in 1..8 {
                    for to in from - 1..from + 12 {
                        for seat in 0..seats {
                            let taken = (from..=to)
                                .filter(|view| turn(epoch, *view, seats) == seat)
                                .count();
                            let counted = turns(epoch, from, to, seat, seats);
                            assert_eq!(counted, u64::try_from(taken).unwrap());
                        }
                    }
                }
            }
        }
        assert_eq!(turns(u64::MAX, 1, u64::MAX, 0, 1), u64::MAX);
    }
}
