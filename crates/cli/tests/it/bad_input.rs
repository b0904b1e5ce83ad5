//! What is wrong is said with its place and what to do; the network stays whole, the money comes
//! back.

use crate::{
    devnet::{Devnet, Home},
    guests,
};
use muster_types::Amount;
use std::{fs, os::unix::fs::PermissionsExt as _};

#[test]
fn every_defect_of_a_job_file_is_listed_with_line_column_and_fix() {
    let home = Home::new();
    home.write("job.toml", "name = 'a b'\nkind = 'bacth'\n[price]\nbudget = -1\nprize = 2\n");
    for command in ["quote", "run"] {
        home.run(&[command, "job.toml"]).assert_refused(
            2,
            &[
                "job.toml:1:8 name: ",
                "job.toml:2:8 kind: `bacth` is unknown",
                "write \"batch\"",
                "job.toml:4:10 price.budget",
                "job.toml:5:1 price.prize",
                "code.wasm: is missing",
                "next: ",
            ],
        );
    }
    home.write("job.toml", "name = \n");
    home.run(&["run", "job.toml"]).assert_refused(2, &["job.toml:1:", "not TOML"]);
    home.run(&["run", "nothing.toml"]).assert_refused(2, &["nothing.toml", "No such file"]);
    home.write("job.toml", vec![b'#'; (1 << 20) + 1]);
    home.run(&["run", "job.toml"]).assert_refused(2, &["job.toml", "at most 1048576"]);
}

#[test]
fn a_key_file_that_cannot_be_used_is_named_with_what_to_do() {
    let home = Home::new();
    let key = home.path("key.json");
    let show = || home.run(&["wallet", "show", "--key", "key.json"]);
    show().assert_refused(2, &["key.json", "No such file", "next: muster wallet new --key"]);
    let made = home.run(&["wallet", "new", "--key", "key.json", "--json"]).json();
    assert_eq!(made["file"], "key.json");
    let private = || fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o604)).unwrap();
    show().assert_refused(2, &["key.json", "others can read it", "next: chmod 600"]);
    private();
    // The key is good, but nobody is there to ask about it.
    home.run(&["wallet", "show", "--key", "key.json", "--node", "http://127.0.0.1:9"])
        .assert_refused(3, &["http://127.0.0.1:9", "does not answer", "muster dev"]);
    for (text, says) in [
        ("not json", "not a key file"),
        (r#"{"version":1}"#, "missing field"),
        (r#"{"version":1,"account":"zz"}"#, "line 1 column"),
    ] {
        home.write("key.json", text);
        private();
        show().assert_refused(2, &["key.json", says]);
    }
    home.run(&["wallet", "new", "--key", "key.json"]).assert_refused(2, &["exists already"]);
}

#[test]
fn files_and_modules_that_cannot_be_used_are_refused_before_anything_is_paid() {
    let net = Devnet::start();
    let before = net.balance();
    let good = guests::echo(0);
    let refused = |job: &str, words: &[&str]| {
        net.run(&["run", job]).assert_refused(2, words);
        assert_eq!(net.balance(), before, "{job}");
    };
    let job = net.job("inputless", &good, 2, "");
    fs::remove_file(net.home.path("inputless.txt")).unwrap();
    refused(&job, &["inputless.txt", "No such file", "`input.file`"]);
    let job = net.job("codeless", &good, 2, "");
    fs::remove_file(net.home.path("codeless.wasm")).unwrap();
    refused(&job, &["codeless.wasm", "No such file", "`code.wasm`"]);
    let job = net.job("dataless", &good, 2, "[data]\nmodel = \"nothing.bin\"\n");
    refused(&job, &["nothing.bin", "No such file", "`data`"]);
    let job = net.job("empty", &good, 0, "");
    refused(&job, &["empty.txt", "`input.file`"]);
    let job = net.job("textual", b"this is no module", 2, "");
    refused(&job, &["textual.wasm", "at byte 0", "magic", "`code.wasm`"]);
    let job = net.job("cut", &good[..good.len() - 9], 2, "");
    refused(&job, &["cut.wasm", "at byte ", "`code.wasm`"]);
    let job = net.job("large", &guests::too_large(), 2, "");
    refused(&job, &["large.wasm", "at most 2097152", "`code.wasm`"]);
    net.assert_settled();
    assert_eq!(net.escrows_opened(), 0);
    net.assert_serves_good_jobs("textual");
}

#[test]
fn a_task_that_takes_too_much_fails_the_job_and_the_money_comes_back() {
    let net = Devnet::start();
    let before = net.balance();
    let job = net.job("endless", &guests::endless(), 2, "[limits]\nfuel = 1_000_000\n");
    net.run(&["run", &job]).assert_refused(1, &["task ", "all its fuel (1000000)", "[limits]"]);
    let job = net.job("bomb", &guests::memory_bomb(), 2, "[limits]\nmemory = \"1MiB\"\n");
    net.run(&["run", &job]).assert_refused(1, &["task ", "1048576 bytes of memory", "[limits]"]);
    net.assert_settled();
    assert_eq!(net.escrows_opened(), 2);
    net.assert_spent(before, net.paid());
    // Corrected, the same job runs: nothing of the failed one is in its way.
    net.assert_serves_good_jobs("endless");
    net.assert_serves_good_jobs("bomb");
}

#[test]
fn who_cannot_pay_is_told_so_and_nothing_is_ordered() {
    let net = Devnet::start();
    let before = net.balance();
    let price = "[price]\nmax_per_hour = \"0.60\"\nbudget = \"5000\"\n";
    let job = net.job("dear", &guests::echo(0), 2, price);
    for _ in 0..2 {
        net.run(&["run", &job])
            .assert_refused(5, &["needs 5000", "lower price.budget", "muster wallet show"]);
    }
    net.assert_spent(before, Amount::ZERO);
    net.run(&["wallet", "new", "--key", "poor.json"]);
    let job = net.job("poor", &guests::echo(0), 2, "");
    net.run(&["run", &job, "--key", "poor.json"])
        .assert_refused(5, &["does not exist yet", "add funds"]);
    net.assert_settled();
    assert_eq!(net.escrows_opened(), 0);
    // With a budget that the account has, and with the funded key, the same jobs run.
    net.assert_serves_good_jobs("dear");
    net.assert_serves_good_jobs("poor");
}

#[test]
fn an_order_that_nothing_matches_is_told_what_to_relax() {
    let net = Devnet::start();
    let before = net.balance();
    let cheap = "[price]\nmax_per_hour = \"0.0001\"\nbudget = \"0.1\"\n";
    let cases = [
        ("cheap", cheap, "price.max_per_hour"),
        ("wide", "[resources]\ncpu = 4\n", "resources.cpu"),
        ("far", "[constraints]\nregions = [\"moon\"]\n", "constraints.regions"),
    ];
    for (name, more, field) in cases {
        let job = net.job(name, &guests::echo(0), 2, more);
        let words = ["none of 3 hosts matches", "next: ", field];
        net.run(&["run", &job]).assert_refused(4, &words);
        let quoted = net.run(&["quote", &job, "--json"]);
        assert_eq!(quoted.code, Some(4), "{quoted:?}");
        let quote: serde_json::Value = serde_json::from_str(&quoted.stdout).unwrap();
        assert_eq!((&quote["hosts_matched"], &quote["hosts_excluded"]), (&0.into(), &3.into()));
        assert_eq!(quote["explanation"]["excluded"][0]["alone"], 3, "{quote}");
    }
    assert_eq!(net.balance(), before);
    net.assert_settled();
    net.assert_serves_good_jobs("cheap");
}
