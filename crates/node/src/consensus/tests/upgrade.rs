//! A chain that goes over to rules that this build does not know.

use super::{super::Consensus, alone, config, genesis, pay, pay_as, validator};
use crate::mempool::{PoolLimits, TxOutcome, TxPool};
use commonware_runtime::{
    Clock as _, Runner as _, Supervisor as _,
    deterministic::{Context, Runner},
};
use muster_ledger::{
    Action,
    genesis::{Balance, PROTOCOL},
    view,
    vote::{Choice, ParamChange},
};
use muster_types::{Amount, Envelope, Millis, ProposalId};
use std::{
    fmt::Debug,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::Field,
    span::{Attributes, Id, Record},
};

/// The errors that are logged.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<String>>);

impl Subscriber for Heard {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut |_: &Field, value: &dyn Debug| {
            self.0.lock().unwrap().push_str(&format!("{value:?} "));
        });
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn after_a_vote_for_a_protocol_that_it_does_not_know_a_node_makes_no_block_and_says_why() {
    let heard = Heard::default();
    let _guard = tracing::subscriber::set_default(heard.clone());
    Runner::seeded(23).start(async move |context: Context| {
        let (mut config, ..) = config(Path::new("unused: the simulator stores in memory"));
        let me = validator().account();
        let money = Balance { usd: Amount::from_units(10), mst: Amount::from_units(10) };
        config.genesis.balances.insert(me, money);
        config.genesis.stakes.insert(me, Amount::from_units(1_500));
        config.genesis.params.vote_period_ms = Millis(2_000);
        config.genesis.params.vote_delay_ms = Millis(1);
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
        let said = heard.0.lock().unwrap().clone();
        for word in ["protocol 2", "knows protocol 1", "install a release that knows 2"] {
            assert!(said.contains(word), "no `{word}` in: {said}");
        }
        assert_eq!(genesis().protocol, PROTOCOL);
    });
}
