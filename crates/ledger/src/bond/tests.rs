use super::Unbonding;
use crate::{
    Action, Event, Reject,
    bond::DutyKind,
    market::OrderStatus,
    provider::ProviderStatus,
    tests::{World, nanos, usd, world::id},
    view,
};
use muster_types::*;

fn add(amount: Amount) -> Action {
    Action::BondAdd { amount }
}

fn unbond(amount: Amount) -> Action {
    Action::BondUnbond { amount }
}

fn service(name: &str, pledge: Amount) -> Action {
    Action::ServiceRegister { name: name.into(), pledge }
}

fn end(name: &str) -> Action {
    Action::ServiceUnregister { name: name.into() }
}

fn short(needed: Amount, available: Amount) -> Option<Reject> {
    Some(Reject::InsufficientBond { needed, available })
}

fn leaving() -> Option<Reject> {
    Some(Reject::wrong_state("registration", "leaving"))
}

/// Acts, or is refused as the row says.
fn play(w: &mut World, who: &str, act: &Action, refusal: Option<Reject>) {
    match refusal {
        Some(reject) => assert_eq!(w.refused(who, act.clone()), reject, "{who} {act:?}"),
        None => drop(w.ok(who, act.clone())),
    }
}

#[test]
fn a_bond_goes_in_waits_and_comes_out() {
    let mut w = World::new();
    let none = Some(Reject::not_found("bond"));
    let idle = Some(Reject::wrong_state("bond", "not unbonding"));
    let zero = Some(Reject::ZeroAmount);
    let broke = Some(Reject::InsufficientFunds { needed: usd(1_001), available: usd(1_000) });
    // (act, refusal, at stake after, on its way out after, bob's free usd after)
    let table = [
        (unbond(usd(1)), none, 0, vec![], 1_000),
        (Action::BondWithdraw {}, idle.clone(), 0, vec![], 1_000),
        (add(usd(0)), zero.clone(), 0, vec![], 1_000),
        (add(usd(1_001)), broke, 0, vec![], 1_000),
        (add(usd(9)), None, 9, vec![], 991),
        (unbond(usd(0)), zero, 9, vec![], 991),
        (unbond(usd(10)), short(usd(10), usd(9)), 9, vec![], 991),
        (unbond(usd(4)), None, 5, vec![4], 991),
        (unbond(usd(6)), short(usd(6), usd(5)), 5, vec![4], 991),
    ];
    for (act, refusal, amount, parts, free) in table {
        play(&mut w, "bob", &act, refusal);
        let bond = w.bond_of("bob");
        let out: Vec<Amount> = bond.unbonding.iter().map(|part| part.amount).collect();
        assert_eq!((bond.amount, w.usd_of("bob")), (usd(amount), usd(free)), "{act:?}");
        assert_eq!(out, parts.into_iter().map(usd).collect::<Vec<_>>(), "{act:?}");
    }
    w.pass(1, 10_000);
    w.ok("bob", unbond(usd(3)));
    // Each part is due ten minutes after it began, and not a millisecond earlier.
    let [first, second] = w.bond_of("bob").unbonding[..] else { panic!() };
    assert_eq!(second, Unbonding { amount: usd(3), until: w.head().now.after(Millis(600_000)) });
    assert!(first.until < second.until);
    for (part, bob) in [(first, 995), (second, 998)] {
        w.pass(1, part.until.0 - w.head().now.0 - 501);
        let now = w.head().now.after(Millis(500));
        let early = Reject::TooEarly { from: part.until, now };
        assert_eq!(w.refused("bob", Action::BondWithdraw {}), early);
        w.block(501, vec![("bob", Action::BondWithdraw {})]);
        assert_eq!(w.usd_of("bob"), usd(bob));
    }
    play(&mut w, "bob", &Action::BondWithdraw {}, idle);
    assert_eq!(w.bond_of("bob").amount, usd(2));
}

