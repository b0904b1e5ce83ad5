//! Nodes whose directory is gone.

use super::*;
use commonware_runtime::Spawner as _;

#[test]
fn a_validator_that_lost_its_directory_asks_on_until_enough_of_the_others_answer() {
    Runner::seeded(47).start(async move |context: Context| {
        let genesis = Genesis { epoch_blocks: 16, ..four() };
        let oracle = network(&context, VALIDATORS).await;
        let mut nodes = Vec::new();
        for index in 0..VALIDATORS - 1 {
            nodes.push(start_of(&context, &oracle, index, false, genesis.clone()).await);
        }
        reach(&nodes[0], 20).await;
        // It reaches one of them, and that may be the one that is not honest.
        let lost = VALIDATORS - 1;
        for other in 1..lost {
            oracle.remove_link(public(lost), public(other)).await.unwrap();
            oracle.remove_link(public(other), public(lost)).await.unwrap();
        }
        let (sender, mut started) = futures::channel::oneshot::channel();
        let net = oracle.clone();
        context.child("process").spawn(move |context| async move {
            let node = start_new(&context, &net, lost, (false, genesis, None)).await;
            assert!(sender.send(node).is_ok());
            // What it started would end with it.
            futures::future::pending::<()>().await;
        });
        // Longer than it asks before it makes do, where it may.
        context.sleep(Duration::from_secs(10)).await;
        assert!(started.try_recv().unwrap().is_none(), "it goes on without knowing the present");
        let epoch = nodes[0].node.head().height / 16;
        for other in 1..lost {
            oracle.add_link(public(lost), public(other), link()).await.unwrap();
            oracle.add_link(public(other), public(lost), link()).await.unwrap();
        }
        let node = started.await.unwrap();
        reach(&node, (epoch + 4) * 16).await;
        let mut votes = Vec::new();
        for height in epoch * 16..(epoch + 4) * 16 {
            let block = node.node.block(height).await.unwrap().unwrap();
            if block.header.proposer == key(lost).account() {
                votes.push(block.header.epoch);
            }
        }
        assert!(!votes.is_empty() && !votes.contains(&epoch), "in epoch {epoch}: {votes:?}");
    });
}

#[test]
fn a_node_without_a_vote_that_lost_its_directory_follows_whoever_answers() {
    Runner::seeded(53).start(async move |context: Context| {
        let oracle = network(&context, VALIDATORS + 1).await;
        let mut nodes = Vec::new();
        for index in 0..VALIDATORS {
            nodes.push(start(&context, &oracle, index).await);
        }
        for other in 1..VALIDATORS {
            oracle.remove_link(public(VALIDATORS), public(other)).await.unwrap();
            oracle.remove_link(public(other), public(VALIDATORS)).await.unwrap();
        }
        reach(&nodes[0], 5).await;
        nodes.push(start_new(&context, &oracle, VALIDATORS, (true, four(), None)).await);
        reach(&nodes[usize::from(VALIDATORS)], 20).await;
    });
}
