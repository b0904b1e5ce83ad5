use crate::{
    Action, Event, Reject,
    market::{CloseReason, LeaseStatus, Mode, OrderStatus, Pick},
    provider::HostSpec,
    tests::{
        World, nanos, usd,
        world::{hash, id, key},
    },
    view,
};
use muster_market::{GIB, Request, Spread, Terms};
use muster_types::*;

fn thread() -> Terms {
    Terms {
        request: Request { cpu_milli: 1_000, ..Request::default() },
        count: 1,
        max_rate: Rate::per_hour(usd(100)),
        ..Terms::default()
    }
}

fn place(w: &mut World, escrow: EscrowId, terms: Terms) -> OrderId {
    let order = w.order_with(escrow, None, terms);
    w.place("ann", order)
}

/// Who provides the leases of an order.
fn winners(w: &World, order: &OrderId) -> Vec<AccountId> {
    let order = w.order(order);
    order.leases.iter().map(|lease| w.lease(lease).provider()).collect()
}

fn closed(w: &World, lease: &LeaseId) -> (CloseReason, bool) {
    match w.lease(lease).status {
        LeaseStatus::Closed { reason, settled, .. } => (reason, settled),
        other => panic!("{other:?}"),
    }
}

fn ended(w: &World, order: OrderId, status: OrderStatus) -> Event {
    Event::OrderEnded { order, status, charged: Amount::ZERO, of: w.order(&order).parties() }
}

#[test]
fn an_order_is_leased_in_its_block_by_the_cheapest_offer() {
    let mut w = World::new();
    w.provider("pat", "3.6");
    w.provider("quin", "1.8");
    let escrow = w.open_escrow("ann", usd(10));
    let order = w.order_for(escrow, None, 1);
    let (receipt, events) = w.ok("ann", order);
    let order = OrderId::derive(&receipt.tx);
    assert_eq!(
        receipt.events,
        [Event::OrderPlaced { order, tenant: id("ann"), escrow, job: None }]
    );
    assert_eq!(w.order(&order).status, OrderStatus::Leased);
    let lease = w.order(&order).leases[0];
    assert_eq!(lease, LeaseId::derive(&order, 0));
    let record = w.lease(&lease);
    let rate = Rate::per_hour("1.8".parse().unwrap());
    let pledge: Amount = "43.2".parse().unwrap();
    let host = HostId { provider: id("quin"), index: 0 };
    assert_eq!((record.host, record.rate, record.pledge), (host, rate, pledge));
    assert_eq!(record.status, LeaseStatus::Granted);
    let tenant = id("ann");
    let job = None;
    let granted = Event::LeaseGranted { lease, order, tenant, escrow, job, host, rate, pledge };
    assert!(events.contains(&granted));
    let quin = w.provider_of("quin");
    assert_eq!((quin.open_leases, quin.conduct.leases), (1, 1));
    assert_eq!(w.bond_of("quin").pledged, pledge);
    assert_eq!(w.host_of("quin", 0).used.cpu_milli, 1_000);
}

#[test]
fn an_offer_takes_orders_from_the_block_after_it() {
    let mut w = World::new();
    w.provider("pat", "3.6");
    let escrow = w.open_escrow("ann", usd(10));
    let cheaper: HostSpec = w.spec("1");
    let order = w.order_for(escrow, None, 1);
    let acts = vec![("pat", Action::HostSet { index: 1, spec: cheaper }), ("ann", order.clone())];
    let done = w.block(500, acts);
    let first = OrderId::derive(&done.results[1].as_ref().unwrap().tx);
    let host = |w: &World, order| w.lease(&w.order(order).leases[0]).host.index;
    assert_eq!(host(&w, &first), 0, "the new offer came in the same block");
    let second = w.place("ann", order);
    assert_eq!(host(&w, &second), 1);
}

