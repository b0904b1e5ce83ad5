//! The beacon: values that no minority of the validators can choose or know before the others.
//!
//! ```text
//!  committee of epoch e ── dealings, acks (p2p) ──> BeaconDeal transactions ──> state
//!                                                                                │
//!        every node computes the epoch's key from the state  <───────────────────┘
//!                                                                                │
//!  block with round r is final ──> parts of the signature of round r + 1 (p2p)   │
//!        two thirds of them ──> the signature, into a later block <── verified ──┘
//!        beacon = hash of the signature
//! ```
//!
//! Rounds have consecutive numbers. What is signed is (chain, epoch of the key, round), by a BLS
//! key of which every validator of that epoch has a share; two thirds of the shares make the
//! signature, there is only one, and it can be checked with the public key. A proposer that has the
//! signature of the round after its parent's puts it into its block, and one that does not makes a
//! block without: the beacon stays. So whoever proposes can delay a round but choose nothing, and
//! blocks never wait for the beacon. Who votes on blocks signs with ed25519 as before.
//!
//! | the committee | the key in force | a block |
//! |---|---|---|
//! | fewer than `beacon_seats_min` | none | has the next round, its value a hash of the parent ([`super::rules::next_beacon`]) |
//! | enough, but no key was made yet | none | the same |
//! | enough | that of the epoch from [`Phases::signs`] on, where one was made; until then, and otherwise, the last one | has the next round with its signature, or the parent's without |
//!
//! What the key follows from is in the state ([`muster_ledger::stake::beacon`]), so a node that
//! begins with a snapshot has it, and a block commits to the epoch of its key.
//!
//! # What is assumed
//! That less than a third of the validators are faulty. Until two thirds sign, nobody knows a
//! value: neither safety nor that depends on time. Making a key does: a dealer reveals the share of
//! whoever does not acknowledge it in the first half of the time for dealing. Messages between
//! honest validators that take longer may reveal shares of honest ones; even then one honest
//! validator must sign before others can, but the faulty may know a value as soon as it does. When
//! the key changes, a round that nobody carried has a value by either key; who proposes the last
//! block before the change picks one of the two by carrying the first or not: one bit an epoch.
//!
//! # What is kept
//! Nothing but the node's own key. What a validator deals follows from it, the chain and the epoch,
//! so a dealer deals the same after a restart, and a player that has lost what it was dealt asks
//! for it again. Where a dealer is gone for good, a player that restarts has no share until the
//! next epoch's key: the state has what a dealer committed to and who acknowledged a share, and
//! shares themselves only of those who did not. A third may be without one, and the beacon goes on.
//!
//! # Why not a DKG that everybody can verify
//! The engine's non-interactive one (`golden`) needs no acknowledgement and no synchrony; but
//! dealing to four players takes nine seconds of a core, to seven eighteen.

mod actor;
mod dealing;
mod key;
#[cfg(test)]
mod tests;

pub(crate) use actor::{Actor, Work};
pub(crate) use key::{Key, SIGNATURE_BYTES, Signature, value};

use borsh::{BorshDeserialize, BorshSerialize};
use commonware_cryptography::ed25519;
use muster_ledger::{
    State, keys, limits,
    stake::beacon::{Phases, Roster},
    view,
};
use muster_types::{Hash, SecretKey};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

/// Keys that are remembered: that in force, that which is made, and those of blocks that compete.
const REMEMBERED: usize = 8;

/// The most bytes of a message: a commitment to what is dealt, and the share of it.
pub(crate) const MAX_MESSAGE_BYTES: usize = 128 + 96 * (limits::VALIDATORS + 1);

/// What validators tell each other.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
enum Message {
    /// A dealer to a player: what all players are told, and its own share.
    Dealing { epoch: u64, public: Vec<u8>, share: [u8; 32] },
    /// A player to a dealer: its share is as told to all.
    Ack { epoch: u64, ack: [u8; 64] },
    /// A player to a dealer: it has no dealing.
    Ask { epoch: u64 },
    /// To all: a part of the signature of a round by the key of an epoch.
    Part { epoch: u64, round: u64, part: Signature },
}

