//! The endpoint and what is done with it.

use crate::{
    Config, FabricError, Gate, Limits, MAX_SOCKETS, PeerAddr, Service, StreamService,
    accept::{self, Peers, Protocol, Shared},
    blobs::{self, Flights},
    bound::Bound,
    pool::Pool,
};
use iroh::endpoint::{IdleTimeout, QuicTransportConfig, VarInt};
use muster_types::AccountId;
use std::{
    net::SocketAddr,
    sync::{Arc, RwLock},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A role's endpoint: what it serves, and how it reaches others. Clones share it.
///
/// It ends when [`Fabric::shutdown`] is called or the last clone is dropped: connections close,
/// handlers are dropped, the blob store is closed.
#[derive(Clone)]
pub struct Fabric {
    inner: Arc<Inner>,
}

struct Inner {
    account: AccountId,
    advertise: Vec<SocketAddr>,
    shared: Arc<Shared>,
    pool: Pool,
    flights: Flights,
    tasks: TaskTracker,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.cancel.cancel();
    }
}

impl std::fmt::Debug for Fabric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fabric").field("account", &self.inner.account).finish_non_exhaustive()
    }
}

impl Fabric {
    /// Binds the role's socket, opens its blob store and starts to accept connections. Must be
    /// called within a tokio runtime.
    ///
    /// # Errors
    /// [`FabricError`] for settings that make no sense, a socket that cannot be bound or a store
    /// that cannot be opened.
    pub async fn bind(config: Config) -> Result<Self, FabricError> {
        let transport = transport(&config)?;
        let store = blobs::open_store(&config).await?;
        let bound = match Bound::new(&config, transport).await {
            Ok(bound) => Arc::new(bound),
            Err(error) => {
                // The directory must be free for a second try.
                if let Err(error) = blobs::close_store(&store).await {
                    tracing::debug!(%error, "the blob store did not close cleanly");
                }
                return Err(error);
            }
        };
        let shared = Arc::new(Shared {
            bound: Arc::clone(&bound),
            limits: config.limits,
            handshake_timeout: config.dial_timeout,
            store,
            gate: Gate::default(),
            services: RwLock::default(),
            peers: Peers::new(&config.limits),
            cancel: CancellationToken::new(),
        });
        let tasks = TaskTracker::new();
        tasks.spawn(accept::run(Arc::clone(&shared)));
        tasks.close();
        Ok(Self {
            inner: Arc::new(Inner {
                account: config.key.account(),
                advertise: config.advertise,
                shared,
                pool: Pool::new(bound, config.dial_timeout),
                flights: Flights::default(),
                tasks,
            }),
        })
    }

    /// Whose endpoint this is.
    #[must_use]
    pub fn account(&self) -> AccountId {
        self.inner.account
    }

    /// What to tell peers that shall reach us: the advertised sockets, else the bound ones (for
    /// an unspecified address, those of this machine's interfaces).
    ///
    /// # Panics
    /// Never: a bound endpoint has a socket.
    #[must_use]
    pub fn local_addr(&self) -> PeerAddr {
        let bound = &self.inner.shared.bound;
        let mut sockets = self.inner.advertise.clone();
        if sockets.is_empty() {
            sockets = vec![bound.socket()];
        }
        if sockets.iter().any(|socket| socket.ip().is_unspecified())
            && let Some(endpoint) = bound.endpoint()
        {
            let local: Vec<_> = endpoint.addr().ip_addrs().copied().collect();
            if !local.is_empty() {
                sockets = local;
            }
        }
        sockets.truncate(MAX_SOCKETS);
        PeerAddr::new(self.inner.account, sockets).expect("a bound endpoint has a socket")
    }

    /// Handles calls on protocol `alpn` (1 to 255 bytes) with `service` from now on.
    ///
    /// # Errors
    /// [`FabricError::Taken`] where the protocol is served already or is the fabric's own
    /// (those that start with `to/` are);
    /// [`FabricError::Setting`] where its name is empty or too long.
    pub fn serve(&self, alpn: &[u8], service: impl Service) -> Result<(), FabricError> {
        self.register(alpn, Protocol::Calls(Arc::new(service)))
    }

    /// Accepts streams on protocol `alpn` (1 to 255 bytes) with `service` from now on.
    ///
    /// # Errors
    /// As [`Fabric::serve`].
    pub fn serve_streams(
        &self,
        alpn: &[u8],
        service: impl StreamService,
    ) -> Result<(), FabricError> {
        self.register(alpn, Protocol::Streams(Arc::new(service)))
    }

    fn register(&self, alpn: &[u8], protocol: Protocol) -> Result<(), FabricError> {
        if alpn.is_empty() || alpn.len() > 255 {
            let reason = format!("a protocol's name has 1 to 255 bytes, not {}", alpn.len());
            return Err(FabricError::Setting { setting: "alpn", reason });
        }
        if self.inner.shared.register(alpn, protocol) {
            Ok(())
        } else {
            Err(FabricError::Taken { alpn: String::from_utf8_lossy(alpn).into_owned() })
        }
    }

    /// Who may fetch which blob from us.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.inner.shared.gate
    }

    /// Ends everything: handlers are dropped, peers are told, the blob store is written out and
    /// closed. Returns when all is done; calling it again, or on a clone, is harmless.
    ///
    /// The system takes the UDP socket back a moment after the last clone is dropped.
    pub async fn shutdown(&self) {
        self.inner.shared.cancel.cancel();
        self.inner.tasks.wait().await;
    }

    #[cfg(test)]
    pub(crate) fn endpoint(&self) -> Option<iroh::Endpoint> {
        self.inner.shared.bound.endpoint()
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.inner.shared.limits
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.inner.pool
    }

    pub(crate) fn store(&self) -> &iroh_blobs::api::Store {
        &self.inner.shared.store
    }

    pub(crate) fn flights(&self) -> &Flights {
        &self.inner.flights
    }
}

fn transport(config: &Config) -> Result<QuicTransportConfig, FabricError> {
    if config.advertise.len() > MAX_SOCKETS {
        let reason = format!("{} sockets, at most {MAX_SOCKETS}", config.advertise.len());
        return Err(FabricError::Setting { setting: "advertise", reason });
    }
    if config.keep_alive.is_zero() || config.keep_alive >= config.idle_timeout {
        let reason = "must be over zero and shorter than `idle_timeout`".to_owned();
        return Err(FabricError::Setting { setting: "keep_alive", reason });
    }
    let idle = IdleTimeout::try_from(config.idle_timeout).map_err(|error| {
        FabricError::Setting { setting: "idle_timeout", reason: error.to_string() }
    })?;
    // A connection may open as many streams as its peer may have calls, so that an honest caller
    // waits for its turn instead of being refused.
    let streams = VarInt::from_u32(config.limits.max_calls_per_peer.max(1));
    Ok(QuicTransportConfig::builder()
        .max_idle_timeout(Some(idle))
        .default_path_max_idle_timeout(config.idle_timeout)
        .keep_alive_interval(config.keep_alive)
        .default_path_keep_alive_interval(config.keep_alive)
        .max_concurrent_bidi_streams(streams)
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .build())
}
