use crate::{
    Action, Event, Reject,
    tests::{World, usd, world::id},
    view,
};
use muster_types::*;
use std::collections::BTreeMap;

fn facts(tier: &str) -> BTreeMap<String, String> {
    [("tier".to_owned(), tier.to_owned())].into()
}

fn sign(w: &World, provider: &str, tier: &str) -> Action {
    let until = w.head().now.after(Millis(60_000));
    Action::AttributeSign { provider: id(provider), attributes: facts(tier), until }
}

fn revoke(provider: &str, auditor: &str) -> Action {
    Action::AttributeRevoke { provider: id(provider), auditor: id(auditor) }
}

/// A provider pat, an auditor eve, and bob, who has only the bond for one.
fn world() -> World {
    let mut w = World::new();
    w.provider("pat", "1");
    for who in ["eve", "bob"] {
        w.ok(who, Action::BondAdd { amount: usd(100) });
    }
    w.ok("eve", Action::AuditorRegister {});
    w
}

fn signed(w: &World) -> Vec<(AccountId, String)> {
    view::signed(&w.state, &id("pat"))
        .into_iter()
        .map(|(auditor, attributes)| (auditor, attributes["tier"].clone()))
        .collect()
}

#[test]
fn only_a_registered_auditor_signs_and_only_what_is_documented() {
    let mut w = world();
    let until = w.head().now.after(Millis(60_000));
    let of = |provider: &str, attributes, until| Action::AttributeSign {
        provider: id(provider),
        attributes,
        until,
    };
    let many = (0..17).map(|number| (number.to_string(), String::new())).collect();
    let long = [("k".repeat(65), String::new())].into();
    let field = |field| Reject::bad_field(field);
    let table = [
        ("bob", of("pat", facts("1"), until), Reject::not_yours("auditor")),
        ("eve", of("bob", facts("1"), until), Reject::not_found("provider")),
        ("eve", of("pat", BTreeMap::new(), until), field("attributes")),
        ("eve", of("pat", many, until), field("attributes")),
        ("eve", of("pat", long, until), field("attributes")),
        ("eve", of("pat", facts("1"), w.head().now), field("until")),
        ("eve", of("eve", facts("1"), until), field("provider")),
        ("eve", revoke("pat", "eve"), Reject::not_found("signature")),
        ("bob", revoke("pat", "eve"), Reject::not_yours("auditor")),
    ];
    for (who, act, reject) in table {
        assert_eq!(w.refused(who, act.clone()), reject, "{who} {act:?}");
    }
    let (receipt, _) = w.ok("eve", of("pat", facts("1"), until));
    let (provider, auditor) = (id("pat"), id("eve"));
    assert_eq!(receipt.events, [Event::AttributesSigned { provider, auditor, until }]);
    assert_eq!(signed(&w), [(id("eve"), "1".to_owned())]);
}

#[test]
fn a_signature_holds_until_it_is_replaced_revoked_expired_or_its_auditor_leaves() {
    let mut w = world();
    let one = |tier: &str| vec![(id("eve"), tier.to_owned())];
    let act = sign(&w, "pat", "1");
    w.ok("eve", act);
    let act = sign(&w, "pat", "2");
    w.ok("eve", act);
    assert_eq!(signed(&w), one("2"));
    let (receipt, _) = w.ok("eve", revoke("pat", "eve"));
    let (provider, auditor) = (id("pat"), id("eve"));
    assert_eq!(receipt.events, [Event::AttributesRevoked { provider, auditor }]);
    assert_eq!(signed(&w), []);

    let act = sign(&w, "pat", "3");
    w.ok("eve", act);
    w.pass(1, 59_499);
    assert_eq!(signed(&w), one("3"));
    w.pass(1, 1);
    assert_eq!(signed(&w), [], "expired");

    let act = sign(&w, "pat", "4");
    w.ok("eve", act);
    w.ok("eve", Action::AuditorLeave {});
    assert_eq!(signed(&w), []);
    let act = sign(&w, "pat", "5");
    assert_eq!(w.refused("eve", act), Reject::not_yours("auditor"));
    w.ok("eve", Action::AuditorRegister {});
    assert_eq!(signed(&w), [], "coming back does not bring the word back");
    let act = sign(&w, "pat", "6");
    w.ok("eve", act);
    assert_eq!(signed(&w), one("6"));
    w.ok("pat", revoke("pat", "eve"));
    assert_eq!(signed(&w), [], "the provider does not want it");
}

#[test]
fn signatures_of_several_auditors_stand_beside_each_other_up_to_a_limit() {
    let mut w = World::with(&["val"], |params| params.auditor_bond_min = usd(1));
    w.provider("pat", "1");
    let auditor = |w: &mut World, number: u32| {
        let name = format!("auditor {number}");
        w.ok("bob", Action::Transfer { to: id(&name), asset: Asset::Usd, amount: usd(2) });
        w.ok(&name, Action::BondAdd { amount: usd(1) });
        w.ok(&name, Action::AuditorRegister {});
        name
    };
    let names: Vec<String> = (0..17).map(|number| auditor(&mut w, number)).collect();
    for name in &names[..16] {
        let act = sign(&w, "pat", name);
        w.ok(name, act);
    }
    assert_eq!(signed(&w).len(), 16);
    let full = Reject::wrong_state("provider", "signed by too many auditors");
    let act = sign(&w, "pat", "last");
    assert_eq!(w.refused(&names[16], act.clone()), full);
    let again = sign(&w, "pat", "again");
    w.ok(&names[3], again);
    // What is void makes room.
    w.ok(&names[5], Action::AuditorLeave {});
    w.ok(&names[16], act);
    assert_eq!(signed(&w).len(), 16);
    assert_eq!(w.refused(&names[5], revoke("pat", &names[5])), Reject::not_found("signature"));
    // Another provider has a list of its own.
    w.provider("quin", "1");
    let act = sign(&w, "quin", "1");
    w.ok(&names[0], act);
    assert_eq!(view::signed(&w.state, &id("quin")).len(), 1);
}
