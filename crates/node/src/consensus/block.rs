//! Blocks: what validators agree on, its encoding, and its digest.
//!
//! The digest covers the consensus context and the header only; the header commits to the body by
//! [`body_root`], and decoding refuses a body that is not the header's. So a light client needs
//! the four hundred bytes of a header, not its transactions.

use super::{
    beacon::{self, SIGNATURE_BYTES, Signature},
    committee_hash,
};
use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use commonware_codec::{
    Buf, Encode, EncodeSize, Error as CodecError, MaxEncodeSize, RangeCfg, Read, ReadExt as _,
    Write,
};
use commonware_consensus::{
    Block as ConsensusBlock, BoundedBlock, CertifiableBlock, Heightable,
    simplex::types::Context,
    types::{Epoch, Height, Round, View},
};
use commonware_cryptography::{Digest as _, Digestible, blake3::Digest, ed25519::PublicKey};
use commonware_runtime::BufMut;
use commonware_storage::{mmr::Location, qmdb::sync::Target};
use commonware_utils::range::NonEmptyRange;
use muster_ledger::{genesis, limits};
use muster_types::{
    AccountId, Hash, MAX_TX_BYTES, Millis, TxId,
    codec::{self, DecodeError},
    merkle,
};
use std::sync::Arc;

/// The newest protocol that this build speaks: the ledger's rules. A block is of the one that the
/// state before it says; one that this build does not know is refused.
pub const PROTOCOL_VERSION: u16 = 1;
const _: () = assert!(PROTOCOL_VERSION as u32 == muster_ledger::genesis::PROTOCOL, "one protocol");

/// Whether this build speaks a protocol.
#[must_use]
pub fn knows_version(version: u16) -> bool {
    genesis::knows(version.into())
}

/// The most bytes of transactions in a block.
pub const MAX_BLOCK_BYTES: usize = 4 * 1024 * 1024;
/// The most transactions in a block.
pub const MAX_BLOCK_TXS: usize = 8192;

/// Bytes of an encoded [`Header`]: every field has a fixed width.
pub(crate) const HEADER_BYTES: usize = 2 + 9 * 32 + 7 * 8 + 1;
/// The widest length prefix of a sequence.
const LENGTH_BYTES: usize = 5;
/// Bytes of an account.
const ACCOUNT_BYTES: usize = 32;

/// Where a block stands in the consensus protocol: its round, leader and parent.
pub(crate) type Ctx = Context<Digest, PublicKey>;

/// What a block commits to.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Header {
    /// The protocol: that of the state before it, at most [`PROTOCOL_VERSION`].
    pub version: u16,
    /// The chain: the hash of its genesis.
    pub chain: Hash,
    /// The digest of the block before.
    pub parent: Hash,
    /// Blocks since genesis.
    pub height: u64,
    /// The epoch, in which the validators do not change.
    pub epoch: u64,
    /// The block's time: later than its parent's.
    pub time: Millis,
    /// Randomness for the ledger's draws.
    pub beacon: Hash,
    /// The beacon's round: the parent's, or one more.
    pub beacon_round: u64,
    /// One more than the epoch whose validators' key signs the beacon; 0: the proposer is trusted.
    pub beacon_key: u64,
    /// Whether the block has the signature of its round: then the beacon is its hash.
    pub beacon_signed: bool,
    /// The validator that made the block.
    pub proposer: AccountId,
    /// The root of the authenticated state after the block: proofs that a value is current, or
    /// that a key is absent, lead to it.
    pub state_root: Hash,
    /// The root of the log of state operations after the block: what state sync checks.
    pub ops_root: Hash,
    /// The first operation of the log that state sync needs.
    pub ops_start: u64,
    /// The length of the log of state operations.
    pub ops_end: u64,
    /// The validators who vote on the next block ([`super::committee_hash`]): others than on this
    /// one only in the last block of an epoch.
    pub validators: Hash,
    /// The Merkle root of the transactions' ids ([`body_root`]).
    pub body_root: Hash,
    /// The Merkle root of the events that the block caused ([`muster_ledger::event_root`]).
    pub event_root: Hash,
}

