//! Four validators over the simulated network, wired as the one is.

mod liar;
mod light;
mod lost;
mod pool;
mod seats;

use super::{
    super::{
        CHANNELS, Config, Consensus, EpochEnd, Head, NetworkConfig, P2p, Peer,
        block::{Ctx, HEADER_BYTES},
        engine_key, engine_validators, max_message_bytes,
    },
    config, genesis, pay_as, payer, transfer, usd,
};
use crate::mempool::{PoolLimits, TxOutcome, TxPool};
use bytes::Bytes;
use commonware_codec::{DecodeExt as _, Encode as _, varint::UInt};
use commonware_consensus::{
    simplex::{
        scheme::ed25519::Scheme,
        types::{Notarize, Proposal, Vote},
    },
    types::{Round, View},
};
use commonware_cryptography::{blake3::Digest, ed25519::PublicKey};
use commonware_p2p::{
    Recipients, Sender as _,
    simulated::{self, Link, Network, Oracle},
};
use commonware_runtime::{
    Clock as _, Handle, Quota, Runner as _, Spawner as _, Supervisor as _, deterministic::*,
};
use commonware_utils::{NZU32, NZUsize, probability};
use muster_api::views;
use muster_ledger::{
    Action, Genesis,
    genesis::Balance,
    stake::{ValidatorStatus, equivocation::vote_namespace},
    view,
};
use muster_types::{AccountId, Amount, Asset, Envelope, Millis, SecretKey};
use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

pub(super) const VALIDATORS: u8 = 4;
/// What each validator stakes: enough for one vote.
const STAKE: Amount = Amount::from_units(1_500);

/// Digest and state root by height, as one node was told them.
pub(super) type Told = Arc<Mutex<BTreeMap<u64, Head>>>;

pub(super) struct Validator {
    pub(super) node: Consensus,
    pub(super) told: Told,
}

fn key(index: u8) -> SecretKey {
    SecretKey::from_seed([100 + index; 32])
}

pub(super) fn four() -> Genesis {
    let mut genesis = Genesis {
        validators: (0..VALIDATORS).map(|index| key(index).account()).collect(),
        stakes: (0..VALIDATORS).map(|index| (key(index).account(), STAKE)).collect(),
        epoch_blocks: 8,
        ..genesis()
    };
    for index in 0..=VALIDATORS {
        let balance = Balance { usd: Amount::from_units(10), mst: STAKE };
        genesis.balances.insert(key(index).account(), balance);
    }
    genesis
}

fn public(index: u8) -> PublicKey {
    key(index).account().as_bytes().try_into().unwrap()
}

fn link() -> Link {
    Link {
        latency: Duration::from_millis(10),
        jitter: Duration::from_millis(3),
        success_rate: probability!(1.0),
    }
}

/// The simulated network of `nodes` nodes, all linked to each other.
pub(super) async fn network(context: &Context, nodes: u8) -> Oracle<PublicKey, Context> {
    let settings = simulated::Config {
        max_size: max_message_bytes(),
        max_peers_per_set: NZUsize!(8),
        disconnect_on_block: true,
        tracked_peer_sets: NZUsize!(2),
    };
    let (network, oracle) = Network::new(context.child("network"), settings);
    network.start();
    for from in 0..nodes {
        for to in (0..nodes).filter(|to| *to != from) {
            oracle.add_link(public(from), public(to), link()).await.unwrap();
        }
    }
    oracle
}

async fn start(context: &Context, oracle: &Oracle<PublicKey, Context>, index: u8) -> Validator {
    start_with(context, oracle, index, false).await
}

async fn start_with(
    context: &Context,
    oracle: &Oracle<PublicKey, Context>,
    index: u8,
    state_sync: bool,
) -> Validator {
    start_of(context, oracle, index, state_sync, four()).await
}

/// Starts a node of the chain that begins with `genesis`.
pub(super) async fn start_of(
    context: &Context,
    oracle: &Oracle<PublicKey, Context>,
    index: u8,
    state_sync: bool,
    genesis: Genesis,
) -> Validator {
    let dir = tempfile::tempdir().unwrap();
    let mark = unused_mark(dir.path());
    start_new(context, oracle, index, (state_sync, genesis, Some(mark))).await
}

/// What says that a key has never voted.
fn unused_mark(dir: &Path) -> PathBuf {
    let mark = dir.join("node.unused");
    fs::write(&mark, "").unwrap();
    mark
}

