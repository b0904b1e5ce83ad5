//! Peers that do not keep to the protocols.

use crate::{Echo, PATIENCE, Raw, config, content, role, within};
use bytes::Bytes;
use iroh::endpoint::{Connection, RecvStream, SendStream};
use muster_fabric::{
    CallError, Fabric, Fault, FetchError, ProtocolFault, RPC_ALPN, Refusal, RefusalCode, Service,
};
use muster_types::{AccountId, Hash, codec};
use std::{future::pending, time::Duration};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// Writes `bytes` to a new stream and ends it if asked to.
async fn open(connection: &Connection, bytes: &[u8], end: bool) -> (SendStream, RecvStream) {
    let (mut send, recv) = connection.open_bi().await.unwrap();
    send.write_all(bytes).await.unwrap();
    if end {
        send.finish().unwrap();
    }
    (send, recv)
}

fn framed(length: u32, body: &[u8]) -> Vec<u8> {
    [&length.to_le_bytes()[..], body].concat()
}

/// The refusal in a raw answer.
async fn refusal(mut recv: RecvStream) -> RefusalCode {
    let answer = within(recv.read_to_end(1 << 20)).await.unwrap();
    assert_eq!(answer[0], 1, "the status of a refusal");
    codec::decode::<Refusal>(&answer[5..], 4096).unwrap().code()
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_send_garbage_are_refused_and_disturb_nobody() {
    let server = role(1).await;
    server.serve(RPC_ALPN, Echo).unwrap();
    let to = server.local_addr();
    let hostile = Raw::bind(3, &[]).await;
    let connection = hostile.connect(&to, RPC_ALPN).await;

    // Streams that are left hanging: nothing, half a length, half a request.
    let mut hanging = Vec::new();
    for bytes in [&b""[..], &[7, 0], &framed(100, b"half")] {
        hanging.push(open(&connection, bytes, false).await);
    }
    // Streams that get an answer: no length, a huge one, one too long and one too short.
    let table = [
        (vec![], RefusalCode::MALFORMED),
        (vec![1, 2, 3], RefusalCode::MALFORMED),
        (framed(u32::MAX, &[0; 1000]), RefusalCode::TOO_LARGE),
        (framed(3, b"four"), RefusalCode::MALFORMED),
        (framed(5, b"four"), RefusalCode::MALFORMED),
    ];
    for (bytes, code) in table {
        let (_send, recv) = open(&connection, &bytes, true).await;
        assert_eq!(refusal(recv).await, code, "{bytes:?}");
    }
    // A stream broken off in the middle, and a connection too.
    let (mut send, _recv) = open(&connection, &framed(100, b"half"), false).await;
    send.reset(9u32.into()).unwrap();
    let broken = hostile.connect(&to, RPC_ALPN).await;
    let _half = open(&broken, &[1], false).await;
    broken.close(1u32.into(), b"bye");

    let client = role(2).await;
    let answer = client.call(&to, RPC_ALPN, content(999), PATIENCE).await.unwrap();
    assert_eq!(answer, content(999));
    let (_send, mut recv) = open(&connection, &framed(4, b"well"), true).await;
    assert_eq!(within(recv.read_to_end(100)).await.unwrap(), b"\0\x04\0\0\0well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_never_ends_is_refused_after_the_transfer_timeout() {
    let mut config = config(1);
    config.limits.transfer_timeout = Duration::from_millis(100);
    let server = Fabric::bind(config).await.unwrap();
    server.serve(RPC_ALPN, Echo).unwrap();
    let hostile = Raw::bind(3, &[]).await;
    let connection = hostile.connect(&server.local_addr(), RPC_ALPN).await;
    let (_send, recv) = open(&connection, &framed(100, b"half"), false).await;
    assert_eq!(refusal(recv).await, RefusalCode::TIMEOUT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peers_calls_and_connections_are_bounded_over_all_its_connections() {
    struct Stuck(UnboundedSender<()>);
    impl Service for Stuck {
        async fn call(&self, _: AccountId, _: Bytes) -> Result<Bytes, Refusal> {
            self.0.send(()).ok();
            pending().await
        }
    }
    let mut config = config(1);
    config.limits.max_calls_per_peer = 1;
    config.limits.max_connections_per_peer = 2;
    let server = Fabric::bind(config).await.unwrap();
    let (sender, mut called) = unbounded_channel();
    server.serve(RPC_ALPN, Stuck(sender)).unwrap();
    server.serve(b"echo/1", Echo).unwrap();
    let to = server.local_addr();

    let greedy = Raw::bind(3, &[]).await;
    let first = greedy.connect(&to, RPC_ALPN).await;
    let _stuck = open(&first, &framed(0, b""), true).await;
    within(called.recv()).await.unwrap();
    let second = greedy.connect(&to, b"echo/1").await;
    let (_send, recv) = open(&second, &framed(0, b""), true).await;
    assert_eq!(refusal(recv).await, RefusalCode::BUSY);
    let third = greedy.connect(&to, b"echo/1").await;
    let closed = within(third.closed()).await;
    assert!(closed.to_string().contains("too many connections"), "{closed}");

    // Others are not held up.
    let client = role(2).await;
    let answer = client.call(&to, b"echo/1", content(5), PATIENCE).await.unwrap();
    assert_eq!(answer, content(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_not_to_protocol_are_recognised() {
    type Check = fn(&ProtocolFault) -> bool;
    let table: [(&'static [u8], Check); 7] = [
        (b"", |fault| *fault == ProtocolFault::Length),
        (b"\0\x04\0", |fault| *fault == ProtocolFault::Length),
        (b"\0\x04\0\0\0abc", |fault| *fault == ProtocolFault::Length),
        (b"\0\x04\0\0\0abcde", |fault| *fault == ProtocolFault::Length),
        (b"\x07\0\0\0\0", |fault| *fault == ProtocolFault::Status(7)),
        (b"\x01\0\0\x01\0", |fault| matches!(fault, ProtocolFault::TooLarge { .. })),
        (b"\x01\x02\0\0\0hi", |fault| matches!(fault, ProtocolFault::Decode(_))),
    ];
    let hostile = Raw::bind(3, &[RPC_ALPN]).await;
    // The request is the number of the answer.
    hostile.answer_streams(move |request| table[usize::from(request[4])].0.to_vec());
    let client = role(2).await;
    for (number, (_, check)) in (0u8..).zip(table) {
        let request = Bytes::copy_from_slice(&[number]);
        let error = client.call(&hostile.addr(), RPC_ALPN, request, PATIENCE).await.unwrap_err();
        let CallError::Protocol { fault, .. } = error else { panic!("{number}: {error:?}") };
        assert!(check(&fault), "{number}: {fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn providers_that_lie_about_bytes_or_size_are_caught_and_the_next_peer_is_asked() {
    // What a lying provider says to every request: a size and some bytes.
    let lies = [
        (1024u64, vec![0; 1024]),
        (10, vec![0; 10]),
        (0, vec![]),
        (0, content(1024).to_vec()),
        (1 << 40, vec![0; 16 * 1024]),
        (u64::MAX, vec![0; 64 * 1024]),
    ];
    let honest = role(1).await;
    for (number, (size, bytes)) in (0u8..).zip(lies) {
        // A blob of its own each time, so that nothing is left over from the last.
        let blob = honest.add_bytes(content(20_000 + usize::from(number))).await.unwrap();
        honest.gate().public(blob.hash);
        let hostile = Raw::bind(10 + number, &[iroh_blobs::ALPN]).await;
        hostile.answer_streams(move |_| [&size.to_le_bytes()[..], &bytes].concat());
        let client = role(2).await;

        let error = within(client.fetch(blob.hash, 1 << 20, &[hostile.addr()])).await.unwrap_err();
        let FetchError::NoPeer { faults, .. } = error else { panic!("{number}: {error:?}") };
        assert!(
            matches!(faults[..], [ref fault] if matches!(fault.fault, Fault::Corrupted | Fault::NotHeld)),
            "{number}: {faults:?}"
        );
        assert!(!client.has(blob.hash).await.unwrap());

        let from = [hostile.addr(), honest.local_addr()];
        assert_eq!(within(client.fetch(blob.hash, 1 << 20, &from)).await.unwrap(), blob);
        client.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_falls_silent_is_given_up() {
    let hostile = Raw::bind(3, &[iroh_blobs::ALPN]).await;
    let endpoint = hostile.endpoint.clone();
    let silent = tokio::spawn(async move {
        let connection = endpoint.accept().await.unwrap().await.unwrap();
        let mut streams = Vec::new();
        while let Ok(stream) = connection.accept_bi().await {
            streams.push(stream);
        }
    });
    let mut config = config(2);
    config.limits.stall_timeout = Duration::from_millis(200);
    let client = Fabric::bind(config).await.unwrap();
    let hash = Hash::of_content(b"never sent");
    let error = within(client.fetch(hash, 1000, &[hostile.addr()])).await.unwrap_err();
    let FetchError::NoPeer { faults, .. } = error else { panic!("{error:?}") };
    assert!(matches!(faults[..], [ref f] if matches!(f.fault, Fault::Stalled(_))), "{faults:?}");
    silent.abort();
}
