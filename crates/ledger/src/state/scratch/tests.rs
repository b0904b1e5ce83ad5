use super::*;
use crate::MemoryState;

fn base() -> MemoryState {
    (0..40u8).map(|key| (vec![key], vec![key])).collect()
}

fn keys(scratch: &Scratch<'_>, start: u8, end: u8) -> Vec<u8> {
    scratch.range(&[start], &[end]).map(|(key, _)| key[0]).collect()
}

fn find(scratch: &Scratch<'_>, key: u8) -> Option<u8> {
    scratch.record::<u8>(&[key], |bytes| bytes[0]).map(|found| *found)
}

#[test]
fn what_was_read_before_a_write_is_not_read_after_it() {
    let base = base();
    let mut scratch = Scratch::new(&base);
    for _ in 0..2 {
        for key in 0..50u8 {
            assert_eq!(scratch.get(&[key]), (key < 40).then(|| vec![key]));
            assert_eq!(find(&scratch, key), (key < 40).then_some(key));
        }
    }
    scratch.put(vec![49], vec![1]);
    scratch.put_record(vec![39], 2u8);
    scratch.delete(vec![38]);
    let found = [49, 39, 38, 37].map(|key| scratch.get(&[key]));
    assert_eq!(found, [Some(vec![1]), Some(vec![2]), None, Some(vec![37])]);
    assert_eq!([49, 39, 38, 37].map(|key| find(&scratch, key)), [Some(1), Some(2), None, Some(37)]);
    assert_eq!(keys(&scratch, 37, 60), [37, 39, 49]);
    let written = [(vec![38], None), (vec![39], Some(vec![2])), (vec![49], Some(vec![1]))];
    assert_eq!(scratch.into_changes(), Changes(BTreeMap::from(written)));
}

#[test]
fn an_attempt_that_is_undone_leaves_no_trace_and_one_that_is_kept_does() {
    let base = base();
    let mut scratch = Scratch::new(&base);
    scratch.put(vec![5], vec![50]);
    let outer = scratch.mark();
    scratch.put_record(vec![5], 51u8);
    scratch.put(vec![45], vec![1]);
    let inner = scratch.mark();
    scratch.delete(vec![5]);
    scratch.delete(vec![6]);
    scratch.put(vec![46], vec![1]);
    assert_eq!((find(&scratch, 5), keys(&scratch, 4, 60).len()), (None, 36 - 2 + 2));
    scratch.undo(inner);
    let found = [5, 6, 46].map(|key| find(&scratch, key));
    assert_eq!(found, [Some(51), Some(6), None]);
    assert_eq!(keys(&scratch, 38, 60), [38, 39, 45]);
    let inner = scratch.mark();
    scratch.put(vec![46], vec![2]);
    scratch.keep(inner);
    scratch.undo(outer);
    assert_eq!(keys(&scratch, 38, 60), [38, 39]);
    let kept = scratch.mark();
    scratch.put(vec![46], vec![3]);
    scratch.keep(kept);
    assert_eq!(keys(&scratch, 38, 60), [38, 39, 46]);
    let written = [(vec![5], Some(vec![50])), (vec![46], Some(vec![3]))];
    assert_eq!(scratch.into_changes(), Changes(BTreeMap::from(written)));
}

#[test]
fn ranges_are_in_order_however_many_were_written_between_them() {
    let base = MemoryState::default();
    let mut scratch = Scratch::new(&base);
    let mut model = BTreeMap::new();
    // Keys that begin alike for longer than is compared as a number, and shorter ones.
    let key = |number: u32| {
        let mut key = vec![7; usize::try_from(number % 23).unwrap()];
        key.extend_from_slice(&number.wrapping_mul(2_654_435_761).to_be_bytes());
        key
    };
    let mut next = 0;
    for many in [1, 100, 3, 1, 500, 20, 1] {
        for number in next..next + many {
            scratch.put(key(number), vec![1]);
            model.insert(key(number), vec![1]);
        }
        next += many;
        let found: Vec<_> = scratch.range(&[], &[u8::MAX; 30]).collect();
        assert_eq!(found, model.clone().into_iter().collect::<Vec<_>>());
    }
}
