//! Messages from peers.

use super::*;
use crate::{consensus::recode, mempool::PoolLimits};
use commonware_codec::EncodeSize as _;
use muster_hostile::canonical;
use muster_ledger::Action;
use muster_types::{Amount, Asset, Envelope, Hash, Millis, SecretKey, codec};

fn tx(nonce: u64) -> Tx {
    let key = SecretKey::from_seed([1; 32]);
    let (to, amount) = (key.account(), Amount::from_nanos(1));
    Envelope {
        chain: Hash::ZERO,
        signer: key.account(),
        nonce,
        max_fee: Amount::ZERO,
        tip: Amount::ZERO,
        expires: Millis::MAX,
        action: Action::Transfer { to, asset: Asset::Usd, amount },
    }
    .sign(&key)
}

fn message(txs: &[Tx]) -> Vec<u8> {
    let txs: Vec<Bytes> = txs.iter().map(|tx| codec::encode(tx).into()).collect();
    txs.encode().to_vec()
}

#[test]
fn a_message_has_one_encoding_and_no_bent_transaction_enters_the_pool() {
    let genuine = [tx(0), tx(1), tx(2)];
    let pool = TxPool::new(Hash::ZERO, PoolLimits::default());
    let samples = [message(&genuine[..1]), message(&genuine)];
    let taken = canonical(&samples, 10_000, |bytes| {
        let txs = read(Bytes::copy_from_slice(bytes)).ok()?;
        let all_genuine =
            txs.iter().all(|bytes| Tx::decode(bytes).is_ok_and(|tx| genuine.contains(&tx)));
        assert_eq!(take(&pool, &txs, Origin::Validator).is_ok(), all_genuine);
        recode::gossip(bytes)
    });
    assert!(taken > 500, "{taken}");
    let pooled = pool.take(usize::MAX, usize::MAX, |_| false);
    assert!(pooled.iter().all(|candidate| genuine.contains(&candidate.tx)));
    assert_eq!(pooled.len(), genuine.len());
}

#[test]
fn a_message_holds_so_much_and_no_more() {
    for (count, bytes, fits) in [
        (0, 1, false),
        (1, 0, false),
        (MAX_TXS, 1, true),
        (MAX_TXS + 1, 1, false),
        (1, MAX_TX_BYTES, true),
        (1, MAX_TX_BYTES + 1, false),
    ] {
        let message = vec![Bytes::from(vec![0; bytes]); count].encode();
        assert_eq!(read(message.clone()).is_ok(), fits, "{count} of {bytes}");
    }
    let fullest = vec![Bytes::from(vec![0; MAX_BYTES / MAX_TXS]); MAX_TXS];
    assert!(fullest.encode_size() <= MAX_MESSAGE_BYTES);
}
