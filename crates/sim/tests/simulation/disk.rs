//! The disk forgets what it may, and nothing else.

use commonware_runtime::Storage as _;
use commonware_runtime::{Blob as _, ReadOptions, WriteOptions};
use commonware_runtime::{Runner as _, Supervisor as _, deterministic};
use muster_sim::{Disk, DiskBlob, Host, Life, Unsynced};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng as _};
use std::{collections::BTreeSet, sync::Arc};

/// Writes in a first life, crashes, and gives what the next one reads.
fn after_crash(
    how: Unsynced,
    seed: u64,
    lies: Option<&str>,
    writes: impl AsyncFnOnce(&Host, &Life),
) -> String {
    deterministic::Runner::default().start(async |context: deterministic::Context| {
        let disk = Arc::new(Disk::new(lies.map(str::to_owned)));
        let life = Life::new(disk.clone(), 0);
        writes(&Host::new(context.child("first"), life.clone()), &life).await;
        life.end();
        disk.crash(how, &mut ChaCha8Rng::seed_from_u64(seed));
        let next = Host::new(context.child("next"), Life::new(disk, 0));
        let (blob, length) = next.open("votes", b"1").await.unwrap();
        let length = usize::try_from(length).unwrap();
        let read = blob.read_at(0, length, ReadOptions::default()).await.unwrap();
        String::from_utf8(read.coalesce().as_ref().to_vec()).unwrap()
    })
}

async fn open(host: &Host) -> DiskBlob {
    host.open("votes", b"1").await.unwrap().0
}

#[test]
fn what_was_synced_is_there_after_every_crash() {
    for (seed, how) in [(0, Unsynced::Lost), (1, Unsynced::Prefix), (2, Unsynced::Torn)] {
        let read = after_crash(how, seed, None, async |host, _| {
            let blob = open(host).await;
            blob.write_at(0, b"kept".to_vec(), WriteOptions::default()).await.unwrap();
            blob.sync().await.unwrap();
        });
        assert_eq!(read, "kept");
    }
}

#[test]
fn of_what_was_not_synced_any_part_may_be_there_and_nothing_else_changes() {
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let read = after_crash(Unsynced::Torn, seed, None, async |host, _| {
            let blob = open(host).await;
            blob.write_at(0, b"aaaa".to_vec(), WriteOptions::default()).await.unwrap();
            blob.sync().await.unwrap();
            blob.write_at(1, b"bb".to_vec(), WriteOptions::default()).await.unwrap();
        });
        seen.insert(read);
    }
    let all = ["aaaa", "aaba", "abaa", "abba"].map(str::to_owned);
    assert_eq!(seen, all.into());
}

#[test]
fn a_write_with_sync_outlives_an_older_one_that_is_torn() {
    for seed in 0..50 {
        let read = after_crash(Unsynced::Torn, seed, None, async |host, _| {
            let blob = open(host).await;
            blob.write_at(0, b"xx".to_vec(), WriteOptions::default()).await.unwrap();
            blob.write_at(0, b"yy".to_vec(), WriteOptions::SYNC).await.unwrap();
        });
        assert_eq!(read, "yy");
    }
}

#[test]
fn a_disk_that_lies_loses_what_it_said_was_synced() {
    let read = after_crash(Unsynced::Lost, 0, Some("vote"), async |host, _| {
        let blob = open(host).await;
        blob.write_at(0, b"lost".to_vec(), WriteOptions::default()).await.unwrap();
        blob.sync().await.unwrap();
    });
    assert_eq!(read, "");
}

#[test]
fn a_process_dies_with_the_change_that_it_was_to_die_with() {
    let read = after_crash(Unsynced::Lost, 0, None, async |host, life| {
        let blob = open(host).await;
        life.end_with(3);
        blob.write_at(0, b"one".to_vec(), WriteOptions::SYNC).await.unwrap();
        blob.write_at(3, b"two".to_vec(), WriteOptions::SYNC).await.unwrap();
        let mut third = Box::pin(blob.write_at(6, b"three".to_vec(), WriteOptions::SYNC));
        assert!(futures::poll!(&mut third).is_pending());
        assert!(life.is_dead());
        assert!(futures::poll!(Box::pin(blob.sync())).is_pending());
    });
    assert_eq!(read, "onetwo");
}
