//! The committee: how seats are dealt, who is missing, who contradicts itself.

use super::*;
use crate::{
    stake::{
        Committee, Equivocation, Seat, SeatKey,
        committee::turn,
        equivocation::{Ballot, Proposal, SignedBallot, vote_message},
        seats::seat_message,
    },
    tests::world::key,
};

/// A short epoch, so that tests need not pass thousands of blocks.
const EPOCH: u64 = 4;

fn committee(w: &World) -> Committee {
    keys::COMMITTEE.get(&w.state, &()).unwrap()
}

/// A world with short epochs and these validators.
fn world(validators: &[&str], change: impl FnOnce(&mut Params)) -> World {
    let mut w = World::with(validators, |params| {
        unbond_ms(params);
        params.seat_stake = mst(2);
        params.seats_max = 5;
        change(params);
    });
    let short = Committee { epoch_blocks: EPOCH, ..committee(&w) };
    let mut scratch = Scratch::new(&w.state);
    keys::COMMITTEE.put(&mut scratch, &(), &short);
    let changes = scratch.into_changes();
    w.state.apply(changes);
    w
}

impl World {
    /// Passes blocks up to the end of the epoch; gives its events.
    fn end_epoch(&mut self) -> Vec<Event> {
        let epoch = committee(self).epoch;
        let mut events = Vec::new();
        while committee(self).epoch == epoch {
            events.extend(self.pass(1, 500));
        }
        events
    }

    /// Names more keys for a validator's seats.
    fn seats(&self, who: &str, keys: &[&str]) -> Action {
        let message = seat_message(&self.chain, &id(who));
        let seat = |name: &&str| SeatKey { key: id(name), proof: key(name).sign(&message) };
        Action::SeatsSet { seats: keys.iter().map(seat).collect() }
    }

    /// Keys with a vote and whose they are, by name.
    fn dealt(&self) -> Vec<(&'static str, &'static str)> {
        let names = ["ann", "bob", "eve", "pat", "quin", "rob", "val", "k1", "k2", "k3"];
        let name = |account| names.into_iter().find(|name| id(name) == account).unwrap();
        let mut dealt: Vec<_> =
            committee(self).seats.iter().map(|seat| (name(seat.key), name(seat.owner))).collect();
        dealt.sort_unstable();
        dealt
    }
}

#[test]
fn seats_go_to_who_has_the_most_stake_for_each_of_them() {
    // (ann's stake, bob's, eve's; most seats; seats of ann, bob, eve)
    let table: [([u64; 3], u32, [usize; 3]); 8] = [
        ([8, 4, 2], 1, [1, 0, 0]),
        ([7, 4, 2], 2, [1, 1, 0]),
        // 8/2 = 4/1: on equality the smaller account goes first; either way both have one then.
        ([8, 4, 2], 3, [2, 1, 0]),
        ([8, 4, 2], 5, [3, 1, 1]),
        // Nobody has stake for more.
        ([8, 3, 2], 5, [3, 1, 1]),
        ([2, 2, 2], 5, [1, 1, 1]),
        ([1, 5, 1], 5, [0, 1, 0]),
        // Only as many as it has keys for.
        ([1, 9, 1], 5, [0, 1, 0]),
    ];
    for (stakes, most, expected) in table {
        let mut w = world(&["val"], |params| params.seats_max = most);
        for (who, stake) in ["ann", "bob", "eve"].into_iter().zip(stakes) {
            w.stakes(who, 0, mst(stake));
        }
        let more = w.seats("ann", &["k1", "k2"]);
        w.ok("ann", more);
        w.end_epoch();
        let dealt = w.dealt();
        let of = |who| dealt.iter().filter(|(_, owner)| *owner == who).count();
        assert_eq!([of("ann"), of("bob"), of("eve")], expected, "{stakes:?} for {most}: {dealt:?}");
        let keys: Vec<AccountId> = committee(&w).seats.iter().map(|seat| seat.key).collect();
        assert_eq!(view::validators(&w.state), keys);
        assert!(keys.is_sorted());
    }
}

