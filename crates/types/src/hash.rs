use crate::id::ParseIdError;
use blake3::hazmat::{ContextKey, HasherExt as _, hash_derive_key_context};
use borsh::{BorshDeserialize, BorshSerialize};
use std::{fmt, str::FromStr, sync::OnceLock};

/// A use of hashes whose name is hashed once for all: half the work of a short [`Hash::of`].
///
/// ```
/// use muster_types::{HashDomain, Hash};
///
/// static GREETING: HashDomain = HashDomain::new("muster example greeting v1");
/// assert_eq!(GREETING.hash(&[b"hello"]), Hash::of("muster example greeting v1", &[b"hello"]));
/// ```
#[derive(Debug)]
pub struct HashDomain {
    name: &'static str,
    key: OnceLock<ContextKey>,
}

impl HashDomain {
    /// The use with this name.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, key: OnceLock::new() }
    }

    /// What [`Hash::of`] gives with its name.
    #[must_use]
    pub fn hash(&self, parts: &[&[u8]]) -> Hash {
        let key = self.key.get_or_init(|| hash_derive_key_context(self.name));
        Hash::of_parts(blake3::Hasher::new_from_context_key(key), parts)
    }
}

/// A BLAKE3 digest (32 bytes); hex in text.
///
/// Content hashes ([`Hash::of_content`]) are plain BLAKE3, so that they are also the names of
/// blobs on the fabric. Every other hash is domain-separated ([`Hash::of`]).
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, BorshSerialize, BorshDeserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(value_type = String))]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// All zeros: the root of nothing, the parent of genesis.
    pub const ZERO: Self = Self([0; 32]);

    /// Plain BLAKE3 of `bytes`: the content address of a blob.
    #[must_use]
    pub fn of_content(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// BLAKE3 in key-derivation mode: `domain` names the use, parts are length-prefixed (u64 LE),
    /// so no two lists of parts collide.
    #[must_use]
    pub fn of(domain: &str, parts: &[&[u8]]) -> Self {
        Self::of_parts(blake3::Hasher::new_derive_key(domain), parts)
    }

    fn of_parts(mut hasher: blake3::Hasher, parts: &[&[u8]]) -> Self {
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self(*hasher.finalize().as_bytes())
    }

    /// The digest's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first eight hex digits: for people, never for look-up.
    #[must_use]
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(8);
        text
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

impl FromStr for Hash {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        let refuse = || ParseIdError { text: text.chars().take(80).collect() };
        if text.len() != 64 {
            return Err(refuse());
        }
        let lower = text.to_ascii_lowercase();
        data_encoding::HEXLOWER.decode_mut(lower.as_bytes(), &mut bytes).map_err(|_| refuse())?;
        Ok(Self(bytes))
    }
}

impl serde::Serialize for Hash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Hash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <String as serde::Deserialize>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
