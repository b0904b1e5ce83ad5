//! Bytes from anybody: decoding and applying never panics.

use super::{
    World,
    world::{PEOPLE, hash, id, key},
};
use crate::{
    Action, Event, Genesis, Head, Params, Receipt, Tx,
    account::Account,
    archive,
    dispute::Finding,
    escrow::Escrow,
    genesis::{Balance, EPOCH_BLOCKS, PROTOCOL},
    market::{self, Lease, Order},
    provider::{Host, Provider},
    view,
};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_hostile::{Meter, allowance, bent, bent_text, canonical, peak_during};
use muster_market::Terms;
use muster_types::{Hash, Millis, Rate, codec};
use muster_verify::Opening;
use proptest::prelude::*;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng as _};
use std::collections::BTreeSet;

/// Transactions of every shape that the harness knows, to be bent.
fn samples() -> Vec<Vec<u8>> {
    let mut w = World::new();
    w.provider("pat", "1");
    let escrow = w.open_escrow("ann", super::usd(10));
    let job = w.open_job("ann", escrow);
    let lease = w.grant("ann", escrow, Some(job), 1)[0];
    let lease_provider = w.lease(&lease).provider();
    let acts = [
        w.order_for(escrow, Some(job), 3),
        Action::HostSet { index: 1, spec: w.spec("2") },
        Action::Heartbeat { leases: vec![lease; 3] },
        Action::DisputeOpen {
            job,
            claims: Box::new([w.claim(lease, 0, 1), w.claim(lease, 0, 2)]),
            evidence: "nowhere".into(),
        },
        Action::ProviderSet { profile: Default::default() },
        Action::ChallengeOpen { lease, last: hash(1), evidence: "nowhere".into() },
        Action::BisectReveal {
            dispute: Default::default(),
            openings: vec![Opening { state: hash(1), proof: vec![hash(2); 3] }; 2],
        },
        Action::StepVote { dispute: Default::default(), finding: Finding::State { hash: hash(1) } },
        Action::AttributeSign {
            provider: lease_provider,
            attributes: [("tier".to_owned(), "3".to_owned())].into(),
            until: Millis(9),
        },
        Action::ServiceRegister { name: "gateway".to_owned(), pledge: super::usd(1) },
        Action::OrderUpdate {
            order: w.lease(&lease).order,
            change: market::OrderChange::Shrink { leases: vec![lease; 2] },
        },
        Action::BidPlace { order: w.lease(&lease).order, host: 1, rate: Rate::MAX, count: 3 },
        Action::BidAccept { order: w.lease(&lease).order, hosts: vec![w.lease(&lease).host] },
    ];
    acts.into_iter().map(|action| codec::encode(&w.sign("ann", action))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200_000,
        rng_seed: proptest::test_runner::RngSeed::Fixed(1),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn decoding_arbitrary_bytes_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        if let Ok(tx) = Tx::decode(&bytes) {
            prop_assert_eq!(codec::encode(&tx), bytes);
        }
    }
}

/// How many arbitrary actions are signed and put in blocks.
const ACTIONS: u32 = 120_000;
/// So many in a row meet the same, ever stranger, world.
const ROW: u32 = 300;

/// Bytes that often decode: mostly small numbers, and names of what exists.
fn likely_bytes(random: &mut ChaCha8Rng, ids: &[Hash]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..random.next_u32() % 12 {
        match random.next_u32() % 4 {
            0 => bytes.extend(ids[random.next_u32() as usize % ids.len()].as_bytes()),
            1 => bytes
                .extend((u128::from(random.next_u32()) << (random.next_u32() % 96)).to_le_bytes()),
            2 => bytes.extend((random.next_u32() % 5).to_le_bytes()),
            _ => bytes.extend((0..random.next_u32() % 24).map(|_| {
                let byte = random.next_u32();
                if byte & 0x700 == 0 { byte.to_le_bytes()[0] } else { byte.to_le_bytes()[0] % 3 }
            })),
        }
    }
    bytes.resize(bytes.len() + 600, 0);
    bytes
}

/// A world with a little of everything, and the names of what is in it.
fn furnished() -> (World, Vec<Hash>) {
    let mut w = World::new();
    w.provider("pat", "1");
    let escrow = w.open_escrow("ann", super::usd(10));
    let job = w.open_job("ann", escrow);
    let leases = w.grant("ann", escrow, Some(job), 2);
    let order = w.order_for(escrow, None, 100);
    let order = w.place("ann", order);
    let mut ids = vec![escrow.0, job.0, order.0, w.lease(&leases[0]).order.0, hash(1)];
    ids.extend(leases.iter().map(|lease| lease.0));
    ids.extend(PEOPLE.iter().map(|who| id(who).0));
    (w, ids)
}

#[test]
fn arbitrary_actions_apply_or_are_refused() {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let (mut decoded, mut applied) = (BTreeSet::new(), BTreeSet::new());
    let kinds = (0..=u8::MAX).filter(|kind| {
        let error = Action::deserialize(&mut &[&[*kind][..], &[0; 9]].concat()[..]).err();
        error.is_none_or(|error| !error.to_string().contains("Unexpected variant"))
    });
    let kinds: Vec<u8> = kinds.collect();
    let (mut w, mut ids) = furnished();
    for number in 0..ACTIONS {
        if number % ROW == 0 {
            (w, ids) = furnished();
        }
        let kind = kinds[random.next_u32() as usize % kinds.len()];
        let bytes = [vec![kind], likely_bytes(&mut random, &ids)].concat();
        let Ok(action) = Action::deserialize(&mut &bytes[..]) else { continue };
        decoded.insert(kind);
        let who = PEOPLE[random.next_u32() as usize % PEOPLE.len()];
        let tx = w.envelope(who, action).sign(&key(who));
        let done = w.block_of(u64::from(1 + random.next_u32() % 900), &[tx]);
        if let Ok(receipt) = &done.results[0] {
            applied.insert(kind);
            ids.push(receipt.tx.0);
        }
    }
    let missing: Vec<_> = kinds.iter().filter(|kind| !decoded.contains(kind)).collect();
    assert!(missing.is_empty(), "never decoded: {missing:?}");
    assert!(applied.len() >= 20, "applied: {applied:?} of {kinds:?}");
}

