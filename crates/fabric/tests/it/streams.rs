//! Streams between honest peers and others.

use crate::{PATIENCE, Raw, TEAPOT, config, content, role, within};
use bytes::Bytes;
use muster_fabric::{
    Accepted, CallError, Channel, Fabric, PeerAddr, ProtocolFault, Refusal, RefusalCode,
    StreamService,
};
use muster_types::{AccountId, codec};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc::{UnboundedSender, unbounded_channel},
};

const ALPN: &[u8] = b"muster/test-stream/1";

/// Sends back what it gets, in capitals, after an answer that repeats the request. Refuses tea.
struct Shout;

impl StreamService for Shout {
    async fn open(&self, _: AccountId, request: Bytes) -> Result<Accepted, Refusal> {
        match request.as_ref() {
            b"tea" => return Err(Refusal::new(TEAPOT, "no tea here")),
            b"panic" => panic!("as asked for"),
            _ => {}
        }
        Ok(Accepted::new(request, |mut channel| async move {
            let mut buffer = [0; 1_000];
            while let Ok(read @ 1..) = channel.read(&mut buffer).await {
                buffer[..read].make_ascii_uppercase();
                if channel.write_all(&buffer[..read]).await.is_err() {
                    return;
                }
            }
            channel.shutdown().await.ok();
        }))
    }
}

/// Tells when a stream's handler is dropped.
struct Forever(UnboundedSender<&'static str>);

struct OnDrop(UnboundedSender<&'static str>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.send("dropped").ok();
    }
}

impl StreamService for Forever {
    async fn open(&self, _: AccountId, _: Bytes) -> Result<Accepted, Refusal> {
        let told = self.0.clone();
        Ok(Accepted::new(&b"yes"[..], |channel| async move {
            let _dropped = OnDrop(told);
            let _channel = channel;
            std::future::pending::<()>().await;
        }))
    }
}

/// Opens a stream within the tests' patience.
async fn open(
    from: &Fabric,
    to: &PeerAddr,
    request: impl Into<Bytes>,
) -> Result<(Bytes, Channel), CallError> {
    within(from.stream(to, ALPN, request, PATIENCE)).await
}

async fn pair(service: impl StreamService) -> (Fabric, Fabric) {
    let server = role(1).await;
    server.serve_streams(ALPN, service).unwrap();
    (server, role(2).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_stream_carries_bytes_both_ways_and_each_way_ends_by_itself() {
    let (server, client) = pair(Shout).await;
    let (answer, channel) = open(&client, &server.local_addr(), &b"hello"[..]).await.unwrap();
    assert_eq!(answer, &b"hello"[..]);
    // Far more than a flow-control window holds, so that reading and writing must overlap.
    let sent = content(16 << 20);
    let (mut recv, mut send) = tokio::io::split(channel);
    let writing = async {
        send.write_all(&sent).await.unwrap();
        send.shutdown().await.unwrap();
    };
    let mut got = Vec::new();
    let ((), read) = within(async { tokio::join!(writing, recv.read_to_end(&mut got)) }).await;
    assert_eq!(read.unwrap(), sent.len());
    assert_eq!(got, sent.to_ascii_uppercase());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_opening_says_why_and_a_panic_costs_one_stream_only() {
    let (server, client) = pair(Shout).await;
    for (request, code) in [(&b"tea"[..], TEAPOT), (b"panic", RefusalCode::INTERNAL)] {
        let error = open(&client, &server.local_addr(), request).await.unwrap_err();
        let CallError::Refused { peer, refusal } = error else { panic!("{error:?}") };
        assert_eq!((peer, refusal.code()), (server.account(), code));
    }
    assert_eq!(open(&client, &server.local_addr(), &b"again"[..]).await.unwrap().0, &b"again"[..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_is_dropped_when_its_caller_is_gone() {
    let (told, mut heard) = unbounded_channel();
    let (server, client) = pair(Forever(told)).await;
    let (_, _channel) = open(&client, &server.local_addr(), Bytes::new()).await.unwrap();
    client.shutdown().await;
    assert_eq!(within(heard.recv()).await, Some("dropped"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_learns_that_the_other_end_is_gone() {
    let (told, _heard) = unbounded_channel();
    let (server, client) = pair(Forever(told)).await;
    let (_, mut channel) = open(&client, &server.local_addr(), Bytes::new()).await.unwrap();
    server.shutdown().await;
    assert!(within(channel.read(&mut [0; 1])).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_over_the_peers_limit_wait_on_one_connection_and_are_refused_on_another() {
    let mut small = config(1);
    small.limits.max_streams_per_peer = 1;
    let server = Fabric::bind(small).await.unwrap();
    server.serve_streams(ALPN, Shout).unwrap();
    let client = role(2).await;
    let to = server.local_addr();
    let first = open(&client, &to, &b"1"[..]).await.unwrap();
    let twin = role(2).await;
    let error = open(&twin, &to, &b"2"[..]).await.unwrap_err();
    let CallError::Refused { refusal, .. } = error else { panic!("{error:?}") };
    assert_eq!(refusal.code(), RefusalCode::BUSY);
    let waiting = client.stream(&to, ALPN, &b"3"[..], PATIENCE);
    tokio::pin!(waiting);
    assert!(futures::poll!(&mut waiting).is_pending());
    drop(first);
    assert_eq!(within(waiting).await.unwrap().0, &b"3"[..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opening_that_is_not_to_protocol_is_refused() {
    let (server, _) = pair(Shout).await;
    let raw = Raw::bind(3, &[]).await;
    let connection = raw.connect(&server.local_addr(), ALPN).await;
    let whole = |length: u32, body: &[u8]| [&length.to_le_bytes()[..], body].concat();
    for (bytes, code) in [
        (vec![1, 0], RefusalCode::MALFORMED),
        (whole(5, b"four"), RefusalCode::MALFORMED),
        (whole(u32::MAX, b""), RefusalCode::TOO_LARGE),
    ] {
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        send.write_all(&bytes).await.unwrap();
        send.finish().unwrap();
        let answer = within(recv.read_to_end(2_000)).await.unwrap();
        assert_eq!(answer.first(), Some(&1));
        let refusal: Refusal = codec::decode(&answer[5..], answer.len()).unwrap();
        assert_eq!(refusal.code(), code, "{bytes:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_to_protocol_is_an_error() {
    let client = role(2).await;
    for (seed, answer, fault) in [
        (11, vec![7, 0, 0, 0, 0], ProtocolFault::Status(7)),
        (12, vec![0, 9, 0, 0, 0, 1], ProtocolFault::Length),
        (13, vec![0, 0], ProtocolFault::Length),
        (
            14,
            vec![0, 255, 255, 255, 255],
            ProtocolFault::TooLarge { actual: u32::MAX, limit: 4 << 20 },
        ),
    ] {
        let raw = Raw::bind(seed, &[ALPN]).await;
        let (endpoint, said) = (raw.endpoint.clone(), answer.clone());
        tokio::spawn(async move {
            let connection = endpoint.accept().await.unwrap().await.unwrap();
            let (mut send, _recv) = connection.accept_bi().await.unwrap();
            send.write_all(&said).await.unwrap();
            send.finish().unwrap();
            connection.closed().await;
        });
        let error = open(&client, &raw.addr(), &b"hi"[..]).await.unwrap_err();
        let CallError::Protocol { fault: got, .. } = error else { panic!("{error:?}") };
        assert_eq!(got, fault, "{answer:?}");
    }
}
