//! Where the chain is.

use crate::{BlockContext, Params};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_types::{Hash, Millis};
use serde::{Deserialize, Serialize};

/// The last block that was applied.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Head {
    /// The chain: the id of its genesis.
    pub chain: Hash,
    /// The block's height; genesis is 0.
    pub height: u64,
    /// The block's time.
    pub now: Millis,
    /// Steady time: genesis time plus every block's step, each counted for at most
    /// `max_block_step_ms`. Streams, coverage, stalls and windows run by it, so that a chain that
    /// stood still stalls nobody, pays nobody and lets no window pass. Never ahead of `now`.
    pub steady: Millis,
    /// The block's beacon: a value that nobody could choose.
    pub beacon: Hash,
    /// The beacon's round: values have consecutive numbers.
    pub beacon_round: u64,
    /// The epoch whose validators' shared key signs the rounds; `None` where whoever proposes a
    /// block is trusted with the beacon ([`crate::stake::beacon`]).
    pub beacon_key: Option<u64>,
}

impl Head {
    /// The head after a block; `None` at the last height.
    pub(crate) fn next(&self, block: &BlockContext, params: &Params) -> Option<Self> {
        let now = block.now;
        let step = now.since(self.now).min(params.max_block_step_ms);
        Some(Self {
            chain: self.chain,
            height: self.height.checked_add(1)?,
            now,
            steady: self.steady.after(step),
            beacon: block.beacon,
            beacon_round: block.beacon_round,
            beacon_key: block.beacon_key,
        })
    }
}
