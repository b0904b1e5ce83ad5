//! What a block's header says of its events.

use super::Event;
use muster_types::{Hash, HashDomain, codec, merkle};

impl Event {
    /// The event's leaf under a block's event root.
    #[must_use]
    pub fn leaf(&self) -> Hash {
        static LEAF: HashDomain = HashDomain::new("muster event v1");
        LEAF.hash(&[&codec::encode(self)])
    }
}

/// The Merkle root ([`muster_types::merkle`]) over a block's events: those of its transactions in
/// order, then those of its end.
#[must_use]
pub fn event_root<'a>(events: impl IntoIterator<Item = &'a Event>) -> Hash {
    let leaves: Vec<Hash> = events.into_iter().map(Event::leaf).collect();
    merkle::root(&leaves)
}
