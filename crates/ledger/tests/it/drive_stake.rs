//! Random and hostile stake, votes on parameters, and votes in disputes that get validators slashed.

use crate::drive::{self, Seen};
use crate::model::{Model, Verdict, stake::Kind, stake::Part, stake::Rank, vote::Stage};
use muster_ledger::{
    Action, Params,
    job::TaskOutput,
    vote::{Choice, ParamChange},
};
use muster_types::{AccountId, Amount, Millis, SecretKey};
use num_traits::{Signed as _, ToPrimitive as _};
use rand_chacha::{ChaCha8Rng, rand_core::Rng as _};
use std::collections::BTreeMap;

/// What may be voted on, and between what: mostly within bounds. None of these changes how long
/// something lasts that has begun already,
/// nor whom an order may win: a changed parameter wakes none of those that wait.
const VOTED: [(&str, u64, u64); 39] = [
    ("fee_per_byte", 0, 4),
    ("fee_per_unit", 0, 3_000),
    ("burn_min_bps", 0, 10_000),
    ("reward_max_bps", 0, 5_100),
    ("slash_fraud_bps", 0, 10_100),
    ("slash_exit_bps", 0, 10_000),
    ("slash_not_ready_bps", 0, 10_000),
    ("slash_stalled_bps", 0, 10_000),
    ("slash_wrong_vote_bps", 0, 10_100),
    ("retry_max", 1, 10_100),
    ("fee_per_visit", 0, 5_000_000),
    ("rent_per_lease", 0, 900_000_000_000),
    ("look_ahead", 0, 3),
    ("look_ahead_slack_bps", 0, 30_000),
    ("commission_step_bps", 0, 1_000),
    ("commission_interval_ms", 0, 3_000),
    ("validator_stake_min", 0, 2_000_000_000),
    ("validator_jail_ms", 0, 3_000),
    // These two bound each other: what fits alone may not when it takes effect.
    ("stake_unbonding_ms", 36_000, 48_000),
    ("stake_unbonding_ms", 36_000, 48_000),
    ("stake_unbonding_ms", 36_000, 48_000),
    ("dispute_timeout_ms", 7_000, 18_000),
    ("dispute_timeout_ms", 7_000, 18_000),
    ("dispute_timeout_ms", 7_000, 18_000),
    ("proposal_stake_min", 1, 1_000_000_000),
    ("proposal_fee", 0, 100_000_000),
    ("vote_stake_min", 1, 1_000_000_000),
    ("vote_period_ms", 1_000, 4_000),
    ("vote_quorum_bps", 0, 4_000),
    ("vote_delay_ms", 0, 2_000),
    ("risk_leases_min", 0, 20),
    ("offer_lifetime_min_ms", 0, 9_000),
    ("seat_stake", 0, 1_500_000_000),
    ("seats_max", 0, 8),
    ("seats_min", 1, 5),
    ("slash_equivocation_bps", 0, 3_000),
    ("downtime_bps", 1, 10_100),
    ("downtime_turns_min", 0, 6),
    ("no_such", 0, 1),
];

/// Times short enough for a sequence to see unbonding and votes to their ends. Every fourth
/// sequence begins with slashes that leave next to nothing, so that shares grow to sizes where what
/// they earn cannot be divided.
pub(crate) fn params(seed: u64, params: Params) -> Params {
    Params {
        dispute_clock_ms: Millis(1_000),
        dispute_timeout_ms: Millis(8_000),
        stake_unbonding_ms: Millis(40_000),
        validator_stake_min: Amount::from_nanos(500_000_000),
        validator_jail_ms: Millis(1_500),
        commission_step_bps: 500,
        commission_interval_ms: Millis(2_000),
        slash_equivocation_bps: 700,
        seat_stake: Amount::from_nanos(400_000_000),
        seats_max: 7,
        seats_min: 2,
        downtime_bps: 3_000,
        downtime_turns_min: 2,
        slash_wrong_vote_bps: if seed.is_multiple_of(4) { 9_999 } else { 1_000 },
        proposal_stake_min: Amount::from_nanos(500_000_000),
        proposal_fee: Amount::from_nanos(10_000_000),
        vote_stake_min: Amount::from_nanos(200_000_000),
        vote_period_ms: Millis(2_500),
        vote_quorum_bps: 1_000,
        vote_delay_ms: Millis(1_000),
        ..params
    }
}

