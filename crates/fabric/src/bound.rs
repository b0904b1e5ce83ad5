//! The bound endpoint, and binding it anew.
//!
//! The library takes every change of the machine's interfaces (a container's network is one) for a
//! reason to bind its socket anew. Where the port is not free at that moment, as where a process
//! that was just forked still has the old socket, its driver ends, and the endpoint is dead for
//! good. Then another takes its place, with the same key, on the same port.

use crate::{Config, FabricError};
use iroh::{
    Endpoint, RelayMode,
    endpoint::{QuicTransportConfig, presets},
};
use muster_types::SecretKey;
use std::{net::SocketAddr, time::Duration};
use tokio::sync::watch;

/// First and longest pause between tries.
const PAUSE: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(5)];
/// Longest wait for a dead endpoint to let go.
const LET_GO: Duration = Duration::from_secs(1);

/// The endpoint that is bound now.
pub(crate) struct Bound {
    key: SecretKey,
    socket: SocketAddr,
    transport: QuicTransportConfig,
    /// `None` while there is none.
    current: watch::Sender<Option<Endpoint>>,
}

impl Bound {
    /// Binds the settings' socket.
    pub(crate) async fn new(
        config: &Config,
        transport: QuicTransportConfig,
    ) -> Result<Self, FabricError> {
        let endpoint = bind(&config.key, config.bind, transport.clone()).await?;
        let mut socket = config.bind;
        if let Some(bound) = endpoint.bound_sockets().first() {
            socket.set_port(bound.port());
        }
        let key = config.key.clone();
        Ok(Self { key, socket, transport, current: watch::Sender::new(Some(endpoint)) })
    }

    /// The endpoint that is bound now.
    pub(crate) fn endpoint(&self) -> Option<Endpoint> {
        self.current.borrow().clone()
    }

    /// The endpoint, as soon as there is one.
    pub(crate) async fn ready(&self) -> Endpoint {
        let mut current = self.current.subscribe();
        loop {
            if let Some(endpoint) = current.borrow_and_update().clone() {
                return endpoint;
            }
            // The sender is ours: it does not end.
            let _ = current.changed().await;
        }
    }

    /// What was bound first, and is bound again.
    pub(crate) fn socket(&self) -> SocketAddr {
        self.socket
    }

    /// Puts another endpoint in the place of one that has ended; tries until it can. Whoever calls
    /// it holds none: the port is free when the last one is dropped.
    pub(crate) async fn renew(&self) {
        tracing::warn!(socket = %self.socket, "the endpoint ended: another takes its place");
        let [mut pause, longest] = PAUSE;
        if let Some(dead) = self.current.send_replace(None) {
            // Where it does not, it is dropped all the same.
            let _ = tokio::time::timeout(LET_GO, dead.close()).await;
        }
        loop {
            match bind(&self.key, self.socket, self.transport.clone()).await {
                Ok(endpoint) => {
                    self.current.send_replace(Some(endpoint));
                    return;
                }
                Err(error) => tracing::warn!(socket = %self.socket, %error, "not bound yet"),
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(longest);
        }
    }
}

async fn bind(
    key: &SecretKey,
    socket: SocketAddr,
    transport: QuicTransportConfig,
) -> Result<Endpoint, FabricError> {
    let refuse = |source| FabricError::Bind { socket, source };
    Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Disabled)
        .secret_key(iroh::SecretKey::from_bytes(key.seed()))
        .alpns(vec![iroh_blobs::ALPN.to_vec()])
        .transport_config(transport)
        .clear_ip_transports()
        .bind_addr(socket)
        .map_err(|error| refuse(error.into()))?
        .bind()
        .await
        .map_err(|error| refuse(error.into()))
}

#[cfg(test)]
mod tests {
    use crate::{Config, Fabric, Refusal, Service};
    use bytes::Bytes;
    use muster_types::{AccountId, SecretKey};
    use std::time::Duration;

    struct Echo;

    impl Service for Echo {
        async fn call(&self, _peer: AccountId, request: Bytes) -> Result<Bytes, Refusal> {
            Ok(request)
        }
    }

    #[tokio::test]
    async fn an_endpoint_that_ended_is_reached_again_where_it_was_and_reaches_others() {
        let bind = async |seed| {
            let fabric = Fabric::bind(Config::new(SecretKey::from_seed([seed; 32]))).await.unwrap();
            fabric.serve(b"echo", Echo).unwrap();
            fabric
        };
        let (ours, peer) = (bind(1).await, bind(2).await);
        let (our_address, peer_address) = (ours.local_addr(), peer.local_addr());
        let patience = Duration::from_mins(1);
        ours.endpoint().unwrap().close().await;
        let renewed = async {
            while ours.endpoint().is_none_or(|endpoint| endpoint.is_closed()) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(patience, renewed).await.unwrap();
        assert_eq!(ours.local_addr(), our_address);
        let answer = peer.call(&our_address, b"echo", Bytes::from_static(b"there"), patience).await;
        assert_eq!(&answer.unwrap()[..], b"there");
        let answer = ours.call(&peer_address, b"echo", Bytes::from_static(b"back"), patience).await;
        assert_eq!(&answer.unwrap()[..], b"back");
    }
}
