use super::*;
use proptest::{prelude::*, test_runner::RngSeed};

fn records(record_bytes: u64, records_per_task: u64) -> Input {
    Input::Records { file: PathBuf::new(), record_bytes, records_per_task }
}

fn lines(lines_per_task: u64) -> Input {
    Input::Lines { file: PathBuf::new(), lines_per_task }
}

fn pieces<'c>(input: &Input, content: &'c str) -> Vec<&'c str> {
    input.split(content.as_bytes()).unwrap().into_iter().map(|range| &content[range]).collect()
}

#[test]
fn content_splits_into_records_or_lines_and_the_last_task_gets_the_rest() {
    assert_eq!(pieces(&records(2, 1), "aabbcc"), ["aa", "bb", "cc"]);
    assert_eq!(pieces(&records(2, 2), "aabbcc"), ["aabb", "cc"]);
    assert_eq!(pieces(&records(2, u64::MAX), "aabbcc"), ["aabbcc"]);
    assert_eq!(pieces(&lines(1), "a\n\nb"), ["a\n", "\n", "b"]);
    assert_eq!(pieces(&lines(2), "a\nb\nc\n"), ["a\nb\n", "c\n"]);
    assert_eq!(pieces(&lines(u64::MAX), "a\nb\n"), ["a\nb\n"]);
}

#[test]
fn what_makes_no_tasks_is_refused() {
    assert_eq!(records(2, 1).split(b""), Err(SplitError::Empty));
    assert_eq!(lines(1).split(b""), Err(SplitError::Empty));
    assert_eq!(records(3, 1).split(b"aabb"), Err(SplitError::Ragged { bytes: 4, record_bytes: 3 }));
    assert_eq!(records(0, 0).split(b"a"), Err(SplitError::Ragged { bytes: 1, record_bytes: 0 }));
    let long = vec![b'\n'; usize::try_from(MAX_TASKS).unwrap() + 1];
    let tasks = MAX_TASKS + 1;
    assert_eq!(records(1, 1).split(&long), Err(SplitError::TooMany { tasks }));
    assert_eq!(lines(1).split(&long), Err(SplitError::TooMany { tasks }));
    assert_eq!(lines(0).split(&long), Err(SplitError::TooMany { tasks }));
    assert_eq!(records(1, 2).split(&long).unwrap().len() as u64, MAX_TASKS / 2 + 1);
}

#[test]
fn indices_have_one_spelling() {
    assert_eq!(range_input(0), b"0");
    assert_eq!(range_input(120), b"120");
}

#[test]
fn patterns_match_whole_names() {
    for (pattern, name, fits) in [
        ("*", "a.txt", true),
        ("*", "", true),
        ("*.txt", "a.txt", true),
        ("*.txt", "a.txt.gz", false),
        ("*.txt", ".txt", false),
        (".*", ".txt", true),
        ("a?c", "abc", true),
        ("a?c", "ac", false),
        ("a*b*c", "aXbYbZc", true),
        ("a*b*c", "aXbYbZ", false),
        ("ä?", "äö", true),
        ("a", "a", true),
        ("a", "b", false),
        ("", "", true),
        ("", "a", false),
    ] {
        assert_eq!(matches(pattern, name), fits, "{pattern} on {name}");
    }
}

/// The textbook definition, exponential.
fn matches_slowly(pattern: &[char], name: &[char]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some(('*', rest)), _) => {
            (0..=name.len()).any(|taken| matches_slowly(rest, &name[taken..]))
        }
        (Some((want, pattern)), Some((have, name))) => {
            (*want == '?' || want == have) && matches_slowly(pattern, name)
        }
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1_000,
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_split_covers_the_content_in_order(
        content in prop::collection::vec(prop::sample::select(vec![b'a', b'\n']), 1..60),
        size in 1u64..5, per_task in 1u64..5, by_line in any::<bool>(),
    ) {
        let input = if by_line { lines(per_task) } else { records(size, per_task) };
        let whole = (content.len() as u64).is_multiple_of(size);
        match input.split(&content) {
            Err(error) => prop_assert!(!by_line && !whole, "{error}"),
            Ok(ranges) => {
                let joined: Vec<u8> =
                    ranges.iter().flat_map(|range| content[range.clone()].to_vec()).collect();
                prop_assert_eq!(joined, content);
                prop_assert!(ranges.iter().all(|range| !range.is_empty()));
            }
        }
    }

    #[test]
    fn patterns_match_as_the_textbook_says(pattern in "[ab*?]{0,7}", name in "[ab]{0,8}") {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        prop_assert_eq!(
            matches(&pattern, &name),
            matches_slowly(&chars(&pattern), &chars(&name))
        );
    }
}
