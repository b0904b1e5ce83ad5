use super::*;
use crate::{MemoryBook, Prices, Spread, testing::*};
use proptest::{prelude::*, test_runner::RngSeed};

/// Who won, as provider numbers, in the order of the grants.
fn winners(cleared: &Cleared) -> Vec<u8> {
    cleared.placements.iter().map(|placement| placement.host.provider.as_bytes()[0]).collect()
}

fn book(hosts: impl IntoIterator<Item = HostView>) -> MemoryBook {
    hosts.into_iter().collect()
}

#[test]
fn the_cheapest_host_wins_and_is_paid_its_offer() {
    let book = book([host(1, "0.3"), host(2, "0.1"), host(3, "0.2")]);
    let cleared = clear(&book, &order(1), &rules(), NOW);
    assert_eq!(winners(&cleared), [2]);
    assert_eq!(cleared.placements[0].rate, rate("0.1"));
    assert_eq!(cleared.placements[0].pledge, usd("1"));
    assert_eq!((cleared.visited, cleared.stopped), (1, Stop::NothingCheaper));
}

#[test]
fn a_host_serves_several_leases_until_its_capacity_is_used_up() {
    let book = book([host(1, "0.1"), host(2, "0.2")]);
    assert_eq!(winners(&clear(&book, &order(6), &rules(), NOW)), [1, 1, 1, 1, 2, 2]);
    assert_eq!(winners(&clear(&book, &order(9), &rules(), NOW)).len(), 8);
}

type Change = fn(&mut Terms, &mut HostView);

#[test]
fn each_constraint_excludes_the_cheapest_host() {
    let changes: [(&str, Change); 13] = [
        ("cpu", |terms, host| {
            terms.request.cpu_milli = 3000;
            host.free.cpu_milli = 2999;
        }),
        ("memory", |terms, host| {
            terms.request.memory_bytes = 10;
            host.free.memory_bytes = 9;
        }),
        ("disk", |terms, host| {
            terms.request.disk_bytes = 10;
            host.free.disk_bytes = 9;
        }),
        ("bandwidth", |terms, host| {
            terms.request.bandwidth_bps = 10;
            host.free.bandwidth_bps = 9;
        }),
        ("region", |terms, host| {
            terms.regions = vec!["eu".into()];
            host.region = "us".into();
        }),
        ("attribute", |terms, _| drop(terms.attributes.insert("tier".into(), "1".into()))),
        ("provider", |terms, _| terms.providers = vec![provider(2)]),
        ("exclude", |terms, _| terms.exclude = vec![provider(1)]),
        ("rate", |_, host| host.prices.memory_gib = Rate::MAX),
        ("min bond", |terms, host| {
            terms.min_bond = usd("2");
            host.bond_free = usd("2.999999999");
        }),
        ("pledge", |_, host| host.bond_free = usd("0.999999999")),
        ("risk", |terms, host| {
            terms.max_risk_bps = 500;
            host.risk_bps = 501;
        }),
        ("duration", |terms, host| {
            terms.min_duration = Millis(1000);
            host.offered_until = NOW.after(Millis(999));
        }),
    ];
    for (what, change) in changes {
        let (mut terms, mut cheap, mut dear) = (order(1), host(1, "0.1"), host(2, "0.2"));
        terms.request.memory_bytes = 1;
        dear.attributes.insert("tier".into(), "1".into());
        assert_eq!(
            winners(&clear(&book([cheap.clone(), dear.clone()]), &terms, &rules(), NOW)),
            [1],
            "{what}: before"
        );
        change(&mut terms, &mut cheap);
        let cleared = clear(&book([cheap, dear]), &terms, &rules(), NOW);
        assert_eq!(winners(&cleared), [2], "{what}");
    }
}

#[test]
fn constraints_hold_at_their_exact_limits() {
    let mut exact = host(1, "0.25");
    exact.bond_free = usd("3");
    exact.risk_bps = 500;
    exact.free.cpu_milli = 4000;
    exact.offered_until = NOW.after(Millis(1000));
    let mut terms = order(1);
    terms.request.cpu_milli = 4000;
    terms.max_rate = rate("1");
    terms.min_bond = usd("2");
    terms.max_risk_bps = 500;
    terms.min_duration = Millis(1000);
    assert_eq!(winners(&clear(&book([exact]), &terms, &rules(), NOW)), [1]);
}

#[test]
fn risk_raises_the_score_but_not_the_price() {
    let mut risky = host(1, "0.10");
    risky.risk_bps = 2_001;
    let book = book([risky, host(2, "0.12")]);
    let cleared = clear(&book, &order(5), &rules(), NOW);
    assert_eq!(winners(&cleared), [2, 2, 2, 2, 1]);
    assert_eq!(cleared.placements[4].rate, rate("0.10"));
    assert_eq!(cleared.placements[4].risk_bps, 2_001);
}