/// What the node knows of the beacon. Clones share it.
#[derive(Clone)]
pub(crate) struct Beacon(Arc<Inner>);

struct Inner {
    chain: Hash,
    /// The node's key as the engine's.
    key: ed25519::PrivateKey,
    seed: [u8; 32],
    /// The keys that were made, or could not be, by what they follow from: the latest last.
    made: Mutex<VecDeque<(Hash, Option<Arc<Key>>)>>,
    ready: Mutex<Option<Ready>>,
}

/// A signature that a proposer may use.
struct Ready {
    dealt: Hash,
    round: u64,
    signature: Signature,
}

impl Beacon {
    /// For the holder of `key` on `chain`.
    pub(crate) fn new(chain: Hash, key: &SecretKey) -> Self {
        let seed = Hash::of("muster beacon secret v1", &[key.seed(), chain.as_bytes()]).0;
        let key = super::engine_key(key);
        let (made, ready) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Inner { chain, key, seed, made, ready }))
    }

    /// The key that signs the block at `height` on `state`, the state after the block before;
    /// `None` where its proposer is trusted. Takes long where a key is computed for the first time.
    pub(crate) fn in_force(&self, state: &dyn State, height: u64) -> Option<Arc<Key>> {
        let committee = keys::COMMITTEE.get(state, &())?;
        let seats = u32::try_from(committee.seats.len()).unwrap_or(u32::MAX);
        if seats < view::params(state).beacon_seats_min {
            return None;
        }
        let before = view::head(state)?.beacon_key;
        let first = committee.epoch.saturating_mul(committee.epoch_blocks);
        let signs = first.saturating_add(Phases::of(committee.epoch_blocks).signs);
        let made = (height >= signs).then(|| self.made(state, committee.epoch)).flatten();
        made.or_else(|| self.made(state, before?))
    }

    /// The key of an epoch by what is in the state, where one was made.
    fn made(&self, state: &dyn State, epoch: u64) -> Option<Arc<Key>> {
        let roster = keys::BEACON_ROSTERS.get(state, &epoch)?;
        // Held while a key is computed: who needs it meanwhile waits instead of doing the same.
        let mut made = self.0.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, key)) = made.iter().find(|(dealt, _)| *dealt == roster.dealt) {
            return key.clone();
        }
        let dealt = roster.dealt;
        let key = self.compute(state, epoch, &roster).map(Arc::new);
        if key.is_none() {
            tracing::warn!(epoch, "too little was dealt for a key of the beacon");
        }
        made.push_back((dealt, key.clone()));
        while made.len() > REMEMBERED {
            made.pop_front();
        }
        key
    }

    fn compute(&self, state: &dyn State, epoch: u64, roster: &Roster) -> Option<Key> {
        let info = key::info(&self.0.chain, epoch, &roster.keys)?;
        let logs =
            keys::BEACON_DEALS.scan(state, &epoch, None).map(|((_, dealer), log)| (dealer, log));
        let secret = Hash::of("muster beacon checks v1", &[&self.0.seed, roster.dealt.as_bytes()]);
        Key::observe(&self.0.chain, epoch, roster, info, logs, secret.0)
    }

    /// The signature of `round` by `key`, where the node has it.
    pub(crate) fn ready(&self, key: &Key, round: u64) -> Option<Signature> {
        let ready = self.0.ready.lock().unwrap_or_else(PoisonError::into_inner);
        let ready =
            ready.as_ref().filter(|ready| ready.round == round && ready.dealt == key.dealt());
        ready.map(|ready| ready.signature)
    }

    fn set_ready(&self, key: &Key, round: u64, signature: Signature) {
        let ready = Ready { dealt: key.dealt(), round, signature };
        *self.0.ready.lock().unwrap_or_else(PoisonError::into_inner) = Some(ready);
    }
}
