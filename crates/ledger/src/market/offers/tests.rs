use super::*;
use crate::{
    Action, MemoryState, ProviderProfile, Scratch,
    market::grant::Granted,
    rebuild_derived,
    tests::{World, usd, world::id},
    view,
};
use muster_market::{GIB, Request, Terms};

/// Nine hosts whose sizes and prices do not go together, two of them interruptible for less.
fn market() -> World {
    let mut w = World::with(&["val"], |params| params.pledge_hours = 0);
    w.provider("pat", "1");
    w.provider("quin", "1");
    for (index, (threads, price)) in
        (1..).zip([(1, "5"), (2, "4"), (4, "3"), (8, "2"), (16, "1"), (16, "9"), (1, "1")])
    {
        let mut spec = w.spec(price);
        spec.capacity.cpu_milli = threads * 1_000;
        spec.capacity.memory_bytes = threads * 2 * GIB;
        if index % 3 == 0 {
            let prices = w.spec("0.5").prices;
            let notice_ms = muster_types::Millis(1);
            spec.interruptible = Some(muster_market::Interruptible { prices, notice_ms });
        }
        w.ok("pat", Action::HostSet { index, spec });
    }
    w.pass(1, 500);
    w
}

fn query(cpu_milli: u64, interruptible: bool) -> Query {
    let request = Request { cpu_milli, ..Request::default() };
    Query::of(&Terms { request, interruptible, ..Terms::default() })
}

fn walked(
    state: &MemoryState,
    query: &Query,
    after: Option<&Cursor>,
    seen: &RefCell<Seen>,
) -> Vec<Cursor> {
    let params = view::params(state);
    let book = Offers::new(state, &params, u64::MAX, seen);
    let hosts = book.walk(query, after);
    let cursor = |view: Arc<HostView>| Cursor {
        unit_price: view.unit_price(&query.class, query.interruptible),
        host: view.id,
    };
    hosts.map(cursor).collect()
}

#[test]
fn a_walk_merges_the_lists_that_fit_by_price_and_goes_on_anywhere() {
    let w = market();
    let nothing = RefCell::default;
    for interruptible in [false, true] {
        let everything = walked(&w.state, &query(0, interruptible), None, &nothing());
        assert_eq!(everything.len(), 9);
        assert!(everything.is_sorted());
        for cpu_milli in [1, 1_000, 2_000, 4_000, 8_000, 16_000] {
            let (query, seen) = (query(cpu_milli, interruptible), nothing());
            let large = |cursor: &&Cursor| {
                let host: Host = w.get(&cursor.host);
                let free = capacity::checked_sub(&host.spec.capacity, &host.used).unwrap();
                Class::of_host(&free).iter().any(|(_, level)| level.covers(query.level))
            };
            let expected: Vec<Cursor> = everything.iter().filter(large).copied().collect();
            for after in [None].into_iter().chain(everything.iter().map(Some)) {
                let rest: Vec<Cursor> =
                    expected.iter().filter(|cursor| Some(*cursor) > after).copied().collect();
                assert_eq!(walked(&w.state, &query, after, &seen), rest, "{query:?} {after:?}");
                assert_eq!(walked(&w.state, &query, after, &nothing()), rest);
            }
        }
    }
}

#[test]
fn a_host_that_fills_up_moves_and_what_was_seen_knows() {
    let mut w = market();
    let (large, small) = (query(8_000, false), query(1_000, false));
    let seen = RefCell::default();
    let first = walked(&w.state, &large, None, &seen)[0];
    walked(&w.state, &small, None, &seen);
    let before: Host = w.get(&first.host);
    let mut host = before.clone();
    host.used.cpu_milli = host.spec.capacity.cpu_milli - 2_000;
    assert!(!same_lists(&before, &host));
    let mut scratch = Scratch::new(&w.state);
    keys::store(&mut scratch, &first.host, &host);
    let changes = scratch.into_changes();
    w.state.apply(changes);
    let granted = Granted { hosts: vec![(first.host, host)], ..Granted::default() };
    seen.borrow_mut().granted(granted);
    assert!(!walked(&w.state, &large, None, &seen).contains(&first));
    let anew = walked(&w.state, &small, None, &RefCell::default());
    assert_eq!(walked(&w.state, &small, None, &seen), anew);
    assert!(anew.contains(&first));
    let mut rebuilt = w.state.clone();
    rebuilt.apply(rebuild_derived(&w.state));
    assert_eq!(rebuilt, w.state);
}

