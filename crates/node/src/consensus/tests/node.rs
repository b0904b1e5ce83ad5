use super::{
    super::{Consensus, NodeError, OnBlock, digest_of, rules::MAX_STEP},
    FUNDS, alone, config, genesis, paid, pay, pay_as, payer, stranger, transfer, usd, validator,
};
use crate::mempool::{PoolLimits, TxOutcome, TxPool};
use commonware_runtime::{
    Clock as _, Runner as _, Supervisor as _,
    deterministic::{self, Checkpoint},
};
use muster_ledger::{State, keys};
use muster_types::{Amount, Hash, Millis, SecretKey};
use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tempfile::TempDir;

fn nanos(nanos: u128) -> Amount {
    Amount::from_nanos(nanos)
}

#[tokio::test]
async fn submitted_transactions_become_final_and_change_the_state() {
    let dir = TempDir::new().unwrap();
    let (config, pool, mut blocks) = config(dir.path());
    let node = Consensus::start(config).await.unwrap();
    assert_eq!(node.read(|state, _| usd(state, payer().account())), FUNDS);

    let submitted: Vec<_> = (0..20).map(|nonce| pool.submit(pay(nonce, 5)).unwrap()).collect();
    for (tx, submission) in (0..20).map(|nonce| pay(nonce, 5)).zip(submitted) {
        let outcome = submission.outcome.await.unwrap();
        let TxOutcome::Final { height, block, index } = outcome else { panic!("{outcome:?}") };
        let stored = node.block(height).await.unwrap().unwrap();
        assert_eq!((stored.digest, &stored.txs[index]), (block, &tx));
    }
    assert!(pool.is_empty());
    assert_eq!(node.read(|state, _| paid(state)), nanos(100));

    let mut told = 0;
    for height in 1.. {
        let block = blocks.recv().await.unwrap();
        assert_eq!(block.header.height, height, "every block is told once, in order");
        told += block.executed.txs.len();
        assert_eq!(block.executed.receipts.len(), block.executed.txs.len());
        if told == 20 {
            break;
        }
    }
    node.stop().await.unwrap();
}

#[tokio::test]
async fn an_idle_validator_makes_heartbeat_blocks_that_chain() {
    let dir = TempDir::new().unwrap();
    let (mut config, _, mut blocks) = config(dir.path());
    let heartbeat = config.pace.heartbeat;
    // Two halts behind the clock: the chain's time catches up first, a step a block.
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    config.genesis.time = Millis(u64::try_from(clock).unwrap() - 2 * MAX_STEP.0 - 1);
    config.pool = TxPool::new(config.genesis.id(), PoolLimits::default());
    let time = config.genesis.time;
    let node = Consensus::start(config).await.unwrap();
    let mut times = Vec::new();
    for _ in 0..3 {
        times.push(blocks.recv().await.unwrap().header.time);
    }
    assert_eq!(times[..2], [time.after(MAX_STEP), time.after(MAX_STEP).after(MAX_STEP)]);
    let (first, second) = (blocks.recv().await.unwrap(), blocks.recv().await.unwrap());
    let gap = second.header.time.since(first.header.time);
    assert!(u128::from(gap.0) >= heartbeat.as_millis(), "idle blocks are paced: {gap}");
    assert_eq!(second.header.parent, first.digest);
    assert!(second.header.time > first.header.time);
    assert_eq!(second.header.proposer, validator().account());

    let height = first.header.height;
    let stored = node.block(height).await.unwrap().unwrap();
    assert_eq!((stored.digest, &stored.header), (first.digest, &first.header));
    assert_eq!(digest_of(&stored.preimage), stored.digest);
    assert_eq!(stored.preimage, first.preimage);
    assert!(node.certificate(height).await.is_some());
    assert_eq!(node.certificate(0).await, None);
    assert_eq!(node.block(0).await.unwrap().unwrap().header.height, 0);
    assert_eq!(node.block(u64::MAX).await.unwrap(), None);
    node.stop().await.unwrap();
}

#[tokio::test]
async fn a_rejected_transaction_is_reported_and_costs_nothing() {
    let dir = TempDir::new().unwrap();
    let (config, pool, _blocks) = config(dir.path());
    let node = Consensus::start(config).await.unwrap();
    let poor = pay_as(&stranger(), 0, transfer(1));
    let rejected = pool.submit(poor).unwrap();
    let good = pool.submit(pay(0, 7)).unwrap();
    assert!(matches!(rejected.outcome.await.unwrap(), TxOutcome::Rejected(_)));
    assert!(matches!(good.outcome.await.unwrap(), TxOutcome::Final { .. }));
    assert!(pool.is_empty());
    assert_eq!(node.read(|state, _| paid(state)), nanos(7));
    node.stop().await.unwrap();
}

