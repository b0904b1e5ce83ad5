//! What the final state says of what wants in.

use super::key;
use crate::{
    consensus::{Head, HotState},
    mempool::*,
};
use muster_ledger::{
    Action, Genesis, MemoryState, Params,
    genesis::{Balance, EPOCH_BLOCKS, PROTOCOL},
};
use muster_types::{Asset, Envelope};

/// What a transfer costs.
const FEE: Amount = Amount::from_nanos(1_000);
const LIMITS: PoolLimits =
    PoolLimits { max_txs: 16, max_bytes: 16 * MAX_TX_BYTES, max_per_account: 128 };

/// A chain on which these own so many fees, and the first is its validator.
fn genesis(owners: &[(u8, u64)]) -> Genesis {
    let balance = |fees: u64| Balance { usd: FEE.checked_mul(fees).unwrap(), ..Balance::default() };
    let params = Params { fee_per_byte: Amount::ZERO, fee_per_unit: FEE, ..Params::default() };
    Genesis {
        name: "test".into(),
        time: Millis(1),
        protocol: PROTOCOL,
        validators: vec![key(owners[0].0).account()],
        balances: owners
            .iter()
            .map(|(seed, fees)| (key(*seed).account(), balance(*fees)))
            .collect(),
        stakes: Default::default(),
        epoch_blocks: EPOCH_BLOCKS,
        params,
    }
}

fn hot(genesis: &Genesis, height: u64) -> Arc<HotState> {
    let mut state = MemoryState::default();
    state.apply(genesis.changes().unwrap());
    let (digest, state_root, beacon) = (Hash::ZERO, Hash::ZERO, Hash::ZERO);
    let (time, beacon_round, beacon_key) = (Millis(1), 0, None);
    HotState::new(
        state,
        Head { height, time, digest, state_root, beacon, beacon_round, beacon_key },
    )
}

struct World {
    chain: Hash,
    pool: TxPool,
    height: u64,
}

impl World {
    fn new(owners: &[(u8, u64)], limits: PoolLimits) -> Self {
        let genesis = genesis(owners);
        let pool = TxPool::new(genesis.id(), limits);
        pool.judge_by(hot(&genesis, 0));
        Self { chain: genesis.id(), pool, height: 0 }
    }

    /// Pays `max_fee`: what an action of one unit costs, and the rest as its tip.
    fn of(&self, seed: u8, nonce: u64, max_fee: Amount, action: Action) -> Tx {
        let (chain, signer, expires) = (self.chain, key(seed).account(), Millis::MAX);
        let floor = FEE.checked_mul(action.units()).unwrap();
        let tip = max_fee.saturating_sub(floor);
        Envelope { chain, signer, nonce, max_fee, tip, expires, action }.sign(&key(seed))
    }

    fn tx(&self, seed: u8, nonce: u64, max_fee: Amount) -> Tx {
        let (to, amount) = (key(99).account(), Amount::from_nanos(1));
        self.of(seed, nonce, max_fee, Action::Transfer { to, asset: Asset::Usd, amount })
    }

    fn order(&self) -> Vec<TxId> {
        let taken = self.pool.take(usize::MAX, usize::MAX, |_| false);
        taken.into_iter().map(|taken| taken.id).collect()
    }

    /// A final block with these, after which these own so many fees.
    fn block(&mut self, txs: &[Tx], owners: &[(u8, u64)]) {
        self.height += 1;
        self.pool.judge_by(hot(&genesis(owners), self.height));
        let txs = txs.iter().map(|tx| (tx, tx.id()));
        self.pool.finalized(self.height, Hash::ZERO, Millis(self.height), txs);
    }
}

fn fees(count: u64) -> Amount {
    FEE.checked_mul(count).unwrap()
}

#[test]
fn a_flood_of_keys_without_money_fills_its_part_and_no_more() {
    let world = World::new(&[(1, 9)], LIMITS);
    let flood: Vec<_> = (10..60)
        .map(|seed| world.pool.submit(world.tx(seed, 0, Amount::MAX)).map(|taken| taken.id))
        .collect();
    let early: Vec<TxId> = flood.iter().filter_map(|taken| taken.clone().ok()).collect();
    assert_eq!(early.len(), LIMITS.max_txs / 8);
    for refused in flood.iter().filter_map(|taken| taken.clone().err()) {
        assert_eq!(refused, PoolReject::Refused(Reject::NoAccount));
        assert!(!refused.is_fault(), "the peer's state may be another");
    }
    assert!(!world.pool.has_work(), "it hurries no block");
    let honest = world.tx(1, 0, FEE);
    world.pool.submit(honest.clone()).unwrap();
    assert!(world.pool.has_work());
    assert_eq!(world.order(), [vec![honest.id()], early].concat());
}

