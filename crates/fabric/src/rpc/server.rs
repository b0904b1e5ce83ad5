//! The side that is called.

use super::{DynService, Refusal, RefusalCode, STATUS_ANSWER, STATUS_REFUSAL};
use crate::{Limits, accept::PeerLimits};
use bytes::Bytes;
use futures::FutureExt;
use iroh::endpoint::{
    Connection, ReadExactError, ReadToEndError, RecvStream, SendStream, WriteError,
};
use muster_types::{AccountId, codec};
use std::{panic::AssertUnwindSafe, sync::Arc};
use tokio::{task::JoinSet, time::timeout};

/// Serves a connection's calls until it closes; then the handlers still at work are dropped.
pub(crate) async fn serve(
    connection: Connection,
    peer: AccountId,
    limits: Limits,
    peer_limits: &Arc<PeerLimits>,
    service: Arc<dyn DynService>,
) {
    let mut calls = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(_) = calls.join_next() => {}
            stream = connection.accept_bi() => {
                let Ok((send, recv)) = stream else { break };
                let call = Call {
                    peer,
                    limits,
                    peer_limits: Arc::clone(peer_limits),
                    service: Arc::clone(&service),
                };
                calls.spawn(call.run(send, recv));
            }
        }
    }
}

struct Call {
    peer: AccountId,
    limits: Limits,
    peer_limits: Arc<PeerLimits>,
    service: Arc<dyn DynService>,
}

impl Call {
    async fn run(self, mut send: SendStream, mut recv: RecvStream) {
        let answer = {
            let stopped = send.stopped();
            tokio::select! {
                biased;
                answer = self.answer(&mut recv) => answer,
                _ = stopped => {
                    tracing::debug!(peer = %self.peer.short(), "the caller gave up");
                    return;
                }
            }
        };
        // What is left of a request that was not read to its end is not wanted.
        drop(recv);
        let written = timeout(self.limits.transfer_timeout, write_answer(&mut send, answer)).await;
        if !matches!(written, Ok(Ok(()))) {
            tracing::debug!(peer = %self.peer.short(), "the answer was not taken");
        }
    }

    async fn answer(&self, recv: &mut RecvStream) -> Result<Bytes, Refusal> {
        let Ok(_permit) = self.peer_limits.calls.try_acquire() else {
            return Err(Refusal::new(RefusalCode::BUSY, "too many calls at once"));
        };
        let read = read_request(recv, self.limits.max_request_bytes);
        let request = timeout(self.limits.transfer_timeout, read).await.map_err(|_| {
            Refusal::new(RefusalCode::TIMEOUT, "the request did not arrive in time")
        })??;
        let handled = AssertUnwindSafe(self.service.call(self.peer, request)).catch_unwind();
        let answer = match timeout(self.limits.service_timeout, handled).await {
            Ok(Ok(answer)) => answer?,
            Ok(Err(_)) => return Err(refused_panic(self.peer)),
            Err(_) => {
                return Err(Refusal::new(RefusalCode::TIMEOUT, "the service took too long"));
            }
        };
        let limit = self.limits.max_response_bytes;
        if u32::try_from(answer.len()).is_ok_and(|len| len <= limit) {
            Ok(answer)
        } else {
            let message =
                format!("the answer has {} bytes, at most {limit} are allowed", answer.len());
            Err(Refusal::new(RefusalCode::TOO_LARGE, message))
        }
    }
}

/// What a peer gets to know of a service that panicked.
pub(crate) fn refused_panic(peer: AccountId) -> Refusal {
    tracing::error!(peer = %peer.short(), "a service panicked");
    Refusal::new(RefusalCode::INTERNAL, "the service failed")
}

/// Reads a request's length, at most `limit`.
pub(crate) async fn read_length(recv: &mut RecvStream, limit: u32) -> Result<usize, Refusal> {
    let malformed = |message: &str| Refusal::new(RefusalCode::MALFORMED, message);
    let mut length = [0; 4];
    recv.read_exact(&mut length).await.map_err(|error| match error {
        ReadExactError::FinishedEarly(_) => malformed("the stream ended within the length"),
        ReadExactError::ReadError(_) => malformed("the stream broke within the length"),
    })?;
    let length = u32::from_le_bytes(length);
    usize::try_from(length).ok().filter(|_| length <= limit).ok_or_else(|| {
        let message = format!("the request has {length} bytes, at most {limit} are allowed");
        Refusal::new(RefusalCode::TOO_LARGE, message)
    })
}

async fn read_request(recv: &mut RecvStream, limit: u32) -> Result<Bytes, Refusal> {
    let malformed = |message: &str| Refusal::new(RefusalCode::MALFORMED, message);
    let expected = read_length(recv, limit).await?;
    let request = recv.read_to_end(expected).await.map_err(|error| match error {
        ReadToEndError::TooLong => malformed("the request is longer than it said"),
        ReadToEndError::Read(_) => malformed("the stream broke within the request"),
    })?;
    if request.len() == expected {
        Ok(request.into())
    } else {
        Err(malformed("the request is shorter than it said"))
    }
}

/// What stands before an answer's body.
pub(crate) fn answer_head(body: &Bytes) -> [u8; 5] {
    head(STATUS_ANSWER, body)
}

fn head(status: u8, body: &Bytes) -> [u8; 5] {
    // Both kinds of body are bounded by a u32 where they are made.
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let mut head = [status, 0, 0, 0, 0];
    head[1..].copy_from_slice(&length.to_le_bytes());
    head
}

/// Refuses, and ends the stream.
pub(crate) async fn write_refusal(
    send: &mut SendStream,
    refusal: Refusal,
) -> Result<(), WriteError> {
    let body = codec::encode(&refusal).into();
    send.write_all(&head(STATUS_REFUSAL, &body)).await?;
    send.write_chunk(body).await?;
    send.finish()?;
    Ok(())
}

async fn write_answer(
    send: &mut SendStream,
    answer: Result<Bytes, Refusal>,
) -> Result<(), WriteError> {
    let body = match answer {
        Ok(body) => body,
        Err(refusal) => return write_refusal(send, refusal).await,
    };
    send.write_all(&answer_head(&body)).await?;
    send.write_chunk(body).await?;
    send.finish()?;
    Ok(())
}
