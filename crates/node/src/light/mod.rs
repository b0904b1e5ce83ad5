//! Light clients: what a genesis, or an anchor, and a few certificates prove, without a network.
//!
//! ```text
//! genesis or anchor ─▶ validators of an epoch ─sign─▶ its last block ─names─▶ validators of the next
//!                              │
//!                              └─sign─▶ a block ─commits─▶ event root ─▶ an event
//! ```
//!
//! A trail is always walked from where it begins, on its own word; what it begins with is then
//! compared with what is trusted ([`Trust`]). So whatever is changed anywhere in it is found.
//!
//! # Old trust
//! Who takes stake back is not slashed any more after the unbonding time. Validators of then can
//! sign another past at no cost, or have sold their keys; no signature shows it. Therefore:
//!
//! | trusted | a block | holds |
//! |---|---|---|
//! | its own word | any | as far as whoever gave the receipt is believed |
//! | genesis | any | if genesis is no older than the unbonding time |
//! | an anchor | that it vouches for | by its digest, at any age |
//! | | after it | if the anchor is no older than the unbonding time |
//! | | before it | no: certificates of before cannot be told from forged ones |
//!
//! Ages are by this machine's clock. Stake is locked in steady time, which never passes faster, so
//! the clock errs on the safe side. The unbonding time is genesis's or, with an anchor, that of
//! the anchor's state: a vote may have changed it.

mod trust;

pub use trust::{Trust, TrustError, Trusted};

use crate::consensus::{
    self, EpochEndError, Epochs, Header, PROTOCOL_VERSION, certified, digest_of, engine_validators,
    knows_version,
};
use commonware_consensus::simplex::scheme::ed25519::Scheme;
use muster_api::{
    receipt::{BlockProof, Trail},
    views::EpochEnd,
};
use muster_ledger::{genesis::PROTOCOL_MIN, stake::equivocation::vote_namespace};
use muster_types::{AccountId, Hash, Millis, codec::DecodeError};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use std::collections::BTreeMap;

