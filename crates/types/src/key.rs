use crate::{AccountId, Hash};
use borsh::{BorshDeserialize, BorshSerialize};
use std::fmt;
use zeroize::Zeroizing;

/// Why a key or signature was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The account's bytes are not a point of the curve.
    #[error("the account is not a valid ed25519 public key")]
    PublicKey,
    /// The signature does not match.
    #[error("the signature does not match its account and message")]
    Signature,
    /// Members' signatures that are not sorted by key, name a key twice, or are none or too many.
    #[error("the members' signatures must be 1 to 16, sorted by key, one of each key")]
    Members,
}

/// An ed25519 signature (64 bytes); hex in text.
#[derive(Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(value_type = String))]
pub struct Signature(pub [u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({})", data_encoding::HEXLOWER.encode(&self.0[..4]))
    }
}

impl serde::Serialize for Signature {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl<'de> serde::Deserialize<'de> for Signature {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <String as serde::Deserialize>::deserialize(deserializer)?;
        let bytes = data_encoding::HEXLOWER_PERMISSIVE
            .decode(text.as_bytes())
            .map_err(serde::de::Error::custom)?;
        bytes
            .try_into()
            .map(Self)
            .map_err(|_| serde::de::Error::custom("a signature has 128 hexadecimal digits"))
    }
}

/// An ed25519 secret key. Wiped from memory when dropped; never printed.
///
/// Signatures follow ZIP 215, so that checking one by one and in a batch always agree.
#[derive(Clone)]
pub struct SecretKey(Zeroizing<[u8; 32]>);

impl SecretKey {
    /// The key whose seed is `seed` (RFC 8032).
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(Zeroizing::new(seed))
    }

    /// The seed, to be written to a key file.
    #[must_use]
    pub fn seed(&self) -> &[u8; 32] {
        &self.0
    }

    /// The account that this key controls.
    #[must_use]
    pub fn account(&self) -> AccountId {
        let bytes: [u8; 32] = ed25519_zebra::VerificationKey::from(&self.signing()).into();
        AccountId(Hash(bytes))
    }

    /// Signs `message` as given; callers prefix a domain.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.signing().sign(message).into())
    }

    fn signing(&self) -> ed25519_zebra::SigningKey {
        ed25519_zebra::SigningKey::from(*self.0)
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.account().short())
    }
}

impl AccountId {
    /// Checks `signature` over `message`.
    ///
    /// # Errors
    /// [`KeyError`] where the account is no key or the signature is not its.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), KeyError> {
        let key = ed25519_zebra::VerificationKey::try_from(*self.as_bytes())
            .map_err(|_| KeyError::PublicKey)?;
        key.verify(&ed25519_zebra::Signature::from(signature.0), message)
            .map_err(|_| KeyError::Signature)
    }
}
