use super::*;
use crate::testing::*;
use proptest::{prelude::*, test_runner::RngSeed};

#[test]
fn what_is_taken_and_given_back_leaves_the_books_as_they_were() {
    let mut whole = host(1, "0").free;
    whole.gpus = vec![gpu("a100", 40, 2), gpu("h100", 80, 4)];
    let part = Resources { gpus: vec![gpu("h100", 80, 4)], cpu_milli: 7, ..Resources::default() };
    let rest = checked_sub(&whole, &part).unwrap();
    assert_eq!(rest.gpus, [gpu("a100", 40, 2)], "no entry with a count of zero");
    assert_eq!(checked_add(&rest, &part), Some(whole));
}

#[test]
fn more_than_there_is_cannot_be_taken() {
    let mut whole = host(1, "0").free;
    whole.gpus = vec![gpu("h100", 80, 4)];
    let bad = [
        Resources { cpu_milli: whole.cpu_milli + 1, ..Resources::default() },
        Resources { memory_bytes: whole.memory_bytes + 1, ..Resources::default() },
        Resources { disk_bytes: whole.disk_bytes + 1, ..Resources::default() },
        Resources { bandwidth_bps: whole.bandwidth_bps + 1, ..Resources::default() },
        Resources { gpus: vec![gpu("h100", 80, 5)], ..Resources::default() },
        Resources { gpus: vec![gpu("h100", 80, 2), gpu("h100", 80, 3)], ..Resources::default() },
        Resources { gpus: vec![gpu("h100", 81, 1)], ..Resources::default() },
        Resources { gpus: vec![gpu("a100", 80, 1)], ..Resources::default() },
    ];
    for part in bad {
        assert_eq!(checked_sub(&whole, &part), None, "{part:?}");
    }
    let none = Resources { gpus: vec![gpu("a100", 80, 0)], ..Resources::default() };
    assert_eq!(checked_sub(&whole, &none), Some(whole.clone()));
    let full = Resources { cpu_milli: u64::MAX, ..Resources::default() };
    assert_eq!(checked_add(&whole, &full), None);
    let full = Resources { gpus: vec![gpu("h100", 80, u32::MAX)], ..Resources::default() };
    assert_eq!(checked_add(&whole, &full), None);
}

fn any_resources() -> impl Strategy<Value = Resources> {
    (0u64..9, prop::collection::vec((0u8..3, 0u64..2, 0u32..5), 0..6)).prop_map(|(cpu, gpus)| {
        Resources {
            cpu_milli: cpu,
            gpus: gpus
                .into_iter()
                .map(|(model, memory, count)| gpu(&model.to_string(), memory, count))
                .collect(),
            ..Resources::default()
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn sums_are_canonical_and_order_does_not_matter(a in any_resources(), b in any_resources()) {
        let sum = checked_add(&a, &b).unwrap();
        prop_assert_eq!(&sum, &checked_add(&b, &a).unwrap());
        let rest = checked_sub(&sum, &b).unwrap();
        prop_assert_eq!(&rest, &checked_add(&a, &Resources::default()).unwrap());
        prop_assert!(rest.gpus.is_sorted() && rest.gpus.iter().all(|gpu| gpu.count > 0));
    }
}
