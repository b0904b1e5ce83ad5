//! Debian's `docker-registry` on the loopback, with an image of busybox.

#[path = "../../../sandbox/tests/oci_run/archive.rs"]
mod archive;
#[path = "../../../sandbox/tests/oci/registry.rs"]
mod debian;

pub(crate) use debian::Debian as Registry;

use archive::archive;
use muster_sandbox::oci::{
    container::find_program,
    image::{Digest, Platform},
};
use tar::EntryType;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Pushes busybox, which runs a shell's script, and gives its reference.
pub(crate) async fn push_busybox(registry: &Registry) -> String {
    let layer = busybox();
    let config = serde_json::json!({
        "os": "linux", "architecture": Platform::host().architecture,
        "config": {"Entrypoint": ["/bin/sh", "-c"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer)]},
    });
    let config = config.to_string().into_bytes();
    let describe = |kind: &str, bytes: &[u8]| {
        serde_json::json!({
            "mediaType": format!("application/vnd.oci.image.{kind}"),
            "digest": Digest::of(bytes), "size": bytes.len(),
        })
    };
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": describe("config.v1+json", &config),
        "layers": [describe("layer.v1.tar", &layer)],
    });
    for blob in [config, layer] {
        registry.push_blob("team/app", &blob).await;
    }
    registry.push_manifest("team/app", "1", MANIFEST, manifest.to_string().as_bytes()).await;
    format!("{}/team/app:1", registry.host)
}

fn busybox() -> Vec<u8> {
    let program = std::fs::read(find_program("busybox").unwrap()).unwrap();
    let mut entries = vec![
        ("bin/busybox", EntryType::Regular, "", program.as_slice()),
        ("tmp", EntryType::Directory, "", b""),
    ];
    let names = [
        "bin/sh",
        "bin/cat",
        "bin/echo",
        "bin/nc",
        "bin/sleep",
        "bin/stty",
        "bin/touch",
        "bin/cut",
        "bin/tar",
        "bin/mkdir",
        "bin/mv",
        "bin/rm",
    ];
    entries.extend(names.map(|name| (name, EntryType::Symlink, "busybox", &b""[..])));
    archive(&entries)
}