#[test]
fn a_tip_that_cannot_be_paid_counts_for_nothing_and_so_does_a_high_max_fee() {
    let world = World::new(&[(1, 5), (2, 9), (3, 9), (4, 9)], LIMITS);
    let boast = world.tx(1, 0, fees(6));
    let (low, high) = (world.tx(2, 0, fees(2)), world.tx(3, 0, fees(7)));
    let mut safe = world.tx(4, 0, FEE);
    safe.envelope.max_fee = fees(9);
    let safe = safe.envelope.sign(&key(4));
    for tx in [&boast, &safe, &low, &high] {
        world.pool.submit(tx.clone()).unwrap();
    }
    assert_eq!(world.order(), [high.id(), low.id(), safe.id(), boast.id()]);
}

#[test]
fn a_tip_counts_by_the_part_of_a_block_that_it_is_for() {
    let world = World::new(&[(1, 20), (2, 20), (3, 20)], LIMITS);
    let two_units = |seed, fee| {
        let action = Action::LeaseClose { lease: Default::default() };
        assert_eq!(action.units(), 2);
        world.of(seed, 0, fee, action)
    };
    // (tip, floor) in fees: 3 for 2, 2 for 1, 5 for 2.
    let (less, some, more) =
        (two_units(1, fees(5)), world.tx(2, 0, fees(3)), two_units(3, fees(7)));
    for tx in [&less, &some, &more] {
        world.pool.submit(tx.clone()).unwrap();
    }
    assert_eq!(world.order(), [more.id(), some.id(), less.id()]);
}

#[test]
fn what_offers_least_makes_room_for_what_offers_more() {
    let owners: Vec<(u8, u64)> = (1..40).map(|seed| (seed, 50)).collect();
    let world = World::new(&owners, LIMITS);
    let mut first: Vec<Submission> = (1..=16)
        .map(|seed| world.pool.submit(world.tx(seed, 0, fees(u64::from(seed)))).unwrap())
        .collect();
    let refusal = |tx| world.pool.submit(tx).unwrap_err();
    assert_eq!(refusal(world.tx(20, 0, fees(1))), PoolReject::Full, "no more than the least");
    assert_eq!(refusal(world.tx(90, 0, Amount::MAX)), PoolReject::Full, "without money");
    let better = world.tx(20, 0, fees(2));
    world.pool.submit(better.clone()).unwrap();
    assert_eq!(first[0].outcome.try_recv(), Ok(TxOutcome::Evicted));
    // Of two that offer the same the later one leaves.
    world.pool.submit(world.tx(21, 0, fees(3))).unwrap();
    assert!(!world.pool.contains(&better.id()) && world.pool.contains(&first[1].id));
    let deal = Action::BeaconDeal { epoch: 0, log: vec![1] };
    let duty = world.of(1, u64::MAX, Amount::ZERO, deal.clone());
    world.pool.submit(duty.clone()).unwrap();
    assert_eq!(world.order()[0], duty.id(), "a duty goes first");
    assert_eq!(world.pool.len(), LIMITS.max_txs);
    let idle = world.of(2, u64::MAX, Amount::MAX, deal);
    assert!(world.pool.submit(idle).is_err(), "it does not vote");
}

#[test]
fn an_account_has_as_many_in_flight_as_its_nonces_and_its_money_allow() {
    let limits = PoolLimits { max_txs: 1_024, ..LIMITS };
    let world = World::new(&[(1, 1_000), (2, 3)], limits);
    for nonce in (0..128).rev() {
        world.pool.submit(world.tx(1, nonce, FEE)).unwrap();
    }
    assert_eq!(world.order().len(), 128);
    assert!(world.pool.has_work());
    assert_eq!(
        world.pool.submit(world.tx(1, 128, FEE)).unwrap_err(),
        PoolReject::AccountFull { limit: 128 }
    );
    let poor: Vec<TxId> =
        (0..5).map(|nonce| world.pool.submit(world.tx(2, nonce, FEE)).unwrap().id).collect();
    let order = world.order();
    assert_eq!(order[order.len() - 2..], poor[3..], "beyond its money it goes last");
}

