use super::{Choice, ParamChange, Proposal, ProposalStatus, Tally};
use crate::{
    Action, Event, Params, Reject, limits,
    tests::{
        World, nanos, usd,
        world::{STEP, id},
    },
    view,
};
use Choice::{Abstain, No, Yes};
use muster_types::*;

/// Steady time for which the tests' proposals are voted on.
const PERIOD: u64 = 10_000;
/// Steady time from a vote to its effect.
const DELAY: u64 = 5_000;

fn mst(units: u64) -> Amount {
    Amount::from_units(units)
}

fn change(name: &str, value: u128) -> ParamChange {
    ParamChange { name: name.into(), value }
}

fn propose(changes: &[(&str, u128)]) -> Action {
    let changes = changes.iter().map(|(name, value)| change(name, *value)).collect();
    Action::Propose { title: "a better number".into(), changes }
}

fn vote(proposal: ProposalId, choice: Choice) -> Action {
    Action::Vote { proposal, choice }
}

/// Val has 6 mst and eve 4, ann delegates 3 to val and 1 to eve, bob 2 to val: 16 in all.
fn stakers(change: impl FnOnce(&mut Params)) -> World {
    let mut w = World::with(&["val"], |params| {
        params.vote_period_ms = Millis(PERIOD);
        params.vote_delay_ms = Millis(DELAY);
        params.proposal_stake_min = mst(4);
        change(params);
    });
    for (who, own) in [("val", 6), ("eve", 4)] {
        w.ok(who, Action::ValidatorSet { commission_bps: 0 });
        w.ok(who, Action::StakeAdd { amount: mst(own) });
    }
    for (who, to, units) in [("ann", "val", 3), ("ann", "eve", 1), ("bob", "val", 2)] {
        w.ok(who, Action::Delegate { validator: id(to), amount: mst(units) });
    }
    w
}

impl World {
    fn propose(&mut self, who: &str, changes: &[(&str, u128)]) -> ProposalId {
        let (receipt, _) = self.ok(who, propose(changes));
        ProposalId::derive(&receipt.tx)
    }

    fn proposal(&self, id: &ProposalId) -> Proposal {
        view::proposal(&self.state, id).unwrap()
    }

    /// Lets steady time come to `until` by the end of a block.
    fn pass_until(&mut self, until: Millis) -> Vec<Event> {
        let mut events = Vec::new();
        while self.head().steady < until {
            let left = until.since(self.head().steady).0.min(1_000);
            events = self.pass(1, left);
        }
        events
    }

    fn end_vote(&mut self, id: &ProposalId) -> Vec<Event> {
        let ProposalStatus::Voting { until } = self.proposal(id).status else { panic!("over") };
        self.pass_until(until)
    }
}

#[test]
fn a_proposal_is_checked_when_it_is_made() {
    let mut w = stakers(|params| params.proposal_fee = usd(3));
    let field = Reject::bad_field;
    let bounds = |name: &str| Reject::BadField { field: format!("changes.{name}").into() };
    let stake = |available| Reject::InsufficientStake { needed: mst(4), available };
    let long = "t".repeat(limits::TITLE_BYTES + 1);
    let titled = |title: &str| Action::Propose {
        title: title.into(),
        changes: vec![change("visit_max", 1)],
    };
    let many: Vec<_> = Params::NAMES.iter().map(|name| (*name, 1)).collect();
    assert!(many.len() > limits::PROPOSAL_CHANGES);
    let table = [
        ("val", titled(""), field("title")),
        ("val", titled(&long), field("title")),
        ("val", propose(&[]), field("changes")),
        ("val", propose(&many), field("changes")),
        ("val", propose(&[("visit_max", 1), ("visit_max", 2)]), field("changes")),
        ("val", propose(&[("no_such", 1)]), Reject::not_found("parameter")),
        ("val", propose(&[("visit_max", 0)]), bounds("visit_max")),
        ("val", propose(&[("visit_max", 1 << 40)]), bounds("visit_max")),
        ("val", propose(&[("burn_min_bps", 10_001)]), bounds("burn_min_bps")),
        // Bounded by another parameter.
        ("val", propose(&[("stall_gap_ms", 2_499)]), bounds("stall_gap_ms")),
        ("val", propose(&[("heartbeat_gap_max_ms", 3_001)]), bounds("stall_gap_ms")),
        ("rob", propose(&[("visit_max", 1)]), stake(Amount::ZERO)),
        ("bob", propose(&[("visit_max", 1)]), stake(mst(2))),
    ];
    for (index, (who, action, reject)) in table.into_iter().enumerate() {
        assert_eq!(w.refused(who, action), reject, "row {index}");
    }
    // What is out of bounds alone can be in bounds together. Delegators propose, too.
    let before = (w.usd_of("ann"), w.usd_of("val"));
    let changes = [("heartbeat_gap_max_ms", 3_001), ("stall_gap_ms", 3_001)];
    let proposal = w.propose("ann", &changes);
    assert_eq!(w.usd_of("ann"), before.0.checked_sub(usd(3)).unwrap());
    // The fee goes to the proposer of the block: of 11 mst at val, 5 are delegated.
    let held = view::validator(&w.state, &id("val")).unwrap().rewards.held;
    let got = w.usd_of("val").checked_sub(before.1).unwrap();
    assert_eq!(got.checked_add(held), Some(usd(3)));
    assert_eq!(held, usd(3).mul_div_floor(5, 11).unwrap());
    let record = w.proposal(&proposal);
    assert_eq!(record.changes, changes.map(|(name, value)| change(name, value)));
    assert_eq!((record.proposer, record.votes), (id("ann"), 0));
    let until = w.head().steady.after(Millis(PERIOD));
    assert_eq!(record.status, ProposalStatus::Voting { until });
}

