//! What leads from one epoch's validators to the next's, and where to begin.

use muster_types::{AccountId, Hash, Millis};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The most ends of epochs of a page.
pub const EPOCHS_MAX: usize = 64;

/// The end of an epoch: its last block, made final by the epoch's validators, commits to the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EpochEnd {
    /// Which epoch ends.
    pub epoch: u64,
    /// The height of its last block.
    pub height: u64,
    /// That block's time.
    pub now: Millis,
    /// What that block's digest is the hash of, hex.
    pub header: String,
    /// The certificate that it is final, hex.
    pub certificate: String,
    /// The validators of the next epoch.
    pub next: Vec<AccountId>,
}

/// The ends of consecutive epochs, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EpochPage {
    /// The first epoch: the one asked for, or the first later one of which the node knows who voted.
    pub from: u64,
    /// Who votes in it.
    pub validators: Vec<AccountId>,
    /// Its end and those of the epochs after it, as many as have ended and fit on the page.
    pub ends: Vec<EpochEnd>,
}

/// A block that somebody vouches for, and who votes after it: where to begin instead of at genesis.
/// It is as good as who made it; there is nothing in it to check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Anchor {
    /// The chain: hash of its genesis.
    pub chain: Hash,
    /// The block's height.
    pub height: u64,
    /// The block's digest.
    pub digest: Hash,
    /// The block's time.
    pub time: Millis,
    /// The epoch of the block after it.
    pub epoch: u64,
    /// Who votes in that epoch.
    pub validators: Vec<AccountId>,
    /// How long stake stays locked after it is taken back, by the state after the block.
    pub unbonding: Millis,
    /// The digests of earlier blocks that are vouched for too, by height.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub blocks: BTreeMap<u64, Hash>,
}

impl Anchor {
    /// The digest that is vouched for at a height.
    #[must_use]
    pub fn digest_at(&self, height: u64) -> Option<Hash> {
        if height == self.height { Some(self.digest) } else { self.blocks.get(&height).copied() }
    }
}
