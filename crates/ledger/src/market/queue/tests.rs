use crate::{
    Action, BlockBuilder, Event, Params, Reject,
    escrow::EscrowStatus,
    keys,
    market::{Order, OrderStatus, Turn},
    provider::HostSpec,
    rebuild_derived,
    tests::{
        World, nanos, usd,
        world::{STEP, id},
    },
    view,
};
use muster_market::{Request, Spread, Terms};
use muster_types::*;
use std::collections::{BTreeMap, BTreeSet};

fn thread() -> Terms {
    Terms {
        request: Request { cpu_milli: 1_000, ..Request::default() },
        count: 1,
        max_rate: Rate::per_hour(usd(100)),
        ..Terms::default()
    }
}

/// Fits no host.
fn hopeless() -> Terms {
    Terms { regions: vec!["nowhere".into()], ..thread() }
}

/// Fits every host with a GPU.
fn gpu() -> Terms {
    let gpu = GpuRequest { count: 1, ..GpuRequest::default() };
    Terms { request: Request { gpu, ..Request::default() }, ..thread() }
}

/// Rent of a nano-unit a millisecond and a lease, ten for every visit.
fn costly(params: &mut Params) {
    params.rent_per_lease = Rate::per_hour(nanos(3_600_000));
    params.fee_per_visit = nanos(10);
}

fn place(w: &mut World, escrow: EscrowId, terms: Terms) -> OrderId {
    let order = w.order_with(escrow, None, terms);
    w.place("ann", order)
}

fn charged(w: &World, order: &OrderId) -> u128 {
    w.order(order).charged.nanos()
}

fn offer(w: &mut World, who: &str, index: u32) {
    let spec = w.spec("3.6");
    w.ok(who, Action::HostSet { index, spec });
}

#[test]
fn waiting_beyond_its_block_costs_rent_for_every_missing_lease() {
    let mut w = World::with(&["val"], costly);
    let val = w.usd_of("val");
    w.provider("pat", "0.36");
    let escrow = w.open_escrow("ann", usd(10));
    let filled = place(&mut w, escrow, thread());
    assert_eq!(charged(&w, &filled), 10, "one visit, and no wait");
    let order = place(&mut w, escrow, Terms { count: 10, ..thread() });
    assert_eq!((w.order(&order).leases.len(), w.order(&order).missing), (7, 3));
    assert_eq!(charged(&w, &order), 10);
    w.pass(3, 1_000);
    assert_eq!(charged(&w, &order), 10, "charged at its turn");
    let (receipt, _) = w.ok("ann", Action::OrderCancel { order });
    let charged = nanos(10 + 3 * 3_500);
    let (status, of) = (OrderStatus::Cancelled, w.order(&order).parties());
    let ended = Event::OrderEnded { order, status, charged, of };
    assert_eq!(receipt.events, [ended]);
    let fees = charged.checked_add(nanos(10)).unwrap();
    assert_eq!((w.escrow(&escrow).fees, w.order(&order).charged), (fees, charged));
    assert_eq!(w.escrow(&escrow).balance, usd(10).checked_sub(fees).unwrap());
    assert_eq!(w.usd_of("val"), val.checked_add(fees).unwrap(), "the proposer's");
    assert_eq!(view::supply(&w.state).fees, fees);
}

#[test]
fn turns_seldom_or_often_charge_the_same_rent() {
    let total = [1, 7, 50, 100, 350].map(|step| {
        let mut w = World::with(&["val"], |params| {
            params.rent_per_lease = Rate::per_hour("0.777777".parse().unwrap());
        });
        w.provider("pat", "0.36");
        w.provider("quin", "0.36");
        let escrow = w.open_escrow("ann", usd(10));
        let order = place(&mut w, escrow, Terms { count: 3, ..hopeless() });
        for n in 0..700 / step {
            // A turn each time, in the block after the offer.
            let mut spec = w.spec("3.6");
            spec.attributes.insert("turn".into(), n.to_string());
            w.block(step, vec![("pat", Action::HostSet { index: 0, spec })]);
        }
        w.ok("ann", Action::OrderCancel { order });
        w.order(&order).charged
    });
    let rate = Rate::per_hour("2.333331".parse().unwrap());
    assert_eq!(total, [rate.charge_floor(Millis(1_200)).unwrap(); 5]);
}

