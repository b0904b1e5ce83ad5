use super::*;
use crate::{
    Class, HostView, Interruptible, MemoryBook, Prices, Spread, Verifies, capacity, testing::*,
};
use muster_types::AccountId;
use std::{collections::BTreeMap, sync::Arc};

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
    let changes: [(&str, Change); 20] = [
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
            of(host).region = "us".into();
        }),
        ("attribute", |terms, _| drop(terms.attributes.insert("tier".into(), "1".into()))),
        ("provider", |terms, _| terms.providers = vec![provider(2)]),
        ("exclude", |terms, _| terms.exclude = vec![provider(1)]),
        ("rate", |_, host| host.prices.memory_gib = Rate::MAX),
        ("min bond", |terms, host| {
            terms.min_bond = usd("2");
            of(host).bond_free = usd("2.999999999");
        }),
        ("pledge", |_, host| of(host).bond_free = usd("0.999999999")),
        ("risk", |terms, host| {
            terms.max_risk_bps = 500;
            of(host).risk_bps = 501;
        }),
        ("jurisdiction", |terms, host| {
            terms.jurisdictions = vec!["de".into()];
            of(host).jurisdiction = "us".into();
        }),
        ("undeclared jurisdiction", |terms, host| {
            terms.exclude_jurisdictions = vec!["us".into()];
            of(host).jurisdiction.clear();
        }),
        ("signed by any", |terms, _| terms.signed_by_any = vec![provider(8), provider(9)]),
        ("signed by all", |terms, _| terms.signed_by_all = vec![provider(9)]),
        ("verifies", |terms, _| terms.verifies = [Verifies::Attest].into()),
        ("metered", |terms, _| terms.metered = true),
        ("fuel", |terms, host| {
            terms.metered = true;
            terms.min_fuel_per_s = 1_000;
            host.fuel_per_s = 999;
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
        dear.verifies.insert(Verifies::Attest);
        dear.fuel_per_s = 1_000;
        of(&mut dear).signed = [(provider(9), [("any".into(), "x".into())].into())].into();
        of(&mut cheap).jurisdiction = "de".into();
        of(&mut dear).jurisdiction = "de".into();
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
    of(&mut exact).bond_free = usd("3");
    of(&mut exact).risk_bps = 500;
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
    of(&mut risky).risk_bps = 2_001;
    let book = book([risky, host(2, "0.12")]);
    let cleared = clear(&book, &order(5), &rules(), NOW);
    assert_eq!(winners(&cleared), [2, 2, 2, 2, 1]);
    assert_eq!(cleared.placements[4].rate, rate("0.10"));
    assert_eq!(cleared.placements[4].risk_bps, 2_001);
}

#[test]
fn an_order_says_how_much_risk_weighs() {
    let mut risky = host(1, "0.10");
    of(&mut risky).risk_bps = 2_001;
    let book = book([risky, host(2, "0.12")]);
    // (weight, who wins a single lease): 0.10 is as much as 0.12 at 2,000 of premium.
    let table = [
        (None, 2),
        (Some(10_000), 2),
        (Some(9_995), 1),
        (Some(0), 1),
        (Some(crate::MAX_RISK_WEIGHT_BPS), 2),
    ];
    for (risk_weight_bps, winner) in table {
        let terms = Terms { risk_weight_bps, ..order(1) };
        assert_eq!(terms.check(), Ok(()));
        assert_eq!(winners(&clear(&book, &terms, &rules(), NOW)), [winner], "{risk_weight_bps:?}");
    }
    let beyond = Terms { risk_weight_bps: Some(crate::MAX_RISK_WEIGHT_BPS + 1), ..order(1) };
    assert_eq!(beyond.check(), Err("terms.risk_weight_bps"));
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
    of(&mut abroad).region = "us".into();
    let book = book([host(1, "0.1"), second, host(2, "0.2"), abroad]);
    let cases = [
        (Spread { per_provider: 1, ..Spread::default() }, vec![1, 2, 3]),
        (Spread { per_host: 1, ..Spread::default() }, vec![1, 1, 2, 3]),
        (Spread { per_region: 2, ..Spread::default() }, vec![1, 1, 3, 3]),
        (Spread { per_region: 2, per_provider: 1, ..Spread::default() }, vec![1, 2, 3]),
    ];
    for (spread, expected) in cases {
        let terms = Terms { spread, ..order(5) };
        assert_eq!(winners(&clear(&book, &terms, &rules(), NOW)), expected, "{spread:?}");
    }
}

#[test]
fn one_bond_is_not_pledged_twice_by_one_order() {
    let mut first = host(1, "0.1");
    of(&mut first).bond_free = usd("3");
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
    of(&mut absurd).risk_bps = u32::MAX;
    of(&mut absurd).bond_free = Amount::MAX;
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
        assert_eq!(host.provider.bond_free, Amount::from_units(96 + left));
    }
    assert_eq!(clear(&book, &order(1), &rules(), NOW).placements, []);
}