#[test]
fn who_pays_the_higher_fee_clears_first() {
    let mut w = World::with(&["val"], |params| params.fee_per_byte = nanos(1));
    w.provider("pat", "0.36");
    let escrow = w.open_escrow("ann", usd(10));
    let small = Terms { request: Request { cpu_milli: 8_000, ..Request::default() }, ..thread() };
    let long = Terms { regions: vec!["pat-land".into(), "elsewhere".into()], ..small.clone() };
    let acts =
        vec![("ann", w.order_with(escrow, None, small)), ("ann", w.order_with(escrow, None, long))];
    let done = w.block(500, acts);
    let ids = [0, 1].map(|n: usize| OrderId::derive(&done.results[n].as_ref().unwrap().tx));
    let status = ids.map(|order| w.order(&order).status);
    assert_eq!(status, [OrderStatus::Open, OrderStatus::Leased], "one host, two orders");
}

#[test]
fn a_gang_gets_all_or_nothing_and_others_what_there_is() {
    let mut w = World::new();
    w.provider("pat", "0.036");
    let escrow = w.open_escrow("ann", usd(10));
    let gang = place(&mut w, escrow, Terms { count: 9, gang: true, ..thread() });
    assert_eq!(w.order(&gang).leases, []);
    let fits = place(&mut w, escrow, Terms { count: 5, gang: true, ..thread() });
    assert_eq!(w.order(&fits).leases.len(), 5);
    let some = place(&mut w, escrow, Terms { count: 4, ..thread() });
    assert_eq!((w.order(&some).status, w.order(&some).leases.len()), (OrderStatus::Open, 3));
    // More capacity: the rest is granted, to the older order first.
    let spec = w.spec("0.036");
    w.ok("pat", Action::HostSet { index: 1, spec });
    w.pass(1, 500);
    assert_eq!((w.order(&some).status, w.order(&some).leases.len()), (OrderStatus::Leased, 4));
    assert_eq!(w.order(&gang).status, OrderStatus::Open);
    let freed = w.order(&fits).leases;
    for lease in freed {
        w.ok("ann", Action::LeaseClose { lease });
    }
    w.pass(1, 500);
    assert_eq!(w.order(&gang).status, OrderStatus::Leased, "capacity came back");
}

#[test]
fn leases_granted_later_keep_the_spread_of_the_earlier() {
    let mut w = World::new();
    w.provider("pat", "0.036");
    let escrow = w.open_escrow("ann", usd(10));
    let spread = Spread { per_provider: 2, ..Spread::default() };
    let order = place(&mut w, escrow, Terms { count: 4, spread, ..thread() });
    assert_eq!(winners(&w, &order), [id("pat"); 2]);
    w.provider("quin", "0.036");
    w.pass(2, 500);
    assert_eq!(winners(&w, &order), [id("pat"), id("pat"), id("quin"), id("quin")]);
    assert_eq!(w.order(&order).status, OrderStatus::Leased);
}

#[test]
fn an_order_expires_or_is_cancelled_once() {
    let mut w = World::new();
    let escrow = w.open_escrow("ann", usd(10));
    let deadline = w.head().now.after(Millis(1_500));
    let job = w.open_job("ann", escrow);
    let act = Action::OrderPlace {
        escrow,
        job: Some(job),
        terms: thread(),
        deadline,
        manifest: hash(1),
        mode: Mode::Standing,
        reauction: false,
    };
    let order = w.place("ann", act);
    assert_eq!(w.refused("bob", Action::OrderCancel { order }), Reject::not_yours("tenant"));
    let events = w.pass(1, 500);
    assert_eq!(events, [ended(&w, order, OrderStatus::Expired)]);
    assert_eq!(w.order(&order).status, OrderStatus::Expired);
    let expired = Reject::wrong_state("order", "expired");
    assert_eq!(w.refused("ann", Action::OrderCancel { order }), expired);

    let order = place(&mut w, escrow, thread());
    let (receipt, _) = w.ok("ann", Action::OrderCancel { order });
    assert_eq!(receipt.events, [ended(&w, order, OrderStatus::Cancelled)]);
    let cancelled = Reject::wrong_state("order", "cancelled");
    assert_eq!(w.refused("ann", Action::OrderCancel { order }), cancelled);
    assert_eq!((w.escrow(&escrow).open_orders, w.job(&job).open_orders), (0, 0));
    let order = OrderId::default();
    let missing = Reject::not_found("order");
    assert_eq!(w.refused("ann", Action::OrderCancel { order }), missing);
}