#[test]
fn an_order_whose_escrow_cannot_pay_ends() {
    let mut w = World::with(&["val"], costly);
    w.provider("pat", "0.36");
    let escrow = w.open_escrow("ann", nanos(1_400));
    let order = place(&mut w, escrow, hopeless());
    assert_eq!((charged(&w, &order), w.order(&order).turn), (10, Turn::Asleep));
    w.pass(2, STEP);
    assert_eq!(w.order(&order).status, OrderStatus::Open, "it sleeps");
    offer(&mut w, "pat", 1);
    let events = w.pass(1, STEP);
    let charged = nanos(1_400);
    let (status, of) = (OrderStatus::OutOfFunds, w.order(&order).parties());
    let fees = Event::FeesPaid { validator: id("val"), amount: nanos(1_390) };
    assert_eq!(events, [Event::OrderEnded { order, status, charged, of }, fees]);
    assert_eq!((w.escrow(&escrow).balance, w.escrow(&escrow).open_orders), (Amount::ZERO, 0));
    let ended = Reject::wrong_state("order", "out of funds");
    assert_eq!(w.refused("ann", Action::OrderCancel { order }), ended);
}

#[test]
fn visits_that_cannot_be_paid_end_an_order_and_what_it_got_it_keeps() {
    // (threads, what the escrow has, leases, status)
    let table = [
        (1, 100, 1, OrderStatus::Leased),
        (1, 9, 1, OrderStatus::Leased),
        (20, 20, 16, OrderStatus::Open),
        (20, 19, 16, OrderStatus::OutOfFunds),
    ];
    for (count, nano, leases, status) in table {
        let mut w = World::with(&["val"], costly);
        w.provider("pat", "0.36");
        w.provider("quin", "0.72");
        let escrow = w.open_escrow("ann", nanos(nano));
        let order = place(&mut w, escrow, Terms { count, ..thread() });
        let record = w.order(&order);
        assert_eq!((record.leases.len(), record.status), (leases, status), "{count} {nano}");
        assert_eq!(record.charged, w.escrow(&escrow).fees);
    }
}

#[test]
fn an_overdrawn_escrow_pays_no_rent_out_of_what_its_leases_claim() {
    let mut w = World::with(&["val"], |params| {
        params.rent_per_lease = Rate::per_hour(nanos(3_600_000));
    });
    w.provider("pat", "3.6");
    let escrow = w.open_escrow("ann", nanos(500_000));
    let lease = w.active("ann", escrow, None);
    let waiting = place(&mut w, escrow, hopeless());
    w.beat(500);
    assert!(matches!(w.escrow(&escrow).status, EscrowStatus::Overdrawn { .. }));
    let next = place_refused(&mut w, escrow);
    assert_eq!(next, Reject::wrong_state("escrow", "overdrawn"));
    w.ok("ann", Action::OrderCancel { order: waiting });
    assert_eq!((charged(&w, &waiting), w.escrow(&escrow).fees), (0, Amount::ZERO));
    w.ok("ann", Action::LeaseClose { lease });
}

fn place_refused(w: &mut World, escrow: EscrowId) -> Reject {
    let order = w.order_for(escrow, None, 1);
    w.refused("ann", order)
}

/// How many keys an empty block would write.
fn idle(w: &World) -> usize {
    BlockBuilder::new(&w.state, w.context(STEP)).unwrap().finish().changes.0.len()
}

#[test]
fn a_block_in_which_nothing_changed_does_nothing_whatever_waits() {
    let mut w = World::with(&["val"], |params| params.retry_max = 3);
    w.provider("pat", "3.6");
    let escrow = w.open_escrow("ann", usd(10));
    for _ in 0..10 {
        place(&mut w, escrow, hopeless());
        place(&mut w, escrow, gpu());
    }
    assert_eq!((view::waiting_orders(&w.state).len(), idle(&w)), (20, 1), "the head alone");
    offer(&mut w, "pat", 1);
    assert!(idle(&w) > 1, "the offer's first block");
    w.pass(4, STEP);
    assert_eq!(idle(&w), 1);
}

