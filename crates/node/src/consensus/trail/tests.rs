//! Messages from peers.

use super::{super::recode, *};
use commonware_cryptography::Signer as _;
use muster_hostile::canonical;
use muster_types::SecretKey;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

fn told() -> Told {
    let end = EpochEnd {
        preimage: vec![1; 400],
        certificate: vec![2; 90],
        next: vec![AccountId(Hash([3; 32])), AccountId(Hash([4; 32]))],
    };
    Told { steps: vec![end; 2], latest: Some(vec![5; 90]) }
}

#[test]
fn a_message_has_one_encoding_and_proves_nothing_by_itself() {
    let samples =
        [Message::Ask { epoch: 3 }, Message::Tell(Told::default()), Message::Tell(told())]
            .map(|message| codec::encode(&message));
    let key = super::super::engine_key(&SecretKey::from_seed([1; 32])).public_key();
    let scheme = Scheme::verifier(b"test", Set::from_iter_dedup([key]));
    let (chain, epochs) = (Hash::ZERO, Epochs::new(4));
    let taken = canonical(&samples, 20_000, |bytes| {
        let recoded = recode::trail(bytes)?;
        if let Ok(Message::Tell(told)) = codec::decode(bytes, MAX_MESSAGE_BYTES) {
            let mut rng = ChaCha20Rng::from_seed([0; 32]);
            for step in told.steps.iter().take(1) {
                assert!(step.check(&mut rng, (&chain, epochs, 0), &scheme).is_err());
            }
            if let Some(latest) = &told.latest {
                assert!(certified(&mut rng, latest, 0, &scheme).is_none());
            }
        }
        Some(recoded)
    });
    assert!(taken > 500, "{taken}");
}

#[test]
fn the_longest_message_fits() {
    let end = EpochEnd {
        preimage: vec![0; 1024 - 64],
        certificate: vec![0; CERTIFICATE_BYTES],
        next: vec![AccountId::default(); limits::VALIDATORS],
    };
    let told = Told { steps: vec![end; STEPS_MAX], latest: Some(vec![0; CERTIFICATE_BYTES]) };
    assert!(codec::encode(&Message::Tell(told)).len() <= MAX_MESSAGE_BYTES);
}
