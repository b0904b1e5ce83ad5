//! Stake: a plain list of who has how much with whom.
//!
//! Every part of the list is kept twice. `units` follow the documented rounding to the nano, for
//! what an account gets must be the same; they are added up whenever their sum is asked for. `exact`
//! is what the part would be if nothing were ever rounded: what was put in, less what was taken
//! out, times what each slash leaves. The two may never be further apart than one nano for each
//! step that rounded. Rewards are credited to each delegator as exact fractions in every block.

use super::{Model, Money, Outcome, Refused, compare::Same, compare::same, money, must, whole};
use muster_ledger::{Action, Genesis, State, keys, stake::ValidatorStatus, view};
use muster_types::{AccountId, Amount, Asset, UnbondingId};
use num_traits::{Signed as _, Zero as _};
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rank {
    Registered,
    Active,
    Jailed { until: u64 },
}

/// What is slashed by itself, with a rounding of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Delegated,
    OwnUnbonding,
    DelegatedUnbonding,
}

const KINDS: [Kind; 3] = [Kind::Delegated, Kind::OwnUnbonding, Kind::DelegatedUnbonding];

/// A delegation, or one unbonding.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) owner: AccountId,
    pub(crate) validator: AccountId,
    pub(crate) kind: Kind,
    /// Of an unbonding: which, and from when it can be claimed.
    pub(crate) entry: Option<(UnbondingId, u64)>,
    pub(crate) units: Money,
    pub(crate) exact: Money,
    /// What a delegation has earned and was not paid yet.
    pub(crate) reward: Money,
}

/// What all parts of a kind are together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heap {
    pub(crate) stake: Money,
    /// How often it was rounded since it was empty.
    roundings: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Staker {
    pub(crate) id: AccountId,
    pub(crate) rank: Rank,
    pub(crate) commission_bps: u32,
    pub(crate) since: u64,
    pub(crate) own: Money,
    pub(crate) heaps: BTreeMap<Kind, Heap>,
    pub(crate) slashed: Money,
    /// What is there for delegators, and the part of it that could not be divided yet.
    pub(crate) held: Money,
    pub(crate) carried: Money,
}

/// All stake.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stakes {
    pub(crate) stakers: Vec<Staker>,
    pub(crate) parts: Vec<Part>,
    /// `mst` that was slashed.
    pub(crate) burned: Money,
}

/// `part` of ten thousand.
fn bps(part: u32) -> Money {
    whole(u64::from(part)) / whole(10_000)
}

/// So many parts of a nano are the least that a unit is given of a block's fees.
fn grain() -> Money {
    whole(1 << 32) * whole(1 << 32)
}

impl Staker {
    fn new(id: AccountId, own: Money, least: Amount) -> Self {
        let mut staker = Self {
            id,
            rank: Rank::Registered,
            commission_bps: 0,
            since: 0,
            own,
            heaps: KINDS.into_iter().map(|kind| (kind, Heap::default())).collect(),
            slashed: Money::zero(),
            held: Money::zero(),
            carried: Money::zero(),
        };
        staker.stand(least);
        staker
    }

    fn stand(&mut self, least: Amount) {
        if !matches!(self.rank, Rank::Jailed { .. }) {
            let enough = self.own >= money(least);
            self.rank = if enough { Rank::Active } else { Rank::Registered };
        }
    }

    pub(crate) fn delegated(&self) -> &Money {
        &self.heaps[&Kind::Delegated].stake
    }

    /// What counts in votes.
    pub(crate) fn weight(&self) -> Money {
        if self.rank == Rank::Active { &self.own + self.delegated() } else { Money::zero() }
    }
}

impl Stakes {
    pub(crate) fn new(genesis: &Genesis) -> Self {
        let least = genesis.params.validator_stake_min;
        let staker = |(id, own): (&AccountId, &Amount)| Staker::new(*id, money(*own), least);
        Self { stakers: genesis.stakes.iter().map(staker).collect(), ..Self::default() }
    }

    pub(crate) fn staker(&self, id: &AccountId) -> Result<&Staker, Refused> {
        self.stakers.iter().find(|one| one.id == *id).ok_or(Refused)
    }

