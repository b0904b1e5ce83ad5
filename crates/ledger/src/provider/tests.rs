use crate::{
    Action, ProviderProfile, Reject, limits,
    market::LeaseStatus,
    provider::{HostSpec, ProviderStatus},
    tests::{
        World, usd,
        world::{STEP, id},
    },
    view,
};
use muster_market::{GIB, Interruptible, Prices, Terms};
use muster_types::*;

fn set() -> Action {
    Action::ProviderSet { profile: ProviderProfile::default() }
}

fn hosts_on_offer(w: &World) -> u64 {
    view::quote(&w.state, &Terms { count: 1, ..Terms::default() }).hosts
}

#[test]
fn a_provider_lives_by_its_table() {
    use ProviderStatus::{Active, Gone, Registered};
    let mut w = World::new();
    let bond = |amount| Action::BondAdd { amount };
    let unbond = |amount| Action::BondUnbond { amount };
    let short = |needed, available| Some(Reject::InsufficientBond { needed, available });
    let spec = w.spec("1");
    let host = || Action::HostSet { index: 0, spec: spec.clone() };
    let closed = |state: &'static str| Some(Reject::wrong_state("provider", state));
    let idle = Some(Reject::wrong_state("bond", "not unbonding"));
    let unbonding = |w: &World| match w.provider_of("pat").status {
        ProviderStatus::Unbonding { until } => until,
        other => panic!("{other:?}"),
    };
    // (act, refusal, status after, bond after, pat's free usd after)
    let table = [
        (Action::ProviderDrain {}, Some(Reject::not_found("provider")), None, 0, 1_000),
        (Action::ProviderUnjail {}, Some(Reject::not_found("provider")), None, 0, 1_000),
        (set(), None, Some(Registered), 0, 1_000),
        (bond(Amount::ZERO), Some(Reject::ZeroAmount), Some(Registered), 0, 1_000),
        (bond(usd(9)), None, Some(Registered), 9, 991),
        (host(), short(usd(10), usd(9)), Some(Registered), 9, 991),
        (bond(usd(1)), None, Some(Active), 10, 990),
        (host(), None, Some(Active), 10, 990),
        (set(), None, Some(Active), 10, 990),
        (unbond(usd(1)), short(usd(1), usd(0)), Some(Active), 10, 990),
        (Action::BondWithdraw {}, idle, Some(Active), 10, 990),
        (Action::ProviderUnjail {}, closed("active"), Some(Active), 10, 990),
        (Action::ProviderDrain {}, None, None, 0, 990),
        (Action::ProviderDrain {}, closed("unbonding"), None, 0, 990),
        (set(), closed("unbonding"), None, 0, 990),
        (host(), closed("unbonding"), None, 0, 990),
        (Action::ProviderUnjail {}, closed("unbonding"), None, 0, 990),
        (bond(usd(1)), None, None, 1, 989),
    ];
    for (act, refusal, status, bond, free) in table {
        match refusal {
            Some(reject) => assert_eq!(w.refused("pat", act.clone()), reject, "{act:?}"),
            None => drop(w.ok("pat", act.clone())),
        }
        if let Some(status) = status {
            assert_eq!(w.provider_of("pat").status, status, "{act:?}");
        }
        assert_eq!(w.bond_of("pat").amount, usd(bond), "{act:?}");
        assert_eq!(w.usd_of("pat"), usd(free), "{act:?}");
    }
    // Nothing was to drain, so it unbonds; what was added meanwhile does not.
    let until = unbonding(&w);
    let now = w.head().now.after(Millis(500));
    let early = Reject::TooEarly { from: until, now };
    assert_eq!(w.refused("pat", Action::BondWithdraw {}), early);
    w.pass(1, until.0 - w.head().now.0 - 500);
    w.ok("pat", Action::BondWithdraw {});
    assert_eq!(w.provider_of("pat").status, Gone);
    assert_eq!((w.usd_of("pat"), w.bond_of("pat").amount), (usd(999), usd(1)));
    assert_eq!(w.refused("pat", Action::ProviderDrain {}), closed("gone").unwrap());
    assert_eq!(w.refused("pat", Action::ProviderUnjail {}), closed("gone").unwrap());
    w.ok("pat", set());
    assert_eq!(w.provider_of("pat").status, Registered);
}