#[test]
fn what_could_help_wakes_an_order_and_nothing_else_does() {
    type Act = fn(&mut World, EscrowId);
    let set = |w: &mut World, change: fn(&mut HostSpec)| {
        let mut spec = w.spec("3.6");
        change(&mut spec);
        w.ok("pat", Action::HostSet { index: 0, spec });
    };
    let close_all = |w: &mut World| {
        let open = keys::LEASES.scan(&w.state, &(), None);
        let open: Vec<_> = open.filter(|(_, lease)| lease.status.is_open()).collect();
        for (lease, _) in open {
            w.ok("ann", Action::LeaseClose { lease });
        }
    };
    // (what happens, turns of a CPU order that no host fits, turns of a GPU order)
    let table: [(&str, Act, u32, u32); 8] = [
        ("nothing", |w, _| drop(w.pass(3, STEP)), 0, 0),
        ("a transfer", |w, _| drop(w.ok("bob", pay())), 0, 0),
        ("a heartbeat", |w, _| drop(w.beat(STEP)), 0, 0),
        ("a bond", |w, _| drop(w.ok("pat", Action::BondAdd { amount: usd(1) })), 1, 0),
        ("a profile", |w, _| drop(w.ok("pat", moved())), 1, 0),
        ("a host of another provider", |w, _| w.provider("rob", "9"), 1, 0),
        ("a registration", |w, _| drop(w.ok("rob", moved())), 0, 0),
        ("a deposit", |w, escrow| drop(w.ok("bob", deposit(escrow))), 0, 0),
    ];
    let run = |name: &str, act: &dyn Fn(&mut World, EscrowId), cpu: u32, gpus: u32| {
        let mut w = World::with(&["val"], |params| params.fee_per_visit = nanos(1));
        w.provider("pat", "3.6");
        let escrow = w.open_escrow("ann", usd(10));
        let lease = w.active("ann", escrow, None);
        let orders = [hopeless(), gpu()].map(|terms| place(&mut w, escrow, terms));
        let turns = |w: &World| orders.map(|order| w.order(&order).rent_until);
        let visits = |w: &World| orders.map(|order| charged(w, &order));
        let (before, was) = (turns(&w), visits(&w));
        act(&mut w, escrow);
        w.pass(2, STEP);
        let woken: Vec<bool> = (0..2).map(|n| turns(&w)[n] != before[n]).collect();
        assert_eq!(woken, [cpu > 0, gpus > 0], "{name}");
        assert_eq!(visits(&w)[0] > was[0], cpu > 0, "{name}");
        let _ = lease;
    };
    for (name, act, cpu, gpus) in table {
        run(name, &act, cpu, gpus);
    }
    run("an offer renewed", &|w: &mut World, _| set(w, |_| ()), 1, 0);
    let gpus = |spec: &mut HostSpec| {
        let (vendor, model) = ("nvidia".into(), "h200".into());
        let (memory_bytes, interface) = (1, String::new());
        spec.capacity.gpus = vec![Gpu { vendor, model, memory_bytes, interface, count: 1 }];
        spec.prices.gpu = Rate::per_hour(usd(200));
    };
    run("an offer with a GPU", &|w: &mut World, _| set(w, gpus), 1, 1);
    run("capacity that came free", &|w: &mut World, _| close_all(w), 1, 0);
}

