mod beacon;
mod committee;
mod model;

use super::{Validator, ValidatorStatus, Views, slash};
use crate::{
    Action, Event, Params, Reject,
    ctx::{Ctx, Effects, Env},
    genesis::{EPOCH_BLOCKS, Genesis, GenesisError, PROTOCOL},
    invariant, keys, limits,
    state::{MemoryState, Scratch},
    tests::{
        World, nanos, usd,
        world::{id, result},
    },
    view,
};
use ValidatorStatus::{Active, Jailed, Registered};
use muster_types::*;

fn mst(units: u64) -> Amount {
    Amount::from_units(units)
}

fn half() -> Amount {
    nanos(500_000_000)
}

fn set(commission_bps: u32) -> Action {
    Action::ValidatorSet { commission_bps }
}

fn add(units: u64) -> Action {
    Action::StakeAdd { amount: mst(units) }
}

fn delegate(to: &str, units: u64) -> Action {
    Action::Delegate { validator: id(to), amount: mst(units) }
}

fn unstake(from: &str, units: u64) -> Action {
    Action::Unstake { validator: id(from), amount: mst(units) }
}

fn claim(from: &str) -> Action {
    Action::RewardClaim { validator: id(from) }
}

impl World {
    fn validator(&self, who: &str) -> Validator {
        view::validator(&self.state, &id(who)).unwrap()
    }

    fn mst_of(&self, who: &str) -> Amount {
        self.account(who).mst
    }

    fn delegated(&self, who: &str, to: &str) -> Amount {
        let delegation = keys::DELEGATIONS.get(&self.state, &(id(who), id(to)));
        delegation.map_or(Amount::ZERO, |delegation| self.validator(to).worth(&delegation))
    }

    /// Unstakes and tells what unbonds.
    fn unbond(&mut self, who: &str, from: &str, amount: Amount) -> UnbondingId {
        let (receipt, _) = self.ok(who, Action::Unstake { validator: id(from), amount });
        UnbondingId::derive(&receipt.tx)
    }

    /// An active validator with so much of its own.
    fn stakes(&mut self, who: &str, commission_bps: u32, own: Amount) {
        self.ok(who, set(commission_bps));
        self.ok(who, Action::StakeAdd { amount: own });
    }

    /// Slashes as a rule of the ledger would.
    fn slash(&mut self, who: &str, bps: u32, harmed: &[(&str, Amount)]) -> Vec<Event> {
        let env = Env {
            head: self.head(),
            previous: self.head(),
            params: view::params(&self.state),
            proposer: self.proposer,
            views: Views::default(),
        };
        let mut ctx = Ctx::new(Scratch::new(&self.state), &env);
        let harmed: Vec<_> = harmed.iter().map(|(who, loss)| (id(who), *loss)).collect();
        slash::slash(&mut ctx, &id(who), bps, &harmed).unwrap();
        let Effects { changes, events, .. } = ctx.into_effects();
        self.state.apply(changes);
        invariant::check(&self.state).unwrap();
        events
    }
}

/// Steady time after which what was unstaked before is free.
fn unbond_ms(params: &mut Params) {
    params.dispute_clock_ms = Millis(1_000);
    params.stake_unbonding_ms = Millis(100_000);
    params.vote_period_ms = Millis(1_000);
    params.validator_jail_ms = Millis(5_000);
}

