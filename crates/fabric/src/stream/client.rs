//! The side that opens.

use super::Channel;
use crate::{
    CallError, Fabric, PeerAddr,
    rpc::{Failure, read_head, refusal_of},
};
use bytes::Bytes;
use iroh::endpoint::{ReadExactError, RecvStream, SendStream};
use std::time::Duration;

impl Fabric {
    /// Opens a stream to `peer` on protocol `alpn` and waits until `deadline` has passed for it to
    /// be accepted, connecting included. Returns what the peer answered, and the stream.
    ///
    /// # Errors
    /// [`CallError`], as [`Fabric::call`].
    pub async fn stream(
        &self,
        peer: &PeerAddr,
        alpn: &[u8],
        request: impl Into<Bytes>,
        deadline: Duration,
    ) -> Result<(Bytes, Channel), CallError> {
        let (account, request) = (peer.account(), request.into());
        let length = self.request_length(&request)?;
        let limit = self.limits().max_response_bytes;
        let open = async {
            let (send, recv) = self.open(peer, alpn).await?;
            begin(send, recv, length, request, limit).await.map_err(|fail| fail.of(account))
        };
        match tokio::time::timeout(deadline, open).await {
            Ok(opened) => opened,
            Err(_) => Err(CallError::Timeout { peer: account, deadline }),
        }
    }
}

async fn begin(
    mut send: SendStream,
    mut recv: RecvStream,
    length: u32,
    request: Bytes,
    limit: u32,
) -> Result<(Bytes, Channel), Failure> {
    // A peer that stops reading says why in its answer, so a failed write is only a reason to read.
    if send.write_all(&length.to_le_bytes()).await.is_ok() {
        send.write_chunk(request).await.ok();
    }
    let head = read_head(&mut recv, limit).await?;
    let mut body = vec![0; head.length];
    recv.read_exact(&mut body).await.map_err(|error| match error {
        ReadExactError::FinishedEarly(_) => Failure::LENGTH,
        ReadExactError::ReadError(error) => Failure::of_read(error),
    })?;
    if head.refused { Err(refusal_of(&body)) } else { Ok((body.into(), Channel { send, recv })) }
}
