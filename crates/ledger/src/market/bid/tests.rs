use crate::{
    Action, Event, Reject,
    market::{BidOutcome, Mode, OrderChange, OrderStatus, Pick},
    tests::{
        World, nanos, usd,
        world::{STEP, hash, id},
    },
    view,
};
use muster_market::{Request, Spread, Terms};
use muster_types::*;

/// Held for every bid of these tests.
const DEPOSIT: u64 = 2;

fn terms(count: u32) -> Terms {
    Terms {
        request: Request { cpu_milli: 1_000, ..Request::default() },
        count,
        max_rate: Rate::per_hour(usd(3)),
        ..Terms::default()
    }
}

fn world() -> (World, EscrowId) {
    let mut w = World::with(&["val"], |params| {
        params.bid_deposit = usd(DEPOSIT);
        params.pledge_hours = 1;
        params.pick_window_ms = Millis(2_000);
    });
    for who in ["pat", "quin", "rob"] {
        w.provider(who, "9");
    }
    let escrow = w.open_escrow("ann", usd(10));
    (w, escrow)
}

/// An order that takes bids for three seconds, less the block that carries it.
fn order(w: &mut World, escrow: EscrowId, terms: Terms, bids_max: u16, pick: Pick) -> OrderId {
    let action = Action::OrderPlace {
        escrow,
        job: None,
        terms,
        deadline: w.head().now.after(Millis(60_000)),
        manifest: hash(2),
        mode: Mode::Bids { window_ms: Millis(3_000), bids_max, pick },
        reauction: false,
    };
    w.place("ann", action)
}

fn rate(text: &str) -> Rate {
    Rate::per_hour(text.parse().unwrap())
}

fn bid(order: OrderId, host: u32, at: &str, count: u32) -> Action {
    Action::BidPlace { order, host, rate: rate(at), count }
}

fn host(who: &str, index: u32) -> HostId {
    HostId { provider: id(who), index }
}

/// Past the window of an order placed in the block before.
fn end_window(w: &mut World) -> Vec<Event> {
    w.pass(7, STEP)
}

fn winners(w: &World, order: &OrderId) -> Vec<(AccountId, Rate)> {
    let leases = w.order(order).leases;
    leases.iter().map(|lease| w.lease(lease)).map(|lease| (lease.provider(), lease.rate)).collect()
}

fn outcomes(events: &[Event]) -> Vec<(AccountId, BidOutcome)> {
    let ended = events.iter().filter_map(|event| match event {
        Event::BidEnded { host, outcome, .. } => Some((host.provider, *outcome)),
        _ => None,
    });
    ended.collect()
}

#[test]
fn the_lowest_bids_win_at_their_own_rate_and_every_deposit_returns() {
    let (mut w, escrow) = world();
    let before = ["pat", "quin", "rob"].map(|who| w.usd_of(who));
    let order = order(&mut w, escrow, terms(3), 8, Pick::Lowest);
    assert_eq!(w.order(&order).leases, [], "standing offers do not win it");
    w.ok("pat", bid(order, 0, "1.5", 1));
    w.ok("quin", bid(order, 0, "1", 2));
    w.ok("rob", bid(order, 0, "2", 3));
    let held = ["pat", "quin", "rob"].map(|who| w.usd_of(who));
    assert_eq!(held, before.map(|usd_before| usd_before.checked_sub(usd(DEPOSIT)).unwrap()));
    assert_eq!(view::bids_of_order(&w.state, &order).len(), 3);
    let events = end_window(&mut w);
    let won = [(id("quin"), rate("1")), (id("quin"), rate("1")), (id("pat"), rate("1.5"))];
    assert_eq!(winners(&w, &order), won);
    use BidOutcome::{Lost, Won};
    assert_eq!(outcomes(&events), [(id("quin"), Won), (id("pat"), Won), (id("rob"), Lost)]);
    assert_eq!(["pat", "quin", "rob"].map(|who| w.usd_of(who)), before);
    assert_eq!((w.order(&order).status, w.escrow(&escrow).open_orders), (OrderStatus::Leased, 0));
    let lease = w.lease(&w.order(&order).leases[0]);
    assert_eq!((lease.pledge, lease.host), (usd(1), host("quin", 0)));
    assert_eq!(lease.guaranteed_until, w.host_of("quin", 0).spec.offered_until);
}

