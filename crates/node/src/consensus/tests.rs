//! Tests of the engine's parts, and of one whole validator.

mod beacon;
mod hostile;
mod hot;
mod network;
mod node;
pub(super) mod rules;
mod store;
mod upgrade;

use super::{
    CHANNELS, Config, FinalizedBlock, NetworkConfig, Pace, p2p,
    wire::{Peers, Wire},
};
use crate::mempool::{PoolLimits, TxPool};
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::authenticated::discovery;
use commonware_runtime::deterministic::Context;
use muster_ledger::{
    Action, Genesis, Params, State, Tx,
    genesis::{Balance, EPOCH_BLOCKS, PROTOCOL},
    keys,
};
use muster_types::{AccountId, Amount, Asset, Envelope, Hash, Millis, SecretKey};
use std::{path::Path, sync::Arc};
use tokio::sync::mpsc;

/// What the payer owns at genesis.
const FUNDS: Amount = Amount::from_nanos(1_000_000_000_000);

fn validator() -> SecretKey {
    SecretKey::from_seed([1; 32])
}

fn payer() -> SecretKey {
    SecretKey::from_seed([2; 32])
}

/// Somebody who owns nothing.
fn stranger() -> SecretKey {
    SecretKey::from_seed([4; 32])
}

fn payee() -> AccountId {
    SecretKey::from_seed([3; 32]).account()
}

fn genesis() -> Genesis {
    let balance = Balance { usd: FUNDS, ..Balance::default() };
    Genesis {
        name: "test".into(),
        time: Millis(1),
        protocol: PROTOCOL,
        validators: vec![validator().account()],
        balances: [(payer().account(), balance)].into(),
        stakes: Default::default(),
        epoch_blocks: EPOCH_BLOCKS,
        params: Params::default(),
    }
}

/// Pays `nanos` from the payer to the payee.
fn pay(nonce: u64, nanos: u128) -> Tx {
    pay_as(&payer(), nonce, transfer(nanos))
}

/// Pays the payee.
fn transfer(nanos: u128) -> Action {
    Action::Transfer { to: payee(), asset: Asset::Usd, amount: Amount::from_nanos(nanos) }
}

fn pay_as(key: &SecretKey, nonce: u64, action: Action) -> Tx {
    Envelope {
        chain: genesis().id(),
        signer: key.account(),
        nonce,
        max_fee: Amount::from_units(1),
        tip: Amount::ZERO,
        expires: Millis::MAX,
        action,
    }
    .sign(key)
}

fn usd(state: &dyn State, account: AccountId) -> Amount {
    keys::ACCOUNTS.get(state, &account).map_or(Amount::ZERO, |account| account.usd)
}

fn paid(state: &dyn State) -> Amount {
    usd(state, payee())
}

/// A validator's settings, its pool, and the final blocks that it tells.
fn config(dir: &Path) -> (Config, TxPool, mpsc::UnboundedReceiver<FinalizedBlock>) {
    let genesis = genesis();
    let pool = TxPool::new(genesis.id(), PoolLimits::default());
    let (sender, blocks) = mpsc::unbounded_channel();
    let config = Config {
        dir: dir.to_owned(),
        key: validator(),
        genesis,
        network: NetworkConfig::Alone,
        state_sync: false,
        unused_key: None,
        anchor: None,
        pool: pool.clone(),
        pace: Pace::default(),
        on_applying: Arc::new(|_| {}),
        on_finalized: Arc::new(move |block| {
            // A test that no longer listens does not care.
            let _ = sender.send(block.clone());
        }),
    };
    (config, pool, blocks)
}

type Sender = Wire<discovery::Sender<PublicKey, Context>>;
type Receiver = Wire<discovery::Receiver<PublicKey>>;
type Nobody = Peers<p2p::Oracle>;

/// No network, in the simulator.
fn alone() -> ([(Sender, Receiver); CHANNELS], (Nobody, Nobody)) {
    let peers = Peers::alone();
    (std::array::from_fn(|_| (Wire(None), Wire(None))), (peers.clone(), peers))
}

fn hash(byte: u8) -> Hash {
    Hash([byte; 32])
}