#[test]
fn an_order_that_cannot_be_is_refused() {
    let mut w = World::new();
    w.provider("pat", "3.6");
    let mine = w.open_escrow("ann", usd(10));
    let second = w.open_escrow("ann", usd(10));
    let theirs = w.open_escrow("bob", usd(10));
    let job = w.open_job("ann", mine);
    let their_job = w.open_job("bob", theirs);
    let deadline = w.head().now.after(Millis(60_000));
    let act = |escrow, job, terms, deadline, mode| Action::OrderPlace {
        escrow,
        job,
        terms,
        deadline,
        manifest: hash(1),
        mode,
        reauction: false,
    };
    let place = |escrow, job, terms| act(escrow, job, terms, deadline, Mode::Standing);
    let late = act(mine, None, thread(), w.head().now, Mode::Standing);
    let bids = |window_ms, bids_max| {
        let mode = Mode::Bids { window_ms: Millis(window_ms), bids_max, pick: Pick::Lowest };
        act(mine, None, thread(), deadline, mode)
    };
    let none = Terms { count: 0, ..thread() };
    let table = [
        (place(mine, None, none), Reject::bad_field("terms.count")),
        (place(EscrowId::default(), None, thread()), Reject::not_found("escrow")),
        (place(theirs, None, thread()), Reject::not_yours("owner")),
        (place(mine, Some(JobId::default()), thread()), Reject::not_found("job")),
        (place(mine, Some(their_job), thread()), Reject::not_yours("tenant")),
        (place(second, Some(job), thread()), Reject::bad_field("escrow")),
        (late, Reject::bad_field("deadline")),
        (bids(0, 1), Reject::bad_field("mode.window_ms")),
        (bids(86_400_001, 1), Reject::bad_field("mode.window_ms")),
        (bids(1, 0), Reject::bad_field("mode.bids_max")),
        (bids(1, 257), Reject::bad_field("mode.bids_max")),
    ];
    for (act, reject) in table {
        assert_eq!(w.refused("ann", act.clone()), reject, "{act:?}");
    }
}

#[test]
fn an_empty_or_overdrawn_escrow_takes_no_orders() {
    let mut w = World::new();
    w.provider("pat", "3.6");
    let escrow = w.open_escrow("ann", nanos(500_000));
    let lease = w.active("ann", escrow, None);
    let terms = Terms { regions: vec!["nowhere".into()], ..thread() };
    let waiting = place(&mut w, escrow, terms);
    w.beat(500);
    let order = w.order_for(escrow, None, 1);
    let short = Reject::wrong_state("escrow", "overdrawn");
    assert_eq!(w.refused("ann", order.clone()), short);
    w.ok("ann", Action::EscrowDeposit { escrow, amount: nanos(500_000) });
    assert_eq!(w.escrow(&escrow).balance, Amount::ZERO);
    let empty = Reject::InsufficientFunds { needed: nanos(1), available: Amount::ZERO };
    assert_eq!(w.refused("ann", order), empty);
    w.ok("ann", Action::LeaseClose { lease });
    w.ok("ann", Action::OrderCancel { order: waiting });
}

