//! The application that the engine drives: builds blocks, checks them, and passes final ones on.

use super::{
    FinalizedBlock, OnBlock,
    block::{
        Block, Ctx, Header, MAX_BLOCK_BYTES, MAX_BLOCK_TXS, PROTOCOL_VERSION, body_root, preimage,
        to_account, to_hash,
    },
    hot::Head,
    rules::{self, Assembled, BlockReject},
    store::{Batch, Ledger, Sealed},
};
use crate::mempool::TxPool;
use commonware_consensus::{marshal::ancestry::Ancestry, simplex};
use commonware_cryptography::{Digestible as _, blake3::Digest, ed25519};
use commonware_glue::stateful::{Application, Finality, Input, Proposed, db::DatabaseSet};
use commonware_runtime::{Clock, Spawner};
use commonware_storage::Context as StorageContext;
use futures::StreamExt as _;
use muster_types::{Hash, Millis, TxId};
use rand_core::CryptoRng;
use std::{marker::PhantomData, sync::Arc, time::UNIX_EPOCH};

/// A signing scheme over our digests, with ed25519 identities.
pub(crate) trait ConsensusScheme:
    simplex::scheme::Scheme<Digest, PublicKey = ed25519::PublicKey>
{
}
impl<S: simplex::scheme::Scheme<Digest, PublicKey = ed25519::PublicKey>> ConsensusScheme for S {}

/// The ledger as the engine's application. Clones share everything.
pub(crate) struct App<S> {
    pub(crate) genesis: Arc<Block>,
    pub(crate) pool: TxPool,
    pub(crate) on_applying: OnBlock,
    pub(crate) on_finalized: OnBlock,
    pub(crate) scheme: PhantomData<fn() -> S>,
}

impl<S> Clone for App<S> {
    fn clone(&self) -> Self {
        Self {
            genesis: self.genesis.clone(),
            pool: self.pool.clone(),
            on_applying: self.on_applying.clone(),
            on_finalized: self.on_finalized.clone(),
            scheme: PhantomData,
        }
    }
}

/// The local clock as block time.
pub(crate) fn now(clock: &impl Clock) -> Millis {
    let since = clock.current().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Checks a block against its parent's state; on success also gives the state after it.
async fn check<E: Spawner + StorageContext>(
    block: &Block,
    parent: Option<(&Block, Hash, &Ctx)>,
    batch: Batch<E>,
) -> Result<Option<Sealed<E>>, BlockReject> {
    if let Some((parent, digest, context)) = parent {
        rules::check_header(&parent.header, digest, block, context)?;
    }
    let executed = batch.view().read(|state| rules::execute(state, block))?;
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

impl<S: ConsensusScheme> App<S> {
    /// Builds a block at time `now` on `parent`.
    async fn build<E: Spawner + StorageContext>(
        &self,
        now: Millis,
        context: Ctx,
        (parent, parent_digest): (&Header, Hash),
        batch: Batch<E>,
    ) -> Option<(Block, Sealed<E>)> {
        let mut header = Header {
            version: PROTOCOL_VERSION,
            chain: parent.chain,
            parent: parent_digest,
            height: parent.height.checked_add(1)?,
            time: rules::next_time(parent.time, now),
            beacon: rules::next_beacon(&parent.beacon, &parent_digest),
            proposer: to_account(&context.leader),
            state_root: Hash::ZERO,
            ops_root: Hash::ZERO,
            ops_start: 0,
            ops_end: 0,
            body_root: Hash::ZERO,
            event_root: Hash::ZERO,
        };
        let assembled = batch.view().read(|state| {
            let candidates = self.pool.take(MAX_BLOCK_BYTES, MAX_BLOCK_TXS, |id| state.holds(id));
            rules::assemble(state, rules::block_context(&header), candidates)
        });
        let Assembled { executed, event_root, body, rejected } = match assembled {
            Ok(assembled) => assembled,
            Err(error) => {
                let height = header.height;
                tracing::error!(height, %error, "the ledger does not let a block be built");
                return None;
            }
        };
        self.pool.rejected(rejected);
        let ids: Vec<TxId> = executed.receipts.iter().map(|receipt| receipt.tx).collect();
        header.body_root = body_root(&ids);
        header.event_root = event_root;
        let sealed = batch.seal(header.height, executed).await?;
        let roots = sealed.roots();
        header.state_root = roots.state;
        header.ops_root = roots.ops;
        header.ops_start = roots.ops_start;
        header.ops_end = roots.ops_end;
        self.pool.proposed(header.height, &ids);
        Some((Block { context, header, body: Arc::new(body) }, sealed))
    }
}

impl<E, S> Application<E> for App<S>
where
    E: Spawner + StorageContext + CryptoRng,
    S: ConsensusScheme,
{
    type SigningScheme = S;
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
        match check(block.inner(), on, batch).await {
            Ok(sealed) => sealed,
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

    async fn finalized(&mut self, _: (E, Ctx), _: &Block, finalized: FinalizedBlock, (): ()) {
        (self.on_finalized)(&finalized);
        let FinalizedBlock { digest, header, executed, .. } = finalized;
        let ids = executed.receipts.iter().map(|receipt| receipt.tx);
        self.pool.finalized(header.height, digest, header.time, executed.txs.iter().zip(ids));
    }
}
