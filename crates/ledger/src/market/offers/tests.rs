use super::*;
use crate::{
    Action, MemoryState, Scratch, rebuild_derived,
    tests::{World, usd, world::id},
    view,
};
use muster_market::Terms;
use muster_types::{Gpu, GpuRequest, Resources};

#[test]
fn a_host_that_fits_is_never_of_a_smaller_size() {
    let table = [(0, 0), (1, 1), (1_000, 1), (1_001, 2), (3_000, 2), (3_001, 3), (7_000, 3)];
    for (milli, size) in table {
        assert_eq!(size_of_cpu(milli), size, "{milli}");
    }
    assert_eq!((size(15), size(16), size(u64::MAX)), (4, 5, 5));
    for free in 0..40_000u64 {
        assert!(size_of_cpu(free) <= size_of_cpu(free + 1));
    }
}

#[test]
fn a_host_stands_by_what_is_free_of_each_class() {
    let gpu = |model: &str, count| Gpu {
        vendor: "nvidia".into(),
        model: model.into(),
        memory_bytes: 1,
        interface: String::new(),
        count,
    };
    let capacity = Resources {
        cpu_milli: 16_000,
        gpus: vec![gpu("a100", 8), gpu("h100", 1)],
        ..Resources::default()
    };
    let mut host = Host {
        spec: crate::provider::HostSpec { capacity, ..Default::default() },
        used: Resources::default(),
        offered_at_height: 0,
    };
    // In the order of the classes: CPU, any GPU, a100, h100.
    assert_eq!(sizes(&host), [5, 4, 4, 1]);
    host.used = Resources { cpu_milli: 15_500, gpus: vec![gpu("a100", 6)], ..Resources::default() };
    assert_eq!(sizes(&host), [1, 2, 2, 1]);
    host.used = host.spec.capacity.clone();
    assert_eq!(sizes(&host), [0, 0, 0, 0]);
    let request = |cpu_milli, count| {
        size_of_request(&Request {
            cpu_milli,
            gpu: GpuRequest { count, ..GpuRequest::default() },
            ..Request::default()
        })
    };
    assert_eq!((request(0, 0), request(500, 0), request(9_000, 0)), (0, 1, 4));
    assert_eq!((request(9_000, 1), request(0, 4)), (1, 3));
}

/// Nine hosts of sizes and prices that do not go together.
fn market() -> World {
    let mut w = World::with(&["val"], |params| params.pledge_hours = 0);
    w.provider("pat", "1");
    w.provider("quin", "1");
    for (index, (threads, price)) in
        [(1, "5"), (2, "4"), (4, "3"), (8, "2"), (16, "1"), (16, "9"), (1, "1")].iter().enumerate()
    {
        let mut spec = w.spec(price);
        spec.capacity.cpu_milli = threads * 1_000;
        let index = u32::try_from(index).unwrap() + 1;
        w.ok("pat", Action::HostSet { index, spec });
    }
    w.pass(1, 500);
    w
}

fn walked(
    state: &MemoryState,
    cpu_milli: u64,
    after: Option<Cursor>,
    fronts: &Fronts,
) -> Vec<Cursor> {
    let (params, everybody) = (view::params(state), |_: &HostView| true);
    let request = Request { cpu_milli, ..Request::default() };
    let walk = Walk { request: &request, after, visit_max: u32::MAX, fronts };
    let book = Offers::new(state, &params, u64::MAX, &everybody).for_order(&walk);
    let hosts = book.walk(&Class::Cpu);
    hosts.map(|view| Cursor { price: view.prices.cpu, host: view.id }).collect()
}

#[test]
fn a_walk_merges_the_sizes_that_fit_by_price_and_goes_on_anywhere() {
    let w = market();
    let everything = walked(&w.state, 0, None, &Fronts::default());
    assert_eq!(everything.len(), 9);
    assert!(everything.is_sorted());
    for cpu_milli in [1, 1_000, 2_000, 4_000, 8_000, 16_000] {
        let fronts = Fronts::default();
        let large = |cursor: &&Cursor| {
            let host: Host = w.get(&cursor.host);
            size_of_host(&host, &Class::Cpu) >= size_of_cpu(cpu_milli)
        };
        let expected: Vec<Cursor> = everything.iter().filter(large).copied().collect();
        for after in [None].into_iter().chain(everything.iter().copied().map(Some)) {
            let rest: Vec<Cursor> =
                expected.iter().filter(|cursor| Some(**cursor) > after).copied().collect();
            assert_eq!(walked(&w.state, cpu_milli, after, &fronts), rest, "{cpu_milli} {after:?}");
            assert_eq!(walked(&w.state, cpu_milli, after, &Fronts::default()), rest);
        }
    }
}

#[test]
fn a_host_that_fills_up_moves_and_the_fronts_know() {
    let mut w = market();
    let fronts = Fronts::default();
    let first = walked(&w.state, 8_000, None, &fronts)[0];
    let mut host: Host = w.get(&first.host);
    host.used.cpu_milli = host.spec.capacity.cpu_milli - 2_000;
    let mut scratch = Scratch::new(&w.state);
    keys::store(&mut scratch, &first.host, &host);
    let changes = scratch.into_changes();
    w.state.apply(changes);
    walked(&w.state, 1_000, None, &fronts);
    fronts.came(&places(&first.host, &host));
    assert!(!walked(&w.state, 8_000, None, &fronts).contains(&first));
    assert_eq!(
        walked(&w.state, 1_000, None, &fronts),
        walked(&w.state, 1_000, None, &Fronts::default())
    );
    let mut rebuilt = w.state.clone();
    rebuilt.apply(rebuild_derived(&w.state));
    assert_eq!(rebuilt, w.state);
}

#[test]
fn full_hosts_are_in_no_order_s_way_and_still_in_the_quote() {
    let mut w = World::with(&["val"], |params| {
        params.pledge_hours = 0;
        params.fee_per_visit = muster_types::Amount::from_nanos(1);
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
