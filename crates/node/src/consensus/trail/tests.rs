//! Messages from peers.

use super::{super::recode, *};
use commonware_consensus::{
    simplex::types::{Finalize, Proposal},
    types::{Epoch, Round, View},
};
use commonware_cryptography::Signer;
use commonware_utils::non_empty;
use muster_hostile::canonical;
use muster_ledger::Params;
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

/// The epoch that a message asks from.
pub(in crate::consensus) fn asked(message: &[u8]) -> Option<u64> {
    match codec::decode::<Message>(message, MAX_MESSAGE_BYTES) {
        Ok(Message::Ask { epoch }) => Some(epoch),
        Ok(Message::Tell(_)) | Err(_) => None,
    }
}

/// A message that says this.
pub(in crate::consensus) fn saying(steps: Vec<EpochEnd>, latest: Option<Vec<u8>>) -> Vec<u8> {
    codec::encode(&Message::Tell(Told { steps, latest }))
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

#[test]
fn a_certificate_of_the_default_committee_is_as_small_as_the_architecture_says() {
    let seats = usize::try_from(Params::default().seats_max).unwrap();
    let keys: Vec<_> = (0..seats)
        .map(|seat| SecretKey::from_seed([u8::try_from(seat).unwrap(); 32]))
        .map(|key| super::super::engine_key(&key))
        .collect();
    let members = Set::from_iter_dedup(keys.iter().map(Signer::public_key));
    let quorum = seats - (seats - 1) / 3;
    let proposal = Proposal::new(
        Round::new(Epoch::new(600), View::new(4_000)),
        View::new(3_999),
        to_digest(Hash::ZERO),
    );
    let schemes: Vec<Scheme> = keys
        .into_iter()
        .map(|key| Scheme::signer(b"test", members.clone(), key).unwrap())
        .collect();
    let votes: Vec<_> = schemes[..quorum]
        .iter()
        .map(|scheme| Finalize::sign(scheme, proposal.clone()).unwrap())
        .collect();
    let certificate =
        Finalization::from_finalizes(&schemes[0], non_empty![@&votes], &Sequential).unwrap();
    assert_eq!((seats, quorum), (64, 43));
    let bytes = certificate.encode().len();
    assert!((2_750..2_850).contains(&bytes), "{bytes}");
    let end = EpochEnd {
        preimage: vec![0; 450],
        certificate: certificate.encode().to_vec(),
        next: vec![AccountId::default(); seats],
    };
    assert!(codec::encode(&end).len() < 5_400);
}
