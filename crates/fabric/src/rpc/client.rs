//! The side that calls.

use super::{MAX_REFUSAL_BYTES, Refusal, STATUS_ANSWER, STATUS_REFUSAL};
use crate::{DialError, Fabric, PeerAddr};
use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use iroh::endpoint::{
    ConnectionError, ReadError, ReadExactError, ReadToEndError, RecvStream, SendStream, WriteError,
};
use muster_types::{
    AccountId,
    codec::{self, DecodeError},
};
use std::time::Duration;

/// Why a call has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// The peer could not be reached. The request was not sent.
    #[error("peer {} cannot be reached", peer.short())]
    Unreachable {
        /// Who was called.
        peer: AccountId,
        /// Why.
        #[source]
        source: DialError,
    },
    /// The connection broke during the call. The peer may have handled the request.
    #[error("the connection to peer {} broke during the call", peer.short())]
    Lost {
        /// Who was called.
        peer: AccountId,
        /// How it broke.
        #[source]
        source: ConnectionError,
    },
    /// The caller's deadline passed. The peer may have handled the request.
    #[error("peer {} did not answer within {deadline:?}", peer.short())]
    Timeout {
        /// Who was called.
        peer: AccountId,
        /// How long the caller was ready to wait, connecting included.
        deadline: Duration,
    },
    /// The peer said no.
    #[error("peer {} refused the call", peer.short())]
    Refused {
        /// Who was called.
        peer: AccountId,
        /// What it said.
        #[source]
        refusal: Refusal,
    },
    /// The request is over our own limit and was not sent.
    #[error("the request has {actual} bytes, at most {limit} are allowed")]
    RequestTooLarge {
        /// Its length in bytes.
        actual: usize,
        /// The limit in bytes.
        limit: u32,
    },
    /// The peer does not keep to the protocol.
    #[error("peer {} does not keep to the protocol", peer.short())]
    Protocol {
        /// Who was called.
        peer: AccountId,
        /// What it did.
        #[source]
        fault: ProtocolFault,
    },
}

/// How an answer breaks the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolFault {
    /// The answer is over our limit.
    #[error("the answer has {actual} bytes, at most {limit} are allowed")]
    TooLarge {
        /// The length in bytes that the peer announced.
        actual: u32,
        /// The limit in bytes.
        limit: u32,
    },
    /// The stream ended before the answer did, or went on after it.
    #[error("the answer is not as long as announced")]
    Length,
    /// The peer broke off the stream.
    #[error("the stream was broken off")]
    Reset,
    /// The status byte is unknown.
    #[error("unknown status {0}")]
    Status(u8),
    /// The body does not decode.
    #[error("the answer does not decode")]
    Decode(#[source] DecodeError),
}

/// How one exchange on an open stream failed.
pub(crate) enum Failure {
    Lost(ConnectionError),
    Refused(Refusal),
    Protocol(ProtocolFault),
}

impl Failure {
    /// The answer is not as long as announced.
    pub(crate) const LENGTH: Self = Self::Protocol(ProtocolFault::Length);

    pub(crate) fn of_read(error: ReadError) -> Self {
        match error {
            ReadError::ConnectionLost(error) => Self::Lost(error),
            _ => Self::Protocol(ProtocolFault::Reset),
        }
    }

    pub(crate) fn of(self, peer: AccountId) -> CallError {
        match self {
            Self::Lost(source) => CallError::Lost { peer, source },
            Self::Refused(refusal) => CallError::Refused { peer, refusal },
            Self::Protocol(fault) => CallError::Protocol { peer, fault },
        }
    }
}

impl Fabric {
    /// Calls `peer` on protocol `alpn` and waits for the answer until `deadline` has passed,
    /// connecting included. Dropping the future gives up the call.
    ///
    /// The connection is kept and used again; a dead one is dialled anew. A request that may have
    /// reached the peer is not sent a second time.
    ///
    /// # Errors
    /// [`CallError`]: not reachable, lost on the way, too late, refused, or not to protocol.
    pub async fn call(
        &self,
        peer: &PeerAddr,
        alpn: &[u8],
        request: impl Into<Bytes>,
        deadline: Duration,
    ) -> Result<Bytes, CallError> {
        let (account, request) = (peer.account(), request.into());
        let length = self.request_length(&request)?;
        let call = async {
            let (send, recv) = self.open(peer, alpn).await?;
            let limit = self.limits().max_response_bytes;
            exchange(send, recv, length, request, limit).await.map_err(|fail| fail.of(account))
        };
        match tokio::time::timeout(deadline, call).await {
            Ok(answer) => answer,
            Err(_) => Err(CallError::Timeout { peer: account, deadline }),
        }
    }

