//! A network that may not be there: a node without peers opens no socket, sends to nobody and
//! receives nothing, and runs the same code.

use commonware_actor::{Feedback, Unreliable};
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{
    BlockedSubscription, Blocker, CheckedSender, LimitedSender, Manager, Message,
    PeerSetSubscription, PeerSetUpdate, Provider, Receiver, Recipients, TrackedPeers,
};
use commonware_runtime::IoBufs;
use commonware_utils::channel::{mpsc, ring};
use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

/// One end of a channel, where there is a network.
#[derive(Clone, Debug)]
pub(crate) struct Wire<T>(pub(crate) Option<T>);

/// A message to whoever is there.
pub(crate) struct Checked<C>(Option<C>);

impl<C: CheckedSender<PublicKey = PublicKey>> CheckedSender for Checked<C> {
    type PublicKey = PublicKey;

    fn recipients(&self) -> Vec<PublicKey> {
        self.0.as_ref().map_or_else(Vec::new, CheckedSender::recipients)
    }

    fn send(self, message: impl Into<IoBufs> + Send, priority: bool) -> Unreliable<Feedback> {
        match self.0 {
            Some(sender) => sender.send(message, priority),
            None => Unreliable::new(Feedback::Ok),
        }
    }
}

impl<T: LimitedSender<PublicKey = PublicKey>> LimitedSender for Wire<T> {
    type PublicKey = PublicKey;
    type Checked<'a> = Checked<T::Checked<'a>>;

    fn check(
        &mut self,
        recipients: Recipients<PublicKey>,
    ) -> Result<Checked<T::Checked<'_>>, SystemTime> {
        match &mut self.0 {
            Some(sender) => Ok(Checked(Some(sender.check(recipients)?))),
            None => Ok(Checked(None)),
        }
    }
}

impl<T: Receiver<PublicKey = PublicKey>> Receiver for Wire<T> {
    type Error = T::Error;
    type PublicKey = PublicKey;

    async fn recv(&mut self) -> Result<Message<PublicKey>, T::Error> {
        match &mut self.0 {
            Some(receiver) => receiver.recv().await,
            None => futures::future::pending().await,
        }
    }

    fn capacity(&self) -> NonZeroUsize {
        self.0.as_ref().map_or(NonZeroUsize::MIN, Receiver::capacity)
    }
}

/// Who is there: the network's word, or what was tracked where there is none.
#[derive(Clone, Debug)]
pub(crate) enum Peers<M> {
    Network(M),
    Alone(Arc<Mutex<Tracked>>),
}

/// What a node without a network tracks.
#[derive(Debug, Default)]
pub(crate) struct Tracked {
    latest: Option<(u64, TrackedPeers<PublicKey>)>,
    /// Senders of subscriptions: kept, because a subscription that ends means a stopped network.
    peers: Vec<mpsc::UnboundedSender<PeerSetUpdate<PublicKey>>>,
    blocked: Vec<ring::Sender<commonware_utils::ordered::Set<PublicKey>>>,
}

impl<M> Peers<M> {
    /// Of a node without a network.
    pub(crate) fn alone() -> Self {
        Self::Alone(Arc::default())
    }
}

fn lock(tracked: &Mutex<Tracked>) -> MutexGuard<'_, Tracked> {
    tracked.lock().unwrap_or_else(PoisonError::into_inner)
}

fn update((index, peers): &(u64, TrackedPeers<PublicKey>)) -> PeerSetUpdate<PublicKey> {
    PeerSetUpdate { index: *index, latest: peers.clone(), all: peers.clone() }
}

impl<M: Provider<PublicKey = PublicKey>> Provider for Peers<M> {
    type PublicKey = PublicKey;

    async fn peer_set(&mut self, id: u64) -> Option<TrackedPeers<PublicKey>> {
        match self {
            Self::Network(network) => network.peer_set(id).await,
            Self::Alone(tracked) => {
                let latest = lock(tracked).latest.clone();
                latest.filter(|(index, _)| *index == id).map(|(_, peers)| peers)
            }
        }
    }

    async fn subscribe(&mut self) -> PeerSetSubscription<PublicKey> {
        match self {
            Self::Network(network) => network.subscribe().await,
            Self::Alone(tracked) => {
                let (sender, receiver) = mpsc::unbounded_channel();
                let mut tracked = lock(tracked);
                if let Some(latest) = &tracked.latest {
                    // The receiver is in this function: it cannot be gone.
                    let _ = sender.send(update(latest));
                }
                tracked.peers.push(sender);
                receiver
            }
        }
    }
}

impl<M: Manager<PublicKey = PublicKey>> Manager for Peers<M> {
    fn track<R>(&mut self, id: u64, peers: R) -> Feedback
    where
        R: Into<TrackedPeers<PublicKey>> + Send,
    {
        match self {
            Self::Network(network) => network.track(id, peers),
            Self::Alone(tracked) => {
                let mut tracked = lock(tracked);
                let latest = (id, peers.into());
                tracked.peers.retain(|subscriber| subscriber.send(update(&latest)).is_ok());
                tracked.latest = Some(latest);
                Feedback::Ok
            }
        }
    }
}

impl<M: Blocker<PublicKey = PublicKey>> Blocker for Peers<M> {
    type PublicKey = PublicKey;

    fn block(&mut self, peer: PublicKey) -> Feedback {
        match self {
            Self::Network(network) => network.block(peer),
            Self::Alone(_) => Feedback::Ok,
        }
    }

    fn blocked(&mut self) -> BlockedSubscription<PublicKey> {
        match self {
            Self::Network(network) => network.blocked(),
            Self::Alone(tracked) => {
                let (sender, receiver) = ring::channel(NonZeroUsize::MIN);
                lock(tracked).blocked.push(sender);
                receiver
            }
        }
    }
}
