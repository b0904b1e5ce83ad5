use crate::{
    Action, ProviderProfile, Reject, limits,
    market::LeaseStatus,
    provider::{HostSpec, ProviderStatus},
    tests::{World, usd, world::id},
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
    use ProviderStatus::{Active, Draining, Gone, Registered};
    let mut w = World::new();
    let bond = |amount| Action::BondAdd { amount };
    let bond_min = Reject::InsufficientBond { needed: usd(10), available: usd(9) };
    let spec = w.spec("1");
    let host = || Action::HostSet { index: 0, spec: spec.clone() };
    let closed = |state: &'static str| Some(Reject::wrong_state("provider", state));
    let unbonding = |w: &World| match w.provider_of("pat").status {
        ProviderStatus::Unbonding { until } => until,
        other => panic!("{other:?}"),
    };
    // (act, refusal, status after, bond after, pat's free usd after)
    let table = [
        (bond(usd(1)), Some(Reject::not_found("provider")), None, 0, 1_000),
        (set(), None, Some(Registered), 0, 1_000),
        (bond(Amount::ZERO), Some(Reject::ZeroAmount), Some(Registered), 0, 1_000),
        (bond(usd(9)), None, Some(Registered), 9, 991),
        (host(), Some(bond_min), Some(Registered), 9, 991),
        (bond(usd(1)), None, Some(Active), 10, 990),
        (host(), None, Some(Active), 10, 990),
        (set(), None, Some(Active), 10, 990),
        (Action::BondWithdraw {}, closed("active"), Some(Active), 10, 990),
        (Action::ProviderDrain {}, None, None, 10, 990),
        (Action::ProviderDrain {}, closed("unbonding"), None, 10, 990),
        (set(), closed("unbonding"), None, 10, 990),
        (host(), closed("unbonding"), None, 10, 990),
        (bond(usd(1)), closed("unbonding"), None, 10, 990),
    ];
    for (act, refusal, status, bond, free) in table {
        match refusal {
            Some(reject) => assert_eq!(w.refused("pat", act.clone()), reject, "{act:?}"),
            None => drop(w.ok("pat", act.clone())),
        }
        if let Some(status) = status {
            assert_eq!(w.provider_of("pat").status, status, "{act:?}");
        }
        if let Some(record) = view::provider(&w.state, &id("pat")) {
            assert_eq!(record.bond, usd(bond), "{act:?}");
        }
        assert_eq!(w.usd_of("pat"), usd(free), "{act:?}");
    }
    assert_ne!(w.provider_of("pat").status, Draining, "nothing to drain");
    let until = unbonding(&w);
    let now = w.head().now.after(Millis(500));
    let early = Reject::TooEarly { from: until, now };
    assert_eq!(w.refused("pat", Action::BondWithdraw {}), early);
    w.pass(1, until.0 - w.head().now.0 - 500);
    w.ok("pat", Action::BondWithdraw {});
    assert_eq!(w.provider_of("pat").status, Gone);
    assert_eq!(w.usd_of("pat"), usd(1_000));
    assert_eq!(w.refused("pat", Action::ProviderDrain {}), closed("gone").unwrap());
    w.ok("pat", set());
    assert_eq!(w.provider_of("pat").status, Registered);
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
    let table: [(&str, Change); 7] = [
        ("profile.name", |profile| profile.name = "n".repeat(65)),
        ("profile.region", |profile| profile.region = "r".repeat(65)),
        ("profile.jurisdiction", |profile| profile.jurisdiction = "DE".into()),
        ("profile.jurisdiction", |profile| profile.jurisdiction = "deu".into()),
        ("profile.sockets", |profile| profile.sockets = vec![String::new(); 9]),
        ("profile.sockets", |profile| profile.sockets = vec!["s".repeat(129)]),
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
    let pat = w.provider_of("pat");
    // 86.4 usd were pledged: leaving early costs a twentieth.
    let lost: Amount = "4.32".parse().unwrap();
    assert_eq!((pat.status, pat.slashed), (ProviderStatus::Registered, lost));
    assert_eq!(pat.bond, usd(400).checked_sub(lost).unwrap());
    assert_eq!(hosts_on_offer(&w), 0);
    w.ok("pat", Action::BondAdd { amount: lost });
    assert_eq!(hosts_on_offer(&w), 1);
}
