//! The bisection game: finds the first step of a chain on which a provider and a challenger
//! disagree.
//!
//! The provider has committed to every state of the chain by one root ([`Chain`]). Both agree on
//! the state at `lo`; at `hi` they do not. A round of the game:
//!
//! | turn | move | gives |
//! |---|---|---|
//! | provider | [`Game::reveal`]: the states at the [`Game::asked`] places, each proven under the root | the segment in at most `arity` parts of (almost) one length |
//! | challenger | [`Game::pick`]: the first part at whose end it disagrees | that part is the segment |
//! | step | (none) | `hi = lo + 1`: who runs step `lo` on the state at `lo` knows who is right |
//!
//! The longest part of `n` steps in `k` parts has `ceil(n / k)`, so that the game ends within
//! `ceil(log_k n)` rounds ([`rounds_max`]), whatever the two do. Where a move is refused nothing
//! changes. What happens to a player who does not move is for the one who keeps the game to say.
//!
//! The provider cannot change a state that it committed to; the challenger cannot blame a step
//! outside of the segment. A provider whose state at `hi` is wrong and whose state at 0 is right
//! has a wrong step in between, and a challenger that knows the right states is led to the first
//! one by [`Game::first_wrong`]. A challenger that picks otherwise ends at some other step, which
//! the referee judges as it is.

use crate::Chain;
use borsh::{BorshDeserialize, BorshSerialize};
use muster_types::{Hash, merkle};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// Into how many parts a segment can be cut.
pub const ARITY: RangeInclusive<u32> = 2..=16;

/// A state of the chain, proven under the root.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Opening {
    /// The state's content hash.
    pub state: Hash,
    /// The siblings from its leaf up to the root, lowest first.
    pub proof: Vec<Hash>,
}

/// Whose move it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The provider reveals.
    Provider,
    /// The challenger picks.
    Challenger,
    /// Nobody's: one step is left to be run.
    Step,
}

/// Why a move is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadMove {
    /// It is not that player's turn.
    OutOfTurn,
    /// There are more or fewer openings than asked, or one is not proven.
    Openings,
    /// There is no such part.
    Segment,
}

/// The step that is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its index.
    pub index: u64,
    /// The state before it, on which both agree.
    pub before: Hash,
    /// The state after it, as the provider committed to it.
    pub after: Hash,
}

/// Where a game stands.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Game {
    arity: u32,
    lo: u64,
    lo_state: Hash,
    hi: u64,
    /// `None` until the provider has opened the last state.
    hi_state: Option<Hash>,
    /// The states at the cuts; none while it is the provider's turn.
    inner: Vec<Hash>,
    rounds: u32,
}

impl Game {
    /// A game about a chain of `steps` that starts from `initial`. `last` is the committed last
    /// state where it is known already; else the provider opens it with its first move. `None`
    /// where there is no step or the arity is not in [`ARITY`].
    #[must_use]
    pub fn new(arity: u32, steps: u64, initial: Hash, last: Option<Hash>) -> Option<Self> {
        (steps > 0 && ARITY.contains(&arity)).then_some(Self {
            arity,
            lo: 0,
            lo_state: initial,
            hi: steps,
            hi_state: last,
            inner: Vec::new(),
            rounds: 0,
        })
    }

    /// The segment: both agree on the state at its begin and disagree on the one at its end.
    #[must_use]
    pub const fn segment(&self) -> (u64, u64) {
        (self.lo, self.hi)
    }

    /// The committed state at the segment's end; `None` until it was opened.
    #[must_use]
    pub const fn end_state(&self) -> Option<Hash> {
        self.hi_state
    }

    /// Rounds played.
    #[must_use]
    pub const fn rounds(&self) -> u32 {
        self.rounds
    }

    /// Whose move it is.
    #[must_use]
    pub fn turn(&self) -> Turn {
        if self.hi_state.is_none() {
            return Turn::Provider;
        }
        match self.cuts().len() {
            0 => Turn::Step,
            cuts if cuts == self.inner.len() => Turn::Challenger,
            _ => Turn::Provider,
        }
    }