#[test]
fn only_covered_time_is_paid() {
    let mut w = World::new();
    w.provider("pat", "3.6");
    let escrow = w.open_escrow("ann", usd(10));
    let [lease] = w.grant("ann", escrow, None, 1)[..] else { panic!() };
    w.pass(3, 500);
    w.ok("pat", Action::LeaseReady { lease });
    let beat = Action::Heartbeat { leases: vec![lease] };
    // (step, covered in all after it, heartbeats missed): up to 2.5 s apart is covered.
    let table =
        [(500, 500, 0), (1_000, 1_500, 0), (1, 1_501, 0), (3_600_000, 2_501, 0), (700, 3_201, 0)];
    for (step, covered, missed) in table {
        w.block(step, vec![("pat", beat.clone())]);
        let record = w.lease(&lease);
        assert_eq!(record.covered, Millis(covered), "after {step}");
        assert_eq!(record.accrued, nanos(u128::from(covered) * 1_000));
        assert_eq!(w.provider_of("pat").conduct.heartbeats_missed, missed);
    }
    // Two seconds of silence are covered by the next beat, three are not.
    w.pass(2, 750);
    w.block(1_000, vec![("pat", beat.clone())]);
    assert_eq!(w.lease(&lease).covered, Millis(5_701));
    w.pass(3, 750);
    w.block(750, vec![("pat", beat.clone())]);
    let record = w.lease(&lease);
    assert_eq!((record.covered, record.status), (Millis(5_701), LeaseStatus::Active));
    assert_eq!(w.provider_of("pat").conduct.heartbeats_missed, 1);
    let paid = nanos(5_701_000);
    assert_eq!((record.paid, w.provider_of("pat").paid), (paid, paid));
    assert_eq!(w.usd_of("pat"), usd(600).checked_add(paid).unwrap());
    let twice = Action::Heartbeat { leases: vec![lease, lease] };
    w.block(500, vec![("pat", twice), ("pat", beat)]);
    assert_eq!(w.lease(&lease).covered, Millis(6_201), "counted once");
}

#[test]
fn settling_often_or_seldom_pays_the_same() {
    let totals = [1, 7, 50, 100, 350].map(|step| {
        let mut w = World::new();
        w.provider("pat", "0.777777");
        let escrow = w.open_escrow("ann", usd(10));
        let lease = w.active("ann", escrow, None);
        for _ in 0..700 / step {
            w.beat(step);
        }
        w.lease(&lease).accrued
    });
    let rate = Rate::per_hour("0.777777".parse().unwrap());
    assert_eq!(totals, [rate.charge_floor(Millis(700)).unwrap(); 5]);
}

#[test]
fn a_close_between_heartbeats_pays_up_to_the_close() {
    for (who, reason) in [("ann", CloseReason::TenantClosed), ("pat", CloseReason::ProviderExit)] {
        let mut w = World::new();
        w.provider("pat", "3.6");
        let escrow = w.open_escrow("ann", usd(10));
        let lease = w.active("ann", escrow, None);
        w.beat(500);
        w.pass(1, 800);
        w.ok(who, Action::LeaseClose { lease });
        let record = w.lease(&lease);
        assert_eq!(record.covered, Millis(1_800));
        assert_eq!(record.accrued, nanos(1_800_000));
        assert_eq!(closed(&w, &lease), (reason, true));
        assert_eq!(w.host_of("pat", 0).used, Resources::default());
        assert_eq!(w.bond_of("pat").pledged, Amount::ZERO);
        let again = Reject::wrong_state("lease", "settled");
        assert_eq!(w.refused("ann", Action::LeaseClose { lease }), again);
    }
}

#[test]
fn a_provider_that_never_gets_ready_loses_the_lease_and_a_part_of_its_pledge() {
    let mut w = World::new();
    w.provider("pat", "3.6");
    let escrow = w.open_escrow("ann", usd(10));
    let [lease] = w.grant("ann", escrow, None, 1)[..] else { panic!() };
    w.pass(30, 1_000);
    assert_eq!(w.lease(&lease).status, LeaseStatus::Granted);
    let events = w.pass(1, 1);
    assert_eq!(closed(&w, &lease), (CloseReason::ProviderNotReady, true));
    // One per cent of 86.4 usd; the tenant lost nothing, so all of it burns.
    let amount: Amount = "0.864".parse().unwrap();
    let slashed = Event::Slashed {
        provider: id("pat"),
        lease,
        of: w.lease(&lease).parties(),
        reporter: None,
        reason: CloseReason::ProviderNotReady,
        amount,
        compensated: Amount::ZERO,
        rewarded: Amount::ZERO,
        burned: amount,
    };
    assert!(events.contains(&slashed), "{events:?}");
    assert_eq!(view::supply(&w.state).usd.burned, amount);
    assert_eq!(w.provider_of("pat").conduct.leases_broken, 1);
    assert_eq!(w.usd_of("ann"), usd(990));
}

