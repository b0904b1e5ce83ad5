mod admission;

use super::*;
use muster_ledger::Action;
use muster_types::{Asset, Envelope, SecretKey};

const CHAIN: Hash = Hash([7; 32]);
const LIMITS: PoolLimits =
    PoolLimits { max_txs: 4, max_bytes: 4 * MAX_TX_BYTES, max_per_account: 3 };

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed([seed; 32])
}

fn envelope(seed: u8, nonce: u64, tip: u64) -> Envelope<Action> {
    let action = Action::Transfer {
        to: key(99).account(),
        asset: Asset::Usd,
        amount: Amount::from_nanos(1),
    };
    Envelope {
        chain: CHAIN,
        signer: key(seed).account(),
        nonce,
        max_fee: Amount::MAX,
        tip: Amount::from_units(tip),
        expires: Millis(1_000),
        action,
    }
}

fn tx(seed: u8, nonce: u64, tip: u64) -> Tx {
    envelope(seed, nonce, tip).sign(&key(seed))
}

fn pool() -> TxPool {
    TxPool::new(CHAIN, LIMITS)
}

fn take(pool: &TxPool) -> Vec<Tx> {
    pool.take(usize::MAX, usize::MAX, |_| false).into_iter().map(|taken| taken.tx).collect()
}

fn finalize(pool: &TxPool, height: u64, txs: &[Tx]) {
    pool.finalized(height, Hash::ZERO, Millis(500), txs.iter().map(|tx| (tx, tx.id())));
}

#[test]
fn higher_tips_go_first_then_earlier_arrivals_and_nonces_stay_in_order() {
    let pool = pool();
    let (late_nonce, first_nonce) = (tx(1, 6, 9), tx(1, 5, 1));
    let (early, late) = (tx(2, 0, 3), tx(3, 0, 3));
    for tx in [&late_nonce, &early, &late, &first_nonce] {
        pool.submit(tx.clone()).unwrap();
    }
    assert_eq!(take(&pool), [early, late, first_nonce, late_nonce]);
}

#[test]
fn take_respects_its_limits_and_what_to_skip() {
    let pool = pool();
    let txs = [tx(1, 0, 3), tx(2, 0, 2), tx(3, 0, 1)];
    for tx in &txs {
        pool.submit(tx.clone()).unwrap();
    }
    let bytes = txs[0].encoded().wire().len();
    let ids = |taken: Vec<Candidate>| taken.into_iter().map(|tx| tx.id).collect::<Vec<_>>();
    assert_eq!(ids(pool.take(usize::MAX, 2, |_| false)), [txs[0].id(), txs[1].id()]);
    assert_eq!(ids(pool.take(bytes, 9, |_| false)), [txs[0].id()]);
    assert_eq!(ids(pool.take(bytes - 1, 9, |_| false)), []);
    let skipped = txs[0].id();
    assert_eq!(ids(pool.take(usize::MAX, 9, |id| *id == skipped)), [txs[1].id(), txs[2].id()]);
}

#[test]
fn a_taken_transaction_stays_until_it_is_final() {
    let pool = pool();
    let mut submission = pool.submit(tx(1, 0, 1)).unwrap();
    assert_eq!(take(&pool).len(), 1);
    assert_eq!(take(&pool).len(), 1);
    assert!(submission.outcome.try_recv().is_err());
    finalize(&pool, 7, &[tx(1, 0, 1)]);
    assert!(pool.is_empty());
    assert_eq!(pool.bytes(), 0);
    let outcome = TxOutcome::Final { height: 7, block: Hash::ZERO, index: 0 };
    assert_eq!(submission.outcome.try_recv(), Ok(outcome));
}

#[test]
fn nobody_takes_the_place_of_an_account_by_naming_it() {
    let pool = pool();
    let own = tx(1, 0, 1);
    pool.submit(own.clone()).unwrap();
    let member = envelope(1, 0, 9).sign_member(&key(2));
    pool.submit(envelope(1, 0, 9).gather(vec![member])).unwrap();
    pool.submit(envelope(1, 0, 9).sign_as(&key(2))).unwrap();
    pool.submit(envelope(1, 0, 9).sign_as(&key(3))).unwrap();
    assert!(pool.contains(&own.id()));
    assert_eq!(pool.len(), 4);
    finalize(&pool, 7, &[own]);
    assert_eq!(pool.len(), 3);
}

#[test]
fn the_pool_refuses_what_is_not_for_it_or_too_much() {
    let other_chain = Envelope { chain: Hash::ZERO, ..envelope(1, 0, 1) }.sign(&key(1));
    let forged = envelope(1, 0, 1).sign(&key(2));
    let pool = pool();
    let refusal = |tx: &Tx| pool.submit(tx.clone()).unwrap_err();
    assert_eq!(
        refusal(&other_chain),
        PoolReject::WrongChain { given: Hash::ZERO, expected: CHAIN }
    );
    assert_eq!(refusal(&forged), PoolReject::Signature(KeyError::Signature));
    for nonce in 0..3 {
        pool.submit(tx(1, nonce, 1)).unwrap();
    }
    assert_eq!(refusal(&tx(1, 3, 1)), PoolReject::AccountFull { limit: 3 });
    pool.submit(tx(2, 0, 1)).unwrap();
    assert_eq!(refusal(&tx(3, 0, 1)), PoolReject::Full);
    assert_eq!(pool.len(), 4);
}

