//! The vocabulary: ids, money, time, resources, keys, and the signed envelope that every other
//! room speaks.
//!
//! Nothing here does I/O, reads a clock or draws entropy. Binary encoding is [borsh], which is
//! canonical: one value, one byte string (see [`codec`]). JSON spells ids in hex and money as
//! decimal strings.
//!
//! [borsh]: https://borsh.io

mod batch;
pub mod codec;
mod hash;
mod id;
mod key;
pub mod merkle;
mod money;
mod resources;
mod time;
mod tx;

pub use batch::{Signing, verify_batch};
pub use hash::{Hash, HashDomain};
pub use id::{
    AccountId, DisputeId, EscrowId, HostId, JobId, LeaseId, OrderId, ParseIdError, ProposalId,
    UnbondingId,
};
pub use key::{KeyError, SecretKey, Signature};
pub use money::{Amount, Asset, ParseAmountError, Rate, Shares};
pub use resources::{Gpu, GpuRequest, Resources};
pub use time::Millis;
pub use tx::{
    Auth, Encoded, Envelope, KeySignature, Lane, MAX_SIGNATURES, MAX_TX_BYTES, Signed, TxId,
};

#[cfg(test)]
mod tests;
