//! What the keys of a committee deal for the beacon's key: every deal stands in one list, in order.

use super::{Model, Outcome, compare::Same, compare::same, must};
use muster_ledger::{State, keys};
use muster_types::{AccountId, Hash, codec};
use std::collections::BTreeMap;

/// The most bytes of a deal.
const DEAL_MAX: usize = 16_384;

/// The first half of an epoch is for deals, but no more than so many blocks.
const DEALT_MAX: u64 = 256;

#[derive(Clone, Debug)]
pub(crate) struct Dealt {
    pub(crate) epoch: u64,
    pub(crate) key: AccountId,
    pub(crate) log: Vec<u8>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Beacon {
    /// The epoch whose key signs, by this block and by the one before.
    pub(crate) key: Option<u64>,
    pub(crate) key_before: Option<u64>,
    /// All that is remembered, in order.
    pub(crate) deals: Vec<Dealt>,
    /// Who could deal in the epochs of which something is remembered.
    pub(crate) dealers: BTreeMap<u64, Vec<AccountId>>,
}

impl Model {
    /// Whether a key of the committee acts, which takes no account.
    pub(super) fn is_dealer(&self, key: &AccountId) -> bool {
        self.committee.seats.iter().any(|(seat, _)| seat == key)
    }

    pub(super) fn beacon_deal(&mut self, who: AccountId, epoch: u64, log: &[u8]) -> Outcome {
        must((1..=DEAL_MAX).contains(&log.len()))?;
        must(self.is_dealer(&who) && epoch == self.committee.epoch)?;
        let blocks = self.committee.epoch_blocks;
        must(self.height % blocks < (blocks / 2).min(DEALT_MAX))?;
        let mut known = self.beacon_keys.deals.iter();
        must(!known.any(|dealt| dealt.epoch == epoch && dealt.key == who))?;
        self.beacon_keys.deals.push(Dealt { epoch, key: who, log: log.to_vec() });
        let seats = self.committee.seats.iter().map(|(key, _)| *key).collect();
        self.beacon_keys.dealers.insert(epoch, seats);
        Ok(())
    }

    /// At a block's end: where another key signs than before, what is older than this epoch and
    /// not that key's is forgotten; at the end of an epoch, all that is not the key's.
    pub(super) fn beacon_due(&mut self) {
        let last = (self.height + 1).is_multiple_of(self.committee.epoch_blocks);
        let now = self.committee.epoch;
        let Beacon { key, key_before, deals, dealers } = &mut self.beacon_keys;
        let changed = key != key_before;
        let gone = |epoch: u64| Some(epoch) != *key && (last || (changed && epoch < now));
        deals.retain(|dealt| !gone(dealt.epoch));
        dealers.retain(|epoch, _| !gone(*epoch));
        *key_before = *key;
    }

    /// What follows from all that was dealt in an epoch.
    fn dealt(&self, epoch: u64, dealers: &Vec<AccountId>) -> Hash {
        let begin: [&[u8]; 3] =
            [self.chain.as_bytes(), &epoch.to_le_bytes(), &codec::encode(dealers)];
        let begin = Hash::of("muster beacon roster v1", &begin);
        let of = self.beacon_keys.deals.iter().filter(|dealt| dealt.epoch == epoch);
        of.fold(begin, |before, Dealt { key, log, .. }| {
            Hash::of("muster beacon deal v1", &[before.as_bytes(), key.as_bytes(), log])
        })
    }

    pub(super) fn compare_beacon(&self, state: &dyn State) -> Same {
        let model = &self.beacon_keys;
        let deals: BTreeMap<_, _> = keys::BEACON_DEALS.scan(state, &(), None).collect();
        let expected =
            model.deals.iter().map(|dealt| ((dealt.epoch, dealt.key), dealt.log.clone()));
        same("deals", &deals, &expected.collect())?;
        let rosters = keys::BEACON_ROSTERS.scan(state, &(), None);
        let rosters = rosters.map(|(epoch, roster)| (epoch, (roster.keys, roster.dealt)));
        let expected = model
            .dealers
            .iter()
            .map(|(epoch, dealers)| (*epoch, (dealers.clone(), self.dealt(*epoch, dealers))));
        same("rosters", &rosters.collect::<BTreeMap<_, _>>(), &expected.collect())
    }
}
