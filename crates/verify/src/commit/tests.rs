use super::*;
use proptest::{prelude::*, test_runner::RngSeed};

fn hash(text: &str) -> Hash {
    Hash::of_content(text.as_bytes())
}

#[test]
fn every_part_of_a_task_changes_its_leaf() {
    let job = JobId(hash("job"));
    let leaves = [
        task_leaf(&job, 1, &hash("in"), &hash("out"), 7),
        task_leaf(&JobId(hash("other")), 1, &hash("in"), &hash("out"), 7),
        task_leaf(&job, 2, &hash("in"), &hash("out"), 7),
        task_leaf(&job, 1, &hash("other"), &hash("out"), 7),
        task_leaf(&job, 1, &hash("in"), &hash("other"), 7),
        task_leaf(&job, 1, &hash("in"), &hash("out"), 8),
        task_leaf(&job, 1, &hash("out"), &hash("in"), 7),
    ];
    assert_all_differ(&leaves);
}

#[test]
fn every_part_of_a_chain_changes_its_leaves() {
    let chain =
        |job, module, data| Chain { job: JobId(hash(job)), module: hash(module), data: hash(data) };
    let good = chain("job", "module", "data");
    assert_all_differ(&[
        good.leaf(1, &hash("state")),
        chain("other", "module", "data").leaf(1, &hash("state")),
        chain("job", "other", "data").leaf(1, &hash("state")),
        chain("job", "module", "other").leaf(1, &hash("state")),
        chain("job", "data", "module").leaf(1, &hash("state")),
        good.leaf(2, &hash("state")),
        good.leaf(1, &hash("other")),
        task_leaf(&good.job, 1, &hash("module"), &hash("state"), 0),
    ]);
}

#[test]
fn listings_bind_names_to_contents() {
    let listing = |files: &[(&str, &str)]| {
        data_listing_hash(
            &files.iter().map(|(name, text)| ((*name).to_owned(), hash(text))).collect(),
        )
    };
    assert_all_differ(&[
        listing(&[]),
        listing(&[("a", "1")]),
        listing(&[("a", "2")]),
        listing(&[("b", "1")]),
        listing(&[("a", "1"), ("b", "2")]),
        listing(&[("a", "2"), ("b", "1")]),
        listing(&[("", "1")]),
    ]);
    assert_eq!(listing(&[("b", "2"), ("a", "1")]), listing(&[("a", "1"), ("b", "2")]));
}

fn assert_all_differ(hashes: &[Hash]) {
    for (at, hash) in hashes.iter().enumerate() {
        assert!(!hashes[..at].contains(hash), "number {at} equals one before it");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn different_listings_hash_apart(
        left in prop::collection::btree_map("[ab]{0,2}", prop::bool::ANY, 0..4),
        right in prop::collection::btree_map("[ab]{0,2}", prop::bool::ANY, 0..4),
    ) {
        let listing = |files: &BTreeMap<String, bool>| {
            let files = files.iter().map(|(name, one)| (name.clone(), Hash([u8::from(*one); 32])));
            data_listing_hash(&files.collect())
        };
        prop_assert_eq!(left == right, listing(&left) == listing(&right));
    }
}