/// A block: header, consensus context, transactions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// The round in which it was made.
    pub(crate) context: Ctx,
    /// What it commits to.
    pub(crate) header: Header,
    /// The encoded transactions.
    pub(crate) body: Arc<Vec<Bytes>>,
    /// In the last block of an epoch, the validators of the next.
    pub(crate) next: Arc<Vec<AccountId>>,
    /// The signature of the beacon's round, where it is a new one and signed.
    pub(crate) signature: Option<Signature>,
}

/// The Merkle root of transaction ids in block order.
#[must_use]
pub fn body_root(ids: &[TxId]) -> Hash {
    merkle::root(&ids.iter().map(|id| id.0).collect::<Vec<_>>())
}

/// The id of the transaction with this encoding.
pub(crate) fn encoded_id(tx: &[u8]) -> TxId {
    TxId(Hash::of("muster tx id v1", &[tx]))
}

/// What the digest of a block with this header is the hash of: the header's encoding, which has a
/// fixed width, and after it the (encoded) consensus context.
pub(crate) fn preimage(header: &Header, context: &Ctx) -> Vec<u8> {
    let mut bytes = codec::encode(header);
    bytes.extend_from_slice(&context.encode());
    bytes
}

/// The digest with this preimage: what validators sign.
#[must_use]
pub fn digest_of(preimage: &[u8]) -> Hash {
    Hash::of("muster block v1", &[preimage])
}

impl Header {
    /// The epoch whose validators' key signs the beacon; `None`: the proposer is trusted.
    #[must_use]
    pub const fn beacon_epoch(&self) -> Option<u64> {
        self.beacon_key.checked_sub(1)
    }

    /// The header with which a block's preimage begins.
    ///
    /// # Errors
    /// [`DecodeError`] where it is none.
    pub fn of_preimage(preimage: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(preimage.get(..HEADER_BYTES).unwrap_or(preimage), HEADER_BYTES)
    }
}

/// Our hash as the engine's digest.
pub(crate) fn to_digest(hash: Hash) -> Digest {
    Digest::from(hash.0)
}

/// The engine's digest as our hash.
pub(crate) fn to_hash(digest: &Digest) -> Hash {
    Hash(<[u8; 32]>::from(digest))
}

/// The engine's public key as our account.
pub(crate) fn to_account(key: &PublicKey) -> AccountId {
    AccountId(Hash(<[u8; 32]>::from(key)))
}

impl Block {
    /// The block before the first: no transactions, an empty store.
    pub(crate) fn genesis(
        (version, chain): (u16, Hash),
        time: Millis,
        leader: PublicKey,
        validators: &[AccountId],
        empty: &Target<commonware_storage::mmr::Family, Digest>,
    ) -> Self {
        let header = Header {
            version,
            chain,
            parent: Hash::ZERO,
            height: 0,
            epoch: 0,
            time,
            beacon: Hash::of("muster genesis beacon v1", &[chain.as_bytes()]),
            beacon_round: 0,
            beacon_key: 0,
            beacon_signed: false,
            proposer: to_account(&leader),
            // Nothing reads the state root of genesis: its store is empty, and its initial
            // entries are committed to by `chain` and written by the first block.
            state_root: Hash::ZERO,
            ops_root: to_hash(&empty.root),
            ops_start: empty.range.start().as_u64(),
            ops_end: empty.range.end().as_u64(),
            validators: committee_hash(validators),
            body_root: body_root(&[]),
            event_root: merkle::root(&[]),
        };
        let context = Context {
            round: Round::new(Epoch::zero(), View::zero()),
            leader,
            parent: (View::zero(), Digest::EMPTY),
        };
        Self { context, header, body: Arc::default(), next: Arc::default(), signature: None }
    }

    /// What the authenticated store must be after this block.
    pub(crate) fn target(&self) -> Target<commonware_storage::mmr::Family, Digest> {
        let range = NonEmptyRange::new(
            Location::new(self.header.ops_start)..Location::new(self.header.ops_end),
        )
        .expect("a block with an empty range is neither built nor decoded");
        Target::new(to_digest(self.header.ops_root), range)
    }

    /// Bytes of transactions.
    pub(crate) fn body_bytes(&self) -> usize {
        self.body.iter().map(Bytes::len).sum()
    }
}