#[test]
fn exactly_so_many_bids_stand_and_a_lower_one_displaces_the_worst() {
    let (mut w, escrow) = world();
    for index in 1..3 {
        let spec = w.spec("9");
        w.ok("pat", Action::HostSet { index, spec });
    }
    let order = order(&mut w, escrow, terms(1), 2, Pick::Tenant);
    let full = Reject::wrong_state("order", "full of bids that are no worse");
    // (who, host, rate, refusal, who stands after it)
    let table = [
        ("pat", 0, "2", None, vec![("pat", 0)]),
        ("pat", 1, "2", None, vec![("pat", 0), ("pat", 1)]),
        ("quin", 0, "2", Some(&full), vec![("pat", 0), ("pat", 1)]),
        ("quin", 0, "2.5", Some(&full), vec![("pat", 0), ("pat", 1)]),
        ("quin", 0, "1.5", None, vec![("pat", 0), ("quin", 0)]),
        ("pat", 0, "2.5", None, vec![("pat", 0), ("quin", 0)]),
        ("rob", 0, "2.4", None, vec![("quin", 0), ("rob", 0)]),
    ];
    let before = w.usd_of("pat");
    let mut displaced = Vec::new();
    for (who, index, at, refusal, stand) in table {
        match refusal {
            Some(reject) => assert_eq!(&w.refused(who, bid(order, index, at, 1)), reject),
            None => displaced.extend(outcomes(&w.ok(who, bid(order, index, at, 1)).1)),
        }
        let mut hosts: Vec<_> = stand.into_iter().map(|(who, index)| host(who, index)).collect();
        hosts.sort_unstable();
        let bids = view::bids_of_order(&w.state, &order);
        assert_eq!(bids.into_iter().map(|(host, _)| host).collect::<Vec<_>>(), hosts, "{who} {at}");
        if w.order(&order).status != OrderStatus::Open {
            break;
        }
    }
    assert!(displaced.iter().all(|(_, outcome)| *outcome == BidOutcome::Displaced));
    assert_eq!(displaced.len(), 2);
    assert_eq!(w.usd_of("pat"), before, "both deposits came back at once");
}

#[test]
fn a_bid_is_replaced_or_withdrawn_in_its_window_only() {
    let (mut w, escrow) = world();
    let order = order(&mut w, escrow, terms(1), 1, Pick::Lowest);
    let before = w.usd_of("pat");
    w.ok("pat", bid(order, 0, "1", 1));
    w.ok("pat", bid(order, 0, "2", 1));
    assert_eq!(view::bids_of_order(&w.state, &order)[0].1.rate, rate("2"));
    assert_eq!(w.usd_of("pat"), before.checked_sub(usd(DEPOSIT)).unwrap(), "one deposit a host");
    let withdraw = Action::BidWithdraw { order, host: 0 };
    assert_eq!(w.refused("quin", withdraw.clone()), Reject::not_found("bid"));
    let (_, events) = w.ok("pat", withdraw.clone());
    assert_eq!(outcomes(&events), [(id("pat"), BidOutcome::Withdrawn)]);
    assert_eq!((w.usd_of("pat"), w.order(&order).bidding.unwrap().bids), (before, 0));
    assert_eq!(w.refused("pat", withdraw.clone()), Reject::not_found("bid"));
    w.ok("pat", bid(order, 0, "1", 1));
    // The window ends with the next block: nothing that the block carries counts.
    w.pass(1, STEP);
    let late = Reject::wrong_state("order", "past its bid window");
    assert_eq!(w.refused("quin", bid(order, 0, "0.5", 1)), late);
    assert_eq!(w.refused("pat", withdraw), late);
    w.pass(1, STEP);
    assert_eq!(winners(&w, &order), [(id("pat"), rate("1"))]);
}