#[test]
fn a_bond_may_come_before_the_provider() {
    let mut w = World::new();
    w.ok("pat", Action::BondAdd { amount: usd(10) });
    assert_eq!(view::provider(&w.state, &id("pat")), None);
    w.ok("pat", set());
    assert_eq!(w.provider_of("pat").status, ProviderStatus::Active);
    // A provider without any bond unbonds too, and is gone with nothing to take back.
    w.ok("quin", set());
    w.ok("quin", Action::ProviderDrain {});
    w.pass(1, 600_000);
    w.ok("quin", Action::BondWithdraw {});
    assert_eq!(w.provider_of("quin").status, ProviderStatus::Gone);
    assert_eq!(w.usd_of("quin"), usd(1_000));
}

#[test]
fn a_draining_provider_keeps_its_leases_and_unbonds_after_the_last() {
    let mut w = World::new();
    w.provider("pat", "3.6");
    let escrow = w.open_escrow("ann", usd(10));
    let lease = w.active("ann", escrow, None);
    w.ok("pat", Action::ProviderDrain {});
    assert_eq!(w.provider_of("pat").status, ProviderStatus::Draining);
    assert_eq!(hosts_on_offer(&w), 0);
    w.beat(500);
    assert_eq!(w.lease(&lease).status, LeaseStatus::Active);
    w.ok("ann", Action::LeaseClose { lease });
    let until = w.head().now.after(Millis(600_000));
    assert_eq!(w.provider_of("pat").status, ProviderStatus::Unbonding { until });
}

#[test]
fn only_standing_offers_of_active_providers_are_on_the_market() {
    let mut w = World::new();
    w.provider("pat", "1");
    w.provider("quin", "1");
    assert_eq!(hosts_on_offer(&w), 2);
    let mut spec = w.spec("1");
    spec.offered_until = w.head().now.after(Millis(61_000));
    w.ok("pat", Action::HostSet { index: 1, spec });
    assert_eq!(hosts_on_offer(&w), 3);
    w.ok("quin", Action::ProviderDrain {});
    assert_eq!(hosts_on_offer(&w), 2);
    w.pass(1, 59_999);
    assert_eq!(hosts_on_offer(&w), 2);
    w.pass(1, 1);
    assert_eq!(hosts_on_offer(&w), 1, "the short offer has ended");
    w.ok("pat", Action::HostRemove { index: 0 });
    assert_eq!(hosts_on_offer(&w), 0);
}

#[test]
fn a_host_that_is_not_as_documented_is_refused() {
    type Change = fn(&mut HostSpec);
    let table: [(&str, Change); 13] = [
        ("spec.capacity", |spec| spec.capacity.cpu_milli = limits::UNITS + 1),
        ("spec.capacity", |spec| spec.capacity.gpus = vec![Gpu { count: 0, ..a_gpu() }]),
        ("spec.capacity", |spec| spec.capacity.gpus = vec![a_gpu(), a_gpu()]),
        ("spec.capacity", |spec| {
            spec.capacity.gpus = vec![Gpu { vendor: "NVIDIA".into(), ..a_gpu() }];
        }),
        ("spec.capacity", |spec| {
            spec.capacity.gpus = (0..17).map(|gib| Gpu { memory_bytes: gib, ..a_gpu() }).collect();
        }),
        ("spec.prices", |spec| spec.prices.cpu = Rate::per_hour(Amount::from_nanos(1_001))),
        ("spec.prices", |spec| spec.prices.gpu = Rate::MAX),
        ("spec.attributes", |spec| drop(spec.attributes.insert(String::new(), String::new()))),
        ("spec.attributes", |spec| drop(spec.attributes.insert("a".repeat(65), String::new()))),
        ("spec.offered_until", |spec| spec.offered_until = Millis(1_000_000)),
        ("spec.fuel_per_s", |spec| spec.fuel_per_s = limits::UNITS + 1),
        ("spec.interruptible", |spec| {
            let prices = Prices { cpu: Rate::MAX, ..Prices::default() };
            spec.interruptible = Some(Interruptible { prices, notice_ms: Millis(1) });
        }),
        ("spec.interruptible", |spec| {
            let notice_ms = Millis(limits::NOTICE_MAX.0 + 1);
            spec.interruptible = Some(Interruptible { notice_ms, ..Interruptible::default() });
        }),
    ];
    let mut w = World::new();
    w.provider("pat", "1");
    for (field, change) in table {
        let mut spec = w.spec("1");
        change(&mut spec);
        let refused = w.refused("pat", Action::HostSet { index: 1, spec });
        assert_eq!(refused, Reject::bad_field(field));
    }
    let mut spec = w.spec("1");
    spec.capacity.gpus = vec![a_gpu()];
    w.ok("pat", Action::HostSet { index: 1, spec });
}

