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
enum Failure {
    Lost(ConnectionError),
    Refused(Refusal),
    Protocol(ProtocolFault),
}

impl Failure {
    fn of_read(error: ReadError) -> Self {
        match error {
            ReadError::ConnectionLost(error) => Self::Lost(error),
            _ => Self::Protocol(ProtocolFault::Reset),
        }
    }

    fn of(self, peer: AccountId) -> CallError {
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
        let limit = self.limits().max_request_bytes;
        let length = match u32::try_from(request.len()) {
            Ok(length) if length <= limit => length,
            _ => return Err(CallError::RequestTooLarge { actual: request.len(), limit }),
        };
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

    /// Opens a stream. A connection that proves dead only now is dialled once more: nothing was
    /// sent on it.
    async fn open(
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

async fn read_answer(recv: &mut RecvStream, limit: u32) -> Result<Bytes, Failure> {
    let mut head = [0; 5];
    recv.read_exact(&mut head).await.map_err(|error| match error {
        ReadExactError::FinishedEarly(_) => Failure::Protocol(ProtocolFault::Length),
        ReadExactError::ReadError(error) => Failure::of_read(error),
    })?;
    let [status, length @ ..] = head;
    let actual = u32::from_le_bytes(length);
    let limit = match status {
        STATUS_ANSWER => limit,
        STATUS_REFUSAL => MAX_REFUSAL_BYTES,
        other => return Err(Failure::Protocol(ProtocolFault::Status(other))),
    };
    let too_large = || Failure::Protocol(ProtocolFault::TooLarge { actual, limit });
    if actual > limit {
        return Err(too_large());
    }
    let expected = usize::try_from(actual).map_err(|_| too_large())?;
    let body = recv.read_to_end(expected).await.map_err(|error| match error {
        ReadToEndError::TooLong => Failure::Protocol(ProtocolFault::Length),
        ReadToEndError::Read(error) => Failure::of_read(error),
    })?;
    if body.len() != expected {
        return Err(Failure::Protocol(ProtocolFault::Length));
    }
    if status == STATUS_ANSWER {
        return Ok(body.into());
    }
    match codec::decode(&body, expected) {
        Ok(refusal) => Err(Failure::Refused(refusal)),
        Err(error) => Err(Failure::Protocol(ProtocolFault::Decode(error))),
    }
}
