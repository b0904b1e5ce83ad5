//! Friendly registries, and what is checked of what they give.

use super::{
    build::{
        Archive, Built, Packing, architecture, config_for, hello, image, image_with, index, pack,
    },
    fake::{Fake, client, read},
};
use muster_sandbox::oci::image::{
    Blame, Digest, IdMap, ImageRef, Layer, Platform, Progress, PullError, PullOptions, Stage, Store,
};
use std::sync::{Arc, Mutex};

pub(crate) fn options() -> PullOptions {
    PullOptions::new(IdMap::squash())
}

pub(crate) fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), 1 << 30).unwrap();
    (dir, store)
}

#[tokio::test]
async fn layers_come_in_every_packing_from_the_bottom_to_the_top() {
    let (fake, (_dir, store)) = (Fake::start().await, store());
    let layers: Vec<_> = [Packing::Plain, Packing::Gzip, Packing::Zstd]
        .into_iter()
        .map(|packing| pack(Archive::new().file("which", &format!("{packing:?}")), packing))
        .collect();
    let name = fake.has("app", "1", &image(&layers));
    let pulled = fake.pull(&store, &name, &options()).await.unwrap();
    let found: Vec<String> = pulled.layers.iter().map(|layer| read(layer, "which")).collect();
    assert_eq!(found, ["Plain", "Gzip", "Zstd"]);
    assert_eq!(pulled.digest, image(&layers).digest());
    assert_eq!(pulled.config.cmd, ["/hello"]);
    assert_eq!(pulled.config.env, [("A".to_owned(), "b".to_owned())]);
}

#[tokio::test]
async fn what_several_writers_packed_one_after_the_other_is_read_to_its_end() {
    let (fake, (_dir, store)) = (Fake::start().await, store());
    let bytes = Archive::new().file("a", &"x".repeat(3000)).bytes();
    let (first, second) = bytes.split_at(700);
    for (name, join) in [
        ("gzip", super::build::gzip as fn(&[u8]) -> Vec<u8>),
        ("zstd", |part| zstd::encode_all(part, 1).unwrap()),
    ] {
        let mut layer = pack(Archive::new(), Packing::Gzip);
        layer.bytes = [join(first), join(second)].concat();
        layer.diff_id = Digest::of(&bytes);
        let name = fake.has(name, "1", &image(&[layer]));
        let pulled = fake.pull(&store, &name, &options()).await.unwrap();
        assert_eq!(read(&pulled.layers[0], "a").len(), 3000);
    }
}

#[tokio::test]
async fn dockers_media_types_are_understood() {
    let (fake, (_dir, store)) = (Fake::start().await, store());
    let mut layer = hello();
    layer.kind = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    let built = image(&[layer]);
    let text = String::from_utf8(built.manifest).unwrap();
    let text = text
        .replace(
            "application/vnd.oci.image.config.v1+json",
            "application/vnd.docker.container.image.v1+json",
        )
        .replace(
            "application/vnd.oci.image.manifest.v1+json",
            "application/vnd.docker.distribution.manifest.v2+json",
        );
    let kind = "application/vnd.docker.distribution.manifest.v2+json";
    let name = fake.has("app", "1", &Built { manifest: text.into_bytes(), kind, ..built });
    let pulled = fake.pull(&store, &name, &options()).await.unwrap();
    assert_eq!(read(&pulled.layers[0], "hello"), "hello, world\n");
}

#[tokio::test]
async fn of_an_index_the_image_for_this_machine_is_taken() {
    let (fake, (_dir, store)) = (Fake::start().await, store());
    let layer = |text: &str| pack(Archive::new().file("for", text), Packing::Gzip);
    let other = image_with(config_for("s390x", &[layer("other")]), &[layer("other")]);
    let ours = image(&[layer("ours")]);
    fake.has("app", "other", &other);
    fake.has("app", "ours", &ours);
    let here = format!("linux/{}", architecture());
    let all = index(&[("linux/s390x", &other), ("unknown/unknown", &other), (&here, &ours)]);
    let name = fake.has_index("app", "1", &all);
    let pulled = fake.pull(&store, &name, &options()).await.unwrap();
    assert_eq!((read(&pulled.layers[0], "for"), pulled.digest), ("ours".to_owned(), ours.digest()));

    // By the digest of the index too.
    let by_digest = name.at(Digest::of(&all));
    assert_eq!(fake.pull(&store, &by_digest, &options()).await.unwrap().digest, ours.digest());

    let elsewhere = Platform { os: "linux".into(), architecture: "mips".into(), variant: None };
    let elsewhere = PullOptions { platform: elsewhere, ..options() };
    let error = fake.pull(&store, &name, &elsewhere).await.unwrap_err();
    assert_eq!(error.blame(), Blame::Image);
    let said = format!("not made for linux/mips, but for linux/s390x, {here}: build it");
    assert!(error.to_string().contains(&said), "{error}");

    // A single image that says it is for another machine.
    let name: ImageRef = format!("{}/app:other", fake.host).parse().unwrap();
    let error = fake.pull(&store, &name, &options()).await.unwrap_err();
    assert!(matches!(error, PullError::Platform { .. }), "{error}");
}

