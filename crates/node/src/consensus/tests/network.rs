//! Four validators over the simulated network, wired as the one is.

use super::{
    super::{Config, prepare, stack},
    config, genesis, pay_as, payer, transfer, usd,
};
use crate::{
    consensus::{Head, block::Block, hot::HotState},
    mempool::{PoolLimits, TxOutcome, TxPool},
};
use commonware_consensus::{
    marshal::{self, standard::Standard},
    simplex::{self, scheme::ed25519::Scheme},
};
use commonware_cryptography::{blake3::Digest, ed25519::PublicKey};
use commonware_p2p::{
    max_message_size,
    simulated::{self, Link, Network, Oracle},
};
use commonware_runtime::{Clock as _, Quota, Runner as _, Supervisor as _, deterministic::*};
use commonware_utils::{NZU32, NZUsize, probability};
use muster_ledger::Genesis;
use muster_types::{Amount, Envelope, SecretKey};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

const VALIDATORS: u8 = 4;

/// Digest and state root by height, as one validator was told them.
type Told = Arc<Mutex<BTreeMap<u64, Head>>>;

struct Validator {
    pool: TxPool,
    hot: Arc<HotState>,
    told: Told,
}

fn key(index: u8) -> SecretKey {
    SecretKey::from_seed([100 + index; 32])
}

fn four() -> Genesis {
    Genesis { validators: (0..VALIDATORS).map(|index| key(index).account()).collect(), ..genesis() }
}

async fn network(context: &Context) -> Oracle<PublicKey, Context> {
    let largest = [
        simplex::max_payload_size::<Scheme, Digest>(u32::from(VALIDATORS)),
        marshal::max_payload_size::<Standard<Block>, Scheme>(u32::from(VALIDATORS), &()),
    ];
    let settings = simulated::Config {
        max_size: max_message_size(&largest),
        max_peers_per_set: NZUsize!(4),
        disconnect_on_block: true,
        tracked_peer_sets: NZUsize!(1),
    };
    let peers: Vec<PublicKey> =
        (0..VALIDATORS).map(|index| key(index).account().as_bytes().try_into().unwrap()).collect();
    let (network, oracle) =
        Network::new_with_peers(context.child("network"), settings, peers.clone()).await;
    network.start();
    let link = Link {
        latency: Duration::from_millis(10),
        jitter: Duration::from_millis(3),
        success_rate: probability!(1.0),
    };
    for from in &peers {
        for to in peers.iter().filter(|to| *to != from) {
            oracle.add_link(from.clone(), to.clone(), link.clone()).await.unwrap();
        }
    }
    oracle
}

async fn start(context: &Context, oracle: &Oracle<PublicKey, Context>, index: u8) -> Validator {
    let told = Told::default();
    let (note, genesis) = (told.clone(), four());
    let (base, ..) = config(Path::new("unused: the simulator stores in memory"));
    let pool = TxPool::new(genesis.id(), PoolLimits::default());
    let config = Config {
        key: key(index),
        genesis,
        pool: pool.clone(),
        on_finalized: Arc::new(move |block| {
            let head = Head::of(&block.header, block.digest);
            assert_eq!(note.lock().unwrap().insert(head.height, head), None, "told twice");
        }),
        ..base
    };
    let mut settings = prepare(&config).unwrap();
    settings.prefix = format!("validator-{index}");
    let (me, hot) = (settings.me.clone(), settings.hot.clone());
    let quota = Quota::per_second(NZU32!(10_000));
    let mut channels = Vec::new();
    for channel in 0..stack::CHANNELS {
        let channel = u64::try_from(channel).unwrap();
        channels.push(oracle.control(me.clone()).register(channel, quota).await.unwrap());
    }
    let Ok(channels) = channels.try_into() else { panic!("as many as asked for") };
    let (peers, blocker) = (oracle.manager(), oracle.control(me));
    let child = context.child("validator").with_attribute("index", index);
    stack::start(child, settings, channels, peers, blocker, |state| state).await;
    Validator { pool, hot, told }
}

/// Pays 1 through one validator and waits until it is final there.
async fn pay_through(validator: &Validator, nonce: u64) {
    let tx = pay_as(&payer(), nonce, transfer(1)).envelope;
    let tx = Envelope { chain: four().id(), ..tx }.sign(&payer());
    let outcome = validator.pool.submit(tx).unwrap().outcome.await.unwrap();
    assert!(matches!(outcome, TxOutcome::Final { .. }), "{outcome:?}");
}

/// Waits until a validator's state is that of `height`.
async fn reach(validator: &Validator, height: u64) {
    let mut heads = validator.hot.heads();
    heads.wait_for(|head| head.height >= height).await.unwrap();
}

fn assert_agree(validators: &[Validator], up_to: u64) {
    for height in 1..=up_to {
        let heads: Vec<Head> =
            validators.iter().map(|one| one.told.lock().unwrap()[&height]).collect();
        assert!(heads.windows(2).all(|pair| pair[0] == pair[1]), "height {height}: {heads:?}");
    }
}

fn paid(validator: &Validator) -> Amount {
    validator.hot.read(|state, _| usd(state, super::payee()))
}

#[test]
fn four_validators_agree_on_every_block() {
    Runner::seeded(3).start(async move |context: Context| {
        let oracle = network(&context).await;
        let mut validators = Vec::new();
        for index in 0..VALIDATORS {
            validators.push(start(&context, &oracle, index).await);
        }
        for nonce in 0..8 {
            let through = usize::try_from(nonce).unwrap() % validators.len();
            pay_through(&validators[through], nonce).await;
        }
        let height = validators[3].hot.head().height;
        for validator in &validators {
            reach(validator, height).await;
            assert_eq!(paid(validator), Amount::from_nanos(8));
        }
        assert_agree(&validators, height);
    });
}

#[test]
fn three_of_four_go_on_and_the_late_one_catches_up() {
    Runner::seeded(5).start(async move |context: Context| {
        let oracle = network(&context).await;
        let mut validators = Vec::new();
        for index in 0..VALIDATORS - 1 {
            validators.push(start(&context, &oracle, index).await);
        }
        for nonce in 0..6 {
            pay_through(&validators[usize::try_from(nonce).unwrap() % 3], nonce).await;
        }
        validators.push(start(&context, &oracle, VALIDATORS - 1).await);
        pay_through(&validators[0], 6).await;
        let height = validators[0].hot.head().height;
        for validator in &validators {
            reach(validator, height).await;
            assert_eq!(paid(validator), Amount::from_nanos(7));
        }
        assert_agree(&validators, height);
        context.sleep(Duration::from_millis(1)).await;
    });
}