    /// [`Fabric::call`] with borsh-encoded values.
    ///
    /// # Errors
    /// As [`Fabric::call`]; an answer that does not decode is [`ProtocolFault::Decode`].
    pub async fn call_typed<Request, Response>(
        &self,
        peer: &PeerAddr,
        alpn: &[u8],
        request: &Request,
        deadline: Duration,
    ) -> Result<Response, CallError>
    where
        Request: BorshSerialize + Sync + ?Sized,
        Response: BorshDeserialize,
    {
        let answer = self.call(peer, alpn, codec::encode(request), deadline).await?;
        codec::decode(&answer, answer.len()).map_err(|error| CallError::Protocol {
            peer: peer.account(),
            fault: ProtocolFault::Decode(error),
        })
    }

    /// A request's length, where it is within our own limit.
    pub(crate) fn request_length(&self, request: &Bytes) -> Result<u32, CallError> {
        let limit = self.limits().max_request_bytes;
        match u32::try_from(request.len()) {
            Ok(length) if length <= limit => Ok(length),
            _ => Err(CallError::RequestTooLarge { actual: request.len(), limit }),
        }
    }

    /// Opens a stream. A connection that proves dead only now is dialled once more: nothing was
    /// sent on it.
    pub(crate) async fn open(
        &self,
        peer: &PeerAddr,
        alpn: &[u8],
    ) -> Result<(SendStream, RecvStream), CallError> {
        let account = peer.account();
        let unreachable = |source| CallError::Unreachable { peer: account, source };
        let connection = self.pool().get(peer, alpn).await.map_err(unreachable)?;
        if let Ok(streams) = connection.open_bi().await {
            return Ok(streams);
        }
        let connection = self.pool().get(peer, alpn).await.map_err(unreachable)?;
        connection.open_bi().await.map_err(|source| CallError::Lost { peer: account, source })
    }
}

async fn exchange(
    mut send: SendStream,
    mut recv: RecvStream,
    length: u32,
    request: Bytes,
    limit: u32,
) -> Result<Bytes, Failure> {
    let write = async {
        send.write_all(&length.to_le_bytes()).await?;
        send.write_chunk(request).await?;
        send.finish()?;
        Ok::<(), WriteError>(())
    };
    let read = read_answer(&mut recv, limit);
    tokio::pin!(write, read);
    // A refusal may come before the request is out; a peer that stops reading says why in its
    // answer, so a failed write is only a reason to read on.
    tokio::select! {
        answer = &mut read => answer,
        _ = &mut write => read.await,
    }
}

/// What stands before an answer's body.
pub(crate) struct Head {
    pub(crate) refused: bool,
    /// Of the body, in bytes.
    pub(crate) length: usize,
}

/// Reads the head of an answer of at most `limit` bytes.
pub(crate) async fn read_head(recv: &mut RecvStream, limit: u32) -> Result<Head, Failure> {
    let mut head = [0; 5];
    recv.read_exact(&mut head).await.map_err(|error| match error {
        ReadExactError::FinishedEarly(_) => Failure::LENGTH,
        ReadExactError::ReadError(error) => Failure::of_read(error),
    })?;
    let [status, length @ ..] = head;
    let actual = u32::from_le_bytes(length);
    let (refused, limit) = match status {
        STATUS_ANSWER => (false, limit),
        STATUS_REFUSAL => (true, MAX_REFUSAL_BYTES),
        other => return Err(Failure::Protocol(ProtocolFault::Status(other))),
    };
    let length = usize::try_from(actual).ok().filter(|_| actual <= limit);
    let length = length.ok_or(Failure::Protocol(ProtocolFault::TooLarge { actual, limit }))?;
    Ok(Head { refused, length })
}

/// The refusal that a body holds.
pub(crate) fn refusal_of(body: &[u8]) -> Failure {
    match codec::decode(body, body.len()) {
        Ok(refusal) => Failure::Refused(refusal),
        Err(error) => Failure::Protocol(ProtocolFault::Decode(error)),
    }
}

async fn read_answer(recv: &mut RecvStream, limit: u32) -> Result<Bytes, Failure> {
    let head = read_head(recv, limit).await?;
    let body = recv.read_to_end(head.length).await.map_err(|error| match error {
        ReadToEndError::TooLong => Failure::LENGTH,
        ReadToEndError::Read(error) => Failure::of_read(error),
    })?;
    if body.len() != head.length {
        return Err(Failure::LENGTH);
    }
    if head.refused { Err(refusal_of(&body)) } else { Ok(body.into()) }
}