#[test]
fn equal_scores_go_by_host_id() {
    let mut second = host(1, "0.1");
    second.id.index = 1;
    let book = book([host(2, "0.1"), second.clone(), host(1, "0.1")]);
    let cleared = clear(&book, &order(12), &rules(), NOW);
    let hosts: Vec<HostId> = cleared.placements.iter().map(|placement| placement.host).collect();
    assert_eq!(hosts[0], host(1, "0.1").id);
    assert_eq!(hosts[4], second.id);
    assert_eq!(hosts[8], host(2, "0.1").id);
}

#[test]
fn a_gang_gets_all_or_nothing() {
    let book = book([host(1, "0.1"), host(2, "0.2")]);
    let gang = |count| Terms { gang: true, ..order(count) };
    assert_eq!(clear(&book, &gang(8), &rules(), NOW).placements.len(), 8);
    assert_eq!(clear(&book, &gang(9), &rules(), NOW).placements, []);
}

#[test]
fn spread_limits_hold_on_providers_hosts_and_regions() {
    let mut second = host(1, "0.1");
    second.id.index = 1;
    let mut abroad = host(3, "0.3");
    abroad.region = "us".into();
    let book = book([host(1, "0.1"), second, host(2, "0.2"), abroad]);
    let cases = [
        (Spread { per_provider: 1, ..Spread::default() }, vec![1, 2, 3]),
        (Spread { per_host: 1, ..Spread::default() }, vec![1, 1, 2, 3]),
        (Spread { per_region: 2, ..Spread::default() }, vec![1, 1, 3, 3]),
        (Spread { per_region: 2, per_provider: 1, per_host: 0 }, vec![1, 2, 3]),
    ];
    for (spread, expected) in cases {
        let terms = Terms { spread, ..order(5) };
        assert_eq!(winners(&clear(&book, &terms, &rules(), NOW)), expected, "{spread:?}");
    }
}

#[test]
fn one_bond_is_not_pledged_twice_by_one_order() {
    let mut first = host(1, "0.1");
    first.bond_free = usd("3");
    let mut second = first.clone();
    second.id.index = 1;
    let book = book([first, second]);
    assert_eq!(clear(&book, &order(8), &rules(), NOW).placements.len(), 3);
    let terms = Terms { min_bond: usd("0.5"), ..order(8) };
    assert_eq!(clear(&book, &terms, &rules(), NOW).placements.len(), 2);
    let dear = Rules { pledge_hours: 20, ..rules() };
    assert_eq!(clear(&book, &order(8), &dear, NOW).placements.len(), 1, "2 usd each");
}

#[test]
fn gpus_of_a_lease_are_of_one_kind_and_the_smallest_that_fits() {
    let mut mixed = host(1, "0");
    mixed.prices.gpu = rate("2");
    mixed.free.gpus = vec![gpu("h200", 141, 2), gpu("h100", 80, 3)];
    let mut terms = order(9);
    terms.max_rate = rate("4");
    terms.request.gpu = want_gpu("", 2);
    terms.request.cpu_milli = 1;
    let cleared = clear(&book([mixed]), &terms, &rules(), NOW);
    let models: Vec<_> =
        cleared.placements.iter().map(|placed| placed.takes.gpus[0].model.as_str()).collect();
    assert_eq!(models, ["h100", "h200"]);
    assert!(cleared.placements.iter().all(|placed| placed.rate == rate("4")));
}

#[test]
fn a_named_gpu_walks_only_its_own_class() {
    let with = |number, price: &str, model: &str| {
        let mut host = host(number, "0");
        host.prices.gpu = rate(price);
        host.free.gpus = vec![gpu(model, 80, 1)];
        host
    };
    let book = book([host(1, "0"), with(2, "0.1", "a100"), with(3, "0.3", "h100"), host(4, "0")]);
    let mut terms = order(9);
    terms.request.gpu = want_gpu("h100", 1);
    let cleared = clear(&book, &terms, &rules(), NOW);
    assert_eq!((winners(&cleared), cleared.visited), (vec![3], 1));
    terms.request.gpu = want_gpu("", 1);
    let cleared = clear(&book, &terms, &rules(), NOW);
    assert_eq!((winners(&cleared), cleared.visited), (vec![2, 3], 2));
}

#[test]
fn the_walk_stops_at_the_price_limit_and_at_the_visit_limit() {
    let book = book((1..=9).map(|number| host(number, &format!("0.{number}"))));
    let terms = Terms { max_rate: rate("0.35"), ..order(100) };
    let cleared = clear(&book, &terms, &rules(), NOW);
    assert_eq!((cleared.visited, cleared.stopped), (3, Stop::NothingCheaper));
    let few = Rules { visit_max: 2, ..rules() };
    let cleared = clear(&book, &terms, &few, NOW);
    assert_eq!((cleared.visited, cleared.stopped), (2, Stop::VisitLimit));
    assert_eq!(cleared.placements.len(), 8);
    let all = clear(&book, &order(100), &Rules { visit_max: 9, ..rules() }, NOW);
    assert_eq!((all.visited, all.stopped), (9, Stop::Exhausted));
}