#[test]
fn an_active_provider_keeps_its_least_bond_and_one_that_leaves_need_not() {
    let mut w = World::new();
    w.provider("pat", "3.6");
    play(&mut w, "pat", &unbond(usd(391)), short(usd(391), usd(390)));
    play(&mut w, "pat", &unbond(usd(390)), None);
    assert_eq!(w.provider_of("pat").status, ProviderStatus::Active);
    w.ok("pat", Action::ProviderDrain {});
    let bond = w.bond_of("pat");
    assert_eq!((bond.amount, bond.unbonding.len()), (usd(0), 2));
    w.pass(1, 600_000);
    w.ok("pat", Action::BondWithdraw {});
    assert_eq!((w.usd_of("pat"), w.bond_of("pat").unbonding), (usd(1_000), vec![]));
    // One that never was active may take back all.
    w.ok("quin", add(usd(9)));
    w.ok("quin", Action::ProviderSet { profile: Default::default() });
    play(&mut w, "quin", &unbond(usd(9)), None);
}

#[test]
fn a_bond_unbonds_in_a_bounded_number_of_parts() {
    let mut w = World::new();
    w.provider("pat", "3.6");
    for _ in 0..16 {
        w.ok("pat", unbond(usd(1)));
    }
    let many = Reject::wrong_state("bond", "unbonding in too many parts");
    assert_eq!(w.refused("pat", unbond(usd(1))), many);
    w.ok("pat", Action::ProviderDrain {});
    assert_eq!(w.bond_of("pat").unbonding.len(), 17, "leaving is never refused");
    w.pass(1, 600_000);
    w.ok("pat", Action::BondWithdraw {});
    assert_eq!(w.usd_of("pat"), usd(1_000));
}

#[test]
fn what_unbonds_backs_nothing_and_is_not_slashed() {
    let mut w = World::with(&["val"], |params| params.slash_exit_bps = 10_000);
    w.provider("pat", "3.6");
    let escrow = w.open_escrow("ann", usd(10));
    let lease = w.active("ann", escrow, None);
    let pledge: Amount = "86.4".parse().unwrap();
    let free = usd(400).checked_sub(pledge).unwrap();
    let more = free.checked_add(nanos(1)).unwrap();
    play(&mut w, "pat", &unbond(more), short(more, free));
    play(&mut w, "pat", &unbond(free), None);
    let order = w.order_for(escrow, None, 1);
    let order = w.place("ann", order);
    assert_eq!(w.order(&order).status, OrderStatus::Open, "nothing is left to pledge");
    w.ok("pat", Action::LeaseClose { lease });
    let bond = w.bond_of("pat");
    assert_eq!((bond.amount, bond.pledged, bond.slashed), (usd(0), usd(0), pledge));
    assert_eq!(bond.unbonding[0].amount, free);
    assert_eq!(w.provider_of("pat").status, ProviderStatus::Registered);
    w.pass(1, 600_000);
    w.ok("pat", Action::BondWithdraw {});
    let earned = w.provider_of("pat").paid;
    let all = usd(600).checked_add(free).unwrap().checked_add(earned).unwrap();
    assert_eq!(w.usd_of("pat"), all);
}

#[test]
fn a_duty_lives_by_its_table() {
    let mut w = World::with(&["val"], |params| params.auditor_bond_min = usd(5));
    let field = Some(Reject::bad_field("name"));
    let missing = Some(Reject::not_found("registration"));
    // (act, refusal, pledged after)
    let table = [
        (service("gate", usd(1)), short(usd(1), usd(0)), 0),
        (add(usd(10)), None, 0),
        (service("", usd(1)), field.clone(), 0),
        (service(&"n".repeat(65), usd(1)), field, 0),
        (service("gate", usd(0)), Some(Reject::ZeroAmount), 0),
        (service("gate", usd(11)), short(usd(11), usd(10)), 0),
        (service("gate", usd(4)), None, 4),
        (service("gate", usd(4)), Some(Reject::Duplicate), 4),
        (service("gate", usd(3)), Some(Reject::Duplicate), 4),
        (service("gate", usd(11)), short(usd(7), usd(6)), 4),
        (service("gate", usd(5)), None, 5),
        (service("auditor", usd(1)), None, 6),
        (Action::AuditorLeave {}, missing.clone(), 6),
        (Action::AuditorRegister {}, short(usd(5), usd(4)), 6),
        (add(usd(1)), None, 6),
        (Action::AuditorRegister {}, None, 11),
        (Action::AuditorRegister {}, Some(Reject::Duplicate), 11),
        (unbond(nanos(1)), short(nanos(1), usd(0)), 11),
        (end("none"), missing, 11),
        (end("gate"), None, 11),
        (end("gate"), leaving(), 11),
        (service("gate", usd(2)), None, 11),
        (end("gate"), None, 11),
        (Action::AuditorLeave {}, None, 11),
        (Action::AuditorLeave {}, leaving(), 11),
        (unbond(nanos(1)), short(nanos(1), usd(0)), 11),
    ];
    for (act, refusal, pledged) in table {
        play(&mut w, "eve", &act, refusal);
        assert_eq!(w.bond_of("eve").pledged, usd(pledged), "{act:?}");
    }
    let duties = view::duties(&w.state, &id("eve"));
    let gate = duties.iter().find(|duty| duty.kind == DutyKind::Service("gate".into())).unwrap();
    assert_eq!(gate.pledge, usd(5), "coming back keeps what was pledged");
    let until = gate.leaving.unwrap();
    // The block's end frees what was left long enough ago, the one after the other.
    let wait = until.0 - w.head().now.0 - 1;
    assert_eq!(w.pass(1, wait), []);
    let ended = |duty| Event::DutyEnded { account: id("eve"), duty };
    assert_eq!(w.pass(1, 1), [ended(DutyKind::Service("gate".into()))]);
    assert_eq!(w.bond_of("eve").pledged, usd(6));
    assert_eq!(w.pass(1, 1_000), [ended(DutyKind::Auditor)]);
    assert_eq!(w.bond_of("eve").pledged, usd(1));
    assert_eq!(view::auditors(&w.state), []);
    play(&mut w, "eve", &unbond(usd(10)), None);
}