#[test]
fn who_drains_and_moves_makes_room_for_what_must_be_apart() {
    let mut w = World::new();
    w.provider("pat", "3.6");
    w.provider("quin", "7.2");
    w.ok("pat", moved());
    w.ok("quin", moved());
    let escrow = w.open_escrow("ann", usd(10));
    let spread = Spread { per_region: 1, ..Spread::default() };
    let order = place(&mut w, escrow, Terms { count: 2, spread, ..thread() });
    let winners = |w: &World| {
        let leases = w.order(&order).leases;
        leases.iter().map(|lease| w.lease(lease).provider()).collect::<Vec<_>>()
    };
    w.ok("pat", Action::ProviderDrain {});
    w.pass(3, STEP);
    assert_eq!(winners(&w), [id("pat")], "both are in one region");
    let profile = crate::ProviderProfile { region: "far away".into(), ..Default::default() };
    w.ok("pat", Action::ProviderSet { profile });
    assert_eq!(winners(&w), [id("pat"), id("quin")]);
}

fn pay() -> Action {
    Action::Transfer { to: id("ann"), asset: Asset::Usd, amount: usd(1) }
}

fn moved() -> Action {
    let profile = crate::ProviderProfile { region: "elsewhere".into(), ..Default::default() };
    Action::ProviderSet { profile }
}

fn deposit(escrow: EscrowId) -> Action {
    Action::EscrowDeposit { escrow, amount: nanos(10) }
}

#[test]
fn an_order_without_money_waits_for_its_escrow() {
    let mut w = World::new();
    w.provider("pat", "3.6");
    let escrow = w.open_escrow("ann", nanos(500_000));
    let lease = w.active("ann", escrow, None);
    // The heartbeat comes first and empties the escrow to the last nano-unit.
    let order = w.order_with(escrow, None, thread());
    let beat = Action::Heartbeat { leases: vec![lease] };
    let done = w.block(500, vec![("ann", order), ("pat", beat)]);
    let order = OrderId::derive(&done.results[0].as_ref().unwrap().tx);
    assert_eq!((w.order(&order).turn, idle(&w)), (Turn::Unfunded, 1));
    offer(&mut w, "pat", 1);
    w.pass(1, STEP);
    assert_eq!(w.order(&order).turn, Turn::Unfunded, "no host helps it");
    w.ok("bob", Action::EscrowDeposit { escrow, amount: usd(1) });
    assert_eq!(w.order(&order).status, OrderStatus::Leased, "in the deposit's block");
}

#[test]
fn a_ring_wakes_so_many_a_block_oldest_first() {
    let mut w = World::with(&["val"], |params| {
        params.retry_max = 2;
        params.fee_per_visit = nanos(1);
    });
    w.provider("pat", "3.6");
    let escrow = w.open_escrow("ann", usd(10));
    let orders: Vec<_> = (0..5).map(|_| place(&mut w, escrow, hopeless())).collect();
    let visits = |w: &World| -> Vec<_> { orders.iter().map(|order| charged(w, order)).collect() };
    assert_eq!(visits(&w), [1; 5]);
    offer(&mut w, "pat", 0);
    assert_eq!(visits(&w), [1; 5], "an offer takes orders from the next block on");
    let table = [[2, 2, 1, 1, 1], [2, 2, 2, 2, 1], [2; 5], [2; 5]];
    for row in table {
        w.pass(1, STEP);
        assert_eq!(visits(&w), row);
        let mut rebuilt = w.state.clone();
        rebuilt.apply(rebuild_derived(&w.state));
        assert_eq!(rebuilt, w.state, "what still is to be woken is in the records");
    }
    assert!(keys::WAKES.scan(&w.state, &(), None).next().is_none());
}

#[test]
fn an_order_that_was_cut_goes_on_where_it_was() {
    let mut w = World::with(&["val"], |params| {
        params.visit_max = 2;
        params.fee_per_visit = nanos(1);
    });
    w.provider("pat", "1");
    for index in 1..5 {
        offer(&mut w, "pat", index);
    }
    w.provider("quin", "9");
    let escrow = w.open_escrow("ann", usd(10));
    let terms = Terms { regions: vec!["quin-land".into()], ..thread() };
    let order = place(&mut w, escrow, terms);
    // Six hosts, the last of which fits: two a block.
    for visits in [2, 4] {
        let record = w.order(&order);
        assert_eq!(record.charged, nanos(visits));
        let Turn::Ready { cursor: Some(cursor), woken: false } = record.turn else { panic!() };
        assert_eq!(cursor.host.provider, id("pat"));
        w.pass(1, STEP);
    }
    assert_eq!((w.order(&order).status, charged(&w, &order)), (OrderStatus::Leased, 6));
}

