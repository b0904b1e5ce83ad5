//! Who reaches whom.

use super::validator;
use crate::plan::{Links, Plan};
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::simulated::{Config, Control, Link, Manager, Network, Oracle};
use commonware_p2p::simulated::{Receiver, Sender};
use commonware_runtime::{Quota, Supervisor as _, deterministic::Context};
use commonware_utils::{NZU32, NZUsize, Probability};
use muster_node::consensus::{CHANNELS, max_message_bytes};
use std::{cell::RefCell, collections::BTreeMap, time::Duration};

/// Ends of the network, one for each channel.
pub(super) type Ends = Vec<(Sender<PublicKey, Context>, Receiver<PublicKey>)>;

/// The network between the validators.
pub(super) struct Net {
    oracle: Oracle<PublicKey, Context>,
    validators: u8,
    links: RefCell<Links>,
    /// How many reasons there are why one does not reach another.
    cuts: RefCell<BTreeMap<(u8, u8), u32>>,
}

/// A validator's key as the engine's.
pub(super) fn public(node: u8) -> PublicKey {
    let account = validator(node).account();
    PublicKey::try_from(*account.as_bytes()).expect("a validator's account is a key")
}

impl Net {
    /// Nobody reaches anybody yet.
    pub(super) fn new(context: &Context, plan: &Plan) -> Self {
        let settings = Config {
            max_size: max_message_bytes(),
            max_peers_per_set: NZUsize!(32),
            disconnect_on_block: true,
            tracked_peer_sets: NZUsize!(2),
        };
        let (network, oracle) = Network::new(context.child("network"), settings);
        network.start();
        Self {
            oracle,
            validators: plan.validators,
            links: RefCell::new(plan.links),
            cuts: RefCell::default(),
        }
    }

    /// From now on all reach each other.
    pub(super) async fn open(&self) {
        for (from, to) in self.pairs() {
            self.link(from, to).await;
        }
    }

    fn pairs(&self) -> Vec<(u8, u8)> {
        let from = 0..self.validators;
        from.flat_map(|from| (0..self.validators).map(move |to| (from, to)))
            .filter(|(from, to)| from != to)
            .collect()
    }

    async fn link(&self, from: u8, to: u8) {
        let Links { latency_ms, jitter_ms, loss_permille } = *self.links.borrow();
        let link = Link {
            latency: Duration::from_millis(latency_ms),
            jitter: Duration::from_millis(jitter_ms),
            success_rate: Probability::new(1_000_u64.saturating_sub(loss_permille), 1_000)
                .expect("it is a part of a thousand"),
        };
        // One that is there already is as it should be.
        let _ = self.oracle.add_link(public(from), public(to), link).await;
    }

    async fn unlink(&self, from: u8, to: u8) {
        // One that is not there was cut by somebody who blocks.
        let _ = self.oracle.remove_link(public(from), public(to)).await;
    }

    async fn cut(&self, from: u8, to: u8) {
        let first = {
            let mut cuts = self.cuts.borrow_mut();
            let reasons = cuts.entry((from, to)).or_default();
            *reasons = reasons.saturating_add(1);
            *reasons == 1
        };
        if first {
            self.unlink(from, to).await;
        }
    }

    async fn mend(&self, from: u8, to: u8) {
        let last = {
            let mut cuts = self.cuts.borrow_mut();
            let reasons = cuts.entry((from, to)).or_default();
            *reasons = reasons.saturating_sub(1);
            *reasons == 0
        };
        if last {
            self.link(from, to).await;
        }
    }

    /// The pairs that a partition divides.
    fn across(&self, side: &[u8], one_way: bool) -> Vec<(u8, u8)> {
        let divides = |(from, to): &(u8, u8)| {
            let (from, to) = (side.contains(from), side.contains(to));
            from && !to || !one_way && !from && to
        };
        self.pairs().into_iter().filter(divides).collect()
    }

    /// Divides the network.
    pub(super) async fn part(&self, side: &[u8], one_way: bool) {
        for (from, to) in self.across(side, one_way) {
            self.cut(from, to).await;
        }
    }

    /// Undoes [`Net::part`].
    pub(super) async fn join(&self, side: &[u8], one_way: bool) {
        for (from, to) in self.across(side, one_way) {
            self.mend(from, to).await;
        }
    }

    /// From now on nothing is lost.
    pub(super) async fn heal(&self) {
        self.links.borrow_mut().loss_permille = 0;
        for (from, to) in self.pairs() {
            if self.cuts.borrow().get(&(from, to)).is_none_or(|reasons| *reasons == 0) {
                self.unlink(from, to).await;
                self.link(from, to).await;
            }
        }
    }

    /// Every channel's ends for a validator; those that it had are of no more use.
    pub(super) async fn ends(&self, node: u8) -> Ends {
        let control = self.oracle.control(public(node));
        let quota = Quota::per_second(NZU32!(10_000));
        let mut ends = Vec::with_capacity(CHANNELS);
        for channel in (0_u64..).take(CHANNELS) {
            let end = control.register(channel, quota).await;
            ends.push(end.expect("the network is there as long as the simulation"));
        }
        ends
    }

    /// What a validator directs the network with.
    pub(super) fn of(
        &self,
        node: u8,
    ) -> (Manager<PublicKey, Context>, Control<PublicKey, Context>) {
        (self.oracle.manager(), self.oracle.control(public(node)))
    }

    /// Who has cut off whom.
    pub(super) async fn blocked(&self) -> Vec<(u8, u8)> {
        let blocked = self.oracle.blocked().await.unwrap_or_default();
        let number = |key: &PublicKey| (0..self.validators).find(|node| public(*node) == *key);
        blocked.iter().filter_map(|(by, whom)| Some((number(by)?, number(whom)?))).collect()
    }
}
