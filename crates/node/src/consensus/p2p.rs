//! The network among nodes: authenticated, encrypted, its peers dialled by key.
//!
//! A node keeps connections to the validators of the ledger, to the peers of its settings, and to
//! those who have stake and no vote (see [`super::rotation`]). Addresses are passed on among them;
//! where to begin is in the settings. Whoever is none of these is not let in: the engine's network
//! asks for a caller's key before anything else, and takes only keys that it was told. A node
//! without stake therefore follows through one that names it, which need not be a validator.

use super::{
    NodeError, engine_key,
    stack::{CHANNELS, max_message_bytes},
    wire::Wire,
};
use commonware_cryptography::{
    ChaCha20Poly1305, Signer as _,
    ed25519::{PrivateKey, PublicKey},
};
use commonware_p2p::{
    Ingress,
    authenticated::discovery::{self, Config, Network},
};
use commonware_runtime::{Handle, Quota, Supervisor as _, tokio::Context};
use commonware_stream::{
    cups::{self, Cups},
    sake::{self, Sake},
};
use commonware_utils::{Hostname, NZU32, NZUsize, ordered::Set};
use muster_ledger::limits;
use muster_types::{AccountId, Hash, SecretKey};
use std::{
    net::{SocketAddr, TcpListener},
    num::NonZeroU32,
    str::FromStr,
    time::Duration,
};

/// The most peers at a time: validators, and those of the settings.
const MAX_PEERS: std::num::NonZeroUsize = NZUsize!(128);
/// The most peers that are no validators.
pub(super) const MAX_OTHERS: usize = MAX_PEERS.get() - limits::VALIDATORS;
/// Messages a second of one peer on each channel, in the order of [`CHANNELS`]: what a node keeps
/// in memory for a channel grows with it.
const QUOTAS: [NonZeroU32; CHANNELS] = [
    NZU32!(128),
    NZU32!(128),
    NZU32!(16),
    NZU32!(128),
    NZU32!(64),
    NZU32!(64),
    NZU32!(8),
    NZU32!(64),
    NZU32!(64),
];
/// Where the engine's recommendation is for strangers in many places: here only keys that the chain
/// or the settings name are let in, and a committee may be behind one address, or in one private
/// network.
///
/// Handshakes a second from one address (recommended: one in five seconds).
const HANDSHAKES: NonZeroU32 = NZU32!(16);
/// How soon a peer that went away is connected again (a minute): a validator that was restarted
/// must not miss a minute's turns.
const RECONNECT: Duration = Duration::from_secs(1);
/// How often peers are asked for addresses that are not known (50 seconds): until then a new
/// validator knows only those that its settings name.
const ADDRESSES: Duration = Duration::from_secs(5);
/// How often one peer is dialled (a second): a validator that starts reaches a hundred of them in
/// less than a minute.
const DIAL: Duration = Duration::from_millis(500);
/// Peer sets that are kept connected: those of this epoch and the one before.
const PEER_SETS: std::num::NonZeroUsize = NZUsize!(2);

/// A peer of the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its key.
    pub key: AccountId,
    /// Where to reach it, where this is known: it may also come by itself.
    pub address: Option<PeerAddress>,
}

/// Where a peer listens: an IP address or a name, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddress(Ingress);

/// A text that is no peer's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no address: write HOST:PORT, for example 192.0.2.7:8640")]
pub struct PeerAddressError {
    text: String,
}

impl FromStr for PeerAddress {
    type Err = PeerAddressError;

    fn from_str(text: &str) -> Result<Self, PeerAddressError> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self(Ingress::Socket(address)));
        }
        let refused = || PeerAddressError { text: text.chars().take(80).collect() };
        let (host, port) = text.rsplit_once(':').ok_or_else(refused)?;
        let host = Hostname::new(host).map_err(|_| refused())?;
        let port = port.parse().map_err(|_| refused())?;
        Ok(Self(Ingress::Dns { host, port }))
    }
}

impl From<SocketAddr> for PeerAddress {
    fn from(address: SocketAddr) -> Self {
        Self(Ingress::Socket(address))
    }
}

/// How a node reaches others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct P2p {
    /// Where it listens (TCP).
    pub listen: SocketAddr,
    /// Where others reach it.
    pub external: PeerAddress,
    /// Peers beside the ledger's validators, and where to begin.
    pub peers: Vec<Peer>,
}

/// The keys of the settings' peers.
pub(crate) fn keys(peers: &[Peer]) -> Result<Set<PublicKey>, NodeError> {
    if peers.len() > MAX_OTHERS {
        return Err(NodeError::Peers { given: peers.len(), limit: MAX_OTHERS });
    }
    let mut keys = Vec::with_capacity(peers.len());
    for peer in peers {
        let key = PublicKey::try_from(*peer.key.as_bytes())
            .map_err(|_| NodeError::Peer { key: peer.key })?;
        keys.push(key);
    }
    Ok(Set::from_iter_dedup(keys))
}

/// Who is there, and who is kept out.
pub(crate) type Oracle = discovery::Oracle<PublicKey>;

type Sender = Wire<discovery::Sender<PublicKey, Context>>;
type Receiver = Wire<discovery::Receiver<PublicKey>>;

/// Every end of the network.
pub(crate) type Channels = [(Sender, Receiver); CHANNELS];

/// Opens the network of `chain`.
pub(crate) fn open(
    context: &Context,
    p2p: &P2p,
    key: &SecretKey,
    chain: &Hash,
) -> Result<(Channels, Oracle, Handle<()>), NodeError> {
    // The engine's listener panics where it cannot listen: find out first.
    TcpListener::bind(p2p.listen)
        .map_err(|source| NodeError::Listen { address: p2p.listen, source })?;
    let signer = engine_key(key);
    let me = signer.public_key();
    let mut bootstrappers = Vec::new();
    for peer in &p2p.peers {
        let key = PublicKey::try_from(*peer.key.as_bytes())
            .map_err(|_| NodeError::Peer { key: peer.key })?;
        if let Some(PeerAddress(address)) = peer.address.clone().filter(|_| key != me) {
            bootstrappers.push((key, address));
        }
    }
    let namespace = [b"muster p2p v1".as_slice(), chain.as_bytes()].concat();
    let config = Config {
        tracked_peer_sets: PEER_SETS,
        allow_private_ips: true,
        allowed_handshake_rate_per_ip: Quota::per_second(HANDSHAKES),
        peer_connection_cooldown: RECONNECT,
        gossip_bit_vec_frequency: ADDRESSES,
        dial_frequency: DIAL,
        ..Config::recommended(
            handshake(signer),
            &namespace,
            p2p.listen,
            p2p.external.0.clone(),
            bootstrappers,
            MAX_PEERS,
            max_message_bytes(),
            NZUsize!(1_024),
        )
    };
    let (mut network, oracle) = Network::new(context.child("network"), config);
    let mut numbers = 0..;
    let channels = QUOTAS.map(|quota| {
        let (sender, receiver) =
            network.register(numbers.next().unwrap_or(u64::MAX), Quota::per_second(quota));
        (Wire(Some(sender)), Wire(Some(receiver)))
    });
    Ok((channels, oracle, network.start()))
}

fn handshake(signer: PrivateKey) -> Cups<Sake<PrivateKey>, ChaCha20Poly1305> {
    let sake = Sake {
        signer,
        synchrony_bound: Duration::from_secs(5),
        max_handshake_age: Duration::from_secs(10),
        version: sake::Version::V1,
    };
    Cups::new(sake, cups::Version::V1)
}
