//! Spreads waiting transactions among the nodes.
//!
//! A message is a list of encoded transactions. What is malformed, of another chain or wrongly
//! signed comes from a peer that did not check what it passes on: it is cut off. What this node
//! has no room for it drops; whoever sent it keeps it and sends it again.

use crate::{
    consensus::Committees,
    mempool::{Origin, TxPool},
};
use bytes::Bytes;
use commonware_codec::{Buf, Decode as _, Encode as _, RangeCfg};
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{Blocker, Receiver, Recipients, Sender};
use commonware_runtime::{Clock, Spawner};
use futures::future::{Either, select};
use muster_ledger::Tx;
use muster_types::MAX_TX_BYTES;
use std::{pin::pin, time::Duration};

/// The most transactions in a message.
const MAX_TXS: usize = 256;
/// The most bytes of transactions in a message.
const MAX_BYTES: usize = 256 * 1024;
/// The most bytes of a message: every length has at most five.
pub(crate) const MAX_MESSAGE_BYTES: usize = MAX_BYTES + 5 * (1 + MAX_TXS);
/// How long transactions gather before they are sent together.
const GATHER: Duration = Duration::from_millis(20);
/// How often what still waits is sent again, and how much of it.
const AGAIN: Duration = Duration::from_secs(3);
const AGAIN_TXS: usize = 1_024;

/// Spreads what enters `pool` here, and takes in what peers spread. Ends where the network does.
pub(crate) async fn run<E, Tx, Rx, B>(
    context: E,
    pool: TxPool,
    committees: Committees,
    (sender, receiver): (Tx, Rx),
    blocker: B,
) where
    E: Clock + Spawner,
    Tx: Sender<PublicKey = PublicKey>,
    Rx: Receiver<PublicKey = PublicKey>,
    B: Blocker<PublicKey = PublicKey>,
{
    let spreading = Box::pin(spread(&context, &pool, sender));
    let receiving = Box::pin(receive(&pool, committees, receiver, blocker));
    select(spreading, receiving).await;
}

async fn spread<E: Clock>(
    context: &E,
    pool: &TxPool,
    mut sender: impl Sender<PublicKey = PublicKey>,
) {
    let mut again = context.current() + AGAIN;
    loop {
        let left = again.duration_since(context.current()).unwrap_or_default();
        if left.is_zero() {
            pool.spread_again(AGAIN_TXS);
            again = context.current() + AGAIN;
            continue;
        }
        let is_fresh = {
            let (fresh, later) = (pin!(pool.fresh()), pin!(context.sleep(left)));
            matches!(select(fresh, later).await, Either::Left(_))
        };
        if !is_fresh {
            continue;
        }
        context.sleep(GATHER).await;
        let txs = pool.take_fresh(MAX_BYTES, MAX_TXS);
        if !txs.is_empty() {
            // A peer that is not reached now is sent them again.
            sender.send(Recipients::All, txs.encode(), false);
        }
    }
}

async fn receive(
    pool: &TxPool,
    committees: Committees,
    mut receiver: impl Receiver<PublicKey = PublicKey>,
    mut blocker: impl Blocker<PublicKey = PublicKey>,
) {
    while let Ok((peer, message)) = receiver.recv().await {
        let origin = if committees.is_member(&peer) { Origin::Validator } else { Origin::Here };
        let taken = read(message).and_then(|txs| take(pool, &txs, origin));
        if let Err(fault) = taken {
            tracing::warn!(%peer, fault, "a peer spreads what is not a transaction: cut off");
            blocker.block(peer);
        }
    }
}

/// The encoded transactions in a message.
pub(crate) fn read(message: impl Buf) -> Result<Vec<Bytes>, String> {
    let lengths = (RangeCfg::from(1..=MAX_TXS), RangeCfg::from(1..=MAX_TX_BYTES));
    Vec::<Bytes>::decode_cfg(message, &lengths).map_err(|error| error.to_string())
}

/// Takes transactions in; the error tells which a peer should not have sent.
fn take(pool: &TxPool, txs: &[Bytes], origin: Origin) -> Result<(), String> {
    for tx in txs {
        let tx = Tx::decode(tx).map_err(|error| error.to_string())?;
        match pool.receive(tx, origin) {
            Err(reject) if reject.is_fault() => return Err(reject.to_string()),
            Err(reject) => tracing::debug!(%reject, "no room for a peer's transaction"),
            Ok(()) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
