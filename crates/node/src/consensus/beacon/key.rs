//! A key of the beacon: made by an epoch's validators, known to everybody, shared among them.

use bytes::Bytes;
use commonware_codec::{Decode as _, DecodeExt as _, Encode as _};
use commonware_cryptography::{
    bls12381::{
        dkg::feldman_desmedt::{Info, Logs, Output, Reveal, SignedDealerLog, observe},
        primitives::{
            group::Share,
            ops::{threshold, verify_message},
            sharing::Mode,
            variant::{MinSig, PartialSignature, Variant},
        },
    },
    ed25519::PublicKey,
};
use commonware_parallel::Sequential;
use commonware_utils::{N3f1, ordered::Quorum as _};
use muster_ledger::stake::beacon::Roster;
use muster_types::{AccountId, Hash};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use std::{collections::BTreeMap, num::NonZeroU32};

/// Bytes of a signature.
pub(crate) const SIGNATURE_BYTES: usize = 48;
/// An encoded signature, or a part of one.
pub(crate) type Signature = [u8; SIGNATURE_BYTES];

/// What a round of making a key is about.
pub(super) type Ceremony = Info<MinSig, PublicKey>;
/// What was dealt, and is valid on its face.
pub(super) type Dealt = Logs<MinSig, PublicKey, N3f1>;

/// The beacon's value that a signature gives.
pub(crate) fn value(signature: &Signature) -> Hash {
    Hash::of("muster beacon v1", &[signature])
}

fn namespace(chain: &Hash) -> Vec<u8> {
    [b"muster beacon v1".as_slice(), chain.as_bytes()].concat()
}

fn message(epoch: u64, round: u64) -> Vec<u8> {
    [epoch.to_le_bytes(), round.to_le_bytes()].concat()
}

/// What making the key of an epoch with these validators is about; `None` where they are not
/// distinct keys.
pub(super) fn info(chain: &Hash, epoch: u64, validators: &[AccountId]) -> Option<Ceremony> {
    let players = super::super::engine_validators(validators)?;
    let (mode, reveal) = (Mode::NonZeroCounter, Reveal::V1);
    let dealers = players.clone();
    Info::new::<N3f1>(&namespace(chain), epoch, None, mode, reveal, dealers, players).ok()
}

/// A key of the beacon.
pub(crate) struct Key {
    epoch: u64,
    dealt: Hash,
    namespace: Vec<u8>,
    output: Output<MinSig, PublicKey>,
    /// What it follows from, for who has a share to find.
    logs: Dealt,
}

impl Key {
    /// The key that follows from the logs; `None` where too few are valid. `secret` is nobody
    /// else's: whoever knows it can pass off a wrong log.
    pub(super) fn observe(
        chain: &Hash,
        epoch: u64,
        roster: &Roster,
        info: Ceremony,
        logs: impl Iterator<Item = (AccountId, Vec<u8>)>,
        secret: [u8; 32],
    ) -> Option<Self> {
        let players = NonZeroU32::new(u32::try_from(roster.keys.len()).ok()?)?;
        let mut valid = Logs::new(info.clone());
        for (dealer, log) in logs {
            let Ok(log) =
                SignedDealerLog::<MinSig, PublicKey>::decode_cfg(Bytes::from(log), &players)
            else {
                continue;
            };
            // Nobody deals in another's name.
            if let Some((by, log)) = log.check(&info)
                && super::super::block::to_account(&by) == dealer
            {
                valid.record(by, log);
            }
        }
        let mut rng = ChaCha20Rng::from_seed(secret);
        let output = observe::<_, _, N3f1>(&mut rng, valid.clone(), &Sequential).ok()?;
        Some(Self { epoch, dealt: roster.dealt, namespace: namespace(chain), output, logs: valid })
    }

    /// The epoch whose validators share it.
    pub(crate) const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// A hash of what it follows from.
    pub(super) const fn dealt(&self) -> Hash {
        self.dealt
    }

    pub(super) const fn logs(&self) -> &Dealt {
        &self.logs
    }

    /// The validators whose dealings it is made of.
    pub(super) fn dealers(&self) -> impl Iterator<Item = &PublicKey> {
        self.output.dealers().iter()
    }

    /// How many parts make a signature.
    pub(super) fn required(&self) -> usize {
        usize::try_from(self.output.public().required()).unwrap_or(usize::MAX)
    }

    /// Whether this is its signature of `round`.
    pub(crate) fn verify(&self, round: u64, signature: &Signature) -> bool {
        let Ok(signature) = decode(signature) else { return false };
        let (public, message) = (self.output.public().public(), message(self.epoch, round));
        verify_message::<MinSig>(public, &self.namespace, &message, &signature).is_ok()
    }

    /// A share's part of the signature of `round`.
    pub(super) fn sign(&self, share: &Share, round: u64) -> Signature {
        let message = message(self.epoch, round);
        let part = threshold::sign_message::<MinSig>(share, &self.namespace, &message);
        encode(&part.value)
    }

    /// The signature of `round` that the parts make. On failure the validators whose parts are
    /// wrong; of who has no share none is looked at.
    pub(super) fn recover(
        &self,
        round: u64,
        parts: &BTreeMap<PublicKey, Signature>,
    ) -> Result<Signature, Vec<PublicKey>> {
        let mut wrong = Vec::new();
        let mut read = Vec::new();
        for (player, part) in parts {
            match (self.output.players().index(player), decode(part)) {
                (Some(index), Ok(value)) => {
                    read.push((player, PartialSignature::<MinSig> { index, value }));
                }
                _ => wrong.push(player.clone()),
            }
        }
        let public = self.output.public();
        let whole = threshold::recover(public, read.iter().map(|(_, part)| part), &Sequential);
        if let Ok(whole) = whole {
            let whole = encode(&whole);
            if self.verify(round, &whole) {
                return Ok(whole);
            }
        }
        let message = message(self.epoch, round);
        for (player, part) in read {
            if threshold::verify_message(public, &self.namespace, &message, &part).is_err() {
                wrong.push(player.clone());
            }
        }
        Err(wrong)
    }
}

fn decode(bytes: &Signature) -> Result<<MinSig as Variant>::Signature, commonware_codec::Error> {
    <MinSig as Variant>::Signature::decode(Bytes::copy_from_slice(bytes))
}

fn encode(signature: &<MinSig as Variant>::Signature) -> Signature {
    let mut bytes = [0; SIGNATURE_BYTES];
    bytes.copy_from_slice(&signature.encode());
    bytes
}
