//! Whom a dial is meant for.
//!
//! A dial goes out to every socket where a peer may be, and the first to answer decides it. A
//! socket that now belongs to another role would answer with the wrong key and so end the dial,
//! although the peer is alive elsewhere. Each dial therefore carries a mark of its addressee as
//! one more protocol name, which nobody serves, and a role stays silent when the mark is not its
//! own. The mark proves nothing: the addressee does, with its key.

use iroh::endpoint::Incoming;
use muster_types::{AccountId, Hash};

/// No service's protocol may start with it.
pub(crate) const PREFIX: &[u8] = b"to/";

/// Bytes of the account's hash in a mark: enough to tell roles apart.
const MARK_BYTES: usize = 16;

/// The protocol name that marks a dial to `account`.
pub(crate) fn mark(account: AccountId) -> Vec<u8> {
    let hash = Hash::of("muster fabric addressee v1", &[account.as_bytes()]);
    [PREFIX, &hash.as_bytes()[..MARK_BYTES]].concat()
}

/// Whether a dial carries marks and none of them is `own`. One that does not parse is let
/// through to the handshake.
pub(crate) fn is_for_another(incoming: &Incoming, own: &[u8]) -> bool {
    let Some(names) = incoming.decrypt().and_then(|hello| hello.alpns()) else { return false };
    let mut marks = names.flatten().filter(|name| name.starts_with(PREFIX)).peekable();
    marks.peek().is_some() && !marks.any(|mark| mark == own)
}