#[test]
fn a_visit_is_a_host_looked_at_whether_or_not_it_takes_orders_yet() {
    let mut w = market();
    let spec = w.spec("0.5");
    w.ok("quin", Action::HostSet { index: 0, spec });
    let params = view::params(&w.state);
    let (seen, height) = (RefCell::default(), w.head().height);
    let (all, query) = (query(0, false), query(0, false));
    let book = Offers::new(&w.state, &params, height, &seen).bounded(3);
    assert_eq!(book.walk(&query, None).count(), 2, "the first was offered in this block");
    let visits = book.visits();
    assert_eq!((visits.count, visits.left_out, visits.cut), (3, 1, visits.last));
    let whole = Offers::new(&w.state, &params, height, &seen).bounded(9);
    assert_eq!(whole.walk(&all, None).count(), 8);
    let visits = whole.visits();
    assert_eq!((visits.count, visits.left_out, visits.cut), (9, 1, None));
}

#[test]
fn hosts_in_other_regions_are_visits_and_not_read() {
    let mut w = market();
    w.provider("rob", "1");
    let profile = ProviderProfile { region: "far".into(), ..ProviderProfile::default() };
    w.ok("rob", Action::ProviderSet { profile });
    w.pass(1, 500);
    // One of the hosts elsewhere is offered anew: it takes no orders yet, wherever it is.
    let mut spec = w.spec("0.5");
    spec.capacity.cpu_milli = 1_000;
    w.ok("rob", Action::HostSet { index: 7, spec });
    let (params, height) = (view::params(&w.state), w.head().height);
    let region = w.get::<Provider>(&id("pat")).profile.region;
    let request = Request { cpu_milli: 1, ..Request::default() };
    for regions in [vec![], vec!["far".to_owned()], vec![region], vec!["nowhere".to_owned()]] {
        let terms = Terms { request: request.clone(), regions, ..Terms::default() };
        // What this block writes, as if it had read nothing of the state before.
        let mut block = Scratch::new(&w.state);
        let fresh = HostId { provider: id("rob"), index: 7 };
        let host: Host = w.get(&fresh);
        keys::store(&mut block, &fresh, &host);
        let (plain, seen) = (RefCell::default(), RefCell::default());
        let plain = Offers::new(&block, &params, height, &plain);
        let book = Offers::in_block(&block, &params, height, &seen);
        let query = Query::of(&terms);
        let fits = |met: &Met| {
            met.offer.as_ref().is_some_and(|offer| {
                terms.regions.is_empty() || terms.regions.contains(&offer.host.provider.region)
            })
        };
        let all: Vec<Met> = plain.meet(&query, None, &terms).collect();
        let met: Vec<Met> = book.meet(&query, None, &terms).collect();
        let at = |met: &[Met]| met.iter().map(|met| met.at).collect::<Vec<_>>();
        assert_eq!(at(&met), at(&all), "{:?}", terms.regions);
        let passed = |met: &[Met]| met.iter().filter(|met| fits(met)).cloned().collect::<Vec<_>>();
        assert_eq!(passed(&met), passed(&all));
        let read = met.iter().filter(|met| met.offer.is_some()).count();
        assert_eq!(read, passed(&all).len(), "what stands elsewhere was not read");
        assert_eq!(book.visits(), plain.visits());
    }
}

#[test]
fn full_hosts_are_in_no_order_s_way_and_still_in_the_quote() {
    let mut w = World::with(&["val"], |params| {
        params.pledge_hours = 0;
        params.fee_per_visit = Amount::from_nanos(1);
    });
    w.provider("pat", "1");
    w.provider("quin", "2");
    let escrow = w.open_escrow("ann", usd(10));
    let order = |w: &World, count| w.order_for(escrow, None, count);
    let full = order(&w, 8);
    let full = w.place("ann", full);
    assert_eq!(w.order(&full).status, crate::market::OrderStatus::Leased);
    let next = order(&w, 1);
    let next = w.place("ann", next);
    let record = w.order(&next);
    assert_eq!((w.lease(&record.leases[0]).provider(), record.charged.nanos()), (id("quin"), 1));
    let request = Request { cpu_milli: 1_000, ..Request::default() };
    let terms = Terms { request, count: 1, max_rate: Rate::MAX, ..Terms::default() };
    let quote = view::quote(&w.state, &terms);
    assert_eq!((quote.hosts, quote.matched), (2, 1), "the full one is explained");
}
