//! Calls and streams to the providers of a deployment.

use super::{CALL_DEADLINE, Granted, LIST_DEADLINE, Services, ServicesError};
use muster_api::service::{ALPN, MAX_MESSAGE_BYTES, Open, Request, Response, STREAM_ALPN, Status};
use muster_fabric::{CallError, Channel, PeerAddr};
use muster_types::{AccountId, LeaseId, codec};
use std::{collections::BTreeSet, net::SocketAddr};

/// A service's replica that can be reached.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Under which lease.
    pub lease: LeaseId,
    /// Which service.
    pub service: String,
    /// Which of its replicas, from 0.
    pub number: usize,
    address: PeerAddr,
}

impl Services {
    pub(super) async fn address(&self, provider: &AccountId) -> Result<PeerAddr, ServicesError> {
        let view = self.wallet.client().provider(provider).await?;
        let sockets: Vec<SocketAddr> = view
            .iter()
            .flat_map(|view| &view.record.profile.sockets)
            .filter_map(|socket| socket.parse().ok())
            .collect();
        let no_address = |_| ServicesError::NoAddress { provider: *provider };
        PeerAddr::new(*provider, sockets).map_err(no_address)
    }

    pub(super) async fn call(
        &self,
        address: &PeerAddr,
        request: &Request,
    ) -> Result<Response, ServicesError> {
        let request = codec::encode(request);
        let answer = self.fabric.call(address, ALPN, request, CALL_DEADLINE).await;
        let provider = address.account();
        codec::decode(&answer.map_err(of_call)?, MAX_MESSAGE_BYTES)
            .map_err(|_| ServicesError::Answer { provider })
    }

    pub(super) async fn ask(
        &self,
        address: &PeerAddr,
        lease: LeaseId,
    ) -> Result<Status, ServicesError> {
        match self.call(address, &Request::Status { lease }).await? {
            Response::Status(status) => Ok(*status),
            Response::Taken => Err(ServicesError::Answer { provider: address.account() }),
        }
    }

    /// The service of a lease; its provider is asked only where it must be.
    async fn ask_service(&self, granted: &Granted) -> Option<String> {
        let known = self.service_of(granted, None);
        if known.is_some() {
            return known;
        }
        let asked = async {
            let address = self.address(&granted.lease.record.host.provider).await?;
            self.ask(&address, granted.lease.id).await
        };
        let status = tokio::time::timeout(LIST_DEADLINE, asked).await.ok()?.ok()?;
        self.service_of(granted, Some(&status))
    }

    /// The running replicas of a service, or of all: by service, then by lease id, numbered from 0
    /// within each service.
    ///
    /// # Errors
    /// [`ServicesError::NoService`] where the deployment has none of that name;
    /// [`ServicesError::NoReplica`] where none of them is up.
    pub async fn connections(
        &self,
        service: Option<&str>,
    ) -> Result<Vec<Connection>, ServicesError> {
        let names = self.names();
        if let Some(service) = service
            && !names.contains(service)
        {
            let known = names.into_iter().collect::<Vec<_>>().join(", ");
            return Err(ServicesError::NoService { service: service.to_owned(), known });
        }
        let granted = self.all_granted().await?;
        let named = granted.iter().map(|granted| self.ask_service(granted));
        let named = futures::future::join_all(named).await;
        let mut connections = Vec::new();
        for name in names.iter().filter(|name| service.is_none_or(|service| service == *name)) {
            let ours = granted.iter().zip(&named).filter(|(_, named)| named.as_ref() == Some(name));
            for (number, (granted, _)) in ours.enumerate() {
                connections.push(Connection {
                    lease: granted.lease.id,
                    service: name.clone(),
                    number,
                    address: self.address(&granted.lease.record.host.provider).await?,
                });
            }
        }
        if connections.is_empty() {
            return Err(ServicesError::NoReplica);
        }
        Ok(connections)
    }

    /// The names of all services.
    #[must_use]
    pub fn names(&self) -> BTreeSet<String> {
        let services = self.plan.groups.iter().flat_map(|group| &group.manifest.services);
        services.map(|service| service.name.clone()).collect()
    }

    /// Opens a stream to the provider of a connection.
    ///
    /// # Errors
    /// [`ServicesError::Refused`] with the provider's words, [`ServicesError::Call`].
    pub async fn stream(
        &self,
        connection: &Connection,
        open: &Open,
    ) -> Result<Channel, ServicesError> {
        let request = codec::encode(open);
        let opened =
            self.fabric.stream(&connection.address, STREAM_ALPN, request, CALL_DEADLINE).await;
        Ok(opened.map_err(of_call)?.1)
    }
}

fn of_call(error: CallError) -> ServicesError {
    match error {
        CallError::Refused { peer, refusal } => ServicesError::Refused { provider: peer, refusal },
        error => ServicesError::Call(error),
    }
}
