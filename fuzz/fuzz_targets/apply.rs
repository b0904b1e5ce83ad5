//! Blocks of arbitrary actions by a few accounts: nothing panics and every invariant holds.
//!
//! The input is read as a sequence of (who, milliseconds to the next block, turns missed before it,
//! action). Epochs are as short as they may be.
#![no_main]

use borsh::BorshDeserialize;
use libfuzzer_sys::fuzz_target;
use muster_ledger::{
    Action, BlockBuilder, BlockContext, Genesis, MemoryState,
    genesis::{Balance, PROTOCOL},
    invariant,
    limits::EPOCH_BLOCKS_MIN,
    stake::Views,
    view,
};
use muster_types::{AccountId, Amount, Envelope, Hash, Millis, SecretKey};

const PEOPLE: u8 = 4;

fn genesis() -> Genesis {
    let people: Vec<AccountId> =
        (0..PEOPLE).map(|person| SecretKey::from_seed([person; 32]).account()).collect();
    let balance = Balance { usd: Amount::from_units(1_000_000), mst: Amount::from_units(1_000) };
    Genesis {
        name: "fuzz".into(),
        time: Millis(1_000_000),
        protocol: PROTOCOL,
        validators: people[..1].to_vec(),
        balances: people.iter().map(|person| (*person, balance)).collect(),
        params: Default::default(),
        stakes: Default::default(),
        epoch_blocks: EPOCH_BLOCKS_MIN,
    }
}

fuzz_target!(|bytes: &[u8]| {
    let genesis = genesis();
    let mut state = MemoryState::default();
    state.apply(genesis.changes().expect("the genesis is sound"));
    let mut nonces = [0u64; PEOPLE as usize];
    let mut parent = 0;
    let mut rest = bytes;
    while let Ok((who, step, missed)) = <(u8, u16, u8)>::deserialize(&mut rest) {
        let Ok(action) = Action::deserialize(&mut rest) else { break };
        let who = who % PEOPLE;
        let key = SecretKey::from_seed([who; 32]);
        let head = view::head(&state).expect("there is a genesis");
        let height = head.height + 1;
        if height.is_multiple_of(EPOCH_BLOCKS_MIN) {
            parent = 0;
        }
        let views = Views { parent, own: parent + 1 + u64::from(missed) };
        parent = views.own;
        let context = BlockContext {
            height,
            now: Millis(head.now.0 + 1 + u64::from(step)),
            beacon: Hash::of_content(&head.height.to_le_bytes()),
            beacon_round: head.beacon_round + 1,
            beacon_key: None,
            proposer: SecretKey::from_seed([0; 32]).account(),
            views,
        };
        let envelope = Envelope {
            chain: genesis.id(),
            signer: key.account(),
            nonce: nonces[usize::from(who)],
            max_fee: Amount::MAX,
            tip: Amount::ZERO,
            expires: Millis::MAX,
            action,
        };
        let mut block = BlockBuilder::new(&state, context).expect("the block follows");
        if block.push_verified(&envelope.sign(&key)).is_ok() {
            nonces[usize::from(who)] += 1;
        }
        let changes = block.finish().changes;
        state.apply(changes);
        if let Err(broken) = invariant::check(&state) {
            panic!("{broken}");
        }
    }
});