#[tokio::test]
async fn a_layer_that_is_here_is_not_brought_again_and_images_share_it() {
    let (fake, (_dir, store)) = (Fake::start().await, store());
    let base = hello();
    let top = pack(Archive::new().file("top", "2"), Packing::Gzip);
    let first = fake.has("one", "1", &image(std::slice::from_ref(&base)));
    let second = fake.has("two", "1", &image(&[base.clone(), top]));
    let one = fake.pull(&store, &first, &options()).await.unwrap();

    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    let progress = move |progress: &Progress| hears.lock().unwrap().push(*progress);
    let telling = PullOptions { progress: Some(Arc::new(progress)), ..options() };
    let two = fake.pull(&store, &second, &telling).await.unwrap();
    assert_eq!(one.layers[0].dir(), two.layers[0].dir());
    assert_eq!(fake.asked_for(Digest::of(&base.bytes)).len(), 1);
    assert_eq!(store.stats().layers, 2);

    let ready = |index: usize| {
        let heard = heard.lock().unwrap();
        let of: Vec<_> = heard.iter().filter(|progress| progress.index == index).copied().collect();
        assert!(of.iter().all(|progress| progress.layers == 2 && progress.bytes <= progress.total));
        of.last().unwrap().stage
    };
    assert_eq!(ready(0), Stage::Ready { cached: true });
    assert_eq!(ready(1), Stage::Ready { cached: false });
}

