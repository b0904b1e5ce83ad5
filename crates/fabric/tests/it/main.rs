//! The fabric over loopback: honest peers, strangers and hostile ones.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod blobs;
mod calls;
mod hostile;
mod streams;

use bytes::Bytes;
use iroh::{
    Endpoint, EndpointAddr, EndpointId, RelayMode, TransportAddr,
    endpoint::{Connection, presets},
};
use muster_fabric::{Config, Fabric, PeerAddr, Refusal, RefusalCode, Service};
use muster_types::{AccountId, Hash, SecretKey};
use std::{future::Future, net::SocketAddr, time::Duration};

/// Long enough for a loaded machine; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_mins(1);

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed([seed; 32])
}

fn config(seed: u8) -> Config {
    Config::new(key(seed))
}

async fn role(seed: u8) -> Fabric {
    Fabric::bind(config(seed)).await.unwrap()
}

async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("done in time")
}

/// Bytes that no two neighbouring chunks share.
fn content(len: usize) -> Bytes {
    let words = (0u64..).flat_map(|word| word.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    words.take(len).collect()
}

/// Answers with the request.
struct Echo;

impl Service for Echo {
    async fn call(&self, _: AccountId, request: Bytes) -> Result<Bytes, Refusal> {
        Ok(request)
    }
}

/// A code of the tests' own service.
const TEAPOT: RefusalCode = RefusalCode(418);

/// A peer that does not use the fabric and may say anything.
struct Raw {
    endpoint: Endpoint,
    account: AccountId,
}

impl Raw {
    async fn bind(seed: u8, alpns: &[&[u8]]) -> Self {
        let secret = iroh::SecretKey::from_bytes(&[seed; 32]);
        let account = AccountId(Hash(*secret.public().as_bytes()));
        let endpoint = Endpoint::builder(presets::Minimal)
            .relay_mode(RelayMode::Disabled)
            .secret_key(secret)
            .alpns(alpns.iter().map(|alpn| alpn.to_vec()).collect())
            .clear_ip_transports()
            .bind_addr(SocketAddr::from(([127, 0, 0, 1], 0)))
            .unwrap()
            .bind()
            .await
            .unwrap();
        Self { endpoint, account }
    }

    fn addr(&self) -> PeerAddr {
        PeerAddr::new(self.account, self.endpoint.bound_sockets()).unwrap()
    }

    async fn connect(&self, peer: &PeerAddr, alpn: &[u8]) -> Connection {
        let id = EndpointId::from_bytes(peer.account().as_bytes()).unwrap();
        let sockets = peer.sockets().iter().copied().map(TransportAddr::Ip);
        self.endpoint.connect(EndpointAddr::from_parts(id, sockets), alpn).await.unwrap()
    }

    /// Answers every stream of every connection with `answer` to the request's bytes.
    fn answer_streams<F>(&self, answer: F)
    where
        F: Fn(&[u8]) -> Vec<u8> + Clone + Send + 'static,
    {
        let endpoint = self.endpoint.clone();
        tokio::spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                let Ok(connection) = incoming.await else { continue };
                let answer = answer.clone();
                tokio::spawn(async move {
                    while let Ok((mut send, mut recv)) = connection.accept_bi().await {
                        let request = recv.read_to_end(1 << 20).await.unwrap_or_default();
                        send.write_all(&answer(&request)).await.ok();
                        send.finish().ok();
                    }
                });
            }
        });
    }
}