#[test]
fn validators_change_at_the_end_of_an_epoch_and_only_then() {
    let mut w = world(&["val"], |params| params.seats_min = 2);
    assert_eq!(w.dealt(), [("val", "val")]);
    w.stakes("ann", 0, mst(5));
    // Too few for a committee: it stays as it is.
    let events = w.end_epoch();
    assert!(!events.iter().any(|event| matches!(event, Event::CommitteeChanged { .. })));
    assert_eq!((w.dealt(), committee(&w).epoch), (vec![("val", "val")], 1));
    w.stakes("bob", 0, mst(5));
    assert_eq!(w.dealt(), [("val", "val")]);
    let events = w.end_epoch();
    let seats = committee(&w).seats;
    let changed = Event::CommitteeChanged { epoch: 2, seats: seats.clone() };
    assert!(events.contains(&changed), "{events:?}");
    assert_eq!(w.dealt(), [("ann", "ann"), ("bob", "bob")]);
    assert_eq!(view::validators(&w.state), seats.iter().map(|seat| seat.key).collect::<Vec<_>>());
    // Who takes its stake back leaves, as soon as enough are left without it.
    w.stakes("eve", 0, mst(5));
    w.ok("bob", unstake("bob", 5));
    assert_eq!(w.dealt(), [("ann", "ann"), ("bob", "bob")]);
    w.end_epoch();
    assert_eq!(w.dealt(), [("ann", "ann"), ("eve", "eve")]);
    // Delegated stake buys seats too.
    w.ok("pat", delegate("ann", 9));
    let more = w.seats("ann", &["k1"]);
    w.ok("ann", more);
    w.end_epoch();
    assert_eq!(w.dealt(), [("ann", "ann"), ("eve", "eve"), ("k1", "ann")]);
}

#[test]
fn a_key_is_one_validators_for_ever_and_only_with_its_consent() {
    let mut w = world(&["val"], |_| ());
    w.stakes("ann", 0, mst(5));
    w.stakes("bob", 0, mst(5));
    let stranger = w.seats("eve", &["k1"]);
    assert_eq!(w.refused("eve", stranger), Reject::not_found("validator"));
    let first = w.seats("ann", &["k1", "k2"]);
    w.ok("ann", first);
    let table = [
        (w.seats("bob", &["k1"]), Reject::Duplicate),
        (w.seats("bob", &["k3", "k3"]), Reject::Duplicate),
        (w.seats("bob", &["ann"]), Reject::Duplicate),
        (w.seats("bob", &["bob"]), Reject::Duplicate),
        // Signed for ann, not for bob.
        (w.seats("ann", &["k3"]), Reject::bad_field("proof")),
    ];
    for (action, reject) in table {
        assert_eq!(w.refused("bob", action), reject);
    }
    // What ann no longer names is still hers.
    let without = w.seats("ann", &["k2"]);
    w.ok("ann", without);
    let taken = w.seats("bob", &["k1"]);
    assert_eq!(w.refused("bob", taken), Reject::Duplicate);
    assert_eq!(keys::SEAT_KEYS.get(&w.state, &id("k1")), Some(id("ann")));
    // A key that votes for another is no validator itself.
    w.ok("pat", Action::Transfer { to: id("k2"), asset: Asset::Usd, amount: usd(1) });
    assert_eq!(w.refused("k2", set(0)), Reject::Duplicate);
}

#[test]
fn fees_go_to_the_validator_that_a_seat_votes_for() {
    let mut w = World::with(&["val"], |params| params.fee_per_unit = nanos(100));
    w.stakes("ann", 0, mst(5));
    let more = w.seats("ann", &["k1"]);
    w.ok("ann", more);
    w.proposer = id("k1");
    let before = w.account("ann").usd;
    w.ok("pat", Action::Transfer { to: id("bob"), asset: Asset::Usd, amount: usd(1) });
    assert_eq!(w.account("ann").usd, before.checked_add(nanos(100)).unwrap());
    assert_eq!(view::account(&w.state, &id("k1")), None);
}

#[test]
fn what_a_provider_pays_to_its_own_seat_is_no_fee_paid() {
    let mut w = World::with(&["val"], |params| params.fee_per_unit = nanos(100));
    w.stakes("ann", 0, mst(5));
    w.ok("ann", Action::ProviderSet { profile: Default::default() });
    let more = w.seats("ann", &["k1"]);
    w.ok("ann", more);
    let pays = |w: &mut World, proposer| {
        w.proposer = id(proposer);
        let paid = |w: &World| keys::PROVIDERS.get(&w.state, &id("ann")).unwrap().conduct.fees_paid;
        let before = paid(w);
        w.ok("ann", Action::Transfer { to: id("bob"), asset: Asset::Usd, amount: usd(1) });
        paid(w).checked_sub(before).unwrap()
    };
    let table = [("val", nanos(100)), ("k1", nanos(0)), ("ann", nanos(0)), ("k2", nanos(100))];
    for (proposer, counted) in table {
        assert_eq!(pays(&mut w, proposer), counted, "{proposer}");
    }
}