#[test]
fn full_hosts_are_not_walked() {
    let mut full = host(1, "0.1");
    full.free.cpu_milli = 0;
    let mut nearly = host(2, "0.1");
    nearly.free.cpu_milli = 1_999;
    let book = book([full, nearly, host(3, "0.2")]);
    let mut terms = order(1);
    terms.request.cpu_milli = 2_000;
    let cleared = clear(&book, &terms, &rules(), NOW);
    assert_eq!((winners(&cleared), cleared.visited), (vec![3], 1));
}

#[test]
fn so_many_more_hosts_are_compared_once_the_order_could_be_filled() {
    let mut hosts: Vec<_> = (1..=9).map(|number| host(number, "0.1")).collect();
    for (host, risk) in hosts.iter_mut().zip([900, 800, 700, 600, 500, 400, 300, 200, 100]) {
        of(host).risk_bps = risk;
    }
    let book = book(hosts);
    let ahead = |look_ahead| Rules { look_ahead, ..rules() };
    let cases = [(0, 1, 1), (1, 2, 2), (3, 4, 4), (7, 8, 8), (8, 9, 9), (20, 9, 9)];
    for (look_ahead, winner, visited) in cases {
        let cleared = clear(&book, &order(4), &ahead(look_ahead), NOW);
        assert_eq!((winners(&cleared), cleared.visited), (vec![winner; 4], visited));
        let stop = if look_ahead < 9 { Stop::EnoughSeen } else { Stop::Exhausted };
        assert_eq!(cleared.stopped, stop);
    }
}

/// Host 0 of provider `number`: room for one lease, at these prices of a thread and of a GiB.
fn with_memory(number: u8, cpu: &str, memory: &str) -> HostView {
    let mut host = host(number, cpu);
    host.free.cpu_milli = 1_000;
    host.prices.memory_gib = rate(memory);
    host
}

#[test]
fn a_cheap_thread_before_dear_memory_takes_no_order_near_its_limit() {
    let dear = (1..=9).map(|number| with_memory(number, "0.009", "0.99"));
    let honest = (11..=60).map(|number| with_memory(number, "0.01", "0.001"));
    let mut hosts: Vec<HostView> = dear.chain(honest).collect();
    // A place of its own for each kind.
    hosts.iter_mut().take(9).for_each(|host| of(host).region = "dear".into());
    let book = book(hosts);
    let with = |look_ahead, slack, visit_max| Rules {
        look_ahead,
        look_ahead_slack_bps: slack,
        visit_max,
        ..Rules::default()
    };
    let two = 10_000;
    // Look ahead, slack, most visits; leases; the worst rate, visits.
    let table = [
        // At the first check all seen are dear, or too many; at the next enough are not.
        (8, two, 1_024, 1, "0.011", 17),
        (8, two, 1_024, 8, "0.011", 24),
        // Checks at every host end the walk at the first that is cheap.
        (1, two, 1_024, 1, "0.011", 10),
        (0, two, 1_024, 1, "0.011", 10),
        (0, two, 1_024, 3, "0.011", 12),
        (1_000, two, 1_024, 1, "0.011", 59),
        // 0.999 is paid where it is within 111 times 0.009, or no visit is left.
        (8, 109 * two, 1_024, 1, "0.011", 17),
        (8, 110 * two, 1_024, 1, "0.999", 9),
        (8, two, 9, 1, "0.999", 9),
        // 0.011 is a tenth above 0.01.
        (8, 1_000, 1_024, 1, "0.011", 17),
        (8, 999, 1_024, 1, "0.011", 59),
    ];
    for (look_ahead, slack, visit_max, count, worst, visited) in table {
        for together in [Together::No, Together::Region] {
            let mut terms = Terms { together, ..order(count) };
            terms.request.memory_bytes = crate::GIB;
            let rules = with(look_ahead, slack, visit_max);
            let what = format!("{look_ahead} {slack} {visit_max} {count} {together:?}");
            let cleared = clear(&book, &terms, &rules, NOW);
            let paid = cleared.placements.iter().map(|placement| placement.rate).max();
            assert_eq!(paid, Some(rate(worst)), "{what}");
            assert_eq!(cleared.visited, visited, "{what}");
            let explained = crate::explain(&book, &terms, &rules, NOW);
            assert_eq!(explained.visited, visited, "{what}");
            assert_eq!(explained.rates.iter().max(), paid.as_ref(), "{what}");
        }
    }
}