    pub(super) fn staker_mut(&mut self, id: &AccountId) -> Result<&mut Staker, Refused> {
        self.stakers.iter_mut().find(|one| one.id == *id).ok_or(Refused)
    }

    fn heap_mut(&mut self, id: &AccountId, kind: Kind) -> &mut Heap {
        let staker = self.staker_mut(id).expect("parts are with stakers");
        staker.heaps.get_mut(&kind).expect("every kind has one")
    }

    /// The parts of one kind with one validator.
    pub(crate) fn with(&self, id: &AccountId, kind: Kind) -> impl Iterator<Item = &Part> {
        let id = *id;
        self.parts.iter().filter(move |part| part.validator == id && part.kind == kind)
    }

    pub(crate) fn units(&self, id: &AccountId, kind: Kind) -> Money {
        self.with(id, kind).map(|part| part.units.clone()).sum()
    }

    /// The stake that a part's units stand for.
    fn value(&self, part: &Part) -> Money {
        let units = self.units(&part.validator, part.kind);
        if units.is_zero() {
            return units;
        }
        let staker = self.staker(&part.validator).expect("parts are with stakers");
        &part.units * &staker.heaps[&part.kind].stake / units
    }

    pub(crate) fn worth(&self, part: &Part) -> Money {
        self.value(part).floor()
    }

    fn delegation(&self, owner: &AccountId, validator: &AccountId) -> Result<usize, Refused> {
        let is = |part: &Part| {
            part.owner == *owner && part.validator == *validator && part.kind == Kind::Delegated
        };
        self.parts.iter().position(is).ok_or(Refused)
    }

    /// Whether a unit of every kind is worth enough.
    fn takes_more(&self, staker: &Staker) -> bool {
        KINDS
            .into_iter()
            .all(|kind| self.units(&staker.id, kind) <= &staker.heaps[&kind].stake * whole(1 << 32))
    }

    /// Puts stake into a part of the list.
    fn put(&mut self, place: usize, amount: &Money) {
        let (validator, kind) = (self.parts[place].validator, self.parts[place].kind);
        let units = self.units(&validator, kind);
        let heap = self.heap_mut(&validator, kind);
        let more = if units.is_zero() {
            heap.roundings = 0;
            amount.clone()
        } else {
            (amount * units / &heap.stake).floor()
        };
        heap.roundings += 1;
        heap.stake += amount;
        let part = &mut self.parts[place];
        part.units += more;
        part.exact += amount;
    }

    /// Takes stake out of a part, which must be worth it.
    fn draw(&mut self, place: usize, amount: &Money) -> Outcome {
        let part = self.parts[place].clone();
        let worth = self.worth(&part);
        must(*amount <= worth)?;
        let units = self.units(&part.validator, part.kind);
        let heap = self.heap_mut(&part.validator, part.kind);
        let fewer = if *amount == worth {
            part.units.clone()
        } else {
            (amount * units / &heap.stake).ceil()
        };
        heap.roundings += 2;
        heap.stake -= amount;
        self.parts[place].units -= fewer;
        self.parts[place].exact -= amount;
        if self.worth(&self.parts[place]).is_zero() {
            self.parts[place].units = Money::zero();
            self.parts[place].exact = Money::zero();
        }
        Ok(())
    }

    /// Whether no part is further from what it would be without rounding than it may be.
    pub(crate) fn is_fair(&self) -> Result<(), String> {
        for part in &self.parts {
            let staker = self.staker(&part.validator).expect("parts are with stakers");
            let apart = (self.value(part) - &part.exact).abs();
            if apart > whole(staker.heaps[&part.kind].roundings) {
                return Err(format!("{part:?} is {apart} from what is fair"));
            }
        }
        Ok(())
    }
}

