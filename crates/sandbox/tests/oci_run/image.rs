//! From a registry to a container's output, and nothing left.

use crate::{
    archive::archive,
    helpers::{Place, code, find, name, output, wait_until},
    registry::Debian,
};
use muster_sandbox::oci::{
    Overrides,
    container::{ContainerError, ContainerSpec, IdRange},
    image::{Digest, IdMap, ImageRef, Platform, PullOptions, Registry, RegistryConfig, Store},
};
use std::{collections::BTreeSet, fs, io::Write as _};
use tar::EntryType;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Pushes an image of two layers, the upper one hiding a file of the lower, and gives its name.
async fn push(debian: &Debian) -> ImageRef {
    let busybox = fs::read(find("busybox").unwrap()).unwrap();
    let (file, link, none) = (EntryType::Regular, EntryType::Symlink, &b""[..]);
    let mut below = vec![
        ("bin/busybox", file, "", busybox.as_slice()),
        ("etc/passwd", file, "", b"root:x:0:0::/root:/bin/sh\nweb:x:33:34::/srv:/bin/sh\n"),
        ("etc/hidden", file, "", none),
        ("greeting", file, "", b"below\n"),
    ];
    below.extend(
        ["bin/sh", "bin/cat", "bin/ls", "bin/id", "bin/sleep"]
            .map(|name| (name, link, "busybox", none)),
    );
    let above = [
        ("etc/.wh.hidden", file, "", none),
        ("greeting", file, "", &b"above\n"[..]),
        ("srv", EntryType::Directory, "", none),
    ];
    let archives = [archive(&below), archive(&above)];
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&archives[1]).unwrap();
    let packed = [
        ("zstd", zstd::encode_all(archives[0].as_slice(), 1).unwrap()),
        ("gzip", gzip.finish().unwrap()),
    ];
    let config = serde_json::json!({
        "os": "linux", "architecture": Platform::host().architecture,
        "config": {
            "Entrypoint": ["/bin/sh", "-c"],
            "Cmd": ["cat /greeting; ls /etc; echo $WHO in $(pwd) $(id -u) $(id -g); exit 3"],
            "Env": ["WHO=image"], "User": "web", "WorkingDir": "/srv", "StopSignal": "SIGINT",
        },
        "rootfs": {"type": "layers", "diff_ids": archives.map(|bytes| Digest::of(&bytes))},
    });
    let config = config.to_string().into_bytes();
    let describe = |kind: &str, bytes: &[u8]| {
        serde_json::json!({
            "mediaType": format!("application/vnd.oci.image.{kind}"),
            "digest": Digest::of(bytes), "size": bytes.len(),
        })
    };
    let layer =
        |(packing, bytes): &(&str, Vec<u8>)| describe(&format!("layer.v1.tar+{packing}"), bytes);
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": describe("config.v1+json", &config),
        "layers": packed.iter().map(layer).collect::<Vec<_>>(),
    });
    for blob in [&config, &packed[0].1, &packed[1].1] {
        debian.push_blob("team/app", blob).await;
    }
    let manifest = manifest.to_string();
    debian.push_manifest("team/app", "1", MANIFEST, manifest.as_bytes()).await;
    format!("{}/team/app:1", debian.host).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_from_a_registry_runs_as_it_wants_and_leaves_nothing() {
    let Some(place) = Place::open().await else { return };
    let Some(debian) = Debian::start() else { return };
    let from = push(&debian).await;
    let trusted = BTreeSet::from([debian.host.clone()]);
    let registry = Registry::new(&RegistryConfig { trusted, ..RegistryConfig::default() }).unwrap();
    let options = PullOptions::new(IdMap::try_from(IdRange::default()).unwrap());
    let layers = place.dir.path().join("layers");
    let store = Store::open(&layers, 1 << 30).unwrap();
    let image = store.pull(&registry, &from, &options).await.unwrap();
    drop(debian);

    let mut spec = ContainerSpec::of_image(name("app"), &image, &Overrides::default()).unwrap();
    assert_eq!(spec.stop_signal, 2);
    spec.limits.disk_bytes = 16 << 20;
    let (exit, text) = place.run(&spec).await;
    assert_eq!(
        (code(&exit), text.as_str()),
        (3, "above\nhostname\nhosts\npasswd\nresolv.conf\nimage in /srv 33 34\n")
    );

    // The same image for another tenant: none of what the first wrote is there, and what the second
    // says counts.
    let mut overrides = Overrides {
        args: Some(vec!["echo $WHO; echo x > /new && rm /greeting; ls /".to_owned()]),
        env: vec![("WHO".to_owned(), "tenant".to_owned())],
        user: Some("0".to_owned()),
        working_dir: Some("/".into()),
        ..Overrides::default()
    };
    for id in ["first", "second"] {
        let mut spec = ContainerSpec::of_image(name(id), &image, &overrides).unwrap();
        spec.limits.disk_bytes = 16 << 20;
        spec.layers.push(crate::helpers::busybox(place.dir.path()));
        let (_, text) = place.run(&spec).await;
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "tenant", "{text}");
        assert!(lines.contains(&"new") && !lines.contains(&"greeting"), "{text}");
    }
    assert_eq!(fs::read(image.layers[1].dir().join("greeting")).unwrap(), b"above\n");
    assert!(!image.layers.iter().any(|layer| layer.dir().join("new").exists()));

    // After a restart, without the registry.
    let record = image.record();
    drop((image, store));
    let mut opened = None;
    // A program that another test starts has our descriptors for a moment, the lock's too.
    wait_until("the store is free", || {
        opened = Store::open(&layers, 1 << 30).ok();
        opened.is_some()
    })
    .await;
    let store = opened.unwrap();
    let image = store.hold(&record).unwrap();
    overrides.args = Some(vec!["exec sleep 1000".to_owned()]);
    let mut spec = ContainerSpec::of_image(name("again"), &image, &overrides).unwrap();
    spec.limits.disk_bytes = 16 << 20;
    let container = place.all.create(&spec).await.unwrap();
    container.start().await.unwrap();
    assert_eq!(output(&container).await, "");
    assert!(matches!(place.all.create(&spec).await, Err(ContainerError::Exists { .. })));
    assert!(store.stats().bytes_in_use > 0);
    drop(image);
    place.close().await;
    let left = store.stats();
    assert_eq!((left.bytes_in_use, left.layers), (0, 2));
}