#[tokio::test]
async fn a_restarted_validator_goes_on_from_disk() {
    let dir = TempDir::new().unwrap();
    let (first_config, pool, _blocks) = config(dir.path());
    let node = Consensus::start(first_config).await.unwrap();
    pool.submit(pay(0, 5)).unwrap().outcome.await.unwrap();
    node.stop().await.unwrap();
    let head = node.head();
    // Blocks without transactions change only where the chain is.
    let all_but_head = |state: &dyn State| {
        let all = state.range(b"", &[0xff; 64]);
        all.filter(|(key, _)| *key != keys::HEAD.key(&())).collect::<Vec<_>>()
    };
    let entries = node.read(|state, _| all_but_head(state));
    let waiting = pool.submit(pay(1, 5)).unwrap();
    assert!(matches!(node.block(1).await, Err(NodeError::Stopped)));
    drop((node, waiting));

    let (second_config, pool, mut blocks) = config(dir.path());
    let node = Consensus::start(second_config).await.unwrap();
    assert!(pool.is_empty(), "what was not final is gone");
    let next = blocks.recv().await.unwrap();
    assert!(next.header.height <= head.height + 1, "no block is left out");
    let stored = node.block(head.height).await.unwrap().unwrap();
    assert_eq!((stored.digest, stored.header.state_root), (head.digest, head.state_root));
    let (height, again) = node.read(|state, head| (head.height, all_but_head(state)));
    assert!(height >= head.height);
    assert_eq!(again, entries);
    assert_eq!(node.read(|state, _| paid(state)), nanos(5));
    pool.submit(pay(1, 6)).unwrap().outcome.await.unwrap();
    assert_eq!(node.read(|state, _| paid(state)), nanos(11));
    node.stop().await.unwrap();
}

#[tokio::test]
async fn stopping_twice_is_fine_and_nothing_has_failed() {
    let dir = TempDir::new().unwrap();
    let (config, _, _blocks) = config(dir.path());
    let node = Consensus::start(config).await.unwrap();
    node.stop().await.unwrap();
    node.stop().await.unwrap();
    let mut failed = is_pending(node.failed());
    assert!(failed());
}

/// Whether a future is pending, each time it is asked.
fn is_pending<F: Future>(future: F) -> impl FnMut() -> bool {
    let mut future = Box::pin(future);
    move || {
        let waker = futures::task::noop_waker();
        future.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending()
    }
}

#[tokio::test]
async fn an_engine_that_dies_says_why_and_goes_on_when_started_again() {
    let dir = TempDir::new().unwrap();
    let (mut first, ..) = config(dir.path());
    first.on_applying = Arc::new(|block| {
        assert!(block.header.height < 3, "the listener broke");
    });
    let node = Consensus::start(first).await.unwrap();
    let error = node.failed().await;
    assert!(error.to_string().contains("the listener broke"), "{error}");
    assert!(matches!(node.stop().await, Err(NodeError::Died { .. })));
    assert_eq!(node.head().height, 2);

    let (second, _, mut blocks) = config(dir.path());
    let node = Consensus::start(second).await.unwrap();
    while blocks.recv().await.unwrap().header.height < 3 {}
    node.stop().await.unwrap();
}

#[tokio::test]
async fn a_block_is_told_before_its_state_is_read_and_after() {
    let dir = TempDir::new().unwrap();
    let (mut config, pool, _) = config(dir.path());
    let told = Arc::new(Mutex::new(Vec::new()));
    let note = |what: &'static str| -> OnBlock {
        let told = told.clone();
        Arc::new(move |block| told.lock().unwrap().push((block.header.height, what)))
    };
    (config.on_applying, config.on_finalized) = (note("applying"), note("finalized"));
    let node = Consensus::start(config).await.unwrap();
    pool.submit(pay(0, 1)).unwrap().outcome.await.unwrap();
    node.stop().await.unwrap();
    let told = told.lock().unwrap();
    for (index, pair) in told.chunks(2).enumerate() {
        let height = u64::try_from(index).unwrap() + 1;
        let expected = [(height, "applying"), (height, "finalized")];
        assert!(expected.starts_with(pair), "{pair:?}");
    }
    assert!(told.len() >= 2);
}

#[tokio::test]
async fn a_directory_serves_one_node_and_one_chain() {
    let dir = TempDir::new().unwrap();
    let (first, ..) = config(dir.path());
    let node = Consensus::start(first).await.unwrap();
    let (second, ..) = config(dir.path());
    assert!(matches!(Consensus::start(second).await, Err(NodeError::Busy { .. })));
    node.stop().await.unwrap();

    let (mut other, ..) = config(dir.path());
    other.genesis.name = "another".into();
    other.pool = TxPool::new(other.genesis.id(), PoolLimits::default());
    assert!(matches!(Consensus::start(other).await, Err(NodeError::OtherChain { .. })));
}

