//! Checks blocks without a chain: that the validators made final what a header says.

use crate::consensus::{Header, digest_of, engine_validators};
use commonware_codec::Decode as _;
use commonware_consensus::simplex::{scheme::ed25519::Scheme, types::Finalization};
use commonware_cryptography::{blake3::Digest, certificate::Verifier as _};
use commonware_parallel::Sequential;
use muster_api::views::BlockView;
use muster_ledger::stake::equivocation::vote_namespace;
use muster_types::{AccountId, Hash, codec::DecodeError};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

/// Why a block is not proved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LightError {
    /// Header or certificate are not hexadecimal.
    #[error("`{field}` is not hexadecimal")]
    Hex {
        /// `header` or `certificate`.
        field: &'static str,
    },
    /// The header does not decode.
    #[error("the header is malformed")]
    Header(#[source] DecodeError),
    /// A field of the view is not the header's.
    #[error("`{field}` is not what the signed header says")]
    Field {
        /// Which.
        field: &'static str,
    },
    /// The validators are not usable as such.
    #[error("the validators are not distinct ed25519 keys")]
    Validators,
    /// There is no certificate.
    #[error("there is no certificate")]
    NoCertificate,
    /// The certificate is not the validators' word for this block.
    #[error("the certificate is not the validators' for this block")]
    Certificate,
}

/// Checks that `validators` of `chain` made `block` final and that its fields are the header's.
/// The events are not looked at: the caller compares their root with `event_root`.
///
/// # Errors
/// [`LightError`].
pub fn verify_block(
    chain: &Hash,
    validators: &[AccountId],
    block: &BlockView,
) -> Result<(), LightError> {
    let unhex = |field, text: &str| {
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes());
        bytes.map_err(|_| LightError::Hex { field })
    };
    let preimage = unhex("header", &block.header)?;
    let header = Header::of_preimage(&preimage).map_err(LightError::Header)?;
    for (field, same) in [
        ("digest", digest_of(&preimage) == block.digest),
        ("chain", header.chain == *chain),
        ("height", header.height == block.height),
        ("now", header.time == block.now),
        ("state_root", header.state_root == block.state_root),
        ("event_root", header.event_root == block.event_root),
    ] {
        if !same {
            return Err(LightError::Field { field });
        }
    }
    let participants = engine_validators(validators).ok_or(LightError::Validators)?;
    let scheme = Scheme::verifier(&vote_namespace(chain), participants);
    let certificate = block.certificate.as_deref().ok_or(LightError::NoCertificate)?;
    let certificate = unhex("certificate", certificate)?;
    let finalization = Finalization::<Scheme, Digest>::decode_cfg(
        bytes::Bytes::from(certificate.clone()),
        &scheme.certificate_codec_config(),
    )
    .map_err(|_| LightError::Certificate)?;
    let for_this = <[u8; 32]>::from(&finalization.proposal.payload) == block.digest.0;
    // Only signatures that all match pass, whatever the batch's factors are; these depend on all
    // that is checked.
    let seed = Hash::of("muster light client batch v1", &[&preimage, &certificate]);
    let mut rng = ChaCha20Rng::from_seed(seed.0);
    if !for_this || !finalization.verify(&mut rng, &scheme, &Sequential) {
        return Err(LightError::Certificate);
    }
    Ok(())
}
