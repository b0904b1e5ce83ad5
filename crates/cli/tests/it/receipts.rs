//! A receipt holds as it was written, and no longer once anything in it was changed.

use crate::{devnet::Devnet, guests};
use serde_json::Value;

/// Replaces the last character of a text, or adds one to a number.
fn change(value: &mut Value) {
    *value = match &*value {
        Value::String(text) => {
            let mut text = text.clone();
            let last = if text.pop() == Some('1') { '2' } else { '1' };
            text.push(last);
            Value::String(text)
        }
        Value::Number(number) => Value::from(number.as_u64().unwrap() + 1),
        other => panic!("{other} is not a leaf"),
    };
}

#[test]
fn a_receipt_is_verified_offline_and_any_change_is_found() {
    let mut net = Devnet::start();
    let job = net.job("small", &guests::echo(0), 4, "");
    let report = net.run(&["run", &job, "--json"]).json();
    let receipt = report["receipt"].as_str().unwrap().to_owned();
    let genesis = net.genesis().display().to_string();
    // Nobody is there to ask.
    net.process().kill();
    let verify =
        |file: &str| net.run(&["receipt", "verify", file, "--genesis", &genesis, "--json"]);
    let verified = verify(&receipt).json();
    assert_eq!((&verified["ok"], &verified["anchored"]), (&true.into(), &true.into()));
    assert_eq!((&verified["claims"], &verified["paid"]), (&4.into(), &report["escrow"]["paid"]));

    let text = std::fs::read_to_string(&receipt).unwrap();
    let good: Value = serde_json::from_str(&text).unwrap();
    for place in [
        "/version",
        "/chain",
        "/validators/0",
        "/job/id",
        "/job/tenant",
        "/job/spec/escrow",
        "/job/spec/tasks",
        "/job/spec/manifest",
        "/manifest/salt",
        "/manifest/module",
        "/escrow/deposited",
        "/escrow/paid",
        "/escrow/refunded",
        "/escrow/fees",
        "/leases/0/paid",
        "/leases/0/covered",
        "/leases/0/accrued",
        "/leases/0/rate",
        "/leases/0/host/provider",
        "/results/0/lease",
        "/results/0/task/input",
        "/results/0/task/fuel_limit",
        "/results/1/result/output",
        "/results/2/result/fuel",
        "/results/3/signature",
        "/blocks/0/height",
        "/blocks/0/digest",
        "/blocks/0/state_root",
        "/blocks/0/event_root",
        "/blocks/0/header",
        "/blocks/0/certificate",
        "/blocks/0/events/0/amount",
    ] {
        let mut changed = good.clone();
        change(changed.pointer_mut(place).unwrap_or_else(|| panic!("no {place}")));
        net.home.write("changed.json", changed.to_string());
        let said = verify("changed.json");
        assert!(matches!(said.code, Some(1 | 2)), "{place} was changed unseen: {said:?}");
        assert!(said.stderr.contains("changed.json"), "{place}: {said:?}");
    }
    for list in ["/results", "/blocks", "/leases"] {
        let mut changed = good.clone();
        changed.pointer_mut(list).and_then(Value::as_array_mut).unwrap().pop();
        net.home.write("changed.json", changed.to_string());
        verify("changed.json").assert_refused(1, &["changed.json", "does not hold"]);
    }
    net.home.write("changed.json", "{");
    verify("changed.json").assert_refused(2, &["changed.json", "not a receipt"]);
}