#[test]
fn a_silent_provider_stalls_then_loses_the_lease_and_pays_the_tenant() {
    let mut w = World::new();
    w.provider("pat", "3.6");
    let escrow = w.open_escrow("ann", usd(10));
    let lease = w.active("ann", escrow, None);
    w.beat(1_000);
    let events = w.pass(3, 1_000);
    let (provider, of) = (id("pat"), w.lease(&lease).parties());
    let stalled = Event::LeaseStalled { lease, provider, of };
    assert!(!events.contains(&stalled));
    let events = w.pass(1, 1);
    assert_eq!(events, [stalled]);
    w.pass(1, 1_000);
    assert!(matches!(w.lease(&lease).status, LeaseStatus::Stalled { .. }));
    let ann = w.usd_of("ann");
    w.pass(1, 1_000);
    assert_eq!(closed(&w, &lease), (CloseReason::ProviderStalled, true));
    // The second that was paid was for nothing: the tenant gets it back out of the bond.
    assert_eq!(w.lease(&lease).compensated, nanos(1_000_000));
    assert_eq!(w.usd_of("ann"), ann.checked_add(nanos(1_000_000)).unwrap());
    assert_eq!(w.bond_of("pat").slashed, "8.64".parse().unwrap());
    assert_eq!(w.escrow(&escrow).compensated, nanos(1_000_000));
}

#[test]
fn a_stalled_lease_resumes_with_a_heartbeat_and_the_gap_unpaid() {
    let mut w = World::new();
    w.provider("pat", "3.6");
    let escrow = w.open_escrow("ann", usd(10));
    let lease = w.active("ann", escrow, None);
    w.pass(4, 1_000);
    assert!(matches!(w.lease(&lease).status, LeaseStatus::Stalled { .. }));
    let done = w.beat(500);
    let (provider, of) = (id("pat"), w.lease(&lease).parties());
    let nothing = Event::Covered { provider, count: 0, covered: Millis::ZERO };
    assert_eq!(done.events, [Event::LeaseResumed { lease, provider, of }, nothing]);
    let record = w.lease(&lease);
    assert_eq!((record.status, record.covered), (LeaseStatus::Active, Millis::ZERO));
    let done = w.beat(500);
    assert_eq!(w.lease(&lease).covered, Millis(500));
    assert_eq!(done.events, [Event::Covered { provider, count: 1, covered: Millis(500) }]);
    assert_eq!(w.bond_of("pat").slashed, Amount::ZERO);
}

#[test]
fn a_halted_chain_stalls_nobody_and_pays_nobody() {
    let mut w = World::new();
    w.provider("pat", "3.6");
    let escrow = w.open_escrow("ann", usd(10));
    let lease = w.active("ann", escrow, None);
    w.pass(2, 3_600_000);
    assert_eq!(w.lease(&lease).status, LeaseStatus::Active);
    w.beat(400);
    assert_eq!(w.lease(&lease).covered, Millis(2_400), "two steps of at most a second each");
    // Few blocks are no stall either, however long they took.
    let mut w = World::with(&["val"], |params| params.max_block_step_ms = Millis(10_000));
    w.provider("pat", "3.6");
    let escrow = w.open_escrow("ann", usd(10));
    let lease = w.active("ann", escrow, None);
    w.pass(2, 10_000);
    assert_eq!(w.lease(&lease).status, LeaseStatus::Active);
    w.pass(1, 1);
    assert!(matches!(w.lease(&lease).status, LeaseStatus::Stalled { .. }));
}

