use super::*;
use crate::{MemoryBook, Rules, clear, testing::*};
use muster_types::Amount;
use proptest::{prelude::*, test_runner::RngSeed};

/// What happens to a market.
#[derive(Clone, Debug)]
enum Change {
    Insert(usize),
    Remove(usize),
    Provider(usize, ProviderView),
    Clear(Box<crate::Terms>),
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        1 => (0usize..20).prop_map(Change::Insert),
        1 => (0usize..20).prop_map(Change::Remove),
        1 => (0usize..20, any_provider()).prop_map(|(at, view)| Change::Provider(at, view)),
        4 => any_terms().prop_map(|terms| Change::Clear(Box::new(terms))),
    ]
}

fn walked(book: &dyn Book, terms: &crate::Terms, after: Option<&Cursor>) -> Vec<Arc<HostView>> {
    book.walk(&Query::of(terms), after).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn an_index_walks_clears_and_books_as_a_plain_look_at_every_host(
        hosts in any_hosts(20),
        changes in prop::collection::vec(any_change(), 0..20),
        look_ahead in 0u32..4,
        slack in 0u32..30_000,
    ) {
        let rules = Rules {
            look_ahead,
            look_ahead_slack_bps: slack,
            pledge_min: Amount::from_nanos(1),
            ..rules()
        };
        let mut plain: MemoryBook = hosts.iter().cloned().collect();
        let mut indexed: IndexedBook = hosts.iter().cloned().collect();
        for change in changes {
            match change {
                Change::Insert(at) => if let Some(host) = hosts.get(at) {
                    // All hosts of a provider say the same of it.
                    plain.set_provider(&host.id.provider, &host.provider);
                    plain.insert(host.clone());
                    indexed.insert(host.clone());
                },
                Change::Remove(at) => if let Some(host) = hosts.get(at) {
                    prop_assert_eq!(indexed.remove(&host.id), plain.remove(&host.id).is_some());
                },
                Change::Provider(at, view) => if let Some(host) = hosts.get(at) {
                    let view = Arc::new(view);
                    plain.set_provider(&host.id.provider, &view);
                    indexed.set_provider(&host.id.provider, &view);
                },
                Change::Clear(terms) => {
                    let all = walked(&plain, &terms, None);
                    prop_assert_eq!(&walked(&indexed, &terms, None), &all);
                    if let Some(host) = all.get(all.len() / 2) {
                        let class = Class::of_request(&terms.request);
                        let unit_price = host.unit_price(&class, terms.interruptible);
                        let after = Cursor { unit_price, host: host.id };
                        let rest = walked(&plain, &terms, Some(&after));
                        prop_assert_eq!(walked(&indexed, &terms, Some(&after)), rest);
                    }
                    let cleared = clear(&indexed, &terms, &rules, NOW);
                    prop_assert_eq!(&cleared, &clear(&plain, &terms, &rules, NOW));
                    prop_assert!(indexed.grant(&cleared.placements));
                    for placement in &cleared.placements {
                        prop_assert!(plain.grant(placement));
                    }
                }
            }
            prop_assert_eq!(indexed.host_count(), plain.host_count());
            let mut hosts: Vec<_> = indexed.hosts().collect();
            hosts.sort_by_key(|host| host.id);
            prop_assert_eq!(hosts, plain.hosts().collect::<Vec<_>>());
        }
    }
}

#[test]
fn what_is_not_there_is_not_booked() {
    let mut book: IndexedBook = [host(1, "0.1"), host(2, "0.2")].into_iter().collect();
    let cleared = clear(&book, &order(6), &rules(), NOW);
    assert!(book.grant(&cleared.placements));
    assert_eq!(book.get(&host(1, "0").id).unwrap().free.cpu_milli, 0);
    assert_eq!(book.get(&host(2, "0").id).unwrap().free.cpu_milli, 2_000);
    let before = book.get(&host(2, "0").id);
    assert!(!book.grant(&cleared.placements), "1 is full");
    assert_eq!(book.get(&host(2, "0").id), before, "it follows one that was not booked");
    assert!(
        !book.grant(&[crate::Placement { host: host(3, "0").id, ..cleared.placements[0].clone() }])
    );
    assert!(book.grant(&[]));
}

#[test]
fn hosts_that_leave_leave_nothing_behind() {
    let mut book: IndexedBook = [host(1, "0.1"), host(2, "0.2")].into_iter().collect();
    for number in [1, 2] {
        assert!(book.remove(&host(number, "0").id));
        assert!(!book.remove(&host(number, "0").id));
    }
    assert_eq!((book.host_count(), book.by_account.len()), (0, 0));
    assert!(book.classes.iter().flatten().all(BTreeMap::is_empty));
    book.insert(host(3, "0.1"));
    assert_eq!((book.hosts.numbers().count(), book.providers.numbers().count()), (1, 1));
}
