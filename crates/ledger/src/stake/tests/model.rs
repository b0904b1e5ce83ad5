//! Random stakes, slashes and claims against the same in exact fractions: what everybody has is
//! what the fractions say, less rounding, and nothing is lost or made.

use super::*;
use num_rational::BigRational;
use proptest::prelude::*;
use std::collections::BTreeMap;

const VALIDATORS: [&str; 2] = ["val", "eve"];
const STAKERS: [&str; 4] = ["val", "eve", "ann", "bob"];
const DELEGATORS: [&str; 4] = ["ann", "bob", "eve", "rob"];

#[derive(Clone, Debug)]
enum Op {
    /// Stakes so many parts of 2^16 of the free balance.
    Stake(usize, usize, u16),
    /// Takes back so many parts of 2^16 of what is there.
    Unstake(usize, usize, u16),
    /// Claims an unbonding, after enough time or not.
    Claim(usize, bool),
    Slash(usize, u32),
    Unjail(usize),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let (who, to) = (0..STAKERS.len(), 0..VALIDATORS.len());
    let bps = prop_oneof![8 => 1u32..5_000, 1 => Just(10_000u32)];
    let op = prop_oneof![
        6 => (who.clone(), to.clone(), any::<u16>()).prop_map(|(a, b, c)| Op::Stake(a, b, c)),
        5 => (who, to.clone(), any::<u16>()).prop_map(|(a, b, c)| Op::Unstake(a, b, c)),
        3 => (any::<usize>(), any::<bool>()).prop_map(|(a, b)| Op::Claim(a, b)),
        2 => (to.clone(), bps).prop_map(|(a, b)| Op::Slash(a, b)),
        3 => to.prop_map(Op::Unjail),
    ];
    prop::collection::vec(op, 1..60)
}

fn exact(amount: Amount) -> BigRational {
    BigRational::from_integer(amount.nanos().into())
}

/// What is where, in exact fractions of a nano.
#[derive(Default)]
struct Model {
    /// By (owner, validator); own stake where they are the same.
    staked: BTreeMap<(usize, usize), BigRational>,
    unbonding: BTreeMap<UnbondingId, (usize, usize, BigRational)>,
    burned: BigRational,
    free: BTreeMap<usize, BigRational>,
    /// No more than a nano is lost or won by rounding in each step.
    steps: u32,
}

impl Model {
    fn close(&self, real: Amount, ideal: &BigRational, what: &str) {
        let bound = BigRational::from_integer(self.steps.into());
        let apart = exact(real) - ideal;
        assert!(apart <= bound && -apart.clone() <= bound, "{what}: {real} is not {ideal}");
    }

    fn slash(&mut self, validator: usize, bps: u32) {
        let part = BigRational::new(bps.into(), 10_000.into());
        let staked = self.staked.iter_mut().filter(|((_, at), _)| *at == validator);
        let unbonding = self.unbonding.values_mut().filter(|(_, at, _)| *at == validator);
        for stake in staked.map(|(_, stake)| stake).chain(unbonding.map(|(_, _, stake)| stake)) {
            let lost = stake.clone() * &part;
            *stake -= &lost;
            self.burned += lost;
        }
    }

    /// Everything is where the model has it.
    fn check(&self, w: &World) {
        for (owner, who) in STAKERS.iter().enumerate() {
            for (at, validator) in VALIDATORS.iter().enumerate() {
                let real =
                    if owner == at { w.validator(who).own } else { w.delegated(who, validator) };
                let ideal = self.staked.get(&(owner, at)).cloned().unwrap_or_default();
                self.close(real, &ideal, &format!("{who} at {validator}"));
            }
            let free = self.free.get(&owner).cloned().unwrap_or_default();
            self.close(w.mst_of(who), &free, who);
        }
        for (entry, (_, at, ideal)) in &self.unbonding {
            let unbonding = keys::UNBONDINGS.get(&w.state, entry).unwrap();
            let real = w.validator(VALIDATORS[*at]).unbonding_worth(&unbonding);
            self.close(real, ideal, "unbonding");
        }
        let burned = view::supply(&w.state).mst.burned;
        let bound = BigRational::from_integer((4 * self.steps).into());
        assert!(
            exact(burned) - &self.burned <= bound && self.burned.clone() - exact(burned) <= bound
        );
    }
}

fn parts(amount: Amount, of_65536: u16) -> Amount {
    amount.mul_div_floor(u128::from(of_65536) + 1, 65_536).unwrap()
}

