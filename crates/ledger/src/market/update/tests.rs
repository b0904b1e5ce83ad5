use crate::{
    Action, Event, Reject,
    market::{CloseReason, LeaseStatus, Mode, Order, OrderChange, OrderStatus},
    tests::{
        World, nanos, usd,
        world::{STEP, hash, id},
    },
};
use muster_market::{Request, Terms, Together};
use muster_types::*;

fn terms(count: u32) -> Terms {
    Terms {
        request: Request { cpu_milli: 1_000, ..Request::default() },
        count,
        max_rate: Rate::per_hour(usd(100)),
        ..Terms::default()
    }
}

fn place(w: &mut World, escrow: EscrowId, terms: Terms) -> OrderId {
    let order = w.order_with(escrow, None, terms);
    w.place("ann", order)
}

fn update(order: OrderId, change: OrderChange) -> Action {
    Action::OrderUpdate { order, change }
}

fn grow(order: OrderId, count: u32) -> Action {
    update(order, OrderChange::Grow { count })
}

#[test]
fn an_order_grows_in_place() {
    let mut w = World::new();
    w.provider("pat", "0.36");
    let escrow = w.open_escrow("ann", usd(10));
    let order = place(&mut w, escrow, terms(2));
    let (receipt, _) = w.ok("ann", grow(order, 3));
    let of = w.order(&order).parties();
    let reopened = Event::OrderReopened { order, of, missing: 3 };
    assert_eq!(receipt.events, [reopened, Event::OrderUpdated { order, of }]);
    let record = w.order(&order);
    assert_eq!(
        (record.status, record.terms.count, record.leases.len()),
        (OrderStatus::Leased, 5, 5)
    );
    assert_eq!(record.leases[4], LeaseId::derive(&order, 4));
    // One that is open already misses more.
    w.ok("ann", grow(order, 9));
    let (receipt, _) = w.ok("ann", grow(order, 1));
    assert_eq!(receipt.events, [Event::OrderUpdated { order, of }]);
    let record = w.order(&order);
    assert_eq!((record.status, record.leases.len(), record.missing), (OrderStatus::Open, 8, 7));
    assert_eq!(w.escrow(&escrow).open_orders, 1);
}

#[test]
fn an_order_shrinks_in_place() {
    let mut w = World::new();
    w.provider("pat", "0.36");
    let escrow = w.open_escrow("ann", usd(10));
    let order = place(&mut w, escrow, Terms { count: 10, ..terms(10) });
    let leases = w.order(&order).leases;
    assert_eq!(leases.len(), 8);
    w.ok("ann", update(order, OrderChange::Count { count: 9 }));
    let record = w.order(&order);
    assert_eq!((record.status, record.terms.count, record.missing), (OrderStatus::Open, 9, 1));
    let (receipt, _) = w.ok("ann", update(order, OrderChange::Count { count: 8 }));
    let (status, charged) = (OrderStatus::Leased, Amount::ZERO);
    let of = w.order(&order).parties();
    let ended = Event::OrderEnded { order, status, charged, of };
    assert_eq!(receipt.events, [ended, Event::OrderUpdated { order, of }]);
    w.ok("ann", update(order, OrderChange::Shrink { leases: leases[..3].to_vec() }));
    let record = w.order(&order);
    assert_eq!((record.status, record.terms.count, record.leases.len()), (status, 5, 8));
    for lease in &leases[..3] {
        let closed = w.lease(lease).status;
        let reason = CloseReason::TenantClosed;
        assert!(matches!(closed, LeaseStatus::Closed { reason: found, .. } if found == reason));
    }
    assert_eq!(w.host_of("pat", 0).used.cpu_milli, 5_000);
    assert_eq!(w.escrow(&escrow).open_leases, 5);
}