#[test]
fn stake_moves_as_documented() {
    let mut w = World::new();
    let no = |kind| Some(Reject::not_found(kind));
    let short = |needed, there| {
        Some(Reject::InsufficientStake { needed: mst(needed), available: mst(there) })
    };
    let poor = |needed, there| {
        Some(Reject::InsufficientFunds { needed: mst(needed), available: mst(there) })
    };
    let field = |field| Some(Reject::bad_field(field));
    let state = |state| Some(Reject::wrong_state("validator", state));
    // (who, action, refusal, val's state, own, delegated, all active stake, mst of val and ann)
    let table = [
        ("val", add(5), no("validator"), None, 0, 0, 0, 10, 10),
        ("ann", delegate("val", 5), no("validator"), None, 0, 0, 0, 10, 10),
        ("val", set(10_001), field("commission_bps"), None, 0, 0, 0, 10, 10),
        ("val", set(500), None, Some(Registered), 0, 0, 0, 10, 10),
        ("val", set(500), Some(Reject::Duplicate), Some(Registered), 0, 0, 0, 10, 10),
        ("ann", delegate("val", 5), state("registered"), Some(Registered), 0, 0, 0, 10, 10),
        ("val", add(0), Some(Reject::ZeroAmount), Some(Registered), 0, 0, 0, 10, 10),
        ("val", add(11), poor(11, 10), Some(Registered), 0, 0, 0, 10, 10),
        ("val", add(1), None, Some(Registered), 1, 0, 0, 9, 10),
        ("val", add(3), None, Some(Active), 4, 0, 4, 6, 10),
        ("val", delegate("val", 1), field("validator"), Some(Active), 4, 0, 4, 6, 10),
        ("ann", delegate("val", 11), poor(11, 10), Some(Active), 4, 0, 4, 6, 10),
        ("ann", delegate("val", 0), Some(Reject::ZeroAmount), Some(Active), 4, 0, 4, 6, 10),
        ("ann", delegate("val", 7), None, Some(Active), 4, 7, 11, 6, 3),
        ("ann", unstake("val", 8), short(8, 7), Some(Active), 4, 7, 11, 6, 3),
        ("bob", unstake("val", 1), no("delegation"), Some(Active), 4, 7, 11, 6, 3),
        ("bob", unstake("eve", 1), no("validator"), Some(Active), 4, 7, 11, 6, 3),
        ("bob", claim("val"), no("delegation"), Some(Active), 4, 7, 11, 6, 3),
        ("ann", unstake("val", 0), Some(Reject::ZeroAmount), Some(Active), 4, 7, 11, 6, 3),
        ("ann", unstake("val", 2), None, Some(Active), 4, 5, 9, 6, 3),
        ("val", unstake("val", 5), short(5, 4), Some(Active), 4, 5, 9, 6, 3),
        ("val", unstake("val", 1), None, Some(Active), 3, 5, 8, 6, 3),
        // Too little of its own: nothing with it counts, but all of it can leave.
        ("val", unstake("val", 2), None, Some(Registered), 1, 5, 0, 6, 3),
        ("ann", delegate("val", 1), state("registered"), Some(Registered), 1, 5, 0, 6, 3),
        ("ann", unstake("val", 4), None, Some(Registered), 1, 1, 0, 6, 3),
        ("val", Action::ValidatorUnjail {}, state("registered"), Some(Registered), 1, 1, 0, 6, 3),
        ("val", add(2), None, Some(Active), 3, 1, 4, 4, 3),
        ("ann", unstake("val", 1), None, Some(Active), 3, 0, 3, 4, 3),
        ("ann", unstake("val", 1), no("delegation"), Some(Active), 3, 0, 3, 4, 3),
    ];
    w.state = with_params(&w, |params| params.validator_stake_min = mst(3));
    for (index, row) in table.into_iter().enumerate() {
        let (who, action, refusal, status, own, delegated, active, of_val, of_ann) = row;
        match refusal {
            Some(reject) => assert_eq!(w.refused(who, action), reject, "row {index}"),
            None => assert!(!w.ok(who, action).0.events.is_empty(), "row {index}"),
        }
        let val = view::validator(&w.state, &id("val"));
        assert_eq!(val.as_ref().map(|val| val.status), status, "row {index}");
        let stake = val.map(|val| (val.own, val.delegated.tokens)).unwrap_or_default();
        assert_eq!(stake, (mst(own), mst(delegated)), "row {index}");
        assert_eq!(view::stake_total(&w.state), mst(active), "row {index}");
        assert_eq!((w.mst_of("val"), w.mst_of("ann")), (mst(of_val), mst(of_ann)), "row {index}");
    }
}

/// The state with other parameters.
fn with_params(w: &World, change: impl FnOnce(&mut Params)) -> MemoryState {
    let mut params = view::params(&w.state);
    change(&mut params);
    let mut scratch = Scratch::new(&w.state);
    keys::PARAMS.put(&mut scratch, &(), &params);
    let changes = scratch.into_changes();
    let mut state = w.state.clone();
    state.apply(changes);
    state
}