/// Does one thing to the world and, where the ledger accepts it, to the model.
fn step(w: &mut World, model: &mut Model, op: &Op) {
    model.steps += 1;
    match *op {
        Op::Stake(who, at, part) => {
            let amount = parts(w.mst_of(STAKERS[who]), part);
            let validator = id(VALIDATORS[at]);
            let action = if who == at {
                Action::StakeAdd { amount }
            } else {
                Action::Delegate { validator, amount }
            };
            if w.block(500, vec![(STAKERS[who], action)]).results[0].is_ok() {
                *model.staked.entry((who, at)).or_default() += exact(amount);
                *model.free.entry(who).or_default() -= exact(amount);
            }
        }
        Op::Unstake(who, at, part) => {
            let all = if who == at {
                w.validator(VALIDATORS[at]).own
            } else {
                w.delegated(STAKERS[who], VALIDATORS[at])
            };
            let amount = parts(all, part);
            let action = Action::Unstake { validator: id(VALIDATORS[at]), amount };
            if let Ok(receipt) = &w.block(500, vec![(STAKERS[who], action)]).results[0] {
                let entry = UnbondingId::derive(&receipt.tx);
                *model.staked.entry((who, at)).or_default() -= exact(amount);
                model.unbonding.insert(entry, (who, at, exact(amount)));
            }
        }
        Op::Claim(pick, wait) => {
            let count = model.unbonding.len();
            let entry = model.unbonding.keys().nth(pick % count.max(1)).copied();
            let Some(entry) = entry else { return };
            if wait {
                w.pass(3, 1_000_000);
            }
            let owner = model.unbonding[&entry].0;
            let before = w.mst_of(STAKERS[owner]);
            let action = Action::UnstakeClaim { entry };
            if w.block(500, vec![(STAKERS[owner], action)]).results[0].is_ok() {
                let (_, _, ideal) = model.unbonding.remove(&entry).unwrap();
                let paid = w.mst_of(STAKERS[owner]).checked_sub(before).unwrap();
                model.close(paid, &ideal, "a claim");
                // From here on the model goes by what was really paid.
                *model.free.entry(owner).or_default() += exact(paid);
            }
        }
        Op::Slash(at, bps) => {
            w.slash(VALIDATORS[at], bps, &[]);
            model.slash(at, bps);
        }
        Op::Unjail(at) => {
            w.pass(3, 1_000_000);
            w.block(500, vec![(VALIDATORS[at], Action::ValidatorUnjail {})]);
        }
    }
}

