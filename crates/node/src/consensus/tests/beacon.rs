//! The beacon among four validators over the simulated network.

use super::{
    super::Head,
    network::{Told, VALIDATORS, Validator, assert_agree, four, network, reach, start_of},
};
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::simulated::Oracle;
use commonware_runtime::{Handle, Runner as _, Spawner as _, Supervisor as _, deterministic::*};
use futures::channel::oneshot;
use muster_ledger::Genesis;

/// Epochs in which a key is soon made, and signs for a while.
fn genesis() -> Genesis {
    Genesis { epoch_blocks: 32, ..four() }
}

/// A validator that can be killed.
struct Killable {
    node: Validator,
    handle: Handle<()>,
}

async fn start(context: &Context, oracle: &Oracle<PublicKey, Context>, index: u8) -> Killable {
    let (sender, started) = oneshot::channel();
    let oracle = oracle.clone();
    let handle =
        context.child("process").with_attribute("index", index).spawn(move |context| async move {
            let node = start_of(&context, &oracle, index, false, genesis()).await;
            assert!(sender.send(node).is_ok());
            futures::future::pending::<()>().await;
        });
    Killable { node: started.await.unwrap(), handle }
}

impl Killable {
    fn kill(self) {
        self.handle.abort();
    }
}

async fn all(context: &Context, oracle: &Oracle<PublicKey, Context>) -> Vec<Killable> {
    let mut nodes = Vec::new();
    for index in 0..VALIDATORS {
        nodes.push(start(context, oracle, index).await);
    }
    nodes
}

/// Waits until a head is as wanted.
async fn until(node: &Validator, wanted: impl Fn(&Head) -> bool) -> Head {
    *node.node.heads().wait_for(|head| wanted(head)).await.unwrap()
}

/// Rounds are consecutive; a new one has another value, the same one the same.
fn assert_rounds(told: &Told) {
    let told = told.lock().unwrap();
    for (one, next) in told.values().zip(told.values().skip(1)) {
        let new = next.beacon_round - one.beacon_round;
        assert!(new <= 1, "{one:?} {next:?}");
        assert_eq!(new == 1, one.beacon != next.beacon, "{one:?} {next:?}");
    }
}

#[test]
fn four_validators_share_a_key_for_every_epoch_and_agree_on_every_round() {
    Runner::seeded(31).start(async move |context: Context| {
        let oracle = network(&context, VALIDATORS).await;
        let nodes: Vec<Validator> =
            all(&context, &oracle).await.into_iter().map(|killable| killable.node).collect();
        // First whoever proposes is trusted.
        let first = until(&nodes[0], |head| head.height > 0).await;
        assert_eq!((first.beacon_key, first.beacon_round), (None, first.height));
        let shared = until(&nodes[0], |head| head.beacon_key == Some(0)).await;
        assert!(shared.height >= 24, "{shared:?}");
        let next = until(&nodes[0], |head| head.beacon_key == Some(1)).await;
        assert!(next.height >= 32 + 24 && next.beacon_round > shared.beacon_round + 8, "{next:?}");
        let last = until(&nodes[0], |head| head.beacon_round > next.beacon_round + 4).await;
        for node in &nodes {
            reach(node, last.height).await;
        }
        assert_agree(&nodes, last.height);
        assert_rounds(&nodes[0].told);
        let block = nodes[1].node.block(last.height).await.unwrap().unwrap();
        assert_eq!(block.header.beacon_round, last.beacon_round);
        assert_eq!(block.header.beacon_epoch(), Some(1));
    });
}

#[test]
fn the_beacon_goes_on_without_one_validator_and_one_that_restarts_signs_again() {
    Runner::seeded(37).start(async move |context: Context| {
        let oracle = network(&context, VALIDATORS).await;
        let mut nodes = all(&context, &oracle).await;
        let shared = until(&nodes[1].node, |head| head.beacon_key == Some(0)).await;
        nodes.remove(3).kill();
        let without =
            until(&nodes[1].node, |head| head.beacon_round > shared.beacon_round + 3).await;
        assert_eq!(without.beacon_key, Some(0));
        // It is back: now another may be away.
        nodes.push(start(&context, &oracle, 3).await);
        reach(&nodes[3].node, without.height + 1).await;
        until(&nodes[3].node, |head| head.height > without.height + 4).await;
        let before = nodes[1].node.node.head();
        nodes.remove(0).kill();
        let after = until(&nodes[1].node, |head| head.beacon_round > before.beacon_round + 3).await;
        assert_eq!(after.beacon_key, Some(0), "by the same key");
        reach(&nodes[2].node, after.height).await;
        assert_rounds(&nodes[1].node.told);
    });
}