#[test]
fn a_commission_rises_slowly_once_somebody_delegates() {
    let mut w = World::with(&["val"], |params| {
        params.commission_step_bps = 100;
        params.commission_interval_ms = Millis(10_000);
    });
    w.stakes("val", 9_000, mst(5));
    w.ok("val", set(0));
    w.ok("val", set(1_000));
    w.ok("ann", delegate("val", 1));
    let changed = w.validator("val").commission_since;
    let reject = w.refused("val", set(1_100));
    let Reject::TooEarly { from, .. } = reject else { panic!("{reject}") };
    assert_eq!(from, changed.after(Millis(10_000)));
    // (steady time to wait, commission, accepted)
    let table = [
        (10_000, 1_101, false),
        (0, 1_100, true),
        (9_000, 1_101, false),
        (0, 200, true),
        (9_000, 201, false),
        (1_000, 201, true),
        (0, 0, true),
    ];
    for (wait, commission, accepted) in table {
        w.pass(wait / 1_000, 1_000);
        if accepted {
            w.ok("val", set(commission));
            assert_eq!(w.validator("val").commission_bps, commission);
        } else {
            let code = w.refused("val", set(commission)).code();
            assert!(["too_early", "bad_field"].contains(&code), "{commission} {code}");
        }
    }
    // Nobody delegates any more: it is free again.
    w.ok("ann", unstake("val", 1));
    w.ok("val", set(10_000));
}

#[test]
fn what_unbonds_is_claimed_by_its_owner_after_its_time() {
    let mut w = World::with(&["val"], unbond_ms);
    w.stakes("val", 0, mst(5));
    w.ok("ann", delegate("val", 4));
    let own = w.unbond("val", "val", mst(2));
    let anns = w.unbond("ann", "val", mst(3));
    let entries = view::unbondings_of(&w.state, &id("ann"));
    let until = w.head().steady.after(Millis(100_000));
    assert_eq!(entries.len(), 1);
    assert_eq!((entries[0].0, entries[0].1.until), (anns, until));
    assert_eq!(w.validator("val").unbonding_worth(&entries[0].1), mst(3));
    let act = |entry| Action::UnstakeClaim { entry };
    assert_eq!(w.refused("ann", act(UnbondingId::default())), Reject::not_found("unbonding"));
    assert_eq!(w.refused("val", act(anns)), Reject::not_yours("owner"));
    // A chain that stands still lets no time pass that slashing waits for.
    w.pass(1, 3_600_000);
    w.pass(98, 1_000);
    let now = w.head().steady.after(Millis(500));
    assert_eq!(w.refused("ann", act(anns)), Reject::TooEarly { from: until, now });
    w.pass(1, 500);
    let (receipt, _) = w.ok("ann", act(anns));
    let (owner, validator) = (id("ann"), id("val"));
    let claimed = Event::UnstakeClaimed { entry: anns, owner, validator, amount: mst(3) };
    assert_eq!(receipt.events, [claimed]);
    w.ok("val", act(own));
    assert_eq!((w.mst_of("ann"), w.mst_of("val")), (mst(9), mst(7)));
    assert_eq!(w.refused("ann", act(anns)), Reject::not_found("unbonding"));
    let val = w.validator("val");
    assert_eq!((val.own_unbonding.shares, val.delegated_unbonding.shares), (0, 0));
}

#[test]
fn a_slash_reaches_everybody_alike_what_unbonds_too() {
    let mut w = World::with(&["val"], unbond_ms);
    w.stakes("val", 0, mst(8));
    w.ok("ann", delegate("val", 8));
    w.ok("bob", delegate("val", 4));
    let own = w.unbond("val", "val", mst(4));
    let anns = w.unbond("ann", "val", mst(4));
    let events = w.slash("val", 2_500, &[]);
    let jailed_until = w.head().steady.after(Millis(5_000));
    let slashed = Event::ValidatorSlashed {
        validator: id("val"),
        amount: mst(5),
        compensated: Amount::ZERO,
        burned: mst(5),
        jailed_until,
    };
    assert_eq!(events.last(), Some(&slashed));
    let val = w.validator("val");
    assert_eq!((val.status, val.slashed), (Jailed { until: jailed_until }, mst(5)));
    assert_eq!(val.own, mst(3));
    assert_eq!((w.delegated("ann", "val"), w.delegated("bob", "val")), (mst(3), mst(3)));
    assert_eq!(view::stake_total(&w.state), Amount::ZERO, "a jailed validator's stake counts");
    assert_eq!(view::supply(&w.state).mst.burned, mst(5));
    assert_eq!(view::validators(&w.state), [id("val")], "the committee is a list of its own");
    w.pass(100, 1_000);
    for (who, entry) in [("val", own), ("ann", anns)] {
        let before = w.mst_of(who);
        w.ok(who, Action::UnstakeClaim { entry });
        assert_eq!(w.mst_of(who), before.checked_add(mst(3)).unwrap(), "{who}");
    }
}