fn a_gpu() -> Gpu {
    Gpu {
        vendor: "nvidia".into(),
        model: "h200".into(),
        memory_bytes: 141 * GIB,
        interface: "sxm".into(),
        count: 8,
    }
}

#[test]
fn a_profile_that_is_not_as_documented_is_refused() {
    type Change = fn(&mut ProviderProfile);
    let table: [(&str, Change); 8] = [
        ("profile.name", |profile| profile.name = "n".repeat(65)),
        ("profile.region", |profile| profile.region = "r".repeat(65)),
        ("profile.jurisdiction", |profile| profile.jurisdiction = "DE".into()),
        ("profile.jurisdiction", |profile| profile.jurisdiction = "deu".into()),
        ("profile.sockets", |profile| profile.sockets = vec![String::new(); 9]),
        ("profile.sockets", |profile| profile.sockets = vec!["s".repeat(129)]),
        ("profile.operator", |profile| profile.operator = Some(id("pat"))),
        ("profile.attributes", |profile| {
            profile.attributes = (0..65).map(|n| (n.to_string(), String::new())).collect();
        }),
    ];
    let mut w = World::new();
    for (field, change) in table {
        let mut profile = ProviderProfile::default();
        change(&mut profile);
        let refused = w.refused("pat", Action::ProviderSet { profile });
        assert_eq!(refused, Reject::bad_field(field));
    }
}

#[test]
fn an_offer_is_bound_for_its_least_lifetime_and_may_only_become_better() {
    type Change = fn(&mut HostSpec);
    let lower = || Interruptible { notice_ms: Millis(5_000), ..Interruptible::default() };
    let base = |w: &World| {
        let mut spec = w.spec("2");
        spec.capacity.gpus = vec![a_gpu()];
        spec.interruptible = Some(lower());
        spec.attributes = [("tier".to_owned(), "3".to_owned())].into();
        spec.offered_until = Millis(u64::MAX / 2);
        spec
    };
    // (change, whether a bound offer may change so)
    let table: [(Change, bool); 15] = [
        (|_| (), true),
        (|spec| spec.prices.cpu = Rate::per_hour(usd(1)), true),
        (|spec| spec.prices.cpu = Rate::per_hour(usd(3)), false),
        (|spec| spec.prices.gpu = Rate::per_hour(usd(1)), false),
        (|spec| spec.capacity.cpu_milli += 1, true),
        (|spec| spec.capacity.cpu_milli -= 1, false),
        (|spec| spec.capacity.gpus[0].count -= 1, false),
        (|spec| spec.capacity.gpus.clear(), false),
        (|spec| spec.offered_until = Millis(u64::MAX / 2 - 1), false),
        (|spec| spec.fuel_per_s -= 1, false),
        (|spec| spec.verifies.clear(), false),
        (|spec| spec.attributes.clear(), false),
        (|spec| spec.interruptible = None, false),
        (|spec| spec.interruptible.as_mut().unwrap().notice_ms.0 -= 1, false),
        (|spec| spec.interruptible.as_mut().unwrap().notice_ms.0 += 1, true),
    ];
    for (row, (change, may)) in table.into_iter().enumerate() {
        let mut w = World::with(&["val"], |params| params.offer_lifetime_min_ms = Millis(10_000));
        w.provider("pat", "1");
        let spec = base(&w);
        w.ok("pat", Action::HostSet { index: 1, spec });
        let from = w.head().now.after(Millis(10_000));
        let mut spec = base(&w);
        change(&mut spec);
        let set = Action::HostSet { index: 1, spec };
        if may {
            w.ok("pat", set);
            assert_eq!(w.host_of("pat", 1).bound_until, from.after(Millis(STEP)), "bound anew");
            continue;
        }
        let early = Reject::TooEarly { from, now: w.head().now.after(Millis(STEP)) };
        assert_eq!(w.refused("pat", set.clone()), early, "row {row}");
        assert_eq!(w.refused("pat", Action::HostRemove { index: 1 }), early, "row {row}");
        w.pass(19, STEP);
        w.ok("pat", if row.is_multiple_of(2) { set } else { Action::HostRemove { index: 1 } });
    }
}

