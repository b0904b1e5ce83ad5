//! The side that accepts.

use super::{Accepted, Channel, DynStreamService};
use crate::{
    Limits, Refusal, RefusalCode,
    accept::PeerLimits,
    rpc::{answer_head, read_length, refused_panic, write_refusal},
};
use bytes::Bytes;
use futures::FutureExt;
use iroh::endpoint::{Connection, ReadExactError, RecvStream, SendStream};
use muster_types::AccountId;
use std::{panic::AssertUnwindSafe, sync::Arc};
use tokio::{task::JoinSet, time::timeout};

/// Serves a connection's streams until it closes; then the handlers still at work are dropped.
pub(crate) async fn serve(
    connection: Connection,
    peer: AccountId,
    limits: Limits,
    peer_limits: &Arc<PeerLimits>,
    service: Arc<dyn DynStreamService>,
) {
    // So that an honest peer waits for its turn instead of being refused.
    connection.set_max_concurrent_bi_streams(limits.max_streams_per_peer.max(1).into());
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(_) = streams.join_next() => {}
            stream = connection.accept_bi() => {
                let Ok((send, recv)) = stream else { break };
                let (peer_limits, service) = (Arc::clone(peer_limits), Arc::clone(&service));
                streams.spawn(async move {
                    run(peer, limits, &peer_limits, service.as_ref(), send, recv).await;
                });
            }
        }
    }
}

async fn run(
    peer: AccountId,
    limits: Limits,
    peer_limits: &PeerLimits,
    service: &dyn DynStreamService,
    mut send: SendStream,
    mut recv: RecvStream,
) {
    let opened = match peer_limits.streams.try_acquire() {
        Ok(permit) => open(peer, limits, service, &mut recv).await.map(|open| (permit, open)),
        Err(_) => Err(Refusal::new(RefusalCode::BUSY, "too many streams at once")),
    };
    let (_permit, accepted) = match opened {
        Ok(opened) => opened,
        Err(refusal) => {
            drop(recv);
            let write = write_refusal(&mut send, refusal);
            if !matches!(timeout(limits.transfer_timeout, write).await, Ok(Ok(()))) {
                tracing::debug!(peer = %peer.short(), "the refusal was not taken");
            }
            return;
        }
    };
    let Accepted { answer, handle } = accepted;
    let write = async {
        send.write_all(&answer_head(&answer)).await?;
        send.write_chunk(answer).await
    };
    if !matches!(timeout(limits.transfer_timeout, write).await, Ok(Ok(()))) {
        tracing::debug!(peer = %peer.short(), "the answer was not taken");
        return;
    }
    handle(Channel { send, recv }).await;
}

async fn open(
    peer: AccountId,
    limits: Limits,
    service: &dyn DynStreamService,
    recv: &mut RecvStream,
) -> Result<Accepted, Refusal> {
    let read = read_request(recv, limits.max_request_bytes);
    let request = timeout(limits.transfer_timeout, read)
        .await
        .map_err(|_| Refusal::new(RefusalCode::TIMEOUT, "the request did not arrive in time"))??;
    let opened = AssertUnwindSafe(service.open(peer, request)).catch_unwind();
    let accepted = match timeout(limits.service_timeout, opened).await {
        Ok(Ok(accepted)) => accepted?,
        Ok(Err(_)) => return Err(refused_panic(peer)),
        Err(_) => return Err(Refusal::new(RefusalCode::TIMEOUT, "the service took too long")),
    };
    let limit = limits.max_response_bytes;
    if u32::try_from(accepted.answer.len()).is_ok_and(|len| len <= limit) {
        Ok(accepted)
    } else {
        let bytes = accepted.answer.len();
        let message = format!("the answer has {bytes} bytes, at most {limit} are allowed");
        Err(Refusal::new(RefusalCode::TOO_LARGE, message))
    }
}

async fn read_request(recv: &mut RecvStream, limit: u32) -> Result<Bytes, Refusal> {
    let mut request = vec![0; read_length(recv, limit).await?];
    recv.read_exact(&mut request).await.map_err(|error| {
        let message = match error {
            ReadExactError::FinishedEarly(_) => "the request is shorter than it said",
            ReadExactError::ReadError(_) => "the stream broke within the request",
        };
        Refusal::new(RefusalCode::MALFORMED, message)
    })?;
    Ok(request.into())
}