#[test]
fn a_walk_goes_on_while_an_equal_score_could_still_come() {
    // The second host is dearer by the thread but not for the whole request, which rounds up.
    let mut terms = order(1);
    terms.request.cpu_milli = 1;
    let mut first = host(9, "0.000000001");
    first.free.cpu_milli = 1;
    let second = host(1, "0.000000002");
    let cleared = clear(&book([first, second]), &terms, &rules(), NOW);
    assert_eq!(winners(&cleared), [1], "same score, lower id");
}

#[test]
fn prices_beyond_arithmetic_lose_without_a_panic() {
    let mut absurd = host(1, "0");
    absurd.prices =
        Prices { cpu: Rate::MAX, memory_gib: Rate::MAX, disk_gib: Rate::MAX, gpu: Rate::MAX };
    absurd.risk_bps = u32::MAX;
    absurd.bond_free = Amount::MAX;
    absurd.offered_until = Millis::MAX;
    let mut terms = order(2);
    terms.max_rate = Rate::MAX;
    terms.request.memory_bytes = u64::MAX;
    absurd.free.memory_bytes = u64::MAX;
    let mut normal = host(2, "0.5");
    normal.free.memory_bytes = u64::MAX;
    let cleared = clear(&book([absurd, normal]), &terms, &rules(), NOW);
    assert_eq!(winners(&cleared), [2]);
    terms.min_duration = Millis::MAX;
    assert_eq!(clear(&MemoryBook::default(), &terms, &rules(), Millis::MAX).placements, []);
}

#[test]
fn a_granted_lease_is_booked_off_capacity_and_bond() {
    let mut book = book([host(1, "0.1")]);
    for left in [3, 2, 1, 0] {
        let cleared = clear(&book, &order(1), &rules(), NOW);
        assert!(book.grant(&cleared.placements[0]));
        let host = book.get(&host(1, "0.1").id).unwrap();
        assert_eq!(host.free.cpu_milli, left * 1000);
        assert_eq!(host.bond_free, Amount::from_units(96 + left));
    }
    assert_eq!(clear(&book, &order(1), &rules(), NOW).placements, []);
}

/// The rule restated without a walk: one lease after the other goes to the host with the least
/// (score, id) of all those that can take one more.
fn brute_force(hosts: &[HostView], terms: &Terms, rules: &Rules) -> Vec<(HostId, Rate)> {
    let class = Class::of_request(&terms.request);
    let mut hosts: Vec<HostView> =
        hosts.iter().filter(|h| Class::of_host(&h.free).contains(&class)).cloned().collect();
    hosts.sort_by_key(|host| (class.unit_price(&host.prices), host.id));
    hosts.truncate(usize::try_from(rules.visit_max).unwrap());
    let mut granted: Vec<(HostId, Rate)> = Vec::new();
    let mut pledged: BTreeMap<AccountId, u128> = BTreeMap::new();
    let regions: BTreeMap<HostId, String> =
        hosts.iter().map(|host| (host.id, host.region.clone())).collect();
    while granted.len() < terms.count as usize {
        let taken = |same: &dyn Fn(&HostId) -> bool, limit: u32| {
            limit == 0 || granted.iter().filter(|(id, _)| same(id)).count() < limit as usize
        };
        let can_take = |host: &HostView| {
            let rate = host.prices.rate_for(&terms.request).unwrap();
            let pledge = rules.pledge(rate).unwrap();
            let locked = pledged.get(&host.id.provider).copied().unwrap_or(0);
            terms.request.fits(&host.free)
                && rate <= terms.max_rate
                && (terms.regions.is_empty() || terms.regions.contains(&host.region))
                && terms.attributes.iter().all(|(k, v)| host.attributes.get(k) == Some(v))
                && (terms.providers.is_empty() || terms.providers.contains(&host.id.provider))
                && !terms.exclude.contains(&host.id.provider)
                && host.bond_free.nanos() >= locked + pledge.nanos() + terms.min_bond.nanos()
                && (terms.max_risk_bps == 0 || host.risk_bps <= terms.max_risk_bps)
                && host.offered_until.0 >= NOW.0 + terms.min_duration.0
                && taken(&|id| *id == host.id, terms.spread.per_host)
                && taken(&|id| id.provider == host.id.provider, terms.spread.per_provider)
                && taken(&|id| regions[id] == host.region, terms.spread.per_region)
        };
        let score = |host: &HostView| {
            let rate = host.prices.rate_for(&terms.request).unwrap();
            rate.amount_per_hour().nanos() * u128::from(10_000 + host.risk_bps)
        };
        let best = (0..hosts.len())
            .filter(|at| can_take(&hosts[*at]))
            .min_by_key(|at| (score(&hosts[*at]), hosts[*at].id));
        let Some(best) = best else { break };
        let host = &mut hosts[best];
        let rate = host.prices.rate_for(&terms.request).unwrap();
        let takes = terms.request.allot(&host.free).unwrap();
        host.free = capacity::checked_sub(&host.free, &takes).unwrap();
        *pledged.entry(host.id.provider).or_default() += rules.pledge(rate).unwrap().nanos();
        granted.push((host.id, rate));
    }
    if terms.gang && granted.len() < terms.count as usize { Vec::new() } else { granted }
}

