//! What a registry says of an image: index, manifest, configuration. Both of OCI's and Docker's
//! names for them are understood.

use super::{digest::Digest, error::PullError};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// What a manifest is asked for as.
pub(super) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json";

const CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

const LAYERS: [&str; 6] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
];

/// A machine that images are made for, by the names of OCI.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`.
    pub architecture: String,
    /// `v8` and the like; nothing where there is one kind only.
    #[serde(default)]
    pub variant: Option<String>,
}

impl Platform {
    /// Linux on this machine's processor.
    #[must_use]
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "powerpc64" => "ppc64le",
            other => other,
        };
        Self { os: "linux".to_owned(), architecture: architecture.to_owned(), variant: None }
    }

    /// Whether an image for `offered` runs here. A variant counts only where this machine's is
    /// known; 64-bit ARM's `v8` is what an unnamed one is.
    fn runs(&self, offered: &Self) -> bool {
        let plain = |variant: &Option<String>| {
            variant.clone().filter(|name| !name.is_empty() && (name != "v8" || self.is_arm32()))
        };
        let (ours, theirs) = (plain(&self.variant), plain(&offered.variant));
        self.os == offered.os
            && self.architecture == offered.architecture
            && (ours == theirs || (ours.is_some() && theirs.is_none()))
    }

    fn is_arm32(&self) -> bool {
        self.architecture == "arm"
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match self.variant.as_deref() {
            None | Some("") => Ok(()),
            Some(variant) => write!(f, "/{variant}"),
        }
    }
}

/// A layer in a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    pub(super) media_type: String,
    pub(super) digest: Digest,
    pub(super) size: u64,
    #[serde(default)]
    pub(super) platform: Option<Platform>,
}

/// What the registry answered with.
#[derive(Debug)]
pub(super) enum Manifest {
    Index(Vec<Descriptor>),
    Image { config: Descriptor, layers: Vec<Descriptor> },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: u64,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
    /// Left undecoded: an index may list what this program need not understand.
    #[serde(default)]
    manifests: Option<Vec<serde_json::Value>>,
}

impl Manifest {
    /// Reads a manifest or an index.
    ///
    /// What it is follows from what is in it, not from what it or the registry calls it: nobody
    /// can then take it for one thing and others for the other.
    ///
    /// # Errors
    /// What is neither, or could be taken for both.
    pub(super) fn read(what: &str, bytes: &[u8]) -> Result<Self, PullError> {
        let refuse = |problem: &str| malformed(what, problem);
        let document: Document = serde_json::from_slice(bytes)
            .map_err(|error| refuse(&format!("it cannot be read: {error}")))?;
        if document.schema_version != 2 {
            return Err(refuse(
                "it is of an old format: push the image again with a tool of today",
            ));
        }
        match (document.manifests, document.config, document.layers) {
            (Some(manifests), None, None) => {
                let read = manifests.into_iter().filter_map(|one| serde_json::from_value(one).ok());
                Ok(Self::Index(read.collect()))
            }
            (None, Some(config), Some(layers)) => {
                if !CONFIGS.contains(&config.media_type.as_str()) {
                    let problem = format!("it holds `{}`, no container image", config.media_type);
                    return Err(refuse(&problem));
                }
                for layer in &layers {
                    if !LAYERS.contains(&layer.media_type.as_str()) {
                        let (digest, kind) = (layer.digest, &layer.media_type);
                        let problem = format!("layer {digest} is of the unknown kind `{kind}`");
                        return Err(refuse(&problem));
                    }
                }
                Ok(Self::Image { config, layers })
            }
            _ => Err(refuse("it is neither an index nor an image, or both")),
        }
    }
}

/// The first image of an index that runs on `wanted`; if none does, what there is.
pub(super) fn choose<'a>(
    index: &'a [Descriptor],
    wanted: &Platform,
) -> Result<&'a Descriptor, String> {
    let offers = || index.iter().filter_map(|one| Some((one, one.platform.as_ref()?)));
    let mut found = offers().filter(|(_, platform)| wanted.runs(platform));
    if let Some((descriptor, _)) = found.next() {
        return Ok(descriptor);
    }
    let known = offers().filter(|(_, platform)| platform.os != "unknown");
    let mut names: Vec<String> = known.map(|(_, platform)| platform.to_string()).take(20).collect();
    names.dedup();
    Err(if names.is_empty() { "no platform".to_owned() } else { names.join(", ") })
}

