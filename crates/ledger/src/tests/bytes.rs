//! Bytes from anybody: decoding and applying never panics.

use super::{
    World,
    world::{hash, key},
};
use crate::{Action, Tx, dispute::Finding, market};
use borsh::BorshDeserialize;
use muster_types::{Millis, Rate, codec};
use muster_verify::Opening;
use proptest::prelude::*;

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
        cases: 2_000,
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

    #[test]
    fn arbitrary_actions_apply_or_are_refused(
        variant in 0u8..96,
        bytes in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let bytes = [vec![variant], bytes].concat();
        if let Ok(action) = Action::deserialize(&mut &bytes[..]) {
            let mut w = World::new();
            let tx = w.envelope("ann", action).sign(&key("ann"));
            w.block_of(500, &[tx]);
        }
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
