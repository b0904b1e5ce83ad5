//! What floods a running network.

use super::{super::stranger, *};
use crate::mempool::PoolReject;
use muster_ledger::{Reject, Tx};

fn from(who: &SecretKey, nonce: u64, action: Action) -> Tx {
    let tx = pay_as(who, nonce, action).envelope;
    Envelope { chain: four().id(), max_fee: Amount::MAX, ..tx }.sign(who)
}

#[test]
fn keys_without_money_keep_nobody_from_paying_and_hurry_no_block() {
    Runner::seeded(59).start(async move |context: Context| {
        let oracle = network(&context, VALIDATORS + 1).await;
        let mut nodes = Vec::new();
        for index in 0..=VALIDATORS {
            nodes.push(start(&context, &oracle, index).await);
        }
        let follower = &nodes[usize::from(VALIDATORS)];
        reach(follower, 2).await;
        let (mut taken, mut refused) = (0, 0);
        for number in 0..4_000_u32 {
            let mut seed = [7; 32];
            seed[..4].copy_from_slice(&number.to_le_bytes());
            let who = SecretKey::from_seed(seed);
            let through = [&nodes[0], follower][usize::from(number % 2 == 0)];
            match through.node.pool().submit(from(&who, 0, transfer(1))) {
                Ok(_) => taken += 1,
                Err(PoolReject::Refused(Reject::NoAccount)) => refused += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert!(taken >= 2_048, "{taken}");
        let before = follower.node.head();
        pay_through(follower, 0).await;
        pay_through(&nodes[0], 1).await;
        let after = follower.node.head();
        assert!(after.height - before.height <= 8, "{before:?} {after:?}");
        // Nobody keeps what nobody will ever take, whoever makes the blocks.
        let mut heads = follower.node.heads();
        while nodes.iter().any(|node| !node.node.pool().is_empty()) {
            heads.changed().await.unwrap();
            assert!(heads.borrow().height < after.height + 200, "{refused} were refused at once");
        }
        for node in &nodes {
            reach(node, after.height).await;
            assert_eq!(paid(node), Amount::from_nanos(2));
        }
    });
}

#[test]
fn a_refusal_is_heard_through_a_node_that_makes_no_blocks() {
    Runner::seeded(61).start(async move |context: Context| {
        let oracle = network(&context, VALIDATORS + 1).await;
        let mut nodes = Vec::new();
        for index in 0..=VALIDATORS {
            nodes.push(start(&context, &oracle, index).await);
        }
        let follower = &nodes[usize::from(VALIDATORS)];
        // One that its envelope gives away, and one that only trying does.
        let too_much = transfer(u128::MAX / 2);
        for tx in [from(&stranger(), 0, transfer(1)), from(&payer(), 0, too_much)] {
            let outcome = follower.node.pool().submit(tx).unwrap().outcome.await.unwrap();
            let TxOutcome::Rejected(reject) = outcome else { panic!("{outcome:?}") };
            assert!(["no_account", "insufficient_funds"].contains(&reject.code()), "{reject}");
        }
        pay_through(follower, 0).await;
        let again = pay_as(&payer(), 0, transfer(1)).envelope;
        let again = Envelope { chain: four().id(), ..again }.sign(&payer());
        let refused = follower.node.pool().submit(again).unwrap_err();
        assert!(matches!(refused, PoolReject::Refused(Reject::BadNonce { .. })), "{refused}");
    });
}