#[test]
fn votes_weigh_stake_and_delegators_override_their_validators() {
    // (votes in order, yes, no, abstain, passes) with a quorum of half of 16 mst.
    type Row<'a> = (&'a [(&'a str, Choice)], u64, u64, u64, bool);
    let table: [Row<'_>; 13] = [
        (&[], 0, 0, 0, false),
        (&[("val", Yes)], 11, 0, 0, true),
        (&[("eve", Yes)], 5, 0, 0, false),
        (&[("val", Yes), ("eve", No)], 11, 5, 0, true),
        // Ann takes her 3 off val and her 1 off eve, whichever votes first.
        (&[("val", Yes), ("eve", No), ("ann", No)], 8, 8, 0, false),
        (&[("ann", No), ("eve", No), ("val", Yes)], 8, 8, 0, false),
        (&[("val", Yes), ("ann", No), ("bob", No)], 6, 6, 0, false),
        (&[("val", No), ("ann", Yes), ("bob", Yes), ("eve", Yes)], 10, 6, 0, true),
        // Her vote counts where her validators did not vote.
        (&[("ann", Yes)], 4, 0, 0, false),
        (&[("ann", Yes), ("bob", Abstain), ("eve", Abstain)], 4, 0, 6, true),
        // The quorum's edge: 8 of 16.
        (&[("ann", Yes), ("eve", Yes)], 8, 0, 0, true),
        // A later vote replaces the earlier one.
        (&[("val", Yes), ("val", No)], 0, 11, 0, false),
        (&[("val", No), ("ann", Abstain), ("val", Yes), ("ann", Yes)], 12, 0, 0, true),
    ];
    for (index, (votes, yes, no, abstain, passes)) in table.into_iter().enumerate() {
        let mut w = stakers(|params| params.vote_quorum_bps = 5_000);
        let proposal = w.propose("val", &[("visit_max", 7)]);
        for (who, choice) in votes {
            let (receipt, _) = w.ok(who, vote(proposal, *choice));
            let voter = id(who);
            assert_eq!(receipt.events, [Event::Voted { proposal, voter, choice: *choice }]);
        }
        let events = w.end_vote(&proposal);
        let record = w.proposal(&proposal);
        let expected = Tally { yes: mst(yes), no: mst(no), abstain: mst(abstain), stake: mst(16) };
        assert_eq!(record.tally, expected, "row {index}");
        let effective_at = w.head().steady.after(Millis(DELAY));
        let status =
            if passes { ProposalStatus::Passed { effective_at } } else { ProposalStatus::Rejected };
        assert_eq!(record.status, status, "row {index}");
        let proposer = record.proposer;
        assert_eq!(events, [Event::ProposalChanged { proposal, proposer, status }]);
        assert!(view::ballots(&w.state, &proposal).is_empty());
        assert_eq!(view::params(&w.state).visit_max, 1_024);
    }
}

#[test]
fn a_quorum_is_missed_by_a_nano() {
    for (more, passes) in [(0, true), (1, false)] {
        let mut w = stakers(|params| params.vote_quorum_bps = 6_875);
        if more > 0 {
            w.ok("rob", Action::Delegate { validator: id("eve"), amount: nanos(more) });
        }
        let proposal = w.propose("val", &[("visit_max", 7)]);
        w.ok("val", vote(proposal, Yes));
        w.end_vote(&proposal);
        let passed = matches!(w.proposal(&proposal).status, ProposalStatus::Passed { .. });
        assert_eq!(passed, passes);
    }
}

#[test]
fn stake_is_counted_when_the_vote_ends() {
    let mut w = stakers(|params| params.validator_jail_ms = Millis(60_000));
    let proposal = w.propose("val", &[("visit_max", 7)]);
    for who in ["val", "eve", "ann", "bob"] {
        w.ok(who, vote(proposal, Yes));
    }
    // Bob leaves, ann adds to eve, eve leaves so much of its own that it does not count.
    w.ok("bob", Action::Unstake { validator: id("val"), amount: mst(2) });
    w.ok("ann", Action::Delegate { validator: id("eve"), amount: mst(1) });
    w.ok("eve", Action::Unstake { validator: id("eve"), amount: "3.5".parse().unwrap() });
    w.end_vote(&proposal);
    let expected = Tally { yes: mst(9), stake: mst(9), ..Tally::default() };
    assert_eq!(w.proposal(&proposal).tally, expected);
}

#[test]
fn only_stakers_vote_and_only_in_time() {
    let mut w = stakers(|params| params.vote_stake_min = mst(3));
    let missing = vote(ProposalId::default(), Yes);
    assert_eq!(w.refused("val", missing), Reject::not_found("proposal"));
    let proposal = w.propose("val", &[("visit_max", 7)]);
    let short = |available| Reject::InsufficientStake { needed: mst(3), available };
    assert_eq!(w.refused("rob", vote(proposal, Yes)), short(Amount::ZERO));
    assert_eq!(w.refused("bob", vote(proposal, Yes)), short(mst(2)));
    w.ok("bob", Action::Delegate { validator: id("eve"), amount: mst(1) });
    w.ok("bob", vote(proposal, Yes));
    // The block in which voting ends takes no votes any more.
    let ProposalStatus::Voting { until } = w.proposal(&proposal).status else { panic!("over") };
    w.pass_until(Millis(until.0 - STEP - 1));
    w.ok("eve", vote(proposal, Yes));
    let late = Reject::wrong_state("proposal", "past its vote");
    assert_eq!(w.refused("val", vote(proposal, Yes)), late);
    w.pass_until(until);
    let rejected = Reject::wrong_state("proposal", "passed");
    assert_eq!(w.refused("val", vote(proposal, Yes)), rejected);
    assert_eq!(w.proposal(&proposal).votes, 2);
}

#[test]
fn what_passed_takes_effect_exactly_after_the_delay() {
    let mut w = stakers(|_| ());
    let proposal = w.propose("val", &[("visit_max", 7), ("retry_max", 9)]);
    w.ok("val", vote(proposal, Yes));
    w.end_vote(&proposal);
    let ProposalStatus::Passed { effective_at } = w.proposal(&proposal).status else {
        panic!("not passed")
    };
    w.pass_until(Millis(effective_at.0 - 1));
    assert_eq!(view::params(&w.state).visit_max, 1_024);
    let events = w.pass(1, 1);
    let (proposer, status) = (id("val"), ProposalStatus::Applied);
    let applied = Event::ProposalChanged { proposal, proposer, status };
    assert_eq!(events, [applied]);
    let params = view::params(&w.state);
    assert_eq!((params.visit_max, params.retry_max), (7, 9));
    let applied = Reject::wrong_state("proposal", "applied");
    assert_eq!(w.refused("val", vote(proposal, Yes)), applied);
}

#[test]
fn a_new_parameter_rules_from_the_next_block_on() {
    let mut w = stakers(|params| params.vote_delay_ms = Millis(1));
    let proposal = w.propose("val", &[("fee_per_unit", 1_000)]);
    w.ok("val", vote(proposal, Yes));
    let ProposalStatus::Voting { until } = w.proposal(&proposal).status else { panic!("over") };
    w.pass_until(Millis(until.0 - STEP));
    let pay = Action::Transfer { to: id("bob"), asset: Asset::Usd, amount: usd(1) };
    // It passes in one block, and takes effect at the end of the next.
    w.pass(1, STEP);
    assert!(matches!(w.proposal(&proposal).status, ProposalStatus::Passed { .. }));
    let (receipt, _) = w.ok("ann", pay.clone());
    assert_eq!(receipt.fee, Amount::ZERO);
    assert_eq!(w.proposal(&proposal).status, ProposalStatus::Applied);
    let (receipt, _) = w.ok("ann", pay);
    assert_eq!(receipt.fee, nanos(1_000));
}

#[test]
fn of_two_proposals_that_only_clash_together_the_later_one_fails() {
    let mut w = stakers(|_| ());
    let first = w.propose("val", &[("heartbeat_gap_max_ms", 2_900)]);
    let second = w.propose("val", &[("stall_gap_ms", 2_600)]);
    for proposal in [first, second] {
        w.ok("val", vote(proposal, Yes));
    }
    for proposal in [first, second] {
        w.end_vote(&proposal);
        assert!(matches!(w.proposal(&proposal).status, ProposalStatus::Passed { .. }));
    }
    w.pass(10, 1_000);
    assert_eq!(w.proposal(&first).status, ProposalStatus::Applied);
    assert_eq!(w.proposal(&second).status, ProposalStatus::Failed);
    let params = view::params(&w.state);
    let numbers = (params.heartbeat_gap_max_ms, params.stall_gap_ms);
    assert_eq!(numbers, (Millis(2_900), Millis(3_000)));
    assert_eq!(params.check(), Ok(()));
}

#[test]
fn the_time_in_which_stake_can_be_slashed_is_raised_by_votes_and_never_lowered() {
    let mut w = stakers(|_| ());
    let before = view::params(&w.state).stake_unbonding_ms;
    let to = |time: Millis| propose(&[("stake_unbonding_ms", u128::from(time.0))]);
    let refused = Reject::bad_field("changes.stake_unbonding_ms");
    for lower in [0, before.0 / 2, before.0 - 1] {
        assert_eq!(w.refused("val", to(Millis(lower))), refused, "{lower}");
    }
    // Of two that were made at the same time, the one that would take back the other's fails.
    let [higher, high] = [2_000, 1_000].map(|more| {
        let (receipt, _) = w.ok("val", to(before.after(Millis(more))));
        let proposal = ProposalId::derive(&receipt.tx);
        w.ok("val", vote(proposal, Yes));
        proposal
    });
    for proposal in [higher, high] {
        w.end_vote(&proposal);
    }
    w.pass(10, 1_000);
    assert_eq!(w.proposal(&higher).status, ProposalStatus::Applied);
    assert_eq!(w.proposal(&high).status, ProposalStatus::Failed);
    assert_eq!(view::params(&w.state).stake_unbonding_ms, before.after(Millis(2_000)));
    assert_eq!(w.refused("val", to(before)), refused);
}

#[test]
fn a_block_tallies_one_proposal_and_the_next_one_the_next() {
    let mut w = stakers(|_| ());
    let acts = (0..3).map(|_| ("val", propose(&[("visit_max", 7)]))).collect();
    let done = w.block(STEP, acts);
    let proposals: Vec<_> =
        done.results.iter().map(|done| ProposalId::derive(&done.as_ref().unwrap().tx)).collect();
    assert_eq!(view::proposals(&w.state).len(), 3);
    let voting = |w: &World| {
        let all = proposals.iter().map(|proposal| w.proposal(proposal).status);
        all.filter(|status| matches!(status, ProposalStatus::Voting { .. })).count()
    };
    w.end_vote(&proposals[0]);
    let left: Vec<usize> = (0..3)
        .map(|_| {
            let left = voting(&w);
            w.pass(1, 1);
            left
        })
        .collect();
    assert_eq!(left, [2, 1, 0]);
}

#[test]
fn a_proposal_takes_so_many_votes_and_changes_of_them() {
    let mut w = stakers(|_| ());
    let proposal = w.propose("val", &[("visit_max", 7)]);
    w.ok("ann", vote(proposal, No));
    let mut record = w.proposal(&proposal);
    assert_eq!(record.votes, 1);
    // As if the others had voted.
    record.votes = u32::try_from(limits::VOTES_PER_PROPOSAL).unwrap();
    let mut scratch = crate::Scratch::new(&w.state);
    crate::keys::store(&mut scratch, &proposal, &record);
    let changes = scratch.into_changes();
    let mut full = stakers(|_| ());
    full.state = w.state.clone();
    full.state.apply(changes);
    let refused = Reject::wrong_state("proposal", "voted on by too many");
    assert_eq!(full.refused("val", vote(proposal, Yes)), refused);
    let tx = full.sign("ann", vote(proposal, Yes));
    let mut block = crate::BlockBuilder::new(&full.state, full.context(STEP)).unwrap();
    assert!(block.push(&tx).is_ok(), "who voted can change its vote");
}
