//! The provider against the real ledger and the real fabric.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod node;
mod world;

use muster_agent::{Agent, AgentError, SimulatedFault};
use muster_api::provider::{ALPN, Request, Response, refusal};
use muster_fabric::{CallError, RefusalCode};
use muster_ledger::{Action, Event, dispute::Claim, job::JobKind, market::CloseReason, view};
use muster_types::{Hash, LeaseId, merkle};
use muster_verify::{data_listing_hash, task_leaf};
use std::collections::BTreeMap;
use world::{
    DEADLINE, Job, PROVIDER, STRANGER, TENANT, Tenant, code, config, echo, eventually, key, node,
    start,
};

fn claims(answer: Result<Response, CallError>) -> Vec<Claim> {
    match answer {
        Ok(Response::Done { claims }) => claims,
        other => panic!("not done: {other:?}"),
    }
}

fn root(job: &Job, claims: &[Claim]) -> Hash {
    let leaf = |claim: &Claim| {
        let (task, result) = (&claim.task, &claim.result);
        task_leaf(&job.id, task.index, &task.input, &result.output, result.fuel)
    };
    merkle::root(&claims.iter().map(leaf).collect::<Vec<_>>())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_prepared_run_covered_committed_and_forgotten() {
    let (node, dir) = (node().await, tempfile::tempdir().unwrap());
    let agent = start(&node, dir.path()).await;
    let (addr, provider) = (agent.addr(), key(PROVIDER).account());
    let tenant = Tenant::new(&node, TENANT).await;
    let job = tenant.lease(JobKind::Batch).await;
    tenant.prepare(&addr, &job).await;
    tenant.prepare(&addr, &job).await;
    assert_eq!(node.count(|event| matches!(event, Event::LeaseStarted { .. })), 1);

    let inputs: [&[u8]; 3] = [b"one", b"two", b""];
    let first = claims(tenant.run(&addr, &job, (0, 3), &inputs).await);
    for ((claim, input), index) in first.iter().zip(inputs).zip(0..) {
        assert!(claim.is_signed_by(&tenant.wallet.chain(), &provider));
        assert_eq!((claim.lease, claim.task.job, claim.task.index), (job.lease, job.id, index));
        assert_eq!(claim.task.input, Hash::of_content(input));
        assert_eq!(claim.task.module, Hash::of_content(&echo()));
        let data = BTreeMap::from([("a".to_owned(), Hash::of_content(b"some data"))]);
        assert_eq!(claim.task.data, data_listing_hash(&data));
        assert_eq!(tenant.content(&addr, claim.result.output).await, input);
        assert!(claim.result.fuel > 0);
    }
    assert_eq!(claims(tenant.run(&addr, &job, (0, 3), &inputs).await), first);
    assert_eq!(agent.status().await.tasks_run, 3, "the second time comes from the journal");

    let commit = Request::Commit { lease: job.lease };
    let expected = Response::Committed { root: root(&job, &first), count: 3 };
    assert_eq!(tenant.call(&addr, commit.clone()).await.unwrap(), expected);
    assert_eq!(tenant.call(&addr, commit).await.unwrap(), expected);
    assert_eq!(node.count(|event| matches!(event, Event::ResultCommitted { .. })), 1);
    node.until(|state| {
        let lease = view::lease(state, &job.lease).unwrap();
        lease.commitment.is_some_and(|known| known.root == root(&job, &first))
            && lease.covered.0 > 0
    })
    .await;

    let status = agent.status().await;
    assert!(status.leases.iter().all(|line| line.served && !line.closed));
    assert_eq!(status.leases.len(), 1);
    tenant.wallet.act(Action::LeaseClose { lease: job.lease }).await.unwrap();
    eventually("the lease is forgotten", async || agent.status().await.leases.is_empty()).await;
    let answer = tenant.run(&addr, &job, (0, 1), &inputs[..1]).await;
    assert_eq!(code(answer), refusal::UNKNOWN_LEASE);
    eventually("its outputs are withdrawn", async || {
        // Who has fetched a blob has it: each try needs an empty store.
        let fresh = Tenant::new(&node, TENANT).await;
        let from = [addr.clone()];
        let fetched = fresh.fabric.fetch(first[0].result.output, 1 << 10, &from).await;
        fresh.fabric.shutdown().await;
        fetched.is_err()
    })
    .await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_may_not_be_served_are_refused_and_harm_nobody() {
    let (node, dir) = (node().await, tempfile::tempdir().unwrap());
    let agent = start(&node, dir.path()).await;
    let addr = agent.addr();
    let tenant = Tenant::new(&node, TENANT).await;
    let stranger = Tenant::new(&node, STRANGER).await;
    let job = tenant.lease(JobKind::Batch).await;
    let good = tenant.preparation(&job, &echo()).await;
    let prepare = |prepare| Request::Prepare(Box::new(prepare));

    let answer = stranger.call(&addr, prepare(good.clone())).await;
    assert_eq!(code(answer), refusal::NOT_YOURS);
    let answer = stranger.call(&addr, Request::Commit { lease: job.lease }).await;
    assert_eq!(code(answer), refusal::NOT_YOURS);
    let answer = tenant.call(&addr, Request::Commit { lease: LeaseId::default() }).await;
    assert_eq!(code(answer), refusal::UNKNOWN_LEASE);
    let answer = tenant.run(&addr, &job, (0, 1), &[b"x"]).await;
    assert_eq!(code(answer), refusal::NOT_PREPARED);
    let commit = tenant.call(&addr, Request::Commit { lease: job.lease }).await;
    assert_eq!(commit.unwrap(), Response::Committed { root: Hash::ZERO, count: 0 });

    let mut bad = good.clone();
    bad.module = tenant.give(&vec![0; 3 << 20]).await;
    assert_eq!(code(tenant.call(&addr, prepare(bad)).await), refusal::NOT_FETCHED);
    let mut bad = good.clone();
    bad.module = Hash::of_content(b"nobody has this");
    assert_eq!(code(tenant.call(&addr, prepare(bad)).await), refusal::NOT_FETCHED);
    let mut bad = good.clone();
    bad.source = "nowhere".into();
    assert_eq!(code(tenant.call(&addr, prepare(bad)).await), refusal::BAD_REQUEST);
    let mut bad = good.clone();
    bad.limits.fuel += 1;
    assert_eq!(code(tenant.call(&addr, prepare(bad)).await), refusal::BAD_REQUEST);
    let answer = tenant.fabric.call(&addr, ALPN, vec![0xff; 100], DEADLINE).await;
    let Err(CallError::Refused { refusal: malformed, .. }) = answer else { panic!("{answer:?}") };
    assert_eq!(malformed.code(), RefusalCode::MALFORMED);

    let answer = tenant.call(&addr, prepare(good.clone())).await;
    assert_eq!(answer.unwrap(), Response::Prepared);
    let mut other = good;
    other.data.clear();
    assert_eq!(code(tenant.call(&addr, prepare(other)).await), refusal::CONFLICT);
    let answer = tenant.run(&addr, &job, (39, 2), &[b"x", b"y"]).await;
    assert_eq!(code(answer), refusal::BAD_REQUEST);
    assert_eq!(claims(tenant.run(&addr, &job, (39, 1), &[b"x"]).await).len(), 1);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_cannot_be_run_ends_its_lease_without_fault() {
    let (node, dir) = (node().await, tempfile::tempdir().unwrap());
    let agent = start(&node, dir.path()).await;
    let addr = agent.addr();
    let tenant = Tenant::new(&node, TENANT).await;
    let job = tenant.lease(JobKind::Batch).await;
    let bad = tenant.preparation(&job, b"no module at all").await;
    let answer = tenant.call(&addr, Request::Prepare(Box::new(bad))).await;
    assert_eq!(code(answer), refusal::BAD_MODULE);
    node.until(|state| view::lease(state, &job.lease).unwrap().status.is_settled()).await;
    let declined = |event: &Event| {
        matches!(event, Event::LeaseClosed { reason: CloseReason::Undelivered, .. })
    };
    assert_eq!(node.count(declined), 1);
    assert_eq!(node.count(|event| matches!(event, Event::Slashed { .. })), 0);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_provider_gives_the_same_answers_and_commits_to_them() {
    let (node, dir) = (node().await, tempfile::tempdir().unwrap());
    let agent = start(&node, dir.path()).await;
    let tenant = Tenant::new(&node, TENANT).await;
    let job = tenant.lease(JobKind::Batch).await;
    tenant.prepare(&agent.addr(), &job).await;
    let inputs: [&[u8]; 2] = [b"one", b"two"];
    let before = claims(tenant.run(&agent.addr(), &job, (4, 2), &inputs).await);
    agent.stop().await;
    let refused = tenant.run(&agent.addr(), &job, (4, 2), &inputs).await;
    assert!(refused.is_err(), "a stopped provider answers: {refused:?}");

    let registered = node.count(|event| matches!(event, Event::HostOffered { .. }));
    let agent = start(&node, dir.path()).await;
    let addr = agent.addr();
    let offered = node.count(|event| matches!(event, Event::HostOffered { .. }));
    assert_eq!(offered, registered, "the offer stands and is not made again");
    assert_eq!(claims(tenant.run(&addr, &job, (4, 2), &inputs).await), before);
    assert_eq!(agent.status().await.tasks_run, 0);
    let from = [addr.clone()];
    let fresh = Tenant::new(&node, TENANT).await;
    fresh.fabric.fetch(before[1].result.output, 1 << 10, &from).await.unwrap();

    // It takes up by itself what it still has, and goes on.
    eventually("the lease is served", async || agent.status().await.leases[0].served).await;
    let more = claims(tenant.run(&addr, &job, (0, 1), &[b"zero"]).await);
    let all = [more[0], before[0], before[1]];
    let committed = tenant.call(&addr, Request::Commit { lease: job.lease }).await.unwrap();
    assert_eq!(committed, Response::Committed { root: root(&job, &all), count: 3 });
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_feeds_each_step_with_the_state_before_it() {
    let (node, dir) = (node().await, tempfile::tempdir().unwrap());
    let agent = start(&node, dir.path()).await;
    let addr = agent.addr();
    let tenant = Tenant::new(&node, TENANT).await;
    let job = tenant.lease(JobKind::Chain).await;
    tenant.prepare(&addr, &job).await;
    // The module copies its input, which is the step's index before the state.
    let step = |index: u64, state: &[u8]| [&index.to_le_bytes(), state].concat();
    let (mut states, mut state) = (Vec::new(), Vec::new());
    for index in 0..5 {
        state = step(index, &state);
        states.push(state.clone());
    }
    let mut all = claims(tenant.run(&addr, &job, (0, 3), &[b""]).await);
    all.extend(claims(tenant.run(&addr, &job, (3, 2), &[&states[2]]).await));
    for (index, claim) in all.iter().enumerate() {
        let before = index.checked_sub(1).map_or(&[][..], |before| &states[before]);
        assert_eq!(claim.task.input, Hash::of_content(before), "step {index}");
        assert_eq!(tenant.content(&addr, claim.result.output).await, states[index]);
    }
    assert_eq!(claims(tenant.run(&addr, &job, (0, 5), &[b""]).await), all);
    assert_eq!(agent.status().await.tasks_run, 5);

    // From another state the steps are run again, and count instead of the old ones.
    let again = claims(tenant.run(&addr, &job, (3, 1), &[b"another"]).await);
    let committed = tenant.call(&addr, Request::Commit { lease: job.lease }).await.unwrap();
    let kept = [all[0], all[1], all[2], again[0], all[4]];
    assert_eq!(committed, Response::Committed { root: root(&job, &kept), count: 5 });
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_task_ends_the_run_with_the_claims_before_it() {
    let (node, dir) = (node().await, tempfile::tempdir().unwrap());
    let agent = start(&node, dir.path()).await;
    let tenant = Tenant::new(&node, TENANT).await;
    let job = tenant.lease(JobKind::Batch).await;
    tenant.prepare(&agent.addr(), &job).await;
    let inputs: [&[u8]; 3] = [b"fine", b"!", b"never counted"];
    let answer = tenant.run(&agent.addr(), &job, (0, 3), &inputs).await.unwrap();
    let Response::Failed { claims, failure } = answer else { panic!("{answer:?}") };
    assert_eq!(claims.len(), 1);
    assert!(failure.deterministic, "{failure:?}");
    let commit = Request::Commit { lease: job.lease };
    let committed = tenant.call(&agent.addr(), commit).await.unwrap();
    assert_eq!(committed, Response::Committed { root: root(&job, &claims), count: 1 });
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_simulated_liar_signs_every_nth_output_wrong() {
    let (node, dir) = (node().await, tempfile::tempdir().unwrap());
    let fault = Some(SimulatedFault::WrongOutput { every: 2 });
    let agent = Agent::start(config(&node, dir.path(), fault)).await.unwrap();
    let addr = agent.addr();
    let tenant = Tenant::new(&node, TENANT).await;
    let job = tenant.lease(JobKind::Batch).await;
    tenant.prepare(&addr, &job).await;
    let claims = claims(tenant.run(&addr, &job, (0, 3), &[b"6", b"6", b"6"]).await);
    for (claim, output) in claims.iter().zip([b"6", b"7", b"6"]) {
        assert!(claim.is_signed_by(&tenant.wallet.chain(), &key(PROVIDER).account()));
        assert_eq!(tenant.content(&addr, claim.result.output).await, output);
    }
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_cannot_start_says_why() {
    let (empty, dir) = (node::Node::start(&[]).await, tempfile::tempdir().unwrap());
    let error = Agent::start(config(&empty, dir.path(), None)).await.unwrap_err();
    let account = key(PROVIDER).account();
    assert!(matches!(error, AgentError::Unfunded { .. }), "{error:?}");
    assert!(error.to_string().contains(&format!("muster wallet send {account} ")), "{error}");

    let node = node().await;
    let dir = tempfile::tempdir().unwrap();
    let mut slow = config(&node, dir.path(), None);
    slow.heartbeat_ms = 2_000;
    let error = Agent::start(slow).await.unwrap_err();
    assert!(matches!(error, AgentError::Setting { setting: "heartbeat_ms", .. }), "{error:?}");
    let agent = start(&node, dir.path()).await;
    let second = Agent::start(config(&node, dir.path(), None)).await.unwrap_err();
    assert!(matches!(second, AgentError::Journal(_)), "{second:?}");
    agent.stop().await;
}