#[test]
fn a_bid_that_cannot_be_is_refused() {
    let (mut w, escrow) = world();
    w.ok("bob", Action::ProviderSet { profile: Default::default() });
    let order_id = order(&mut w, escrow, Terms { count: 9, ..terms(9) }, 4, Pick::Lowest);
    let regions = Terms { regions: vec!["quin-land".into()], ..terms(1) };
    let regional = order(&mut w, escrow, regions, 4, Pick::Lowest);
    let standing = w.order_with(escrow, None, Terms { max_rate: rate("1"), ..terms(1) });
    let standing = w.place("ann", standing);
    let unfit = Reject::wrong_state("host", "not what the order asks for");
    let open = Reject::wrong_state("order", "open to standing offers");
    let off_tick =
        Action::BidPlace { order: order_id, host: 0, rate: Rate::per_hour(nanos(1)), count: 1 };
    let table = [
        ("pat", bid(OrderId::default(), 0, "1", 1), Reject::not_found("order")),
        ("pat", bid(standing, 0, "1", 1), open),
        ("pat", bid(order_id, 0, "3.1", 1), Reject::bad_field("rate")),
        ("pat", off_tick, Reject::bad_field("rate")),
        ("pat", bid(order_id, 0, "1", 0), Reject::bad_field("count")),
        ("pat", bid(order_id, 0, "1", 10), Reject::bad_field("count")),
        ("pat", bid(order_id, 0, "1", 9), unfit.clone()),
        ("pat", bid(order_id, 1, "1", 1), Reject::not_found("host")),
        ("pat", bid(regional, 0, "1", 1), unfit),
        ("ann", bid(order_id, 0, "1", 1), Reject::not_found("provider")),
        ("bob", bid(order_id, 0, "1", 1), Reject::wrong_state("provider", "registered")),
    ];
    for (who, act, reject) in table {
        assert_eq!(w.refused(who, act.clone()), reject, "{who} {act:?}");
    }
    w.ok("pat", bid(order_id, 0, "3", 8));
    let poor = Action::Transfer { to: id("bob"), asset: Asset::Usd, amount: w.usd_of("quin") };
    w.ok("quin", poor);
    let short = Reject::InsufficientFunds { needed: usd(DEPOSIT), available: Amount::ZERO };
    assert_eq!(w.refused("quin", bid(order_id, 0, "1", 1)), short);
    let grow = Action::OrderUpdate { order: order_id, change: OrderChange::Grow { count: 1 } };
    assert_eq!(w.refused("ann", grow), Reject::wrong_state("order", "open to bids"));
}

#[test]
fn a_bid_that_would_win_and_cannot_be_honoured_burns() {
    let (mut w, escrow) = world();
    let order = order(&mut w, escrow, terms(2), 8, Pick::Lowest);
    w.ok("pat", bid(order, 0, "1", 2));
    w.ok("quin", bid(order, 0, "1.5", 2));
    w.ok("rob", bid(order, 0, "2", 2));
    // Pat has no room any more, quin leaves; rob is the third and serves.
    let mut spec = w.spec("9");
    spec.capacity.cpu_milli = 1_000;
    let done = w.block(
        STEP,
        vec![("pat", Action::HostSet { index: 0, spec }), ("quin", Action::ProviderDrain {})],
    );
    assert!(done.results.iter().all(Result::is_ok));
    let events = end_window(&mut w);
    use BidOutcome::{Broken, Won};
    assert_eq!(outcomes(&events), [(id("rob"), Won), (id("pat"), Broken), (id("quin"), Broken)]);
    assert_eq!(winners(&w, &order), [(id("rob"), rate("2")); 2]);
    assert_eq!(view::supply(&w.state).usd.burned, usd(2 * DEPOSIT));
    // A broken bid that would not have won costs nothing.
    let burned = view::supply(&w.state).usd.burned;
    let order = self::order(&mut w, escrow, terms(1), 8, Pick::Lowest);
    w.ok("rob", bid(order, 0, "1", 1));
    w.ok("pat", bid(order, 0, "2", 1));
    w.ok("pat", Action::HostRemove { index: 0 });
    end_window(&mut w);
    assert_eq!(winners(&w, &order), [(id("rob"), rate("1"))]);
    assert_eq!(view::supply(&w.state).usd.burned, burned);
}

