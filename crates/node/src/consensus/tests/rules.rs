use super::{
    super::{
        MAX_BLOCK_BYTES, MAX_BLOCK_TXS, PROTOCOL_VERSION,
        block::{
            Block, HEADER_BYTES, Header, encoded_id, preimage, to_account, to_digest, to_hash,
        },
        body_root,
        committee::{Epochs, committee_hash},
        digest_of, engine_key, engine_validators,
        rules::{
            Assembled, BlockReject, MAX_DRIFT, MAX_STEP, assemble, block_context, check_header,
            check_time, clock_wait, execute, handover, next_beacon, next_time, rejected_for_good,
        },
        store::Ledger,
    },
    FUNDS, genesis, hash, pay, pay_as, payee, stranger, transfer, validator,
};
use crate::mempool::Candidate;
use bytes::Bytes;
use commonware_codec::{DecodeExt as _, Encode as _};
use commonware_consensus::{
    BoundedBlock as _,
    simplex::types::Context,
    types::{Epoch, Round, View},
};
use commonware_cryptography::{Digestible as _, Signer as _};
use commonware_glue::stateful::db::DatabaseSet;
use commonware_runtime::tokio::Context as Tokio;
use muster_ledger::{BlockBuilder, ExecuteError, MemoryState, Reject, Tx};
use muster_types::{MAX_TX_BYTES, Millis, codec};
use std::sync::Arc;

pub(in super::super) fn root_block() -> Block {
    let empty = <Ledger<Tokio> as DatabaseSet<Tokio>>::initial_sync_targets();
    let leader = engine_key(&validator()).public_key();
    Block::genesis(
        (PROTOCOL_VERSION, genesis().id()),
        Millis(1_000),
        leader,
        &genesis().validators,
        &empty,
    )
}

fn first_state() -> MemoryState {
    let mut state = MemoryState::default();
    state.apply(genesis().changes().unwrap());
    state
}

/// A block on genesis with these transactions; the state's roots are not computed.
pub(super) fn child(txs: &[Tx]) -> Block {
    let parent = root_block();
    let digest = to_hash(&parent.digest());
    let mut block = parent.clone();
    block.context = Context {
        round: Round::new(Epoch::zero(), View::new(1)),
        leader: parent.context.leader.clone(),
        parent: (View::zero(), to_digest(digest)),
    };
    block.body = Arc::new(txs.iter().map(|tx| Bytes::from(codec::encode(tx))).collect());
    block.header.parent = digest;
    block.header.height = 1;
    block.header.time = Millis(1_500);
    block.header.beacon = next_beacon(&parent.header.beacon, &digest);
    block.header.beacon_round = 1;
    let ids: Vec<_> = txs.iter().map(Tx::id).collect();
    block.header.body_root = body_root(&ids);
    let state = first_state();
    let mut builder =
        BlockBuilder::new(&state, block_context(&block.header, &block.context)).unwrap();
    for tx in txs {
        // What the ledger rejects causes no events.
        let _ = builder.push_verified(tx);
    }
    block.header.event_root = builder.finish().event_root;
    block
}

const EPOCHS: Epochs = Epochs::new(1_000);

#[test]
fn a_rejection_on_a_block_that_is_not_final_counts_where_the_final_state_agrees() {
    let (good, poor) = (pay(0, 5), pay_as(&stranger(), 0, transfer(1)));
    let candidates = [&good, &poor].map(|tx| (tx.id(), tx.clone())).to_vec();
    let empty = child(&[]);
    let context = block_context(&empty.header, &empty.context);
    let gone = rejected_for_good(&first_state(), context, candidates);
    assert_eq!(gone, [(poor.id(), Reject::NoAccount)]);
}

