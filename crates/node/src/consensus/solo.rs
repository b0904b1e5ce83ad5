//! The network of a single validator: nobody to send to, nothing to receive, no socket.

use commonware_actor::{Feedback, Unreliable};
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{
    BlockedSubscription, Blocker, CheckedSender, LimitedSender, Message, PeerSetSubscription,
    PeerSetUpdate, Provider, Receiver, Recipients, TrackedPeers,
};
use commonware_runtime::IoBufs;
use commonware_utils::{
    channel::{mpsc, ring},
    ordered::Set,
};
use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

/// Every end of the network at once.
#[derive(Clone, Debug)]
pub(crate) struct Solo {
    validators: Set<PublicKey>,
    /// Senders of subscriptions: kept, because a subscription that ends means a stopped network.
    open: Arc<Mutex<Subscriptions>>,
}

#[derive(Debug, Default)]
struct Subscriptions {
    peers: Vec<mpsc::UnboundedSender<PeerSetUpdate<PublicKey>>>,
    blocked: Vec<ring::Sender<Set<PublicKey>>>,
}

/// Why receiving failed: never.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Never {}

/// A message to nobody.
pub(crate) struct ToNobody;

impl Solo {
    /// The network of `validators`, of which only one may exist.
    pub(crate) fn new(validators: Set<PublicKey>) -> Self {
        Self { validators, open: Arc::default() }
    }
}

impl CheckedSender for ToNobody {
    type PublicKey = PublicKey;

    fn recipients(&self) -> Vec<PublicKey> {
        Vec::new()
    }

    fn send(self, _: impl Into<IoBufs> + Send, _: bool) -> Unreliable<Feedback> {
        Unreliable::new(Feedback::Ok)
    }
}

impl LimitedSender for Solo {
    type PublicKey = PublicKey;
    type Checked<'a> = ToNobody;

    fn check(&mut self, _: Recipients<PublicKey>) -> Result<ToNobody, SystemTime> {
        Ok(ToNobody)
    }
}

impl Receiver for Solo {
    type Error = Never;
    type PublicKey = PublicKey;

    async fn recv(&mut self) -> Result<Message<PublicKey>, Never> {
        futures::future::pending().await
    }

    fn capacity(&self) -> NonZeroUsize {
        NonZeroUsize::MIN
    }
}

impl Provider for Solo {
    type PublicKey = PublicKey;

    async fn peer_set(&mut self, _: u64) -> Option<TrackedPeers<PublicKey>> {
        Some(TrackedPeers::primary(self.validators.clone()))
    }

    async fn subscribe(&mut self) -> PeerSetSubscription<PublicKey> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let latest = TrackedPeers::primary(self.validators.clone());
        let all = latest.clone();
        // The receiver is in this function: it cannot be gone.
        let _ = sender.send(PeerSetUpdate { index: 0, latest, all });
        self.open.lock().unwrap_or_else(PoisonError::into_inner).peers.push(sender);
        receiver
    }
}

impl Blocker for Solo {
    type PublicKey = PublicKey;

    fn block(&mut self, _: PublicKey) -> Feedback {
        Feedback::Ok
    }

    fn blocked(&mut self) -> BlockedSubscription<PublicKey> {
        let (sender, receiver) = ring::channel(NonZeroUsize::MIN);
        self.open.lock().unwrap_or_else(PoisonError::into_inner).blocked.push(sender);
        receiver
    }
}
