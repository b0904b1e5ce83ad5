//! The beacon as an onlooker sees it, who hears all parts of signatures and can compute every key:
//! what a block may say of it. Shares with the node only the arithmetic.

use bytes::Bytes;
use commonware_codec::{Decode as _, DecodeExt as _, Encode as _};
use commonware_cryptography::{
    bls12381::{
        dkg::feldman_desmedt::{Info, Logs, Output, Reveal, SignedDealerLog, observe},
        primitives::{
            ops::threshold,
            sharing::Mode,
            variant::{MinSig, PartialSignature, Variant},
        },
    },
    ed25519::PublicKey,
};
use commonware_parallel::Sequential;
use commonware_utils::{
    N3f1, TryCollect as _,
    ordered::{Quorum as _, Set},
};
use muster_ledger::{State, keys, view};
use muster_node::consensus::{Header, rules::next_beacon};
use muster_types::{AccountId, Hash};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};
use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
};

/// The number of the node's channel for the beacon.
pub(crate) const CHANNEL: usize = 8;

type Signature = [u8; 48];

/// The parts of signatures that were sent, by epoch of the key and round, and by whom.
pub(crate) type Parts = BTreeMap<(u64, u64), BTreeMap<AccountId, Signature>>;

/// Epoch of the key, round, and signature, where a message of the node is a part of one.
pub(crate) fn part_of(message: &[u8]) -> Option<(u64, u64, Signature)> {
    let (tag, rest) = message.split_first()?;
    let (epoch, rest) = rest.split_first_chunk()?;
    let (round, part) = rest.split_first_chunk()?;
    let part = part.try_into().ok().filter(|_| *tag == 3)?;
    Some((u64::from_le_bytes(*epoch), u64::from_le_bytes(*round), part))
}

/// A key as it follows from the state.
struct Key {
    epoch: u64,
    namespace: Vec<u8>,
    output: Output<MinSig, PublicKey>,
}

impl Key {
    fn of(state: &dyn State, chain: &Hash, epoch: u64) -> Option<Self> {
        let roster = keys::BEACON_ROSTERS.get(state, &epoch)?;
        let players = roster.keys.iter().map(|key| PublicKey::try_from(*key.as_bytes()));
        let players: Set<PublicKey> =
            players.collect::<Result<Vec<_>, _>>().ok()?.into_iter().try_collect().ok()?;
        let most = NonZeroU32::new(u32::try_from(players.len()).ok()?)?;
        let namespace = [b"muster beacon v1".as_slice(), chain.as_bytes()].concat();
        let (mode, reveal) = (Mode::NonZeroCounter, Reveal::V1);
        let info =
            Info::new::<N3f1>(&namespace, epoch, None, mode, reveal, players.clone(), players);
        let info = info.ok()?;
        let mut logs = Logs::<MinSig, PublicKey, N3f1>::new(info.clone());
        for ((_, dealer), log) in keys::BEACON_DEALS.scan(state, &epoch, None) {
            let log = SignedDealerLog::<MinSig, PublicKey>::decode_cfg(Bytes::from(log), &most);
            if let Some((by, log)) = log.ok().and_then(|log| log.check(&info))
                && by.as_ref() == dealer.as_bytes()
            {
                logs.record(by, log);
            }
        }
        let mut rng = ChaCha20Rng::from_seed(roster.dealt.0);
        let output = observe::<_, _, N3f1>(&mut rng, logs, &Sequential).ok()?;
        Some(Self { epoch, namespace, output })
    }

    /// What the parts of a round come to, as far as they are right.
    fn value(&self, round: u64, parts: &BTreeMap<AccountId, Signature>) -> Result<Hash, String> {
        let message = [self.epoch.to_le_bytes(), round.to_le_bytes()].concat();
        let public = self.output.public();
        let right = parts.iter().filter_map(|(by, part)| {
            let by = PublicKey::try_from(*by.as_bytes()).ok()?;
            let index = self.output.players().index(&by)?;
            let part = Bytes::copy_from_slice(part);
            let value = <MinSig as Variant>::Signature::decode(part).ok()?;
            let part = PartialSignature::<MinSig> { index, value };
            let checked = threshold::verify_message(public, &self.namespace, &message, &part);
            checked.is_ok().then_some(part)
        });
        let right: Vec<PartialSignature<MinSig>> = right.collect();
        let signature = threshold::recover(public, &right, &Sequential)
            .map_err(|_| format!("only {} of {} have signed it", right.len(), public.required()))?;
        Ok(Hash::of("muster beacon v1", &[&signature.encode()]))
    }
}

/// What blocks have said of the beacon so far.
pub(crate) struct Rounds<'a> {
    chain: Hash,
    parts: &'a Parts,
    keys: BTreeMap<u64, Option<Key>>,
    values: BTreeSet<Hash>,
}

impl<'a> Rounds<'a> {
    pub(crate) fn new(chain: Hash, parts: &'a Parts) -> Self {
        Self { chain, parts, keys: BTreeMap::new(), values: BTreeSet::new() }
    }

    /// Checks what a block says of the beacon; `state` is the one before it.
    ///
    /// | round | key | value |
    /// |---|---|---|
    /// | the parent's | of an epoch | the parent's, unsigned |
    /// | the next | none | follows from the parent, unsigned |
    /// | the next | of an epoch | what the parts of that key come to |
    pub(crate) fn follow(&mut self, state: &dyn State, header: &Header) -> Result<(), String> {
        let before = view::head(state).ok_or("the state has no head")?;
        let (round, value, epoch) = (header.beacon_round, header.beacon, header.beacon_epoch());
        self.values.insert(before.beacon);
        if round == before.beacon_round {
            let stays = value == before.beacon && epoch.is_some() && !header.beacon_signed;
            return stays.then_some(()).ok_or_else(|| format!("round {round} changes"));
        }
        if Some(round) != before.beacon_round.checked_add(1) {
            return Err(format!("round {round} follows {}", before.beacon_round));
        }
        if !self.values.insert(value) {
            return Err(format!("round {round} has the value of one before"));
        }
        let (expected, signed) = match epoch {
            None => (next_beacon(&before.beacon, &header.parent), false),
            Some(epoch) => {
                let key =
                    self.keys.entry(epoch).or_insert_with(|| Key::of(state, &self.chain, epoch));
                let key = key.as_ref().ok_or_else(|| format!("epoch {epoch} has no key"))?;
                let none = BTreeMap::new();
                let parts = self.parts.get(&(epoch, round)).unwrap_or(&none);
                let value = key.value(round, parts);
                (value.map_err(|error| format!("round {round} has a value, and {error}"))?, true)
            }
        };
        if (value, header.beacon_signed) != (expected, signed) {
            return Err(format!("the value of round {round} is not what was signed"));
        }
        Ok(())
    }
}
