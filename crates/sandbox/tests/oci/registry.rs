//! Debian's `docker-registry` on the loopback.

use muster_sandbox::oci::image::Digest;
use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

/// The registry, stopped when dropped.
pub(crate) struct Debian {
    child: Child,
    pub(crate) host: String,
    _dir: tempfile::TempDir,
}

impl Drop for Debian {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Debian {
    /// Nothing where it is not installed, and says so.
    pub(crate) fn start() -> Option<Self> {
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
        let Ok(mut child) = started else {
            skipped();
            return None;
        };
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

    pub(crate) async fn push_blob(&self, repository: &str, blob: &[u8]) {
        let http = client();
        let base = format!("http://{}/v2/{repository}/blobs/uploads/", self.host);
        let begun = http.post(base).send().await.unwrap().error_for_status().unwrap();
        let to = begun.headers()["location"].to_str().unwrap().to_owned();
        let digest = Digest::of(blob).to_string();
        let put = http.put(to).query(&[("digest", digest)]).body(blob.to_vec());
        put.send().await.unwrap().error_for_status().unwrap();
    }

    pub(crate) async fn push_manifest(
        &self,
        repository: &str,
        tag: &str,
        kind: &str,
        manifest: &[u8],
    ) {
        let to = format!("http://{}/v2/{repository}/manifests/{tag}", self.host);
        let put = client().put(to).header("content-type", kind);
        put.body(manifest.to_vec()).send().await.unwrap().error_for_status().unwrap();
    }
}

/// Without a provider of cryptography there is none, also not for plain HTTP.
fn client() -> reqwest::Client {
    rustls::crypto::ring::default_provider().install_default().ok();
    reqwest::Client::new()
}

#[allow(clippy::print_stderr, reason = "who runs the tests must see what was not tested")]
fn skipped() {
    eprintln!("skipped: docker-registry is not installed");
}
