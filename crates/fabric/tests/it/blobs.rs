//! Blobs between honest peers, and the gate.

use crate::{Raw, config, content, key, role, within};
use futures::StreamExt;
use futures::future::join_all;
use iroh::protocol::Router;
use iroh_blobs::{
    BlobsProtocol,
    api::blobs::Bitfield,
    protocol::{ChunkRangesSeq, ERR_PERMISSION, GetManyRequest, GetRequest, ObserveRequest},
    provider::events::{EventMask, EventSender, ProviderMessage, RequestMode},
    store::mem::MemStore,
};
use muster_fabric::{BlobError, Config, Fabric, Fault, FetchError, PeerAddr, Store};
use muster_types::Hash;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

const ROOM: u64 = 64 << 20;

fn in_directory(seed: u8, path: &Path) -> Config {
    let mut config = config(seed);
    config.store = Store::Directory(path.to_owned());
    config
}

/// The single fault of a fetch from one peer.
async fn fault(client: &Fabric, hash: Hash, from: &PeerAddr) -> Fault {
    let error = within(client.fetch(hash, ROOM, std::slice::from_ref(from))).await.unwrap_err();
    let FetchError::NoPeer { mut faults, .. } = error else { panic!("{error:?}") };
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].peer, from.account());
    faults.remove(0).fault
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_of_every_shape_arrive_as_they_were_in_both_kinds_of_store() {
    let directory = tempfile::tempdir().unwrap();
    let server = Fabric::bind(in_directory(1, directory.path())).await.unwrap();
    let client = role(2).await;
    for length in [0usize, 1, 1024, 16 * 1024 + 1, 5 << 20] {
        let bytes = content(length);
        let blob = server.add_bytes(bytes.clone()).await.unwrap();
        assert_eq!(blob.hash, Hash::of_content(&bytes));
        assert_eq!(blob.size, u64::try_from(length).unwrap());
        server.gate().allow(client.account(), blob.hash);
        let fetched = within(client.fetch(blob.hash, ROOM, &[server.local_addr()])).await.unwrap();
        assert_eq!(fetched, blob);
        assert_eq!(client.get_bytes(blob.hash, ROOM).await.unwrap(), bytes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_added_and_exported() {
    let directory = tempfile::tempdir().unwrap();
    let (source, target) = (directory.path().join("source"), directory.path().join("target"));
    std::fs::write(&source, content(100_000)).unwrap();
    let fabric = Fabric::bind(in_directory(1, &directory.path().join("store"))).await.unwrap();
    let blob = fabric.add_file(&source).await.unwrap();
    assert_eq!(blob.hash, Hash::of_content(&content(100_000)));
    // The copy does not depend on the file.
    std::fs::remove_file(&source).unwrap();
    assert_eq!(fabric.export_file(blob.hash, &target).await.unwrap(), blob);
    assert_eq!(std::fs::read(&target).unwrap(), content(100_000));

    for path in [source.as_path(), directory.path()] {
        assert!(matches!(fabric.add_file(path).await, Err(BlobError::File { .. })), "{path:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_limit_is_passed_by_a_single_byte() {
    let server = role(1).await;
    let blob = server.add_bytes(content(100_000)).await.unwrap();
    server.gate().public(blob.hash);
    let from = [server.local_addr()];
    let mut small = config(2);
    small.limits.max_blob_bytes = 99_999;
    let small = Fabric::bind(small).await.unwrap();
    let client = role(3).await;

    // The caller's bound, and the endpoint's.
    for (client, max_bytes) in [(&client, 99_999), (&small, ROOM)] {
        let error = within(client.fetch(blob.hash, max_bytes, &from)).await.unwrap_err();
        assert!(
            matches!(error, FetchError::TooLarge { size: 100_000, limit: 99_999, .. }),
            "{error:?}"
        );
        assert!(!client.has(blob.hash).await.unwrap());
    }
    within(client.fetch(blob.hash, 100_000, &from)).await.unwrap();
    // The bound also holds for what is here already.
    let error = client.fetch(blob.hash, 99_999, &[]).await.unwrap_err();
    assert!(matches!(error, FetchError::TooLarge { .. }), "{error:?}");
    let error = client.get_bytes(blob.hash, 99_999).await.unwrap_err();
    assert!(matches!(error, BlobError::TooLarge { size: 100_000, limit: 99_999 }), "{error:?}");

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), content(100_000)).unwrap();
    for error in [
        small.add_bytes(content(100_000)).await.unwrap_err(),
        small.add_file(file.path()).await.unwrap_err(),
    ] {
        assert!(matches!(error, BlobError::TooLarge { .. }), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_those_whom_the_gate_lets_in_are_served() {
    let server = role(1).await;
    let from = server.local_addr();
    let [first, second] = [1000, 2000].map(content);
    let first = server.add_bytes(first).await.unwrap().hash;
    let second = server.add_bytes(second).await.unwrap().hash;
    let unknown = Hash::of_content(b"unknown");
    let (friend, stranger) = (role(2).await, role(3).await);
    server.gate().allow(friend.account(), first);
    server.gate().allow(friend.account(), unknown);

    // To a stranger, held and unknown blobs look alike.
    for hash in [first, second, unknown] {
        let fault = fault(&stranger, hash, &from).await;
        assert!(matches!(fault, Fault::NotAllowed), "{fault:?}");
    }
    let fault_of = fault(&friend, unknown, &from).await;
    assert!(matches!(fault_of, Fault::NotHeld), "{fault_of:?}");
    let fault_of = fault(&friend, second, &from).await;
    assert!(matches!(fault_of, Fault::NotAllowed), "{fault_of:?}");
    within(friend.fetch(first, ROOM, std::slice::from_ref(&from))).await.unwrap();

    server.gate().allow(friend.account(), second);
    server.gate().revoke_peer(friend.account());
    let fault_of = fault(&friend, second, &from).await;
    assert!(matches!(fault_of, Fault::NotAllowed), "{fault_of:?}");
    server.gate().public(second);
    within(stranger.fetch(second, ROOM, &[from])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gate_cannot_be_gone_round_by_lists_batches_or_watching() {
    let server = role(1).await;
    let secret = server.add_bytes(content(1000)).await.unwrap().hash;
    // Allowed, and its content is the name of the secret blob.
    let list = server.add_bytes(secret.as_bytes().to_vec()).await.unwrap().hash;
    server.gate().public(list);
    let client = Raw::bind(3, &[]).await;
    let connection = client.connect(&server.local_addr(), iroh_blobs::ALPN).await;
    let [secret, list] = [secret, list].map(|hash| iroh_blobs::Hash::from_bytes(hash.0));
    let store = MemStore::new();
    let remote = store.remote();

    let allowed = remote.execute_get(connection.clone(), GetRequest::blob(list));
    within(allowed.complete()).await.unwrap();
    for request in [GetRequest::all(list), GetRequest::blob(secret)] {
        let error =
            within(remote.execute_get(connection.clone(), request).complete()).await.unwrap_err();
        assert_eq!(error.iroh_error_code(), Some(ERR_PERMISSION), "{error:?}");
    }
    let many = GetManyRequest::new(vec![list, secret], ChunkRangesSeq::all());
    within(remote.execute_get_many(connection.clone(), many).complete()).await.unwrap_err();
    let watched = remote.observe(connection, ObserveRequest::new(list));
    let mut watched = std::pin::pin!(watched);
    let first: Option<Result<Bitfield, _>> = within(watched.next()).await;
    assert!(matches!(first, Some(Err(_))), "{first:?}");
    assert!(!store.has(secret).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_are_asked_in_turn_and_each_fault_is_told() {
    let (good, refuses, lacks) = (role(1).await, role(2).await, role(3).await);
    let bytes = content(50_000);
    let hash = Hash::of_content(&bytes);
    for fabric in [&good, &refuses] {
        fabric.add_bytes(bytes.clone()).await.unwrap();
    }
    for fabric in [&good, &lacks] {
        fabric.gate().public(hash);
    }
    let gone = role(4).await;
    let mut from = vec![gone.local_addr()];
    gone.shutdown().await;
    drop(gone);
    let impostor = PeerAddr::new(key(9).account(), good.local_addr().sockets().to_vec()).unwrap();
    from.extend([impostor, refuses.local_addr(), lacks.local_addr()]);

    let mut config = config(5);
    config.dial_timeout = Duration::from_millis(500);
    let client = Fabric::bind(config).await.unwrap();
    let error = within(client.fetch(hash, ROOM, &from)).await.unwrap_err();
    let FetchError::NoPeer { faults, .. } = &error else { panic!("{error:?}") };
    assert!(
        matches!(
            faults.iter().map(|fault| &fault.fault).collect::<Vec<_>>()[..],
            [Fault::Unreachable(_), Fault::Unreachable(_), Fault::NotAllowed, Fault::NotHeld]
        ),
        "{faults:?}"
    );
    assert!(error.to_string().contains("from none of 4 peers"), "{error}");

    from.push(good.local_addr());
    within(client.fetch(hash, ROOM, &from)).await.unwrap();
    assert_eq!(client.get_bytes(hash, ROOM).await.unwrap(), bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_fetches_of_one_blob_transfer_it_once() {
    let provider = Raw::bind(1, &[iroh_blobs::ALPN]).await;
    let store = MemStore::new();
    let bytes = content(1 << 20);
    let hash = Hash(*store.add_bytes(bytes.clone()).await.unwrap().hash.as_bytes());
    let mask = EventMask { get: RequestMode::Notify, ..EventMask::DEFAULT };
    let (events, mut seen) = EventSender::channel(16, mask);
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Some(event) = seen.recv().await {
            if matches!(event, ProviderMessage::GetRequestReceivedNotify(_)) {
                counter.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    let protocol = BlobsProtocol::new(&store, Some(events));
    let router =
        Router::builder(provider.endpoint.clone()).accept(iroh_blobs::ALPN, protocol).spawn();

    let client = role(2).await;
    let from = [provider.addr()];
    for fetched in within(join_all((0..8).map(|_| client.fetch(hash, ROOM, &from)))).await {
        fetched.unwrap();
    }
    assert_eq!(client.get_bytes(hash, ROOM).await.unwrap(), bytes);
    router.shutdown().await.unwrap();
    // One request for the size and one for the content.
    assert_eq!(requests.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_is_given_up_leaves_the_way_free_for_the_next() {
    let silent = Raw::bind(1, &[iroh_blobs::ALPN]).await;
    let honest = role(2).await;
    let blob = honest.add_bytes(content(5000)).await.unwrap();
    honest.gate().public(blob.hash);
    let client = role(3).await;
    let stuck = {
        let (client, from) = (client.clone(), silent.addr());
        tokio::spawn(async move { client.fetch(blob.hash, ROOM, &[from]).await })
    };
    let _connection = within(silent.endpoint.accept()).await.unwrap().await.unwrap();
    stuck.abort();
    assert!(stuck.await.unwrap_err().is_cancelled());
    assert_eq!(within(client.fetch(blob.hash, ROOM, &[honest.local_addr()])).await.unwrap(), blob);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_keeps_its_blobs_over_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let client = role(2).await;
    let first = Fabric::bind(in_directory(1, directory.path())).await.unwrap();
    let small = first.add_bytes(content(100)).await.unwrap();
    let large = first.add_bytes(content(3 << 20)).await.unwrap();
    // Two endpoints cannot use one directory at a time.
    let second = Fabric::bind(in_directory(3, directory.path())).await;
    assert!(second.is_err());
    within(first.shutdown()).await;
    assert!(matches!(first.has(small.hash).await, Err(BlobError::Store { .. })));

    let second = Fabric::bind(in_directory(1, directory.path())).await.unwrap();
    for blob in [small, large] {
        second.gate().public(blob.hash);
        let fetched = within(client.fetch(blob.hash, ROOM, &[second.local_addr()])).await.unwrap();
        assert_eq!(fetched, blob);
    }
    assert_eq!(second.get_bytes(large.hash, ROOM).await.unwrap(), content(3 << 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_unpinned_is_collected_and_what_is_pinned_stays() {
    let mut config = config(1);
    config.collect_every = Some(Duration::from_millis(10));
    let fabric = Fabric::bind(config).await.unwrap();
    let kept = fabric.add_bytes(content(1000)).await.unwrap().hash;
    let gone = fabric.add_bytes(content(2000)).await.unwrap().hash;
    assert!(fabric.unpin(gone).await.unwrap());
    assert!(!fabric.unpin(gone).await.unwrap());
    within(async {
        while fabric.has(gone).await.unwrap() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(fabric.has(kept).await.unwrap());
    assert!(matches!(fabric.get_bytes(gone, ROOM).await, Err(BlobError::NotHeld { .. })));
}
