//! A node's settings: one TOML file. Paths in it are relative to it.
//!
//! ```toml
//! dir = "data"                      # what the node stores
//! key = "keys/node.json"            # its key; it votes while this is a validator's
//! genesis = "genesis.json"          # the same file for all nodes
//! api = "127.0.0.1:8642"            # where the HTTP API listens
//! fabric = "127.0.0.1:0"            # where evidence of disputes is fetched from (UDP)
//! state_sync = true                 # with an empty `dir`: fetch the state, not every block
//! anchor = "anchor.json"            # with an empty `dir`: begin there; needed where genesis is old
//!
//! [p2p]                             # without it: the only validator, reaching nobody
//! listen = "127.0.0.1:8640"
//! external = "192.0.2.7:8640"       # where others reach it; `listen` where it is left out
//!
//! [[p2p.peers]]                     # where to begin; may follow without being a validator
//! key = "9f…"
//! address = "192.0.2.8:8640"        # left out: it comes by itself
//! ```

use crate::{
    error::{Exit, Failure},
    files,
};
use anyhow::Context as _;
use muster_api::views::Anchor;
use muster_node::consensus::{NetworkConfig, P2p, Peer, PeerAddress};
use muster_types::AccountId;
use serde::Deserialize;
use std::{
    fmt::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
};

const MAX_FILE_BYTES: u64 = 1 << 20;

/// The file's contents.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    dir: PathBuf,
    key: PathBuf,
    genesis: PathBuf,
    pub(super) api: SocketAddr,
    #[serde(default = "any_loopback_port")]
    pub(super) fabric: SocketAddr,
    /// Whether to fetch the state from peers where `dir` is empty.
    #[serde(default = "yes")]
    pub(super) state_sync: bool,
    anchor: Option<PathBuf>,
    p2p: Option<P2pSettings>,
    /// The directory of the file.
    #[serde(skip)]
    base: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct P2pSettings {
    listen: SocketAddr,
    external: Option<String>,
    #[serde(default)]
    peers: Vec<PeerSettings>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PeerSettings {
    key: AccountId,
    address: Option<String>,
}

const fn yes() -> bool {
    true
}

fn any_loopback_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// The file that says of a key that it has never voted.
pub(crate) fn unused_mark(key: &Path) -> PathBuf {
    key.with_extension("unused")
}

impl Settings {
    /// Reads the file at `path`.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let refuse = |what: String| {
            let hint = "muster node init --dir DIR   # writes one that is right".to_owned();
            Failure::error(Exit::BadInput, format!("settings {}: {what}", path.display()), hint)
        };
        let text = files::read_text(path, MAX_FILE_BYTES);
        let text = text.map_err(|error| refuse(error.to_string()))?;
        let mut settings: Self =
            toml::from_str(&text).map_err(|error| refuse(error.to_string()))?;
        settings.base = path.parent().unwrap_or(Path::new("")).to_owned();
        Ok(settings)
    }

    pub(super) fn dir(&self) -> PathBuf {
        self.base.join(&self.dir)
    }

    pub(super) fn key(&self) -> PathBuf {
        self.base.join(&self.key)
    }

    pub(super) fn unused_key(&self) -> PathBuf {
        unused_mark(&self.key())
    }

    pub(super) fn genesis(&self) -> PathBuf {
        self.base.join(&self.genesis)
    }

    /// What to begin with where `dir` is empty, instead of genesis.
    pub(super) fn anchor(&self) -> anyhow::Result<Option<Anchor>> {
        let Some(path) = self.anchor.as_ref().map(|path| self.base.join(path)) else {
            return Ok(None);
        };
        let read = || -> anyhow::Result<Anchor> {
            Ok(serde_json::from_slice(&files::read(&path, MAX_FILE_BYTES)?)?)
        };
        let refuse = |error: anyhow::Error| {
            let hint = "muster receipt anchor --node URL --out anchor.json   # a node you trust";
            Failure::error(Exit::BadInput, format!("anchor {}: {error}", path.display()), hint)
        };
        read().map(Some).map_err(refuse)
    }

    /// How the node reaches others.
    pub(super) fn network(&self) -> anyhow::Result<NetworkConfig> {
        let Some(p2p) = &self.p2p else { return Ok(NetworkConfig::Alone) };
        let parse = |text: &String| text.parse::<PeerAddress>();
        let external = p2p.external.as_ref().map(parse).transpose().context("p2p.external")?;
        let mut peers = Vec::with_capacity(p2p.peers.len());
        for peer in &p2p.peers {
            let address = peer.address.as_ref().map(parse).transpose();
            let address = address.with_context(|| format!("p2p.peers, {}", peer.key))?;
            peers.push(Peer { key: peer.key, address });
        }
        let external = external.unwrap_or_else(|| p2p.listen.into());
        Ok(NetworkConfig::P2p(P2p { listen: p2p.listen, external, peers }))
    }
}

