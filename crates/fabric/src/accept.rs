//! Incoming connections: who is let in, and how many.

use crate::{
    Gate, Limits, blobs,
    bound::Bound,
    hello,
    rpc::{self, DynService},
    stream::{self, DynStreamService},
};
use iroh::endpoint::{Connection, Incoming};
use muster_types::{AccountId, Hash};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, RwLock, Weak},
    time::Duration,
};
use tokio::{sync::Semaphore, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// What is done with the connections of a protocol.
#[derive(Clone)]
pub(crate) enum Protocol {
    Calls(Arc<dyn DynService>),
    Streams(Arc<dyn DynStreamService>),
}

/// What serving a connection needs. Not the endpoint's owner, so that dropping the owner ends it.
pub(crate) struct Shared {
    pub(crate) bound: Arc<Bound>,
    pub(crate) limits: Limits,
    pub(crate) handshake_timeout: Duration,
    pub(crate) store: iroh_blobs::api::Store,
    pub(crate) gate: Gate,
    pub(crate) services: RwLock<BTreeMap<Vec<u8>, Protocol>>,
    pub(crate) peers: Peers,
    pub(crate) cancel: CancellationToken,
}

impl Shared {
    /// Registers a service; false where the protocol is taken.
    pub(crate) fn register(&self, alpn: &[u8], protocol: Protocol) -> bool {
        let mut services = self.services.write().unwrap_or_else(PoisonError::into_inner);
        let ours = alpn == iroh_blobs::ALPN || alpn.starts_with(hello::PREFIX);
        if ours || services.contains_key(alpn) {
            return false;
        }
        services.insert(alpn.to_vec(), protocol);
        self.announce(&services);
        true
    }

    /// Puts another endpoint in the place of one that has ended.
    async fn renew(&self) {
        self.bound.renew().await;
        self.announce(&self.services.read().unwrap_or_else(PoisonError::into_inner));
    }

    /// Tells the endpoint what is served.
    fn announce(&self, services: &BTreeMap<Vec<u8>, Protocol>) {
        if let Some(endpoint) = self.bound.endpoint() {
            let blobs = [iroh_blobs::ALPN.to_vec()];
            endpoint.set_alpns(services.keys().cloned().chain(blobs).collect());
        }
    }

    fn service(&self, alpn: &[u8]) -> Option<Protocol> {
        self.services.read().unwrap_or_else(PoisonError::into_inner).get(alpn).cloned()
    }
}

/// The account that proved to be at the other end.
pub(crate) fn account_of(connection: &Connection) -> AccountId {
    AccountId(Hash(*connection.remote_id().as_bytes()))
}

/// What one peer may use at once.
pub(crate) struct PeerLimits {
    /// A permit for each connection.
    connections: Arc<Semaphore>,
    /// A permit for each call being handled.
    pub(crate) calls: Semaphore,
    /// A permit for each open stream.
    pub(crate) streams: Semaphore,
}

/// The limits of every connected peer; forgotten with a peer's last connection.
pub(crate) struct Peers {
    connections: usize,
    calls: usize,
    streams: usize,
    connected: Mutex<BTreeMap<AccountId, Weak<PeerLimits>>>,
}

impl Peers {
    pub(crate) fn new(limits: &Limits) -> Self {
        let count = |permits: u32| usize::try_from(permits).unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            connections: count(limits.max_connections_per_peer),
            calls: count(limits.max_calls_per_peer),
            streams: count(limits.max_streams_per_peer),
            connected: Mutex::default(),
        }
    }

    fn of(&self, peer: AccountId) -> Arc<PeerLimits> {
        let mut connected = self.connected.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(limits) = connected.get(&peer).and_then(Weak::upgrade) {
            return limits;
        }
        connected.retain(|_, limits| limits.strong_count() > 0);
        let limits = Arc::new(PeerLimits {
            connections: Arc::new(Semaphore::new(self.connections)),
            calls: Semaphore::new(self.calls),
            streams: Semaphore::new(self.streams),
        });
        connected.insert(peer, Arc::downgrade(&limits));
        limits
    }
}

/// Accepts connections until cancelled, then closes the endpoint and its store.
pub(crate) async fn run(shared: Arc<Shared>) {
    let permits = usize::try_from(shared.limits.max_connections).unwrap_or(Semaphore::MAX_PERMITS);
    let permits = Arc::new(Semaphore::new(permits));
    let mut endpoint = shared.bound.ready().await;
    let own_mark = hello::mark(AccountId(Hash(*endpoint.id().as_bytes())));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = shared.cancel.cancelled() => break,
            Some(_) = connections.join_next() => {}
            incoming = endpoint.accept() => {
                let Some(incoming) = incoming else {
                    connections.shutdown().await;
                    drop(endpoint);
                    tokio::select! {
                        () = shared.cancel.cancelled() => break,
                        () = shared.renew() => {}
                    }
                    endpoint = shared.bound.ready().await;
                    continue;
                };
                if hello::is_for_another(&incoming, &own_mark) {
                    tracing::debug!("a dial to another account was ignored");
                    incoming.ignore();
                    continue;
                }
                let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
                    tracing::debug!("too many connections: one refused");
                    incoming.refuse();
                    continue;
                };
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    serve(&shared, incoming).await;
                    drop(permit);
                });
            }
        }
    }
    connections.shutdown().await;
    if let Some(endpoint) = shared.bound.endpoint() {
        endpoint.close().await;
    }
    if let Err(error) = blobs::close_store(&shared.store).await {
        tracing::debug!(%error, "the blob store did not close cleanly");
    }
}

async fn serve(shared: &Shared, incoming: Incoming) {
    let handshake = async {
        let connection = incoming.accept().ok()?.await.ok()?;
        Some(connection)
    };
    let Ok(Some(connection)) = tokio::time::timeout(shared.handshake_timeout, handshake).await
    else {
        tracing::debug!("an incoming connection did not complete its handshake");
        return;
    };
    let peer = account_of(&connection);
    let limits = shared.peers.of(peer);
    let Ok(_permit) = Arc::clone(&limits.connections).try_acquire_owned() else {
        tracing::debug!(peer = %peer.short(), "too many connections from one peer: one closed");
        connection.close(rpc::CLOSE_TOO_MANY.into(), b"too many connections");
        return;
    };
    if connection.alpn() == iroh_blobs::ALPN {
        blobs::serve(connection, peer, shared.store.clone(), &shared.gate).await;
        return;
    }
    match shared.service(connection.alpn()) {
        Some(Protocol::Calls(service)) => {
            rpc::serve(connection, peer, shared.limits, &limits, service).await;
        }
        Some(Protocol::Streams(service)) => {
            stream::serve(connection, peer, shared.limits, &limits, service).await;
        }
        None => {}
    }
}
