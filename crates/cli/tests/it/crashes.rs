//! Kills in the middle: nothing is lost, nothing is paid twice.

use crate::{
    devnet::{Devnet, PROVIDERS, block_on, wait_until},
    guests,
};

/// Tasks long enough that a kill comes in the middle: about a fifth of a second each.
const TURNS: u32 = 60_000_000;
const TASKS: usize = 24;
/// Each provider has two threads, and may have one more task on its way there and back.
const IN_FLIGHT: u64 = 4 * PROVIDERS as u64;

#[test]
fn a_network_that_was_killed_goes_on_and_so_does_its_job() {
    let mut net = Devnet::start();
    let before = net.balance();
    let job = net.job("long", &guests::echo(TURNS), TASKS, "");
    let mut running = net.spawn("run", &["run", &job, "--json"]);
    wait_until("a lease is being served", || net.serves().then_some(()));
    let height = net.status().height;
    net.process().kill();
    assert!(!running.has_ended(), "the job was over before the kill");
    let chain = net.started["chain"].clone();
    net.start_again();
    assert_eq!(net.started["chain"], chain);
    wait_until("the chain has grown", || (net.status().height > height).then_some(()));
    assert_eq!(block_on(net.client.invariants()).unwrap().broken, None);
    let code = running.wait();
    let said = crate::devnet::read(&net.home.path("run.err"));
    assert_eq!(code, Some(0), "{said}");
    net.assert_echoed("long");
    net.assert_settled();
    assert_eq!(net.escrows_opened(), 1);
    net.assert_spent(before, net.paid());
    net.assert_serves_good_jobs("after");
}

#[test]
fn a_run_that_was_killed_goes_on_when_started_again() {
    let net = Devnet::start();
    let before = net.balance();
    let job = net.job("long", &guests::echo(TURNS), TASKS, "[verify]\nlevel = \"none\"\n");
    let mut running = net.spawn("run", &["run", &job]);
    wait_until("a lease is being served", || net.serves().then_some(()));
    assert!(!running.has_ended(), "the job was over before the kill");
    running.kill();
    let said = net.run(&["run", &job, "--json"]);
    assert!(said.stderr.contains("going on with this job"), "{said:?}");
    let report = said.json();
    assert_eq!(report["completed"], TASKS);
    net.assert_echoed("long");
    net.assert_settled();
    assert_eq!(net.escrows_opened(), 1);
    net.assert_spent(before, net.paid());
    let jobs = block_on(net.client.jobs_of(&net.tenant)).unwrap();
    let leases = block_on(net.client.leases_of_tenant(&net.tenant, false)).unwrap();
    let given: u64 =
        leases.iter().filter_map(|lease| lease.record.commitment).map(|made| made.count).sum();
    assert_eq!(jobs.len(), 1);
    assert!(given <= TASKS as u64 + IN_FLIGHT, "{given} results");
}

#[test]
fn a_network_that_was_stopped_with_ctrl_c_starts_again_where_it_was() {
    let mut net = Devnet::start();
    net.assert_serves_good_jobs("first");
    let (height, balance) = (net.status().height, net.balance());
    assert_eq!(net.process().interrupt(), Some(0));
    let chain = net.started["chain"].clone();
    net.start_again();
    assert_eq!(net.started["chain"], chain);
    assert!(net.started["height"].as_u64().unwrap() >= height, "{}", net.started);
    assert_eq!(net.balance(), balance);
    net.assert_settled();
    net.assert_serves_good_jobs("second");
}