#[global_allocator]
static METER: Meter = Meter;

#[test]
fn transactions_bent_in_several_places_decode_to_themselves_in_little_memory() {
    let taken =
        canonical(&samples(), 60_000, |bytes| Tx::decode(bytes).ok().map(|tx| codec::encode(&tx)));
    assert!(taken > 1_000, "{taken}");
}

/// Tries the decoder of a type with values of it, bent.
fn try_decoder<T: BorshSerialize + BorshDeserialize>(samples: &[T]) {
    let samples: Vec<_> = samples.iter().map(codec::encode).collect();
    let taken = canonical(&samples, 4_000, |bytes| {
        codec::decode::<T>(bytes, 1 << 20).ok().map(|value| codec::encode(&value))
    });
    assert!(taken > 20, "{taken}");
}

#[test]
fn what_is_told_and_kept_decodes_to_itself_in_little_memory_however_it_is_bent() {
    let (mut w, _) = furnished();
    let leases = view::leases_of_provider(&w.state, &id("pat"));
    let (lease, record) = leases[0].clone();
    w.by_provider(&lease, Action::LeaseReady { lease });
    let mut events = w.beat(500).events;
    let close = w.sign("ann", Action::LeaseClose { lease });
    let done = w.block_of(500, &[close]);
    let [Ok(receipt)] = &done.results[..] else { panic!("{:?}", done.results) };
    try_decoder::<Receipt>(std::slice::from_ref(receipt));
    events.extend(done.events);
    try_decoder::<Event>(&events);
    let order = w.order(&record.order);
    try_decoder::<Terms>(&[order.terms.clone(), Terms::default()]);
    try_decoder::<Params>(&[Params::default()]);
    try_decoder::<Order>(&[order]);
    try_decoder::<Lease>(&[record, w.lease(&lease)]);
    try_decoder::<Escrow>(&[w.escrow(&w.lease(&lease).escrow)]);
    try_decoder::<Provider>(&[w.provider_of("pat")]);
    try_decoder::<Host>(&[w.host_of("pat", 0)]);
    try_decoder::<Account>(&[w.account("ann")]);
    try_decoder::<Head>(&[w.head()]);
}

#[test]
fn a_genesis_from_anybody_is_refused_or_begins_a_chain() {
    let balance = Balance { usd: super::usd(5), mst: super::usd(1) };
    let genesis = Genesis {
        name: "test".into(),
        time: Millis(1),
        protocol: PROTOCOL,
        validators: vec![id("val"), id("ann")],
        balances: [(id("val"), balance), (id("bob"), balance)].into(),
        stakes: [(id("ann"), super::usd(3))].into(),
        epoch_blocks: EPOCH_BLOCKS,
        params: Params::default(),
    };
    let text = serde_json::to_string(&genesis).unwrap();
    assert_eq!(serde_json::from_str::<Genesis>(&text).unwrap(), genesis);
    let (mut read, mut begun) = (0, 0);
    bent_text(&[&text], 20_000, |text| {
        let Ok(genesis) = serde_json::from_str::<Genesis>(text) else { return };
        read += 1;
        let sound = genesis.check().is_ok();
        assert_eq!(genesis.changes().is_ok(), sound, "{text}");
        begun += u32::from(sound);
    });
    assert!(read > begun && begun > 100, "{begun} of {read}");
}

#[test]
fn what_is_kept_of_the_past_may_be_damaged() {
    let (w, _) = furnished();
    let records: Vec<(Vec<u8>, Vec<u8>)> = w
        .state
        .iter()
        .filter(|(key, value)| !archive::entries(key, value).is_empty())
        .map(|(key, value)| (key.to_vec(), value.to_vec()))
        .collect();
    assert!(records.len() > 3, "{}", records.len());
    for (key, value) in &records {
        let samples = [codec::encode(&(key.clone(), value.clone()))];
        bent(&samples, 2_000, |bytes| {
            let Ok((key, value)) = codec::decode::<(Vec<u8>, Vec<u8>)>(bytes, 1 << 16) else {
                return;
            };
            let (_, peak) = peak_during(|| archive::entries(&key, &value));
            assert!(peak <= allowance(bytes.len()), "{peak}: {bytes:?}");
        });
    }
}

#[test]
fn bent_transactions_are_refused_or_decode_to_themselves() {
    for sample in samples() {
        assert!(Tx::decode(&sample).is_ok());
        for at in 0..sample.len() {
            for bend in [1, 0x80, 0xff] {
                let mut bytes = sample.clone();
                bytes[at] ^= bend;
                if let Ok(tx) = Tx::decode(&bytes) {
                    assert_eq!(codec::encode(&tx), bytes, "two encodings of one transaction");
                    assert!(tx.verify().is_err(), "a bent transaction passed");
                }
            }
            assert!(Tx::decode(&sample[..at]).is_err(), "a cut transaction decoded");
        }
    }
}

#[test]
fn a_transaction_that_is_too_long_is_not_decoded() {
    let bytes = vec![0; muster_types::MAX_TX_BYTES + 1];
    assert!(matches!(Tx::decode(&bytes), Err(codec::DecodeError::TooLong { .. })));
}
