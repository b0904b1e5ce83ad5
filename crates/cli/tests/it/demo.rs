//! `muster demo`: the shape of what it prints, and the sums in it.

use crate::devnet::Home;
use muster_types::Amount;
use serde_json::Value;
use std::path::Path;

#[test]
fn the_demo_completes_both_jobs_and_its_sums_hold() {
    let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/guests");
    if !modules.join("train.wasm").exists() || !modules.join("classify.wasm").exists() {
        eprintln!("skipped: the guests are not built (`cargo xtask guests`)");
        return;
    }
    let home = Home::new();
    let said = home.run(&["demo", "--json", "--seed", "2"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let demo = said.json();

    assert_eq!(
        (&demo["network"]["validators"], &demo["network"]["providers"]),
        (&1.into(), &4.into())
    );
    assert!(demo["network"]["height"].as_u64() > Some(0));
    assert_eq!(
        (&demo["quote"]["hosts_matched"], &demo["quote"]["hosts_excluded"]),
        (&4.into(), &0.into())
    );
    assert!(demo["order_to_lease_ms"]["p50"].as_u64() <= demo["order_to_lease_ms"]["max"].as_u64());
    assert!(demo["accuracy"].as_f64() > Some(0.93), "{demo}");
    assert_eq!(demo["invariants"], "ok");

    let [train, classify] = demo["jobs"].as_array().unwrap().as_slice() else { panic!("{demo}") };
    assert_eq!((&train["kind"], &train["tasks"]), (&"chain".into(), &200.into()));
    assert_eq!((&classify["kind"], &classify["tasks"]), (&"batch".into(), &45.into()));
    for job in [train, classify] {
        assert_eq!(job["completed"], job["tasks"]);
        assert!(job["verified"].as_u64() > Some(0), "{job}");
        for field in ["retried", "failed_over", "mismatches"] {
            assert!(job[field].is_u64(), "{field} of {job}");
        }
        assert!(job["seconds"].is_number());
    }
    assert!(classify["mismatches"].as_u64() > Some(0), "the liar was not caught: {demo}");

    let amount = |value: &Value| value.as_str().unwrap().parse::<Amount>().unwrap();
    let escrow = &demo["escrow"];
    let paid = amount(&escrow["paid_usd"]);
    let back = amount(&escrow["refunded_usd"]);
    let out = paid.checked_add(back).and_then(|out| out.checked_add(amount(&escrow["fees_usd"])));
    assert_eq!(out, Some(amount(&escrow["deposited_usd"])));
    // Nobody is given more back than was paid.
    assert!(amount(&escrow["compensated_usd"]) <= paid, "{escrow}");
    let providers = demo["providers"].as_array().unwrap();
    let earned = providers.iter().map(|provider| amount(&provider["paid_usd"]));
    let earned = earned.fold(Amount::ZERO, |sum, part| sum.checked_add(part).unwrap());
    assert_eq!(earned, paid, "what providers were paid is what escrows paid");
    for provider in providers {
        let slashed = !amount(&provider["slashed_usd"]).is_zero();
        match provider["state"].as_str().unwrap() {
            "active" => assert!(!slashed, "{provider}"),
            "slashed" => assert!(slashed, "{provider}"),
            _ => {}
        }
    }
    let states: Vec<_> = providers.iter().map(|provider| &provider["state"]).collect();
    for state in ["killed", "slashed"] {
        assert!(states.contains(&&state.into()), "nobody is {state}: {demo}");
    }

    let receipt = demo["receipt"].as_str().unwrap();
    let verified = home.run(&["receipt", "verify", receipt, "--json"]).json();
    assert_eq!(verified["claims"], 45, "the receipt outlives the network");
}