#[test]
fn what_spends_what_is_in_flight_comes_after_it_and_is_good_once_that_is_final() {
    let mut world = World::new(&[(1, 9)], LIMITS);
    let spends = world.tx(2, 0, fees(4));
    world.pool.submit(spends.clone()).unwrap();
    let (to, amount) = (key(2).account(), fees(5));
    let brings = world.of(1, 0, FEE, Action::Transfer { to, asset: Asset::Usd, amount });
    world.pool.submit(brings.clone()).unwrap();
    assert_eq!(world.order(), [brings.id(), spends.id()]);
    // A proposer whose block had no room for what brings it does not throw it away.
    world.pool.rejected(vec![(spends.id(), Reject::NoAccount)]);
    assert!(world.pool.contains(&spends.id()));
    world.block(std::slice::from_ref(&brings), &[(1, 3), (2, 5)]);
    assert!(world.pool.has_work(), "it is good now");
    let rich = world.tx(1, 1, fees(3));
    world.pool.submit(rich.clone()).unwrap();
    assert_eq!(world.order(), [spends.id(), rich.id()]);
    // Its account loses the money.
    world.block(&[world.tx(2, 7, FEE)], &[(1, 3), (2, 0)]);
    assert_eq!(world.order(), [rich.id(), spends.id()]);
}

#[test]
fn what_blocks_pass_over_is_tried_and_what_the_state_rejects_leaves() {
    let mut world = World::new(&[(1, 9)], LIMITS);
    let mut early = world.pool.submit(world.tx(2, 0, FEE)).unwrap();
    let good = world.pool.submit(world.tx(1, 0, FEE)).unwrap();
    let second = world.pool.submit(world.tx(1, 1, FEE)).unwrap();
    let tried = |world: &World| {
        world.pool.take_tries().into_iter().map(|(id, _)| id).collect::<BTreeSet<_>>()
    };
    for _ in 1..PATIENCE {
        world.block(&[], &[(1, 9)]);
        assert!(tried(&world).is_empty());
    }
    world.pool.proposed(9, &[good.id]);
    world.block(&[], &[(1, 9)]);
    // With what comes before it in its lane, though that may be in a block.
    assert_eq!(tried(&world), [early.id, good.id, second.id].into());
    assert!(tried(&world).is_empty(), "not again at once");
    world.pool.rejected(vec![(early.id, Reject::NoAccount)]);
    assert_eq!(early.outcome.try_recv(), Ok(TxOutcome::Rejected(Reject::NoAccount)));
}

#[test]
fn a_final_transaction_does_not_come_back() {
    let mut world = World::new(&[(1, 9)], LIMITS);
    let paid = world.tx(1, 0, FEE);
    let genesis = genesis(&[(1, 9)]);
    let mut state = MemoryState::default();
    state.apply(genesis.changes().unwrap());
    world.block(std::slice::from_ref(&paid), &[(1, 9)]);
    let head = Head {
        height: 1,
        time: Millis(2),
        digest: Hash::ZERO,
        state_root: Hash::ZERO,
        beacon: Hash::ZERO,
        beacon_round: 0,
        beacon_key: None,
    };
    let context = crate::consensus::rules::context_after(&Head { height: 0, ..head });
    let mut block = muster_ledger::BlockBuilder::new(&state, context).unwrap();
    let rejected = world.pool.submit(world.tx(1, 0, Amount::from_nanos(999))).unwrap_err();
    let too_low = Reject::FeeTooHigh { fee: FEE, max_fee: Amount::from_nanos(999) };
    assert_eq!(rejected, PoolReject::Refused(too_low));
    block.push(&paid).unwrap();
    state.apply(block.finish().changes);
    world.pool.judge_by(HotState::new(state, head));
    let refused = world.pool.receive(paid, Origin::Validator).unwrap_err();
    let PoolReject::Refused(Reject::BadNonce { given: 0, next: 1, .. }) = refused else {
        panic!("{refused:?}")
    };
}

#[test]
fn nothing_waits_for_ever() {
    let mut world = World::new(&[(1, 9)], LIMITS);
    let mut waiting = world.pool.submit(world.tx(1, 5, FEE)).unwrap();
    for _ in 1..WAIT_BLOCKS {
        world.block(&[], &[(1, 9)]);
    }
    assert_eq!(world.pool.len(), 1);
    world.block(&[], &[(1, 9)]);
    assert_eq!(waiting.outcome.try_recv(), Ok(TxOutcome::Evicted));
    assert!(world.pool.is_empty());
}
