use super::{
    super::hot::{Executed, Head, HotState, Overlay, View},
    hash,
};
use muster_ledger::{Changes, MemoryState, State};
use muster_types::{Hash, Millis};
use std::sync::Arc;

fn head(height: u64) -> Head {
    Head {
        height,
        time: Millis(height),
        digest: hash(9),
        state_root: hash(8),
        beacon: Hash::ZERO,
        beacon_round: height,
        beacon_key: None,
    }
}

fn entries(text: &[(&str, &str)]) -> MemoryState {
    let entries =
        text.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec()));
    entries.collect()
}

/// A block on `view` that writes these; `-` deletes.
fn block(view: &View, height: u64, writes: &[(&str, &str)]) -> Arc<Overlay> {
    let writes = writes.iter().map(|(key, value)| {
        let value = (*value != "-").then(|| value.as_bytes().to_vec());
        (key.as_bytes().to_vec(), value)
    });
    let executed = Executed { changes: Changes(writes.collect()), ..Executed::default() };
    let overlay = view.clone().overlay(Arc::new(executed));
    overlay.announce(head(height));
    overlay
}

fn all(view: &View) -> Vec<(String, String)> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    view.read(|state| {
        let listed: Vec<_> = state.range(b"", b"\xff").collect();
        for (key, value) in &listed {
            assert_eq!(state.get(key).as_ref(), Some(value), "get and range agree");
        }
        listed.into_iter().map(|(key, value)| (text(key), text(value))).collect()
    })
}

fn pairs(text: &[(&str, &str)]) -> Vec<(String, String)> {
    text.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
}

#[test]
fn a_block_reads_its_own_ancestors_and_no_competitor() {
    let hot = HotState::new(entries(&[("a", "0"), ("c", "0"), ("e", "0")]), head(0));
    let base = View::of_final(hot.clone());
    let first = block(&base, 1, &[("a", "-"), ("b", "1"), ("e", "1")]);
    let rival = block(&base, 1, &[("a", "9"), ("z", "9")]);
    let after_first = View::after(hot.clone(), first);
    let second = block(&after_first, 2, &[("a", "2"), ("b", "-"), ("f", "2")]);

    assert_eq!(all(&after_first), pairs(&[("b", "1"), ("c", "0"), ("e", "1")]));
    let after_second = View::after(hot.clone(), second);
    let expected = [("a", "2"), ("c", "0"), ("e", "1"), ("f", "2")];
    assert_eq!(all(&after_second), pairs(&expected));
    let after_rival = View::after(hot, rival);
    assert_eq!(all(&after_rival), pairs(&[("a", "9"), ("c", "0"), ("e", "0"), ("z", "9")]));
    after_second.read(|state| {
        let range: Vec<_> = state.range(b"b", b"f").map(|(key, _)| key).collect();
        assert_eq!(range, [b"c".to_vec(), b"e".to_vec()]);
        assert_eq!(state.range(b"f", b"b").count(), 0);
        assert_eq!(state.get(b"b"), None);
    });
}

#[test]
fn children_read_the_same_before_and_after_their_parent_is_final() {
    let hot = HotState::new(entries(&[("a", "0"), ("b", "0")]), head(0));
    let first = block(&View::of_final(hot.clone()), 1, &[("a", "1"), ("b", "-")]);
    let second = block(&View::after(hot.clone(), first.clone()), 2, &[("c", "2")]);
    let third = block(&View::after(hot.clone(), second.clone()), 3, &[("a", "3")]);
    let view = View::after(hot.clone(), third);
    let expected = pairs(&[("a", "3"), ("c", "2")]);

    assert_eq!(all(&view), expected);
    hot.apply(&first);
    assert_eq!(all(&view), expected);
    hot.apply(&second);
    assert_eq!(all(&view), expected);
    assert_eq!(hot.head(), head(2));
    assert_eq!(all(&View::of_final(hot)), pairs(&[("a", "1"), ("c", "2")]));
}

#[test]
fn a_final_block_lets_go_of_its_ancestors() {
    let hot = HotState::new(MemoryState::default(), head(0));
    let mut view = View::of_final(hot.clone());
    let mut first = None;
    for height in 1..=3 {
        let overlay = block(&view, height, &[("a", "1")]);
        hot.apply(&overlay);
        first.get_or_insert_with(|| Arc::downgrade(&overlay));
        view = View::after(hot.clone(), overlay);
    }
    assert!(first.unwrap().upgrade().is_none());
}

#[test]
#[should_panic(expected = "final blocks apply in order")]
fn a_skipped_block_stops_the_node() {
    let hot = HotState::new(MemoryState::default(), head(0));
    let skipping = block(&View::of_final(hot.clone()), 2, &[]);
    hot.apply(&skipping);
}