#[test]
fn an_order_on_its_way_that_is_woken_begins_again_at_the_end() {
    let mut w = World::with(&["val"], |params| params.visit_max = 2);
    w.provider("pat", "1");
    for index in 1..5 {
        offer(&mut w, "pat", index);
    }
    let escrow = w.open_escrow("ann", usd(10));
    let big = Terms { request: Request { cpu_milli: 8_500, ..Request::default() }, ..thread() };
    let order = place(&mut w, escrow, big);
    // Behind the cursor a host grows.
    let mut spec = w.spec("1");
    spec.capacity.cpu_milli = 9_000;
    w.ok("pat", Action::HostSet { index: 0, spec });
    w.pass(1, STEP);
    assert_eq!(w.order(&order).turn, Turn::FIRST, "the end, and it was woken");
    w.pass(1, STEP);
    assert_eq!(w.order(&order).status, OrderStatus::Leased);
}

#[test]
fn hosts_that_are_left_out_cost_a_visit_like_the_others() {
    let mut w = World::with(&["val"], |params| {
        params.visit_max = 3;
        params.fee_per_visit = nanos(1);
    });
    w.provider("pat", "1");
    offer(&mut w, "pat", 1);
    let escrow = w.open_escrow("ann", usd(10));
    let order = w.order_with(escrow, None, Terms { count: 50, ..thread() });
    // Two hosts stand; two more are offered in the order's block, between them by price.
    let (first, second) = (w.spec("1"), w.spec("1"));
    let done = w.block(
        STEP,
        vec![
            ("pat", Action::HostSet { index: 2, spec: first }),
            ("ann", order),
            ("pat", Action::HostSet { index: 3, spec: second }),
        ],
    );
    let order = OrderId::derive(&done.results[1].as_ref().unwrap().tx);
    let record = w.order(&order);
    assert_eq!((record.leases.len(), record.charged), (8, nanos(3)));
    assert!(matches!(record.turn, Turn::Ready { cursor: Some(_), .. }));
}

#[test]
fn a_host_that_ends_a_walk_before_it_is_looked_at_costs_no_visit() {
    // Hosts at 1, 3 and 9, and in the order's block one at 2 and one at 20.
    let world = || {
        let mut w = World::with(&["val"], |params| {
            params.fee_per_visit = nanos(1);
            params.pledge_hours = 0;
        });
        for (name, price) in [("pat", "1"), ("quin", "3"), ("rob", "9")] {
            w.provider(name, price);
        }
        w
    };
    let at_most = |rate: &str| rate.parse::<Rate>().unwrap();
    // What ends it; the order; leases, and visits: hosts looked at, and those of its own block on
    // the way.
    let table = [
        ("1 is taken, at 3 nothing cheaper can follow", Terms { count: 1, ..thread() }, 1, 2),
        ("3 is beyond the limit", Terms { count: 50, max_rate: at_most("2.5"), ..thread() }, 8, 2),
        ("9 is beyond the limit", Terms { count: 50, max_rate: at_most("8"), ..thread() }, 16, 3),
        ("1 is beyond the limit", Terms { count: 50, max_rate: at_most("0.5"), ..thread() }, 0, 0),
        ("there are no more", Terms { count: 50, ..thread() }, 24, 5),
    ];
    for (what, terms, leases, visits) in table {
        let mut w = world();
        let escrow = w.open_escrow("ann", usd(10));
        let order = w.order_with(escrow, None, terms);
        let (cheap, dear) = (w.spec("2"), w.spec("20"));
        let done = w.block(
            STEP,
            vec![
                ("pat", Action::HostSet { index: 1, spec: cheap }),
                ("ann", order),
                ("pat", Action::HostSet { index: 2, spec: dear }),
            ],
        );
        let order = OrderId::derive(&done.results[1].as_ref().unwrap().tx);
        let record = w.order(&order);
        assert_eq!((record.leases.len(), record.charged), (leases, nanos(visits)), "{what}");
    }
}

