use super::*;
use crate::{MemoryBook, explain, testing::*};
use proptest::{prelude::*, test_runner::RngSeed};

fn columns(book: &MemoryBook) -> Columns {
    let mut columns = Columns::default();
    book.hosts().for_each(|host| columns.upsert(&host));
    columns
}

/// What happens to a market.
#[derive(Clone, Debug)]
enum Change {
    Upsert(usize),
    Remove(usize),
    Provider(usize, ProviderView),
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (0usize..20).prop_map(Change::Upsert),
        (0usize..20).prop_map(Change::Remove),
        (0usize..20, any_provider()).prop_map(|(at, view)| Change::Provider(at, view)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn columns_explain_as_a_plain_look_at_every_host(
        hosts in any_hosts(20),
        changes in prop::collection::vec(any_change(), 0..20),
        terms in any_terms(),
        look_ahead in 0u32..4,
        slack in 0u32..30_000,
    ) {
        let rules = Rules {
            look_ahead,
            look_ahead_slack_bps: slack,
            pledge_min: Amount::from_nanos(1),
            ..rules()
        };
        let mut book: MemoryBook = hosts.iter().cloned().collect();
        let mut kept = columns(&book);
        prop_assert_eq!(
            kept.explain(&book, &terms, &rules, NOW),
            explain(&book, &terms, &rules, NOW)
        );
        for change in changes {
            match change {
                Change::Upsert(at) => if let Some(host) = hosts.get(at) {
                    // All hosts of a provider say the same of it.
                    book.set_provider(&host.id.provider, &host.provider);
                    book.insert(host.clone());
                    kept.upsert(host);
                },
                Change::Remove(at) => if let Some(host) = hosts.get(at) {
                    prop_assert_eq!(kept.remove(&host.id), book.remove(&host.id).is_some());
                },
                Change::Provider(at, view) => if let Some(host) = hosts.get(at) {
                    let view = Arc::new(view);
                    book.set_provider(&host.id.provider, &view);
                    kept.set_provider(&host.id.provider, &view);
                },
            }
            prop_assert_eq!(kept.host_count(), book.host_count());
        }
        let explained = kept.explain(&book, &terms, &rules, NOW);
        prop_assert_eq!(&explained, &explain(&book, &terms, &rules, NOW));
        prop_assert_eq!(explained, columns(&book).explain(&book, &terms, &rules, NOW));
    }
}

#[test]
fn what_nobody_uses_is_forgotten() {
    let mut columns = Columns::default();
    for tier in 1..100 {
        let mut host = host(1, "0");
        host.attributes = [("tier".into(), tier.to_string())].into();
        columns.upsert(&host);
    }
    assert_eq!((columns.host_count(), columns.rows.len()), (1, 1));
    assert_eq!(columns.attributes.sorted().count(), 1);
    assert!(columns.attributes.len() <= 2);
    assert!(columns.remove(&host(1, "0").id));
    assert!(!columns.remove(&host(1, "0").id));
    assert_eq!((columns.host_count(), columns.regions.sorted().count()), (0, 0));
    assert!(!columns.has_provider(&provider(1)));
    columns.upsert(&host(2, "0.1"));
    assert_eq!((columns.owners.len(), columns.providers.len()), (1, 1));
}