impl Model {
    pub(super) fn stake_act(&mut self, tx: &UnbondingId, who: AccountId, act: &Action) -> Outcome {
        let least = self.params.validator_stake_min;
        match act {
            Action::ValidatorSet { commission_bps } => self.validator_set(who, *commission_bps),
            Action::StakeAdd { amount } => {
                must(!amount.is_zero())?;
                let staker = self.stakes.staker(&who)?;
                must(self.stakes.takes_more(staker))?;
                self.take(who, Asset::Mst, &money(*amount))?;
                let staker = self.stakes.staker_mut(&who)?;
                staker.own += money(*amount);
                staker.stand(least);
                Ok(())
            }
            Action::Delegate { validator, amount } => {
                must(!amount.is_zero() && *validator != who)?;
                let staker = self.stakes.staker(validator)?;
                must(staker.rank == Rank::Active && self.stakes.takes_more(staker))?;
                self.take(who, Asset::Mst, &money(*amount))?;
                let place = self.stakes.delegation(&who, validator).unwrap_or_else(|Refused| {
                    self.stakes.parts.push(part(who, *validator, Kind::Delegated, None));
                    self.stakes.parts.len() - 1
                });
                self.pay_reward(place);
                self.stakes.put(place, &money(*amount));
                Ok(())
            }
            Action::Unstake { validator, amount } => self.unstake(tx, who, validator, *amount),
            Action::UnstakeClaim { entry } => {
                let is = |part: &Part| part.entry.is_some_and(|(id, _)| id == *entry);
                let place = self.stakes.parts.iter().position(is).ok_or(Refused)?;
                let part = self.stakes.parts[place].clone();
                must(part.owner == who)?;
                must(part.entry.is_some_and(|(_, until)| until <= self.steady))?;
                let amount = self.stakes.worth(&part);
                self.stakes.draw(place, &amount)?;
                self.stakes.parts.remove(place);
                self.give(who, Asset::Mst, &amount);
                Ok(())
            }
            Action::RewardClaim { validator } => {
                let place = self.stakes.delegation(&who, validator)?;
                self.pay_reward(place);
                if self.stakes.worth(&self.stakes.parts[place]).is_zero() {
                    self.stakes.heap_mut(validator, Kind::Delegated).roundings += 1;
                    self.stakes.parts.remove(place);
                }
                Ok(())
            }
            Action::ValidatorUnjail {} => {
                let steady = self.steady;
                let staker = self.stakes.staker_mut(&who)?;
                let Rank::Jailed { until } = staker.rank else { return Err(Refused) };
                must(steady >= until)?;
                staker.rank = Rank::Registered;
                staker.stand(least);
                Ok(())
            }
            _ => Err(Refused),
        }
    }

    fn validator_set(&mut self, who: AccountId, commission_bps: u32) -> Outcome {
        must(commission_bps <= 10_000 && !self.committee.named.contains_key(&who))?;
        let least = self.params.validator_stake_min;
        if self.stakes.staker(&who).is_err() {
            self.stakes.stakers.push(Staker::new(who, Money::zero(), least));
        } else {
            must(self.stakes.staker(&who)?.commission_bps != commission_bps)?;
        }
        let shared = !self.stakes.staker(&who)?.delegated().is_zero();
        let (step, wait) = (self.params.commission_step_bps, self.params.commission_interval_ms.0);
        let steady = self.steady;
        let staker = self.stakes.staker_mut(&who)?;
        if shared && commission_bps > staker.commission_bps {
            must(commission_bps - staker.commission_bps <= step)?;
            must(steady >= staker.since + wait)?;
        }
        (staker.commission_bps, staker.since) = (commission_bps, steady);
        Ok(())
    }

    fn unstake(
        &mut self,
        entry: &UnbondingId,
        who: AccountId,
        validator: &AccountId,
        amount: Amount,
    ) -> Outcome {
        must(!amount.is_zero())?;
        let amount = money(amount);
        let least = self.params.validator_stake_min;
        let kind = if *validator == who {
            let staker = self.stakes.staker_mut(validator)?;
            must(amount <= staker.own)?;
            staker.own -= &amount;
            staker.stand(least);
            Kind::OwnUnbonding
        } else {
            let place = self.stakes.delegation(&who, validator)?;
            self.pay_reward(place);
            self.stakes.draw(place, &amount)?;
            if self.stakes.parts[place].units.is_zero() {
                self.stakes.parts.remove(place);
            }
            Kind::DelegatedUnbonding
        };
        let until = self.steady + self.params.stake_unbonding_ms.0;
        self.stakes.parts.push(part(who, *validator, kind, Some((*entry, until))));
        self.stakes.put(self.stakes.parts.len() - 1, &amount);
        Ok(())
    }