/// Why something is not proved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LightError {
    /// A header or certificate is not hexadecimal.
    #[error("`{field}` is not hexadecimal")]
    Hex {
        /// `header`, `descendants` or `certificate`.
        field: &'static str,
    },
    /// A header does not decode.
    #[error("a header is malformed")]
    Header(#[source] DecodeError),
    /// A block of a protocol that this build does not know.
    #[error(
        "a block is of protocol {found}, this build knows {PROTOCOL_MIN} to {PROTOCOL_VERSION}: \
         verify with a release that knows it"
    )]
    Version {
        /// The block's.
        found: u16,
    },
    /// What is said beside a header is not what it says.
    #[error("`{field}` is not what the signed header says")]
    Field {
        /// Which.
        field: &'static str,
    },
    /// The validators are not usable as such.
    #[error("the validators of epoch {epoch} are not distinct ed25519 keys")]
    Validators {
        /// Of which epoch.
        epoch: u64,
    },
    /// Ends of epochs do not follow one another.
    #[error("the trail's epochs are out of order where epoch {epoch} should end")]
    Order {
        /// Which is missing.
        epoch: u64,
    },
    /// The end of an epoch is not proved.
    #[error(transparent)]
    End(#[from] EpochEndError),
    /// The trail does not lead to the block's epoch.
    #[error("the trail does not tell who voted in epoch {epoch}")]
    Unknown {
        /// Which epoch.
        epoch: u64,
    },
    /// A descendant is none.
    #[error("a descendant does not name the block before it as its parent")]
    Descendant,
    /// The certificate is not the validators' word for this block.
    #[error("the certificate is not the validators' for this block")]
    Certificate,
    /// What begins the trail is not trusted, or not enough.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

/// The validators of an epoch.
struct Committee {
    validators: Vec<AccountId>,
    scheme: Scheme,
}

impl Committee {
    fn new(chain: &Hash, epoch: u64, validators: &[AccountId]) -> Result<Self, LightError> {
        let members = engine_validators(validators).filter(|members| !members.is_empty());
        let members = members.ok_or(LightError::Validators { epoch })?;
        let scheme = Scheme::verifier(&vote_namespace(chain), members);
        Ok(Self { validators: validators.to_vec(), scheme })
    }
}

/// Who voted in which epoch, and what of it is trusted.
pub struct Prover {
    chain: Hash,
    committees: BTreeMap<u64, Committee>,
    /// Time of the end of the last epoch that was walked over.
    last_end: Option<Millis>,
    trust: Trust,
}

fn unhex(field: &'static str, text: &str) -> Result<Vec<u8>, LightError> {
    let bytes = data_encoding::HEXLOWER.decode(text.as_bytes());
    bytes.map_err(|_| LightError::Hex { field })
}

fn header_of(chain: &Hash, preimage: &[u8]) -> Result<Header, LightError> {
    if let Some([low, high]) = preimage.first_chunk::<2>() {
        let found = u16::from_le_bytes([*low, *high]);
        if !knows_version(found) {
            return Err(LightError::Version { found });
        }
    }
    let header = Header::of_preimage(preimage).map_err(LightError::Header)?;
    if header.chain == *chain { Ok(header) } else { Err(LightError::Field { field: "chain" }) }
}

fn same<const N: usize>(fields: [(&'static str, bool); N]) -> Result<(), LightError> {
    match fields.into_iter().find(|(_, same)| !same) {
        Some((field, _)) => Err(LightError::Field { field }),
        None => Ok(()),
    }
}

/// Only signatures that all match pass, whatever a batch's factors are; these depend on all that is
/// checked.
fn rng(parts: &[&[u8]]) -> ChaCha20Rng {
    ChaCha20Rng::from_seed(Hash::of("muster light client batch v1", parts).0)
}

/// The lengths of epochs: as trusted, else what the trail's first end says.
fn epochs_of(trail: &Trail, trust: &Trust) -> Result<Option<Epochs>, LightError> {
    let Some(first) = trail.ends.first() else { return Ok(None) };
    if let Some(epochs) = trust.epochs() {
        return Ok(Some(epochs));
    }
    let (blocks, epochs) = (first.height.saturating_add(1), first.epoch.saturating_add(1));
    let length = blocks.checked_div(epochs).filter(|length| *length > 0);
    let length = length.ok_or(LightError::Field { field: "height" })?;
    Ok(Some(Epochs::new(length)))
}

impl Prover {
    /// Walks a trail of `chain` and compares it with what is trusted.
    ///
    /// # Errors
    /// [`LightError`].
    pub fn new(chain: Hash, trail: &Trail, trust: Trust) -> Result<Self, LightError> {
        trust.check_chain(&chain)?;
        let epochs = epochs_of(trail, &trust)?;
        let mut epoch = trail.epoch;
        let mut committee = Committee::new(&chain, epoch, &trail.validators)?;
        let (mut committees, mut last_end) = (BTreeMap::new(), None);
        for end in &trail.ends {
            if end.epoch != epoch {
                return Err(LightError::Order { epoch });
            }
            if let Some(epochs) = epochs {
                check_end(&chain, epochs, end, &committee.scheme)?;
            }
            committees.insert(epoch, committee);
            (epoch, last_end) = (epoch.saturating_add(1), Some(end.now));
            committee = Committee::new(&chain, epoch, &end.next)?;
        }
        committees.insert(epoch, committee);
        let known = |epoch| committees.get(&epoch).map(|found: &Committee| &*found.validators);
        trust.check_trail(trail, known)?;
        Ok(Self { chain, committees, last_end, trust })
    }

    /// Checks that the validators of its epoch made a block final, that what is said of it is what
    /// its header says, and that this is trusted. Gives the header's event root; whether the
    /// events are under it is left to [`BlockProof::stray`].
    ///
    /// # Errors
    /// [`LightError`].
    pub fn prove(&self, block: &BlockProof) -> Result<Hash, LightError> {
        let preimage = unhex("header", &block.header)?;
        let header = header_of(&self.chain, &preimage)?;
        same([
            ("digest", digest_of(&preimage) == block.digest),
            ("height", header.height == block.height),
            ("epoch", header.epoch == block.epoch),
            ("now", header.time == block.now),
        ])?;
        let committee = self.committees.get(&block.epoch);
        let committee = committee.ok_or(LightError::Unknown { epoch: block.epoch })?;
        let mut last = block.digest;
        for descendant in &block.descendants {
            let preimage = unhex("descendants", descendant)?;
            let header = header_of(&self.chain, &preimage)?;
            if header.parent != last || header.epoch != block.epoch {
                return Err(LightError::Descendant);
            }
            last = digest_of(&preimage);
        }
        let certificate = unhex("certificate", &block.certificate)?;
        let mut rng = rng(&[&preimage, &certificate]);
        let payload = certified(&mut rng, &certificate, block.epoch, &committee.scheme)
            .map(|finalization| <[u8; 32]>::from(&finalization.proposal.payload));
        if payload != Some(last.0) {
            return Err(LightError::Certificate);
        }
        let leads = |epoch| self.committees.contains_key(&epoch);
        self.trust.check_block(block.height, &block.digest, leads)?;
        Ok(header.event_root)
    }

    /// What is trusted.
    #[must_use]
    pub const fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Who voted in the last epoch that the trail leads to, and when the one before it ended.
    #[must_use]
    pub fn latest(&self) -> (u64, &[AccountId], Option<Millis>) {
        let latest = self.committees.last_key_value();
        let (epoch, validators) =
            latest.map_or((0, &[][..]), |(epoch, found)| (*epoch, &*found.validators));
        (epoch, validators, self.last_end)
    }
}

fn check_end(
    chain: &Hash,
    epochs: Epochs,
    end: &EpochEnd,
    scheme: &Scheme,
) -> Result<(), LightError> {
    let preimage = unhex("header", &end.header)?;
    let header = header_of(chain, &preimage)?;
    same([("height", header.height == end.height), ("now", header.time == end.now)])?;
    let certificate = unhex("certificate", &end.certificate)?;
    let mut rng = rng(&[&preimage, &certificate]);
    let signed = consensus::EpochEnd { preimage, certificate, next: end.next.clone() };
    signed.check(&mut rng, (chain, epochs, end.epoch), scheme)?;
    Ok(())
}
