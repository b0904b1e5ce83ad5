use super::*;
use crate::{HostView, Interruptible, MemoryBook, Prices, Request, Verifies, testing::*};
use muster_types::Amount;

fn exclusion<'a>(explanation: &'a Explanation, constraint: &Constraint) -> &'a Exclusion {
    explanation
        .excluded
        .iter()
        .find(|exclusion| exclusion.constraint == *constraint)
        .unwrap_or_else(|| panic!("{constraint} excludes nothing in {explanation:?}"))
}

#[test]
fn each_constraint_counts_what_it_alone_excludes_and_what_it_excludes_at_all() {
    let mut far = host(4, "0.1");
    of(&mut far).region = "us".into();
    let mut far_and_dear = host(5, "0.9");
    of(&mut far_and_dear).region = "asia".into();
    let book: MemoryBook =
        [host(1, "0.1"), host(2, "0.2"), host(3, "0.7"), far, far_and_dear, host(6, "0.6")]
            .into_iter()
            .collect();
    let terms = Terms { regions: vec!["eu".into()], max_rate: rate("0.5"), ..order(2) };
    let explanation = explain(&book, &terms, &rules(), NOW);
    assert_eq!((explanation.hosts, explanation.matched), (6, 2));
    assert_eq!(explanation.would_grant, 2);
    assert_eq!(explanation.rates, [rate("0.1"), rate("0.1")]);
    assert_eq!(explanation.price_per_hour, rate("0.2"));
    assert_eq!(explanation.cheapest, Some(rate("0.1")));
    assert_eq!(explanation.shortfall, None);

    let price = exclusion(&explanation, &Constraint::MaxRate);
    assert_eq!((price.alone, price.total), (2, 3));
    assert_eq!(price.relax, Some(Relax::RaiseMaxRate { to: rate("0.6") }));
    assert_eq!(
        price.hint(),
        "max_rate excludes 2 of 3 hosts alone: raise it to 0.6 usd an hour to match more"
    );
    let region = exclusion(&explanation, &Constraint::Region);
    assert_eq!((region.alone, region.total), (1, 2));
    assert_eq!(region.relax, Some(Relax::AllowRegion { offered: vec!["us".into()] }));
    assert_eq!(explanation.excluded.len(), 2);
    assert_eq!(explanation.excluded[0].constraint, Constraint::MaxRate, "the worst comes first");
}

type Change = fn(&mut Terms, &mut HostView);

#[test]
fn following_the_advice_lets_a_host_in() {
    let changes: [(&str, Change); 17] = [
        ("cpu", |terms, host| {
            terms.request.cpu_milli = 3000;
            host.free.cpu_milli = 2500;
        }),
        ("memory", |terms, host| {
            terms.request.memory_bytes = 10 << 20;
            host.free.memory_bytes = 9 << 20;
        }),
        ("disk", |terms, host| {
            terms.request.disk_bytes = 10 << 30;
            host.free.disk_bytes = 9 << 30;
        }),
        ("bandwidth", |terms, host| {
            terms.request.bandwidth_bps = 10;
            host.free.bandwidth_bps = 9;
        }),
        ("gpu", |terms, host| {
            terms.request.gpu = want_gpu("", 3);
            host.free.gpus = vec![gpu("h100", 80, 2), gpu("h200", 141, 1)];
        }),
        ("max_rate", |_, host| host.prices.cpu = rate("1.5")),
        ("min_bond", |terms, _| terms.min_bond = usd("1000")),
        ("max_risk", |terms, host| {
            terms.max_risk_bps = 100;
            of(host).risk_bps = 250;
        }),
        ("min_duration", |terms, _| terms.min_duration = Millis(36_000_000)),
        ("jurisdictions", |terms, host| {
            terms.jurisdictions = vec!["us".into()];
            of(host).jurisdiction = "de".into();
        }),
        ("exclude_jurisdictions", |terms, host| {
            terms.exclude_jurisdictions = vec!["us".into(), "de".into()];
            of(host).jurisdiction = "de".into();
        }),
        ("signed_by_any", |terms, host| {
            terms.signed_by_any = vec![provider(8)];
            of(host).signed = [(provider(9), [("any".into(), "x".into())].into())].into();
        }),
        ("signed_by_all", |terms, host| {
            terms.signed_by_all = vec![provider(8), provider(9)];
            of(host).signed = [(provider(9), [("any".into(), "x".into())].into())].into();
        }),
        ("verifies.zk", |terms, _| terms.verifies = [Verifies::Zk].into()),
        ("metered", |terms, _| terms.metered = true),
        ("metered", |terms, host| {
            (terms.metered, terms.min_fuel_per_s) = (true, 1_000);
            host.fuel_per_s = 999;
        }),
        ("max_rate", |terms, host| {
            terms.interruptible = true;
            let prices = Prices { cpu: rate("1.2"), ..Prices::default() };
            host.prices.cpu = rate("1.5");
            host.interruptible = Some(Interruptible { prices, notice_ms: Millis(1) });
        }),
    ];
    for (what, change) in changes {
        let (mut terms, mut only) = (order(1), host(1, "0.1"));
        change(&mut terms, &mut only);
        let book: MemoryBook = [only].into_iter().collect();
        let explanation = explain(&book, &terms, &rules(), NOW);
        assert_eq!((explanation.matched, explanation.would_grant), (0, 0), "{what}");
        assert_eq!(explanation.excluded.len(), 1, "{what}");
        let exclusion = &explanation.excluded[0];
        assert_eq!(exclusion.constraint.to_string(), what);
        assert_eq!((exclusion.alone, exclusion.total), (1, 1), "{what}");
        apply(exclusion.relax.as_ref().unwrap(), &mut terms);
        assert_eq!(explain(&book, &terms, &rules(), NOW).would_grant, 1, "{}", exclusion.hint());
    }
}