    fn pay_reward(&mut self, place: usize) {
        let part = &mut self.stakes.parts[place];
        let (owner, validator) = (part.owner, part.validator);
        let amount = std::mem::take(&mut part.reward).floor();
        let staker = self.stakes.staker_mut(&validator).expect("parts are with stakers");
        staker.held -= &amount;
        self.give(owner, Asset::Usd, &amount);
    }

    /// Slashes everything that is staked with a validator, and jails it.
    pub(super) fn slash_stake(&mut self, id: &AccountId, part_bps: u32) {
        let until = self.steady + self.params.validator_jail_ms.0;
        let Ok(staker) = self.stakes.staker_mut(id) else { return };
        if part_bps == 0 {
            return;
        }
        let mut lost = (&staker.own * bps(part_bps)).ceil();
        staker.own -= &lost;
        let mut emptied = Vec::new();
        for (kind, heap) in &mut staker.heaps {
            let of = (&heap.stake * bps(part_bps)).ceil();
            heap.stake -= &of;
            heap.roundings += 1;
            lost += of;
            if heap.stake.is_zero() {
                emptied.push(*kind);
            }
        }
        staker.slashed += &lost;
        let before = if let Rank::Jailed { until } = staker.rank { until } else { 0 };
        staker.rank = Rank::Jailed { until: until.max(before) };
        if emptied.contains(&Kind::Delegated) {
            staker.carried = Money::zero();
            self.burned += std::mem::take(&mut staker.held);
        }
        self.stakes.burned += lost;
        for part in self.stakes.parts.iter_mut().filter(|part| part.validator == *id) {
            part.exact *= bps(10_000 - part_bps);
            if emptied.contains(&part.kind) {
                part.units = Money::zero();
                part.exact = Money::zero();
                part.reward = Money::zero();
            }
        }
    }

    /// The block's fees: the proposer's, less what is held for its delegators.
    pub(super) fn share_fees(&mut self) {
        let fees = std::mem::take(&mut self.pot);
        self.fees += &fees;
        let proposer = self.committee.owner(&self.proposer);
        let kept = match self.stakes.staker(&proposer) {
            Ok(staker) if !fees.is_zero() && !staker.delegated().is_zero() => {
                let commission = (&fees * bps(staker.commission_bps)).floor();
                let all = &staker.own + staker.delegated();
                ((&fees - commission) * staker.delegated() / all).floor()
            }
            _ => Money::zero(),
        };
        self.give(proposer, Asset::Usd, &(&fees - &kept));
        if !fees.is_zero() {
            self.divide_reward(&proposer, &kept);
        }
    }

    fn divide_reward(&mut self, id: &AccountId, kept: &Money) {
        let units = self.stakes.units(id, Kind::Delegated);
        if units.is_zero() {
            return;
        }
        let fair: Money = self.stakes.with(id, Kind::Delegated).map(|one| one.exact.clone()).sum();
        let staker = self.stakes.staker_mut(id).expect("who has delegators stakes");
        let Heap { stake, roundings } = staker.heaps[&Kind::Delegated].clone();
        staker.held += kept;
        let left = &staker.carried + kept;
        let each = (&left * grain() / &units).floor() / grain();
        let carried = &left - (&units * &each).ceil();
        let waits = &carried + std::mem::replace(&mut staker.carried, carried.clone());
        let of = |one: &&mut Part| one.validator == *id && one.kind == Kind::Delegated;
        for one in self.stakes.parts.iter_mut().filter(of) {
            let given = &one.units * &each;
            if !fair.is_zero() {
                // As far as its stake and all stake may be from what they would be unrounded.
                let share = &one.exact / &fair;
                let off = whole(roundings) + (&share * (&fair - &stake)).abs();
                let apart = (&given - kept * share).abs();
                let allowed = kept * off / &stake + &waits + whole(1);
                assert!(apart <= allowed, "{one:?} is given {given}, {apart} from what is fair");
            }
            one.reward += given;
        }
    }
}