#[test]
fn the_jailed_come_back_after_their_time_by_themselves() {
    let mut w = World::with(&["val"], |params| {
        unbond_ms(params);
        params.validator_stake_min = mst(3);
    });
    w.stakes("val", 0, mst(4));
    assert_eq!(w.refused("ann", Action::ValidatorUnjail {}), Reject::not_found("validator"));
    let active = Reject::wrong_state("validator", "active");
    assert_eq!(w.refused("val", Action::ValidatorUnjail {}), active);
    w.slash("val", 1_000, &[]);
    let Jailed { until } = w.validator("val").status else { panic!("not jailed") };
    let jailed = Reject::wrong_state("validator", "jailed");
    assert_eq!(w.refused("ann", delegate("val", 1)), jailed);
    w.pass(4, 1_000);
    let now = w.head().steady.after(Millis(500));
    assert_eq!(w.refused("val", Action::ValidatorUnjail {}), Reject::TooEarly { from: until, now });
    w.slash("val", 1_000, &[]);
    let Jailed { until: later } = w.validator("val").status else { panic!("not jailed") };
    assert_eq!(later, until.after(Millis(4_000)), "slashed again: jailed for longer");
    w.pass(5, 1_000);
    assert!(matches!(w.validator("val").status, Jailed { .. }), "nobody is let out by time alone");
    w.ok("val", Action::ValidatorUnjail {});
    assert_eq!(w.validator("val").status, Active);
    assert_eq!(view::stake_total(&w.state), "3.24".parse().unwrap());
    // With too little left it is registered until it adds some.
    w.slash("val", 5_000, &[]);
    w.ok("val", add(1));
    assert!(matches!(w.validator("val").status, Jailed { .. }));
    w.pass(5, 1_000);
    w.ok("val", Action::ValidatorUnjail {});
    assert_eq!(w.validator("val").status, Registered);
    w.ok("val", add(1));
    assert_eq!(w.validator("val").status, Active);
}

#[test]
fn own_stake_compensates_the_harmed_and_delegated_stake_never_does() {
    // (bps, losses of bob and eve, what they get) of 6 own, 2 own unbonding, 9 delegated.
    let table = [
        (5_000, vec![], 0, 0),
        (5_000, vec![("bob", 1_000)], 1_000, 0),
        (5_000, vec![("bob", 1_000), ("eve", 2_000)], 1_000, 2_000),
        // 4 of own stake, a fifth of which is burned at least: 3.2 for losses of 8.
        (5_000, vec![("bob", 2_000), ("eve", 6_000)], 800, 2_400),
        (10_000, vec![("bob", 1_000_000)], 6_400, 0),
        (5_000, vec![("bob", 0)], 0, 0),
        (0, vec![("bob", 1_000)], 0, 0),
    ];
    for (bps, losses, bob, eve) in table {
        let mut w = World::with(&["val"], |params| params.burn_min_bps = 2_000);
        w.stakes("val", 0, mst(8));
        w.unbond("val", "val", mst(2));
        w.ok("ann", delegate("val", 9));
        let milli = |milli: u64| nanos(u128::from(milli) * 1_000_000);
        let losses: Vec<_> = losses.into_iter().map(|(who, loss)| (who, milli(loss))).collect();
        let events = w.slash("val", bps, &losses);
        let got = |who: &str| w.mst_of(who).checked_sub(mst(10)).unwrap();
        assert_eq!((got("bob"), got("eve")), (milli(bob), milli(eve)), "{bps} {losses:?}");
        assert_eq!(events.is_empty(), bps == 0);
        let all = mst(17).split_floor(bps).part;
        let burned = all.checked_sub(milli(bob + eve)).unwrap();
        assert_eq!(view::supply(&w.state).mst.burned, burned, "{bps} {losses:?}");
    }
}

