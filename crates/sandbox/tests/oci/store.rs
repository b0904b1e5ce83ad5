//! What stays, what goes, and what a crash leaves.

use super::{
    build::{Archive, Packed, Packing, image, pack},
    fake::Fake,
    pull::options,
};
use muster_sandbox::oci::image::{
    Digest, IdMap, Image, Layer, LayerProblem, PullError, PullOptions, Store,
};
use std::path::Path;

/// Takes some 100 KiB, packed or not.
fn layer(number: u32) -> Packed {
    let text = format!("{number:06}").repeat(100 << 10);
    pack(Archive::new().file("f", &text[..100 << 10]), Packing::Plain)
}

struct World {
    fake: Fake,
    dir: tempfile::TempDir,
    store: Store,
}

impl World {
    /// With room for three layers and one on the way, not for four.
    async fn new() -> Self {
        let (fake, dir) = (Fake::start().await, tempfile::tempdir().unwrap());
        let store = Store::open(dir.path(), 450 << 10).unwrap();
        Self { fake, dir, store }
    }

    async fn pull(&self, number: u32) -> Result<Image, PullError> {
        let name = self.fake.has(&format!("app{number}"), "1", &image(&[layer(number)]));
        self.fake.pull(&self.store, &name, &options()).await
    }

    fn brought(&self, number: u32) -> usize {
        self.fake.asked_for(Digest::of(&layer(number).bytes)).len()
    }
}

#[tokio::test]
async fn what_was_used_longest_ago_makes_room() {
    let world = World::new().await;
    for number in [1, 2, 3] {
        drop(world.pull(number).await.unwrap());
        assert!(world.store.stats().bytes <= world.store.stats().bound);
    }
    // For 4 to be on the way, 1 has to go: 2 was used since.
    drop(world.pull(2).await.unwrap());
    drop(world.pull(4).await.unwrap());
    drop(world.pull(2).await.unwrap());
    assert_eq!((world.brought(2), world.brought(4)), (1, 1));
    drop(world.pull(1).await.unwrap());
    assert_eq!(world.brought(1), 2);
    assert_eq!(std::fs::read_dir(world.dir.path().join("tmp")).unwrap().count(), 0);
}

#[tokio::test]
async fn what_is_in_use_stays_even_if_nothing_else_fits() {
    let world = World::new().await;
    let mut held = Vec::new();
    for number in [1, 2, 3] {
        held.push(world.pull(number).await.unwrap());
    }
    let error = world.pull(4).await.unwrap_err();
    assert!(matches!(error, PullError::Layer { problem: LayerProblem::NoRoom, .. }), "{error:?}");
    for image in &held {
        assert!(image.layers[0].dir().join("f").is_file());
    }
    let clone = held[0].layers[0].clone();
    drop(held);
    drop(world.pull(4).await.unwrap());
    assert!(clone.dir().join("f").is_file(), "a clone is a use");
    assert_eq!(world.store.stats().bytes_in_use, clone.bytes());
    drop(clone);
    assert_eq!(world.store.stats().bytes_in_use, 0);
}

#[tokio::test]
async fn the_order_of_use_outlives_a_restart() {
    let world = World::new().await;
    for number in [1, 2] {
        drop(world.pull(number).await.unwrap());
    }
    // Times of files are as coarse as the file system's.
    let touched = world.dir.path().join("layers");
    let touch = |diff_id: Digest, seconds| {
        let name = format!("{}.squash/meta.json", diff_id.hex());
        let file = std::fs::File::options().append(true).open(touched.join(name)).unwrap();
        file.set_modified(
            std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds),
        )
        .unwrap();
    };
    touch(layer(1).diff_id, 2000);
    touch(layer(2).diff_id, 1000);
    let World { fake, dir, store } = world;
    drop(store);
    let store = Store::open(dir.path(), 450 << 10).unwrap();
    let world = World { fake, dir, store };
    assert_eq!(world.store.stats().layers, 2);
    for number in [3, 4, 1] {
        drop(world.pull(number).await.unwrap());
    }
    assert_eq!(world.brought(1), 1);
    drop(world.pull(2).await.unwrap());
    assert_eq!(world.brought(2), 2);
}