impl Model {
    pub(super) fn compare_stakes(&self, state: &dyn State) -> Same {
        self.stakes.is_fair()?;
        let stakers: Vec<_> = keys::STAKERS.scan(state, &(), None).collect();
        same("stakers", &stakers.len(), &self.stakes.stakers.len())?;
        for (id, record) in stakers {
            let model = self.stakes.staker(&id).map_err(|_| format!("no staker {id}"))?;
            let rank = match record.status {
                ValidatorStatus::Registered => Rank::Registered,
                ValidatorStatus::Active => Rank::Active,
                ValidatorStatus::Jailed { until } => Rank::Jailed { until: until.0 },
            };
            same("rank", &rank, &model.rank)?;
            let commission = (record.commission_bps, record.commission_since.0);
            same("commission", &commission, &(model.commission_bps, model.since))?;
            same("own stake", &money(record.own), &model.own)?;
            same("slashed stake", &money(record.slashed), &model.slashed)?;
            same("rewards held", &money(record.rewards.held), &model.held)?;
            same("rewards carried", &money(record.rewards.carried), &model.carried)?;
            same("weight", &money(record.weight()), &model.weight())?;
            let pools = [record.delegated, record.own_unbonding, record.delegated_unbonding];
            for (kind, pool) in KINDS.into_iter().zip(pools) {
                same(&format!("{kind:?}"), &money(pool.tokens), &model.heaps[&kind].stake)?;
                let shares = Money::from_integer(pool.shares.into());
                same(&format!("shares {kind:?}"), &shares, &self.stakes.units(&id, kind))?;
            }
        }
        let active: Money = self.stakes.stakers.iter().map(Staker::weight).sum();
        same("active stake", &money(view::stake_total(state)), &active)?;
        same("mst burned", &money(view::supply(state).mst.burned), &self.stakes.burned)?;
        let unbonding = self.compare_unbondings(state)?;
        let delegations: Vec<_> = keys::DELEGATIONS.scan(state, &(), None).collect();
        same("stake parts", &(delegations.len() + unbonding), &self.stakes.parts.len())?;
        for ((owner, id), record) in delegations {
            let place = self.stakes.delegation(&owner, &id);
            let model = &self.stakes.parts[place.map_err(|_| format!("{owner} with {id}?"))?];
            let validator = keys::STAKERS.get(state, &id).ok_or("a delegation to nobody")?;
            same("delegated", &money(validator.worth(&record)), &self.stakes.worth(model))?;
            same("reward", &money(validator.owed(&record)), &model.reward.floor())?;
        }
        Ok(())
    }

    /// Tells how many there are.
    fn compare_unbondings(&self, state: &dyn State) -> Result<usize, String> {
        let unbondings: Vec<_> = keys::UNBONDINGS.scan(state, &(), None).collect();
        for (id, record) in &unbondings {
            let is = |part: &&Part| part.entry.is_some_and(|(entry, _)| entry == *id);
            let model = self.stakes.parts.iter().find(is).ok_or(format!("no unbonding {id}"))?;
            let entry = (record.owner, record.validator, Some((*id, record.until.0)));
            same("unbonding", &entry, &(model.owner, model.validator, model.entry))?;
            let validator = keys::STAKERS.get(state, &record.validator);
            let worth = validator.map(|validator| money(validator.unbonding_worth(record)));
            same("unbonding worth", &worth, &Some(self.stakes.worth(model)))?;
        }
        Ok(unbondings.len())
    }
}

fn part(
    owner: AccountId,
    validator: AccountId,
    kind: Kind,
    entry: Option<(UnbondingId, u64)>,
) -> Part {
    let nothing = Money::zero;
    Part { owner, validator, kind, entry, units: nothing(), exact: nothing(), reward: nothing() }
}
