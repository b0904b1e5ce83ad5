//! Services in containers, with a real runtime and a real registry, from the order to nothing left.
//! Without root, or what runs containers, the tests skip, and say so.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cell;
#[path = "../it/node.rs"]
mod node;
mod registry;
#[allow(dead_code, reason = "jobs are another binary's")]
#[path = "../it/world.rs"]
mod world;

use cell::{Cell, Deployed, exec, exec_in, get, hear, linked, receive, send, web};
use muster_agent::{Agent, AgentError};
use muster_api::{
    provider::refusal,
    service::{
        Container, Deploy, Input, LogLine, Open, Output, Request, Response, Step, commitment,
    },
};
use muster_fabric::{CallError, Channel, PeerAddr};
use muster_ledger::{
    Action, Event,
    market::{CloseReason, LeaseStatus},
    view,
};
use std::fmt::Debug;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use world::{PROVIDER, STRANGER, TENANT, Tenant, config, eventually, key, node};

/// Greets whoever connects to port 80. Ends with status 7 when `/tmp/die` is there.
const SERVE: &str = "trap 'exit 0' TERM; echo $WHO started; echo oops >&2; \
                     while true; do echo hello | nc -l -p 80 >/dev/null; done & \
                     while [ ! -e /tmp/die ]; do sleep 0.05; done; echo dying; exit 7";

fn refused<T: Debug>(answer: Result<T, CallError>) -> u16 {
    match answer {
        Err(CallError::Refused { refusal, .. }) => refusal.code().0,
        other => panic!("not refused: {other:?}"),
    }
}

async fn running(tenant: &Tenant, provider: &PeerAddr, deployed: &Deployed) -> Container {
    let answer = tenant.deploy(provider, &deployed.deploy).await;
    assert_eq!(answer.unwrap(), Response::Taken);
    let status = tenant.until_step(provider, deployed.lease, |step| *step == Step::Running).await;
    status.container.unwrap()
}

/// What tells a container's first process from that of another one.
async fn birth(tenant: &Tenant, provider: &PeerAddr, deployed: &Deployed) -> String {
    let (status, said) =
        tenant.exec(provider, deployed.lease, "cut -d' ' -f22 /proc/1/stat; cat /tmp/mark").await;
    assert_eq!(status, 0, "{said}");
    said
}

