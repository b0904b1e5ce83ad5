use super::*;

fn sleeper(number: u8) -> Sleeper {
    (Millis(u64::from(number)), OrderId(Hash([number; 32])))
}

/// Takes the next `max` of `all`.
fn step(wake: &mut Wake, max: usize, all: &[u8]) -> (Vec<u8>, bool) {
    let (turn, done) = wake.round(max, |after| {
        let after = after.copied();
        let all = all.iter().map(|number| sleeper(*number));
        all.filter(move |sleeper| Some(*sleeper) > after)
    });
    (turn.into_iter().map(|(placed, _)| u8::try_from(placed.0).unwrap()).collect(), done)
}

#[test]
fn one_ring_wakes_everybody_once_oldest_first() {
    for max in 1..=6 {
        let all = [1, 2, 3, 4, 5];
        let mut wake = Wake::default();
        let mut woken = Vec::new();
        let mut rounds = 0;
        loop {
            let (turn, done) = step(&mut wake, max, &all);
            assert!(turn.len() <= max);
            woken.extend(turn);
            rounds += 1;
            if done {
                break;
            }
        }
        assert_eq!((woken.as_slice(), rounds), (&all[..], 5usize.div_ceil(max)), "{max}");
    }
    assert_eq!(step(&mut Wake::default(), 3, &[]), (vec![], true));
}

#[test]
fn a_second_ring_goes_on_and_comes_round_to_where_it_was() {
    let all = [1, 2, 3, 4, 5];
    let mut wake = Wake::default();
    assert_eq!(step(&mut wake, 2, &all), (vec![1, 2], false));
    wake = wake.again();
    assert_eq!(step(&mut wake, 2, &all), (vec![3, 4], false));
    assert_eq!(step(&mut wake, 2, &all), (vec![5, 1], false));
    // Rung on the second leg: a whole round from here on, to the end and again from the start.
    wake = wake.again();
    assert_eq!(step(&mut wake, 3, &all), (vec![2, 3, 4], false));
    assert_eq!(step(&mut wake, 3, &all), (vec![5, 1], true));
    // Rung every block, everybody has a turn all the same.
    let mut wake = Wake::default();
    let mut woken = Vec::new();
    for _ in 0..10 {
        woken.extend(step(&mut wake, 1, &all).0);
        wake = wake.again();
    }
    assert_eq!(woken, [1, 2, 3, 4, 5, 1, 2, 3, 4, 5]);
    // Who left meanwhile is passed over, who came is woken too.
    let mut wake = Wake::default();
    assert_eq!(step(&mut wake, 2, &all), (vec![1, 2], false));
    wake = wake.again();
    assert_eq!(step(&mut wake, 9, &[1, 4, 6]), (vec![4, 6, 1], true));
}
