//! Moves from anybody.

use super::*;
use muster_hostile::{Meter, canonical};
use muster_types::{JobId, codec};
use std::collections::BTreeMap;

#[global_allocator]
static METER: Meter = Meter;

fn chain() -> Chain {
    let hash = Hash::of_content;
    Chain { job: JobId(hash(b"job")), module: hash(b"module"), data: hash(b"data") }
}

#[test]
fn bent_openings_are_refused_and_leave_the_game_as_it_was() {
    let states: Vec<Hash> = (0..=9u8).map(|state| Hash::of_content(&[state])).collect();
    let leaves: Vec<Hash> =
        (0..).zip(&states).map(|(place, state)| chain().leaf(place, state)).collect();
    let root = merkle::root(&leaves);
    let game = Game::new(3, 9, states[0], None).unwrap();
    let open = |place: u64| {
        let place = usize::try_from(place).unwrap();
        Opening { state: states[place], proof: merkle::proof(&leaves, place) }
    };
    let good: Vec<Opening> = game.asked().into_iter().map(open).collect();
    let taken = canonical(&[codec::encode(&good)], 20_000, |bytes| {
        let openings: Vec<Opening> = codec::decode(bytes, 1 << 16).ok()?;
        let mut played = game.clone();
        let moved = played.reveal(&chain(), &root, 10, &openings);
        assert_eq!(moved.is_ok(), openings == good, "{openings:?}");
        assert!(moved.is_ok() || played == game);
        Some(codec::encode(&openings))
    });
    assert!(taken > 100, "{taken}");
}

#[test]
fn a_listing_has_one_encoding() {
    let files: BTreeMap<String, Hash> = ["a", "b", "model.bin"]
        .map(|name| (name.to_owned(), Hash::of_content(name.as_bytes())))
        .into();
    let taken = canonical(&[crate::data_listing(&files)], 20_000, |bytes| {
        codec::decode(bytes, 1 << 16).ok().map(|files| crate::data_listing(&files))
    });
    assert!(taken > 100, "{taken}");
}
