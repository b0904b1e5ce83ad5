//! Challenges: anybody may say that a chain does not end as its provider committed to, and a game
//! on the ledger finds the one step to be run ([`muster_verify::Game`]).
//!
//! | state | action or event | next |
//! |---|---|---|
//! | none | `ChallengeOpen` on a final commitment, inside the window, with a bond | bisecting, the provider's turn; of a single step whose end is known: voting |
//! | bisecting, the provider's turn | `BisectReveal`: the states asked for, proven | bisecting, the challenger's turn; one step is left: voting |
//! | bisecting, the provider's turn | `BisectReveal` of a last state that is the challenger's | void: there is nothing to judge |
//! | bisecting, the challenger's turn | `BisectPick` | bisecting, the provider's turn; one step is left: voting |
//! | bisecting | the clock of whose turn it is runs out | judged: it loses |
//! | voting | more than 2/3 of the validators found the committed state | judged: the challenger loses |
//! | voting | more than 2/3 found one other state, or that the step fails | judged: the provider loses |
//! | voting | more than 2/3 could not get the evidence, or time is up | void: no fault |
//! | bisecting, voting | anything, once another challenge has convicted the provider | void |
//!
//! **Clocks.** Each side has `dispute_clock_ms` for all its moves together, in steady time; only
//! the one whose turn it is runs. A move counts in the block in which the clock runs out, as a
//! clock is looked at when a block ends. That a move which was sent is in a block is up to who makes
//! blocks: they keep room for [`crate::Action::is_dispute_move`]. Validators have
//! `dispute_timeout_ms` for the vote.
//!
//! **Money.** The n-th open challenge of a lease locks n times `challenge_bond`. It goes back
//! to the challenger but where the challenger loses: then it is divided as a slash is, where the
//! provider's loss is the fees of its moves in this challenge, nobody is rewarded, and the rest
//! burns. A provider that loses is slashed for fraud with the challenger as reporter: the pay of
//! the lease is forfeited, the tenant made whole first. Who plays both sides loses what burns and
//! what the tenant gets.
//!
//! **Several at once.** Each is played by itself, and the lease is not settled while one is open.
//! The first that convicts takes pledge and pay; the others end void with their next move, vote or
//! deadline, and nobody loses by them.
//!
//! **Evidence.** Module and data are pinned by the job. The state before the step is the provider's
//! own, and the challenger agreed to it: an honest one of either side has it and serves it to the
//! validators, the challenger at the address that it gave, the provider at its own.
//!
//! A last state that was opened once stays known with the commitment, so that a challenge which
//! agrees with it is refused from then on.

pub(crate) mod end;
pub(crate) mod open;
pub(crate) mod pick;
pub(crate) mod reveal;
pub(crate) mod vote;

use crate::{
    Event, Reject, archive,
    ctx::Ctx,
    event::Contest,
    keys::{self, Listing, Record, Table},
};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_types::{AccountId, Amount, DisputeId, Hash, JobId, LeaseId, Millis};
use muster_verify::{BadMove, Game, Turn};
use serde::{Deserialize, Serialize};

/// The two sides of a challenge.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Who committed to the chain.
    Provider,
    /// Who says that it is wrong.
    Challenger,
}

/// Where a challenge stands.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ChallengeStatus {
    /// The step is being looked for.
    Bisecting {
        /// Whose turn it is.
        turn: Side,
    },
    /// Validators run the step and vote.
    Voting,
    /// Somebody was wrong, or silent.
    Judged {
        /// Who.
        loser: Side,
    },
    /// Nothing could be judged: no fault.
    Void,
}

/// What a validator found when it ran a step.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// The step gives this.
    State {
        /// The content hash of the state after it.
        hash: Hash,
    },
    /// The step traps, or goes beyond its limits: it gives nothing.
    Fails,
    /// The evidence could not be had.
    Missing,
}

/// One validator's vote on a step.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct StepVote {
    /// Who.
    pub validator: AccountId,
    /// What it found.
    pub finding: Finding,
}

/// How much time each side has left.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Clocks {
    /// The provider.
    pub provider: Millis,
    /// The challenger.
    pub challenger: Millis,
}

