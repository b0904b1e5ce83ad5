//! Debian's `docker-registry` on the loopback, with an image of busybox.

use muster_sandbox::oci::{
    container::find_program,
    image::{Digest, Platform},
};
use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};
use tar::{Builder, EntryType, Header};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The registry, stopped when dropped.
pub(crate) struct Registry {
    child: Child,
    pub(crate) host: String,
    _dir: tempfile::TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Registry {
    /// Nothing where it is not installed.
    pub(crate) fn start() -> Option<Self> {
        find_program("docker-registry")?;
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.yml");
        let root = dir.path().join("data");
        let text = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: 127.0.0.1:0}}\n",
            root.display()
        );
        std::fs::write(&config, text).unwrap();
        let started = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn();
        let mut child = started.unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let host = log.find_map(|line| {
            let line = line.unwrap();
            let (_, rest) = line.split_once("listening on ")?;
            Some(rest.split(['"', ' ']).next()?.to_owned())
        });
        // It stops when nobody reads what it says.
        std::thread::spawn(move || log.for_each(drop));
        Some(Self { child, host: host.unwrap(), _dir: dir })
    }

    /// Pushes busybox, which runs a shell's script, and gives its reference.
    pub(crate) async fn push(&self) -> String {
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
        let http = reqwest::Client::new();
        for blob in [config, layer] {
            let base = format!("http://{}/v2/team/app/blobs/uploads/", self.host);
            let begun = http.post(base).send().await.unwrap().error_for_status().unwrap();
            let to = begun.headers()["location"].to_str().unwrap().to_owned();
            let digest = Digest::of(&blob).to_string();
            let put = http.put(to).query(&[("digest", digest)]).body(blob);
            put.send().await.unwrap().error_for_status().unwrap();
        }
        let to = format!("http://{}/v2/team/app/manifests/1", self.host);
        let put = http.put(to).header("content-type", MANIFEST).body(manifest.to_string());
        put.send().await.unwrap().error_for_status().unwrap();
        format!("{}/team/app:1", self.host)
    }
}

fn busybox() -> Vec<u8> {
    let program = std::fs::read(find_program("busybox").unwrap()).unwrap();
    let mut builder = Builder::new(Vec::new());
    let mut add = |path: &str, kind: EntryType, link: &str, data: &[u8]| {
        let mut header = Header::new_gnu();
        header.set_path(path).unwrap();
        if !link.is_empty() {
            header.set_link_name(link).unwrap();
        }
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        header.set_size(data.len() as u64);
        header.set_cksum();
        builder.append(&header, data).unwrap();
    };
    add("bin/busybox", EntryType::Regular, "", &program);
    add("tmp", EntryType::Directory, "", b"");
    for name in ["sh", "cat", "echo", "nc", "sleep", "stty", "touch", "cut"] {
        add(&format!("bin/{name}"), EntryType::Symlink, "busybox", b"");
    }
    builder.into_inner().unwrap()
}
