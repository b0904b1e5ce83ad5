//! Blocks: transactions in their order, then the block's end.
//!
//! The end of a block does, in this order, everything that is due (at most
//! [`limits::DUE_PER_BLOCK`] of a kind, oldest first):
//!
//! 1. open orders past their deadline expire; bid windows that have ended are decided, and orders
//!    whose tenants did not pick in time expire;
//! 2. leases that are not ready, or not updated, in time close, and so do those that stayed
//!    stalled; serving ones without heartbeats stall; reclaimed ones close;
//! 3. the leases of escrows that stayed short close;
//! 4. commitments of two rounds ago are made final by this block's beacon (see [`crate::job`]);
//! 5. disputes past their deadline become void, and who ran out of time in a challenge loses it;
//! 6. closed leases whose challenge window has ended are settled;
//! 7. offers that have ended leave the market;
//! 8. pledges of duties that were left long enough ago are freed (see [`crate::bond`]);
//! 9. orders clear (see [`crate::market`]);
//! 10. the block's fees are paid out (see [`crate::account`]);
//! 11. votes that have ended are tallied, and what passed takes effect (see [`crate::vote`]);
//! 12. what made a key of the beacon that signs no more is forgotten (see [`crate::stake::beacon`]);
//! 13. missed turns are counted, and the last block of an epoch chooses the validators of the next
//!     (see [`crate::stake::committee`]);
//! 14. records that have been final for long enough leave the state (see [`crate::archive`]).

use crate::{
    Event, Head, Params, Reject, Tx, account, apply, archive, bond,
    ctx::{Ctx, Effects, Env},
    event::event_root,
    genesis::{self, PROTOCOL, PROTOCOL_MIN},
    keys, limits, market,
    stake::{Views, beacon, committee},
    state::{Changes, Scratch, Slots, State},
    vote,
};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_types::{AccountId, Amount, Encoded, Hash, Millis, TxId};
use serde::{Deserialize, Serialize};

mod execute;

pub use execute::{execute_block, verify_batch};

/// What a block brings beside its transactions.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct BlockContext {
    /// One more than the head's.
    pub height: u64,
    /// Later than the head's.
    pub now: Millis,
    /// The beacon: a value that nobody could choose.
    pub beacon: Hash,
    /// Its round: the head's, or one more. Where it is the head's, so is the beacon.
    pub beacon_round: u64,
    /// The epoch whose key signed it, or is to sign the next; `None` where proposers are trusted.
    pub beacon_key: Option<u64>,
    /// The validator that made the block; whoever it votes for gets its fees.
    pub proposer: AccountId,
    /// Its place in the agreement of its epoch.
    pub views: Views,
}

/// Why a block cannot follow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// The state holds no chain.
    #[error("the state is empty: apply a genesis first")]
    NoGenesis,
    /// The chain has gone over to other rules.
    #[error(
        "the validators voted for protocol {found} and this program knows protocol {PROTOCOL_MIN} \
         to {PROTOCOL}: install a release that knows {found} and start again; nothing is lost"
    )]
    Protocol {
        /// What the next block follows.
        found: u32,
    },
    /// Not the next block.
    #[error("block {given} cannot follow block {head}")]
    Height {
        /// The block's height.
        given: u64,
        /// The head's height.
        head: u64,
    },
    /// A round of the beacon is skipped or comes again.
    #[error("beacon round {given} cannot follow round {head}: rounds are consecutive")]
    BeaconRound {
        /// The block's round.
        given: u64,
        /// The head's round.
        head: u64,
    },
    /// Time does not pass.
    #[error("a block at {given} cannot follow one at {head}: block time only rises")]
    Time {
        /// The block's time.
        given: Millis,
        /// The head's time.
        head: Millis,
    },
}

/// Why a block as a whole is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecuteError {
    /// The block itself cannot follow.
    #[error("the block does not fit the state")]
    Block(#[source] BlockError),
    /// One of its transactions is refused.
    #[error("transaction {index} of the block is refused")]
    Tx {
        /// Its place in the block.
        index: usize,
        /// Why.
        #[source]
        reject: Reject,
    },
}

/// What an applied transaction did.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Receipt {
    /// Which transaction.
    pub tx: TxId,
    /// What it cost, `usd`.
    pub fee: Amount,
    /// What happened.
    pub events: Vec<Event>,
}

/// What applying needs of a transaction's bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    pub(crate) id: TxId,
    /// The length of the signed encoding.
    pub(crate) bytes: usize,
}

impl Stamp {
    pub(crate) fn of(encoded: &Encoded) -> Self {
        Self { id: encoded.id(), bytes: encoded.wire().len() }
    }
}

/// What a block did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockOutcome {
    /// What to write, derived keys included.
    pub changes: Changes,
    /// One for each transaction, in order.
    pub receipts: Vec<Receipt>,
    /// What happened at the block's end.
    pub events: Vec<Event>,
    /// The records that left the state, as they last stood: storage key and value.
    pub archived: Vec<(Vec<u8>, Vec<u8>)>,
    /// [`event_root`] over [`BlockOutcome::all_events`].
    pub event_root: Hash,
}

impl BlockOutcome {
    /// The events of the transactions in order, then those of the block's end.
    pub fn all_events(&self) -> impl Iterator<Item = &Event> {
        all_events(&self.receipts, &self.events)
    }
}

