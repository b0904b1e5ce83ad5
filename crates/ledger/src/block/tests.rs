use crate::{
    Action, BlockBuilder, BlockContext, BlockError, ExecuteError, MemoryState, Reject, event_root,
    execute_block,
    genesis::GenesisError,
    rebuild_derived,
    tests::{
        World, nanos, usd,
        world::{id, key},
    },
    verify_batch, view,
};
use muster_types::*;

fn pay(units: u64) -> Action {
    Action::Transfer { to: id("bob"), asset: Asset::Usd, amount: usd(units) }
}

#[test]
fn a_block_follows_its_head_in_height_and_time() {
    let w = World::new();
    let good = w.context(500);
    let head = w.head();
    let begin = |context| BlockBuilder::new(&w.state, context).map(|_| ()).unwrap_err();
    assert_eq!(begin(BlockContext { height: 2, ..good }), BlockError::Height { given: 2, head: 0 });
    let late = BlockError::Time { given: head.now, head: head.now };
    assert_eq!(begin(BlockContext { now: head.now, ..good }), late);
    let nothing = MemoryState::default();
    let error = BlockBuilder::new(&nothing, good).map(|_| ()).unwrap_err();
    assert_eq!(error, BlockError::NoGenesis);
}

#[test]
fn proposing_and_executing_give_the_same() {
    let mut w = World::new();
    let txs: Vec<_> = (1..=5).map(|units| w.sign("ann", pay(units))).collect();
    let mut builder = BlockBuilder::new(&w.state, w.context(500)).unwrap();
    for tx in &txs {
        builder.push(tx).unwrap();
    }
    let proposed = builder.finish();
    let executed = execute_block(&w.state, w.context(500), &txs, 1).unwrap();
    assert_eq!(executed, proposed);
    assert_eq!(executed.event_root, event_root(executed.all_events()));
    assert_ne!(executed.event_root, Hash::ZERO);
}

#[test]
fn one_refused_transaction_spoils_a_block_of_somebody_else() {
    let mut w = World::new();
    let mut txs: Vec<_> = [900, 50, 100].map(|units| w.sign("ann", pay(units))).into();
    let refused = execute_block(&w.state, w.context(500), &txs, 1).unwrap_err();
    let short = Reject::InsufficientFunds { needed: usd(100), available: usd(50) };
    assert_eq!(refused, ExecuteError::Tx { index: 2, reject: short });
    assert_eq!(verify_batch(&txs), Ok(()));
    let Auth::Own(signature) = &mut txs[1].auth else { panic!() };
    signature.0[9] ^= 4;
    assert_eq!(verify_batch(&txs), Err(1));
    let refused = execute_block(&w.state, w.context(500), &txs, 1).unwrap_err();
    assert_eq!(refused, ExecuteError::Tx { index: 1, reject: Reject::BadSignature });
    let wrong = BlockContext { height: 7, ..w.context(500) };
    let refused = execute_block(&w.state, wrong, &[], 1).unwrap_err();
    assert_eq!(refused, ExecuteError::Block(BlockError::Height { given: 7, head: 0 }));
}

#[test]
fn threads_do_not_change_what_a_block_does() {
    let mut w = World::with(&["val"], |params| params.fee_per_byte = nanos(1));
    let names: Vec<String> = (0..30).map(|number| format!("n{number}")).collect();
    let mut payments = Vec::new();
    for name in &names {
        payments.push(
            w.sign("ann", Action::Transfer { to: id(name), asset: Asset::Usd, amount: usd(20) }),
        );
    }
    assert!(w.block_of(500, &payments).results.iter().all(Result::is_ok));
    let txs: Vec<_> = (0..30 * 30).map(|number| w.sign(&names[number % 30], pay(1))).collect();
    let one = execute_block(&w.state, w.context(500), &txs[..520], 1).unwrap();
    for (count, threads) in [(520, 0), (520, 2), (520, 3), (520, 64)] {
        let outcome = execute_block(&w.state, w.context(500), &txs[..count], threads).unwrap();
        assert_eq!(outcome, one, "{threads}");
    }
    // From the 20th of each on the money is gone; before that one signature is wrong.
    for (wrong, index, code) in [
        (None, 570, "insufficient_funds"),
        (Some(599), 570, "insufficient_funds"),
        (Some(569), 569, "bad_signature"),
    ] {
        let mut txs = txs.clone();
        if let Some(wrong) = wrong {
            let Auth::Own(signature) = &mut txs[wrong].auth else { panic!() };
            signature.0[40] ^= 1;
        }
        for threads in [1, 2, 5] {
            let refused = execute_block(&w.state, w.context(500), &txs, threads).unwrap_err();
            let ExecuteError::Tx { index: at, reject } = refused else { panic!() };
            assert_eq!((at, reject.code()), (index, code), "{wrong:?} on {threads}");
        }
    }
}