/// Starts a node whose key has never voted, where the file is there.
async fn start_new(
    context: &Context,
    oracle: &Oracle<PublicKey, Context>,
    index: u8,
    (state_sync, genesis, unused_key): (bool, Genesis, Option<PathBuf>),
) -> Validator {
    let told = Told::default();
    let note = told.clone();
    let (base, ..) = config(Path::new("unused: the simulator stores in memory"));
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let follower = Peer { key: key(VALIDATORS).account(), address: None };
    let config = Config {
        key: key(index),
        state_sync,
        unused_key,
        network: NetworkConfig::P2p(P2p {
            listen: address,
            external: address.into(),
            peers: vec![follower],
        }),
        pool: TxPool::new(genesis.id(), PoolLimits::default()),
        genesis,
        on_finalized: Arc::new(move |block| {
            let head = Head::of(&block.header, block.digest);
            assert_eq!(note.lock().unwrap().insert(head.height, head), None, "told twice");
        }),
        ..base
    };
    let quota = Quota::per_second(NZU32!(10_000));
    let control = oracle.control(public(index));
    let mut channels = Vec::new();
    for channel in 0..CHANNELS {
        let channel = u64::try_from(channel).unwrap();
        channels.push(control.register(channel, quota).await.unwrap());
    }
    let Ok(channels) = channels.try_into() else { panic!("as many as asked for") };
    let child = context.child("node").with_attribute("index", index);
    let prefix = format!("node-{index}");
    let network = (oracle.manager(), control);
    let node = Consensus::host(child, &config, &prefix, channels, network).await.unwrap();
    Validator { node, told }
}

/// Pays 1 through one validator and waits until it is final there.
async fn pay_through(validator: &Validator, nonce: u64) {
    let tx = pay_as(&payer(), nonce, transfer(1)).envelope;
    let tx = Envelope { chain: four().id(), ..tx }.sign(&payer());
    let outcome = validator.node.pool().submit(tx).unwrap().outcome.await.unwrap();
    assert!(matches!(outcome, TxOutcome::Final { .. }), "{outcome:?}");
}

/// Has a node's owner do something, and waits until it is final there.
async fn act(node: &Validator, key: &SecretKey, nonce: u64, action: Action) {
    let envelope = Envelope {
        chain: four().id(),
        signer: key.account(),
        nonce,
        max_fee: Amount::from_units(1),
        tip: Amount::ZERO,
        expires: Millis::MAX,
        action,
    };
    let outcome = node.node.pool().submit(envelope.sign(key)).unwrap().outcome.await.unwrap();
    assert!(matches!(outcome, TxOutcome::Final { .. }), "{outcome:?}");
}

/// Waits until the validators of a node's state are as wanted.
async fn validators(node: &Validator, wanted: impl Fn(&[AccountId]) -> bool) {
    let mut heads = node.node.heads();
    while !node.node.read(|state, _| wanted(&view::validators(state))) {
        heads.changed().await.unwrap();
    }
}

/// Waits until a validator's state is that of `height`.
pub(super) async fn reach(validator: &Validator, height: u64) {
    let mut heads = validator.node.heads();
    heads.wait_for(|head| head.height >= height).await.unwrap();
}

pub(super) fn assert_agree(validators: &[Validator], up_to: u64) {
    for height in 1..=up_to {
        let heads: Vec<Head> =
            validators.iter().map(|one| one.told.lock().unwrap()[&height]).collect();
        assert!(heads.windows(2).all(|pair| pair[0] == pair[1]), "height {height}: {heads:?}");
    }
}

fn paid(validator: &Validator) -> Amount {
    validator.node.read(|state, _| usd(state, super::payee()))
}

#[test]
fn four_validators_agree_on_every_block() {
    Runner::seeded(3).start(async move |context: Context| {
        let oracle = network(&context, VALIDATORS).await;
        let mut validators = Vec::new();
        for index in 0..VALIDATORS {
            validators.push(start(&context, &oracle, index).await);
        }
        for nonce in 0..8 {
            let through = usize::try_from(nonce).unwrap() % validators.len();
            pay_through(&validators[through], nonce).await;
        }
        let height = validators[3].node.head().height;
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
        let oracle = network(&context, VALIDATORS).await;
        let mut validators = Vec::new();
        for index in 0..VALIDATORS - 1 {
            validators.push(start(&context, &oracle, index).await);
        }
        for nonce in 0..6 {
            pay_through(&validators[usize::try_from(nonce).unwrap() % 3], nonce).await;
        }
        validators.push(start(&context, &oracle, VALIDATORS - 1).await);
        pay_through(&validators[0], 6).await;
        let height = validators[0].node.head().height;
        for validator in &validators {
            reach(validator, height).await;
            assert_eq!(paid(validator), Amount::from_nanos(7));
        }
        assert_agree(&validators, height);
        context.sleep(Duration::from_millis(1)).await;
    });
}