#[test]
fn the_last_block_of_an_epoch_names_the_next_validators_and_no_other_does() {
    let epochs = Epochs::new(4);
    let validators = vec![validator().account()];
    // (height, epoch, last)
    let table = [(0, 0, false), (2, 0, false), (3, 0, true), (4, 1, false), (7, 1, true)];
    for (height, epoch, last) in table {
        assert_eq!((epochs.of(height), epochs.is_last(height)), (epoch, last), "{height}");
        let (committed, next) = handover(epochs, height, &validators);
        assert_eq!(committed, committee_hash(&validators));
        assert_eq!(next, if last { validators.clone() } else { Vec::new() });
    }
    assert_eq!([0, 1, 2].map(|epoch| epochs.root(epoch)), [0, 3, 7]);

    // A block that does not hand over as it must is refused.
    let good = child(&[]);
    assert!(execute(&first_state(), &good, EPOCHS).is_ok());
    let mut silent = good.clone();
    silent.header.height = 1;
    let mut other = good.clone();
    other.header.validators = committee_hash(&[payee()]);
    let mut early = good;
    early.next = Arc::new(validators);
    for block in [other, early] {
        let reject = execute(&first_state(), &block, EPOCHS).unwrap_err();
        assert_eq!(reject, BlockReject::Commitment { field: "validators" });
    }
    let last = Epochs::new(2);
    let reject = execute(&first_state(), &silent, last).unwrap_err();
    assert_eq!(reject, BlockReject::Commitment { field: "validators" });
}

#[test]
fn the_engine_orders_validators_as_the_ledger_does() {
    let mut accounts: Vec<_> =
        (0..32).map(|seed| muster_types::SecretKey::from_seed([seed; 32]).account()).collect();
    accounts.sort_unstable();
    let engine = engine_validators(&accounts).unwrap();
    assert!(engine.iter().map(to_account).eq(accounts));
}

fn candidates(txs: &[Tx]) -> Vec<Candidate> {
    let candidate =
        |tx: &Tx| Candidate { id: tx.id(), tx: tx.clone(), encoded: codec::encode(tx).into() };
    txs.iter().map(candidate).collect()
}

#[test]
fn the_engine_signs_as_the_validators_account() {
    for seed in 0..8 {
        let key = muster_types::SecretKey::from_seed([seed; 32]);
        let public = engine_key(&key).public_key();
        assert_eq!(super::super::block::to_account(&public), key.account());
    }
}

#[test]
fn a_blocks_time_is_later_than_its_parents_but_not_by_too_much() {
    let parent = Millis(1_000_000);
    let furthest = parent.after(MAX_STEP);
    let table = [
        (Millis(0), false),
        (Millis(999_999), false),
        (parent, false),
        (Millis(1_000_001), true),
        (furthest, true),
        (furthest.after(Millis(1)), false),
        (Millis::MAX, false),
    ];
    for (time, valid) in table {
        assert_eq!(check_time(parent, time).is_ok(), valid, "{time} after {parent}");
    }
}

#[test]
fn a_proposers_time_is_its_clocks_within_the_rules() {
    let parent = Millis(1_000_000);
    let table = [
        ("clock behind", Millis(5), Millis(1_000_001)),
        ("clock equal", parent, Millis(1_000_001)),
        ("clock ahead", Millis(1_000_400), Millis(1_000_400)),
        ("after a long halt", Millis::MAX, parent.after(MAX_STEP)),
    ];
    for (case, now, time) in table {
        assert_eq!(next_time(parent, now), time, "{case}");
        assert_eq!(check_time(parent, time), Ok(()), "{case}");
    }
}

#[test]
fn a_vote_waits_until_the_clock_is_near_the_blocks_time() {
    let now = Millis(10_000);
    let near = now.after(MAX_DRIFT);
    let table = [
        (Millis(9_000), Millis::ZERO),
        (now, Millis::ZERO),
        (near, Millis::ZERO),
        (near.after(Millis(1)), Millis(1)),
        (near.after(Millis(700)), Millis(700)),
    ];
    for (time, wait) in table {
        assert_eq!(clock_wait(time, now), wait, "{time}");
    }
}