#[test]
fn a_gang_that_is_made_smaller_is_looked_for_again() {
    let mut w = World::new();
    w.provider("pat", "0.36");
    let escrow = w.open_escrow("ann", usd(10));
    let table = [
        Terms { gang: true, ..terms(9) },
        Terms { together: Together::Host, ..terms(9) },
        terms(9),
    ];
    for (terms, got) in table.into_iter().zip([[0, 8], [0, 8], [8, 8]]) {
        let order = place(&mut w, escrow, terms);
        w.pass(2, STEP);
        assert_eq!(w.order(&order).leases.len(), got[0], "a host has eight threads");
        w.ok("ann", update(order, OrderChange::Count { count: 8 }));
        let record = w.order(&order);
        assert_eq!((record.status, record.leases.len()), (OrderStatus::Leased, got[1]));
        w.ok("ann", update(order, OrderChange::Shrink { leases: record.leases }));
    }
}

#[test]
fn an_extension_guarantees_what_still_is_offered_as_cheap() {
    let mut w = World::new();
    w.provider("pat", "3.6");
    w.provider("quin", "1.8");
    w.provider("rob", "1");
    let escrow = w.open_escrow("ann", usd(10));
    let terms = |who: &str| Terms { providers: vec![id(who)], ..terms(1) };
    let orders = ["pat", "quin", "rob"].map(|who| place(&mut w, escrow, terms(who)));
    let lease = |w: &World, n: usize| w.lease(&w.order(&orders[n]).leases[0]);
    let before = [0, 1, 2].map(|n| lease(&w, n).guaranteed_until);
    // Pat offers for longer, quin too but at a higher price; rob leaves.
    let later = w.head().now.after(Millis(100_000_000));
    let spec = |w: &World, price| {
        let mut spec = w.spec(price);
        spec.offered_until = later;
        spec
    };
    let (pats, quins) = (spec(&w, "3.6"), spec(&w, "1.9"));
    w.block(
        STEP,
        vec![
            ("pat", Action::HostSet { index: 0, spec: pats }),
            ("quin", Action::HostSet { index: 0, spec: quins }),
            ("rob", Action::ProviderDrain {}),
        ],
    );
    assert_eq!([0, 1, 2].map(|n| lease(&w, n).guaranteed_until), before, "not by itself");
    let deadline = w.order(&orders[0]).deadline.after(Millis(1));
    for order in orders {
        let deadline = deadline.after(Millis(1_000_000));
        w.ok("ann", update(order, OrderChange::Extend { deadline }));
        assert_eq!(w.order(&order).deadline, deadline);
    }
    let after = [0, 1, 2].map(|n| lease(&w, n).guaranteed_until);
    assert_eq!(after, [later, before[1], before[2]]);
}

#[test]
fn a_new_manifest_updates_every_lease() {
    let mut w = World::new();
    w.provider("pat", "3.6");
    let escrow = w.open_escrow("ann", usd(10));
    let lease = w.active("ann", escrow, None);
    let order = w.lease(&lease).order;
    w.beat(STEP);
    let (receipt, _) = w.ok("ann", update(order, OrderChange::Manifest { hash: hash(9) }));
    let of = w.order(&order).parties();
    assert!(receipt.events.contains(&Event::OrderUpdated { order, of }));
    assert_eq!(w.order(&order).manifest, hash(9));
    let (provider, of) = (id("pat"), w.lease(&lease).parties());
    let updating = Event::LeaseUpdating { lease, provider, of };
    assert_eq!(receipt.events.iter().filter(|event| **event == updating).count(), 1);
    let since = w.head().steady;
    assert_eq!(w.lease(&lease).status, LeaseStatus::Updating { since });
    let same = update(order, OrderChange::Manifest { hash: hash(9) });
    assert_eq!(w.refused("ann", same), Reject::Duplicate);
    let (receipt, _) = w.ok("pat", Action::LeaseReady { lease });
    assert_eq!(receipt.events, [Event::LeaseUpdated { lease, provider, of }]);
    w.beat(STEP);
    let record = w.lease(&lease);
    assert_eq!(record.status, LeaseStatus::Active);
    assert_eq!(record.covered, Millis(4 * STEP), "served and paid all the while");
}

