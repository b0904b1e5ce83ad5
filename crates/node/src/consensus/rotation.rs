//! One engine an epoch: when the last block of an epoch is final, the next epoch's validators
//! agree on what follows, with an engine and a journal of their own.
//!
//! ```text
//! block last(e) is final ──> peers: validators of e + 1, and those of the settings
//!                        ──> engine of e + 1 on that block
//!                        ──> engine of e ends; the journal of e - 1 is deleted
//! ```
//!
//! A node that begins with an empty directory on a chain that has blocks does not vote before the
//! next epoch: if its directory was lost, it does not know what it voted for, and votes that
//! contradict those of before would be slashed. Votes name their epoch, so that those of the next
//! contradict none. It also misses its turns until then, and may be jailed for them: it was of no
//! use to the others, that costs no stake, and who is jailed comes back by `ValidatorUnjail`. To
//! vote earlier it would have to know a view that it had not reached before; of that only more
//! than its peers' word would be proof. A key that has never voted anywhere has nothing to
//! contradict: with it a node votes at once ([`super::Config::unused_key`]).
//!
//! Peers are the validators, those of the settings, and, as far as there is room, whoever has stake
//! and no vote: it may follow, so as to be ready when it gets one. The network lets in nobody whom
//! it was not told of by key, so there is no following without either.
//!
//! A node that is behind gets votes of an epoch that it has not entered. It cannot check them; it
//! only asks whoever sent them for the last block of its own epoch, whose certificate it can.

use super::{
    block::Ctx,
    committee::{Committee, Committees, Epochs},
    hot::HotState,
    p2p::MAX_OTHERS,
    settings::{self, EngineSettings},
};
use commonware_consensus::{
    CertifiableAutomaton, Relay, Reporter,
    marshal::{core::Mailbox as MarshalMailbox, standard::Standard},
    simplex::{self, Floor, Plan, scheme::ed25519::Scheme, types::Activity},
    types::{Epoch, Height},
};
use commonware_cryptography::{blake3::Digest, ed25519::PublicKey};
use commonware_p2p::{
    Blocker, Channel, Manager, Message, Receiver, Sender, TrackedPeers,
    utils::mux::{Builder as _, MuxHandle, Muxer},
};
use commonware_runtime::{Handle, Spawner};
use commonware_storage::Context as StorageContext;
use commonware_utils::{channel::mpsc as engine_mpsc, ordered::Set, vec::NonEmptyVec};
use futures::future::{Either, select};
use muster_ledger::view;
use muster_types::AccountId;
use rand_core::CryptoRng;
use std::{pin::pin, sync::Arc};
use tokio::sync::mpsc::UnboundedReceiver;

/// An epoch begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Boundary {
    /// Which.
    pub(crate) epoch: u64,
    /// The block that it builds on.
    pub(crate) root: Digest,
    /// Who votes in it.
    pub(crate) validators: Vec<AccountId>,
}

/// Where a starting node enters.
pub(crate) struct Entry {
    pub(crate) epoch: u64,
    pub(crate) floor: Floor<Scheme, Digest>,
    pub(crate) validators: Vec<AccountId>,
}

impl From<Boundary> for Entry {
    fn from(boundary: Boundary) -> Self {
        let Boundary { epoch, root, validators } = boundary;
        Self { epoch, floor: Floor::Genesis(root), validators }
    }
}

/// What the engines of all epochs share.
pub(crate) struct Rotation<E, M, B, A, R> {
    pub(crate) context: E,
    pub(crate) epochs: Epochs,
    pub(crate) committees: Committees,
    pub(crate) peers: M,
    /// Peers of the settings.
    pub(crate) others: Set<PublicKey>,
    /// Where to see who has stake.
    pub(crate) hot: Arc<HotState>,
    pub(crate) blocker: B,
    pub(crate) automaton: A,
    pub(crate) reporter: R,
    pub(crate) marshal: MarshalMailbox<Scheme, Standard<super::block::Block>>,
    pub(crate) engine: EngineSettings,
    /// The validators of epochs up to this one are tracked as peers already.
    pub(crate) tracked: Option<u64>,
    /// It does not vote in epochs up to this one.
    pub(crate) silent: Option<u64>,
}

/// Channels with a part for each epoch.
struct Channels<Tx: Sender<PublicKey = PublicKey>> {
    votes: MuxHandle<Tx>,
    certificates: MuxHandle<Tx>,
    fetches: MuxHandle<Tx>,
    /// Votes and certificates of epochs that were not entered.
    elsewhere: [engine_mpsc::Receiver<(Channel, Message<PublicKey>)>; 2],
}

/// The engine of an epoch.
struct Active {
    epoch: u64,
    engine: Handle<()>,
}

impl Drop for Active {
    fn drop(&mut self) {
        self.engine.abort();
    }
}

/// What happened first.
enum Happened {
    Ended(Boundary),
    Ahead {
        epoch: u64,
        peer: PublicKey,
    },
    /// The engine or the network ended, which they must not.
    Stopped,
}