/// What a genesis stakes: much, little and nothing.
pub(crate) fn stakes(validators: &[SecretKey]) -> BTreeMap<AccountId, Amount> {
    let amounts = [2_000_000_000, 499_999_999, 500_000_001].map(Amount::from_nanos);
    validators.iter().map(SecretKey::account).zip(amounts).collect()
}

/// Who makes a block: mostly who has delegators, at times one of the committee or anybody.
pub(crate) fn proposer(random: &mut ChaCha8Rng, model: &Model) -> AccountId {
    let mut draw = Draw { random, model };
    let backed = |id: &AccountId| model.stakes.with(id, Kind::Delegated).next().is_some();
    let stakers: Vec<_> = model.stakes.stakers.iter().map(|one| one.id).filter(backed).collect();
    let found = match draw.below(4) {
        0 => None,
        1 => draw.pick(&model.validators),
        _ => draw.pick(&stakers),
    };
    found.unwrap_or_else(|| draw.anybody())
}

/// An action, and who it would be right for.
pub(crate) fn act(random: &mut ChaCha8Rng, model: &Model) -> Option<(AccountId, Action)> {
    let mut draw = Draw { random, model };
    match draw.below(24) {
        0..=12 => draw.stake(),
        13..=17 => draw.vote(),
        _ => draw.judge(),
    }
}

struct Draw<'a> {
    random: &'a mut ChaCha8Rng,
    model: &'a Model,
}

