//! A process's ends of the network: nothing passes once it is dead, and of a byzantine one only
//! what it wants to pass.

use crate::life::Life;
use bytes::Bytes;
use commonware_actor::{Feedback, Unreliable};
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{CheckedSender, LimitedSender, Message, Receiver, Recipients};
use commonware_runtime::IoBufs;
use std::{collections::BTreeSet, fmt, num::NonZeroUsize, sync::Arc, time::SystemTime};

/// Who listens in on what a process sends.
pub(crate) type Tap = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// What passes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate {
    /// Nothing is sent.
    pub(crate) mute: bool,
    /// It talks only with these.
    pub(crate) only: Option<BTreeSet<PublicKey>>,
    /// What it does not want to have heard: messages that contain this.
    pub(crate) deaf_to: Option<Bytes>,
}

impl Gate {
    fn admits(&self, peer: &PublicKey) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(peer))
    }

    fn narrow(&self, recipients: Recipients<PublicKey>) -> Recipients<PublicKey> {
        let Some(only) = &self.only else { return recipients };
        match recipients {
            Recipients::All => Recipients::Some(only.iter().cloned().collect()),
            Recipients::Some(peers) => {
                Recipients::Some(peers.into_iter().filter(|peer| self.admits(peer)).collect())
            }
            Recipients::One(peer) if self.admits(&peer) => Recipients::One(peer),
            Recipients::One(_) => Recipients::Some(Vec::new()),
        }
    }

    fn hears(&self, (peer, message): &Message<PublicKey>) -> bool {
        let ignored = |what: &Bytes| message.as_ref().windows(what.len()).any(|part| part == what);
        self.admits(peer) && !self.deaf_to.as_ref().is_some_and(ignored)
    }
}

/// The sending end.
#[derive(Clone)]
pub(crate) struct Out<S> {
    pub(crate) inner: S,
    pub(crate) life: Arc<Life>,
    pub(crate) gate: Gate,
    pub(crate) tap: Option<Tap>,
}

/// A message that may pass.
pub(crate) struct Passing<C> {
    inner: Option<C>,
    tap: Option<Tap>,
}

impl<C: CheckedSender<PublicKey = PublicKey>> CheckedSender for Passing<C> {
    type PublicKey = PublicKey;

    fn recipients(&self) -> Vec<PublicKey> {
        self.inner.as_ref().map_or_else(Vec::new, CheckedSender::recipients)
    }

    fn send(self, message: impl Into<IoBufs> + Send, priority: bool) -> Unreliable<Feedback> {
        let mut message: IoBufs = message.into();
        if let Some(tap) = &self.tap {
            let whole = message.coalesce();
            tap(whole.as_ref());
            message = whole.into();
        }
        match self.inner {
            Some(inner) => inner.send(message, priority),
            None => Unreliable::new(Feedback::Ok),
        }
    }
}

impl<S: LimitedSender<PublicKey = PublicKey>> LimitedSender for Out<S> {
    type PublicKey = PublicKey;
    type Checked<'a> = Passing<S::Checked<'a>>;

    fn check(
        &mut self,
        recipients: Recipients<PublicKey>,
    ) -> Result<Passing<S::Checked<'_>>, SystemTime> {
        if self.life.is_dead() {
            return Ok(Passing { inner: None, tap: None });
        }
        let tap = self.tap.clone();
        if self.gate.mute {
            return Ok(Passing { inner: None, tap });
        }
        Ok(Passing { inner: Some(self.inner.check(self.gate.narrow(recipients))?), tap })
    }
}

/// The receiving end.
pub(crate) struct In<R> {
    pub(crate) inner: R,
    pub(crate) life: Arc<Life>,
    pub(crate) gate: Gate,
}

impl<R: fmt::Debug> fmt::Debug for In<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl<R: Receiver<PublicKey = PublicKey>> Receiver for In<R> {
    type Error = R::Error;
    type PublicKey = PublicKey;

    async fn recv(&mut self) -> Result<Message<PublicKey>, R::Error> {
        loop {
            let message = self.inner.recv().await?;
            self.life.alive().await;
            if self.gate.hears(&message) {
                return Ok(message);
            }
        }
    }

    fn capacity(&self) -> NonZeroUsize {
        self.inner.capacity()
    }
}
