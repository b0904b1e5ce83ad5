//! What peers send, decoded and encoded again; nothing where it is refused. For tests and for the
//! fuzz targets.

use super::{block::Block, resolver::Line, trail};
use crate::gossip;
use bytes::Bytes;
use commonware_codec::{DecodeExt as _, Encode as _};

/// A block.
#[must_use]
pub fn block(bytes: &[u8]) -> Option<Vec<u8>> {
    let block = Block::decode(Bytes::copy_from_slice(bytes)).ok()?;
    Some(block.encode().to_vec())
}

/// An operation of the store's log.
#[must_use]
pub fn operation(bytes: &[u8]) -> Option<Vec<u8>> {
    let line = Line::decode(Bytes::copy_from_slice(bytes)).ok()?;
    Some(line.encode().to_vec())
}

/// A question for, or an answer with, the ends of epochs.
#[must_use]
pub fn trail(bytes: &[u8]) -> Option<Vec<u8>> {
    trail::recoded(bytes)
}

/// Transactions that are spread.
#[must_use]
pub fn gossip(bytes: &[u8]) -> Option<Vec<u8>> {
    let txs = gossip::read(Bytes::copy_from_slice(bytes)).ok()?;
    Some(txs.encode().to_vec())
}
