//! Fetches the state's log of operations from peers, and serves it to them.
//!
//! The engine's resolver moves operations whose decoding needs no settings; those of the store's
//! log of values of any length have some. [`Line`] is such an operation with the store's settings
//! fixed. An answer is as long as a message may be, so it may have fewer operations than were asked
//! for; the rest is asked for again.

use super::store::{Ledger, LedgerConfig, Store, StoreOp};
use commonware_codec::{Buf, EncodeSize, Error as CodecError, Read, Write};
use commonware_cryptography::{Digest as DigestTrait, blake3::Digest, ed25519::PublicKey};
use commonware_glue::stateful::db::{
    Anchor, AttachableResolverSet, Shared, StateSyncSet, SyncEngineConfig, TipUpdate,
    p2p::{self, Mailbox},
};
use commonware_p2p::{Blocker, Provider, Receiver, Sender};
use commonware_runtime::{BufMut, Handle, Spawner};
use commonware_storage::{
    Context as StorageContext, mmr,
    qmdb::sync::{
        Error as SyncError, Feedback, Request, Response, ServeError, Source, Target, source,
    },
};
use commonware_utils::channel::{mpsc, oneshot, ring};
use rand_core::CryptoRng;
use std::{num::NonZeroU64, sync::Arc};

/// The most bytes of an answer: room for the largest operation, and for many small ones.
const ANSWER_BYTES: usize = 2 * 1024 * 1024;
/// The most bytes of a message: an answer, its number, tag and length.
pub(super) const MAX_MESSAGE_BYTES: usize = ANSWER_BYTES + 32;

/// An operation as it travels.
#[derive(Clone)]
pub(crate) struct Line(StoreOp);

impl Write for Line {
    fn write(&self, buf: &mut impl BufMut) {
        self.0.write(buf);
    }
}

impl EncodeSize for Line {
    fn encode_size(&self) -> usize {
        self.0.encode_size()
    }
}

impl Read for Line {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, CodecError> {
        StoreOp::read_cfg(buf, &((), ())).map(Self)
    }
}

type Answer<Op> = Response<mmr::Family, Op, Digest>;

/// Rewrites the operations of an answer.
fn rewrite<A, B>(answer: Answer<A>, each: impl Fn(A) -> B) -> Answer<B> {
    match answer {
        Response::Operations { proof, operations } => {
            Response::Operations { proof, operations: operations.into_iter().map(each).collect() }
        }
        Response::Boundary { proof, op, pinned_nodes } => {
            Response::Boundary { proof, op: each(op), pinned_nodes }
        }
    }
}

/// The store, as peers are served from it.
pub(crate) struct Served<E: StorageContext + Spawner>(Shared<Store<E>>);

impl<E: StorageContext + Spawner> Source for Served<E> {
    type Family = mmr::Family;
    type Digest = Digest;
    type Op = Line;
    type Error = ServeError<mmr::Family>;

    async fn serve(&self, mut request: Request<mmr::Family>) -> source::Result<Self> {
        loop {
            let (answer, _) = self.0.serve(request).await?;
            let answer = rewrite(answer, Line);
            if answer.encode_size() <= ANSWER_BYTES {
                return Ok((answer, None));
            }
            request = match request {
                Request::Operations { size, start, max_ops } if max_ops.get() > 1 => {
                    let max_ops = NonZeroU64::new(max_ops.get() / 2).unwrap_or(NonZeroU64::MIN);
                    Request::Operations { size, start, max_ops }
                }
                Request::Operations { .. } | Request::Boundary { .. } => {
                    return Err(ServeError::MissingSource);
                }
            };
        }
    }
}

/// Fetches from peers. Clones share everything.
pub(crate) struct Resolver<E: StorageContext + Spawner> {
    mailbox: Mailbox<Served<E>, mmr::Family, Line, Digest>,
    context: Arc<E>,
}

impl<E: StorageContext + Spawner> Clone for Resolver<E> {
    fn clone(&self) -> Self {
        Self { mailbox: self.mailbox.clone(), context: self.context.clone() }
    }
}

impl<E: StorageContext + Spawner + CryptoRng> Resolver<E> {
    /// Starts fetching and serving on a channel.
    pub(crate) fn start<P, B>(
        context: E,
        settings: p2p::Config<PublicKey, P, B, Served<E>>,
        channel: (impl Sender<PublicKey = PublicKey>, impl Receiver<PublicKey = PublicKey>),
    ) -> (Self, Handle<()>)
    where
        P: Provider<PublicKey = PublicKey>,
        B: Blocker<PublicKey = PublicKey>,
    {
        let (actor, mailbox) = p2p::Actor::<_, PublicKey, _, _, mmr::Family, Served<E>>::new(
            context.child("resolver"),
            settings,
        );
        (Self { mailbox, context: Arc::new(context) }, actor.start(channel))
    }
}

impl<E: StorageContext + Spawner> Source for Resolver<E> {
    type Family = mmr::Family;
    type Digest = Digest;
    type Op = StoreOp;
    type Error = p2p::ResponseDropped;

    async fn serve(&self, request: Request<mmr::Family>) -> source::Result<Self> {
        let (answer, feedback) = self.mailbox.serve(request).await?;
        let feedback = feedback.map(|feedback| {
            let (verdict, judged) = oneshot::channel();
            let (candidates, next) = mpsc::channel(1);
            let context = self.context.child("verdict");
            context.spawn(move |_| pass_on(feedback, judged, candidates));
            Feedback::new(verdict, next)
        });
        Ok((rewrite(answer, |Line(op)| op), feedback))
    }
}

/// Passes verdicts on, and the answers that come after a rejected one.
async fn pass_on(
    mut feedback: Feedback<Answer<Line>>,
    mut judged: oneshot::Receiver<bool>,
    candidates: mpsc::Sender<(Answer<StoreOp>, oneshot::Sender<bool>)>,
) {
    // Where nobody judges any more, dropping the feedback ends the request.
    while let Ok(valid) = judged.await {
        if valid {
            feedback.accept();
            return;
        }
        let Some((answer, next)) = feedback.reject().await else { return };
        let (verdict, later) = oneshot::channel();
        if candidates.send((rewrite(answer, |Line(op)| op), verdict)).await.is_err() {
            return;
        }
        (feedback, judged) = (next, later);
    }
}

impl<E: StorageContext + Spawner> AttachableResolverSet<Ledger<E>> for Resolver<E> {
    async fn attach_databases(&self, ledger: Ledger<E>) {
        let served = Served(ledger.store().clone());
        self.mailbox.attach_database(Shared::new("served state", served));
    }
}

impl<E: StorageContext + Spawner> StateSyncSet<E, Resolver<E>> for Ledger<E> {
    type Error = SyncError<mmr::Family, p2p::ResponseDropped, Digest>;

    async fn sync<D: DigestTrait>(
        context: E,
        config: LedgerConfig,
        resolver: Resolver<E>,
        anchor: Anchor<D>,
        target: Target<mmr::Family, Digest>,
        tip_updates: ring::Receiver<TipUpdate<D, Target<mmr::Family, Digest>>>,
        settings: SyncEngineConfig,
    ) -> Result<(Self, Anchor<D>), Self::Error> {
        let (store, anchor) = <Shared<Store<E>> as StateSyncSet<E, Resolver<E>>>::sync(
            context,
            config.store.clone(),
            resolver,
            anchor,
            target,
            tip_updates,
            settings,
        )
        .await?;
        Ok((Self::open(config, store).await, anchor))
    }
}

#[cfg(test)]
mod tests;