impl<E, M, B, A, R> Rotation<E, M, B, A, R>
where
    E: Spawner + StorageContext + CryptoRng,
    M: Manager<PublicKey = PublicKey>,
    B: Blocker<PublicKey = PublicKey>,
    A: CertifiableAutomaton<Context = Ctx, Digest = Digest>
        + Relay<Digest = Digest, PublicKey = PublicKey, Plan = Plan<PublicKey>>,
    R: Reporter<Activity = Activity<Scheme, Digest>>,
{
    /// Enters the epoch of `entry`, and every later one when `boundaries` tells of it. The handle
    /// resolves only where something ended that must not.
    pub(crate) fn start<Tx, Rx>(
        self,
        entry: Entry,
        boundaries: UnboundedReceiver<Boundary>,
        channels: [(Tx, Rx); 3],
    ) -> Handle<()>
    where
        Tx: Sender<PublicKey = PublicKey>,
        Rx: Receiver<PublicKey = PublicKey>,
    {
        let context = self.context.child("rotation");
        context.spawn(move |_| self.run(entry, boundaries, channels))
    }

    async fn run<Tx, Rx>(
        mut self,
        entry: Entry,
        mut boundaries: UnboundedReceiver<Boundary>,
        [votes, certificates, fetches]: [(Tx, Rx); 3],
    ) where
        Tx: Sender<PublicKey = PublicKey>,
        Rx: Receiver<PublicKey = PublicKey>,
    {
        let (muxer, votes, late_votes) =
            Muxer::builder(self.context.child("votes"), votes.0, votes.1).with_backup().build();
        muxer.start();
        let certificates = (self.context.child("certificates"), certificates);
        let (muxer, certificates, late_certificates) =
            Muxer::builder(certificates.0, certificates.1.0, certificates.1.1)
                .with_backup()
                .build();
        muxer.start();
        let (muxer, fetches) = Muxer::new(self.context.child("fetches"), fetches.0, fetches.1);
        muxer.start();
        let elsewhere = [late_votes, late_certificates];
        let mut channels = Channels { votes, certificates, fetches, elsewhere };

        let Some(mut active) = self.enter(entry, &mut channels).await else { return };
        loop {
            match next(&mut active, &mut boundaries, &mut channels.elsewhere).await {
                Happened::Ended(boundary) if boundary.epoch > active.epoch => {
                    // The old engine ends when the new one is there.
                    let Some(entered) = self.enter(boundary.into(), &mut channels).await else {
                        return;
                    };
                    active = entered;
                }
                Happened::Ended(_) => {}
                Happened::Ahead { epoch, peer } if epoch > active.epoch => {
                    let last = Height::new(self.epochs.root(active.epoch.saturating_add(1)));
                    self.marshal.hint_finalized(last, NonEmptyVec::new(peer));
                }
                Happened::Ahead { .. } => {}
                Happened::Stopped => return,
            }
        }
    }

    /// Peers that are no validators: those of the settings, then those with the most stake.
    fn others_beside(&self, members: &Set<PublicKey>) -> Set<PublicKey> {
        let room = MAX_OTHERS.saturating_sub(self.others.len());
        let standby: Vec<PublicKey> = self.hot.read(|state, _| {
            view::validators_by_weight(state)
                .filter_map(|id| PublicKey::try_from(*id.as_bytes()).ok())
                .filter(|key| {
                    members.position(key).is_none() && self.others.position(key).is_none()
                })
                .take(room)
                .collect()
        });
        Set::from_iter_dedup(self.others.iter().cloned().chain(standby))
    }

    /// Starts the engine of an epoch. `None` where the network has ended.
    ///
    /// # Panics
    /// If the validators are not distinct keys, which the ledger rules out.
    async fn enter<Tx>(&mut self, entry: Entry, channels: &mut Channels<Tx>) -> Option<Active>
    where
        Tx: Sender<PublicKey = PublicKey>,
    {
        let Entry { epoch, floor, validators } = entry;
        let Committee { scheme, members } = self
            .committees
            .register(epoch, &validators, self.silent.is_none_or(|silent| epoch > silent))
            .expect("invariant: the ledger's validators are distinct keys");
        let votes = members.len();
        if self.tracked.is_none_or(|tracked| epoch > tracked) {
            let others = self.others_beside(&members);
            self.peers.track(epoch, TrackedPeers::new(members, others));
        }
        let parts = (
            self.blocker.clone(),
            self.automaton.clone(),
            self.automaton.clone(),
            self.reporter.clone(),
        );
        let engine = simplex::Engine::new(
            self.context.child("engine").with_attribute("epoch", epoch),
            settings::simplex(
                &self.engine,
                scheme.as_ref().clone(),
                Epoch::new(epoch),
                floor,
                parts,
            ),
        );
        let votes_channel = channels.votes.register(epoch).await.ok()?;
        let certificates = channels.certificates.register(epoch).await.ok()?;
        let fetches = channels.fetches.register(epoch).await.ok()?;
        let engine = engine.start(votes_channel, certificates, fetches);
        if let Some(old) = epoch.checked_sub(2) {
            // It is of no more use; where it is not there, there is nothing to delete.
            let _ = self.context.remove(&self.engine.partition(old), None).await;
        }
        tracing::info!(epoch, votes, "entered an epoch");
        Some(Active { epoch, engine })
    }
}

async fn next(
    active: &mut Active,
    boundaries: &mut UnboundedReceiver<Boundary>,
    [votes, certificates]: &mut [engine_mpsc::Receiver<(Channel, Message<PublicKey>)>; 2],
) -> Happened {
    let ended = pin!(boundaries.recv());
    let stopped = pin!(&mut active.engine);
    let (votes, certificates) = (pin!(votes.recv()), pin!(certificates.recv()));
    match select(select(ended, stopped), select(votes, certificates)).await {
        Either::Left((Either::Left((Some(boundary), _)), _)) => Happened::Ended(boundary),
        Either::Left(_) => Happened::Stopped,
        Either::Right((ahead, _)) => match ahead.factor_first().0 {
            Some((epoch, (peer, _))) => Happened::Ahead { epoch, peer },
            None => Happened::Stopped,
        },
    }
}
