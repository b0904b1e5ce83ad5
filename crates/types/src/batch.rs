//! Checking many signatures at once, which costs about half of checking them one by one.

use crate::{AccountId, Signature};
use rand_core::{TryCryptoRng, TryRng};
use std::convert::Infallible;

/// One signature to check: who signed what.
#[derive(Clone, Copy, Debug)]
pub struct Signing<'a> {
    /// Who is said to have signed.
    pub account: AccountId,
    /// What was signed, domain included.
    pub message: &'a [u8],
    /// The signature.
    pub signature: Signature,
}

/// Checks all of `signings` together. On failure every one is checked alone.
///
/// The random factors of the batch equation come from a hash over the whole batch, so that the
/// answer is the same everywhere and nobody can choose signatures to fit known factors.
///
/// # Errors
/// The index of the first one that is not valid.
pub fn verify_batch(signings: &[Signing<'_>]) -> Result<(), usize> {
    let mut batch = ed25519_zebra::batch::Verifier::new();
    let mut seed = blake3::Hasher::new_derive_key("muster signature batch v1");
    for Signing { account, message, signature } in signings {
        seed.update(account.as_bytes());
        seed.update(&signature.0);
        seed.update(&(message.len() as u64).to_le_bytes());
        seed.update(message);
        let key = ed25519_zebra::VerificationKeyBytes::from(*account.as_bytes());
        batch.queue((key, ed25519_zebra::Signature::from(signature.0), message));
    }
    if batch.verify(Factors(seed.finalize_xof())).is_ok() {
        return Ok(());
    }
    let wrong = |one: &Signing<'_>| one.account.verify(one.message, &one.signature).is_err();
    signings.iter().position(wrong).map_or(Ok(()), Err)
}

/// The output stream of a hash, read as random numbers.
struct Factors(blake3::OutputReader);

impl TryRng for Factors {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl TryCryptoRng for Factors {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SecretKey;

    #[test]
    fn a_batch_names_the_first_culprit() {
        let messages: Vec<Vec<u8>> = (0..20u8).map(|seed| vec![seed; usize::from(seed)]).collect();
        let mut signings: Vec<Signing<'_>> = (0..20u8)
            .zip(&messages)
            .map(|(seed, message)| {
                let key = SecretKey::from_seed([seed; 32]);
                Signing { account: key.account(), signature: key.sign(message), message }
            })
            .collect();
        assert_eq!(verify_batch(&[]), Ok(()));
        assert_eq!(verify_batch(&signings), Ok(()));
        signings[17].message = &[1];
        signings[11].signature.0[3] ^= 1;
        assert_eq!(verify_batch(&signings), Err(11));
        signings[4].account = AccountId::default();
        assert_eq!(verify_batch(&signings), Err(4));
    }
}