impl Write for Block {
    fn write(&self, buf: &mut impl BufMut) {
        self.context.write(buf);
        buf.put_slice(&codec::encode(&self.header));
        self.body.as_ref().write(buf);
        let next: Vec<[u8; 32]> = self.next.iter().map(|account| *account.as_bytes()).collect();
        next.write(buf);
        if let Some(signature) = &self.signature {
            buf.put_slice(signature);
        }
    }
}

impl EncodeSize for Block {
    fn encode_size(&self) -> usize {
        let next = self.next.len().encode_size() + self.next.len() * ACCOUNT_BYTES;
        let signature = self.signature.map_or(0, |signature| signature.len());
        self.context.encode_size()
            + HEADER_BYTES
            + self.body.as_ref().encode_size()
            + next
            + signature
    }
}

impl Read for Block {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, CodecError> {
        let context = Context::read(buf)?;
        let header = <[u8; HEADER_BYTES]>::read(buf)?;
        let header: Header = codec::decode(&header, HEADER_BYTES)
            .map_err(|_| CodecError::Invalid("block", "malformed header"))?;
        if !knows_version(header.version) {
            tracing::error!(
                found = header.version,
                supported = PROTOCOL_VERSION,
                "refused a block of another protocol version: install a release that knows it and \
                 start again; nothing is lost"
            );
            return Err(CodecError::Invalid("block", "protocol version not spoken by this build"));
        }
        if header.ops_start >= header.ops_end
            || !Location::new(header.ops_start).is_valid()
            || !Location::new(header.ops_end).is_valid()
        {
            return Err(CodecError::Invalid("block", "range of operations not valid"));
        }
        let lengths = (RangeCfg::from(..=MAX_BLOCK_TXS), RangeCfg::from(1..=MAX_TX_BYTES));
        let body = Vec::<Bytes>::read_cfg(buf, &lengths)?;
        let next = Vec::<[u8; ACCOUNT_BYTES]>::read_cfg(
            buf,
            &(RangeCfg::from(..=limits::VALIDATORS), ()),
        )?;
        let next: Vec<AccountId> = next.into_iter().map(|key| AccountId(Hash(key))).collect();
        if !next.is_empty() && committee_hash(&next) != header.validators {
            return Err(CodecError::Invalid("block", "validators are not the header's"));
        }
        let signature = match header.beacon_signed {
            true => Some(<[u8; SIGNATURE_BYTES]>::read(buf)?),
            false => None,
        };
        if signature.is_some_and(|signature| beacon::value(&signature) != header.beacon) {
            return Err(CodecError::Invalid("block", "the beacon is not its signature's"));
        }
        let (body, next) = (Arc::new(body), Arc::new(next));
        let block = Self { context, header, body, next, signature };
        if block.body_bytes() > MAX_BLOCK_BYTES {
            return Err(CodecError::Invalid("block", "more bytes of transactions than allowed"));
        }
        let ids: Vec<TxId> = block.body.iter().map(|tx| encoded_id(tx)).collect();
        if body_root(&ids) != block.header.body_root {
            return Err(CodecError::Invalid("block", "body is not the header's"));
        }
        Ok(block)
    }
}

impl Digestible for Block {
    type Digest = Digest;

    fn digest(&self) -> Digest {
        to_digest(digest_of(&preimage(&self.header, &self.context)))
    }
}

impl Heightable for Block {
    fn height(&self) -> Height {
        Height::new(self.header.height)
    }
}

impl ConsensusBlock for Block {
    fn parent(&self) -> Digest {
        to_digest(self.header.parent)
    }
}

impl CertifiableBlock for Block {
    type Context = Ctx;

    fn context(&self) -> Ctx {
        self.context.clone()
    }
}

impl BoundedBlock for Block {
    fn max_encode_size((): &()) -> usize {
        let body = LENGTH_BYTES * (1 + MAX_BLOCK_TXS) + MAX_BLOCK_BYTES;
        let next = LENGTH_BYTES + ACCOUNT_BYTES * limits::VALIDATORS;
        Ctx::MAX_ENCODE_SIZE + HEADER_BYTES + body + next + SIGNATURE_BYTES
    }
}
