//! The application that the engine drives: builds blocks, checks them, and passes final ones on.

use super::{
    FinalizedBlock, OnBlock,
    beacon::{Beacon, Key},
    block::{
        Block, Ctx, Header, MAX_BLOCK_BYTES, MAX_BLOCK_TXS, body_root, preimage, to_account,
        to_hash,
    },
    committee::Epochs,
    hot::{Head, HotState, View},
    rotation::Boundary,
    rules::{self, Assembled, BlockReject},
    store::{Batch, Ledger, Sealed},
};
use crate::mempool::TxPool;
use commonware_consensus::{marshal::ancestry::Ancestry, simplex::scheme::ed25519::Scheme};
use commonware_cryptography::{Digestible as _, blake3::Digest};
use commonware_glue::stateful::{Application, Finality, Input, Proposed, db::DatabaseSet};
use commonware_runtime::{Clock, Spawner};
use commonware_storage::Context as StorageContext;
use futures::StreamExt as _;
use muster_ledger::{BlockContext, Tx};
use muster_types::{Hash, Millis, TxId};
use rand_core::CryptoRng;
use std::{sync::Arc, time::UNIX_EPOCH};
use tokio::sync::mpsc::UnboundedSender;

/// The ledger as the engine's application. Clones share everything.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) genesis: Arc<Block>,
    pub(crate) epochs: Epochs,
    pub(crate) pool: TxPool,
    pub(crate) hot: Arc<HotState>,
    pub(crate) on_applying: OnBlock,
    pub(crate) on_finalized: OnBlock,
    /// What signs the beacon.
    pub(crate) beacon: Beacon,
    /// Told when an epoch has ended.
    pub(crate) boundaries: UnboundedSender<Boundary>,
}

/// A node whose final block is older is catching up: what its state refuses the present may take.
const CURRENT: Millis = Millis::from_secs(10);