/// After an epoch with four validators.
struct Missed {
    w: World,
    epoch: u64,
    seats: Vec<Seat>,
    jailed: Vec<AccountId>,
}

/// Four validators; passes an epoch in which these views have no block.
fn miss(views: &[u64], last: u64, change: impl FnOnce(&mut Params)) -> Missed {
    let names = ["ann", "bob", "eve", "pat"];
    let mut w = world(&["val"], |params| {
        params.downtime_turns_min = 2;
        change(params);
    });
    for who in names {
        w.stakes(who, 0, mst(5));
    }
    w.end_epoch();
    let Committee { epoch, seats, .. } = committee(&w);
    assert_eq!(seats.len(), 4);
    let mut parent = 0;
    let mut blocks = (1..=last).filter(|view| !views.contains(view));
    for number in 0..EPOCH {
        // The last block of the epoch is the last view's.
        let own = if number == EPOCH - 1 { last } else { blocks.next().unwrap() };
        w.views = Views { parent, own };
        w.pass(1, 500);
        parent = own;
    }
    assert_eq!(committee(&w).epoch, epoch + 1);
    let jailed = names
        .into_iter()
        .filter(|who| matches!(w.validator(who).status, Jailed { .. }))
        .map(id)
        .collect();
    Missed { w, epoch, seats, jailed }
}

#[test]
fn who_misses_most_of_its_turns_is_jailed_and_loses_its_seat_but_no_stake() {
    // (views without a block, the last block's view, whether the one whose turn views 3 and 7 are
    // is jailed)
    let table: [(&[u64], u64, bool); 4] = [
        (&[3, 4, 5, 7], 8, true),
        // One turn is too few to tell.
        (&[3], 5, false),
        // Three of four are missing: the network is at fault.
        (&[3, 4, 5, 6, 7, 8, 9], 11, false),
        (&[], 4, false),
    ];
    for (views, last, expected) in table {
        let Missed { w, epoch, seats, jailed } = miss(views, last, |_| ());
        let third = usize::try_from(turn(epoch, 3, 4)).unwrap();
        let expected = if expected { vec![seats[third].owner] } else { Vec::new() };
        assert_eq!(jailed, expected, "{views:?}");
        assert_eq!(committee(&w).seats.len(), 4 - expected.len());
        for who in ["ann", "bob", "eve", "pat"] {
            assert_eq!(w.validator(who).own, mst(5));
        }
        assert_eq!(keys::MISSED.get(&w.state, &()), None);
    }
    // Two turns are too few where three are asked for.
    let Missed { jailed, .. } = miss(&[3, 4, 5, 7], 8, |params| params.downtime_turns_min = 3);
    assert_eq!(jailed, Vec::new());
}

fn notarize(block: u8) -> Ballot {
    Ballot::Notarize(Proposal { parent: 4, block: Hash([block; 32]) })
}

fn finalize(block: u8) -> Ballot {
    Ballot::Finalize(Proposal { parent: 4, block: Hash([block; 32]) })
}

/// Evidence that `who` cast two votes in view 5.
fn evidence(w: &World, who: &str, epoch: u64, ballots: [Ballot; 2]) -> Equivocation {
    let [first, second] = ballots.map(|ballot| SignedBallot {
        ballot,
        signature: key(who).sign(&vote_message(&w.chain, epoch, 5, &ballot)),
    });
    Equivocation { key: id(who), epoch, view: 5, first, second }
}

fn report(evidence: Equivocation) -> Action {
    Action::EquivocationReport { evidence: Box::new(evidence) }
}

#[test]
fn two_votes_are_a_contradiction_as_documented() {
    let other_parent = Ballot::Notarize(Proposal { parent: 3, block: Hash([1; 32]) });
    let table = [
        (notarize(1), notarize(2), true),
        (notarize(1), notarize(1), false),
        (notarize(1), other_parent, true),
        (finalize(1), finalize(2), true),
        (finalize(1), finalize(1), false),
        (Ballot::Nullify, finalize(1), true),
        (Ballot::Nullify, Ballot::Nullify, false),
        (notarize(1), finalize(2), false),
        (notarize(1), Ballot::Nullify, false),
    ];
    let w = World::new();
    for (one, other, contradiction) in table {
        for ballots in [[one, other], [other, one]] {
            let found = evidence(&w, "ann", 0, ballots);
            assert_eq!(found.contradicts(), contradiction, "{ballots:?}");
        }
    }
}