#[test]
fn a_higher_tip_replaces_a_nonce_even_in_a_full_pool() {
    let pool = pool();
    for seed in 2..5 {
        pool.submit(tx(seed, 0, 1)).unwrap();
    }
    let mut first = pool.submit(tx(1, 0, 2)).unwrap();
    assert_eq!(pool.submit(tx(1, 0, 1)).unwrap_err(), PoolReject::NonceTaken { nonce: 0 });
    pool.submit(tx(1, 0, 3)).unwrap();
    assert_eq!(first.outcome.try_recv(), Ok(TxOutcome::Replaced));
    assert_eq!(take(&pool)[0], tx(1, 0, 3));
    assert_eq!(pool.len(), 4);
}

#[test]
fn all_submitters_of_one_transaction_are_told_its_outcome() {
    let pool = pool();
    let mut submissions: Vec<_> =
        (0..MAX_WATCHERS).map(|_| pool.submit(tx(1, 0, 1)).unwrap()).collect();
    assert_eq!(pool.submit(tx(1, 0, 1)).unwrap_err(), PoolReject::Watched);
    assert_eq!(pool.len(), 1);
    pool.rejected(vec![(tx(1, 0, 1).id(), Reject::BadSignature)]);
    for submission in &mut submissions {
        let outcome = TxOutcome::Rejected(Reject::BadSignature);
        assert_eq!(submission.outcome.try_recv(), Ok(outcome));
    }
    assert!(pool.is_empty());
}

#[test]
fn a_final_block_removes_rivals_and_late_ones() {
    let pool = pool();
    let mut rival = pool.submit(tx(1, 0, 1)).unwrap();
    let late = Envelope { expires: Millis(499), ..envelope(2, 0, 1) }.sign(&key(2));
    let mut late = pool.submit(late).unwrap();
    let just = Envelope { expires: Millis(500), ..envelope(3, 0, 1) }.sign(&key(3));
    pool.submit(just.clone()).unwrap();
    finalize(&pool, 1, &[tx(1, 0, 5)]);
    assert_eq!(rival.outcome.try_recv(), Ok(TxOutcome::Replaced));
    assert_eq!(late.outcome.try_recv(), Ok(TxOutcome::Expired));
    assert_eq!(take(&pool), [just]);
}

#[test]
fn a_proposed_transaction_makes_no_work_until_its_height_passes_without_it() {
    let pool = pool();
    assert!(!pool.has_work());
    pool.submit(tx(1, 0, 1)).unwrap();
    assert!(pool.has_work());
    pool.proposed(4, &[tx(1, 0, 1).id()]);
    assert!(!pool.has_work());
    finalize(&pool, 3, &[]);
    assert!(!pool.has_work());
    finalize(&pool, 4, &[]);
    assert!(pool.has_work());
}

#[test]
fn what_enters_here_is_spread_once_and_again_while_it_waits() {
    let pool = pool();
    let (own, from_validator, from_follower) = (tx(1, 0, 1), tx(2, 0, 1), tx(3, 0, 1));
    let wires = |txs: &[&Tx]| -> Vec<Bytes> {
        txs.iter().map(|tx| Bytes::copy_from_slice(tx.encoded().wire())).collect()
    };
    pool.submit(own.clone()).unwrap();
    pool.receive(from_validator.clone(), Origin::Validator).unwrap();
    pool.receive(from_follower.clone(), Origin::Here).unwrap();
    // What is there already changes nothing.
    pool.receive(own.clone(), Origin::Validator).unwrap();
    assert_eq!(pool.take_fresh(usize::MAX, 1), wires(&[&own]));
    assert_eq!(pool.take_fresh(usize::MAX, 9), wires(&[&from_follower]));
    assert_eq!(pool.take_fresh(usize::MAX, 9), wires(&[]));
    finalize(&pool, 1, &[own]);
    pool.spread_again(9);
    pool.spread_again(9);
    assert_eq!(pool.take_fresh(usize::MAX, 9), wires(&[&from_follower]));
    // Submitted here after all: its user wants it spread from here.
    pool.submit(from_validator.clone()).unwrap();
    assert_eq!(pool.take_fresh(usize::MAX, 9), wires(&[&from_validator]));
    assert_eq!(pool.len(), 2);
}

#[test]
fn a_message_of_what_is_spread_has_at_most_so_many_bytes() {
    let pool = pool();
    let txs = [tx(1, 0, 1), tx(2, 0, 1), tx(3, 0, 1)];
    for tx in &txs {
        pool.submit(tx.clone()).unwrap();
    }
    let bytes = txs[0].encoded().wire().len();
    for _ in &txs {
        assert_eq!(pool.take_fresh(2 * bytes - 1, 9).len(), 1);
    }
    assert!(pool.take_fresh(2 * bytes, 9).is_empty());
}

#[test]
fn a_peer_is_at_fault_for_what_it_could_have_known() {
    let pool = pool();
    let mut forged = tx(1, 0, 1);
    forged.auth = tx(1, 1, 1).auth;
    let reject = pool.receive(forged, Origin::Validator).unwrap_err();
    assert!(reject.is_fault(), "{reject}");
    for nonce in 0..3 {
        pool.receive(tx(1, nonce, 1), Origin::Validator).unwrap();
    }
    let reject = pool.receive(tx(1, 3, 1), Origin::Validator).unwrap_err();
    assert!(!reject.is_fault(), "{reject}");
    let reject = pool.receive(tx(1, 2, 0), Origin::Validator).unwrap_err();
    assert!(!reject.is_fault(), "{reject}");
}
