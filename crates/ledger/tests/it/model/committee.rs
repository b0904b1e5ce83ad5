//! Who votes on blocks, who is missing, and who contradicts itself.
//!
//! Every view of the epoch is written down with whether it gave a block, and looked through again
//! whenever turns are asked for; seats are dealt one at a time to the best of all who bid.

use super::{Model, Money, Outcome, compare::Same, compare::same, money, must, stake::Rank, whole};
use muster_ledger::{
    Genesis, Params, State, keys,
    stake::{
        Equivocation, Seat, SeatKey, Views,
        equivocation::{Ballot, vote_message},
        seats::seat_message,
    },
    view,
};
use muster_types::AccountId;
use std::collections::{BTreeMap, BTreeSet};

/// Epochs that are looked at to be forgotten at one epoch's end.
const FORGOTTEN: usize = 4;

#[derive(Clone, Debug)]
pub(crate) struct Committee {
    pub(crate) epoch_blocks: u64,
    pub(crate) epoch: u64,
    /// Whether each view of this epoch gave a block, from view 1 on.
    pub(crate) views: Vec<bool>,
    /// Keys that vote, and for whom.
    pub(crate) seats: Vec<(AccountId, AccountId)>,
    /// Every key that was ever named for a seat, and by whom.
    pub(crate) named: BTreeMap<AccountId, AccountId>,
    /// The keys that each names now, in its order.
    pub(crate) wanted: BTreeMap<AccountId, Vec<AccountId>>,
    /// (epoch, key) that was slashed for.
    pub(crate) offences: BTreeSet<(u64, AccountId)>,
    /// When past epochs ended, those that are not forgotten.
    pub(crate) ended: BTreeMap<u64, u64>,
    /// How often: somebody was jailed for missing turns; a committee changed.
    pub(crate) jailed: u64,
    pub(crate) changed: u64,
}

impl Committee {
    pub(super) fn new(genesis: &Genesis) -> Self {
        let mut seats: Vec<_> = genesis.validators.iter().map(|key| (*key, *key)).collect();
        seats.sort_unstable();
        Self {
            epoch_blocks: genesis.epoch_blocks,
            epoch: 0,
            views: Vec::new(),
            seats,
            named: BTreeMap::new(),
            wanted: BTreeMap::new(),
            offences: BTreeSet::new(),
            ended: BTreeMap::new(),
            jailed: 0,
            changed: 0,
        }
    }

    /// Whose key it is.
    pub(crate) fn owner(&self, key: &AccountId) -> AccountId {
        self.named.get(key).copied().unwrap_or(*key)
    }

    /// Whose turn a view is, as a place among the seats.
    pub(crate) fn turn(&self, view: u64) -> usize {
        usize::try_from((self.epoch + view) % self.seats.len() as u64).unwrap()
    }

    /// For each seat how many turns it had in this epoch, and how many it missed.
    fn turns(&self) -> Vec<(u64, u64)> {
        let mut turns = vec![(0, 0); self.seats.len()];
        for (view, gave_block) in (1..).zip(&self.views) {
            let (had, missed) = &mut turns[self.turn(view)];
            *had += 1;
            *missed += u64::from(!gave_block);
        }
        turns
    }
}

fn contradict(first: &Ballot, second: &Ballot) -> bool {
    match (first, second) {
        (Ballot::Nullify, other) | (other, Ballot::Nullify) => matches!(other, Ballot::Finalize(_)),
        (Ballot::Notarize(_), Ballot::Finalize(_)) | (Ballot::Finalize(_), Ballot::Notarize(_)) => {
            false
        }
        (same_kind, other) => same_kind != other,
    }
}

impl Model {
    /// The views that passed with a block.
    pub(super) fn views_begin(&mut self, views: Views) {
        let seen = &mut self.committee.views;
        assert_eq!(seen.len() as u64, views.parent, "the parent's view is the last");
        seen.resize(usize::try_from(views.own).unwrap() - 1, false);
        seen.push(true);
    }

    pub(super) fn seats_set(&mut self, who: AccountId, seats: &[SeatKey]) -> Outcome {
        self.stakes.staker(&who)?;
        must(seats.len() <= 32)?;
        let keys: Vec<_> = seats.iter().map(|seat| seat.key).collect();
        must(keys.iter().collect::<BTreeSet<_>>().len() == keys.len())?;
        let message = seat_message(&self.chain, &who);
        for SeatKey { key, proof } in seats {
            must(self.committee.named.get(key).is_none_or(|owner| *owner == who))?;
            must(self.stakes.staker(key).is_err())?;
            must(key.verify(&message, proof).is_ok())?;
            self.committee.named.insert(*key, who);
        }
        self.committee.wanted.insert(who, keys);
        Ok(())
    }

    pub(super) fn equivocation_report(&mut self, found: &Equivocation) -> Outcome {
        let Equivocation { key, epoch, view, first, second } = found;
        must(contradict(&first.ballot, &second.ballot))?;
        let owner = self.committee.owner(key);
        self.stakes.staker(&owner)?;
        must(*epoch <= self.committee.epoch)?;
        must(*epoch == self.committee.epoch || self.counts_still(*epoch))?;
        must(!self.committee.offences.contains(&(*epoch, *key)))?;
        for vote in [first, second] {
            let message = vote_message(&self.chain, *epoch, *view, &vote.ballot);
            must(key.verify(&message, &vote.signature).is_ok())?;
        }
        self.committee.offences.insert((*epoch, *key));
        self.slash_stake(&owner, self.params.slash_equivocation_bps);
        Ok(())
    }