#[test]
fn a_block_far_behind_the_clocks_is_valid_and_the_next_honest_one_makes_up_for_it() {
    let (parent, now) = (Millis(1_000_000), Millis(9_000_000));
    let lagging = [parent.after(Millis(1)), parent.after(Millis(2))];
    assert_eq!(check_time(parent, lagging[0]), Ok(()));
    assert_eq!(check_time(lagging[0], lagging[1]), Ok(()));
    // Nobody withholds a vote from it, however late it looks.
    assert_eq!(clock_wait(lagging[1], now), Millis::ZERO);
    assert_eq!(clock_wait(lagging[1], Millis::MAX), Millis::ZERO);
    let next = next_time(lagging[1], now);
    assert_eq!((next, check_time(lagging[1], next)), (now, Ok(())));
}

#[test]
fn every_field_of_the_header_that_follows_from_the_parent_is_checked() {
    type Damage = fn(&mut Block);
    let table: [(&str, Damage); 8] = [
        ("epoch", |block| block.header.epoch = 1),
        ("protocol", |block| block.header.version = 2),
        ("chain", |block| block.header.chain = hash(9)),
        ("later", |block| block.header.time = Millis(1_000)),
        ("parent does", |block| block.header.parent = hash(9)),
        ("height", |block| block.header.height = 2),
        ("proposer", |block| block.header.proposer = payee()),
        ("context", |block| block.context.round = Round::new(Epoch::zero(), View::new(7))),
    ];
    let parent = root_block();
    let digest = to_hash(&parent.digest());
    let good = child(&[]);
    let context = good.context.clone();
    assert_eq!(check_header(&parent.header, digest, &good, &context, EPOCHS), Ok(()));
    for (field, damage) in table {
        let mut block = good.clone();
        damage(&mut block);
        let reject = check_header(&parent.header, digest, &block, &context, EPOCHS).unwrap_err();
        assert!(reject.to_string().contains(field), "{field}: {reject}");
    }
}

#[test]
fn a_block_with_a_rejected_transaction_is_refused() {
    let too_much = pay(1, FUNDS.nanos());
    let block = child(&[pay(0, 5), too_much]);
    let reject = execute(&first_state(), &block, EPOCHS).unwrap_err();
    let BlockReject::Ledger(ExecuteError::Tx { index, reject }) = reject else {
        panic!("{reject}")
    };
    assert_eq!(index, 1);
    assert!(matches!(reject, Reject::InsufficientFunds { .. }), "{reject}");
}

#[test]
fn a_block_with_a_forged_signature_is_refused() {
    let mut forged = pay(0, 5);
    forged.auth = pay(1, 5).auth;
    let reject = execute(&first_state(), &child(&[forged]), EPOCHS).unwrap_err();
    let forged = ExecuteError::Tx { index: 0, reject: Reject::BadSignature };
    assert_eq!(reject, BlockReject::Ledger(forged));
}

#[test]
fn a_block_with_bytes_that_are_no_transaction_is_refused() {
    let mut block = child(&[pay(0, 5)]);
    block.body = Arc::new(vec![Bytes::from_static(b"nonsense")]);
    let reject = execute(&first_state(), &block, EPOCHS).unwrap_err();
    assert!(matches!(reject, BlockReject::Malformed { index: 0, .. }), "{reject}");
}

#[test]
fn a_block_that_claims_other_events_is_refused() {
    let mut block = child(&[pay(0, 5)]);
    assert!(execute(&first_state(), &block, EPOCHS).is_ok());
    block.header.event_root = hash(1);
    let reject = execute(&first_state(), &block, EPOCHS).unwrap_err();
    assert_eq!(reject, BlockReject::Commitment { field: "event root" });
}

#[test]
fn a_proposer_leaves_out_what_the_ledger_rejects_and_a_verifier_agrees() {
    let poor = pay_as(&stranger(), 0, transfer(1));
    let txs = [pay(0, 5), poor.clone(), pay(1, 6)];
    let empty = child(&[]);
    let context = block_context(&empty.header, &empty.context);
    let Assembled { executed, event_root, body, rejected, validators } =
        assemble(&first_state(), context, candidates(&txs)).unwrap();
    let good = child(&[pay(0, 5), pay(1, 6)]);
    assert_eq!((&body, event_root), (good.body.as_ref(), good.header.event_root));
    assert_eq!(validators, genesis().validators);
    assert_eq!(rejected, [(poor.id(), poor)]);
    assert_eq!(execute(&first_state(), &good, EPOCHS), Ok(executed));
}