#[tokio::test]
async fn a_first_start_that_was_cut_short_is_made_up_for() {
    let dir = TempDir::new().unwrap();
    let name = dir.path().join("CHAIN");
    std::fs::write(&name, "").unwrap();
    let start = async || {
        let (config, ..) = config(dir.path());
        Consensus::start(config).await
    };
    start().await.unwrap().stop().await.unwrap();
    assert_eq!(std::fs::read_to_string(&name).unwrap(), format!("{}\n", genesis().id()));
    // Of what a ledger is stored beside it does not go unsaid.
    for said in ["", "0000"] {
        std::fs::write(&name, said).unwrap();
        let error = start().await.err().expect("must be refused");
        assert!(matches!(error, NodeError::OtherChain { .. }), "{error}");
    }
}

#[tokio::test]
async fn settings_that_do_not_fit_are_refused_with_the_reason() {
    let dir = TempDir::new().unwrap();
    let start = async |change: fn(&mut super::Config)| {
        let (mut config, ..) = config(dir.path());
        change(&mut config);
        let error = Consensus::start(config).await.err().expect("must be refused");
        error.to_string()
    };
    let other_key = start(|config| config.key = SecretKey::from_seed([9; 32])).await;
    assert!(other_key.contains("must be its only validator"), "{other_key}");
    let pool = start(|config| config.pool = TxPool::new(Hash::ZERO, PoolLimits::default()));
    let pool = pool.await;
    assert!(pool.contains("another chain"), "{pool}");
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let (mut config, ..) = config(dir.path());
    config.dir = file.join("below");
    let error = Consensus::start(config).await.err().expect("must be refused");
    assert!(matches!(error, NodeError::Directory { .. }), "{error}");
}

/// Runs a validator in the simulator until `enough` of its payments are final; gives the height,
/// digest, state root and what was paid at the head.
fn simulate(
    runner: deterministic::Runner,
    payments: std::ops::Range<u64>,
) -> ((u64, Hash, Hash, Amount), Checkpoint) {
    let dir = TempDir::new().unwrap();
    let (config, pool, mut blocks) = config(dir.path());
    runner.start_and_recover(async move |context: deterministic::Context| {
        let (channels, network) = alone();
        let child = context.child("node");
        let node = Consensus::host(child, &config, "node", channels, network).await.unwrap();
        for nonce in payments {
            let submission = pool.submit(pay(nonce, 1)).unwrap();
            let outcome = submission.outcome.await.unwrap();
            assert!(matches!(outcome, TxOutcome::Final { .. }), "{outcome:?}");
            context.sleep(Duration::from_millis(nonce * 37 % 150)).await;
        }
        let mut last = 0;
        while let Ok(block) = blocks.try_recv() {
            assert!(last == 0 || block.header.height == last + 1);
            last = block.header.height;
        }
        let (head, paid) = node.read(|state, head| (*head, paid(state)));
        (head.height, head.digest, head.state_root, paid)
    })
}

#[test]
fn the_same_seed_gives_the_same_blocks() {
    let run = || simulate(deterministic::Runner::seeded(7), 0..6).0;
    let first = run();
    assert_eq!(first, run());
    assert_eq!(first.3, nanos(6));
}

#[test]
fn a_crash_at_any_moment_loses_no_final_block() {
    for crash_after in 1..6 {
        let runner = deterministic::Runner::seeded(crash_after);
        let ((height, ..), checkpoint) = simulate(runner, 0..crash_after);
        let ((again, _, _, paid), _) = simulate(checkpoint.into(), crash_after..crash_after + 2);
        assert!(again > height, "{again} after {height}");
        assert_eq!(paid, nanos(u128::from(crash_after) + 2));
    }
}

#[test]
fn transactions_of_a_block_share_it() {
    let dir = TempDir::new().unwrap();
    let (config, pool, _blocks) = config(dir.path());
    deterministic::Runner::seeded(1).start(async move |context: deterministic::Context| {
        let (channels, network) = alone();
        let child = context.child("node");
        let _node = Consensus::host(child, &config, "node", channels, network).await.unwrap();
        let submissions: Vec<_> =
            (0..50).map(|nonce| pool.submit(pay(nonce, 1)).unwrap()).collect();
        let start = context.current();
        let mut heights = std::collections::BTreeSet::new();
        for submission in submissions {
            let TxOutcome::Final { height, .. } = submission.outcome.await.unwrap() else {
                panic!("not final")
            };
            heights.insert(height);
        }
        assert_eq!(heights.len(), 1, "{heights:?}");
        let waited = context.current().duration_since(start).unwrap();
        assert!(waited <= Duration::from_millis(50), "{waited:?}");
    });
}