#[test]
fn an_account_registers_a_bounded_number_of_services() {
    let mut w = World::new();
    w.ok("eve", add(usd(20)));
    for number in 0..16 {
        w.ok("eve", service(&number.to_string(), usd(1)));
    }
    let many = Reject::wrong_state("registration", "one of too many");
    assert_eq!(w.refused("eve", service("16", usd(1))), many);
    w.ok("eve", service("3", usd(2)));
}

#[test]
fn duties_share_one_bond_up_to_its_size_and_never_beyond() {
    let mut w = World::new();
    w.provider("pat", "0.36");
    let escrow = w.open_escrow("ann", usd(10));
    // 400 usd: 100 for the auditor, 282 for a service, so two leases of 8.64 usd fit.
    w.ok("pat", Action::AuditorRegister {});
    w.ok("pat", service("gate", usd(282)));
    let order = w.order_for(escrow, None, 3);
    let order = w.place("ann", order);
    let leases = w.order(&order).leases;
    assert_eq!((leases.len(), w.order(&order).status), (2, OrderStatus::Open));
    let free: Amount = "0.72".parse().unwrap();
    assert_eq!(view::bond(&w.state, &id("pat")).free(), free);
    play(&mut w, "pat", &service("relay", usd(1)), short(usd(1), free));
    play(&mut w, "pat", &unbond(usd(1)), short(usd(1), free));
    // What one duty loses, no other does.
    w.ok("pat", Action::LeaseClose { lease: leases[0] });
    let bond = w.bond_of("pat");
    let lost: Amount = "0.432".parse().unwrap();
    assert_eq!((bond.slashed, bond.amount), (lost, usd(400).checked_sub(lost).unwrap()));
    let pledges: Vec<Amount> =
        view::duties(&w.state, &id("pat")).iter().map(|duty| duty.pledge).collect();
    assert!(pledges.contains(&usd(100)) && pledges.contains(&usd(282)), "{pledges:?}");
    // The rest of the order gets what became free.
    assert_eq!(w.order(&order).status, OrderStatus::Leased);
    // Draining unbonds what no duty holds, once the leases are gone.
    w.ok("pat", Action::ProviderDrain {});
    for lease in w.order(&order).leases {
        if w.lease(&lease).status.is_open() {
            w.ok("ann", Action::LeaseClose { lease });
        }
    }
    let bond = w.bond_of("pat");
    assert_eq!((bond.amount, bond.pledged), (usd(382), usd(382)));
    assert_eq!(bond.unbonding[0].amount, usd(18).checked_sub(lost).unwrap());
    w.pass(1, 600_000);
    w.ok("pat", Action::BondWithdraw {});
    assert_eq!(w.provider_of("pat").status, ProviderStatus::Gone);
    assert_eq!(view::auditors(&w.state).len(), 1, "still an auditor");
}