#[tokio::test]
async fn a_smaller_bound_than_before_takes_layers_away_that_nobody_holds_at_the_next_pull() {
    let mut world = World::new().await;
    let dir = world.dir.path().join("larger");
    world.store = Store::open(&dir, 1 << 20).unwrap();
    let held = world.pull(1).await.unwrap().record();
    for number in [2, 3, 4] {
        drop(world.pull(number).await.unwrap());
    }
    assert!(world.store.stats().bytes > 350 << 10);
    drop(world.store);
    world.store = Store::open(&dir, 350 << 10).unwrap();
    // Containers that outlived a restart must find their layers, used last or not.
    let image = world.store.hold(&held).unwrap();
    let new = world.pull(5).await.unwrap();
    assert!(dirs(&image).iter().chain(&dirs(&new)).all(|dir| dir.exists()));
    let stats = world.store.stats();
    assert!(stats.layers == 2 && stats.bytes <= stats.bound, "{stats:?}");
}

#[tokio::test]
async fn an_image_is_held_again_after_a_restart_without_the_registry() {
    let World { fake, dir, store } = World::new().await;
    let name = fake.has("app", "1", &image(&[layer(1), layer(2)]));
    let pulled = fake.pull(&store, &name, &options()).await.unwrap();
    let (record, dirs) = (pulled.record(), dirs(&pulled));
    drop((pulled, store, fake));

    let store = Store::open(dir.path(), 450 << 10).unwrap();
    let text = serde_json::to_string(&record).unwrap();
    let held = store.hold(&serde_json::from_str(&text).unwrap()).unwrap();
    assert_eq!((held.record(), &dirs), (record.clone(), &self::dirs(&held)));
    assert_eq!(store.stats().bytes_in_use, store.stats().bytes);
    drop((held, store));

    let store = Store::open(&dir.path().join("other"), 0).unwrap();
    let error = store.hold(&record).unwrap_err();
    assert!(matches!(error, PullError::Gone { .. }), "{error:?}");
    let text = text.replace(&name.to_string(), "not an image");
    assert!(store.hold(&serde_json::from_str(&text).unwrap()).is_err());
}

fn dirs(image: &Image) -> Vec<std::path::PathBuf> {
    image.layers.iter().map(Layer::dir).collect()
}

#[tokio::test]
async fn what_a_crash_leaves_is_swept_and_never_taken_for_a_layer() {
    let World { fake, dir, store } = World::new().await;
    let name = fake.has("app", "1", &image(&[layer(1)]));
    let good = fake.pull(&store, &name, &options()).await.unwrap().layers[0].dir();
    drop(store);
    let at = |path: &str| dir.path().join(path);
    // Half a layer on the way, one without its note, one with another's, one whose note is torn.
    std::fs::create_dir_all(at("tmp/7/fs/etc")).unwrap();
    std::fs::create_dir_all(at("layers/no-note/fs")).unwrap();
    let other = format!("layers/{}.squash", layer(2).diff_id.hex());
    std::fs::create_dir_all(at(&other).join("fs")).unwrap();
    let note = good.parent().unwrap().join("meta.json");
    std::fs::copy(&note, at(&other).join("meta.json")).unwrap();
    let torn = at(&format!("layers/{}.squash", layer(3).diff_id.hex()));
    std::fs::create_dir_all(torn.join("fs")).unwrap();
    std::fs::write(torn.join("meta.json"), &std::fs::read(&note).unwrap()[..20]).unwrap();
    std::fs::create_dir_all(at("partial/directory")).unwrap();

    let store = Store::open(dir.path(), 450 << 10).unwrap();
    let count = |path: &str| std::fs::read_dir(at(path)).unwrap().count();
    assert_eq!((count("tmp"), count("layers"), count("partial")), (0, 1, 0));
    assert_eq!(store.stats().layers, 1);
}

#[tokio::test]
async fn one_process_has_a_store_open() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), 1000).unwrap();
    let error = Store::open(dir.path(), 1000).unwrap_err();
    assert!(matches!(error, PullError::StoreInUse { .. }), "{error:?}");
    drop(store);
    Store::open(dir.path(), 1000).unwrap();
    assert_eq!(mode(dir.path().join("layers").as_path()), 0o700);
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).unwrap().mode() & 0o777
}

#[tokio::test]
async fn other_owners_are_other_directories() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: giving files away needs root");
        return;
    }
    let world = World::new().await;
    let name = world.fake.has("app", "1", &image(&[layer(1)]));
    let pull = async |base| {
        let options = PullOptions::new(IdMap::shift(base, 65_536).unwrap());
        world.fake.pull(&world.store, &name, &options).await.unwrap()
    };
    let (a, b) = (pull(100_000).await, pull(200_000).await);
    assert_ne!(dirs(&a), dirs(&b));
}