#[test]
fn a_late_validator_votes_at_once_where_its_key_never_has() {
    Runner::seeded(37).start(async move |context: Context| {
        let genesis = Genesis { epoch_blocks: 100_000, ..four() };
        let dir = tempfile::tempdir().unwrap();
        let mark = unused_mark(dir.path());
        let oracle = network(&context, VALIDATORS).await;
        let mut nodes = Vec::new();
        for index in 0..VALIDATORS - 1 {
            nodes.push(start_of(&context, &oracle, index, false, genesis.clone()).await);
        }
        reach(&nodes[0], 5).await;
        let late = VALIDATORS - 1;
        nodes.push(start_new(&context, &oracle, late, (false, genesis, Some(mark.clone()))).await);
        assert!(!mark.exists(), "a second time it would not be true");
        // Three of four are needed, so the late one has to vote for anything to become final.
        drop(nodes.remove(0));
        for other in 1..VALIDATORS {
            oracle.remove_link(public(0), public(other)).await.unwrap();
            oracle.remove_link(public(other), public(0)).await.unwrap();
        }
        let height = nodes[0].node.head().height;
        for node in &nodes {
            reach(node, height + 5).await;
        }
        assert_agree(&nodes[..2], height + 5);
    });
}

#[test]
fn an_engine_follows_another_over_the_epochs_and_a_node_without_a_vote_follows_them() {
    Runner::seeded(9).start(async move |context: Context| {
        let oracle = network(&context, VALIDATORS + 1).await;
        let mut nodes = Vec::new();
        for index in 0..=VALIDATORS {
            nodes.push(start(&context, &oracle, index).await);
        }
        // What enters at the node without a vote reaches those who have one.
        let follower = usize::from(VALIDATORS);
        pay_through(&nodes[follower], 0).await;
        reach(&nodes[follower], 35).await;
        pay_through(&nodes[follower], 1).await;
        let height = nodes[follower].node.head().height;
        for node in &nodes {
            reach(node, height).await;
            assert_eq!(paid(node), Amount::from_nanos(2));
        }
        assert_agree(&nodes, height);
        let block = nodes[0].node.block(35).await.unwrap().unwrap();
        assert_eq!((block.header.epoch, block.header.height), (4, 35));
        assert_ne!(block.header.proposer, key(VALIDATORS).account());
    });
}

#[test]
fn a_node_that_was_away_for_epochs_catches_up_by_blocks() {
    Runner::seeded(11).start(async move |context: Context| {
        let oracle = network(&context, VALIDATORS).await;
        let mut nodes = Vec::new();
        for index in 0..VALIDATORS - 1 {
            nodes.push(start(&context, &oracle, index).await);
        }
        reach(&nodes[0], 30).await;
        nodes.push(start(&context, &oracle, VALIDATORS - 1).await);
        for node in &nodes {
            reach(node, 40).await;
        }
        assert_agree(&nodes, 40);
    });
}

#[test]
fn a_new_node_fetches_the_state_instead_of_every_block_and_goes_on_from_there() {
    Runner::seeded(13).start(async move |context: Context| {
        let oracle = network(&context, VALIDATORS + 1).await;
        let mut nodes = Vec::new();
        for index in 0..VALIDATORS {
            // On a new chain nobody has a state to fetch.
            nodes.push(start_with(&context, &oracle, index, true).await);
        }
        for nonce in 0..5 {
            pay_through(&nodes[usize::try_from(nonce).unwrap() % 4], nonce).await;
        }
        reach(&nodes[0], 37).await;
        let follower = start_with(&context, &oracle, VALIDATORS, true).await;
        let from = follower.node.head().height;
        assert!(from >= 30, "begins at {from}");
        assert_eq!(paid(&follower), Amount::from_nanos(5));
        pay_through(&follower, 5).await;
        reach(&follower, 50).await;
        assert_eq!(paid(&follower), Amount::from_nanos(6));
        let first = *follower.told.lock().unwrap().first_key_value().unwrap().0;
        assert!(first > 30, "was told block {first}");
        reach(&nodes[1], 50).await;
        let told = follower.told.lock().unwrap();
        let others = nodes[1].told.lock().unwrap();
        assert!(
            told.iter().filter(|(height, _)| **height <= 50).all(|(at, head)| others[at] == *head)
        );
    });
}

