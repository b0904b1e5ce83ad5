//! A receipt holds as it was written, and no longer once anything in it was changed.

use crate::{
    devnet::{Devnet, wait_until},
    guests,
};
use muster_api::receipt::{Receipt, check};
use muster_ledger::Genesis;
use muster_node::light::{Prover, Trust};
use serde_json::Value;
use std::fs;

/// Every place in a document, as pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                places(item, &format!("{at}/{index}"), found);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                places(field, &format!("{at}/{name}"), found);
            }
        }
        _ => found.push(at.to_owned()),
    }
}

/// Changes a character in the middle of a text, turns a truth around, adds one to a number.
fn change(value: &mut Value) {
    *value = match &*value {
        Value::String(text) => {
            let mut bytes = text.clone().into_bytes();
            let middle = bytes.len() / 2;
            match bytes.get_mut(middle) {
                Some(byte) => *byte = if *byte == b'1' { b'2' } else { b'1' },
                None => bytes.push(b'1'),
            }
            Value::String(String::from_utf8(bytes).unwrap())
        }
        Value::Number(number) => Value::from(number.as_u64().unwrap() + 1),
        Value::Bool(set) => Value::Bool(!set),
        Value::Null => Value::from(1),
        other => panic!("{other} is not a leaf"),
    };
}

/// Whether who has this genesis believes a receipt: what `muster receipt verify` does.
fn is_believed(text: &[u8], genesis: &Genesis) -> bool {
    let Ok(receipt) = Receipt::read(text) else { return false };
    let trust = Trust::genesis(genesis, genesis.time);
    let Ok(prover) = Prover::new(receipt.chain, &receipt.trail, trust) else { return false };
    check(&receipt, |block| prover.prove(block).map_err(|error| error.to_string())).is_ok()
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

    // What is trusted, and how old that is, for programs and for people.
    let trusted = &verified["trusted"];
    let whole: Genesis = serde_json::from_slice(&fs::read(&genesis).unwrap()).unwrap();
    assert_eq!(trusted["since"], whole.time.0);
    assert_eq!(trusted["unbonding"], whole.params.stake_unbonding_ms.0);
    assert!(trusted["age"].as_u64().is_some_and(|age| age > 0), "{trusted}");
    let said = net.run(&["receipt", "verify", &receipt, "--genesis", &genesis]);
    let line = said.stdout.lines().find(|line| line.starts_with("trusted")).unwrap();
    let age = line.split_once("genesis, ").and_then(|(_, rest)| rest.split_once(" old")).unwrap();
    assert!(age.0.ends_with(" s") || age.0.ends_with(" min"), "{line}");
    assert!(line.contains("(stake is free after 14 days)"), "{line}");

    let text = fs::read_to_string(&receipt).unwrap();
    let good: Value = serde_json::from_str(&text).unwrap();
    let good_receipt = Receipt::read(text.as_bytes()).unwrap();
    assert!(is_believed(text.as_bytes(), &whole));
    let mut pointers = Vec::new();
    places(&good, "", &mut pointers);
    assert!(pointers.len() > 200, "{}", pointers.len());
    for place in &pointers {
        // In the file's own words, but for the change.
        let mut receipt = good.clone();
        change(receipt.pointer_mut(place).unwrap());
        let Ok(receipt) = serde_json::from_value::<Receipt>(receipt) else { continue };
        let changed = serde_json::to_vec(&receipt).unwrap();
        assert!(changed != serde_json::to_vec(&good_receipt).unwrap(), "{place} says nothing");
        assert!(!is_believed(&changed, &whole), "{place} was changed unseen");
    }
    // The program says so.
    for (place, names) in [
        ("/version", "version 4"),
        ("/name", "`signature`"),
        ("/quote/hosts", "`signature`"),
        ("/trail/ends/1/now", "changed.json"),
        ("/job/closed", "`job.closed`"),
        ("/leases/0/commitment/root", "`leases[0]`"),
        ("/blocks/0/events/0/position", "`blocks[0].events[0]`"),
    ] {
        let mut receipt = good.clone();
        change(receipt.pointer_mut(place).unwrap_or_else(|| panic!("no {place}")));
        let receipt: Receipt = serde_json::from_value(receipt).unwrap();
        net.home.write("changed.json", serde_json::to_vec(&receipt).unwrap());
        let said = verify("changed.json");
        assert!(matches!(said.code, Some(1 | 2)), "{place} was changed unseen: {said:?}");
        assert!(said.stderr.contains("changed.json"), "{place}: {said:?}");
        assert!(said.stderr.contains(names), "{place}: {said:?}");
    }
    let spelled = text.replacen("\"name\"", "\"note\": 1,\n  \"name\"", 1);
    net.home.write("changed.json", spelled);
    verify("changed.json").assert_refused(2, &["changed.json", "unknown field"]);
    for list in ["/results", "/blocks", "/leases", "/trail/ends", "/trail/validators"] {
        let mut receipt = good.clone();
        receipt.pointer_mut(list).and_then(Value::as_array_mut).unwrap().pop();
        let receipt: Receipt = serde_json::from_value(receipt).unwrap();
        net.home.write("changed.json", serde_json::to_vec(&receipt).unwrap());
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
