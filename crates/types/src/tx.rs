use crate::{
    AccountId, Amount, Hash, HashDomain, KeyError, Millis, SecretKey, Signature, Signing, codec,
};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The largest encoded transaction, in bytes.
pub const MAX_TX_BYTES: usize = 64 * 1024;

/// The most signatures that one transaction carries.
pub const MAX_SIGNATURES: usize = 16;

/// What every signed message begins with. Each kind of authority has a domain of its own, so that
/// a signature given as one is never good as another.
type Domain = [u8; 16];
const OWN: &Domain = b"muster tx own v1";
const KEY: &Domain = b"muster tx key v1";
const MEMBER: &Domain = b"muster tx mem v1";

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

/// What is signed: an action, for one chain, once.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Envelope<A> {
    /// The chain (hash of its genesis): a transaction means nothing elsewhere.
    pub chain: Hash,
    /// The account that acts and pays the fee, whoever signs for it.
    pub signer: AccountId,
    /// An unused nonce: of the account, or of the delegated key that signs for it.
    pub nonce: u64,
    /// The most that may be charged as fee, in `usd`; the tip is in it.
    pub max_fee: Amount,
    /// Paid on top of the fee's floor, in `usd`: who pays more goes first.
    pub tip: Amount,
    /// Void after this block time.
    pub expires: Millis,
    /// What to do.
    pub action: A,
}

/// A signature and the key that it is said to be by.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct KeySignature {
    /// By whom.
    pub key: AccountId,
    /// Over the domain and the envelope's encoding.
    pub signature: Signature,
}

/// Who signed for the account. That each signature is its key's can be checked by itself
/// ([`Signed::verify`]); whether the keys may act for the account is the ledger's to say.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    /// The account's own key.
    Own(Signature),
    /// A key that the account has delegated to.
    Key(KeySignature),
    /// Members of the account's policy: sorted by key, distinct, 1 to [`MAX_SIGNATURES`].
    Members(Vec<KeySignature>),
}

impl Auth {
    /// How many signatures there are to check.
    #[must_use]
    pub const fn count(&self) -> usize {
        match self {
            Self::Own(_) | Self::Key(_) => 1,
            Self::Members(members) => members.len(),
        }
    }

    const fn domain(&self) -> &'static Domain {
        match self {
            Self::Own(_) => OWN,
            Self::Key(_) => KEY,
            Self::Members(_) => MEMBER,
        }
    }

    /// Whether there are as many signatures as there may be, in the one order they may have.
    fn is_well_formed(&self) -> bool {
        match self {
            Self::Own(_) | Self::Key(_) => true,
            Self::Members(members) => {
                (1..=MAX_SIGNATURES).contains(&members.len())
                    && members.is_sorted_by(|left, right| left.key < right.key)
            }
        }
    }
}

/// Whose nonces a transaction counts among, as far as that can be told without the ledger: an
/// account's own, those of a key for an account, those of some members for an account. Nobody can
/// make a transaction in the lane of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lane {
    account: AccountId,
    keys: Option<Hash>,
}

/// An envelope and who signed it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Signed<A> {
    /// What was signed.
    pub envelope: Envelope<A>,
    /// By whom.
    pub auth: Auth,
}

/// A transaction's bytes, encoded once for all that needs them: signatures, id, fee.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The domain, the envelope, the signatures.
    bytes: Vec<u8>,
    /// Where the envelope ends.
    envelope_end: usize,
}

impl Encoded {
    /// What was signed: the domain and the envelope's encoding.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        self.bytes.get(..self.envelope_end).unwrap_or_default()
    }

    /// The signed encoding: what the network carries.
    #[must_use]
    pub fn wire(&self) -> &[u8] {
        self.bytes.get(OWN.len()..).unwrap_or_default()
    }

    /// The transaction's id.
    #[must_use]
    pub fn id(&self) -> TxId {
        static ID: HashDomain = HashDomain::new("muster tx id v1");
        TxId(ID.hash(&[self.wire()]))
    }
}

impl<A: BorshSerialize> Envelope<A> {
    /// Signs with the account's own key: `key` must be `signer`'s.
    #[must_use]
    pub fn sign(self, key: &SecretKey) -> Signed<A> {
        let signature = key.sign(&self.message(OWN));
        Signed { envelope: self, auth: Auth::Own(signature) }
    }