/// Starts a node that fetches its state, as a process that can be killed.
async fn start_process(
    context: &Context,
    oracle: &Oracle<PublicKey, Context>,
    index: u8,
) -> (Validator, Handle<()>) {
    let (sender, started) = futures::channel::oneshot::channel();
    let oracle = oracle.clone();
    let process = context.child("process").spawn(move |context| async move {
        let node = start_with(&context, &oracle, index, true).await;
        assert!(sender.send(node).is_ok());
        futures::future::pending::<()>().await;
    });
    (started.await.unwrap(), process)
}

#[test]
fn a_node_that_fetched_its_state_has_the_ends_of_all_epochs_also_after_a_restart() {
    Runner::seeded(43).start(async move |context: Context| {
        let oracle = network(&context, VALIDATORS + 1).await;
        let mut nodes = Vec::new();
        for index in 0..VALIDATORS {
            nodes.push(start(&context, &oracle, index).await);
        }
        reach(&nodes[0], 37).await;
        let (mut follower, mut process) = start_process(&context, &oracle, VALIDATORS).await;
        let first = follower.node.head().height;
        assert!(first >= 30, "begins at {first}");
        for height in [first + 9, first + 18] {
            reach(&follower, height).await;
            assert_eq!(follower.node.block(first - 8).await.unwrap(), None, "it was never told");
            for epoch in 0..height / 8 {
                let end = follower.node.epoch_end(epoch).await;
                assert!(end.is_some(), "epoch {epoch}");
                let view = |end: EpochEnd| end.view().unwrap();
                let other = nodes[1].node.epoch_end(epoch).await.map(view);
                // Certificates may be by other votes.
                let named = |end: views::EpochEnd| (end.header, end.next);
                assert_eq!(end.map(view).map(named), other.map(named));
            }
            assert_eq!(follower.node.epoch_end(1_000).await, None);
            process.abort();
            drop(follower);
            (follower, process) = start_process(&context, &oracle, VALIDATORS).await;
        }
    });
}

#[test]
fn a_new_node_begins_at_the_last_block_of_an_epoch_where_the_chain_stands_still_there() {
    Runner::seeded(29).start(async move |context: Context| {
        let oracle = network(&context, VALIDATORS + 1).await;
        let mut nodes = Vec::new();
        for index in 0..VALIDATORS {
            nodes.push(start(&context, &oracle, index).await);
        }
        pay_through(&nodes[0], 0).await;
        for node in &nodes[..2] {
            reach(node, 15).await;
        }
        // Two of four are cut off before anybody made the next block.
        let cut: Vec<(u8, u8)> = (0..=VALIDATORS)
            .flat_map(|one| [(one, 2), (one, 3), (2, one), (3, one)])
            .filter(|(from, to)| from != to)
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect();
        for (from, to) in &cut {
            oracle.remove_link(public(*from), public(*to)).await.unwrap();
        }
        assert_eq!((nodes[0].node.head().height, nodes[1].node.head().height), (15, 15));
        let follower = start_with(&context, &oracle, VALIDATORS, true).await;
        assert_eq!(follower.node.head().height, 15);
        assert_eq!(paid(&follower), Amount::from_nanos(1));
        assert!(follower.told.lock().unwrap().is_empty());
        for (from, to) in &cut {
            oracle.add_link(public(*from), public(*to), link()).await.unwrap();
        }
        reach(&follower, 25).await;
        pay_through(&follower, 1).await;
        assert_eq!(paid(&follower), Amount::from_nanos(2));
        assert_eq!(*follower.told.lock().unwrap().first_key_value().unwrap().0, 16);
    });
}

#[test]
fn who_has_stake_and_no_vote_follows_without_being_named() {
    Runner::seeded(31).start(async move |context: Context| {
        let oracle = network(&context, VALIDATORS + 2).await;
        let mut nodes = Vec::new();
        for index in 0..VALIDATORS {
            nodes.push(start(&context, &oracle, index).await);
        }
        // Nobody's settings name it, and its stake is too small for a vote.
        let (index, owner) = (VALIDATORS + 1, key(VALIDATORS + 1));
        let funds = Action::Transfer {
            to: owner.account(),
            asset: Asset::Mst,
            amount: Amount::from_units(20),
        };
        act(&nodes[0], &key(0), 0, funds).await;
        let fees = Action::Transfer {
            to: owner.account(),
            asset: Asset::Usd,
            amount: Amount::from_units(1),
        };
        act(&nodes[0], &key(0), 1, fees).await;
        act(&nodes[0], &owner, 0, Action::ValidatorSet { commission_bps: 0 }).await;
        act(&nodes[0], &owner, 1, Action::StakeAdd { amount: Amount::from_units(10) }).await;
        let height = nodes[0].node.head().height;
        reach(&nodes[0], height + 8).await;
        let follower = start_with(&context, &oracle, index, true).await;
        reach(&follower, height + 16).await;
        pay_through(&follower, 0).await;
        assert_eq!(paid(&follower), Amount::from_nanos(1));
        let votes = follower.node.read(|state, _| view::validators(state));
        assert!(!votes.contains(&owner.account()));
    });
}