#[test]
fn a_change_that_cannot_be_is_refused() {
    let mut w = World::with(&["val"], |params| params.fee_per_unit = nanos(100));
    w.provider("pat", "0.36");
    let escrow = w.open_escrow("ann", nanos(650));
    let other = w.open_escrow("ann", usd(1));
    let order = place(&mut w, escrow, terms(8));
    let cancelled = place(&mut w, escrow, Terms { regions: vec!["nowhere".into()], ..terms(1) });
    w.ok("ann", Action::OrderCancel { order: cancelled });
    let short = w.order_with(other, None, terms(1));
    let Action::OrderPlace { escrow: by, job, terms: short, manifest, mode, reauction, .. } = short
    else {
        panic!()
    };
    w.ok("ann", Action::LeaseClose { lease: w.order(&order).leases[0] });
    let deadline = w.head().now.after(Millis(600));
    let short =
        Action::OrderPlace { escrow: by, job, terms: short, deadline, manifest, mode, reauction };
    let short = w.place("ann", short);
    w.pass(1, STEP);
    let leases = w.order(&order).leases;
    let theirs = w.order(&short).leases[0];
    let bad = Reject::bad_field;
    let ended = || Reject::wrong_state("order", "cancelled");
    let shrink = |order, leases| update(order, OrderChange::Shrink { leases });
    let count = |order, count| update(order, OrderChange::Count { count });
    let extend = |order, deadline| update(order, OrderChange::Extend { deadline });
    let renew = |order| update(order, OrderChange::Manifest { hash: hash(9) });
    let was = w.order(&order).deadline;
    let late = Reject::wrong_state("order", "past its deadline");
    let poor = Reject::InsufficientFunds { needed: nanos(700), available: nanos(650) };
    let table = [
        ("ann", grow(OrderId::default(), 1), Reject::not_found("order")),
        ("bob", grow(order, 1), Reject::not_yours("tenant")),
        ("ann", grow(order, 0), bad("count")),
        ("ann", grow(order, 9_993), bad("count")),
        ("ann", grow(order, u32::MAX), bad("count")),
        ("ann", grow(cancelled, 1), ended()),
        ("ann", grow(short, 1), late),
        ("ann", shrink(order, vec![]), bad("leases")),
        ("ann", shrink(order, vec![leases[1]; 1_025]), bad("leases")),
        ("ann", shrink(order, vec![theirs]), bad("leases")),
        ("ann", shrink(order, vec![LeaseId::default()]), Reject::not_found("lease")),
        ("ann", shrink(order, vec![leases[0]]), Reject::wrong_state("lease", "settled")),
        ("ann", shrink(order, vec![leases[1]; 2]), Reject::wrong_state("lease", "settled")),
        ("ann", count(order, 7), Reject::wrong_state("order", "leased")),
        ("ann", extend(order, was), bad("deadline")),
        ("ann", extend(cancelled, was.after(Millis(1))), ended()),
        ("ann", extend(order, was.after(Millis(1))), poor.clone()),
        ("ann", renew(cancelled), ended()),
        ("ann", renew(order), poor),
    ];
    for (who, act, reject) in table {
        assert_eq!(w.refused(who, act.clone()), reject, "{who} {act:?}");
    }
    w.ok("ann", grow(order, 2));
    for bad_count in [0, 7, 10, 11] {
        let found = w.refused("ann", count(order, bad_count));
        assert_eq!(found, bad("count"), "{bad_count}");
    }
    w.ok("bob", Action::EscrowDeposit { escrow, amount: nanos(150) });
    w.ok("ann", renew(order));
    assert_eq!(w.escrow(&escrow).fees, nanos(700), "seven leases beyond the first");
}

#[test]
fn nothing_grows_on_an_overdrawn_escrow_or_a_closed_job() {
    let mut w = World::new();
    w.provider("pat", "3.6");
    let escrow = w.open_escrow("ann", usd(10));
    let job = w.open_job("ann", escrow);
    let [lease] = w.grant("ann", escrow, Some(job), 1)[..] else { panic!() };
    let order = w.lease(&lease).order;
    w.ok("ann", Action::JobClose { job });
    assert_eq!(w.refused("ann", grow(order, 1)), Reject::wrong_state("job", "closed"));
    let poor = w.open_escrow("ann", nanos(500_000));
    let lease = w.active("ann", poor, None);
    w.beat(1_000);
    let overdrawn = Reject::wrong_state("escrow", "overdrawn");
    assert_eq!(w.refused("ann", grow(w.lease(&lease).order, 1)), overdrawn);
}