prop_compose! {
    fn any_host()(
        owner in 0u8..4, index in 0u32..3, region in 0u8..3, tier in 0u8..3,
        cpu in 0u64..6, memory in 0u64..6, gpus in prop::collection::vec((0u8..2, 0u32..4), 0..3),
        prices in prop::array::uniform3(0u128..6), bond in 0u128..12, risk in 0u32..4,
        offered in 0u64..4,
    ) -> HostView {
        let price = |units: u128| Rate::per_hour(Amount::from_nanos(units));
        HostView {
            id: HostId { provider: provider(owner), index },
            region: format!("r{region}"),
            attributes: [("tier".to_owned(), tier.to_string())].into(),
            free: Resources {
                cpu_milli: cpu * 700,
                memory_bytes: memory << 29,
                gpus: gpus
                    .into_iter()
                    .map(|(model, count)| gpu(&format!("m{model}"), 10 + u64::from(model), count))
                    .collect(),
                ..Resources::default()
            },
            prices: Prices {
                cpu: price(prices[0]),
                memory_gib: price(prices[1]),
                disk_gib: Rate::ZERO,
                gpu: price(prices[2]),
            },
            bond_free: Amount::from_nanos(bond),
            risk_bps: risk * 3_000,
            offered_until: Millis(NOW.0 + offered),
        }
    }
}

prop_compose! {
    fn any_terms()(
        cpu in 0u64..4, memory in 0u64..3, gpu in prop::option::of((0u8..3, 1u32..3)),
        count in 0u32..8, gang in any::<bool>(), spread in prop::array::uniform3(0u32..4),
        regions in prop::collection::vec(0u8..3, 0..3), tier in prop::option::of(0u8..3),
        allow in prop::collection::vec(0u8..4, 0..3), exclude in prop::collection::vec(0u8..4, 0..2),
        bond in 0u128..4, risk in 0u32..3, max_rate in 0u128..40, duration in 0u64..3,
    ) -> Terms {
        let mut terms = order(count);
        terms.request.cpu_milli = cpu * 500;
        terms.request.memory_bytes = memory << 29;
        if let Some((model, count)) = gpu {
            let model = if model == 2 { String::new() } else { format!("m{model}") };
            terms.request.gpu = want_gpu(&model, count);
        }
        terms.gang = gang;
        terms.spread =
            Spread { per_provider: spread[0], per_host: spread[1], per_region: spread[2] };
        terms.regions = regions.into_iter().map(|region| format!("r{region}")).collect();
        terms.attributes = tier.map(|tier| ("tier".into(), tier.to_string())).into_iter().collect();
        terms.providers = allow.into_iter().map(provider).collect();
        terms.exclude = exclude.into_iter().map(provider).collect();
        terms.min_bond = Amount::from_nanos(bond);
        terms.max_risk_bps = risk * 3_000;
        terms.max_rate = Rate::per_hour(Amount::from_nanos(max_rate));
        terms.min_duration = Millis(duration);
        terms
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn clearing_equals_brute_force(
        hosts in prop::collection::vec(any_host(), 0..12),
        terms in any_terms(),
        visit_max in prop_oneof![Just(u32::MAX), 0u32..8],
        pledge_min in 0u128..3,
    ) {
        let rules =
            Rules { visit_max, pledge_min: Amount::from_nanos(pledge_min), pledge_hours: 1 };
        let mut book = book(hosts);
        let hosts: Vec<HostView> = book.walk(&Class::Cpu).collect();
        let cleared = clear(&book, &terms, &rules, NOW);
        let granted: Vec<_> =
            cleared.placements.iter().map(|placed| (placed.host, placed.rate)).collect();
        prop_assert_eq!(granted, brute_force(&hosts, &terms, &rules));
        prop_assert!(cleared.visited <= visit_max);
        prop_assert_eq!(&cleared, &clear(&book, &terms, &rules, NOW));
        for placement in &cleared.placements {
            prop_assert!(book.grant(placement), "a host was oversold");
        }
    }
}