#[test]
fn a_batch_names_the_transaction_of_a_wrong_signature() {
    let mut w = World::new();
    let mut txs: Vec<_> = (1..=6).map(|units| w.sign("ann", pay(units))).collect();
    for index in [1, 3] {
        let envelope = txs[index].envelope.clone();
        let members = ["bob", "eve", "pat"].map(|who| envelope.sign_member(&key(who)));
        txs[index] = envelope.gather(members.to_vec());
    }
    assert_eq!(verify_batch(&txs), Ok(()));
    let good = txs.clone();
    let Auth::Own(signature) = &mut txs[4].auth else { panic!() };
    signature.0[1] ^= 1;
    assert_eq!(verify_batch(&txs), Err(4));
    let Auth::Members(members) = &mut txs[3].auth else { panic!() };
    members[2].signature.0[1] ^= 1;
    assert_eq!(verify_batch(&txs), Err(3));
    let Auth::Members(members) = &mut txs[1].auth else { panic!() };
    members.swap(0, 1);
    assert_eq!(verify_batch(&txs), Err(1));
    let Auth::Own(signature) = &mut txs[0].auth else { panic!() };
    signature.0[1] ^= 1;
    assert_eq!(verify_batch(&txs), Err(0));
    assert_eq!(verify_batch(&good[..2]), Ok(()));
}

#[test]
fn steady_time_counts_at_most_so_much_of_a_step() {
    let mut w = World::new();
    let start = w.head().steady;
    // (step, steady time gone by after it)
    for (step, gone) in [(400, 400), (1_000, 1_400), (3_600_000, 2_400), (1, 2_401)] {
        w.pass(1, step);
        assert_eq!(w.head().steady.since(start), Millis(gone));
    }
    assert_eq!(w.head().now.since(start), Millis(3_601_401));
}

#[test]
fn an_empty_block_writes_the_head_alone() {
    let w = World::new();
    let outcome = execute_block(&w.state, w.context(500), &[], 1).unwrap();
    assert_eq!(outcome.changes.0.len(), 1);
    assert_eq!((outcome.event_root, outcome.events.len()), (Hash::ZERO, 0));
}

#[test]
fn the_indexes_can_be_rebuilt_from_nothing() {
    let mut w = World::new();
    w.provider("pat", "3.6");
    let escrow = w.open_escrow("ann", usd(10));
    w.active("ann", escrow, None);
    let agreed = w.state.iter().filter(|(key, _)| key[0] < crate::keys::DERIVED);
    let mut bare: MemoryState = agreed.map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
    assert!(bare.len() < w.state.len());
    bare.apply(rebuild_derived(&bare));
    assert_eq!(bare, w.state);
    assert_eq!(view::leases_of_tenant(&bare, &id("ann")).len(), 1);
}

#[test]
fn a_genesis_that_cannot_begin_a_chain_names_the_field() {
    use crate::genesis::{Balance, EPOCH_BLOCKS, Genesis, PROTOCOL};
    let good = Genesis {
        name: "net".into(),
        time: Millis(1),
        protocol: PROTOCOL,
        validators: vec![id("val")],
        balances: [(id("ann"), Balance { usd: usd(1), mst: usd(1) })].into(),
        stakes: Default::default(),
        epoch_blocks: EPOCH_BLOCKS,
        params: Default::default(),
    };
    assert!(good.changes().is_ok());
    let with = |change: fn(&mut Genesis)| {
        let mut genesis = good.clone();
        change(&mut genesis);
        assert_ne!(genesis.id(), good.id());
        genesis.changes().unwrap_err()
    };
    assert_eq!(with(|genesis| genesis.protocol = 9), GenesisError::Protocol { given: 9 });
    let voted = with(|genesis| genesis.params.protocol = 9);
    assert_eq!(voted, GenesisError::Protocols);
    assert_eq!(with(|genesis| genesis.name.clear()), GenesisError::Name);
    assert_eq!(with(|genesis| genesis.validators.clear()), GenesisError::Validators);
    let twice = with(|genesis| genesis.validators = vec![id("val"), id("val")]);
    assert_eq!(twice, GenesisError::Validators);
    let much = with(|genesis| {
        let all = Balance { usd: Amount::MAX, mst: Amount::ZERO };
        genesis.balances.insert(id("bob"), all);
    });
    assert_eq!(much, GenesisError::Balances { asset: Asset::Usd });
    let bounds = with(|genesis| genesis.params.burn_min_bps = 0);
    assert!(matches!(bounds, GenesisError::Params(_)), "{bounds}");
}