fn apply(relax: &Relax, terms: &mut Terms) {
    match relax {
        Relax::LowerCpu { to_milli } => terms.request.cpu_milli = *to_milli,
        Relax::LowerMemory { to_bytes } => terms.request.memory_bytes = *to_bytes,
        Relax::LowerDisk { to_bytes } => terms.request.disk_bytes = *to_bytes,
        Relax::LowerBandwidth { to_bps } => terms.request.bandwidth_bps = *to_bps,
        Relax::LowerGpuCount { to } => terms.request.gpu.count = *to,
        Relax::RaiseMaxRate { to } => terms.max_rate = *to,
        Relax::LowerMinBond { to } => terms.min_bond = *to,
        Relax::RaiseMaxRisk { to_bps } => terms.max_risk_bps = *to_bps,
        Relax::LowerDuration { to } => terms.min_duration = *to,
        Relax::AllowJurisdiction { offered } => terms.jurisdictions.extend(offered.clone()),
        Relax::IncludeJurisdiction { offered } => {
            terms.exclude_jurisdictions.retain(|code| !offered.contains(code));
        }
        Relax::AcceptAuditor { offered } => terms.signed_by_any.extend(offered),
        Relax::DropAuditor { missing } => terms.signed_by_all.retain(|id| !missing.contains(id)),
        Relax::DropVerifies => terms.verifies.clear(),
        Relax::DropMetered => terms.metered = false,
        Relax::LowerFuel { to_per_s } => terms.min_fuel_per_s = *to_per_s,
        other => panic!("{other:?} has a test of its own"),
    }
}

#[test]
fn choices_are_listed_once_each() {
    let mut hosts: Vec<HostView> = (1..=5).map(|number| host(number, "0.1")).collect();
    for (host, (region, model)) in
        hosts.iter_mut().zip([("eu", "h100"), ("us", "a100"), ("us", "h100"), ("af", "b200")])
    {
        of(host).region = region.into();
        host.free.gpus = vec![gpu(model, 80, 1)];
        host.attributes.insert("tier".into(), model.into());
    }
    let book: MemoryBook = hosts.into_iter().collect();

    let mut terms = order(1);
    terms.request.gpu = want_gpu("l4", 1);
    let explanation = explain(&book, &terms, &rules(), NOW);
    let exclusion = &explanation.excluded[0];
    assert_eq!((&exclusion.constraint, exclusion.alone), (&Constraint::Gpu, 5));
    assert_eq!(
        exclusion.hint(),
        "gpu excludes 5 hosts alone: ask for nvidia/a100 or nvidia/b200 or nvidia/h100 to match \
         more"
    );

    let terms = Terms { regions: vec!["mars".into()], ..order(1) };
    let hint = explain(&book, &terms, &rules(), NOW).excluded[0].hint();
    assert_eq!(hint, "regions excludes 5 hosts alone: allow af or eu or us to match more");

    let attributes = [("tier".to_owned(), "gold".to_owned())].into();
    let terms = Terms { attributes, ..order(1) };
    let hint = explain(&book, &terms, &rules(), NOW).excluded[0].hint();
    assert_eq!(
        hint,
        "attributes.tier excludes 5 hosts alone: ask for a100 or b200 or h100, or do not ask to \
         match more"
    );

    let terms = Terms { exclude: (1..=5).map(provider).collect(), ..order(1) };
    let explanation = explain(&book, &terms, &rules(), NOW);
    let offered = (1..=5).map(provider).collect();
    assert_eq!(explanation.excluded[0].relax, Some(Relax::Include { offered }));
    let terms = Terms { providers: vec![provider(9)], ..order(1) };
    let explanation = explain(&book, &terms, &rules(), NOW);
    let offered = (1..=5).map(provider).collect();
    assert_eq!(explanation.excluded[0].relax, Some(Relax::AllowProvider { offered }));
}