/// One block with one action, whose fees are shared out by who holds what when it ends.
fn earn(
    w: &mut World,
    ideal: &mut BTreeMap<&str, BigRational>,
    who: &str,
    action: Action,
) -> Vec<Event> {
    let (before, fees) = (w.validator("val").rewards.held, view::supply(&w.state).fees);
    let events = w.block(500, vec![(who, action)]).events;
    let val = w.validator("val");
    let fees = exact(view::supply(&w.state).fees.checked_sub(fees).unwrap());
    let shared = fees * BigRational::new((10_000 - val.commission_bps).into(), 10_000.into());
    let delegated = exact(val.delegated.tokens) / exact(val.stake().max(nanos(1)));
    for who in DELEGATORS {
        if let Some(delegation) = keys::DELEGATIONS.get(&w.state, &(id(who), id("val"))) {
            let shares = val.delegated.shares_of(&delegation.part);
            let part = BigRational::new(shares.into(), val.delegated.shares.max(1).into());
            *ideal.entry(who).or_default() += &shared * &delegated * part;
        }
    }
    let all: BigRational = shared * delegated;
    let out = events.iter().fold(BigRational::default(), |out, event| match event {
        Event::RewardPaid { amount, .. } => out + exact(*amount),
        _ => out,
    });
    let kept = exact(val.rewards.held) + out - exact(before);
    let (apart, nano) = (kept - all, BigRational::from_integer(1.into()));
    assert!(apart <= nano && -apart.clone() <= nano, "of the block's fees {apart}");
    events
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 96,
        rng_seed: proptest::test_runner::RngSeed::Fixed(3),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn everybody_has_what_exact_fractions_say_and_all_of_it_can_be_had(ops in ops()) {
        let mut w = World::with(&VALIDATORS, |params| {
            params.max_block_step_ms = Millis(1_000_000);
            params.dispute_clock_ms = Millis(1_000);
            params.unbonding_ms = Millis(3_000_000);
            params.stake_unbonding_ms = Millis(2_900_000);
            params.retention_ms = Millis(2_900_000);
            params.vote_period_ms = Millis(1_000);
            params.validator_jail_ms = Millis(1_000);
        });
        let mut model = Model::default();
        for (index, who) in STAKERS.into_iter().enumerate() {
            model.free.insert(index, exact(w.mst_of(who)));
        }
        for who in VALIDATORS {
            w.ok(who, set(0));
        }
        for op in &ops {
            step(&mut w, &mut model, op);
            model.check(&w);
        }
        // Everybody leaves: the pools are empty, and only what was burned is missing.
        for (owner, who) in STAKERS.into_iter().enumerate() {
            for (at, validator) in VALIDATORS.into_iter().enumerate() {
                let own = w.validator(validator).own;
                let all = if owner == at { own } else { w.delegated(who, validator) };
                if !all.is_zero() {
                    w.unbond(who, validator, all);
                }
                if view::delegations_of(&w.state, &id(who)).iter().any(|(to, _)| *to == id(validator)) {
                    w.ok(who, claim(validator));
                }
            }
        }
        w.pass(3, 1_000_000);
        for who in STAKERS {
            for (entry, _) in view::unbondings_of(&w.state, &id(who)) {
                w.ok(who, Action::UnstakeClaim { entry });
            }
        }
        for who in VALIDATORS {
            let validator = w.validator(who);
            for pool in [validator.delegated, validator.own_unbonding, validator.delegated_unbonding] {
                prop_assert_eq!((pool.tokens, pool.shares), (Amount::ZERO, 0));
            }
        }
        let supply = view::supply(&w.state).mst;
        let free = free(&w);
        prop_assert_eq!(free, supply.issued.checked_sub(supply.burned).unwrap().nanos());
    }

    #[test]
    fn the_order_of_slashes_matters_by_their_rounding_alone(
        tokens in 1u128..1 << 60,
        all_bps in prop::collection::vec(1u32..10_000, 1..6),
    ) {
        let slashed = |order: &[u32]| {
            let mut pool = crate::stake::Pool::default();
            pool.deposit(&mut Default::default(), nanos(tokens)).unwrap();
            let lost: u128 = order.iter().map(|bps| pool.slash(*bps).unwrap().nanos()).sum();
            assert_eq!(lost + pool.tokens.nanos(), tokens);
            pool.tokens
        };
        let mut backwards = all_bps.clone();
        backwards.reverse();
        let ideal = all_bps.iter().fold(exact(nanos(tokens)), |left, bps| {
            left * BigRational::new((10_000 - bps).into(), 10_000.into())
        });
        let bound = BigRational::from_integer(all_bps.len().into());
        for order in [&all_bps, &backwards] {
            let apart = ideal.clone() - exact(slashed(order));
            prop_assert!(apart >= BigRational::default() && apart <= bound, "{}", apart);
        }
    }

    #[test]
    fn rewards_are_what_exact_fractions_say_and_never_more_than_came_in(
        rounds in prop::collection::vec((0usize..4, 0usize..3, any::<u16>(), any::<bool>()), 1..40),
    ) {
        let mut w = World::with(&["val"], |params| {
            params.fee_per_unit = nanos(1_000_003);
            params.validator_jail_ms = Millis(0);
        });
        w.stakes("val", 777, mst(3));
        let mut ideal: BTreeMap<&str, BigRational> = BTreeMap::new();
        let mut paid: BTreeMap<AccountId, BigRational> = BTreeMap::new();
        let mut blocks = 0u32;
        for (who, kind, part, slash) in rounds {
            let who = DELEGATORS[who];
            blocks += 1;
            if slash && (1..9_000).contains(&part) {
                w.slash("val", u32::from(part), &[]);
                earn(&mut w, &mut ideal, "val", Action::ValidatorUnjail {});
            }
            let validator = id("val");
            let action = match kind {
                0 => Action::Delegate { validator, amount: parts(w.mst_of(who), part) },
                1 => Action::Unstake { validator, amount: parts(w.delegated(who, "val"), part) },
                _ => claim("val"),
            };
            for event in earn(&mut w, &mut ideal, who, action) {
                if let Event::RewardPaid { delegator, amount, .. } = event {
                    *paid.entry(delegator).or_default() += exact(amount);
                }
            }
        }
        let bound = BigRational::from_integer((4 * blocks).into());
        let val = w.validator("val");
        for who in DELEGATORS {
            let owed = keys::DELEGATIONS
                .get(&w.state, &(id(who), id("val")))
                .map_or(Amount::ZERO, |delegation| val.owed(&delegation));
            let real = paid.get(&id(who)).cloned().unwrap_or_default() + exact(owed);
            let apart = real - ideal.get(who).cloned().unwrap_or_default();
            prop_assert!(apart <= bound && -apart.clone() <= bound, "{}: {}", who, apart);
        }
    }
}