/// Who gets the only thread, where ann and bob order it for the same fee in one block, so many
/// blocks after ann opened her escrow and two after bob did. Her order's deadline and her deposit
/// are the variants that she can make.
fn winner(age: u64, deadline: u64, deposit: u64) -> &'static str {
    let mut w = World::new();
    w.provider("pat", "3.6");
    let mut spec = w.spec("3.6");
    spec.capacity.cpu_milli = 1_000;
    w.ok("pat", Action::HostSet { index: 0, spec });
    let mut escrows = BTreeMap::new();
    for blocks in [2, 1, 0] {
        let hers = nanos(10_000_000_000 + u128::from(deposit));
        let opened = [("ann", hers, age), ("bob", usd(10), 2)];
        let mut txs = Vec::new();
        for (who, deposit, _) in opened.into_iter().filter(|(_, _, age)| *age == blocks) {
            let tx = w.sign(who, Action::EscrowOpen { deposit });
            escrows.insert(who, EscrowId::derive(&tx.id()));
            txs.push(tx);
        }
        if blocks == 0 {
            for (who, later) in [("ann", deadline), ("bob", 0)] {
                let mut order = w.order_with(escrows[who], None, thread());
                if let Action::OrderPlace { deadline, .. } = &mut order {
                    deadline.0 += later;
                }
                txs.push(w.sign(who, order));
            }
        }
        let done = w.block_of(STEP, &txs);
        assert!(done.results.iter().all(Result::is_ok), "{:?}", done.results);
    }
    let leases = view::leases_of_provider(&w.state, &id("pat"));
    assert_eq!(leases.len(), 1);
    if leases[0].1.tenant == id("ann") { "ann" } else { "bob" }
}

#[test]
fn nobody_makes_an_order_that_draws_a_better_lot() {
    let before = winner(2, 0, 0);
    for variant in 1..12 {
        assert_eq!(winner(2, variant, 0), before, "another transaction, the same lot");
    }
    // An escrow of which the id may have been chosen when the beacon was known comes last.
    for variant in 0..8 {
        for age in [0, 1] {
            assert_eq!(winner(age, 0, variant), "bob", "opened {age} blocks before");
        }
    }
    let winners: BTreeSet<_> = (0..64).map(|deposit| winner(2, 0, deposit)).collect();
    assert_eq!(winners.len(), 2, "among grown escrows the lot decides");
}

#[test]
fn nobody_snipes_an_order_with_an_offer_of_its_block() {
    let mut w = World::new();
    w.provider("pat", "3.6");
    let escrow = w.open_escrow("ann", usd(10));
    let asleep = place(&mut w, escrow, gpu());
    let mut cheap = w.spec("0.1");
    let (vendor, model) = ("nvidia".into(), "h200".into());
    let (memory_bytes, interface) = (1, String::new());
    cheap.capacity.gpus = vec![Gpu { vendor, model, memory_bytes, interface, count: 1 }];
    // The proposer puts its own offer before the order, and makes its standing one cheaper.
    let order = w.order_with(escrow, None, thread());
    let again = w.spec("0.2");
    let done = w.block(
        STEP,
        vec![
            ("pat", Action::HostSet { index: 1, spec: cheap }),
            ("pat", Action::HostSet { index: 0, spec: again }),
            ("ann", order),
        ],
    );
    let order = OrderId::derive(&done.results[2].as_ref().unwrap().tx);
    for order in [order, asleep] {
        assert_eq!(w.order(&order).leases, [], "nothing was offered before this block");
    }
    w.pass(1, STEP);
    for order in [order, asleep] {
        let record: Order = w.order(&order);
        assert_eq!(record.status, OrderStatus::Leased);
        assert_eq!(w.lease(&record.leases[0]).host.index, 1, "the cheapest of the next block");
    }
}
