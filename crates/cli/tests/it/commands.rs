//! What each command prints for programs.

use crate::{devnet::Devnet, guests};
use serde_json::Value;

#[test]
fn every_command_prints_one_json_document_where_asked_to() {
    let net = Devnet::start();
    let json = |args: &[&str]| net.run(&[args, &["--json"]].concat()).json();
    let job = net.job("small", &guests::echo(0), 4, "");

    let quote = json(&["quote", &job]);
    assert_eq!((&quote["hosts_matched"], &quote["hosts_excluded"]), (&3.into(), &0.into()));
    assert!(quote["price_per_hour_usd"].is_string(), "{quote}");

    let report = json(&["run", &job]);
    assert_eq!(report["completed"], 4);
    let escrow = &report["escrow"];
    assert_eq!((&escrow["deposited"], &escrow["compensated"]), (&"0.1".into(), &"0".into()));
    // A job that is done gives its report again and costs nothing more.
    let before = net.balance();
    assert_eq!(json(&["run", &job]), report);
    assert_eq!(net.balance(), before);

    let running = json(&["ps"]);
    assert_eq!((&running["jobs"], &running["leases"]), (&Value::Array(vec![]), &running["jobs"]));
    let all = json(&["ps", "--all"]);
    assert_eq!(all["jobs"].as_array().unwrap().len(), 1, "{all}");
    assert_eq!(all["jobs"][0]["id"], report["id"]);

    let receipt = report["receipt"].as_str().unwrap();
    assert_eq!(json(&["receipt", "show", receipt])["job"]["id"], report["id"]);
    let script = json(&["completions", "bash"])["script"].as_str().unwrap().to_owned();
    assert!(script.contains("_muster()"), "{script}");
    let said = net.run(&["completions", "bash"]);
    assert_eq!((said.code, said.stdout.contains("_muster()")), (Some(0), true));
}

#[test]
fn a_key_acts_for_the_account_that_delegated_to_it_within_its_limits() {
    let net = Devnet::start();
    let made = net.run(&["wallet", "new", "--key", "agent.json", "--json"]).json();
    let (agent, owner) = (made["account"].as_str().unwrap(), net.tenant.to_string());
    let act = |words: &[&str]| {
        let mut all = vec!["--key", "agent.json", "--account", &owner];
        all.extend(words);
        net.run(&all)
    };
    let send = |amount| act(&["wallet", "send", amount, "usd", agent, "--json"]);
    send("0.25").assert_refused(2, &["no authority", "muster wallet grant"]);
    let grant = ["wallet", "grant", agent, "--scopes", "transfer", "--usd", "1", "--json"];
    net.run(&grant).json();
    let keys = net.run(&["wallet", "keys", "--json"]).json();
    assert_eq!(keys["delegated"][0]["key"], agent);
    assert_eq!(keys["delegated"][0]["usd_left"], "1");
    send("0.25").json();
    let shown = net.run(&["wallet", "show", agent, "--json"]).json();
    assert_eq!(shown["usd"], "0.25");
    send("5").assert_refused(1, &["may spend 0.749"]);
    act(&["stake", "delegate", agent, "1"]).assert_refused(1, &["scope"]);
    net.run(&["wallet", "revoke", agent, "--json"]).json();
    send("0.25").assert_refused(2, &["no authority"]);
    net.assert_settled();
}

#[test]
fn money_that_is_sent_arrives() {
    let net = Devnet::start();
    let before = net.balance();
    let made = net.run(&["wallet", "new", "--key", "friend.json", "--json"]).json();
    let friend = made["account"].as_str().unwrap();
    let shown = || net.run(&["wallet", "show", friend, "--json"]).json();
    assert_eq!(shown()["exists"], false);
    let sent = net.run(&["wallet", "send", "2.50", "usd", friend, "--json"]).json();
    assert_eq!((&shown()["exists"], &shown()["usd"]), (&true.into(), &"2.5".into()));
    let own = net.run(&["wallet", "show", "--json"]).json();
    assert_eq!(own["account"], net.tenant.to_string());
    let fee: muster_types::Amount = sent["fee_usd"].as_str().unwrap().parse().unwrap();
    let amount: muster_types::Amount = "2.50".parse().unwrap();
    let left = before.checked_sub(amount).and_then(|left| left.checked_sub(fee)).unwrap();
    assert_eq!(own["usd"], left.to_string());
    // More than there is: nothing moves.
    net.run(&["wallet", "send", "2000", "usd", friend]).assert_refused(5, &["needs 2000"]);
    assert_eq!(net.balance(), left);
    net.run(&["wallet", "send", "1", "eur", friend]).assert_refused(2, &["usd", "mst"]);
    net.assert_settled();
}
