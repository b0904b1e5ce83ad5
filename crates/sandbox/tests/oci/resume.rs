//! Downloads that break off.

use super::{
    build::{Archive, Packed, Packing, image, pack},
    fake::{Fake, client, read},
    pull::{options, store},
};
use muster_sandbox::oci::image::{Digest, ImageRef, PullError, Store};
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

const SIZE: usize = 1 << 20;

fn big() -> Packed {
    let text: String = (0..SIZE / 8).map(|number| format!("{number:07} ")).collect();
    pack(Archive::new().file("big", &text), Packing::Plain)
}

fn ranges(fake: &Fake, layer: &Packed) -> Vec<String> {
    fake.asked_for(Digest::of(&layer.bytes)).into_iter().map(|asked| asked.range).collect()
}

fn partials(dir: &Path) -> Vec<PathBuf> {
    let found = std::fs::read_dir(dir.join("partial")).unwrap();
    found.map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test]
async fn a_download_that_breaks_off_goes_on_where_it_was() {
    let (fake, (dir, store)) = (Fake::start().await, store());
    let layer = big();
    let name = fake.has("app", "1", &image(std::slice::from_ref(&layer)));
    fake.cuts(&layer.bytes, vec![200_000, 300_000]);
    let pulled = fake.pull(&store, &name, &fake.hears(options())).await.unwrap();
    assert_eq!(read(&pulled.layers[0], "big").len(), SIZE);
    assert_eq!(ranges(&fake, &layer), ["", "bytes=300000-", "bytes=500000-"]);
    assert_eq!(partials(dir.path()), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_registry_without_ranges_is_taken_from_the_beginning() {
    let (fake, (_dir, store)) = (Fake::start().await, store());
    let layer = big();
    let name = fake.has("app", "1", &image(std::slice::from_ref(&layer)));
    fake.ways(|ways| ways.knows_ranges = false);
    fake.cuts(&layer.bytes, vec![400_000]);
    let pulled = fake.pull(&store, &name, &fake.hears(options())).await.unwrap();
    assert_eq!(read(&pulled.layers[0], "big").len(), SIZE);
    assert_eq!(ranges(&fake, &layer), ["", "bytes=400000-"]);
}

#[tokio::test]
async fn after_too_many_cuts_a_pull_fails_and_the_next_goes_on() {
    let (fake, (dir, store)) = (Fake::start().await, store());
    let layer = big();
    let name = fake.has("app", "1", &image(std::slice::from_ref(&layer)));
    fake.cuts(&layer.bytes, vec![0, 0, 0, 0, 0, 0, 6000]);
    let error = fake.pull(&store, &name, &fake.hears(options())).await.unwrap_err();
    assert!(matches!(error, PullError::Unreachable { .. }), "{error:?}");
    assert_eq!(ranges(&fake, &layer).len(), 7);
    assert_eq!(store.stats().bytes, 6000);
    // Kept over a restart.
    drop(store);
    let store = Store::open(dir.path(), 1 << 30).unwrap();
    assert_eq!(store.stats().bytes, 6000);
    fake.pull(&store, &name, &options()).await.unwrap();
    assert_eq!(ranges(&fake, &layer).last().unwrap(), "bytes=6000-");
}

#[tokio::test]
async fn what_a_crash_has_bent_is_brought_again() {
    let (fake, (dir, store)) = (Fake::start().await, store());
    let layer = big();
    let name = fake.has("app", "1", &image(std::slice::from_ref(&layer)));
    fake.stalls(&layer.bytes, Some(6000));
    give_up_at(&fake, &store, &name, dir.path(), 6000).await;
    fake.stalls(&layer.bytes, None);
    let partial = partials(dir.path()).pop().unwrap();

    // As a file system leaves it after a loss of power: as long as before, and zeros.
    std::fs::write(&partial, [0; 6000]).unwrap();
    fake.pull(&store, &name, &options()).await.unwrap();
    assert_eq!(ranges(&fake, &layer), ["", "bytes=6000-", ""]);

    // All of it there, and none of it right; and more than there can be.
    for bytes in [vec![0; layer.bytes.len()], vec![0; layer.bytes.len() + 1]] {
        let (dir, store) = super::pull::store();
        let file = partial.file_name().unwrap();
        std::fs::write(dir.path().join("partial").join(file), bytes).unwrap();
        fake.pull(&store, &name, &options()).await.unwrap();
        assert_eq!(ranges(&fake, &layer).last().unwrap(), "");
    }
}

#[tokio::test]
async fn a_pull_that_is_given_up_is_gone_on_with() {
    let (fake, (dir, store)) = (Fake::start().await, store());
    let layer = big();
    let name = fake.has("app", "1", &image(std::slice::from_ref(&layer)));
    fake.stalls(&layer.bytes, Some(100_000));
    give_up_at(&fake, &store, &name, dir.path(), 100_000).await;
    fake.stalls(&layer.bytes, None);
    fake.pull(&store, &name, &options()).await.unwrap();
    assert_eq!(ranges(&fake, &layer), ["", "bytes=100000-"]);
}

/// Pulls until so many bytes are here, and no further.
async fn give_up_at(fake: &Fake, store: &Store, name: &ImageRef, dir: &Path, bytes: u64) {
    let (client, options) = (fake.client(), options());
    let pull = store.pull(&client, name, &options);
    let came = wait_until(|| partials(dir).first().is_some_and(|partial| size(partial) == bytes));
    tokio::select! {
        _ = pull => panic!("it cannot be done"),
        () = came => {}
    }
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}

async fn wait_until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const CHILD: &str = "MUSTER_TEST_PULLS";

/// Not a test of its own: what the next test kills.
#[tokio::test]
async fn who_is_killed_while_pulling() {
    let Ok(told) = std::env::var(CHILD) else { return };
    let (dir, image) = told.split_once(' ').unwrap();
    let image: ImageRef = image.parse().unwrap();
    let store = Store::open(Path::new(dir), 1 << 30).unwrap();
    store.pull(&client(&[image.host()]), &image, &options()).await.unwrap();
}

#[tokio::test]
async fn a_pull_that_is_killed_is_gone_on_with() {
    let (fake, dir) = (Fake::start().await, tempfile::tempdir().unwrap());
    let layer = big();
    let name = fake.has("app", "1", &image(std::slice::from_ref(&layer)));
    fake.stalls(&layer.bytes, Some(700_000));
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "resume::who_is_killed_while_pulling"])
        .env(CHILD, format!("{} {name}", dir.path().display()))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_until(|| {
        dir.path().join("partial").is_dir()
            && partials(dir.path()).first().is_some_and(|partial| size(partial) == 700_000)
    })
    .await;
    child.kill().unwrap();
    child.wait().unwrap();

    fake.stalls(&layer.bytes, None);
    let store = Store::open(dir.path(), 1 << 30).unwrap();
    let pulled = fake.pull(&store, &name, &options()).await.unwrap();
    assert_eq!(read(&pulled.layers[0], "big").len(), SIZE);
    assert_eq!(ranges(&fake, &layer), ["", "bytes=700000-"]);
}
