//! What is dealt for the beacon's key, and how long it is kept.

use super::*;
use crate::{
    BlockBuilder, BlockContext, BlockError,
    stake::{
        Committee, Seat,
        beacon::{Phases, Roster},
    },
};

const EPOCH: u64 = 8;

/// A world with short epochs in which these keys, of `val`, vote; everything costs a fee.
fn world(seats: &[&str]) -> World {
    let mut w = World::with(&["val"], |params| params.fee_per_unit = nanos(5));
    let mut seats: Vec<Seat> =
        seats.iter().map(|name| Seat { key: id(name), owner: id("val") }).collect();
    seats.sort_unstable_by_key(|seat| seat.key);
    let voting: Vec<AccountId> = seats.iter().map(|seat| seat.key).collect();
    let committee = Committee { epoch_blocks: EPOCH, epoch: 0, seats };
    let mut scratch = Scratch::new(&w.state);
    keys::VALIDATORS.put(&mut scratch, &(), &voting);
    keys::COMMITTEE.put(&mut scratch, &(), &committee);
    let changes = scratch.into_changes();
    w.state.apply(changes);
    w
}

fn deal(epoch: u64, log: &[u8]) -> Action {
    Action::BeaconDeal { epoch, log: log.to_vec() }
}

fn roster(w: &World, epoch: u64) -> Option<Roster> {
    keys::BEACON_ROSTERS.get(&w.state, &epoch)
}

fn dealt(w: &World) -> Vec<u64> {
    keys::BEACON_DEALS.scan(&w.state, &(), None).map(|((epoch, _), _)| epoch).collect()
}

/// Passes blocks up to the first of an epoch.
fn reach(w: &mut World, epoch: u64) {
    while w.head().height < epoch * EPOCH {
        w.pass(1, 500);
    }
}

#[test]
fn the_phases_of_an_epoch_end_before_it_does() {
    // (blocks, deals, signs)
    let table = [(4, 2, 3), (8, 4, 6), (9, 4, 6), (32, 16, 24), (3_600, 256, 320)];
    for (blocks, deals, signs) in table {
        assert_eq!(Phases::of(blocks), Phases { deals, signs }, "{blocks}");
    }
    for blocks in limits::EPOCH_BLOCKS_MIN..200 {
        let Phases { deals, signs } = Phases::of(blocks);
        assert!(0 < deals && deals < signs && signs < blocks, "{blocks}");
    }
}

#[test]
fn each_key_of_the_committee_deals_once_and_in_time_and_for_nothing() {
    let mut w = world(&["k1", "k2", "ann"]);
    let long = vec![1; limits::BEACON_DEAL_BYTES + 1];
    let table = [
        // An account that votes for nobody.
        ("pat", deal(0, &[1]), Reject::not_yours("validator")),
        ("k1", deal(1, &[1]), Reject::bad_field("epoch")),
        ("k1", deal(0, &[]), Reject::bad_field("log")),
        ("k1", deal(0, &long), Reject::bad_field("log")),
    ];
    for (who, action, reject) in table {
        assert_eq!(w.refused(who, action.clone()), reject, "{who}: {action:?}");
    }
    // The key has no account, and needs none.
    let (receipt, _) = w.ok("k1", deal(0, &long[1..]));
    assert_eq!(receipt.fee, Amount::ZERO);
    assert_eq!(receipt.events, [Event::BeaconDealt { epoch: 0, key: id("k1") }]);
    assert_eq!(view::account(&w.state, &id("k1")), None);
    let first = roster(&w, 0).unwrap();
    assert!(first.keys.is_sorted() && first.keys.len() == 3);
    assert_eq!(w.refused("k1", deal(0, &[2])), Reject::Duplicate);
    // The same transaction cannot be used twice either; an account's nonce is not touched.
    let before = view::account(&w.state, &id("ann")).unwrap();
    w.ok("ann", deal(0, &[2]));
    assert_eq!(view::account(&w.state, &id("ann")).unwrap(), before);
    assert_ne!(roster(&w, 0).unwrap().dealt, first.dealt);
    while w.head().height + 1 < Phases::of(EPOCH).deals {
        w.pass(1, 500);
    }
    let late = Reject::wrong_state("beacon", "dealt in this epoch");
    assert_eq!(w.refused("k2", deal(0, &[3])), late);
    // A key that nobody asked for: nobody else may deal in another's name.
    let tx = w.sign_as("eve", "ann", deal(0, &[3]));
    assert_eq!(w.refused_tx(&tx), Reject::not_found("key"));
}

#[test]
fn what_makes_a_key_is_kept_as_long_as_it_signs() {
    let mut w = world(&["k1", "k2"]);
    w.ok("k1", deal(0, &[1]));
    w.ok("k2", deal(0, &[2]));
    // No key came of it: it is forgotten when the epoch ends.
    reach(&mut w, 1);
    assert_eq!((dealt(&w), roster(&w, 0)), (vec![], None));
    w.ok("k1", deal(1, &[1]));
    w.pass(4, 500);
    w.beacon_key = Some(1);
    let events = w.pass(1, 500);
    assert!(events.contains(&Event::BeaconKeyChanged { key: Some(1) }), "{events:?}");
    assert_eq!(w.head().beacon_key, Some(1));
    // It goes on in the next epochs until another key signs.
    reach(&mut w, 3);
    assert_eq!(dealt(&w), [1]);
    w.ok("k2", deal(3, &[1]));
    assert_eq!(dealt(&w), [1, 3]);
    w.pass(4, 500);
    w.beacon_key = Some(3);
    w.pass(1, 500);
    assert_eq!((dealt(&w), roster(&w, 1)), (vec![3], None));
    // Without a key, everything goes.
    reach(&mut w, 4);
    w.beacon_key = None;
    let events = w.pass(1, 500);
    assert!(events.contains(&Event::BeaconKeyChanged { key: None }));
    assert_eq!((dealt(&w), roster(&w, 3)), (vec![], None));
}

#[test]
fn rounds_of_the_beacon_are_consecutive() {
    let mut w = World::new();
    w.pass(4, 500);
    let context = w.context(500);
    let head = w.head().beacon_round;
    // (round, whether it may follow)
    let table = [(head, true), (head + 1, true), (head + 2, false), (head - 1, false)];
    for (given, allowed) in table {
        let context = BlockContext { beacon_round: given, ..context };
        let built = BlockBuilder::new(&w.state, context).map(|block| block.head().beacon_round);
        let refused = BlockError::BeaconRound { given, head };
        assert_eq!(built, if allowed { Ok(given) } else { Err(refused) });
    }
}