#[test]
fn a_leased_host_neither_goes_nor_shrinks() {
    let mut w = World::new();
    w.provider("pat", "3.6");
    let escrow = w.open_escrow("ann", usd(10));
    let lease = w.grant("ann", escrow, None, 2)[0];
    assert_eq!(w.host_of("pat", 0).used.cpu_milli, 2_000);
    let mut spec = w.spec("3.6");
    spec.capacity.cpu_milli = 1_999;
    let refused = w.refused("pat", Action::HostSet { index: 0, spec: spec.clone() });
    assert_eq!(refused, Reject::wrong_state("host", "leased beyond that capacity"));
    let refused = w.refused("pat", Action::HostRemove { index: 0 });
    assert_eq!(refused, Reject::wrong_state("host", "leased"));
    assert_eq!(w.refused("quin", Action::HostRemove { index: 0 }), Reject::not_found("host"));
    w.ok("ann", Action::LeaseClose { lease });
    w.ok("pat", Action::HostSet { index: 0, spec });
    assert_eq!(w.host_of("pat", 0).used.cpu_milli, 1_000);
}

#[test]
fn a_provider_slashed_below_the_least_bond_takes_no_orders() {
    let mut w = World::with(&["val"], |params| params.provider_bond_min = usd(400));
    w.provider("pat", "3.6");
    let escrow = w.open_escrow("ann", usd(10));
    let lease = w.active("ann", escrow, None);
    w.ok("pat", Action::LeaseClose { lease });
    let (pat, bond) = (w.provider_of("pat"), w.bond_of("pat"));
    // 86.4 usd were pledged: leaving early costs a twentieth.
    let lost: Amount = "4.32".parse().unwrap();
    assert_eq!((pat.status, bond.slashed), (ProviderStatus::Registered, lost));
    assert_eq!(bond.amount, usd(400).checked_sub(lost).unwrap());
    assert_eq!(hosts_on_offer(&w), 0);
    w.ok("pat", Action::BondAdd { amount: lost });
    assert_eq!(hosts_on_offer(&w), 1);
}

/// A block in which pat leaves a lease of ann's early.
fn break_one(w: &mut World, escrow: EscrowId) {
    let [lease] = w.grant("ann", escrow, None, 1)[..] else { panic!() };
    w.ok("pat", Action::LeaseClose { lease });
}

#[test]
fn who_breaks_leases_in_a_row_is_jailed_and_what_it_serves_goes_on() {
    let mut w = World::with(&["val"], |params| {
        params.jail_breaks = 3;
        params.pledge_hours = 1;
    });
    w.provider("pat", "3.6");
    let escrow = w.open_escrow("ann", usd(10));
    let good = w.active("ann", escrow, None);
    let kept = w.active("ann", escrow, None);
    for row in [1, 2] {
        break_one(&mut w, escrow);
        assert_eq!(w.provider_of("pat").conduct.broken_in_a_row, row);
        w.beat(500);
    }
    // A lease that ends well begins the count anew.
    w.ok("ann", Action::LeaseClose { lease: good });
    assert_eq!(w.provider_of("pat").conduct.broken_in_a_row, 0);
    for row in [1, 2] {
        break_one(&mut w, escrow);
        assert_eq!(w.provider_of("pat").conduct.broken_in_a_row, row);
        w.beat(500);
        // One that earned nothing does not.
        let [unused] = w.grant("ann", escrow, None, 1)[..] else { panic!() };
        w.ok("ann", Action::LeaseClose { lease: unused });
        assert_eq!(w.provider_of("pat").conduct.broken_in_a_row, row);
        w.beat(500);
    }
    break_one(&mut w, escrow);
    let until = w.head().now.after(Millis(3_600_000));
    let pat = w.provider_of("pat");
    assert_eq!(pat.status, ProviderStatus::Jailed { until });
    assert_eq!((pat.conduct.jailed_until, pat.conduct.broken_in_a_row), (until, 0));
    assert_eq!(hosts_on_offer(&w), 0);
    w.beat(500);
    assert_eq!(w.lease(&kept).status, LeaseStatus::Active);
    // In jail: profile and hosts can be changed, bond does not buy freedom, nor does time alone.
    let jailed = Reject::TooEarly { from: until, now: w.head().now.after(Millis(500)) };
    assert_eq!(w.refused("pat", Action::ProviderUnjail {}), jailed);
    w.ok("pat", set());
    w.ok("pat", Action::BondAdd { amount: usd(10) });
    let spec = w.spec("3.6");
    w.ok("pat", Action::HostSet { index: 0, spec });
    let all = view::bond(&w.state, &id("pat")).free();
    w.ok("pat", Action::BondUnbond { amount: all });
    w.pass(1, 3_600_000);
    assert_eq!(w.provider_of("pat").status, ProviderStatus::Jailed { until });
    let available = w.bond_of("pat").amount;
    let poor = Reject::InsufficientBond { needed: usd(10), available };
    assert_eq!(w.refused("pat", Action::ProviderUnjail {}), poor);
    w.ok("pat", Action::BondAdd { amount: usd(10) });
    w.ok("pat", Action::ProviderUnjail {});
    assert_eq!(w.provider_of("pat").status, ProviderStatus::Active);
    assert_eq!(hosts_on_offer(&w), 1);
}