#[tokio::test]
async fn a_layer_that_an_image_has_twice_counts_where_it_is_on_top() {
    let (fake, (_dir, store)) = (Fake::start().await, store());
    let (a, b) = (hello(), pack(Archive::new().file("b", "b"), Packing::Gzip));
    let name = fake.has("app", "1", &image(&[a.clone(), b.clone(), a.clone()]));
    let pulled = fake.pull(&store, &name, &options()).await.unwrap();
    let layers: Vec<Digest> = pulled.layers.iter().map(Layer::diff_id).collect();
    assert_eq!(layers, [b.diff_id, a.diff_id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_want_the_same_layer_at_once_bring_it_once() {
    let (fake, (_dir, store)) = (Fake::start().await, store());
    let big = pack(Archive::new().file("big", &"0123456789".repeat(100_000)), Packing::Plain);
    let name = fake.has("app", "1", &image(std::slice::from_ref(&big)));
    let (client, options) = (fake.client(), options());
    let pulls = (0..8).map(|_| store.pull(&client, &name, &options));
    let pulled = futures::future::try_join_all(pulls).await.unwrap();
    assert_eq!(pulled.len(), 8);
    assert_eq!(fake.asked_for(Digest::of(&big.bytes)).len(), 1);
}

#[tokio::test]
async fn bytes_that_are_not_those_named_are_refused() {
    let (fake, (_dir, store)) = (Fake::start().await, store());
    let (layer, other) = (hello(), pack(Archive::new().file("hello", "evil"), Packing::Plain));
    let built = image(std::slice::from_ref(&layer));
    let name = fake.has("app", "1", &built);
    let at = |what: &str, digest: Digest| format!("/v2/app/{what}/{digest}");

    // The layer: as long as it should be.
    let mut bent = layer.bytes.clone();
    *bent.last_mut().unwrap() ^= 1;
    fake.answers(&at("blobs", Digest::of(&layer.bytes)), 200, &[], &bent);
    let error = fake.pull(&store, &name, &options()).await.unwrap_err();
    assert!(matches!(error, PullError::Digest { .. }) && error.blame() == Blame::Registry);
    assert_eq!(store.stats().bytes, 0);

    // The layer: longer.
    fake.answers(&at("blobs", Digest::of(&layer.bytes)), 200, &[], &[0; 4096]);
    let error = fake.pull(&store, &name, &options()).await.unwrap_err();
    assert!(error.to_string().contains("bytes that its manifest says"), "{error}");

    // The configuration.
    fake.answers(&at("blobs", Digest::of(&built.blobs[0])), 200, &[], b"{}");
    let error = fake.pull(&store, &name, &options()).await.unwrap_err();
    assert!(matches!(error, PullError::Digest { .. }), "{error}");

    // The manifest, where it was asked for by digest.
    fake.answers(&at("manifests", built.digest()), 200, &[], &image(&[other]).manifest);
    let error = fake.pull(&store, &name.at(built.digest()), &options()).await.unwrap_err();
    assert!(matches!(error, PullError::Digest { .. }), "{error}");
}

#[tokio::test]
async fn an_archive_that_the_configuration_does_not_name_is_refused() {
    let (fake, (_dir, store)) = (Fake::start().await, store());
    let (layer, other) = (hello(), pack(Archive::new().file("other", ""), Packing::Plain));
    let config = config_for(&architecture(), &[other]);
    let name = fake.has("app", "1", &image_with(config, &[layer]));
    let error = fake.pull(&store, &name, &options()).await.unwrap_err();
    assert_eq!(error.blame(), Blame::Image);
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("the image's configuration says"), "{source}");
    assert_eq!((store.stats().layers, store.stats().bytes), (0, 0));
}

#[tokio::test]
async fn what_there_is_not_is_said_with_the_registrys_harmless_words() {
    let (fake, (_dir, store)) = (Fake::start().await, store());
    let name: ImageRef = format!("{}/none:1", fake.host).parse().unwrap();
    let error = fake.pull(&store, &name, &options()).await.unwrap_err();
    let expected = format!(
        "`{name}` is not at http://{}/v2/none/manifests/1: MANIFEST_UNKNOWN manifest  unknown: \
         check repository, and tag or digest",
        fake.host
    );
    assert_eq!(error.to_string(), expected);

    fake.answers("/v2/none/manifests/1", 429, &[("retry-after", "7")], b"");
    let error = fake.pull(&store, &name, &options()).await.unwrap_err();
    assert!(error.to_string().contains("wait 7 s"), "{error}");
    fake.answers("/v2/none/manifests/1", 503, &[], b"<html>");
    let error = fake.pull(&store, &name, &options()).await.unwrap_err();
    assert!(error.to_string().ends_with("answered 503"), "{error}");
    assert_eq!(error.blame(), Blame::Registry);
}

#[tokio::test]
async fn a_registry_at_a_private_address_is_not_asked_unless_it_is_trusted() {
    let (fake, (_dir, store)) = (Fake::start().await, store());
    let name = fake.has("app", "1", &image(&[hello()]));
    let port = name.host().rsplit_once(':').unwrap().1.to_owned();
    let by_name: ImageRef = format!("localhost:{port}/app:1").parse().unwrap();
    for image in [&name, &by_name] {
        let error = store.pull(&client(&[]), image, &options()).await.unwrap_err();
        assert!(matches!(error, PullError::HostRefused { .. }), "{error:?}");
        assert!(error.to_string().contains("`trusted`"), "{error}");
    }
    assert_eq!(fake.asked(), []);
    let trusting = client(&[by_name.host()]);
    store.pull(&trusting, &by_name, &options()).await.unwrap();
}

#[tokio::test]
async fn a_redirect_is_followed_to_trusted_hosts_and_nowhere_else() {
    let (fake, inner, (_dir, store)) = (Fake::start().await, Fake::start().await, store());
    let layer = hello();
    let name = fake.has("app", "1", &image(std::slice::from_ref(&layer)));
    let path = format!("/v2/app/blobs/{}", Digest::of(&layer.bytes));
    let secret = format!("http://{}/secret", inner.host);
    inner.answers("/secret", 200, &[], &layer.bytes);
    fake.answers(&path, 307, &[("location", &secret)], b"");
    let error = fake.pull(&store, &name, &options()).await.unwrap_err();
    assert!(matches!(error, PullError::HostRefused { .. }), "{error:?}");
    assert_eq!(inner.asked(), []);

    let both = client(&[&fake.host, &inner.host]);
    store.pull(&both, &name, &options()).await.unwrap();
    assert_eq!(inner.asked().len(), 1);

    fake.answers("/v2/app/manifests/1", 302, &[("location", "/v2/app/manifests/1")], b"");
    let error = fake.pull(&store, &name, &options()).await.unwrap_err();
    assert!(error.to_string().contains("redirects again and again"), "{error}");
}
