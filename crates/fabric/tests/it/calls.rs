//! Calls between honest peers, and what goes wrong between them.

use crate::{Echo, PATIENCE, Raw, TEAPOT, config, content, key, role, within};
use bytes::Bytes;
use futures::future::join_all;
use muster_fabric::{
    CallError, DialError, Fabric, FabricError, PeerAddr, ProtocolFault, RPC_ALPN, Refusal,
    RefusalCode, Service, Store,
};
use muster_types::{AccountId, SecretKey};
use std::{
    future::pending,
    net::UdpSocket,
    time::{Duration, Instant},
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Never answers; tells when a call begins and when its future is dropped.
struct Stuck(UnboundedSender<&'static str>);

struct OnDrop(UnboundedSender<&'static str>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.send("dropped").ok();
    }
}

impl Stuck {
    fn new() -> (Self, UnboundedReceiver<&'static str>) {
        let (sender, receiver) = unbounded_channel();
        (Self(sender), receiver)
    }
}

impl Service for Stuck {
    async fn call(&self, _: AccountId, _: Bytes) -> Result<Bytes, Refusal> {
        self.0.send("called").ok();
        let _on_drop = OnDrop(self.0.clone());
        pending().await
    }
}

async fn server_and_client(service: impl Service) -> (Fabric, Fabric) {
    let server = role(1).await;
    server.serve(RPC_ALPN, service).unwrap();
    (server, role(2).await)
}

async fn call(from: &Fabric, to: &PeerAddr, request: Bytes) -> Result<Bytes, CallError> {
    from.call(to, RPC_ALPN, request, PATIENCE).await
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_calls_at_once_share_one_connection_and_get_their_own_answers() {
    let mut config = config(1);
    config.limits.max_connections_per_peer = 1;
    let server = Fabric::bind(config).await.unwrap();
    server.serve(RPC_ALPN, Echo).unwrap();
    let client = role(2).await;
    let to = server.local_addr();
    let calls = (0..300usize).map(|n| {
        let (client, to) = (&client, &to);
        async move { (n, call(client, to, content(n * 37)).await) }
    });
    for (n, answer) in within(join_all(calls)).await {
        assert_eq!(answer.unwrap(), content(n * 37), "call {n}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_sees_who_calls() {
    struct Whoami;
    impl Service for Whoami {
        async fn call(&self, peer: AccountId, _: Bytes) -> Result<Bytes, Refusal> {
            Ok(Bytes::copy_from_slice(peer.as_bytes()))
        }
    }
    let (server, client) = server_and_client(Whoami).await;
    let nothing: [u8; 0] = [];
    let seen: AccountId =
        client.call_typed(&server.local_addr(), RPC_ALPN, &nothing, PATIENCE).await.unwrap();
    assert_eq!(seen, key(2).account());
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_and_answers_over_a_limit_are_refused_by_whoever_has_the_limit() {
    let mut small = config(1);
    small.limits.max_request_bytes = 1000;
    let small_requests = Fabric::bind(small).await.unwrap();
    let mut small = config(2);
    small.limits.max_response_bytes = 1000;
    let small_answers = Fabric::bind(small).await.unwrap();
    let plain = role(3).await;
    for server in [&small_requests, &small_answers, &plain] {
        server.serve(RPC_ALPN, Echo).unwrap();
    }

    // At the limit all is well.
    for server in [&small_requests, &small_answers] {
        let answer = call(&plain, &server.local_addr(), content(1000)).await.unwrap();
        assert_eq!(answer, content(1000));
    }
    // The caller's own limit on requests.
    let error = call(&small_requests, &plain.local_addr(), content(1001)).await.unwrap_err();
    assert!(matches!(error, CallError::RequestTooLarge { actual: 1001, limit: 1000 }), "{error:?}");
    // The server's limits, also with far more than fits a flow-control window.
    for (server, length) in
        [(&small_requests, 1001), (&small_requests, 4 << 20), (&small_answers, 1001)]
    {
        let error = call(&plain, &server.local_addr(), content(length)).await.unwrap_err();
        let CallError::Refused { refusal, .. } = error else { panic!("{error:?}") };
        assert_eq!(refusal.code(), RefusalCode::TOO_LARGE);
    }
    // The caller's limit on answers.
    let error = call(&small_answers, &plain.local_addr(), content(1001)).await.unwrap_err();
    let CallError::Protocol { fault, .. } = error else { panic!("{error:?}") };
    assert_eq!(fault, ProtocolFault::TooLarge { actual: 1001, limit: 1000 });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_arrives_with_its_code_and_message() {
    struct Teapot;
    impl Service for Teapot {
        async fn call(&self, _: AccountId, _: Bytes) -> Result<Bytes, Refusal> {
            Err(Refusal::new(TEAPOT, "no coffee here"))
        }
    }
    let (server, client) = server_and_client(Teapot).await;
    let error = call(&client, &server.local_addr(), Bytes::new()).await.unwrap_err();
    let CallError::Refused { peer, refusal } = error else { panic!("{error:?}") };
    assert_eq!(peer, server.account());
    assert_eq!(refusal, Refusal::new(TEAPOT, "no coffee here"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_panics_or_dawdles_is_refused_by_the_fabric_and_serves_on() {
    struct Moody;
    impl Service for Moody {
        async fn call(&self, _: AccountId, request: Bytes) -> Result<Bytes, Refusal> {
            match request.as_ref() {
                b"panic" => panic!("a panic on purpose"),
                b"dawdle" => pending().await,
                _ => Ok(request),
            }
        }
    }
    let mut config = config(1);
    config.limits.service_timeout = Duration::from_millis(50);
    let server = Fabric::bind(config).await.unwrap();
    server.serve(RPC_ALPN, Moody).unwrap();
    let client = role(2).await;
    let table: [(&'static [u8], _); 2] =
        [(b"panic", RefusalCode::INTERNAL), (b"dawdle", RefusalCode::TIMEOUT)];
    for (request, code) in table {
        let error = call(&client, &server.local_addr(), request.into()).await.unwrap_err();
        let CallError::Refused { refusal, .. } = error else { panic!("{error:?}") };
        assert_eq!(refusal.code(), code);
    }
    let answer = call(&client, &server.local_addr(), content(3)).await.unwrap();
    assert_eq!(answer, content(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_callers_deadline_ends_the_call_on_both_sides() {
    let (stuck, mut events) = Stuck::new();
    let (server, client) = server_and_client(stuck).await;
    let to = server.local_addr();
    let deadline = Duration::from_millis(300);
    let error = client.call(&to, RPC_ALPN, Bytes::new(), deadline).await.unwrap_err();
    assert!(matches!(error, CallError::Timeout { deadline: d, .. } if d == deadline), "{error:?}");
    assert_eq!(within(events.recv()).await, Some("called"));
    assert_eq!(within(events.recv()).await, Some("dropped"));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_answers_with_another_key_is_not_the_peer() {
    let impostor = Raw::bind(1, &[RPC_ALPN]).await;
    impostor.answer_streams(|_| b"\0\0\0\0\0".to_vec());
    let client = role(2).await;
    let to = PeerAddr::new(key(9).account(), impostor.addr().sockets().to_vec()).unwrap();
    let error = call(&client, &to, Bytes::new()).await.unwrap_err();
    assert!(
        matches!(error, CallError::Unreachable { source: DialError::Connect(_), .. }),
        "{error:?}"
    );
    // Under its own name it is.
    assert_eq!(call(&client, &impostor.addr(), Bytes::new()).await.unwrap(), Bytes::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_where_nobody_answers_is_unreachable() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = PeerAddr::new(key(9).account(), vec![silent.local_addr().unwrap()]).unwrap();
    let mut config = config(2);
    config.dial_timeout = Duration::from_millis(200);
    let client = Fabric::bind(config).await.unwrap();
    let calls = (0..5).map(|_| call(&client, &to, Bytes::new()));
    for answer in within(join_all(calls)).await {
        let error = answer.unwrap_err();
        assert!(
            matches!(error, CallError::Unreachable { source: DialError::Timeout(_), .. }),
            "{error:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_no_key_and_a_protocol_nobody_serves_are_unreachable() {
    let (server, client) = server_and_client(Echo).await;
    let sockets = server.local_addr().sockets().to_vec();
    let not_a_key = (0..=u8::MAX)
        .map(|byte| AccountId(muster_types::Hash([byte; 32])))
        .find(|account| iroh::EndpointId::from_bytes(account.as_bytes()).is_err())
        .unwrap();
    let to = PeerAddr::new(not_a_key, sockets).unwrap();
    let error = call(&client, &to, Bytes::new()).await.unwrap_err();
    assert!(
        matches!(error, CallError::Unreachable { source: DialError::NotAKey(_), .. }),
        "{error:?}"
    );
    let error =
        client.call(&server.local_addr(), b"other/1", Bytes::new(), PATIENCE).await.unwrap_err();
    assert!(matches!(error, CallError::Unreachable { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_shuts_down_ends_its_calls_and_is_found_again_elsewhere() {
    let (stuck, mut events) = Stuck::new();
    let (server, client) = server_and_client(stuck).await;
    let old = server.local_addr();
    let in_flight = {
        let (client, old) = (client.clone(), old.clone());
        tokio::spawn(async move { call(&client, &old, Bytes::new()).await })
    };
    assert_eq!(within(events.recv()).await, Some("called"));
    within(server.shutdown()).await;
    assert_eq!(within(events.recv()).await, Some("dropped"));
    let error = within(in_flight).await.unwrap().unwrap_err();
    assert!(matches!(error, CallError::Lost { .. }), "{error:?}");
    drop(server);

    let server = role(1).await;
    server.serve(RPC_ALPN, Echo).unwrap();
    let new = server.local_addr();
    assert_eq!(new.account(), old.account());
    assert_eq!(call(&client, &new, content(9)).await.unwrap(), content(9));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_is_found_though_another_role_has_a_socket_that_was_its() {
    let mut impatient = config(2);
    impatient.dial_timeout = Duration::from_millis(300);
    let client = Fabric::bind(impatient).await.unwrap();
    let (server, squatter) = (role(1).await, role(3).await);
    for role in [&server, &squatter] {
        role.serve(RPC_ALPN, Echo).unwrap();
    }
    // Where the client believes the peer to be, somebody else is: it keeps silent.
    let sockets = squatter.local_addr().sockets().to_vec();
    let stale = PeerAddr::new(server.account(), sockets.clone()).unwrap();
    let error = call(&client, &stale, Bytes::new()).await.unwrap_err();
    assert!(
        matches!(error, CallError::Unreachable { source: DialError::Timeout(_), .. }),
        "{error:?}"
    );
    // With the right socket, alone or as one of two, the peer is found.
    assert_eq!(call(&client, &server.local_addr(), content(2)).await.unwrap(), content(2));
    let both = [sockets.as_slice(), server.local_addr().sockets()].concat();
    let both = PeerAddr::new(server.account(), both).unwrap();
    for seed in 10..20 {
        assert_eq!(call(&role(seed).await, &both, content(3)).await.unwrap(), content(3));
    }
    assert_eq!(call(&client, &squatter.local_addr(), content(4)).await.unwrap(), content(4));
}

#[test]
fn a_peer_that_dies_without_a_word_is_noticed_by_the_idle_timeout() {
    let idle = Duration::from_secs(1);
    let bind = |seed| {
        let mut config = config(seed);
        config.idle_timeout = idle;
        config.keep_alive = Duration::from_millis(250);
        Fabric::bind(config)
    };
    let theirs = tokio::runtime::Runtime::new().unwrap();
    let ours = tokio::runtime::Runtime::new().unwrap();
    let (stuck, mut events) = Stuck::new();
    let server = theirs.block_on(bind(1)).unwrap();
    server.serve(RPC_ALPN, stuck).unwrap();
    let client = ours.block_on(bind(2)).unwrap();
    let to = server.local_addr();
    let in_flight = {
        let (client, to) = (client.clone(), to.clone());
        ours.spawn(async move { call(&client, &to, Bytes::new()).await })
    };
    assert_eq!(ours.block_on(within(events.recv())), Some("called"));
    // A runtime that stops dead sends no farewell.
    theirs.shutdown_background();
    let died = Instant::now();
    let error = ours.block_on(within(in_flight)).unwrap().unwrap_err();
    assert!(
        matches!(error, CallError::Lost { source: iroh::endpoint::ConnectionError::TimedOut, .. }),
        "{error:?}"
    );
    assert!(died.elapsed() < PATIENCE / 4, "noticed after {:?}", died.elapsed());

    // The same key at a new address is the same peer.
    ours.block_on(async {
        let server = bind(1).await.unwrap();
        server.serve(RPC_ALPN, Echo).unwrap();
        assert_eq!(call(&client, &server.local_addr(), content(5)).await.unwrap(), content(5));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_last_handle_ends_the_endpoint() {
    let (stuck, mut events) = Stuck::new();
    let (server, client) = server_and_client(stuck).await;
    let to = server.local_addr();
    let in_flight = tokio::spawn(async move { call(&client, &to, Bytes::new()).await });
    assert_eq!(within(events.recv()).await, Some("called"));
    drop(server);
    assert_eq!(within(events.recv()).await, Some("dropped"));
    let error = within(in_flight).await.unwrap().unwrap_err();
    assert!(matches!(error, CallError::Lost { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protocol_is_served_once_and_settings_without_sense_are_refused() {
    let server = role(1).await;
    server.serve(RPC_ALPN, Echo).unwrap();
    for alpn in [RPC_ALPN, iroh_blobs::ALPN, b"to/me"] {
        assert!(matches!(server.serve(alpn, Echo), Err(FabricError::Taken { .. })));
    }
    for alpn in [&b""[..], &[b'x'; 256]] {
        assert!(matches!(server.serve(alpn, Echo), Err(FabricError::Setting { .. })));
    }

    let mut lazy = config(2);
    lazy.keep_alive = lazy.idle_timeout;
    let mut loud = config(2);
    loud.advertise = vec![loud.bind; 9];
    for (config, name) in [(lazy, "keep_alive"), (loud, "advertise")] {
        let error = Fabric::bind(config).await.unwrap_err();
        assert!(
            matches!(error, FabricError::Setting { setting, .. } if setting == name),
            "{error:?}"
        );
    }
    let mut taken = config(2);
    taken.bind = server.local_addr().sockets()[0];
    assert!(matches!(Fabric::bind(taken).await, Err(FabricError::Bind { .. })));
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut no_directory = config(2);
    no_directory.store = Store::Directory(file.path().to_owned());
    assert!(matches!(Fabric::bind(no_directory).await, Err(FabricError::Store { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn advertised_sockets_replace_the_bound_ones() {
    let mut config = config(1);
    config.advertise = vec!["192.0.2.1:4433".parse().unwrap()];
    let server = Fabric::bind(config.clone()).await.unwrap();
    assert_eq!(server.local_addr().sockets(), config.advertise);
    assert_eq!(server.account(), SecretKey::from_seed([1; 32]).account());
}