#[test]
fn gangs_and_spreads_hold_for_bids_too() {
    // (count, gang, per provider, bids by pat and quin, leases of each)
    let spread = |per_provider| Spread { per_provider, ..Spread::default() };
    let table = [
        (4, false, 0, (3, 3), (3, 1)),
        (8, false, 0, (3, 3), (3, 3)),
        (8, true, 0, (3, 3), (0, 0)),
        (6, true, 0, (3, 3), (3, 3)),
        (4, false, 2, (3, 3), (2, 2)),
        (4, true, 1, (3, 3), (0, 0)),
    ];
    for (count, gang, per_provider, (pats, quins), (pat, quin)) in table {
        let (mut w, escrow) = world();
        let terms = Terms { gang, spread: spread(per_provider), ..terms(count) };
        let order = order(&mut w, escrow, terms, 8, Pick::Lowest);
        w.ok("pat", bid(order, 0, "1", pats));
        w.ok("quin", bid(order, 0, "2", quins));
        end_window(&mut w);
        let of = |who| winners(&w, &order).into_iter().filter(|(won, _)| *won == id(who)).count();
        assert_eq!((of("pat"), of("quin")), (pat, quin), "{count} {gang} {per_provider}");
        let status = if pat > 0 { OrderStatus::Leased } else { OrderStatus::Expired };
        assert_eq!(w.order(&order).status, status);
        assert_eq!(view::supply(&w.state).usd.burned, Amount::ZERO);
    }
}

#[test]
fn a_tenant_picks_within_its_window() {
    let (mut w, escrow) = world();
    let order = order(&mut w, escrow, terms(2), 8, Pick::Tenant);
    w.ok("pat", bid(order, 0, "1", 1));
    w.ok("quin", bid(order, 0, "2", 2));
    let accept = |hosts: &[HostId]| Action::BidAccept { order, hosts: hosts.to_vec() };
    let (pat, quin) = (host("pat", 0), host("quin", 0));
    assert_eq!(w.refused("ann", accept(&[quin])), Reject::wrong_state("order", "open"));
    let events = w.pass(4, STEP);
    let OrderStatus::Picking { until } = w.order(&order).status else { panic!("{events:?}") };
    let of = w.order(&order).parties();
    assert_eq!(events, [Event::OrderPicking { order, of, until }]);
    assert_eq!(w.escrow(&escrow).open_orders, 1);
    let table = [
        ("bob", accept(&[quin]), Reject::not_yours("tenant")),
        ("ann", accept(&[]), Reject::bad_field("hosts")),
        ("ann", accept(&[quin, quin]), Reject::bad_field("hosts")),
        ("ann", accept(&[host("rob", 0)]), Reject::not_found("bid")),
        ("rob", bid(order, 0, "1", 1), Reject::wrong_state("order", "picking")),
        ("pat", Action::BidWithdraw { order, host: 0 }, Reject::wrong_state("order", "picking")),
    ];
    for (who, act, reject) in table {
        assert_eq!(w.refused(who, act.clone()), reject, "{who} {act:?}");
    }
    let (_, events) = w.ok("ann", accept(&[quin]));
    use BidOutcome::{Lost, Won};
    assert_eq!(outcomes(&events), [(id("quin"), Won), (id("pat"), Lost)]);
    assert_eq!(winners(&w, &order), [(id("quin"), rate("2")); 2]);
    let done = Reject::wrong_state("order", "leased");
    assert_eq!(w.refused("ann", accept(&[pat])), done);
}

#[test]
fn what_bids_win_was_waited_for_and_costs_rent() {
    for pick in [Pick::Lowest, Pick::Tenant] {
        let mut w = World::with(&["val"], |params| {
            params.rent_per_lease = Rate::per_hour(nanos(3_600_000));
        });
        w.provider("pat", "9");
        let escrow = w.open_escrow("ann", usd(10));
        let order = order(&mut w, escrow, terms(2), 8, pick);
        let from = w.head().steady;
        w.ok("pat", bid(order, 0, "1", 2));
        end_window(&mut w);
        if pick == Pick::Tenant {
            w.ok("ann", Action::BidAccept { order, hosts: vec![host("pat", 0)] });
        }
        let record = w.order(&order);
        assert_eq!((record.status, record.leases.len()), (OrderStatus::Leased, 2), "{pick:?}");
        // A nano-unit a millisecond for each of the two.
        let waited = record.rent_until.since(from).0;
        assert!(waited >= 3_000 - STEP, "{waited}");
        assert_eq!(record.charged.nanos(), 2 * u128::from(waited), "{pick:?}");
        assert_eq!(w.escrow(&escrow).fees, record.charged);
    }
}

