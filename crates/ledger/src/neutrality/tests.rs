use super::fee_of;
use crate::{
    Action, Params, ProviderProfile, keys,
    neutrality::{Basis, Share},
    tests::{World, nanos, usd, world::id},
    view,
};
use muster_market::{Request, Terms};
use muster_types::*;

#[test]
fn the_fee_rises_with_the_share_and_never_exceeds_its_bound() {
    // (from, max, the operator's rate, all rates, fee on 1,000,000)
    let table = [
        (2_000, 0, 10, 10, 0),
        (2_000, 1_000, 2, 10, 0),
        (2_000, 1_000, 6, 10, 50_000),
        (2_000, 1_000, 10, 10, 100_000),
        (0, 10_000, 1, 3, 333_333),
        (0, 10_000, 10, 10, 1_000_000),
        (9_999, 10_000, 9_999, 10_000, 0),
        (9_999, 10_000, 10_000, 10_000, 1_000_000),
        (2_000, 1_000, 0, 0, 0),
    ];
    for (from, max, operated, all, expected) in table {
        let params =
            Params { share_fee_from_bps: from, share_fee_max_bps: max, ..Params::default() };
        assert_eq!(params.check(), Ok(()));
        let rate = |value| Rate::per_hour(nanos(value));
        let fee = fee_of(nanos(1_000_000), rate(operated), rate(all), &params);
        assert_eq!(fee, Some(nanos(expected)), "{from} {max} {operated}/{all}");
    }
    let params = Params { share_fee_max_bps: 10_000, ..Params::default() };
    let all = fee_of(Amount::MAX, Rate::MAX, Rate::MAX, &params);
    assert_eq!(all, Some(Amount::MAX), "the largest of everything");
}

fn lease_on(w: &mut World, escrow: EscrowId, provider: &str) -> LeaseId {
    let terms = Terms {
        request: Request { cpu_milli: 1_000, ..Request::default() },
        count: 1,
        max_rate: Rate::MAX,
        providers: vec![id(provider)],
        ..Terms::default()
    };
    let order = w.order_with(escrow, None, terms);
    let order = w.place("ann", order);
    w.order(&order).leases[0]
}

fn rate_of(w: &World, who: &str) -> Option<Rate> {
    keys::OPERATORS.get(&w.state, &id(who)).map(|operator| operator.open_rate)
}

#[test]
fn leased_value_follows_leases_and_affiliations() {
    let mut w = World::with(&["val"], |params| params.pledge_hours = 1);
    w.provider("pat", "3.6");
    w.provider("quin", "1.8");
    w.provider("rob", "1.8");
    let empty = view::concentration(&w.state);
    assert_eq!((empty.basis, empty.leased_per_hour), (Basis::Bonded, Rate::ZERO));
    assert_eq!((empty.hhi, empty.nakamoto, empty.by_operator.len()), (3_333, 2, 3));

    let escrow = w.open_escrow("ann", usd(10));
    let pat = lease_on(&mut w, escrow, "pat");
    lease_on(&mut w, escrow, "quin");
    lease_on(&mut w, escrow, "rob");
    let rate = |text: &str| Rate::per_hour(text.parse().unwrap());
    let share =
        |who: &str, text: &str, bps| Share { of: id(who), value: text.parse().unwrap(), bps };
    let found = view::concentration(&w.state);
    assert_eq!((found.basis, found.leased_per_hour), (Basis::Leased, rate("7.2")));
    assert_eq!(found.by_operator[0], share("pat", "3.6", 5_000));
    assert_eq!((found.hhi, found.top5_bps, found.nakamoto), (3_750, 10_000, 2));
    let regions: Vec<&str> = found.by_region.iter().map(|share| share.of.as_str()).collect();
    assert_eq!(regions, ["pat-land", "quin-land", "rob-land"]);

    // Quin and rob are rob's, both say.
    let profile = ProviderProfile { operator: Some(id("rob")), ..Default::default() };
    w.ok("quin", Action::ProviderSet { profile: profile.clone() });
    assert_eq!(rate_of(&w, "rob"), Some(rate("1.8")), "rob has not said so");
    w.ok("rob", Action::AffiliateSet { provider: id("quin"), affiliated: true });
    assert_eq!((rate_of(&w, "quin"), rate_of(&w, "rob")), (None, Some(rate("3.6"))));
    w.ok("ann", Action::LeaseClose { lease: pat });
    assert_eq!(rate_of(&w, "pat"), None);
    let found = view::concentration(&w.state);
    assert_eq!(found.by_operator, [share("rob", "3.6", 10_000)]);
    assert_eq!((found.hhi, found.top5_bps, found.nakamoto), (10_000, 10_000, 1));
    // A lease that is granted while it holds goes to the operator, one that closes comes off it.
    let late = lease_on(&mut w, escrow, "quin");
    assert_eq!(rate_of(&w, "rob"), Some(rate("5.4")));
    w.ok("ann", Action::LeaseClose { lease: late });
    w.ok("quin", Action::ProviderSet { profile: ProviderProfile::default() });
    assert_eq!((rate_of(&w, "quin"), rate_of(&w, "rob")), (Some(rate("1.8")), Some(rate("1.8"))));
}

#[test]
fn an_operator_with_much_of_the_market_pays_out_of_its_pay() {
    let mut w = World::with(&["val"], |params| {
        params.pledge_hours = 1;
        params.share_fee_from_bps = 5_000;
        params.share_fee_max_bps = 1_000;
    });
    w.provider("pat", "3.6");
    w.provider("quin", "1.2");
    let escrow = w.open_escrow("ann", usd(10));
    let pat = lease_on(&mut w, escrow, "pat");
    let quin = lease_on(&mut w, escrow, "quin");
    w.block(
        500,
        vec![
            ("pat", Action::LeaseReady { lease: pat }),
            ("quin", Action::LeaseReady { lease: quin }),
        ],
    );
    w.beat(1_000);
    // Three quarters of the leased value are pat's: half the way from the threshold to all, so a
    // twentieth. Quin has a quarter and pays nothing.
    let pay = nanos(1_000_000);
    assert_eq!((w.lease(&pat).paid, w.provider_of("pat").paid), (pay, pay));
    assert_eq!(w.usd_of("pat"), usd(600).checked_add(nanos(950_000)).unwrap());
    assert_eq!(w.usd_of("quin"), usd(600).checked_add(nanos(333_333)).unwrap());
    assert_eq!(w.usd_of("val"), usd(1_000).checked_add(nanos(50_000)).unwrap());
    assert_eq!(view::supply(&w.state).fees, nanos(50_000));
    assert_eq!(w.escrow(&escrow).paid, nanos(1_333_333));
    // Under one operator they have everything, and both pay a tenth.
    let profile = ProviderProfile { operator: Some(id("pat")), ..Default::default() };
    let done = w.block(
        1,
        vec![
            ("quin", Action::ProviderSet { profile }),
            ("pat", Action::AffiliateSet { provider: id("quin"), affiliated: true }),
        ],
    );
    assert!(done.results.iter().all(Result::is_ok));
    w.beat(999);
    assert_eq!(w.usd_of("pat"), usd(600).checked_add(nanos(950_000 + 900_000)).unwrap());
    assert_eq!(w.usd_of("quin"), usd(600).checked_add(nanos(333_333 + 300_000)).unwrap());
}
