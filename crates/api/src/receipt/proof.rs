//! What proves that something happened: events under the root in a block's header, the block under
//! its epoch's certificate, the epoch's validators under the end of the epoch before.

use crate::views::{BlockView, EpochEnd, Event};
use muster_types::{AccountId, Hash, Millis, merkle};
use serde::{Deserialize, Serialize};

/// Who voted, from one epoch on: what a walk begins with is only as good as its origin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trail {
    /// The first epoch.
    pub epoch: u64,
    /// Who voted in it.
    pub validators: Vec<AccountId>,
    /// Its end and those of the epochs after it: each names who votes next.
    pub ends: Vec<EpochEnd>,
}

/// A final block and some of its events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockProof {
    /// The block's height.
    pub height: u64,
    /// Its epoch.
    pub epoch: u64,
    /// Its time.
    pub now: Millis,
    /// Its digest.
    pub digest: Hash,
    /// What the digest is the hash of, hex.
    pub header: String,
    /// Headers from the next block up to the one with the certificate, hex, where that is a later
    /// one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub descendants: Vec<String>,
    /// The certificate, hex.
    pub certificate: String,
    /// How many events the block has.
    pub count: u64,
    /// Those that matter here.
    pub events: Vec<EventProof>,
}

/// An event and its way up to the block's event root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventProof {
    /// Its place among the block's events.
    pub position: u64,
    /// What happened.
    pub event: Event,
    /// Its siblings ([`muster_types::merkle`]), lowest first.
    pub path: Vec<Hash>,
}

impl BlockProof {
    /// Of the events of `block`, in order, those that are `wanted`. `None` where the block has no
    /// certificate yet. Proofs and not the whole list: a job's events are a handful, a block may
    /// have thousands.
    #[must_use]
    pub fn of(block: &BlockView, mut wanted: impl FnMut(&Event) -> bool) -> Option<Self> {
        let leaves: Vec<Hash> = block.events.iter().map(Event::leaf).collect();
        let events = block.events.iter().enumerate().filter(|(_, event)| wanted(event));
        let events = events.map(|(index, event)| EventProof {
            position: u64::try_from(index).unwrap_or(u64::MAX),
            event: event.clone(),
            path: merkle::proof(&leaves, index),
        });
        Some(Self {
            height: block.height,
            epoch: block.epoch,
            now: block.now,
            digest: block.digest,
            header: block.header.clone(),
            descendants: block.descendants.clone(),
            certificate: block.certificate.clone()?,
            count: u64::try_from(leaves.len()).unwrap_or(u64::MAX),
            events: events.collect(),
        })
    }

    /// The first of its events that is not under `event_root`.
    #[must_use]
    pub fn stray(&self, event_root: &Hash) -> Option<usize> {
        self.events.iter().position(|EventProof { position, event, path }| {
            !merkle::verify(event_root, &event.leaf(), *position, self.count, path)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster_ledger::event_root;
    use muster_types::EscrowId;

    fn view(events: Vec<Event>) -> BlockView {
        BlockView {
            height: 7,
            epoch: 1,
            now: Millis(9),
            digest: Hash([1; 32]),
            state_root: Hash([2; 32]),
            event_root: event_root(&events),
            transactions: Vec::new(),
            events,
            header: "00".to_owned(),
            descendants: Vec::new(),
            certificate: Some("00".to_owned()),
        }
    }

    #[test]
    fn single_events_are_proved_under_the_root_of_all_and_no_others() {
        let owner = AccountId(Hash([3; 32]));
        let overdrawn = |of| Event::EscrowOverdrawn { escrow: EscrowId(Hash([of; 32])), owner };
        for count in 1..20 {
            let block = view((0..count).map(overdrawn).collect());
            for wanted in 0..count {
                let proof = BlockProof::of(&block, |event| *event == overdrawn(wanted)).unwrap();
                assert_eq!(proof.events.len(), 1);
                assert_eq!(proof.stray(&block.event_root), None);
                assert_eq!(proof.stray(&Hash::ZERO), Some(0));
                type Change = fn(&mut BlockProof);
                let table: [Change; 4] = [
                    |proof| proof.count += 1,
                    |proof| proof.events[0].position += 1,
                    |proof| proof.events[0].path.push(Hash::ZERO),
                    |proof| {
                        let Event::EscrowOverdrawn { owner, .. } = &mut proof.events[0].event
                        else {
                            unreachable!("made so")
                        };
                        *owner = AccountId(Hash::ZERO);
                    },
                ];
                for change in table {
                    let mut changed = proof.clone();
                    change(&mut changed);
                    assert_eq!(changed.stray(&block.event_root), Some(0));
                }
            }
        }
        let whole = view((0..3).map(overdrawn).collect());
        assert_eq!(BlockProof::of(&whole, |_| true).unwrap().events.len(), 3);
        let bare = BlockView { certificate: None, ..whole };
        assert_eq!(BlockProof::of(&bare, |_| true), None);
    }
}
