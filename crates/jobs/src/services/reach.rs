//! Calls and streams to the providers of a deployment.

use super::{CALL_DEADLINE, Services, ServicesError};
use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use muster_api::service::{
    ALPN, MAX_FRAME_BYTES, MAX_MESSAGE_BYTES, Open, Request, Response, STREAM_ALPN, Status,
};
use muster_fabric::{CallError, Channel, PeerAddr};
use muster_types::{AccountId, LeaseId, codec};
use std::{collections::BTreeSet, io, net::SocketAddr};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

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
            Response::Status(status) => Ok(status),
            Response::Taken => Err(ServicesError::Answer { provider: address.account() }),
        }
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
        let mut connections = Vec::new();
        for name in names.iter().filter(|name| service.is_none_or(|service| service == *name)) {
            let ours = granted
                .iter()
                .filter(|granted| self.plan.services(granted.group, granted.unit).contains(name));
            for (number, granted) in ours.enumerate() {
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

/// Reads a stream's next frame; `None` at its end.
///
/// # Errors
/// The stream broke, within a frame or between two; a frame is too long or does not decode.
pub async fn read_frame<T: BorshDeserialize>(
    from: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<T>> {
    let mut head = [0; 4];
    let (first, rest) = head.split_at_mut(1);
    if from.read(first).await? == 0 {
        return Ok(None);
    }
    from.read_exact(rest).await?;
    let length = usize::try_from(u32::from_be_bytes(head)).unwrap_or(usize::MAX);
    if length > MAX_FRAME_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame is too long"));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).await?;
    let frame = codec::decode(&body, MAX_FRAME_BYTES);
    frame.map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Writes a frame.
///
/// # Errors
/// The stream broke; the frame is too long.
pub async fn write_frame<T: BorshSerialize>(
    to: &mut (impl AsyncWrite + Unpin),
    frame: &T,
) -> io::Result<()> {
    let body = codec::encode(frame);
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= MAX_FRAME_BYTES);
    let length =
        length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a frame is too long"))?;
    let whole: Bytes = [&length.to_be_bytes()[..], &body].concat().into();
    to.write_all(&whole).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster_api::service::Input;

    #[tokio::test]
    async fn frames_come_as_they_went_and_what_is_none_is_an_error() {
        let frames = [Input::Bytes(vec![7; 60_000]), Input::Resize { columns: 80, rows: 24 }];
        let mut wire = Vec::new();
        for frame in &frames {
            write_frame(&mut wire, frame).await.unwrap();
        }
        let mut from = wire.as_slice();
        for frame in frames {
            assert_eq!(read_frame(&mut from).await.unwrap(), Some(frame));
        }
        assert_eq!(read_frame::<Input>(&mut from).await.unwrap(), None);
        let too_long = Input::Bytes(vec![0; MAX_FRAME_BYTES]);
        assert!(write_frame(&mut Vec::new(), &too_long).await.is_err());
        let huge = u32::MAX.to_be_bytes();
        for bad in [&huge[..], &wire[..3], &wire[..100], &[0, 0, 0, 1, 9], &[0, 0, 0, 0]] {
            let read = read_frame::<Input>(&mut &*bad).await;
            assert!(read.is_err(), "{read:?}");
        }
    }
}
