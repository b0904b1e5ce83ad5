//! Runs of chains whose states are numbers, right up to some step and wrong from there on.

use super::world::hash;
use crate::job::{ChainStart, JobKind, JobSpec, Verification};
use muster_types::{EscrowId, Hash, JobId, merkle};
use muster_verify::{Chain, Game, Opening};

pub(crate) const START: ChainStart = ChainStart {
    module: Hash([3; 32]),
    data: Hash([5; 32]),
    initial: Hash([6; 32]),
    memory_max_bytes: 1 << 20,
};

/// A chain job at level `dispute`.
pub(crate) fn spec(escrow: EscrowId, tasks: u64) -> JobSpec {
    JobSpec {
        kind: JobKind::Chain,
        escrow,
        tasks,
        verification: Verification::Dispute,
        manifest: hash(1),
        fuel_max: 1_000,
        metered: false,
        chain: Some(START),
    }
}

/// The right state at a place.
pub(crate) fn right(place: u64) -> Hash {
    if place == 0 { START.initial } else { Hash::of("test state", &[&place.to_le_bytes()]) }
}

/// What a provider says that it ran.
#[derive(Clone)]
pub(crate) struct Run {
    states: Vec<Hash>,
    leaves: Vec<Hash>,
}

impl Run {
    /// So many steps, of which `wrong` and all after it give other states; none does where `wrong`
    /// is `steps`.
    pub(crate) fn new(job: JobId, steps: u64, wrong: u64) -> Self {
        let state = |place| {
            if place <= wrong {
                return right(place);
            }
            Hash::of("test wrong state", &[&place.to_le_bytes()])
        };
        let chain = Chain { job, module: START.module, data: START.data };
        let states: Vec<Hash> = (0..=steps).map(state).collect();
        let leaves = (0..).zip(&states).map(|(place, state)| chain.leaf(place, state)).collect();
        Self { states, leaves }
    }

    pub(crate) fn root(&self) -> Hash {
        merkle::root(&self.leaves)
    }

    pub(crate) fn count(&self) -> u64 {
        self.leaves.len() as u64
    }

    pub(crate) fn state(&self, place: u64) -> Hash {
        self.states[usize::try_from(place).unwrap()]
    }

    /// What the provider is asked for.
    pub(crate) fn openings(&self, game: &Game) -> Vec<Opening> {
        let open = |place: u64| {
            let proof = merkle::proof(&self.leaves, usize::try_from(place).unwrap());
            Opening { state: self.state(place), proof }
        };
        game.asked().into_iter().map(open).collect()
    }
}
