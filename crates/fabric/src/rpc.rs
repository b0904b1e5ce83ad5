//! Calls: one request and one answer on a stream of its own.
//!
//! ```text
//! caller                                   service
//!   length: u32 LE │ request │ end   ──▶
//!                                    ◀──   status: u8 │ length: u32 LE │ body │ end
//! ```
//!
//! Status 0: the body is the answer. Status 1: it is a borsh-encoded [`Refusal`]. Both sides read
//! the length before anything else and refuse what is over their limit; bytes left over or missing
//! at the end of the stream are an error.

mod client;
mod server;

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use muster_types::AccountId;

pub use client::{CallError, ProtocolFault};
pub(crate) use client::{Failure, read_head, refusal_of};
pub(crate) use server::{answer_head, read_length, refused_panic, serve, write_refusal};

/// The protocol of the roles' calls, first version.
pub const RPC_ALPN: &[u8] = b"muster/rpc/1";

/// Code with which a connection over the limit is closed.
pub(crate) const CLOSE_TOO_MANY: u32 = 1;

const STATUS_ANSWER: u8 = 0;
const STATUS_REFUSAL: u8 = 1;

/// Longest message of a refusal, in bytes.
const MAX_MESSAGE_BYTES: usize = 1024;
/// Longest encoding of a refusal: code, length, message.
const MAX_REFUSAL_BYTES: u32 = 2 + 4 + 1024;

/// Handles the calls of one protocol.
pub trait Service: Send + Sync + 'static {
    /// Answers `request` of `peer`, whose identity is proven.
    ///
    /// Called concurrently. The future is dropped where the caller gives up, the connection is
    /// lost, the service timeout passes or the endpoint shuts down: what must not be cut short
    /// belongs in a task of its own. A caller that lost its connection may call again, so a
    /// request may arrive twice. A panic is answered with [`RefusalCode::INTERNAL`].
    fn call(
        &self,
        peer: AccountId,
        request: Bytes,
    ) -> impl Future<Output = Result<Bytes, Refusal>> + Send;
}

/// [`Service`] behind a pointer.
pub(crate) trait DynService: Send + Sync {
    fn call(&self, peer: AccountId, request: Bytes) -> BoxFuture<'_, Result<Bytes, Refusal>>;
}

impl<S: Service> DynService for S {
    fn call(&self, peer: AccountId, request: Bytes) -> BoxFuture<'_, Result<Bytes, Refusal>> {
        Service::call(self, peer, request).boxed()
    }
}

/// Why a call was refused. Codes from `0xff00` are the fabric's, those below are the service's.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct RefusalCode(pub u16);

impl RefusalCode {
    /// Too many calls of the peer are being handled.
    pub const BUSY: Self = Self(0xff00);
    /// The request, or the answer to it, is over the limit.
    pub const TOO_LARGE: Self = Self(0xff01);
    /// The request did not arrive in time, or the service did not answer in time.
    pub const TIMEOUT: Self = Self(0xff02);
    /// The request is not what the protocol says.
    pub const MALFORMED: Self = Self(0xff03);
    /// The service failed.
    pub const INTERNAL: Self = Self(0xff04);
}

/// A service's "no", as the caller sees it.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, thiserror::Error)]
#[error("{message} (code {})", code.0)]
pub struct Refusal {
    code: RefusalCode,
    message: String,
}

impl Refusal {
    /// A refusal with a message for people; what is over 1 KiB of it is cut off.
    #[must_use]
    pub fn new(code: RefusalCode, message: impl Into<String>) -> Self {
        let mut message = message.into();
        message.truncate(message.floor_char_boundary(MAX_MESSAGE_BYTES));
        Self { code, message }
    }

    /// For programs.
    #[must_use]
    pub fn code(&self) -> RefusalCode {
        self.code
    }

    /// For people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster_hostile::{Meter, canonical};
    use muster_types::codec;

    #[global_allocator]
    static METER: Meter = Meter;

    #[test]
    fn a_refusal_has_one_encoding() {
        let limit = usize::try_from(MAX_REFUSAL_BYTES).unwrap();
        let samples = ["", "too many calls", "é"]
            .map(|message| codec::encode(&Refusal::new(RefusalCode::BUSY, message)));
        let taken = canonical(&samples, 20_000, |bytes| {
            codec::decode::<Refusal>(bytes, limit).ok().map(|refusal| codec::encode(&refusal))
        });
        assert!(taken > 500, "{taken}");
    }

    #[test]
    fn the_longest_refusal_fits_its_frame() {
        let refusal = Refusal::new(RefusalCode::BUSY, "é".repeat(MAX_MESSAGE_BYTES));
        assert_eq!(refusal.message().len(), MAX_MESSAGE_BYTES);
        let limit = usize::try_from(MAX_REFUSAL_BYTES).unwrap();
        let bytes = codec::encode(&refusal);
        assert_eq!(bytes.len(), limit);
        assert_eq!(codec::decode::<Refusal>(&bytes, limit), Ok(refusal));
    }
}