#[test]
fn a_walk_ends_early_where_everything_is_within_the_slack() {
    // Each a little dearer than the last, memory for as much again.
    let price = |number: u8| format!("0.0{:03}", 100 + u32::from(number));
    let hosts = (1..=60).map(|number| with_memory(number, &price(number), "0.01"));
    let book = book(hosts);
    let mut terms = order(1);
    terms.request.memory_bytes = crate::GIB;
    let rules = Rules::default();
    for (count, together, visited) in [
        (1, Together::No, 9),
        (5, Together::No, 13),
        (1, Together::Host, 9),
        (5, Together::Region, 13),
    ] {
        let terms = Terms { count, together, ..terms.clone() };
        let cleared = clear(&book, &terms, &rules, NOW);
        assert_eq!((cleared.visited, cleared.stopped), (visited, Stop::EnoughSeen));
        assert_eq!(cleared.placements[0].rate, rate("0.0201"));
    }
}

#[test]
fn limits_that_cross_do_not_leave_an_order_short_for_having_looked_too_little() {
    // In the order of the walk 1 and 2 fill it; ranked, 3 comes first and takes region and
    // operator from both.
    let mut hosts = [host(1, "0.10"), host(2, "0.10"), host(3, "0.11"), host(4, "0.12")];
    for (host, (operator, region, risk)) in
        hosts.iter_mut().zip([(1, "r1", 5_000), (2, "r2", 5_000), (2, "r1", 0), (4, "r4", 0)])
    {
        of(host).operator = provider(operator);
        of(host).region = region.into();
        of(host).risk_bps = risk;
    }
    let spread = Spread { per_region: 1, per_operator: 1, ..Spread::default() };
    let terms = Terms { spread, gang: true, ..order(2) };
    let book = book(hosts);
    let few = Rules { look_ahead: 1, ..rules() };
    let cleared = clear(&book, &terms, &few, NOW);
    assert_eq!((winners(&cleared), cleared.visited), (vec![3, 4], 4));
}

#[test]
fn an_interruptible_offer_is_taken_where_it_is_cheaper_and_accepted() {
    let offer = |price: &str| {
        let prices = Prices { cpu: rate(price), ..Prices::default() };
        Some(Interruptible { prices, notice_ms: Millis(30_000) })
    };
    let mut both = host(1, "0.3");
    both.interruptible = offer("0.1");
    let mut dearer = host(2, "0.2");
    dearer.interruptible = offer("0.2");
    let book = book([both, dearer]);
    let terms = Terms { interruptible: true, ..order(5) };
    let cleared = clear(&book, &terms, &rules(), NOW);
    assert_eq!(winners(&cleared), [1, 1, 1, 1, 2]);
    assert_eq!(cleared.placements[0].interruptible, Some(Millis(30_000)));
    assert_eq!(cleared.placements[0].rate, rate("0.1"));
    assert_eq!(cleared.placements[4].interruptible, None, "of equal prices the firm one");
    let firm = clear(&book, &order(5), &rules(), NOW);
    assert_eq!(winners(&firm), [2, 2, 2, 2, 1]);
    assert!(firm.placements.iter().all(|placed| placed.interruptible.is_none()));
}