fn all_events<'a>(receipts: &'a [Receipt], end: &'a [Event]) -> impl Iterator<Item = &'a Event> {
    receipts.iter().flat_map(|receipt| &receipt.events).chain(end)
}

/// A block under construction over a state that it does not change.
pub struct BlockBuilder<'a> {
    state: &'a dyn State,
    slots: Slots,
    env: Env,
    receipts: Vec<Receipt>,
    fees: Amount,
}

impl<'a> BlockBuilder<'a> {
    /// Begins the block that follows the state's head.
    ///
    /// # Errors
    /// [`BlockError`] where it cannot follow.
    pub fn new(state: &'a dyn State, context: BlockContext) -> Result<Self, BlockError> {
        let head = keys::HEAD.get(state, &()).ok_or(BlockError::NoGenesis)?;
        let params: Params = keys::PARAMS.get(state, &()).ok_or(BlockError::NoGenesis)?;
        if !genesis::knows(params.protocol) {
            return Err(BlockError::Protocol { found: params.protocol });
        }
        if context.now <= head.now {
            return Err(BlockError::Time { given: context.now, head: head.now });
        }
        let next = head
            .next(&context, &params)
            .filter(|next| next.height == context.height)
            .ok_or(BlockError::Height { given: context.height, head: head.height })?;
        if !(0..=1).contains(&context.beacon_round.wrapping_sub(head.beacon_round)) {
            let (given, head) = (context.beacon_round, head.beacon_round);
            return Err(BlockError::BeaconRound { given, head });
        }
        let mut scratch = Scratch::new(state);
        keys::HEAD.put(&mut scratch, &(), &next);
        let BlockContext { proposer, views, .. } = context;
        let env = Env { head: next, previous: head, params, proposer, views };
        let slots = scratch.into_slots();
        Ok(Self { state, slots, env, receipts: Vec::new(), fees: Amount::ZERO })
    }

    /// The head that this block makes.
    #[must_use]
    pub const fn head(&self) -> &Head {
        &self.env.head
    }

    /// Checks the signatures and applies a transaction.
    ///
    /// # Errors
    /// [`Reject`]; then nothing has changed, fee and nonce included, and the block can go on
    /// without it.
    pub fn push(&mut self, tx: &Tx) -> Result<&Receipt, Reject> {
        apply::check_envelope(&self.env, tx)?;
        let encoded = tx.encoded();
        tx.verify_encoded(&encoded).map_err(|_| Reject::BadSignature)?;
        self.push_stamped(tx, &Stamp::of(&encoded))
    }

    /// Like [`BlockBuilder::push`], for a transaction whose signatures were checked already (see
    /// [`verify_batch`]).
    ///
    /// # Errors
    /// As [`BlockBuilder::push`].
    pub fn push_verified(&mut self, tx: &Tx) -> Result<&Receipt, Reject> {
        self.push_stamped(tx, &Stamp::of(&tx.encoded()))
    }

    pub(crate) fn push_stamped(&mut self, tx: &Tx, stamp: &Stamp) -> Result<&Receipt, Reject> {
        let scratch = Scratch::with(self.state, std::mem::take(&mut self.slots));
        let mut ctx = Ctx::new(scratch, &self.env);
        ctx.fees = self.fees;
        let applied = ctx.attempt(|ctx| apply::apply(ctx, tx, stamp));
        let Ctx { scratch, events, fees, .. } = ctx;
        (self.slots, self.fees) = (scratch.into_slots(), fees);
        let by = applied?;
        let receipt = Receipt { tx: by.tx, fee: by.fee, events };
        Ok(self.receipts.push_mut(receipt))
    }

    /// Ends the block.
    #[must_use]
    pub fn finish(self) -> BlockOutcome {
        let Self { state, slots, env, receipts, fees } = self;
        let mut ctx = Ctx::new(Scratch::with(state, slots), &env);
        ctx.fees = fees;
        market::due::run(&mut ctx);
        bond::end_left(&mut ctx);
        market::clear::run(&mut ctx);
        account::fees::run(&mut ctx);
        vote::due::run(&mut ctx);
        beacon::change(&mut ctx);
        committee::run(&mut ctx);
        let archived = archive::run(&mut ctx);
        let Effects { changes, events } = ctx.into_effects();
        let event_root = event_root(all_events(&receipts, &events));
        BlockOutcome { changes, receipts, events, archived, event_root }
    }
}

/// Runs a rule of the block's end over each item by itself. One that cannot be applied is left as
/// it was: the books forbid it (no sum of money exceeds the supply), and a block must end.
pub(crate) fn for_each<T>(
    ctx: &mut Ctx<'_>,
    items: Vec<T>,
    rule: impl Fn(&mut Ctx<'_>, &T) -> Result<(), Reject>,
) {
    for item in items {
        let done = ctx.attempt(|inner| rule(inner, &item));
        debug_assert_eq!(done, Ok(()), "a rule of the block's end failed");
    }
}

/// The things in an index by time or height that are due: entered at `until` or before.
pub(crate) fn due<At: keys::Key + Ord, T: keys::Key>(
    ctx: &Ctx<'_>,
    index: keys::Index<(At, T)>,
    until: At,
) -> Vec<T> {
    index
        .scan(&ctx.scratch, &(), None)
        .take_while(|((at, _), ())| *at <= until)
        .take(limits::DUE_PER_BLOCK)
        .map(|((_, thing), ())| thing)
        .collect()
}

#[cfg(test)]
mod tests;
