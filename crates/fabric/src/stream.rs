//! Streams: bytes both ways between two peers, for as long as both want.
//!
//! ```text
//! caller                                   service
//!   length: u32 LE │ request         ──▶
//!                                    ◀──   status: u8 │ length: u32 LE │ body
//!   bytes … end                      ──▶
//!                                    ◀──   bytes … end
//! ```
//!
//! The opening is that of a call (see [`crate::rpc`]): status 0 accepts, and the body is for the
//! caller; status 1 refuses, with a borsh-encoded [`Refusal`]. After an acceptance each direction
//! is the users' own and ends by itself. QUIC's flow control is what holds a fast writer back.

mod client;
mod server;

use crate::Refusal;
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use iroh::endpoint::{RecvStream, SendStream};
use muster_types::AccountId;
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub(crate) use server::serve;

/// What becomes of a stream that was accepted.
pub struct Accepted {
    answer: Bytes,
    handle: Box<dyn FnOnce(Channel) -> BoxFuture<'static, ()> + Send>,
}

impl Accepted {
    /// Answers the opening with `answer`, then runs `handle` with the open stream. The future of
    /// `handle` is dropped where the connection is lost or the endpoint shuts down.
    pub fn new<Run, Done>(answer: impl Into<Bytes>, handle: Run) -> Self
    where
        Run: FnOnce(Channel) -> Done + Send + 'static,
        Done: Future<Output = ()> + Send + 'static,
    {
        Self { answer: answer.into(), handle: Box::new(|channel| handle(channel).boxed()) }
    }
}

impl std::fmt::Debug for Accepted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Accepted").field("answer", &self.answer).finish_non_exhaustive()
    }
}

/// Accepts the streams of one protocol.
pub trait StreamService: Send + Sync + 'static {
    /// Accepts or refuses a stream that `peer`, whose identity is proven, asks for with `request`.
    ///
    /// Called concurrently. The future is dropped as that of [`crate::Service::call`] is, and a
    /// panic is answered in the same way.
    fn open(
        &self,
        peer: AccountId,
        request: Bytes,
    ) -> impl Future<Output = Result<Accepted, Refusal>> + Send;
}

/// [`StreamService`] behind a pointer.
pub(crate) trait DynStreamService: Send + Sync {
    fn open(&self, peer: AccountId, request: Bytes) -> BoxFuture<'_, Result<Accepted, Refusal>>;
}

impl<S: StreamService> DynStreamService for S {
    fn open(&self, peer: AccountId, request: Bytes) -> BoxFuture<'_, Result<Accepted, Refusal>> {
        StreamService::open(self, peer, request).boxed()
    }
}

/// An open stream: what is written to it the peer reads, and the other way round. Shutting it
/// down ends our direction; dropping it ends ours and refuses what is left of the peer's.
#[derive(Debug)]
pub struct Channel {
    send: SendStream,
    recv: RecvStream,
}

impl AsyncRead for Channel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        AsyncRead::poll_read(Pin::new(&mut self.recv), cx, buf)
    }
}

impl AsyncWrite for Channel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.send), cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.send), cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_shutdown(Pin::new(&mut self.send), cx)
    }
}