#[test]
fn leases_together_go_to_the_place_where_all_of_them_cost_least() {
    let mut hosts = [host(1, "0.1"), host(2, "0.2"), host(3, "0.3"), host(4, "0.4")];
    for (host, region) in hosts.iter_mut().zip(["a", "b", "a", "b"]) {
        of(host).region = region.into();
    }
    hosts[3].id.provider = provider(2);
    hosts[3].id.index = 1;
    let book = book(hosts);
    let with = |together, count| Terms { together, max_rate: rate("9"), ..order(count) };
    let cases = [
        (Together::No, 6, vec![1, 1, 1, 1, 2, 2]),
        (Together::Region, 5, vec![1, 1, 1, 1, 3]),
        (Together::Provider, 4, vec![1; 4]),
        (Together::Provider, 5, vec![2; 5]),
        (Together::Host, 4, vec![1; 4]),
        (Together::Host, 5, vec![]),
        (Together::Region, 9, vec![]),
    ];
    for (together, count, expected) in cases {
        let cleared = clear(&book, &with(together, count), &rules(), NOW);
        assert_eq!(winners(&cleared), expected, "{count} {together:?}");
        assert_eq!(cleared.cursor, None);
    }
    let few = Rules { look_ahead: 0, ..rules() };
    let cleared = clear(&book, &with(Together::Host, 4), &few, NOW);
    assert_eq!((cleared.visited, cleared.stopped), (1, Stop::EnoughSeen));
}

#[test]
fn bids_are_cleared_by_the_same_rule_at_their_own_rates() {
    let bid = |number, price: &str, count| {
        let host = host(number, "9");
        BidView { host: Arc::new(host), rate: rate(price), count }
    };
    let mut risky = bid(3, "0.1", 9);
    of(Arc::make_mut(&mut risky.host)).risk_bps = 15_000;
    let bids = [bid(1, "0.3", 9), bid(2, "0.2", 1), risky, bid(1, "0.21", 2), bid(4, "1.1", 9)];
    let held = Held::default();
    let of_bids = |cleared: &Cleared| -> Vec<(u8, u32)> {
        let all = cleared.placements.iter();
        all.map(|placed| (placed.host.provider.as_bytes()[0], placed.bid.unwrap())).collect()
    };
    let cleared = clear_bids(&bids, &order(20), &rules(), NOW, &held);
    assert_eq!(
        of_bids(&cleared),
        [(2, 1), (1, 3), (1, 3), (3, 2), (3, 2), (3, 2), (3, 2), (1, 0), (1, 0)],
        "two bids of one host share its four threads; 4 asks too much"
    );
    assert_eq!(cleared.placements[0].rate, rate("0.2"));
    assert_eq!((cleared.visited, cleared.cursor), (5, None));
    let gang = Terms { gang: true, ..order(10) };
    assert!(clear_bids(&bids, &gang, &rules(), NOW, &held).placements.is_empty());
    let together = Terms { together: Together::Provider, ..order(4) };
    let cleared = clear_bids(&bids, &together, &rules(), NOW, &held);
    assert_eq!(of_bids(&cleared), [(3, 2), (3, 2), (3, 2), (3, 2)], "1.0 against 1.02");
    let mut held = Held::default();
    held.add(&bids[1].host.id, &bids[1].host.provider);
    let apart = Terms { spread: Spread { per_operator: 1, ..Spread::default() }, ..order(3) };
    assert_eq!(of_bids(&clear_bids(&bids, &apart, &rules(), NOW, &held)), [(1, 3), (3, 2)]);
}

#[test]
fn a_walk_goes_on_where_it_ended_and_counts_the_leases_held() {
    let book = book((1..=9).map(|number| host(number, &format!("0.{number}"))));
    let few = Rules { visit_max: 2, ..rules() };
    let spread = Spread { per_provider: 1, ..Spread::default() };
    let mut terms = Terms { spread, ..order(7) };
    let mut progress = Progress::default();
    let mut all = Vec::new();
    for expected in [vec![1, 2], vec![3, 4], vec![5, 6], vec![7]] {
        let cleared = clear_on(&book, &terms, &few, NOW, &progress);
        assert_eq!(winners(&cleared), expected);
        for placed in &cleared.placements {
            progress.held.add(&placed.host, &book.get(&placed.host).unwrap().provider);
        }
        terms.count -= u32::try_from(cleared.placements.len()).unwrap();
        progress.after = cleared.cursor;
        all.extend(winners(&cleared));
    }
    assert_eq!(all, [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(progress.after, None, "filled");
    let mut held = Progress::default();
    held.held.add(&host(1, "0").id, &host(1, "0").provider);
    assert_eq!(winners(&clear_on(&book, &terms, &few, NOW, &held)), [] as [u8; 0]);
    terms.count = 1;
    assert_eq!(winners(&clear_on(&book, &terms, &few, NOW, &held)), [2]);
    let gang = Terms { gang: true, ..order(99) };
    assert_eq!(clear(&book, &gang, &few, NOW).cursor, None);
}

mod brute;