    /// The places whose states the provider must open, rising.
    #[must_use]
    pub fn asked(&self) -> Vec<u64> {
        let mut asked = if self.inner.is_empty() { self.cuts() } else { Vec::new() };
        asked.extend(self.hi_state.is_none().then_some(self.hi));
        asked
    }

    /// The provider opens the states at the [`Game::asked`] places, in their order, under `root`,
    /// the root over the chain's states.
    ///
    /// # Errors
    /// [`BadMove`], and nothing has changed.
    pub fn reveal(
        &mut self,
        chain: &Chain,
        root: &Hash,
        count: u64,
        openings: &[Opening],
    ) -> Result<(), BadMove> {
        if self.turn() != Turn::Provider {
            return Err(BadMove::OutOfTurn);
        }
        let asked = self.asked();
        let proven = asked.iter().zip(openings).all(|(place, opening)| {
            let leaf = chain.leaf(*place, &opening.state);
            merkle::verify(root, &leaf, *place, count, &opening.proof)
        });
        if asked.len() != openings.len() || !proven {
            return Err(BadMove::Openings);
        }
        let mut states: Vec<Hash> = openings.iter().map(|opening| opening.state).collect();
        if self.hi_state.is_none() {
            self.hi_state = states.pop();
        }
        self.inner = states;
        Ok(())
    }

    /// The challenger picks a part of the segment, counted from 0.
    ///
    /// # Errors
    /// [`BadMove`], and nothing has changed.
    pub fn pick(&mut self, part: u32) -> Result<(), BadMove> {
        if self.turn() != Turn::Challenger {
            return Err(BadMove::OutOfTurn);
        }
        let mut points = vec![(self.lo, self.lo_state)];
        points.extend(self.cuts().into_iter().zip(self.inner.iter().copied()));
        points.extend(self.hi_state.map(|state| (self.hi, state)));
        let part = usize::try_from(part).map_err(|_| BadMove::Segment)?;
        let mut ends = points.into_iter().skip(part);
        let (Some(begin), Some(end)) = (ends.next(), ends.next()) else {
            return Err(BadMove::Segment);
        };
        (self.lo, self.lo_state) = begin;
        (self.hi, self.hi_state) = (end.0, Some(end.1));
        self.inner = Vec::new();
        self.rounds = self.rounds.saturating_add(1);
        Ok(())
    }

    /// The challenger's move, where `mine` gives the state that it found at a place: the first part
    /// at whose end the provider's state is another. `None` where there is none, or it is not the
    /// challenger's turn.
    #[must_use]
    pub fn first_wrong(&self, mine: impl Fn(u64) -> Hash) -> Option<u32> {
        if self.turn() != Turn::Challenger {
            return None;
        }
        let ends = self.cuts().into_iter().chain([self.hi]);
        let states = self.inner.iter().copied().chain(self.hi_state);
        let part = ends.zip(states).position(|(place, state)| state != mine(place))?;
        u32::try_from(part).ok()
    }

    /// The step that is left; `None` while the segment is longer, or its end is not opened.
    #[must_use]
    pub fn step(&self) -> Option<Step> {
        let after = self.hi_state.filter(|_| self.turn() == Turn::Step)?;
        Some(Step { index: self.lo, before: self.lo_state, after })
    }

    /// The places between the parts of the segment, rising.
    fn cuts(&self) -> Vec<u64> {
        let length = self.hi.saturating_sub(self.lo);
        let parts = length.min(u64::from(self.arity));
        // At most 2^64 x 16 before the division, and less than `length` after it.
        let offset = |cut: u64| {
            let product = u128::from(length).saturating_mul(u128::from(cut));
            product.checked_div(u128::from(parts)).and_then(|offset| u64::try_from(offset).ok())
        };
        (1..parts).filter_map(offset).map(|offset| self.lo.saturating_add(offset)).collect()
    }
}

/// The most rounds that a game over so many steps takes: the least `r` with `arity^r >= steps`.
#[must_use]
pub fn rounds_max(steps: u64, arity: u32) -> u32 {
    let (mut left, mut rounds) = (steps, 0u32);
    while left > 1 {
        left = left.div_ceil(u64::from(arity.max(2)));
        rounds = rounds.saturating_add(1);
    }
    rounds
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