/// What an image says of how it is run: the part that counts here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    /// What follows the entrypoint, unless the tenant says something else.
    pub cmd: Vec<String>,
    /// Names and values, in the image's order.
    pub env: Vec<(String, String)>,
    /// `user[:group]`, by name or number, or empty for root.
    pub user: String,
    /// An absolute path, or empty for `/`.
    pub working_dir: String,
    /// Ports it says it listens on.
    pub exposed_ports: Vec<ExposedPort>,
    /// A signal's name or number, or empty for SIGTERM.
    pub stop_signal: String,
    /// Paths that it wants to be volumes.
    pub volumes: Vec<String>,
    /// Notes.
    pub labels: BTreeMap<String, String>,
}

/// A port that an image says it listens on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ExposedPort {
    /// 1 to 65535.
    pub port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
}

#[derive(Deserialize)]
struct ConfigDocument {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
    #[serde(default)]
    config: Option<RunDocument>,
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Option<Vec<Digest>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RunDocument {
    user: Option<String>,
    exposed_ports: Option<BTreeMap<String, serde::de::IgnoredAny>>,
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    volumes: Option<BTreeMap<String, serde::de::IgnoredAny>>,
    working_dir: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    stop_signal: Option<String>,
}

/// A configuration that was read: how to run the image, for what, and its layers' archives.
pub(super) struct Configured {
    pub(super) config: ImageConfig,
    pub(super) diff_ids: Vec<Digest>,
}

/// Reads an image's configuration.
///
/// # Errors
/// What cannot be read, is not for `wanted`, or has not as many layers as the manifest.
pub(super) fn configured(
    image: &str,
    bytes: &[u8],
    layers: usize,
    wanted: &Platform,
) -> Result<Configured, PullError> {
    let what = format!("the configuration of `{image}`");
    let document: ConfigDocument = serde_json::from_slice(bytes)
        .map_err(|error| malformed(&what, &format!("it cannot be read: {error}")))?;
    let ConfigDocument { os, architecture, variant, config, rootfs } = document;
    let offered = Platform { os, architecture, variant };
    if !wanted.runs(&offered) {
        let (image, offered) = (image.to_owned(), offered.to_string());
        return Err(PullError::Platform { image, wanted: wanted.to_string(), offered });
    }
    let diff_ids = rootfs.diff_ids.unwrap_or_default();
    if diff_ids.len() != layers {
        let problem = format!("it names {} layers, its manifest {layers}", diff_ids.len());
        return Err(malformed(&what, &problem));
    }
    let config = typed(config.unwrap_or_default());
    let lists = config.entrypoint.iter().chain(&config.cmd).chain(&config.volumes);
    let pairs = config.env.iter().flat_map(|(name, value)| [name, value]);
    let singles = [&config.user, &config.working_dir, &config.stop_signal];
    if lists.chain(pairs).chain(singles).any(|text| text.contains('\0')) {
        return Err(malformed(&what, "a text in it has a zero byte"));
    }
    Ok(Configured { config, diff_ids })
}

fn typed(run: RunDocument) -> ImageConfig {
    let pair = |text: String| match text.split_once('=') {
        Some((name, value)) => (name.to_owned(), value.to_owned()),
        None => (text, String::new()),
    };
    let ports = run.exposed_ports.unwrap_or_default();
    let port = |text: &String| {
        let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let port = number.parse().ok().filter(|&port| port > 0)?;
        let known = matches!(protocol, "tcp" | "udp" | "sctp");
        known.then(|| ExposedPort { port, protocol: protocol.to_owned() })
    };
    ImageConfig {
        entrypoint: run.entrypoint.unwrap_or_default(),
        cmd: run.cmd.unwrap_or_default(),
        env: run.env.unwrap_or_default().into_iter().map(pair).collect(),
        user: run.user.unwrap_or_default(),
        working_dir: run.working_dir.unwrap_or_default(),
        exposed_ports: ports.keys().filter_map(port).collect(),
        stop_signal: run.stop_signal.unwrap_or_default(),
        volumes: run.volumes.unwrap_or_default().into_keys().collect(),
        labels: run.labels.unwrap_or_default(),
    }
}

fn malformed(what: &str, problem: &str) -> PullError {
    PullError::Malformed { what: what.to_owned(), problem: problem.to_owned() }
}

#[cfg(test)]
mod tests;
