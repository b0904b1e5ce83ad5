//! A registry that is not ours: Debian's `docker-registry`, where it is installed.

use super::{
    build::{Archive, Built, Packing, architecture, image, index, pack},
    fake::{client, read},
    pull::{options, store},
    registry::Debian,
};
use muster_sandbox::oci::image::{ImageRef, PullError};

async fn push(debian: &Debian, repository: &str, tag: &str, built: &Built) {
    for blob in &built.blobs {
        debian.push_blob(repository, blob).await;
    }
    debian.push_manifest(repository, tag, built.kind, &built.manifest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn debians_registry_is_pulled_from_by_tag_and_by_digest() {
    let Some(debian) = Debian::start() else { return };
    let registry = client(&[&debian.host]);
    let (_dir, store) = store();
    let layers = [
        pack(Archive::new().file("a", &"gzip".repeat(100_000)), Packing::Gzip),
        pack(Archive::new().file("b", "zstd").file(".wh.a", ""), Packing::Zstd),
    ];
    let built = image(&layers);
    push(&debian, "team/app", "1", &built).await;
    let all = Built {
        manifest: index(&[(&format!("linux/{}", architecture()), &built)]),
        kind: super::build::OCI_INDEX,
        blobs: Vec::new(),
    };
    push(&debian, "team/app", "all", &all).await;
    let by_tag: ImageRef = format!("{}/team/app:1", debian.host).parse().unwrap();
    let by_index: ImageRef = format!("{}/team/app:all", debian.host).parse().unwrap();
    for name in [by_tag.clone(), by_tag.at(built.digest()), by_index] {
        let pulled = store.pull(&registry, &name, &options()).await.unwrap();
        assert_eq!(pulled.digest, built.digest(), "{name}");
        assert_eq!(read(&pulled.layers[0], "a").len(), 400_000);
        assert_eq!(read(&pulled.layers[1], "b"), "zstd");
    }
    let missing: ImageRef = format!("{}/team/app:none", debian.host).parse().unwrap();
    let error = store.pull(&registry, &missing, &options()).await.unwrap_err();
    assert!(matches!(error, PullError::NotFound { .. }), "{error:?}");
}