#[test]
fn only_the_provider_serves_a_lease_and_only_the_parties_end_it() {
    let mut w = World::new();
    w.provider("pat", "3.6");
    let escrow = w.open_escrow("ann", usd(10));
    let [lease] = w.grant("ann", escrow, None, 1)[..] else { panic!() };
    let missing = LeaseId::default();
    let commit = |lease, count| Action::ResultCommit { lease, root: hash(1), count, fuel: 0 };
    let not_provider = || Reject::not_yours("provider");
    let not_found = || Reject::not_found("lease");
    let state = |state| Reject::wrong_state("lease", state);
    let table = [
        ("ann", Action::LeaseReady { lease }, not_provider()),
        ("pat", Action::LeaseReady { lease: missing }, not_found()),
        ("ann", Action::Heartbeat { leases: vec![lease] }, not_provider()),
        ("pat", Action::Heartbeat { leases: vec![missing] }, not_found()),
        ("pat", Action::Heartbeat { leases: vec![] }, Reject::bad_field("leases")),
        ("pat", Action::Heartbeat { leases: vec![lease; 1_025] }, Reject::bad_field("leases")),
        ("bob", Action::LeaseClose { lease }, Reject::not_yours("tenant")),
        ("ann", Action::LeaseClose { lease: missing }, not_found()),
        ("ann", commit(lease, 1), not_provider()),
        ("pat", commit(missing, 1), not_found()),
        ("pat", commit(lease, u64::MAX), Reject::bad_field("count")),
        ("bob", Action::ResultAccept { lease }, Reject::not_yours("tenant")),
        ("ann", Action::ResultAccept { lease: missing }, not_found()),
        ("ann", Action::ResultAccept { lease }, state("granted")),
    ];
    for (who, act, reject) in table {
        assert_eq!(w.refused(who, act.clone()), reject, "{who} {act:?}");
    }
    w.ok("pat", Action::Heartbeat { leases: vec![lease] });
    assert_eq!(w.lease(&lease).covered, Millis::ZERO, "not ready yet");
    w.ok("pat", Action::LeaseReady { lease });
    assert_eq!(w.refused("pat", Action::LeaseReady { lease }), state("active"));
    w.ok("ann", Action::LeaseClose { lease });
    w.ok("pat", Action::Heartbeat { leases: vec![lease] });
    assert_eq!(w.refused("pat", commit(lease, 1)), state("settled"));
}

#[test]
fn withheld_pay_is_released_by_acceptance_or_by_the_end_of_the_window() {
    for accept in [true, false] {
        let mut w = World::new();
        w.provider("pat", "3.6");
        let escrow = w.open_escrow("ann", usd(10));
        let job = w.open_job("ann", escrow);
        let lease = w.active("ann", escrow, Some(job));
        w.beat(500);
        w.ok("pat", Action::ResultCommit { lease, root: hash(1), count: 3, fuel: 3 });
        w.ok("pat", Action::ResultCommit { lease, root: hash(2), count: 4, fuel: 4 });
        w.ok("ann", Action::LeaseClose { lease });
        let late = Action::ResultCommit { lease, root: hash(3), count: 4, fuel: 4 };
        assert_eq!(w.refused("pat", late), Reject::Duplicate);
        let commitment = w.lease(&lease).commitment.unwrap();
        assert_eq!((commitment.root, commitment.count), (hash(2), 4));
        let pay = nanos(2_000_000);
        assert_eq!((w.lease(&lease).accrued, w.lease(&lease).paid), (pay, Amount::ZERO));
        assert_eq!((w.escrow(&escrow).withheld, w.escrow(&escrow).paid), (pay, Amount::ZERO));
        assert_eq!(closed(&w, &lease), (CloseReason::TenantClosed, false));
        if accept {
            let (provider, of) = (id("pat"), w.lease(&lease).parties());
            let settled =
                Event::LeaseSettled { lease, provider, of, paid: pay, forfeited: nanos(0) };
            assert!(w.ok("ann", Action::ResultAccept { lease }).1.contains(&settled));
            let again = Reject::wrong_state("lease", "settled");
            assert_eq!(w.refused("ann", Action::ResultAccept { lease }), again);
        } else {
            w.pass(9, 1_000);
            assert_eq!(w.usd_of("pat"), usd(600));
            w.pass(1, 1_000);
        }
        assert_eq!(closed(&w, &lease), (CloseReason::TenantClosed, true));
        assert_eq!(w.usd_of("pat"), usd(600).checked_add(pay).unwrap());
        assert_eq!(w.job(&job).open_leases, 0);
        w.ok("ann", Action::EscrowClose { escrow });
        assert_eq!(w.usd_of("ann"), usd(1_000).checked_sub(pay).unwrap());
    }
}

