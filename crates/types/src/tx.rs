use crate::{AccountId, Amount, Hash, KeyError, Millis, SecretKey, Signature, Signing, codec};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The largest encoded transaction, in bytes.
pub const MAX_TX_BYTES: usize = 64 * 1024;

const SIGN_DOMAIN: &[u8] = b"muster tx v1";

/// A transaction's id: the hash of its signed encoding.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct TxId(pub Hash);

impl fmt::Display for TxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a signer signs: an action, for one chain, once.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Envelope<A> {
    /// The chain (hash of its genesis): a transaction means nothing elsewhere.
    pub chain: Hash,
    /// Who acts and pays the fee.
    pub signer: AccountId,
    /// The signer's next nonce.
    pub nonce: u64,
    /// The most that may be charged as fee, in `usd`.
    pub max_fee: Amount,
    /// Void after this block time.
    pub expires: Millis,
    /// What to do.
    pub action: A,
}

/// An envelope and its signature.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Signed<A> {
    /// What was signed.
    pub envelope: Envelope<A>,
    /// By `envelope.signer`, over the domain and the envelope's encoding.
    pub signature: Signature,
}

impl<A: BorshSerialize> Envelope<A> {
    /// Signs the envelope. `key` must be the signer's.
    #[must_use]
    pub fn sign(self, key: &SecretKey) -> Signed<A> {
        let signature = key.sign(&self.message());
        Signed { envelope: self, signature }
    }

    fn message(&self) -> Vec<u8> {
        let mut message = SIGN_DOMAIN.to_vec();
        message.extend_from_slice(&codec::encode(self));
        message
    }
}

impl<A: BorshSerialize> Signed<A> {
    /// The transaction's id.
    #[must_use]
    pub fn id(&self) -> TxId {
        TxId(Hash::of("muster tx id v1", &[&codec::encode(self)]))
    }

    /// What has to be checked, for checking many together.
    #[must_use]
    pub fn signing(&self) -> Signing {
        Signing {
            account: self.envelope.signer,
            message: self.envelope.message(),
            signature: self.signature,
        }
    }

    /// Checks the signature.
    ///
    /// # Errors
    /// [`KeyError`] where it is not the signer's.
    pub fn verify(&self) -> Result<(), KeyError> {
        self.envelope.signer.verify(&self.envelope.message(), &self.signature)
    }
}

impl<A: BorshDeserialize> Signed<A> {
    /// Decodes a transaction of at most [`MAX_TX_BYTES`].
    ///
    /// # Errors
    /// As [`codec::decode`].
    pub fn decode(bytes: &[u8]) -> Result<Self, codec::DecodeError> {
        codec::decode(bytes, MAX_TX_BYTES)
    }
}