#[test]
fn who_is_slashed_and_harmed_at_once_loses() {
    let mut w = World::new();
    w.stakes("val", 0, mst(10));
    w.slash("val", 10_000, &[("val", mst(10))]);
    assert_eq!(w.mst_of("val"), mst(8));
    assert!(w.slash("ann", 10_000, &[("val", mst(10))]).is_empty(), "no validator, no stake");
}

#[test]
fn a_pool_slashed_to_nothing_takes_its_rewards_along_and_can_be_joined_again() {
    let mut w = World::with(&["val"], |params| {
        params.fee_per_unit = half();
        unbond_ms(params);
    });
    w.stakes("val", 0, mst(2));
    w.ok("ann", delegate("val", 2));
    let anns = w.unbond("ann", "val", mst(1));
    let held = w.validator("val").rewards.held;
    assert!(!held.is_zero());
    w.slash("val", 10_000, &[]);
    assert_eq!(view::supply(&w.state).usd.burned, held);
    assert_eq!(w.delegated("ann", "val"), Amount::ZERO);
    let nothing = Reject::InsufficientStake { needed: mst(1), available: Amount::ZERO };
    assert_eq!(w.refused("ann", unstake("val", 1)), nothing);
    w.pass(101, 1_000);
    w.ok("val", add(5));
    w.ok("val", Action::ValidatorUnjail {});
    w.ok("bob", delegate("val", 3));
    // Ann's old part takes nothing of what is new, and goes when she asks for it.
    let before = (w.usd_of("ann"), w.mst_of("ann"));
    w.ok("ann", claim("val"));
    w.ok("ann", Action::UnstakeClaim { entry: anns });
    assert_eq!((w.usd_of("ann").checked_add(usd(1)).unwrap(), w.mst_of("ann")), before);
    assert!(view::delegations_of(&w.state, &id("ann")).is_empty());
    assert_eq!(w.delegated("bob", "val"), mst(3));
    assert_eq!(view::delegations_to(&w.state, &id("val")).len(), 1);
}

#[test]
fn fees_are_shared_by_commission_and_stake() {
    let mut w = World::with(&["val"], |params| params.fee_per_unit = half());
    w.stakes("val", 1_000, mst(2));
    let before = w.usd_of("val");
    let pay = |to| Action::Transfer { to: id(to), asset: Asset::Usd, amount: usd(1) };
    // Nobody delegates: all of it.
    w.ok("ann", pay("bob"));
    assert_eq!(w.usd_of("val"), before.checked_add(half()).unwrap());
    w.ok("ann", delegate("val", 2));
    w.ok("bob", delegate("val", 4));
    let (held, before) = (w.validator("val").rewards.held, w.usd_of("val"));
    // Of 8 usd, 0.8 is commission; 7.2 by 2 own, 2 of ann's and 4 of bob's.
    w.block(500, (0..16).map(|_| ("eve", pay("rob"))).collect());
    assert_eq!(w.usd_of("val"), before.checked_add("2.6".parse().unwrap()).unwrap());
    let earned = w.validator("val").rewards.held.checked_sub(held).unwrap();
    assert_eq!(earned, "5.4".parse().unwrap());
    let owed = |w: &World, who: &str| {
        let delegation = keys::DELEGATIONS.get(&w.state, &(id(who), id("val"))).unwrap();
        w.validator("val").owed(&delegation)
    };
    // Of 5.4, ann gets 1.8. Before, she had 0.45 of the block in which she came, as both blocks
    // brought 1 usd less commission; and 0.225 of the block in which bob came with twice as much.
    assert_eq!(owed(&w, "ann").nanos().div_ceil(10), 247_500_000);
    assert_eq!(owed(&w, "bob").nanos().div_ceil(10), 405_000_000);
    let all = owed(&w, "ann").checked_add(owed(&w, "bob")).unwrap();
    let dust = w.validator("val").rewards.held.checked_sub(all).unwrap();
    assert!(dust <= nanos(4), "{dust}");
    // Claims pay what is owed, once.
    let (was, owed_bob) = (w.usd_of("bob"), owed(&w, "bob"));
    w.ok("bob", claim("val"));
    let got = was.checked_add(owed_bob).unwrap().checked_sub(half()).unwrap();
    assert_eq!(w.usd_of("bob"), got);
    // A change of the delegation pays first.
    let (was, owed_ann) = (w.usd_of("ann"), owed(&w, "ann"));
    let (receipt, _) = w.ok("ann", unstake("val", 2));
    let paid = Event::RewardPaid { delegator: id("ann"), validator: id("val"), amount: owed_ann };
    assert!(receipt.events.contains(&paid));
    assert_eq!(w.usd_of("ann"), was.checked_add(owed_ann).unwrap().checked_sub(usd(1)).unwrap());
    // A proposer without a stake keeps everything.
    w.proposer = id("rob");
    let before = w.usd_of("rob");
    w.ok("eve", pay("bob"));
    assert_eq!(w.usd_of("rob"), before.checked_add(half()).unwrap());
}

