//! Runs of chains whose states are numbers, right up to some step and wrong from there on.

use super::tenant::START;
use crate::model::Lease;
use muster_types::{Hash, merkle};
use muster_verify::{Chain, Opening};

/// What the provider of a lease says that it ran.
pub(super) struct Run {
    states: Vec<Hash>,
    leaves: Vec<Hash>,
}

/// The right state at a place.
pub(super) fn right(place: u64) -> Hash {
    if place == 0 { START.initial } else { Hash::of("model state", &[&place.to_le_bytes()]) }
}

impl Run {
    /// So many steps of which the grant decides which one is wrong first, if one is.
    pub(super) fn of(lease: &Lease, steps: u64) -> Self {
        let wrong = lease.granted_at % 15;
        let job = lease.job.expect("a chain has a job");
        let chain = Chain { job, module: START.module, data: START.data };
        let state = |place: u64| {
            if place <= wrong {
                return right(place);
            }
            Hash::of("model wrong state", &[&place.to_le_bytes()])
        };
        let states: Vec<Hash> = (0..=steps).map(state).collect();
        let leaves = (0..).zip(&states).map(|(place, state)| chain.leaf(place, state)).collect();
        Self { states, leaves }
    }

    pub(super) fn root(&self) -> Hash {
        merkle::root(&self.leaves)
    }

    pub(super) fn count(&self) -> u64 {
        self.leaves.len() as u64
    }

    /// The states at some places, proven; none at one that it does not have.
    pub(super) fn openings(&self, places: &[u64]) -> Vec<Opening> {
        let open = |place: &u64| {
            let place = usize::try_from(*place).ok()?;
            let state = *self.states.get(place)?;
            Some(Opening { state, proof: merkle::proof(&self.leaves, place) })
        };
        places.iter().filter_map(open).collect()
    }
}
