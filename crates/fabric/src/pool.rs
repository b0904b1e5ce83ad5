//! Connections to peers, dialled once and re-used.
//!
//! A slot for each (peer, protocol) holds the open connection, or the one dial under way, which
//! all who wait share. A dial nobody waits for any more is abandoned.

use crate::{DialError, PeerAddr, bound::Bound, hello};
use futures::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};
use iroh::{
    EndpointAddr, EndpointId, TransportAddr,
    endpoint::{ConnectError, ConnectOptions, Connection},
};
use muster_types::AccountId;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// A connection that no call used for this long is dropped at the next dial.
const KEEP_UNUSED: Duration = Duration::from_mins(1);

type Dial = BoxFuture<'static, Result<Connection, DialError>>;
type Key = (AccountId, Vec<u8>);
type Slots = Arc<Mutex<BTreeMap<Key, Slot>>>;

enum Slot {
    Open { connection: Connection, used: Instant },
    Dialling { to: PeerAddr, dial: WeakShared<Dial> },
}

/// The connections that we opened.
pub(crate) struct Pool {
    bound: Arc<Bound>,
    dial_timeout: Duration,
    slots: Slots,
}

impl Pool {
    pub(crate) fn new(bound: Arc<Bound>, dial_timeout: Duration) -> Self {
        Self { bound, dial_timeout, slots: Slots::default() }
    }

    /// A live connection to `peer` that speaks `alpn`: the open one, or a new one.
    pub(crate) async fn get(&self, peer: &PeerAddr, alpn: &[u8]) -> Result<Connection, DialError> {
        let key = (peer.account(), alpn.to_vec());
        let dial = {
            let mut slots = lock(&self.slots);
            if let Some(connection) = open(&mut slots, &key) {
                return Ok(connection);
            }
            match shared_dial(&slots, &key, peer) {
                Some(dial) => dial,
                None => self.start(&mut slots, key, peer),
            }
        };
        dial.await
    }

    fn start(&self, slots: &mut BTreeMap<Key, Slot>, key: Key, peer: &PeerAddr) -> Shared<Dial> {
        let now = Instant::now();
        slots.retain(|_, slot| match slot {
            Slot::Open { connection, used } => {
                connection.close_reason().is_none() && now.duration_since(*used) < KEEP_UNUSED
            }
            Slot::Dialling { dial, .. } => dial.upgrade().is_some(),
        });
        let dial = self.dial(key.clone(), peer.clone()).boxed().shared();
        if let Some(weak) = dial.downgrade() {
            slots.insert(key, Slot::Dialling { to: peer.clone(), dial: weak });
        }
        dial
    }

    fn dial(
        &self,
        key: Key,
        peer: PeerAddr,
    ) -> impl Future<Output = Result<Connection, DialError>> + Send + 'static {
        let (bound, timeout, slots) =
            (Arc::clone(&self.bound), self.dial_timeout, self.slots.clone());
        async move {
            let dialled = match tokio::time::timeout(timeout, connect(&bound, &peer, &key.1)).await
            {
                Ok(dialled) => dialled,
                Err(_) => Err(DialError::Timeout(timeout)),
            };
            let mut slots = lock(&slots);
            match &dialled {
                Ok(connection) => {
                    let connection = connection.clone();
                    slots.insert(key, Slot::Open { connection, used: Instant::now() });
                }
                Err(error) => {
                    tracing::debug!(peer = %peer.account().short(), %error, "dial failed");
                    if matches!(slots.get(&key), Some(Slot::Dialling { to, .. }) if *to == peer) {
                        slots.remove(&key);
                    }
                }
            }
            dialled
        }
    }
}

async fn connect(bound: &Bound, peer: &PeerAddr, alpn: &[u8]) -> Result<Connection, DialError> {
    let account = peer.account();
    let id = EndpointId::from_bytes(account.as_bytes()).map_err(|_| DialError::NotAKey(account))?;
    let sockets = peer.sockets().iter().copied().map(TransportAddr::Ip);
    let options = ConnectOptions::new().with_additional_alpns(vec![hello::mark(account)]);
    let dial = async {
        let address = EndpointAddr::from_parts(id, sockets);
        let endpoint = bound.ready().await;
        Ok::<_, ConnectError>(endpoint.connect_with_opts(address, alpn, options).await?.await?)
    };
    dial.await.map_err(|error| DialError::Connect(Arc::new(error)))
}

fn open(slots: &mut BTreeMap<Key, Slot>, key: &Key) -> Option<Connection> {
    match slots.get_mut(key) {
        Some(Slot::Open { connection, used }) if connection.close_reason().is_none() => {
            *used = Instant::now();
            Some(connection.clone())
        }
        _ => None,
    }
}

/// The dial under way, where it goes to the same sockets.
fn shared_dial(slots: &BTreeMap<Key, Slot>, key: &Key, peer: &PeerAddr) -> Option<Shared<Dial>> {
    match slots.get(key) {
        Some(Slot::Dialling { to, dial }) if to == peer => dial.upgrade(),
        _ => None,
    }
}

fn lock(slots: &Slots) -> MutexGuard<'_, BTreeMap<Key, Slot>> {
    slots.lock().unwrap_or_else(PoisonError::into_inner)
}
