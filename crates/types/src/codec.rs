//! Canonical, bounded binary encoding.
//!
//! borsh is canonical for the types that this workspace encodes (fixed-width little-endian
//! integers, length-prefixed sequences, maps and sets in strict order of their keys, enums by
//! one-byte index; no hash maps, no floats).
//! Decoding refuses anything longer than the caller's bound and any trailing byte, so a value has
//! exactly one encoding and a hostile length prefix cannot make us allocate: borsh grows vectors
//! as bytes arrive, and the bound limits the bytes.

use borsh::{BorshDeserialize, BorshSerialize};

/// Why bytes were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// More bytes than this kind of value may have.
    #[error("{actual} bytes, at most {limit} are allowed")]
    TooLong {
        /// Bytes given.
        actual: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Not an encoding of the expected type, or bytes were left over.
    #[error("malformed: {0}")]
    Malformed(String),
}

/// Encodes `value` in its one canonical form.
///
/// # Panics
/// Never for the types of this workspace: writing to a vector does not fail and no sequence
/// reaches the 4 GiB that borsh refuses.
pub fn encode<T: BorshSerialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut bytes = borsh::to_vec(value).expect("borsh into a Vec fails only above 4 GiB");
    // It begins with a KiB; what is kept in the state must not hold on to it.
    bytes.shrink_to_fit();
    bytes
}

/// Appends the encoding of `value`.
///
/// # Panics
/// As [`encode`].
pub fn append<T: BorshSerialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    value.serialize(out).expect("borsh into a Vec fails only above 4 GiB");
}

/// Decodes a whole value from at most `limit` bytes; trailing bytes are an error.
///
/// # Errors
/// [`DecodeError::TooLong`] beyond `limit`, else [`DecodeError::Malformed`].
pub fn decode<T: BorshDeserialize>(bytes: &[u8], limit: usize) -> Result<T, DecodeError> {
    if bytes.len() > limit {
        return Err(DecodeError::TooLong { actual: bytes.len(), limit });
    }
    borsh::from_slice(bytes).map_err(|source| DecodeError::Malformed(source.to_string()))
}