#[test]
fn contradicting_votes_cost_stake_once_for_each_epoch_and_key() {
    let mut w = world(&["val"], |params| params.slash_equivocation_bps = 1_000);
    w.stakes("ann", 0, mst(5));
    let more = w.seats("ann", &["k1"]);
    w.ok("ann", more);
    w.ok("bob", delegate("ann", 5));
    let ballots = [notarize(1), notarize(2)];

    let honest = evidence(&w, "ann", 0, [notarize(1), finalize(2)]);
    let mut forged = evidence(&w, "ann", 0, ballots);
    forged.second.signature = forged.first.signature;
    let mut moved = evidence(&w, "ann", 0, ballots);
    moved.view = 6;
    let table = [
        (honest, Reject::NoContradiction),
        (forged, Reject::bad_field("signature")),
        (moved, Reject::bad_field("signature")),
        (evidence(&w, "eve", 0, ballots), Reject::not_found("validator")),
        (evidence(&w, "ann", 9, ballots), Reject::bad_field("epoch")),
    ];
    for (found, reject) in table {
        assert_eq!(w.refused("pat", report(found)), reject);
    }
    // By its other key: the same stake.
    let found = evidence(&w, "k1", 0, ballots);
    let (receipt, _) = w.ok("pat", report(found));
    let slashed = receipt.events.iter().find_map(|event| match event {
        Event::ValidatorSlashed { validator, amount, burned, .. } => {
            Some((*validator, *amount, *burned))
        }
        _ => None,
    });
    assert_eq!(slashed, Some((id("ann"), mst(1), mst(1))));
    assert!(matches!(w.validator("ann").status, Jailed { .. }));
    assert_eq!(w.refused("pat", report(found)), Reject::Duplicate);
    let again = evidence(&w, "k1", 0, [Ballot::Nullify, finalize(3)]);
    assert_eq!(w.refused("pat", report(again)), Reject::Duplicate);
    let own_key = evidence(&w, "ann", 0, ballots);
    w.ok("pat", report(own_key));
}

#[test]
fn a_seat_that_has_no_account_reports_contradictions_for_nothing_and_anybody_else_pays() {
    let mut w = world(&["k1", "val"], |params| params.fee_per_unit = nanos(100));
    let more = w.seats("ann", &["k2"]);
    // In one block, so that the epoch does not end before the reports.
    let acts = [set(0), Action::StakeAdd { amount: mst(5) }, more];
    let done = w.block(500, acts.map(|act| ("ann", act)).into());
    assert!(done.results.iter().all(Result::is_ok));
    let ballots = [notarize(1), notarize(2)];
    let (by_ann, by_k2) = (evidence(&w, "ann", 0, ballots), evidence(&w, "k2", 0, ballots));
    let (receipt, _) = w.ok("k1", report(by_ann));
    assert_eq!((receipt.fee, view::account(&w.state, &id("k1"))), (Amount::ZERO, None));
    assert_eq!(w.refused("k1", report(by_ann)), Reject::Duplicate);
    // A seat with an account: its nonce and balance are not touched.
    let before = w.account("val");
    assert_eq!(w.refused("val", report(by_ann)), Reject::Duplicate);
    assert_eq!(w.account("val"), before);
    // Whoever has no vote and no account has to get one first, and pays.
    assert_eq!(w.refused("k3", report(by_k2)), Reject::NoAccount);
    let before = w.account("pat");
    let (receipt, _) = w.ok("pat", report(by_k2));
    assert_eq!(receipt.fee, nanos(800));
    let after = w.account("pat");
    assert_eq!(after.nonce, before.nonce + 1);
    assert_eq!(after.usd, before.usd.checked_sub(receipt.fee).unwrap());
}

#[test]
fn evidence_counts_as_long_as_the_stake_of_then_can_be_slashed() {
    let mut w = world(&["val"], |params| {
        params.stake_unbonding_ms = Millis(300_000);
    });
    w.stakes("ann", 0, mst(5));
    w.end_epoch();
    let found = evidence(&w, "ann", 0, [finalize(1), finalize(2)]);
    w.pass(299, 1_000);
    let late = w.state.clone();
    w.ok("pat", report(found));
    w.state = late;
    w.pass(2, 1_000);
    let old = Reject::wrong_state("evidence", "too old");
    assert_eq!(w.refused("pat", report(found)), old);
    w.end_epoch();
    assert_eq!(keys::EPOCH_ENDS.get(&w.state, &0), None);
    assert_eq!(w.refused("pat", report(found)), old);
}
