//! Layers and images, made byte by byte: honest tools refuse to make what hostile ones do.

use muster_sandbox::oci::image::Digest;
use std::io::Write as _;
use tar::{EntryType, Header};

/// A layer's archive.
#[derive(Clone, Default)]
pub(crate) struct Archive(Vec<u8>);

/// One entry, as its header says it.
pub(crate) struct Entry<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) kind: EntryType,
    pub(crate) link: &'a [u8],
    pub(crate) mode: u32,
    pub(crate) owner: (u64, u64),
    pub(crate) mtime: u64,
    pub(crate) data: &'a [u8],
}

impl Default for Entry<'_> {
    fn default() -> Self {
        let (name, link, data): (&[u8], &[u8], &[u8]) = (b"", b"", b"");
        let kind = EntryType::Regular;
        Self { name, kind, link, mode: 0o644, owner: (0, 0), mtime: 1_000_000_000, data }
    }
}

impl Archive {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn entry(self, entry: &Entry<'_>) -> Self {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..entry.name.len()].copy_from_slice(entry.name);
        header.as_old_mut().linkname[..entry.link.len()].copy_from_slice(entry.link);
        header.set_entry_type(entry.kind);
        header.set_mode(entry.mode);
        header.set_uid(entry.owner.0);
        header.set_gid(entry.owner.1);
        header.set_mtime(entry.mtime);
        header.set_size(entry.data.len() as u64);
        self.raw(&mut header, entry.data)
    }

    /// A header as it is, but for its checksum.
    pub(crate) fn raw(mut self, header: &mut Header, data: &[u8]) -> Self {
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, name: &str, data: &str) -> Self {
        let (name, data) = (name.as_bytes(), data.as_bytes());
        self.entry(&Entry { name, data, ..Entry::default() })
    }

    pub(crate) fn dir(self, name: &str, mode: u32) -> Self {
        let (name, kind) = (name.as_bytes(), EntryType::Directory);
        self.entry(&Entry { name, kind, mode, ..Entry::default() })
    }

    pub(crate) fn symlink(self, name: &str, link: &str) -> Self {
        let (name, link, kind) = (name.as_bytes(), link.as_bytes(), EntryType::Symlink);
        self.entry(&Entry { name, link, kind, mode: 0o777, ..Entry::default() })
    }

    pub(crate) fn hard_link(self, name: &str, link: &str) -> Self {
        let (name, link, kind) = (name.as_bytes(), link.as_bytes(), EntryType::Link);
        self.entry(&Entry { name, link, kind, ..Entry::default() })
    }

    /// A PAX header for the entry that follows.
    pub(crate) fn pax(self, records: &[(&str, &str)]) -> Self {
        let mut data = String::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let digits = (rest + rest.to_string().len()).to_string().len();
            data.push_str(&format!("{} {key}={value}\n", rest + digits));
        }
        let (name, kind) = (b"PaxHeader".as_slice(), EntryType::XHeader);
        self.entry(&Entry { name, kind, data: data.as_bytes(), ..Entry::default() })
    }

    pub(crate) fn bytes(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

/// How a layer is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

/// A layer as a registry has it.
#[derive(Clone)]
pub(crate) struct Packed {
    pub(crate) kind: &'static str,
    pub(crate) bytes: Vec<u8>,
    pub(crate) diff_id: Digest,
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn pack(archive: Archive, packing: Packing) -> Packed {
    let archive = archive.bytes();
    let diff_id = Digest::of(&archive);
    let (kind, bytes) = match packing {
        Packing::Plain => ("application/vnd.oci.image.layer.v1.tar", archive),
        Packing::Gzip => ("application/vnd.oci.image.layer.v1.tar+gzip", gzip(&archive)),
        Packing::Zstd => {
            let bytes = zstd::encode_all(archive.as_slice(), 1).unwrap();
            ("application/vnd.oci.image.layer.v1.tar+zstd", bytes)
        }
    };
    Packed { kind, bytes, diff_id }
}

/// An image as a registry has it.
#[derive(Clone)]
pub(crate) struct Built {
    pub(crate) manifest: Vec<u8>,
    pub(crate) kind: &'static str,
    pub(crate) blobs: Vec<Vec<u8>>,
}

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";

impl Built {
    pub(crate) fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }
}

/// What this machine is called in images.
pub(crate) fn architecture() -> String {
    muster_sandbox::oci::image::Platform::host().architecture
}

pub(crate) fn config_for(architecture: &str, layers: &[Packed]) -> Vec<u8> {
    let diff_ids: Vec<String> = layers.iter().map(|layer| layer.diff_id.to_string()).collect();
    let config = serde_json::json!({
        "os": "linux", "architecture": architecture,
        "config": {"Cmd": ["/hello"], "Env": ["A=b"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    config.to_string().into_bytes()
}

/// An image of these layers for this machine.
pub(crate) fn image(layers: &[Packed]) -> Built {
    image_with(config_for(&architecture(), layers), layers)
}

pub(crate) fn image_with(config: Vec<u8>, layers: &[Packed]) -> Built {
    let describe = |kind: &str, bytes: &[u8]| {
        serde_json::json!({
            "mediaType": kind, "digest": Digest::of(bytes).to_string(), "size": bytes.len(),
        })
    };
    let descriptors: Vec<_> =
        layers.iter().map(|layer| describe(layer.kind, &layer.bytes)).collect();
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": describe(OCI_CONFIG, &config), "layers": descriptors,
    });
    let mut blobs = vec![config];
    blobs.extend(layers.iter().map(|layer| layer.bytes.clone()));
    Built { manifest: manifest.to_string().into_bytes(), kind: OCI_MANIFEST, blobs }
}

/// An index of images by `os/architecture`.
pub(crate) fn index(images: &[(&str, &Built)]) -> Vec<u8> {
    let manifests: Vec<_> = images
        .iter()
        .map(|(platform, image)| {
            let (os, architecture) = platform.split_once('/').unwrap();
            serde_json::json!({
                "mediaType": image.kind, "digest": image.digest().to_string(),
                "size": image.manifest.len(),
                "platform": {"os": os, "architecture": architecture},
            })
        })
        .collect();
    let index =
        serde_json::json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests});
    index.to_string().into_bytes()
}

/// One small layer.
pub(crate) fn hello() -> Packed {
    pack(Archive::new().file("hello", "hello, world\n"), Packing::Gzip)
}
