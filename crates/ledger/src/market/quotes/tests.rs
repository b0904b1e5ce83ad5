use crate::{
    Action, Params, ProviderProfile,
    tests::{
        usd,
        world::{STEP, World, id},
    },
    view,
};
use muster_market::{Request, Terms};
use muster_types::{Millis, Rate};

fn thread() -> Terms {
    Terms {
        request: Request { cpu_milli: 1_000, ..Request::default() },
        count: 1,
        max_rate: Rate::per_hour(usd(100)),
        ..Terms::default()
    }
}

/// The book kept block by block says what one made anew says, and what the plain look says.
#[test]
fn a_book_kept_up_to_date_is_one_made_anew() {
    let mut w = World::new();
    let mut kept = view::quote_book(&w.state);
    let asked = [
        thread(),
        Terms { regions: vec!["pat-land".into()], max_risk_bps: 1, ..thread() },
        Terms { min_bond: usd(400), max_rate: Rate::per_hour(usd(1)), ..thread() },
        Terms { request: Request { cpu_milli: 7_500, ..Request::default() }, ..thread() },
    ];
    let mut check = |w: &World, hosts: u64| {
        kept.update(&w.state, &w.changes);
        assert_eq!(kept.host_count(), hosts);
        let anew = view::quote_book(&w.state);
        for terms in &asked {
            let explained = kept.explain(&w.state, terms);
            assert_eq!(explained, anew.explain(&w.state, terms));
            assert_eq!(explained, view::quote(&w.state, terms));
        }
    };
    check(&w, 0);
    w.provider("pat", "1");
    check(&w, 1);
    w.provider("quin", "2");
    check(&w, 2);
    let mut spec = w.spec("3");
    spec.offered_until = w.head().now.after(Millis(70_000));
    w.ok("pat", Action::HostSet { index: 7, spec });
    check(&w, 3);
    w.ok("ann", Action::EscrowOpen { deposit: usd(10) });
    check(&w, 3);
    let escrow = w.open_escrow("ann", usd(10));
    check(&w, 3);
    let lease = w.grant("ann", escrow, None, 1)[0];
    check(&w, 3);
    let region = "elsewhere".to_owned();
    let profile = ProviderProfile { region, jurisdiction: "de".into(), ..Default::default() };
    w.ok("pat", Action::ProviderSet { profile });
    check(&w, 3);
    w.block(80_000, Vec::new());
    check(&w, 2);
    w.ok("ann", Action::LeaseClose { lease });
    check(&w, 2);
    w.ok("quin", Action::HostRemove { index: 0 });
    check(&w, 1);
    w.ok("pat", Action::ProviderDrain {});
    check(&w, 0);
    w.block(STEP, Vec::new());
    check(&w, 0);
}

#[test]
fn a_parameter_that_changes_what_is_known_of_providers_shows() {
    let mut w = World::new();
    w.provider("pat", "1");
    let mut kept = view::quote_book(&w.state);
    let careful = Terms { max_risk_bps: 500, ..thread() };
    assert_eq!(kept.explain(&w.state, &careful).matched, 0, "a newcomer");
    let params = Params { newcomer_premium_bps: 500, ..view::params(&w.state) };
    let mut scratch = crate::Scratch::new(&w.state);
    crate::keys::PARAMS.put(&mut scratch, &(), &params);
    let changes = scratch.into_changes();
    w.state.apply(changes.clone());
    kept.update(&w.state, &changes);
    assert_eq!(kept.explain(&w.state, &careful).matched, 1);
    assert_eq!(kept.explain(&w.state, &careful), view::quote(&w.state, &careful));
    assert!(view::provider(&w.state, &id("pat")).is_some());
}