#[test]
fn a_picked_bid_that_cannot_be_honoured_burns_and_leaves_the_others() {
    let (mut w, escrow) = world();
    let order = order(&mut w, escrow, Terms { gang: true, ..terms(2) }, 8, Pick::Tenant);
    w.ok("pat", bid(order, 0, "1", 2));
    w.ok("quin", bid(order, 0, "2", 1));
    w.ok("rob", bid(order, 0, "2", 2));
    w.ok("pat", Action::HostRemove { index: 0 });
    w.pass(2, STEP);
    let accept = |hosts: &[HostId]| Action::BidAccept { order, hosts: hosts.to_vec() };
    let half = accept(&[host("quin", 0)]);
    assert_eq!(w.refused("ann", half), Reject::bad_field("hosts"), "half a gang");
    let (_, events) = w.ok("ann", accept(&[host("pat", 0)]));
    assert_eq!(outcomes(&events), [(id("pat"), BidOutcome::Broken)]);
    assert!(matches!(w.order(&order).status, OrderStatus::Picking { .. }));
    w.ok("ann", accept(&[host("rob", 0)]));
    assert_eq!(winners(&w, &order), [(id("rob"), rate("2")); 2]);
    assert_eq!(view::supply(&w.state).usd.burned, usd(DEPOSIT));
}

#[test]
fn without_a_bid_or_a_pick_or_money_the_order_ends_and_deposits_return() {
    let spent = |w: &mut World, escrow| {
        // All that the escrow has goes to a lease before the window ends.
        let lease = w.active("ann", escrow, None);
        for _ in 0..2 {
            w.beat(STEP);
        }
        w.ok("ann", Action::LeaseClose { lease });
    };
    // (pick, whether there is a bid, who acts, status)
    let table = [
        (Pick::Lowest, false, "", OrderStatus::Expired),
        (Pick::Tenant, false, "", OrderStatus::Expired),
        (Pick::Tenant, true, "", OrderStatus::Expired),
        (Pick::Tenant, true, "cancel", OrderStatus::Cancelled),
        (Pick::Lowest, true, "spend", OrderStatus::OutOfFunds),
    ];
    for (pick, is_bid, act, status) in table {
        let (mut w, _) = world();
        let escrow = w.open_escrow("ann", nanos(2_500_000));
        let before = w.usd_of("rob");
        let order = order(&mut w, escrow, terms(1), 8, pick);
        if is_bid {
            w.ok("rob", bid(order, 0, "1", 1));
            assert!(w.usd_of("rob") < before);
        }
        match act {
            "cancel" => drop(w.ok("ann", Action::OrderCancel { order })),
            "spend" => spent(&mut w, escrow),
            _ => drop(w.pass(4 + 6 + 2, STEP)),
        }
        w.pass(2, STEP);
        assert_eq!((w.order(&order).status, w.order(&order).leases), (status, vec![]), "{act}");
        assert_eq!((w.usd_of("rob"), w.escrow(&escrow).open_orders), (before, 0));
        assert_eq!(view::bids_of_order(&w.state, &order), []);
    }
}

#[test]
fn bids_and_changes_cost_units_for_what_they_touch() {
    let order = OrderId::default();
    let accept = |count| Action::BidAccept { order, hosts: vec![host("pat", 0); count] };
    let shrink = |count| {
        let change = OrderChange::Shrink { leases: vec![LeaseId::default(); count] };
        Action::OrderUpdate { order, change }
    };
    let table = [
        (bid(order, 0, "1", 1), 2),
        (Action::BidWithdraw { order, host: 0 }, 1),
        (accept(0), 1),
        (accept(7), 7),
        (shrink(0), 1),
        (shrink(5), 5),
        (Action::OrderUpdate { order, change: OrderChange::Grow { count: 9 } }, 1),
    ];
    for (act, units) in table {
        assert_eq!(act.units(), units, "{act:?}");
    }
}
