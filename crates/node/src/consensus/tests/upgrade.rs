//! A chain that goes over to rules that this build does not know.

use super::{super::Consensus, alone, config, genesis, pay, pay_as, validator};
use crate::mempool::{PoolLimits, TxOutcome, TxPool};
use commonware_runtime::{
    Clock as _, Runner as _, Supervisor as _,
    deterministic::{Context, Runner},
};
use muster_ledger::{
    Action, BlockBuilder, BlockContext,
    genesis::{Balance, PROTOCOL},
    stake::Views,
    view,
    vote::{Choice, ParamChange},
};
use muster_types::{Amount, Envelope, Hash, Millis, ProposalId};
use std::{path::Path, time::Duration};

#[test]
fn after_a_vote_for_a_protocol_that_it_does_not_know_a_node_makes_no_block_and_says_why() {
    Runner::seeded(23).start(async move |context: Context| {
        let (mut config, ..) = config(Path::new("unused: the simulator stores in memory"));
        let me = validator().account();
        let money = Balance { usd: Amount::from_units(10), mst: Amount::from_units(10) };
        config.genesis.balances.insert(me, money);
        config.genesis.stakes.insert(me, Amount::from_units(1_500));
        config.genesis.params.vote_period_ms = Millis(2_000);
        config.genesis.params.vote_delay_ms = Millis(0);
        config.pool = TxPool::new(config.genesis.id(), PoolLimits::default());
        let pool = config.pool.clone();
        let (channels, network) = alone();
        let child = context.child("node");
        let node = Consensus::host(child, &config, "node", channels, network).await.unwrap();
        let sign = |nonce, action| {
            let tx = pay_as(&validator(), nonce, action).envelope;
            Envelope { chain: config.genesis.id(), ..tx }.sign(&validator())
        };
        let next = PROTOCOL + 1;
        let change = ParamChange { name: "protocol".into(), value: next.into() };
        let propose = Action::Propose { title: "upgrade".into(), changes: vec![change] };
        let proposed = sign(0, propose);
        let vote =
            Action::Vote { proposal: ProposalId::derive(&proposed.id()), choice: Choice::Yes };
        for tx in [proposed, sign(1, vote)] {
            let outcome = pool.submit(tx).unwrap().outcome.await.unwrap();
            assert!(matches!(outcome, TxOutcome::Final { .. }), "{outcome:?}");
        }
        let voted = || node.read(|state, _| view::params(state).protocol) == next;
        let mut heads = node.heads();
        while !voted() {
            heads.changed().await.unwrap();
        }
        // It goes on answering, and stands still.
        let head = node.head();
        let waiting = pool.submit(pay(0, 1));
        context.sleep(Duration::from_secs(30)).await;
        assert_eq!(node.head(), head);
        drop(waiting);
        let said = node.read(|state, head| {
            let context = BlockContext {
                height: head.height + 1,
                now: head.time.after(Millis(1)),
                beacon: Hash::ZERO,
                beacon_round: 0,
                beacon_key: None,
                proposer: me,
                views: Views::default(),
            };
            BlockBuilder::new(state, context).err().unwrap().to_string()
        });
        for word in ["protocol 2", "knows protocol 1", "install a release that knows 2"] {
            assert!(said.contains(word), "no `{word}` in: {said}");
        }
        assert_eq!(genesis().protocol, PROTOCOL);
    });
}
