//! A receipt holds as it was written, and no longer once anything in it was changed.

use crate::{
    devnet::{Devnet, wait_until},
    guests,
};
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

/// Runs a small job on a network with epochs of a few blocks; gives the receipt's path, once the
/// chain is some epochs on.
fn small_job(net: &Devnet) -> (String, Value) {
    wait_until("some epochs have ended", || (net.status().height > 20).then_some(()));
    let job = net.job("small", &guests::echo(0), 4, "");
    let report = net.run(&["run", &job, "--json"]).json();
    (report["receipt"].as_str().unwrap().to_owned(), report)
}

#[test]
fn a_receipt_is_verified_offline_and_any_change_is_found() {
    let mut net = Devnet::with_genesis(|genesis| genesis["epoch_blocks"] = 6.into());
    let (receipt, report) = small_job(&net);
    let genesis = net.genesis().display().to_string();
    // Nobody is there to ask.
    net.process().kill();
    let verify =
        |file: &str| net.run(&["receipt", "verify", file, "--genesis", &genesis, "--json"]);
    let verified = verify(&receipt).json();
    assert_eq!((&verified["ok"], &verified["anchored"]), (&true.into(), &true.into()));
    assert_eq!(verified["trusted"]["root"], "genesis");
    assert!(verified["epochs"].as_u64() >= Some(3), "{verified}");
    assert_eq!((&verified["claims"], &verified["paid"]), (&4.into(), &report["escrow"]["paid"]));
    let said = net.run(&["receipt", "verify", &receipt]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.contains("nothing but its own word"), "{said:?}");
    assert!(said.stderr.contains("taken on its own word"), "{said:?}");

    let text = std::fs::read_to_string(&receipt).unwrap();
    let good: Value = serde_json::from_str(&text).unwrap();
    for place in [
        "/version",
        "/chain",
        "/trail/epoch",
        "/trail/validators/0",
        "/trail/ends/0/epoch",
        "/trail/ends/0/height",
        "/trail/ends/0/now",
        "/trail/ends/0/header",
        "/trail/ends/0/certificate",
        "/trail/ends/1/next/0",
        "/trail/ends/2/header",
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
        "/leases/0/commitment/root",
        "/leases/0/commitment/count",
        "/leases/0/commitment/fuel",
        "/results/0/lease",
        "/results/0/task/input",
        "/results/0/task/fuel_limit",
        "/results/1/result/output",
        "/results/2/result/fuel",
        "/results/3/signature",
        "/blocks/0/height",
        "/blocks/0/epoch",
        "/blocks/0/now",
        "/blocks/0/digest",
        "/blocks/0/header",
        "/blocks/0/certificate",
        "/blocks/0/count",
        "/blocks/0/events/0/position",
        "/blocks/0/events/0/event/amount",
    ] {
        let mut changed = good.clone();
        change(changed.pointer_mut(place).unwrap_or_else(|| panic!("no {place}")));
        net.home.write("changed.json", changed.to_string());
        let said = verify("changed.json");
        assert!(matches!(said.code, Some(1 | 2)), "{place} was changed unseen: {said:?}");
        assert!(said.stderr.contains("changed.json"), "{place}: {said:?}");
    }
    for list in ["/results", "/blocks", "/leases", "/trail/ends", "/trail/validators"] {
        let mut changed = good.clone();
        changed.pointer_mut(list).and_then(Value::as_array_mut).unwrap().pop();
        net.home.write("changed.json", changed.to_string());
        verify("changed.json").assert_refused(1, &["changed.json", "does not hold"]);
    }
    net.home.write("changed.json", "{");
    verify("changed.json").assert_refused(2, &["changed.json", "not a receipt"]);
}

/// Twenty days, in milliseconds: longer than stake stays locked.
const LONG: u64 = 20 * 86_400_000;

#[test]
fn beyond_the_unbonding_time_a_receipt_holds_only_with_an_anchor_that_names_its_blocks() {
    let mut net = Devnet::with_genesis(|genesis| {
        genesis["epoch_blocks"] = 6.into();
        genesis["time"] = Value::from(genesis["time"].as_u64().unwrap() - LONG);
    });
    // An anchor of before the job leads to its blocks.
    let before = net.run(&["receipt", "anchor", "--out", "before.json", "--json"]).json();
    assert!(before["height"].as_u64() > Some(0), "{before}");
    let (receipt, _) = small_job(&net);
    let node = net.client.url().to_owned();
    let anchor = |args: &[&str]| {
        let said = net.run(&[&["receipt", "anchor", "--json", "--node", &node], args].concat());
        said.json()
    };
    let after = anchor(&["--out", "after.json"]);
    assert_eq!(after["blocks"], serde_json::json!({}));
    let named = anchor(&[&receipt, "--out", "named.json"]);
    assert!(!named["blocks"].as_object().unwrap().is_empty(), "{named}");
    let genesis = net.genesis().display().to_string();
    net.process().kill();

    let verify = |more: &[&str]| {
        net.run(&[&["receipt", "verify", &receipt, "--genesis", &genesis, "--json"], more].concat())
    };
    verify(&[]).assert_refused(1, &["20 days old", "14 days", "muster receipt anchor"]);
    verify(&["--anchor", "after.json"])
        .assert_refused(1, &["before the anchor's", "receipt anchor"]);
    for good in ["before.json", "named.json"] {
        let verified = verify(&["--anchor", good]).json();
        assert_eq!(verified["trusted"]["root"], "anchor", "{good}");
    }
    let tampered = |field: &str, value: Value, words: &[&str], code: i32| {
        let mut anchor: Value =
            serde_json::from_str(&std::fs::read_to_string(net.home.path("before.json")).unwrap())
                .unwrap();
        anchor[field] = value;
        net.home.write("tampered.json", anchor.to_string());
        verify(&["--anchor", "tampered.json"]).assert_refused(code, words);
    };
    let zero = "0".repeat(64);
    tampered("chain", zero.clone().into(), &["it is of chain", "receipt anchor"], 2);
    tampered("time", 1.into(), &["a newer one is needed", "muster receipt anchor"], 1);
    tampered("validators", serde_json::json!([zero]), &["are not the anchor's"], 1);
    tampered("epoch", 1_000.into(), &["epoch 1000 of the anchor"], 1);
}
