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
    // One validator is on its own word, and whoever asks for a price is told.
    assert!(net.status().beacon_trusted);
    assert_eq!(quote["beacon"], "trusted: the validators' word");
    assert_eq!(quote["beacon_round"].as_u64().map(|round| round > 0), Some(true), "{quote}");
    let said = net.run(&["quote", &job]);
    let word = "trusted: the validators' word";
    assert!(said.stdout.lines().any(|line| line.contains("beacon") && line.contains(word)));

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
fn an_account_of_members_acts_where_enough_of_them_signed_the_same_draft() {
    let net = Devnet::start();
    let new = |file: &str| {
        let made = net.run(&["wallet", "new", "--key", file, "--json"]).json();
        made["account"].as_str().unwrap().to_owned()
    };
    let (shared, to) = (new("shared.json"), new("to.json"));
    let members = ["ann.json", "bob.json", "eve.json"].map(new);
    net.run(&["wallet", "send", "10", "usd", &shared, "--json"]).json();
    let as_shared = |words: &[&str]| net.run(&[&["--key", "shared.json"], words].concat());
    as_shared(&["wallet", "members", "3", &members[0], &members[1]])
        .assert_refused(2, &["3 of 2 members"]);
    as_shared(&["wallet", "members", "2", &members[0], &members[1], "--json"]).json();
    as_shared(&["wallet", "send", "1", "usd", &to]).assert_refused(1, &["member"]);

    let draft = ["wallet", "send", "1", "usd", &to, "--account", &shared, "--draft", "pay.json"];
    let drafted = net.run(&[&draft[..], &["--json"]].concat()).json();
    assert_eq!(
        (&drafted["account"], &drafted["signed_by"]),
        (&shared.as_str().into(), &Value::Array(vec![]))
    );
    net.run(&draft).assert_refused(2, &["exists already"]);
    let cosign = |key| net.run(&["wallet", "cosign", "pay.json", "--key", key, "--json"]).json();
    let submit = || net.run(&["wallet", "submit", "pay.json", "--json"]);
    cosign("ann.json");
    // One who is no member, and a member twice.
    cosign("eve.json");
    assert_eq!(cosign("ann.json")["signed_by"].as_array().unwrap().len(), 2);
    submit().assert_refused(2, &["1 of the 2 members", "muster wallet cosign"]);
    cosign("bob.json");
    let path = net.home.path("pay.json");
    let signed = std::fs::read_to_string(&path).unwrap();
    let raised = signed.replace(r#""amount": "1""#, r#""amount": "9""#);
    assert_ne!(raised, signed);
    std::fs::write(&path, raised).unwrap();
    submit().assert_refused(2, &["did not sign this"]);
    std::fs::write(&path, signed).unwrap();
    let sent = submit().json();
    assert_eq!(submit().json(), sent, "the same transaction again is the same one");
    let shown = net.run(&["wallet", "show", &to, "--json"]).json();
    assert_eq!(shown["usd"], "1");
    let job = net.job("drafted", &guests::echo(0), 1, "");
    net.run(&["run", &job, "--draft", "job.json"]).assert_refused(2, &["cannot be drafted"]);
    net.assert_settled();
}

#[test]
fn a_staker_names_the_keys_of_its_other_votes_with_their_consent() {
    let net = Devnet::start();
    let seats = |more: &[&str]| net.run(&[&["stake", "seats"], more, &["--json"]].concat());
    for file in ["second.json", "third.json", "friend.json"] {
        net.run(&["wallet", "new", "--key", file, "--json"]).json();
    }
    seats(&["second.json"]).assert_refused(1, &["validator"]);
    let register = ["stake", "register", "--commission-bps", "0", "--json"];
    net.run(&register).json();
    seats(&["second.json", "nowhere.json"]).assert_refused(2, &["nowhere.json"]);
    seats(&["second.json", "third.json"]).json();
    // They are its own for ever, whoever holds the file, and its own key needs no naming.
    let friend = net.run(&["wallet", "show", "--key", "friend.json", "--json"]).json();
    let friend = friend["account"].as_str().unwrap();
    net.run(&["wallet", "send", "1", "usd", friend, "--json"]).json();
    net.run(&[&register[..], &["--key", "friend.json"]].concat()).json();
    seats(&["third.json", "--key", "friend.json"]).assert_refused(1, &["already"]);
    seats(&[]).json();
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