#[test]
fn a_block_survives_its_encoding_and_keeps_its_digest() {
    let block = child(&[pay(0, 5), pay(1, 6)]);
    let encoded = block.encode();
    assert_eq!(codec::encode(&block.header).len(), HEADER_BYTES);
    let decoded = Block::decode(encoded.clone()).unwrap();
    assert_eq!(decoded, block);
    assert_eq!(decoded.digest(), block.digest());
    assert!(encoded.len() <= Block::max_encode_size(&()));
    for cut in 0..encoded.len() {
        assert!(Block::decode(encoded.slice(..cut)).is_err(), "{cut} bytes of {}", encoded.len());
    }
}

#[test]
fn the_digest_covers_context_and_every_field_of_the_header() {
    let block = child(&[pay(0, 5)]);
    let mut other_round = block.clone();
    other_round.context.round = Round::new(Epoch::zero(), View::new(2));
    assert_ne!(other_round.digest(), block.digest());
    let header = codec::encode(&block.header);
    for index in 0..header.len() {
        let mut changed = header.clone();
        changed[index] ^= 1;
        let mut other = block.clone();
        other.header = codec::decode(&changed, HEADER_BYTES).unwrap();
        assert_ne!(other.digest(), block.digest(), "byte {index}");
    }
}

#[test]
fn decoding_refuses_other_versions_other_bodies_and_empty_ranges() {
    type Damage = fn(&mut Block);
    let table: [(&str, Damage); 5] = [
        ("validators", |block| block.next = Arc::new(vec![payee()])),
        ("protocol version", |block| block.header.version = PROTOCOL_VERSION + 1),
        ("body is not", |block| block.body = Arc::new(vec![codec::encode(&pay(0, 6)).into()])),
        ("range", |block| block.header.ops_end = block.header.ops_start),
        ("range", |block| block.header.ops_end = u64::MAX),
    ];
    for (message, damage) in table {
        let mut block = child(&[pay(0, 5)]);
        damage(&mut block);
        let error = Block::decode(block.encode()).unwrap_err().to_string();
        assert!(error.contains(message), "{message}: {error}");
    }
}

#[test]
fn decoding_refuses_too_many_too_long_and_too_much() {
    let body = |count: usize, bytes: usize| {
        let mut block = child(&[]);
        block.body = Arc::new(vec![Bytes::from(vec![7; bytes]); count]);
        let ids: Vec<_> = block.body.iter().map(|tx| encoded_id(tx)).collect();
        block.header.body_root = body_root(&ids);
        block
    };
    let most = MAX_BLOCK_BYTES / MAX_TX_BYTES;
    let table = [
        (MAX_BLOCK_TXS, 1, true),
        (MAX_BLOCK_TXS + 1, 1, false),
        (1, MAX_TX_BYTES, true),
        (1, MAX_TX_BYTES + 1, false),
        (1, 0, false),
        (most, MAX_TX_BYTES, true),
        (most + 1, MAX_TX_BYTES, false),
    ];
    for (count, bytes, fits) in table {
        let block = body(count, bytes);
        let encoded = block.encode();
        assert_eq!(Block::decode(encoded.clone()).is_ok(), fits, "{count} of {bytes} bytes");
        assert!(!fits || encoded.len() <= Block::max_encode_size(&()));
    }
}

#[test]
fn ids_of_encoded_transactions_are_the_transactions_ids() {
    let tx = pay(3, 4);
    assert_eq!(encoded_id(&codec::encode(&tx)), tx.id());
}

#[test]
fn a_preimage_gives_header_and_digest() {
    let block = child(&[pay(0, 5)]);
    let preimage = preimage(&block.header, &block.context);
    assert_eq!(digest_of(&preimage), to_hash(&block.digest()));
    assert_eq!(Header::of_preimage(&preimage), Ok(block.header));
    assert!(Header::of_preimage(&preimage[..HEADER_BYTES - 1]).is_err());
}