#[test]
fn gpus_are_leased_by_the_kind_and_come_back() {
    let mut w = World::new();
    w.provider("pat", "0.1");
    let gpu = |model: &str, count| Gpu {
        vendor: "nvidia".into(),
        model: model.into(),
        memory_bytes: 80 * GIB,
        interface: String::new(),
        count,
    };
    let mut spec = w.spec("0.1");
    spec.capacity.gpus = vec![gpu("a100", 2), gpu("h100", 1)];
    spec.prices.gpu = Rate::per_hour(usd(1));
    w.ok("pat", Action::HostSet { index: 0, spec });
    let escrow = w.open_escrow("ann", usd(100));
    let any = GpuRequest { count: 1, ..GpuRequest::default() };
    let request = Request { cpu_milli: 1_000, gpu: any, ..Request::default() };
    let order = place(&mut w, escrow, Terms { request, count: 4, ..thread() });
    let leases = w.order(&order).leases;
    assert_eq!(leases.len(), 3, "three GPUs");
    let h100 = GpuRequest { vendor: "nvidia".into(), model: "h100".into(), ..any_gpu() };
    let request = Request { gpu: h100, ..Request::default() };
    let wanted = place(&mut w, escrow, Terms { request, ..thread() });
    assert_eq!(w.order(&wanted).status, OrderStatus::Open);
    w.ok("ann", Action::OrderCancel { order });
    let held = |lease: &&LeaseId| w.lease(lease).takes.gpus[0].model == "h100";
    let lease = *leases.iter().find(held).unwrap();
    w.ok("ann", Action::LeaseClose { lease });
    assert_eq!(w.order(&wanted).status, OrderStatus::Leased);
    assert_eq!(w.host_of("pat", 0).used.gpus.len(), 2);
}

fn any_gpu() -> GpuRequest {
    GpuRequest { count: 1, ..GpuRequest::default() }
}

#[test]
fn a_newcomer_stands_behind_its_premium() {
    // Pat is a hundredth cheaper than quin, whose fees have taken the premium of a tenth off it.
    let mut w = World::with(&["val"], |params| params.newcomer_fees = nanos(1));
    let escrow = w.open_escrow("ann", usd(10));
    w.provider("pat", "0.99");
    w.provider("quin", "1");
    assert_eq!(view::risk_bps(&w.state, &w.provider_of("pat")), 1_000);
    let order = place(&mut w, escrow, thread());
    assert_eq!(winners(&w, &order), [id("pat")]);
    let mut quin = w.provider_of("quin");
    quin.conduct.fees_paid = nanos(1);
    let mut scratch = crate::Scratch::new(&w.state);
    crate::keys::store(&mut scratch, &id("quin"), &quin);
    let changes = scratch.into_changes();
    w.state.apply(changes);
    let order = place(&mut w, escrow, thread());
    assert_eq!(winners(&w, &order), [id("quin")]);
    let terms = Terms { max_risk_bps: 1, ..thread() };
    let quote = view::quote(&w.state, &terms);
    assert_eq!((quote.hosts, quote.matched), (2, 1));
}

#[test]
fn fees_count_for_a_provider_only_where_another_gets_them() {
    let mut w = World::with(&["val"], |params| params.fee_per_unit = nanos(500));
    w.provider("pat", "1");
    assert_eq!(w.provider_of("pat").conduct.fees_paid, nanos(1_000), "not before it registered");
    w.proposer = id("pat");
    let spec = w.spec("1");
    let tx = w.envelope("pat", Action::HostSet { index: 1, spec }).sign(&key("pat"));
    assert!(w.block_of(500, &[tx]).results[0].is_ok());
    assert_eq!(w.provider_of("pat").conduct.fees_paid, nanos(1_000));
}
