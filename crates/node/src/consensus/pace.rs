//! When a block is made, and when a vote is withheld because of the clock.
//!
//! The engine runs rounds back to back, so the proposer sets the pace: a block when transactions
//! wait, after a short gathering time so that they share it, else a heartbeat. Both waits sit
//! outside the engine's state machine: inside it they would hold up the blocks that become final
//! meanwhile.

use super::{
    app::now,
    block::Block,
    rules::{MAX_STEP, clock_wait},
};
use crate::mempool::TxPool;
use commonware_consensus::{
    Application as ConsensusApplication, Handoff, marshal::ancestry::Ancestry,
};
use commonware_cryptography::Digested;
use commonware_runtime::Clock;
use futures::future::{Either, select};
use muster_types::Millis;
use std::{pin::pin, time::Duration};

/// The pace of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How long a proposer waits for transactions before it makes a block without.
    pub heartbeat: Duration,
    /// How long it waits for more once one is there.
    pub gather: Duration,
    /// How long validators wait for a leader's block; must exceed `heartbeat` and the time to
    /// build and send a block.
    pub leader_timeout: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(500),
            gather: Duration::from_millis(10),
            leader_timeout: Duration::from_millis(750),
        }
    }
}

/// An application whose proposals are paced and whose votes wait for the clock.
#[derive(Clone)]
pub(crate) struct Paced<A> {
    pub(crate) inner: A,
    pub(crate) pool: TxPool,
    pub(crate) pace: Pace,
}

impl<A> Paced<A> {
    /// Returns when it is time for a block.
    async fn wait(&self, clock: &impl Clock) {
        let start = clock.current();
        let deadline = start + self.pace.heartbeat;
        while !self.pool.has_work() {
            let left = deadline.duration_since(clock.current()).unwrap_or_default();
            if left.is_zero() {
                return;
            }
            let arrived = pin!(self.pool.arrived());
            if let Either::Left(_) = select(pin!(clock.sleep(left)), arrived).await {
                return;
            }
        }
        clock.sleep(self.pace.gather).await;
    }
}

impl<E, A> ConsensusApplication<E> for Paced<A>
where
    E: Clock + Send + 'static,
    A: ConsensusApplication<E, Block = Block> + Sync,
    A::Context: Send,
{
    type SigningScheme = A::SigningScheme;
    type Context = A::Context;
    type Block = Block;
    type Input = A::Input;

    async fn prepare(
        &mut self,
        context: (E, A::Context),
        ancestry: impl Ancestry<Block>,
        input: A::Input,
    ) -> Handoff<Digested<Block>> {
        self.inner.prepare(context, ancestry, input).await
    }

    async fn propose(
        &mut self,
        context: (E, A::Context),
        ancestry: impl Ancestry<Block>,
        input: A::Input,
    ) -> Option<Digested<Block>> {
        let parent = ancestry.peek().map_or(Millis::MAX, |parent| parent.inner().header.time);
        // After a long halt the chain's time catches up first.
        if now(&context.0).since(parent) <= MAX_STEP {
            self.wait(&context.0).await;
        }
        self.inner.propose(context, ancestry, input).await
    }

    async fn verify(&mut self, context: (E, A::Context), ancestry: impl Ancestry<Block>) -> bool {
        if let Some(block) = ancestry.peek() {
            let wait = clock_wait(block.inner().header.time, now(&context.0));
            if wait > Millis::ZERO {
                context.0.sleep(Duration::from_millis(wait.0)).await;
            }
        }
        self.inner.verify(context, ancestry).await
    }
}