    /// Whether evidence of an epoch that has ended counts.
    fn counts_still(&self, epoch: u64) -> bool {
        let ended = self.committee.ended.get(&epoch);
        ended.is_some_and(|ended| self.steady < ended + self.params.stake_unbonding_ms.0)
    }

    /// At a block's end: the last one of an epoch changes the committee. `params` are those that
    /// the block began with.
    pub(super) fn epoch_due(&mut self, params: &Params) {
        if !(self.height + 1).is_multiple_of(self.committee.epoch_blocks) {
            return;
        }
        for owner in self.missing(params) {
            self.jail_missing(&owner, params);
        }
        let (ended, steady) = (self.committee.epoch, self.steady);
        self.committee.ended.insert(ended, steady);
        let looked_at: Vec<_> = self.committee.ended.iter().take(FORGOTTEN).collect();
        let unbonding = params.stake_unbonding_ms.0;
        let over = looked_at.into_iter().filter(|(_, at)| **at + unbonding <= steady);
        for epoch in over.map(|(epoch, _)| *epoch).collect::<Vec<_>>() {
            self.committee.ended.remove(&epoch);
            self.committee.offences.retain(|(of, _)| *of != epoch);
        }
        let seats = self.deal(params);
        let committee = &mut self.committee;
        committee.epoch += 1;
        committee.views.clear();
        if seats.len() >= params.seats_min as usize && seats != committee.seats {
            self.validators = seats.iter().map(|(key, _)| *key).collect();
            committee.seats = seats;
            committee.changed += 1;
        }
    }

    /// The validators with a seat that missed too many turns; nobody where a third of them did.
    fn missing(&self, params: &Params) -> BTreeSet<AccountId> {
        let part = |(had, missed): (u64, u64)| whole(missed * 10_000) / whole(had.max(1));
        let too_many = |turns: (u64, u64)| {
            let (_, missed) = turns;
            let enough = missed >= params.downtime_turns_min;
            enough && part(turns) >= whole(u64::from(params.downtime_bps))
        };
        let seats = &self.committee.seats;
        let turns = self.committee.turns();
        let down: Vec<_> = seats.iter().zip(turns).filter(|(_, turns)| too_many(*turns)).collect();
        if down.len() * 3 >= seats.len() {
            return BTreeSet::new();
        }
        down.into_iter().map(|((_, owner), _)| *owner).collect()
    }

    fn jail_missing(&mut self, id: &AccountId, params: &Params) {
        let until = self.steady + params.validator_jail_ms.0;
        // A genesis names validators without stake.
        let Ok(staker) = self.stakes.staker_mut(id) else { return };
        let before = if let Rank::Jailed { until } = staker.rank { until } else { 0 };
        staker.rank = Rank::Jailed { until: until.max(before) };
        self.committee.jailed += 1;
    }

    /// Deals the seats, one at a time.
    fn deal(&self, params: &Params) -> Vec<(AccountId, AccountId)> {
        let price = money(params.seat_stake);
        let mut seats: Vec<(AccountId, AccountId)> = Vec::new();
        while seats.len() < params.seats_max as usize {
            let bid = |id: &AccountId, weight: &Money| {
                let taken = seats.iter().filter(|(_, owner)| owner == id).count();
                let mut keys = vec![*id];
                keys.extend(self.committee.wanted.get(id).into_iter().flatten());
                let key = *keys.get(taken)?;
                let all = whole(taken as u64 + 1);
                let enough = *weight >= &price * &all;
                enough.then(|| ((weight / all).floor(), std::cmp::Reverse(*id), key))
            };
            let stakers = self.stakes.stakers.iter();
            let bids = stakers.filter_map(|staker| bid(&staker.id, &staker.weight()));
            let Some((_, std::cmp::Reverse(owner), key)) = bids.max() else { break };
            seats.push((key, owner));
        }
        seats.sort_unstable();
        seats
    }

    pub(super) fn compare_committee(&self, state: &dyn State) -> Same {
        let model = &self.committee;
        let ledger = keys::COMMITTEE.get(state, &()).ok_or("no committee")?;
        let seats: Vec<_> = model.seats.iter().map(|(key, owner)| (*key, *owner)).collect();
        let ledger_seats = ledger.seats.iter().map(|Seat { key, owner }| (*key, *owner)).collect();
        same("seats", &ledger_seats, &seats)?;
        same("epoch", &ledger.epoch, &model.epoch)?;
        let mut voting = self.validators.clone();
        voting.sort_unstable();
        same("validators", &view::validators(state), &voting)?;
        let missed: Vec<u64> = model.turns().into_iter().map(|(_, missed)| missed).collect();
        let nothing = missed.iter().all(|missed| *missed == 0);
        let missed = if nothing { None } else { Some(missed) };
        same("missed turns", &keys::MISSED.get(state, &()), &missed)?;
        let named: BTreeMap<_, _> = keys::SEAT_KEYS.scan(state, &(), None).collect();
        same("keys of seats", &named, &model.named)?;
        let wanted: BTreeMap<_, _> = keys::SEATS.scan(state, &(), None).collect();
        same("keys wanted", &wanted, &model.wanted)?;
        let offences = keys::OFFENCES.scan(state, &(), None).map(|(offence, ())| offence);
        same("offences", &offences.collect(), &model.offences)?;
        let ended = keys::EPOCH_ENDS.scan(state, &(), None).map(|(epoch, at)| (epoch, at.0));
        same("ends of epochs", &ended.collect(), &model.ended)
    }
}