/// The local clock as block time.
pub(crate) fn now(clock: &impl Clock) -> Millis {
    let since = clock.current().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Logs when a block came how far, in microseconds since the Unix epoch: `muster bench consensus`
/// reads it.
fn time_of(step: &'static str, clock: &impl Clock, height: u64, digest: &Digest) {
    let at = clock.current().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    tracing::debug!(target: "muster_node::timing", step, height, %digest, at);
}

/// Checks a block against its parent's state; on success also gives the state after it.
async fn check<E: Spawner + StorageContext>(
    block: &Block,
    parent: Option<(&Block, Hash, &Ctx)>,
    (epochs, beacon): (Epochs, &Beacon),
    batch: Batch<E>,
) -> Result<Option<Sealed<E>>, BlockReject> {
    if let Some((parent, digest, context)) = parent {
        rules::check_header(&parent.header, digest, block, context, epochs)?;
        let key = batch.view().read(|state| beacon.in_force(state, block.header.height));
        let known = |key: &Key, round| beacon.ready(key, round);
        let checked = rules::check_beacon(&parent.header, &digest, block, key.as_deref(), known);
        #[cfg(feature = "planted")]
        let checked =
            checked.or_else(|error| if crate::planted::any_beacon() { Ok(()) } else { Err(error) });
        checked?;
    }
    let executed = batch.view().read(|state| rules::execute(state, block, epochs))?;
    let Some(sealed) = batch.seal(block.header.height, executed).await else {
        return Ok(None);
    };
    let (roots, header) = (sealed.roots(), &block.header);
    if roots.state != header.state_root {
        return Err(BlockReject::Commitment { field: "state root" });
    }
    if (roots.ops, roots.ops_start, roots.ops_end)
        != (header.ops_root, header.ops_start, header.ops_end)
    {
        return Err(BlockReject::Commitment { field: "operations" });
    }
    Ok(Some(sealed))
}

impl App {
    /// Builds a block at time `now` on `parent`.
    async fn build<E: Spawner + StorageContext>(
        &self,
        now: Millis,
        context: Ctx,
        (parent, parent_digest): (&Header, Hash),
        batch: Batch<E>,
    ) -> Option<(Block, Sealed<E>)> {
        let height = parent.height.checked_add(1)?;
        let (key, version) = batch
            .view()
            .read(|state| (self.beacon.in_force(state, height), rules::version_after(state)));
        let (beacon, beacon_round, beacon_key, signature) =
            rules::next_round(parent, &parent_digest, key.as_deref(), |key, round| {
                self.beacon.ready(key, round)
            });
        #[cfg(feature = "planted")]
        let beacon = crate::planted::beacon(&to_account(&context.leader), beacon);
        let mut header = Header {
            version,
            chain: parent.chain,
            parent: parent_digest,
            height,
            epoch: self.epochs.of(height),
            time: rules::next_time(parent.time, now),
            beacon,
            beacon_round,
            beacon_key,
            beacon_signed: signature.is_some(),
            proposer: to_account(&context.leader),
            state_root: Hash::ZERO,
            ops_root: Hash::ZERO,
            ops_start: 0,
            ops_end: 0,
            validators: Hash::ZERO,
            body_root: Hash::ZERO,
            event_root: Hash::ZERO,
        };
        let assembled = batch.view().read(|state| {
            let candidates = self.pool.take(MAX_BLOCK_BYTES, MAX_BLOCK_TXS, |id| state.holds(id));
            #[cfg(feature = "planted")]
            let candidates = crate::planted::slip_in(&header.proposer, candidates);
            rules::assemble(state, rules::block_context(&header, &context), candidates)
        });
        let Assembled { executed, event_root, body, rejected, validators } = match assembled {
            Ok(assembled) => assembled,
            Err(error) => {
                let height = header.height;
                tracing::error!(height, %error, "the ledger does not let a block be built");
                return None;
            }
        };
        self.give_back(&header, &context, batch.view(), rejected);
        let ids: Vec<TxId> = executed.receipts.iter().map(|receipt| receipt.tx).collect();
        header.body_root = body_root(&ids);
        header.event_root = event_root;
        let (committed, next) = rules::handover(self.epochs, height, &validators);
        header.validators = committed;
        let sealed = batch.seal(header.height, executed).await?;
        let roots = sealed.roots();
        header.state_root = roots.state;
        header.ops_root = roots.ops;
        header.ops_start = roots.ops_start;
        header.ops_end = roots.ops_end;
        #[cfg(feature = "planted")]
        crate::planted::spoil(&mut header, parent.time);
        self.pool.proposed(header.height, &ids);
        let (body, next) = (Arc::new(body), Arc::new(next));
        Some((Block { context, header, body, next, signature }, sealed))
    }

    /// Tells the pool what became of the candidates that are not in the block: they leave it where
    /// the final state rejects them too, and wait for this block's fate where only a block that is
    /// not final does.
    fn give_back(&self, header: &Header, context: &Ctx, view: &View, rejected: Vec<(TxId, Tx)>) {
        if rejected.is_empty() {
            return;
        }
        let ids: Vec<TxId> = rejected.iter().map(|(id, _)| *id).collect();
        let rejected = view.read_final(|state, head| {
            let context = BlockContext {
                height: head.height.saturating_add(1),
                beacon_round: head.beacon_round,
                ..rules::block_context(header, context)
            };
            rules::rejected_for_good(state, context, rejected)
        });
        self.pool.rejected(rejected);
        self.pool.proposed(header.height, &ids);
    }

    /// Rejects what blocks passed over and the final state does not take: who never makes a block
    /// would keep it otherwise, and its submitters would never hear of it.
    fn try_waiting(&self) {
        let waiting = self.pool.take_tries();
        if waiting.is_empty() {
            return;
        }
        let rejected = self.hot.read(|state, head| {
            rules::rejected_for_good(state, rules::context_after(head), waiting)
        });
        self.pool.rejected(rejected);
    }
}

impl<E> Application<E> for App
where
    E: Spawner + StorageContext + CryptoRng,
{
    type SigningScheme = Scheme;
    type Context = Ctx;
    type Block = Block;
    type Databases = Ledger<E>;
    type Captured = FinalizedBlock;
    type Provider = ();
    type Input = ();

    fn sync_targets(block: &Block) -> <Ledger<E> as DatabaseSet<E>>::SyncTargets {
        block.target()
    }

    async fn genesis(&mut self) -> Block {
        self.genesis.as_ref().clone()
    }

    async fn propose(
        &mut self,
        (clock, context): (E, Ctx),
        ancestry: impl Ancestry<Block>,
        batch: Batch<E>,
        _: Input<(), ()>,
    ) -> Option<Proposed<Self, E>> {
        let parent = std::pin::pin!(ancestry).next().await?;
        let on = (&parent.inner().header, to_hash(&parent.digest()));
        let (block, merkleized) = self.build(now(&clock), context, on, batch).await?;
        time_of("proposed", &clock, block.header.height, &block.digest());
        Some(Proposed { block, merkleized })
    }

    async fn process(
        &mut self,
        (_, context): (E, Ctx),
        ancestry: impl Ancestry<Block>,
        batch: Batch<E>,
        finality: Finality,
    ) -> Option<Sealed<E>> {
        let mut ancestry = std::pin::pin!(ancestry);
        let block = ancestry.next().await?;
        let parent = match finality {
            Finality::Candidate => Some(ancestry.next().await?),
            Finality::Finalized => None,
        };
        let on =
            parent.as_ref().map(|parent| (parent.inner(), to_hash(&parent.digest()), &context));
        match check(block.inner(), on, (self.epochs, &self.beacon), batch).await {
            Ok(sealed) => {
                if let Some(sealed) = &sealed {
                    // What another proposes need not hurry the next block either.
                    let receipts = &sealed.overlay().executed().receipts;
                    let ids: Vec<TxId> = receipts.iter().map(|receipt| receipt.tx).collect();
                    self.pool.proposed(block.inner().header.height, &ids);
                }
                sealed
            }
            Err(reject) => {
                let (height, proposer) = (block.inner().header.height, &context.leader);
                tracing::warn!(
                    height,
                    %proposer,
                    error = &reject as &dyn std::error::Error,
                    "refused a block"
                );
                None
            }
        }
    }

    async fn capture(
        &mut self,
        _: (E, Ctx),
        block: &Block,
        sealed: &Sealed<E>,
        (): (),
    ) -> FinalizedBlock {
        let overlay = sealed.overlay();
        let digest = to_hash(&block.digest());
        overlay.announce(Head::of(&block.header, digest));
        let finalized = FinalizedBlock {
            digest,
            header: block.header.clone(),
            preimage: preimage(&block.header, &block.context),
            executed: overlay.executed().clone(),
        };
        (self.on_applying)(&finalized);
        finalized
    }

    async fn finalized(
        &mut self,
        (clock, _): (E, Ctx),
        block: &Block,
        finalized: FinalizedBlock,
        (): (),
    ) {
        time_of("final", &clock, block.header.height, &block.digest());
        (self.on_finalized)(&finalized);
        if self.epochs.is_last(block.header.height) {
            // Nobody listens only where the engine has ended.
            let _ = self.boundaries.send(Boundary {
                epoch: block.header.epoch.saturating_add(1),
                root: block.digest(),
                validators: block.next.to_vec(),
            });
        }
        let FinalizedBlock { digest, header, executed, .. } = finalized;
        let ids = executed.receipts.iter().map(|receipt| receipt.tx);
        self.pool.finalized(header.height, digest, header.time, executed.txs.iter().zip(ids));
        if now(&clock).since(header.time) <= CURRENT {
            self.try_waiting();
        }
    }
}