    /// Signs with a key that the account has delegated to; the nonce is the key's.
    #[must_use]
    pub fn sign_as(self, key: &SecretKey) -> Signed<A> {
        let signature = key.sign(&self.message(KEY));
        let by = KeySignature { key: key.account(), signature };
        Signed { envelope: self, auth: Auth::Key(by) }
    }

    /// One member's signature, to be gathered with those of others.
    #[must_use]
    pub fn sign_member(&self, key: &SecretKey) -> KeySignature {
        KeySignature { key: key.account(), signature: key.sign(&self.message(MEMBER)) }
    }

    /// Puts the signatures of members, in any order, under the envelope. As many of them as the
    /// account's policy asks for: one more could be taken off by anybody, and the transaction
    /// would have another id.
    #[must_use]
    pub fn gather(self, mut members: Vec<KeySignature>) -> Signed<A> {
        members.sort_by_key(|member| member.key);
        Signed { envelope: self, auth: Auth::Members(members) }
    }

    fn message(&self, domain: &Domain) -> Vec<u8> {
        let mut message = Vec::with_capacity(256);
        message.extend_from_slice(domain);
        codec::append(&mut message, self);
        message
    }
}

impl<A: BorshSerialize> Signed<A> {
    /// The transaction's bytes.
    #[must_use]
    pub fn encoded(&self) -> Encoded {
        let mut bytes = Vec::with_capacity(384);
        bytes.extend_from_slice(self.auth.domain());
        codec::append(&mut bytes, &self.envelope);
        let envelope_end = bytes.len();
        codec::append(&mut bytes, &self.auth);
        Encoded { bytes, envelope_end }
    }

    /// The transaction's id.
    #[must_use]
    pub fn id(&self) -> TxId {
        self.encoded().id()
    }

    /// Appends every signature that has to be checked, for checking many together. `encoded` are
    /// this transaction's bytes.
    ///
    /// # Errors
    /// [`KeyError::Members`] where there are too many signatures, none, or not in order.
    pub fn signings<'a>(
        &self,
        encoded: &'a Encoded,
        out: &mut Vec<Signing<'a>>,
    ) -> Result<(), KeyError> {
        if !self.auth.is_well_formed() {
            return Err(KeyError::Members);
        }
        let message = encoded.message();
        let signing =
            |by: &KeySignature| Signing { account: by.key, message, signature: by.signature };
        match &self.auth {
            Auth::Own(signature) => {
                let (account, signature) = (self.envelope.signer, *signature);
                out.push(Signing { account, message, signature });
            }
            Auth::Key(by) => out.push(signing(by)),
            Auth::Members(members) => out.extend(members.iter().map(signing)),
        }
        Ok(())
    }

    /// Checks every signature.
    ///
    /// # Errors
    /// [`KeyError`] where one is not its key's, or they are not as [`Auth`] demands.
    pub fn verify(&self) -> Result<(), KeyError> {
        self.verify_encoded(&self.encoded())
    }

    /// As [`Signed::verify`], where the transaction's bytes are at hand.
    ///
    /// # Errors
    /// As [`Signed::verify`].
    pub fn verify_encoded(&self, encoded: &Encoded) -> Result<(), KeyError> {
        let mut signings = Vec::with_capacity(self.auth.count().min(MAX_SIGNATURES));
        self.signings(encoded, &mut signings)?;
        signings.iter().try_for_each(|one| one.account.verify(one.message, &one.signature))
    }
}

impl<A> Signed<A> {
    /// Whose nonces it counts among.
    #[must_use]
    pub fn lane(&self) -> Lane {
        let of = |domain: &str, keys: &[KeySignature]| {
            let keys: Vec<&[u8]> = keys.iter().map(|by| by.key.as_bytes().as_slice()).collect();
            Hash::of(domain, &keys)
        };
        let keys = match &self.auth {
            Auth::Own(_) => None,
            Auth::Key(by) => Some(of("muster lane of a key v1", std::slice::from_ref(by))),
            Auth::Members(members) => Some(of("muster lane of members v1", members)),
        };
        Lane { account: self.envelope.signer, keys }
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