#[test]
fn a_validator_that_voted_against_the_verdict_is_slashed() {
    let committee = ["val", "eve", "bob", "rob"];
    let mut w = World::with(&committee, |params| params.slash_wrong_vote_bps = 1_000);
    for who in ["val", "eve", "bob"] {
        w.stakes(who, 0, mst(10));
    }
    w.provider("pat", "1");
    w.provider("quin", "2");
    let escrow = w.open_escrow("ann", usd(100));
    let job = w.open_job("ann", escrow);
    let order = w.order_for(escrow, Some(job), 9);
    let order = w.place("ann", order);
    let leases = w.order(&order).leases;
    let claims = Box::new([w.claim(leases[0], 1, 1), w.claim(leases[8], 1, 2)]);
    let open = Action::DisputeOpen { job, claims, evidence: String::new() };
    let (receipt, _) = w.ok("ann", open.clone());
    let dispute = DisputeId::derive(&receipt.tx);
    let vote = |output: Option<u8>| Action::DisputeVote { dispute, output: output.map(result) };
    w.ok("eve", vote(Some(2)));
    for who in ["val", "bob", "rob"] {
        w.ok(who, vote(Some(1)));
    }
    // Two others made the verdict with rob, who has no stake and voted with them.
    assert_eq!(w.validator("eve").own, mst(9));
    assert!(matches!(w.validator("eve").status, Jailed { .. }));
    for who in ["val", "bob"] {
        assert_eq!((w.validator(who).own, w.validator(who).status), (mst(10), Active), "{who}");
    }
    assert_eq!(view::supply(&w.state).mst.burned, mst(1));
    // Who has no stake has none to lose; who could not get the evidence loses nothing.
    let (receipt, _) = w.ok("ann", open);
    let dispute = DisputeId::derive(&receipt.tx);
    let vote = |output: Option<u8>| Action::DisputeVote { dispute, output: output.map(result) };
    for (who, output) in [("rob", Some(2)), ("val", Some(1)), ("eve", Some(1)), ("bob", Some(1))] {
        w.ok(who, vote(output));
    }
    assert_eq!(view::supply(&w.state).mst.burned, mst(1));
    let missing = [w.validator("val").own, w.validator("bob").own, w.validator("eve").own];
    assert_eq!(missing, [mst(10), mst(10), mst(9)]);
}

#[test]
fn a_validator_without_the_evidence_loses_nothing() {
    let committee = ["val", "eve", "bob", "rob"];
    let mut w = World::with(&committee, |_| ());
    w.stakes("eve", 0, mst(10));
    w.provider("pat", "1");
    w.provider("quin", "2");
    let escrow = w.open_escrow("ann", usd(100));
    let job = w.open_job("ann", escrow);
    let order = w.order_for(escrow, Some(job), 9);
    let order = w.place("ann", order);
    let leases = w.order(&order).leases;
    let claims = Box::new([w.claim(leases[0], 1, 1), w.claim(leases[8], 1, 2)]);
    let open = Action::DisputeOpen { job, claims, evidence: String::new() };
    let (receipt, _) = w.ok("ann", open);
    let dispute = DisputeId::derive(&receipt.tx);
    w.ok("eve", Action::DisputeVote { dispute, output: None });
    for who in ["val", "bob", "rob"] {
        w.ok(who, Action::DisputeVote { dispute, output: Some(result(1)) });
    }
    assert_eq!((w.validator("eve").own, w.validator("eve").status), (mst(10), Active));
}