/// An order that is auctioned again.
fn again(w: &World, escrow: EscrowId, job: Option<JobId>, count: u32) -> Action {
    let deadline = w.head().now.after(Millis(5_000));
    let (terms, manifest, mode) = (terms(count), hash(2), Mode::Standing);
    Action::OrderPlace { escrow, job, terms, deadline, manifest, mode, reauction: true }
}

#[test]
fn a_lease_that_its_provider_broke_is_auctioned_again_without_it() {
    let mut w = World::with(&["val"], |params| params.reauction_ms = Millis(4_000));
    w.provider("pat", "1");
    w.provider("quin", "2");
    let escrow = w.open_escrow("ann", usd(10));
    let order = again(&w, escrow, None, 2);
    let order = w.place("ann", order);
    let [first, second] = w.order(&order).leases[..] else { panic!() };
    let (_, events) = w.ok("pat", Action::LeaseClose { lease: first });
    let of = w.order(&order).parties();
    assert!(events.contains(&Event::OrderReopened { order, of, missing: 1 }));
    let record = w.order(&order);
    assert_eq!(
        (record.status, record.terms.exclude.clone()),
        (OrderStatus::Leased, vec![id("pat")])
    );
    assert_eq!(record.leases[..], [first, second, LeaseId::derive(&order, 2)]);
    assert_eq!(w.lease(&record.leases[2]).provider(), id("quin"));
    assert_eq!(record.terms.count, 2);
    // Nobody is left: it is open for so long, whatever its first deadline was.
    w.pass(10, 1_000);
    w.ok("quin", Action::LeaseClose { lease: record.leases[2] });
    let closed = w.head().now;
    let record = w.order(&order);
    assert_eq!((record.status, record.deadline), (OrderStatus::Open, closed.after(Millis(4_000))));
    w.pass(3, 1_000);
    assert_eq!(w.order(&order).status, OrderStatus::Open);
    w.pass(1, 1_000);
    assert_eq!(w.order(&order).status, OrderStatus::Expired);
    // The second lease breaks after that: it is auctioned again all the same.
    w.ok("pat", Action::LeaseClose { lease: second });
    assert_eq!((w.order(&order).status, w.order(&order).missing), (OrderStatus::Open, 1));
    assert_eq!(w.order(&order).terms.exclude, [id("pat"), id("quin")]);
}

#[test]
fn what_is_not_auctioned_again() {
    // (reauction, who closes, whether the order was cancelled, whether the job closed)
    let table = [
        (true, "ann", false, false),
        (false, "pat", false, false),
        (true, "pat", true, false),
        (true, "pat", false, true),
    ];
    for (reauction, who, cancelled, closed) in table {
        let mut w = World::new();
        w.provider("pat", "0.36");
        let escrow = w.open_escrow("ann", usd(10));
        let job = w.open_job("ann", escrow);
        let count = if cancelled { 9 } else { 1 };
        let mut order = again(&w, escrow, Some(job), count);
        if let Action::OrderPlace { reauction: asked, .. } = &mut order {
            *asked = reauction;
        }
        let order = w.place("ann", order);
        let lease = w.order(&order).leases[0];
        if cancelled {
            w.ok("ann", Action::OrderCancel { order });
        }
        if closed {
            w.ok("ann", Action::JobClose { job });
        }
        let before = w.order(&order);
        w.ok(who, Action::LeaseClose { lease });
        let after = w.order(&order);
        let open_leases = before.open_leases - 1;
        let before = Order { open_leases, final_at: after.final_at, ..before };
        assert_eq!(after, before, "{reauction} {who} {cancelled} {closed}");
    }
}