/// A challenge's state.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Challenge {
    /// The lease whose chain it is about.
    pub lease: LeaseId,
    /// The lease's job.
    pub job: JobId,
    /// Who opened it.
    pub challenger: AccountId,
    /// The state that the chain ends in, by the challenger.
    pub last: Hash,
    /// Where the challenger serves the evidence (its fabric address, as text).
    pub evidence: String,
    /// What the challenger has locked, `usd`; nothing once the challenge has ended.
    pub bond: Amount,
    /// The fees that the provider paid for its moves, `usd`.
    pub costs: Amount,
    /// The game.
    pub game: Game,
    /// The clocks, as they were when the turn began.
    pub clocks: Clocks,
    /// Where it stands.
    pub status: ChallengeStatus,
    /// The votes so far, one a validator.
    pub votes: Vec<StepVote>,
    /// When the clock of whose turn it is, or the time for the vote, runs out (steady time).
    pub deadline: Millis,
    /// Since when nothing can change it, in steady time (see [`crate::archive`]).
    pub final_at: Option<Millis>,
}

impl ChallengeStatus {
    /// Whether it has not ended.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Bisecting { .. } | Self::Voting)
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bisecting { turn: Side::Provider } => "waiting for the provider",
            Self::Bisecting { turn: Side::Challenger } => "waiting for the challenger",
            Self::Voting => "waiting for the validators",
            Self::Judged { .. } => "judged",
            Self::Void => "void",
        }
    }
}

impl Challenge {
    /// Refuses what cannot be done where the challenge stands now.
    fn expect(&self, status: ChallengeStatus) -> Result<(), Reject> {
        if self.status == status {
            return Ok(());
        }
        Err(Reject::wrong_state(Self::KIND, self.status.name()))
    }

    /// Who just moved has used up the time since its turn began.
    fn stop_clock(&mut self, steady: Millis) {
        let left = self.deadline.since(steady);
        match self.status {
            ChallengeStatus::Bisecting { turn: Side::Provider } => self.clocks.provider = left,
            ChallengeStatus::Bisecting { turn: Side::Challenger } => self.clocks.challenger = left,
            ChallengeStatus::Voting | ChallengeStatus::Judged { .. } | ChallengeStatus::Void => {}
        }
    }
}

/// Begins the turn that the game says, and stores the challenge.
fn begin_turn(ctx: &mut Ctx<'_>, id: &DisputeId, mut challenge: Challenge) -> Result<(), Reject> {
    let (status, time) = match challenge.game.turn() {
        Turn::Provider => {
            (ChallengeStatus::Bisecting { turn: Side::Provider }, challenge.clocks.provider)
        }
        Turn::Challenger => {
            (ChallengeStatus::Bisecting { turn: Side::Challenger }, challenge.clocks.challenger)
        }
        Turn::Step => (ChallengeStatus::Voting, ctx.env.params.dispute_timeout_ms),
    };
    challenge.status = status;
    challenge.deadline = ctx.env.head.steady.after(time);
    ctx.store(id, &challenge);
    if let Some(step) = challenge.game.step() {
        let of = Contest::of(ctx, &challenge)?;
        ctx.emit(Event::StepCalled { dispute: *id, of, step: step.index });
    }
    Ok(())
}

/// A refusal by the game.
fn refused(bad: BadMove) -> Reject {
    match bad {
        BadMove::OutOfTurn => Reject::wrong_state("challenge", "waiting for somebody else"),
        BadMove::Openings => Reject::bad_field("openings"),
        BadMove::Segment => Reject::bad_field("segment"),
    }
}

impl Record for Challenge {
    type Key = DisputeId;
    const KIND: &'static str = "challenge";
    const TABLE: Table<DisputeId, Self> = keys::CHALLENGES;
    const LISTING: Listing = Listing::Always;

    archive::leaves!(Challenge);

    fn is_final(&self) -> bool {
        !self.status.is_open()
    }

    fn entries(&self, key: &DisputeId, emit: &mut dyn FnMut(Vec<u8>)) {
        emit(keys::CHALLENGES_BY_LEASE.key(&(self.lease, *key)));
        if self.status.is_open() {
            emit(keys::CHALLENGES_DUE.key(&(self.deadline, *key)));
        }
    }
}

#[cfg(test)]
mod tests;