async fn next_line(channel: &mut Channel) -> String {
    let line: LogLine = receive(channel).await.expect("a line");
    assert!(line.at_ms > 0);
    format!("{}{}", if line.stderr { "!" } else { "" }, line.text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_runs_is_reached_comes_back_and_leaves_nothing() {
    let Some(cell) = Cell::open().await else { return };
    let node = node().await;
    let agent = cell.start(&node).await;
    let addr = agent.addr();
    let tenant = Tenant::new(&node, TENANT).await;
    let deployed = tenant.order(&web(&cell.image, SERVE), true).await;
    let lease = deployed.lease;
    assert_eq!(tenant.status(&addr, lease).await.step, Step::Waiting);
    let container = running(&tenant, &addr, &deployed).await;
    node.until(|state| view::lease(state, &lease).unwrap().status == LeaseStatus::Active).await;
    assert_eq!(tenant.deploy(&addr, &deployed.deploy).await.unwrap(), Response::Taken);
    assert!(container.running && container.image.as_ref().unwrap().starts_with("sha256:"));
    let address = container.ports[0].address.clone().expect("it is for everybody");
    eventually("greeted", async || get(&address).await.is_ok_and(|said| said == "hello\n")).await;

    let follow =
        Open::Logs { lease, service: "web".into(), since_ms: None, tail: None, follow: true };
    let mut log = tenant.stream(&addr, &follow).await.unwrap();
    let mut lines = [next_line(&mut log).await, next_line(&mut log).await];
    lines.sort_unstable();
    assert_eq!(lines, ["!oops", "tenant started"]);
    let forward = Open::Forward { lease, service: "web".into(), port: 80 };
    let mut said = String::new();
    eventually("greeted through the tunnel", async || {
        said.clear();
        let Ok(mut tunnel) = tenant.stream(&addr, &forward).await else { return false };
        tunnel.read_to_string(&mut said).await.is_ok() && said == "hello\n"
    })
    .await;

    // It ends, and is made anew: the volume stays, the disk does not.
    let (status, said) =
        tenant.exec(&addr, lease, "echo kept > /data/kept; touch /tmp/gone /tmp/die").await;
    assert_eq!((status, said.as_str()), (0, ""));
    assert_eq!(next_line(&mut log).await, "dying");
    let mut again = [next_line(&mut log).await, next_line(&mut log).await];
    again.sort_unstable();
    assert_eq!(again, lines, "the follower hears the next run");
    let mut last = None;
    eventually("it is back", async || {
        let container = tenant.status(&addr, lease).await.container.unwrap();
        let back = container.running && container.restarts == 1;
        last = container.last_exit;
        back
    })
    .await;
    assert_eq!(last.unwrap(), "ended with status 7");
    let (_, said) = tenant.exec(&addr, lease, "cat /data/kept; [ -e /tmp/gone ] || echo new").await;
    assert_eq!(said, "kept\nnew\n");
    let all =
        Open::Logs { lease, service: "web".into(), since_ms: None, tail: Some(3), follow: false };
    let mut log = tenant.stream(&addr, &all).await.unwrap();
    assert_eq!(next_line(&mut log).await, "dying", "earlier runs are in the log");
    assert!(receive::<LogLine>(&mut log).await.is_some());
    assert!(receive::<LogLine>(&mut log).await.is_some());
    assert!(receive::<LogLine>(&mut log).await.is_none(), "it does not follow");
    eventually("greeted again", async || get(&address).await.is_ok_and(|said| said == "hello\n"))
        .await;
    assert!(node.count(|event| matches!(event, Event::LeaseClosed { .. })) == 0);

    tenant.wallet.act(Action::LeaseClose { lease }).await.unwrap();
    tenant.until_step(&addr, lease, |step| *step == Step::Closed).await;
    cell.until_nothing_is_left().await;
    assert!(get(&address).await.is_err());
    assert_eq!(refused(tenant.stream(&addr, &follow).await), refusal::OVER);
    cell.stop(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_has_pipes_or_a_terminal_and_its_status_comes_back() {
    let Some(cell) = Cell::open().await else { return };
    let node = node().await;
    let agent = cell.start(&node).await;
    let addr = agent.addr();
    let tenant = Tenant::new(&node, TENANT).await;
    let deployed = tenant.order(&web(&cell.image, SERVE), true).await;
    let lease = deployed.lease;
    running(&tenant, &addr, &deployed).await;

    let both = "echo out; echo err >&2; exit 3";
    let (status, said) = tenant.exec(&addr, lease, both).await;
    assert_eq!(status, 3);
    assert!(said.contains("out\n") && said.contains("!err\n"), "{said}");
    let (status, _) = tenant.exec(&addr, lease, "kill -9 $$").await;
    assert_eq!(status, 128 + 9);
    let missing =
        Open::Exec { lease, service: "web".into(), args: vec!["/no/such".into()], terminal: None };
    let mut channel = tenant.stream(&addr, &missing).await.unwrap();
    let (status, said) = hear(&mut channel).await;
    assert!(status == 127 && said.contains("/no/such"), "{status}: {said}");

    // More than all buffers hold, both ways at once.
    let mut channel = tenant.stream(&addr, &exec(lease, "cat", None)).await.unwrap();
    let (mut recv, mut send_half) = tokio::io::split(&mut channel);
    let chunk = vec![b'x'; 32 << 10];
    let writing = async {
        for _ in 0..64 {
            let body = muster_types::codec::encode(&Input::Bytes(chunk.clone()));
            let head = u32::try_from(body.len()).unwrap().to_be_bytes();
            send_half.write_all(&[&head[..], &body].concat()).await.unwrap();
        }
        send_half.write_all(&[0, 0, 0, 1, 1]).await.unwrap();
    };
    let reading = async {
        let mut count = 0;
        loop {
            let mut head = [0; 4];
            recv.read_exact(&mut head).await.unwrap();
            let mut body = vec![0; usize::try_from(u32::from_be_bytes(head)).unwrap()];
            recv.read_exact(&mut body).await.unwrap();
            match muster_types::codec::decode(&body, 1 << 20).unwrap() {
                Output::Stdout(bytes) => count += bytes.len(),
                Output::Exit(status) => return (status, count),
                other @ Output::Stderr(_) => panic!("{other:?}"),
            }
        }
    };
    let ((), heard) = tokio::join!(writing, reading);
    assert_eq!(heard, (0, 64 * chunk.len()));

    let script = "stty size; read line; stty size; echo got $line; exit 5";
    let open = exec(lease, script, Some((81, 25)));
    let mut channel = tenant.stream(&addr, &open).await.unwrap();
    let mut said = String::new();
    while !said.contains("25 81") {
        match receive(&mut channel).await.unwrap() {
            Output::Stdout(bytes) => said.push_str(&String::from_utf8_lossy(&bytes)),
            other => panic!("{other:?} after {said}"),
        }
    }
    send(&mut channel, &Input::Resize { columns: 100, rows: 30 }).await;
    send(&mut channel, &Input::Bytes(b"words\n".to_vec())).await;
    let (status, said) = hear(&mut channel).await;
    assert_eq!(status, 5, "{said}");
    assert!(said.contains("30 100") && said.contains("got words"), "{said}");

    // Nobody listens any more: the command is ended.
    let channel = tenant.stream(&addr, &exec(lease, "exec sleep 4321", None)).await.unwrap();
    let there = async || {
        let (_, said) = tenant.exec(&addr, lease, "cat /proc/[0-9]*/cmdline").await;
        said.contains("4321")
    };
    eventually("the command is there", there).await;
    drop(channel);
    eventually("the command is gone", async || !there().await).await;
    tenant.wallet.act(Action::LeaseClose { lease }).await.unwrap();
    cell.until_nothing_is_left().await;
    cell.stop(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_outlive_their_provider_which_takes_them_up_again() {
    let Some(cell) = Cell::open().await else { return };
    let node = node().await;
    let agent = cell.start(&node).await;
    let tenant = Tenant::new(&node, TENANT).await;
    let deployed = tenant.order(&web(&cell.image, SERVE), true).await;
    let lease = deployed.lease;
    let before = running(&tenant, &agent.addr(), &deployed).await;
    tenant.exec(&agent.addr(), lease, "echo mine > /tmp/mark").await;
    let born = birth(&tenant, &agent.addr(), &deployed).await;
    agent.stop().await;
    drop(agent);

    let agent = cell.start(&node).await;
    let after = running(&tenant, &agent.addr(), &deployed).await;
    assert_eq!(after, before, "the same address too");
    assert_eq!(birth(&tenant, &agent.addr(), &deployed).await, born);
    assert!(agent.status().await.leases[0].served);
    // Killed, as far as a process can do that to a part of itself.
    drop(agent);
    let mut agent = None;
    eventually("the directory is free", async || {
        match Agent::start(cell.config(&node)).await {
            Ok(started) => agent = Some(started),
            Err(error @ AgentError::Setting { .. }) => panic!("{error:?}"),
            // Another part of what was dropped is still on its way out.
            Err(_) => {}
        }
        agent.is_some()
    })
    .await;
    let agent = agent.unwrap();
    assert_eq!(birth(&tenant, &agent.addr(), &deployed).await, born);
    assert_eq!(tenant.status(&agent.addr(), lease).await.container, Some(before));
    agent.stop().await;
    drop(agent);

    // The lease ends while nobody is there to see it.
    assert_ne!(cell.left(), "");
    tenant.wallet.act(Action::LeaseClose { lease }).await.unwrap();
    let agent = cell.start(&node).await;
    cell.until_nothing_is_left().await;
    tenant.until_step(&agent.addr(), lease, |step| *step == Step::Closed).await;
    cell.stop(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_manifest_takes_the_place_of_what_runs_or_that_goes_on() {
    let Some(cell) = Cell::open().await else { return };
    let node = node().await;
    let agent = cell.start(&node).await;
    let addr = agent.addr();
    let tenant = Tenant::new(&node, TENANT).await;
    let first = tenant.order(&web(&cell.image, SERVE), true).await;
    let lease = first.lease;
    let before = running(&tenant, &addr, &first).await;
    let address = before.ports[0].address.clone().unwrap();
    tenant.exec(&addr, lease, "echo kept > /data/kept").await;
    let client = tenant.wallet.client();
    let status = || async { client.lease(&lease).await.unwrap().unwrap().record.status };
    let settled = async |expected: &Deployed| {
        let mut last = None;
        eventually("the update ends", async || {
            let status = tenant.status(&addr, lease).await;
            let ended = status.step == Step::Running;
            last = Some(status);
            ended
        })
        .await;
        let last = last.unwrap();
        let deploy = &expected.deploy;
        assert_eq!(last.manifest, Some(commitment(&deploy.manifest, &deploy.salt)), "{last:?}");
        (last.container.unwrap(), last.update_failed)
    };

    // Its image is there, and the new container is another one, at the same address.
    let other = SERVE.replace("hello", "changed");
    let second = tenant.change_order(&first, &web(&cell.image, &other)).await;
    assert!(matches!(status().await, LeaseStatus::Updating { .. }));
    assert_eq!(tenant.deploy(&addr, &second.deploy).await.unwrap(), Response::Taken);
    let (container, failed) = settled(&second).await;
    assert_eq!((container.ports[0].address.as_ref(), failed), (Some(&address), None));
    eventually("the new answer", async || {
        get(&address).await.is_ok_and(|said| said == "changed\n")
    })
    .await;
    eventually("the ledger knows", async || status().await == LeaseStatus::Active).await;
    let (_, said) = tenant.exec(&addr, lease, "cat /data/kept").await;
    assert_eq!(said, "kept\n");

    // One whose image is not there changes nothing; going back is told at once.
    let missing = cell.image.replace("app:1", "app:none");
    let third = tenant.change_order(&second, &web(&missing, SERVE)).await;
    assert_eq!(tenant.deploy(&addr, &third.deploy).await.unwrap(), Response::Taken);
    let (_, failed) = settled(&second).await;
    assert!(failed.as_ref().is_some_and(|reason| reason.contains("app:none")), "{failed:?}");
    assert_eq!(get(&address).await.unwrap(), "changed\n");
    assert!(matches!(status().await, LeaseStatus::Updating { .. }), "the ledger still waits");
    let back = tenant.change_order(&third, &web(&cell.image, &other)).await;
    assert_eq!(tenant.deploy(&addr, &back.deploy).await.unwrap(), Response::Taken);
    let (_, failed) = settled(&second).await;
    assert_eq!(failed, None);
    eventually("the ledger knows", async || status().await == LeaseStatus::Active).await;

    // One that ends at once is given up; what was before it comes back.
    let fourth = tenant.change_order(&back, &web(&cell.image, "echo no >&2; exit 4")).await;
    assert_eq!(tenant.deploy(&addr, &fourth.deploy).await.unwrap(), Response::Taken);
    let (_, failed) = settled(&fourth).await;
    assert!(failed.is_some_and(|reason| reason.contains("status 4, saying: no")));
    let again = tenant.change_order(&fourth, &web(&cell.image, SERVE)).await;
    assert_eq!(tenant.deploy(&addr, &again.deploy).await.unwrap(), Response::Taken);
    let (_, failed) = settled(&again).await;
    assert_eq!(failed, None);
    eventually("the first answer", async || {
        get(&address).await.is_ok_and(|said| said == "hello\n")
    })
    .await;

    // Other volumes are none of an update's.
    let bare = web(&cell.image, SERVE).replace("16Mi", "17Mi");
    let bare = tenant.change_order(&again, &bare).await;
    assert_eq!(refused(tenant.deploy(&addr, &bare.deploy).await), refusal::BAD_REQUEST);
    assert_eq!(node.count(|event| matches!(event, Event::LeaseClosed { .. })), 0);
    // What is never delivered ends without fault, before the ledger would call it the provider's;
    // also where the provider was started again since.
    agent.stop().await;
    drop(agent);
    let agent = cell.start(&node).await;
    eventually("declined", async || {
        node.count(|event| {
            matches!(event, Event::LeaseClosed { reason: CloseReason::Undelivered, .. })
        }) == 1
    })
    .await;
    cell.until_nothing_is_left().await;
    assert_eq!(node.count(|event| matches!(event, Event::Slashed { .. })), 0);
    cell.stop(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn linked_services_find_each_other_by_name_and_nobody_elses_do() {
    let Some(cell) = Cell::open().await else { return };
    let node = node().await;
    let agent = cell.start(&node).await;
    let addr = agent.addr();
    let tenant = Tenant::new(&node, TENANT).await;
    let both = tenant.order_all(&linked(&cell.image, SERVE), true).await;
    let alone = tenant.order(&web(&cell.image, SERVE), true).await;
    for deployed in both.iter().chain([&alone]) {
        let container = running(&tenant, &addr, deployed).await;
        let served = container.ports[0].address.is_some();
        assert_eq!(served, deployed.lease == alone.lease, "only what is global has an address");
    }
    let mut heard = Vec::new();
    for (at, name, other) in [(0, "api", "web"), (1, "web", "api"), (1, "api", "web")] {
        let lease = both[at].lease;
        let ask = format!("nc {other} 80 </dev/null");
        let mut answer = None;
        eventually("an answer", async || {
            let open = exec_in(lease, name, &ask, None);
            let Ok(mut channel) = tenant.stream(&addr, &open).await else { return true };
            let (status, said) = hear(&mut channel).await;
            answer = Some(said);
            status == 0
        })
        .await;
        heard.push(answer);
    }
    let hello = || Some("hello\n".to_owned());
    assert_eq!(heard, [hello(), hello(), None], "a lease has the service of its unit alone");
    let (status, said) = tenant.exec(&addr, alone.lease, "nc api 80 </dev/null").await;
    assert_ne!(status, 0, "{said}");
    for deployed in both.iter().chain([&alone]) {
        tenant.wallet.act(Action::LeaseClose { lease: deployed.lease }).await.unwrap();
    }
    cell.until_nothing_is_left().await;
    cell.stop(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_tenant_deploys_and_only_what_was_ordered() {
    let Some(cell) = Cell::open().await else { return };
    let node = node().await;
    let agent = cell.start(&node).await;
    let addr = agent.addr();
    let (tenant, stranger) = (Tenant::new(&node, TENANT).await, Tenant::new(&node, STRANGER).await);
    let deployed = tenant.order(&web(&cell.image, SERVE), true).await;
    let lease = deployed.lease;
    let good = &deployed.deploy;
    let mut other = good.clone();
    other.manifest.services[0].args = vec!["exit".into()];
    let bent = Deploy { service: "api".into(), ..good.clone() };
    let of_stranger = || async {
        let logs =
            Open::Logs { lease, service: "web".into(), since_ms: None, tail: None, follow: false };
        let forward = Open::Forward { lease, service: "web".into(), port: 80 };
        for open in [logs, forward, exec(lease, "echo", None)] {
            assert_eq!(refused(stranger.stream(&addr, &open).await), refusal::NOT_YOURS);
        }
        assert_eq!(refused(stranger.deploy(&addr, good).await), refusal::NOT_YOURS);
        let status = stranger.ask(&addr, Request::Status { lease }).await;
        assert_eq!(refused(status), refusal::NOT_YOURS);
    };
    of_stranger().await;
    assert_eq!(refused(tenant.deploy(&addr, &other).await), refusal::BAD_REQUEST);
    let early = tenant.stream(&addr, &exec(lease, "echo", None)).await;
    assert_eq!(refused(early), refusal::NO_SERVICE);
    running(&tenant, &addr, &deployed).await;
    of_stranger().await;
    assert_eq!(refused(tenant.deploy(&addr, &other).await), refusal::CONFLICT);
    assert_eq!(refused(tenant.deploy(&addr, &bent).await), refusal::BAD_REQUEST);
    let nothing = Open::Forward { lease, service: "web".into(), port: 81 };
    assert_eq!(refused(tenant.stream(&addr, &nothing).await), refusal::NO_SERVICE);
    let nobody = Open::Forward { lease, service: "api".into(), port: 80 };
    assert_eq!(refused(tenant.stream(&addr, &nobody).await), refusal::NO_SERVICE);
    tenant.wallet.act(Action::LeaseClose { lease }).await.unwrap();
    cell.until_nothing_is_left().await;
    cell.stop(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_come_up_is_declined_with_the_step_and_the_reason() {
    let Some(cell) = Cell::open().await else { return };
    let node = node().await;
    let agent = cell.start(&node).await;
    let addr = agent.addr();
    let tenant = Tenant::new(&node, TENANT).await;
    let missing = cell.image.replace("app:1", "app:none");
    let mute = "echo cannot go on >&2; exit 4";
    for (image, script, step, reason) in [
        (missing.as_str(), SERVE, "pulling", "app:none"),
        (&cell.image, mute, "probing", "service web ended with status 4, saying: cannot go on"),
    ] {
        let deployed = tenant.order(&web(image, script), true).await;
        let lease = deployed.lease;
        assert_eq!(tenant.deploy(&addr, &deployed.deploy).await.unwrap(), Response::Taken);
        let failed = |step: &Step| matches!(step, Step::Failed { .. });
        let status = tenant.until_step(&addr, lease, failed).await;
        let Step::Failed { step: at, reason: why } = status.step else { panic!("{status:?}") };
        assert_eq!(at, step, "{why}");
        assert!(why.contains(reason), "{why}");
        let declined = |event: &Event| {
            let reason = CloseReason::Undelivered;
            matches!(event, Event::LeaseClosed { lease: of, reason: why, .. } if *of == lease && *why == reason)
        };
        eventually("declined", async || node.count(declined) == 1).await;
        let status = tenant.until_step(&addr, lease, failed).await;
        assert!(matches!(status.step, Step::Failed { .. }), "it is still told: {status:?}");
        cell.until_nothing_is_left().await;
    }
    assert_eq!(node.count(|event| matches!(event, Event::Slashed { .. })), 0);
    cell.stop(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_without_containers_says_so_and_declines() {
    let (node, dir) = (node().await, tempfile::tempdir().unwrap());
    let mut lying = config(&node, dir.path(), None);
    lying.attributes.insert("containers".into(), "true".into());
    let error = Agent::start(lying).await.unwrap_err();
    assert!(matches!(error, AgentError::Setting { setting: "attributes", .. }), "{error:?}");
    let mut roomy = config(&node, dir.path(), None);
    roomy.hosts[0].capacity.disk_bytes = 1 << 30;
    let agent = Agent::start(roomy).await.unwrap();
    let tenant = Tenant::new(&node, TENANT).await;
    let deployed = tenant.order(&web("app", SERVE), false).await;
    let answer = tenant.deploy(&agent.addr(), &deployed.deploy).await;
    assert_eq!(refused(answer), refusal::NO_CONTAINERS);
    node.until(|state| view::lease(state, &deployed.lease).unwrap().status.is_settled()).await;
    let known = tenant.wallet.client().provider(&key(PROVIDER).account()).await.unwrap().unwrap();
    assert!(known.record.profile.attributes.is_empty());
    agent.stop().await;
}