#[test]
fn what_no_change_of_the_order_mends_says_so() {
    let mut busy = host(1, "0.1");
    busy.free.cpu_milli = 0;
    let mut poor = host(2, "0.1");
    of(&mut poor).bond_free = Amount::ZERO;
    let mut ended = host(3, "0.1");
    ended.offered_until = Millis(NOW.0 - 1);
    let book: MemoryBook = [busy, poor, ended].into_iter().collect();
    let explanation = explain(&book, &order(1), &rules(), NOW);
    assert_eq!(explanation.excluded.len(), 3);
    for exclusion in &explanation.excluded {
        assert_eq!(exclusion.relax, None);
        assert!(exclusion.hint().contains("; wait until"), "{}", exclusion.hint());
    }
    let terms = Terms {
        jurisdictions: vec!["de".into()],
        exclude_jurisdictions: vec!["us".into()],
        signed_by_any: vec![provider(9)],
        ..order(1)
    };
    let book: MemoryBook = [host(1, "0.1")].into_iter().collect();
    let explanation = explain(&book, &terms, &rules(), NOW);
    assert_eq!(explanation.excluded.len(), 3);
    for exclusion in &explanation.excluded {
        assert_eq!(exclusion.relax, None);
        assert!(exclusion.hint().ends_with("; do not ask for it"), "{}", exclusion.hint());
    }
}

#[test]
fn advice_for_what_excludes_nothing_alone_is_not_promised_to_suffice() {
    let mut terms = order(1);
    terms.request.cpu_milli = 8000;
    terms.max_rate = rate("0.5");
    let book: MemoryBook = [host(1, "0.1")].into_iter().collect();
    let explanation = explain(&book, &terms, &rules(), NOW);
    assert_eq!(
        explanation.excluded.iter().map(Exclusion::hint).collect::<Vec<_>>(),
        [
            "cpu excludes 1 host, none alone: lower it to 4 threads, beside other changes",
            "max_rate excludes 1 host, none alone: raise it to 0.8 usd an hour, beside other \
             changes",
        ]
    );
}

#[test]
fn a_shortfall_names_gang_spread_or_capacity() {
    let book: MemoryBook = [host(1, "0.1"), host(2, "0.2")].into_iter().collect();
    let spread = Spread { per_provider: 1, ..Spread::default() };
    let cases = [
        (order(9), 8, "8 of 9 leases fit; the rest waits for capacity or bond to become free"),
        (
            Terms { gang: true, ..order(9) },
            0,
            "8 of 9 leases fit, and the order takes all or none: lower the count or drop `gang`",
        ),
        (
            Terms { together: Together::Host, ..order(5) },
            0,
            "5 of 5 leases fit, and the order takes all in one host or none: lower the count or \
             allow more than one host",
        ),
        (
            Terms { spread, ..order(3) },
            2,
            "2 of 3 leases fit; the rest waits for other providers, hosts or regions (without \
             spread limits 3 would fit)",
        ),
    ];
    for (terms, would_grant, hint) in cases {
        let explanation = explain(&book, &terms, &rules(), NOW);
        assert_eq!(explanation.would_grant, would_grant);
        assert_eq!(explanation.shortfall.unwrap().hint(), hint);
    }
}

#[test]
fn an_explanation_survives_json() {
    let mut terms = order(3);
    terms.request = Request { gpu: want_gpu("l4", 1), ..terms.request };
    terms.attributes = [("tier".to_owned(), "gold".to_owned())].into();
    let book: MemoryBook = [host(1, "0.1"), host(2, "2")].into_iter().collect();
    let explanation = explain(&book, &terms, &rules(), NOW);
    assert_eq!(explanation.excluded.len(), 3);
    let json = serde_json::to_string(&explanation).unwrap();
    assert_eq!(serde_json::from_str::<Explanation>(&json).unwrap(), explanation);
}