impl Draw<'_> {
    fn below(&mut self, limit: u64) -> u64 {
        self.random.next_u64() % limit.max(1)
    }

    fn pick<T: Clone>(&mut self, all: &[T]) -> Option<T> {
        let place = self.below(all.len() as u64);
        all.get(usize::try_from(place).unwrap()).cloned()
    }

    fn anybody(&mut self) -> AccountId {
        let people: Vec<_> = self.model.people.iter().map(|one| one.id).collect();
        self.pick(&people).unwrap_or_default()
    }

    /// A validator, mostly.
    fn staker(&mut self) -> AccountId {
        let stakers: Vec<_> = self.model.stakes.stakers.iter().map(|one| one.id).collect();
        let found = if self.below(12) == 0 { None } else { self.pick(&stakers) };
        found.unwrap_or_else(|| self.anybody())
    }

    /// From single nanos, where rounding is most of it, to more than anybody has.
    fn amount(&mut self) -> Amount {
        match self.below(20) {
            0 => Amount::ZERO,
            1 => Amount::MAX,
            2..=6 => Amount::from_nanos(u128::from(1 + self.below(9))),
            7..=9 => Amount::from_nanos(u128::from(self.below(2_000_000))),
            _ => Amount::from_nanos(u128::from(self.below(2_500_000_000))),
        }
    }

    /// What a part is worth: all of it, about all of it, or some of it.
    fn some_of(&mut self, worth: u128) -> Amount {
        let amount = match self.below(16) {
            0 | 1 => worth,
            2 => worth.saturating_add(1),
            3 => worth.saturating_sub(1),
            4..=8 => u128::from(1 + self.below(9)),
            _ => worth.min(u128::from(self.below(u64::try_from(worth).unwrap_or(u64::MAX)))),
        };
        Amount::from_nanos(amount)
    }

    fn stake(&mut self) -> Option<(AccountId, Action)> {
        let stakes = &self.model.stakes;
        let part = |draw: &mut Self, is: &dyn Fn(&Part) -> bool| {
            let parts: Vec<_> = stakes.parts.iter().filter(|part| is(part)).cloned().collect();
            draw.pick(&parts)
        };
        Some(match self.below(16) {
            0 => {
                let commission_bps = u32::try_from(self.below(2_000)).unwrap();
                let commission_bps =
                    if self.below(12) == 0 { 10_000 + commission_bps } else { commission_bps };
                (self.staker(), Action::ValidatorSet { commission_bps })
            }
            1 | 2 => (self.staker(), Action::StakeAdd { amount: self.amount() }),
            3..=5 => {
                let (validator, amount) = (self.staker(), self.amount());
                (self.anybody(), Action::Delegate { validator, amount })
            }
            6 => {
                let validator = self.staker();
                let own = stakes.staker(&validator).map_or(0, |staker| nanos(&staker.own));
                (validator, Action::Unstake { validator, amount: self.some_of(own) })
            }
            7..=9 => {
                let part = part(self, &|part| part.kind == Kind::Delegated)?;
                let amount = self.some_of(nanos(&stakes.worth(&part)));
                (part.owner, Action::Unstake { validator: part.validator, amount })
            }
            10..=12 => {
                let steady = self.model.steady + self.below(2_000);
                let due = |part: &Part| part.entry.is_some_and(|(_, until)| until <= steady);
                let part = part(self, &due)?;
                (part.owner, Action::UnstakeClaim { entry: part.entry?.0 })
            }
            13 => {
                let part = part(self, &|part| part.kind == Kind::Delegated)?;
                (part.owner, Action::RewardClaim { validator: part.validator })
            }
            _ => {
                let jailed = stakes.stakers.iter();
                let jailed = jailed.filter(|one| matches!(one.rank, Rank::Jailed { .. }));
                let jailed: Vec<_> = jailed.map(|one| one.id).collect();
                (self.pick(&jailed)?, Action::ValidatorUnjail {})
            }
        })
    }

    fn vote(&mut self) -> Option<(AccountId, Action)> {
        let steady = self.model.steady;
        let all = &self.model.proposals;
        let open = |until| until > steady;
        let open =
            all.iter().filter(|one| matches!(one.stage, Stage::Voting { until } if open(until)));
        let open: Vec<_> = open.map(|one| one.id).collect();
        if open.len() < 3 && self.below(4) == 0 {
            let changes = (0..=self.below(2)).filter_map(|_| self.change()).collect();
            let title = if self.below(20) == 0 { String::new() } else { "A change".to_owned() };
            return Some((self.staker(), Action::Propose { title, changes }));
        }
        let any: Vec<_> = all.iter().map(|one| one.id).collect();
        let proposal = if self.below(12) == 0 { self.pick(&any) } else { self.pick(&open) }?;
        let choice = match self.below(10) {
            0 => Choice::Abstain,
            1 | 2 => Choice::No,
            _ => Choice::Yes,
        };
        let voter = if self.below(2) == 0 { self.staker() } else { self.anybody() };
        Some((voter, Action::Vote { proposal, choice }))
    }

    fn change(&mut self) -> Option<ParamChange> {
        let (name, least, most) = self.pick(&VOTED)?;
        let value = match self.below(4) {
            0 => least,
            1 => most,
            _ => least + self.below(most - least),
        };
        Some(ParamChange { name: name.to_owned(), value: value.into() })
    }

    /// Most of the committee agree on one of the outputs that were claimed.
    fn judge(&mut self) -> Option<(AccountId, Action)> {
        let open: Vec<_> = self
            .model
            .disputes
            .iter()
            .filter(|one| one.verdict == Verdict::None)
            .cloned()
            .collect();
        let dispute = self.pick(&open)?;
        let absent = |id: &AccountId| !dispute.votes.iter().any(|(voter, _)| voter == id);
        let absent: Vec<_> =
            self.model.validators.iter().copied().filter(|id| absent(id)).collect();
        let [(_, true_one), (_, other)] = dispute.claims;
        let output: Option<TaskOutput> = match self.below(10) {
            0 => None,
            1..=3 => Some(other),
            _ => Some(true_one),
        };
        Some((self.pick(&absent)?, Action::DisputeVote { dispute: dispute.id, output }))
    }
}

fn nanos(money: &crate::model::Money) -> u128 {
    money.to_integer().to_u128().unwrap_or(0)
}

#[test]
fn some_of_the_sequences_slash_stake_pay_rewards_and_pass_proposals() {
    let seen = |model: &Model| {
        let all = || model.proposals.iter().chain(model.past.proposals.iter());
        let stage = |stage| all().any(|one| one.stage == stage);
        let stakers = &model.stakes.stakers;
        [
            stage(Stage::Applied) && stage(Stage::Rejected),
            stakers.iter().any(|one| one.slashed.is_positive() && one.delegated().is_positive()),
            stakers.iter().any(|one| one.held.is_positive()),
        ]
    };
    let mut all = [false; 3];
    for seed in 0..64 {
        let model = drive::run(seed, 150, &mut Seen::default()).unwrap();
        for (all, now) in all.iter_mut().zip(seen(&model)) {
            *all |= now;
        }
        if all == [true; 3] {
            return;
        }
    }
    panic!("what was seen of it: {all:?}");
}