/// A peer as it stands in another node's settings.
pub(super) fn peer_entry(key: &AccountId, address: &str) -> String {
    format!("[[p2p.peers]]\nkey = \"{key}\"\naddress = \"{address}\"\n")
}

/// The file that `muster node init` writes.
pub(super) fn render(api: SocketAddr, p2p: Option<SocketAddr>) -> String {
    let mut text = format!(
        "# Paths are relative to this file.\ndir = \"data\"\nkey = \"keys/node.json\"\ngenesis = \
         \"genesis.json\"\napi = \"{api}\"\nfabric = \"127.0.0.1:0\"\n"
    );
    if let Some(listen) = p2p {
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "\n[p2p]\nlisten = \"{listen}\"\n# Where others reach this node, if not there:\n# \
             external = \"{listen}\"\n# Other nodes to begin with; the rest is learned from them:\n\
             # [[p2p.peers]]\n# key = \"…\"\n# address = \"HOST:PORT\"\n"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster_hostile::bent_text;

    fn parse(text: &str) -> anyhow::Result<NetworkConfig> {
        toml::from_str::<Settings>(text)?.network()
    }

    #[test]
    fn what_init_writes_is_read_again() {
        let listen = SocketAddr::from(([127, 0, 0, 1], 8640));
        let alone = render(any_loopback_port(), None);
        assert_eq!(parse(&alone).unwrap(), NetworkConfig::Alone);
        let key = AccountId::default();
        let text = render(any_loopback_port(), Some(listen)) + &peer_entry(&key, "node.example:1");
        let NetworkConfig::P2p(p2p) = parse(&text).unwrap() else { panic!("{text}") };
        assert_eq!((p2p.listen, p2p.external), (listen, listen.into()));
        let address = "node.example:1".parse().ok();
        assert_eq!(p2p.peers, [Peer { key, address }]);
    }

    #[test]
    fn settings_from_anybody_are_understood_or_refused() {
        let listen = SocketAddr::from(([127, 0, 0, 1], 8640));
        let peer = peer_entry(&AccountId::default(), "node.example:1");
        let text = render(any_loopback_port(), Some(listen)) + &peer;
        let mut read = 0;
        bent_text(&[&text], 10_000, |text| read += u32::from(parse(text).is_ok()));
        assert!(read > 500, "{read}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let p2p = |lines: &str| {
            let p2p = format!("\n[p2p]\nlisten = \"127.0.0.1:1\"\n{lines}");
            format!("{:#}", parse(&(render(any_loopback_port(), None) + &p2p)).unwrap_err())
        };
        assert!(p2p("external = \"nowhere\"").contains("p2p.external"));
        assert!(p2p("extern = \"127.0.0.1:1\"").contains("unknown field `extern`"));
        let peer = p2p(&peer_entry(&AccountId::default(), "no port"));
        assert!(peer.contains("HOST:PORT"), "{peer}");
    }
}