#[test]
fn an_account_delegates_to_so_many_validators_at_most() {
    let mut w = World::with(&["val"], |params| params.validator_stake_min = nanos(1));
    let names: Vec<String> = (0..=crate::limits::DELEGATIONS).map(|n| format!("v{n}")).collect();
    let grant =
        |who: &String| Action::Transfer { to: id(who), asset: Asset::Mst, amount: nanos(1) };
    w.block(500, names.iter().map(|who| ("ann", grant(who))).collect());
    for who in &names {
        w.stakes(who, 0, nanos(1));
    }
    let act = |who: &String| Action::Delegate { validator: id(who), amount: nanos(1) };
    for who in names.iter().skip(1) {
        w.ok("bob", act(who));
    }
    let full = Reject::wrong_state("account", "delegating to too many validators");
    assert_eq!(w.refused("bob", act(&names[0])), full);
    w.ok("bob", act(&names[1]));
    w.ok("bob", Action::Unstake { validator: id(&names[1]), amount: nanos(2) });
    w.ok("bob", act(&names[0]));
}

#[test]
fn shares_worth_next_to_nothing_let_no_new_stake_in() {
    let mut w = World::new();
    w.stakes("val", 0, mst(5));
    w.ok("ann", delegate("val", 10));
    for _ in 0..3 {
        w.slash("val", 9_999, &[]);
    }
    assert_eq!(w.validator("val").delegated.tokens, Amount::ZERO);
    w.pass(600, 1_000);
    w.ok("val", add(2));
    w.ok("val", Action::ValidatorUnjail {});
    w.ok("bob", Action::Delegate { validator: id("val"), amount: mst(5) });
    // Down to a nano: more shares than 2^32 of them are worth.
    w.slash("val", 9_999, &[]);
    w.slash("val", 9_999, &[]);
    w.slash("val", 9_000, &[]);
    w.slash("val", 8_000, &[]);
    let pool = w.validator("val").delegated;
    assert!(pool.tokens.nanos() >= 1 && !pool.is_sound(), "{pool:?}");
    let refused = Reject::wrong_state("validator", "slashed to next to nothing");
    assert_eq!(w.refused("val", add(2)), refused);
    // Who is in can leave, and then it is as good as new.
    let worth = w.delegated("bob", "val");
    w.ok("bob", Action::Unstake { validator: id("val"), amount: worth });
    w.ok("val", add(2));
}

#[test]
fn stakes_of_a_genesis_are_counted_and_only_validators_have_them() {
    let mut genesis = Genesis {
        name: "net".into(),
        time: Millis(1),
        protocol: PROTOCOL,
        validators: vec![id("val"), id("eve"), id("bob")],
        balances: Default::default(),
        stakes: [(id("val"), mst(5)), (id("eve"), nanos(1))].into(),
        epoch_blocks: EPOCH_BLOCKS,
        params: Params::default(),
    };
    let mut state = MemoryState::default();
    state.apply(genesis.changes().unwrap());
    assert_eq!(invariant::check(&state), Ok(()));
    assert_eq!(view::validator(&state, &id("val")).unwrap().status, Active);
    assert_eq!(view::validator(&state, &id("eve")).unwrap().status, Registered);
    assert_eq!(view::validator(&state, &id("bob")), None);
    assert_eq!(view::stake_total(&state), mst(5));
    assert_eq!(view::supply(&state).mst.issued, mst(5).checked_add(nanos(1)).unwrap());
    let chain = genesis.id();
    genesis.stakes.insert(id("eve"), Amount::MAX);
    assert_ne!(genesis.id(), chain);
    assert_eq!(genesis.check(), Err(GenesisError::Balances { asset: Asset::Mst }));
    genesis.stakes = [(id("ann"), mst(1))].into();
    assert_eq!(genesis.check(), Err(GenesisError::Stakes));
}

/// All free `mst`, in nanos.
fn free(w: &World) -> u128 {
    keys::ACCOUNTS.scan(&w.state, &(), None).map(|(_, account)| account.mst.nanos()).sum()
}