#[test]
fn validators_join_and_leave_at_the_ends_of_epochs_while_blocks_go_on() {
    Runner::seeded(17).start(async move |context: Context| {
        let oracle = network(&context, VALIDATORS + 1).await;
        let mut nodes = Vec::new();
        for index in 0..=VALIDATORS {
            nodes.push(start(&context, &oracle, index).await);
        }
        let (joiner, leaver) = (key(VALIDATORS), key(0));
        let joins = &nodes[usize::from(VALIDATORS)];
        act(joins, &joiner, 0, Action::ValidatorSet { commission_bps: 0 }).await;
        act(joins, &joiner, 1, Action::StakeAdd { amount: STAKE }).await;
        validators(joins, |now| now.len() == 5 && now.contains(&joiner.account())).await;
        // It makes blocks, which the others accept.
        let mut height = joins.node.head().height;
        loop {
            height += 1;
            reach(&nodes[1], height).await;
            let block = nodes[1].node.block(height).await.unwrap().unwrap();
            if block.header.proposer == joiner.account() {
                break;
            }
        }
        let all = Action::Unstake { validator: leaver.account(), amount: STAKE };
        act(&nodes[0], &leaver, 0, all).await;
        validators(&nodes[0], |now| now.len() == 4 && !now.contains(&leaver.account())).await;
        // It follows on, and what enters there still gets into blocks.
        pay_through(&nodes[0], 0).await;
        let height = nodes[0].node.head().height;
        for node in &nodes {
            reach(node, height).await;
            assert_eq!(paid(node), Amount::from_nanos(1));
        }
        assert_agree(&nodes, height);
    });
}

#[test]
fn a_validator_that_contradicts_itself_is_slashed_and_loses_its_vote() {
    Runner::seeded(19).start(async move |context: Context| {
        let oracle = network(&context, VALIDATORS).await;
        let mut nodes = Vec::new();
        for index in 0..VALIDATORS - 1 {
            nodes.push(start(&context, &oracle, index).await);
        }
        let liar = key(VALIDATORS - 1);
        let quota = Quota::per_second(NZU32!(10_000));
        let control = oracle.control(public(VALIDATORS - 1));
        let (mut votes, _receiver) = control.register(0, quota).await.unwrap();
        let committee = engine_validators(&four().validators).unwrap();
        let namespace = vote_namespace(&four().id());
        let scheme = Scheme::signer(&namespace, committee, engine_key(&liar)).unwrap();
        let record = || nodes[0].node.read(|state, _| view::validator(state, &liar.account()));
        // Two votes in each of the next views, until somebody has seen both.
        while record().is_some_and(|found| found.status == ValidatorStatus::Active) {
            let height = nodes[0].node.head().height;
            let block = nodes[0].node.block(height).await.unwrap().unwrap();
            let parent = Ctx::decode(Bytes::from(block.preimage).slice(HEADER_BYTES..)).unwrap();
            for ahead in 1..4 {
                let round =
                    Round::new(parent.round.epoch(), View::new(parent.round.view().get() + ahead));
                for payload in [1, 2] {
                    let proposal =
                        Proposal::new(round, parent.round.view(), Digest::from([payload; 32]));
                    let vote = Vote::Notarize(Notarize::sign(&scheme, proposal).unwrap());
                    let epoch = UInt(round.epoch().get()).encode();
                    let message = Bytes::from([&epoch[..], &vote.encode()[..]].concat());
                    votes.send(Recipients::All, message, true);
                }
            }
            context.sleep(Duration::from_millis(200)).await;
        }
        let found = record().unwrap();
        assert!(matches!(found.status, ValidatorStatus::Jailed { .. }), "{found:?}");
        assert!(!found.slashed.is_zero() && found.own < STAKE, "{found:?}");
        validators(&nodes[0], |now| now.len() == 3 && !now.contains(&liar.account())).await;
        pay_through(&nodes[0], 0).await;
    });
}