#[test]
fn jail_is_not_left_by_leaving_and_another_fault_begins_it_anew() {
    let mut w = World::with(&["val"], |params| {
        params.jail_breaks = 1;
        params.pledge_hours = 1;
    });
    w.provider("pat", "3.6");
    let escrow = w.open_escrow("ann", usd(10));
    let leases = w.grant("ann", escrow, None, 3);
    let leave = |lease: LeaseId| Action::LeaseClose { lease };
    w.ok("pat", leave(leases[0]));
    let first = w.provider_of("pat").conduct.jailed_until;
    w.ok("pat", leave(leases[1]));
    let until = first.after(Millis(500));
    assert_eq!(w.provider_of("pat").status, ProviderStatus::Jailed { until });
    // It drains; a fault on the way out is remembered, and what is left unbonds.
    w.ok("pat", Action::ProviderDrain {});
    assert_eq!(w.provider_of("pat").status, ProviderStatus::Draining);
    w.ok("pat", leave(leases[2]));
    let until = until.after(Millis(1_000));
    assert_eq!(w.provider_of("pat").conduct.jailed_until, until);
    assert!(matches!(w.provider_of("pat").status, ProviderStatus::Unbonding { .. }));
    w.pass(1, 600_000);
    w.ok("pat", Action::BondWithdraw {});
    w.ok("pat", Action::BondAdd { amount: usd(10) });
    assert_eq!(w.provider_of("pat").status, ProviderStatus::Gone);
    w.ok("pat", set());
    assert_eq!(w.provider_of("pat").status, ProviderStatus::Jailed { until });
    // It leaves again and comes back when the time is over.
    w.ok("pat", Action::ProviderDrain {});
    w.pass(1, 3_600_000);
    w.ok("pat", Action::BondWithdraw {});
    w.ok("pat", Action::BondAdd { amount: usd(10) });
    w.ok("pat", set());
    assert_eq!(w.provider_of("pat").status, ProviderStatus::Active);
}

#[test]
fn an_operator_is_who_both_sides_say() {
    let mut w = World::new();
    let says = |provider, affiliated| Action::AffiliateSet { provider: id(provider), affiliated };
    let names = |operator: Option<&str>| Action::ProviderSet {
        profile: ProviderProfile { operator: operator.map(id), ..Default::default() },
    };
    w.provider("pat", "1");
    let poor = Reject::InsufficientBond { needed: usd(10), available: usd(0) };
    let table = [
        ("eve", says("rob", true), Reject::not_found("provider")),
        ("eve", says("pat", true), poor),
        ("eve", says("pat", false), Reject::not_found("affiliation")),
        ("pat", says("pat", true), Reject::bad_field("provider")),
    ];
    for (who, act, reject) in table {
        assert_eq!(w.refused(who, act.clone()), reject, "{who} {act:?}");
    }
    w.ok("eve", Action::BondAdd { amount: usd(10) });
    w.ok("bob", Action::BondAdd { amount: usd(10) });
    // (who, act, pat's operator after)
    let table = [
        ("eve", says("pat", true), "pat"),
        ("pat", names(Some("bob")), "pat"),
        ("pat", names(Some("eve")), "eve"),
        ("bob", says("pat", true), "eve"),
        ("pat", names(Some("bob")), "bob"),
        ("bob", says("pat", false), "pat"),
        ("pat", names(Some("eve")), "eve"),
        ("pat", names(None), "pat"),
    ];
    for (who, act, operator) in table {
        w.ok(who, act.clone());
        assert_eq!(view::operator_of(&w.state, &id("pat")), id(operator), "{who} {act:?}");
    }
    assert_eq!(w.refused("eve", says("pat", true)), Reject::Duplicate);
}
