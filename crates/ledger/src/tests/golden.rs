//! A fixed script gives the same state everywhere: a changed rule or encoding fails here.

use super::{World, kinds, random, usd};
use crate::{
    Action, keys,
    market::{Mode, Pick},
};
use muster_types::{DisputeId, Hash, Millis, Rate, codec};
use std::collections::{BTreeMap, BTreeSet};

/// Hash over everything that validators agree on, in key order.
fn state_root(w: &World) -> Hash {
    let agreed: Vec<(&[u8], &[u8])> =
        w.state.iter().filter(|(key, _)| key[0] < keys::DERIVED).collect();
    Hash::of("test state root", &[&muster_types::codec::encode(&agreed)])
}

#[test]
fn a_fixed_script_gives_a_fixed_state() {
    let mut w = World::with(&["val"], |params| params.fee_per_byte = super::nanos(1));
    w.provider("pat", "3.6");
    w.provider("quin", "1.8");
    let escrow = w.open_escrow("ann", usd(20));
    let job = w.open_job("ann", escrow);
    let order = w.order_for(escrow, Some(job), 10);
    let order = w.place("ann", order);
    let leases = w.order(&order).leases;
    for lease in [leases[0], leases[9]] {
        w.by_provider(&lease, Action::LeaseReady { lease });
    }
    for _ in 0..5 {
        w.beat(777);
    }
    let claims = Box::new([w.claim(leases[0], 3, 1), w.claim(leases[9], 3, 2)]);
    let evidence = "somewhere".to_owned();
    let (receipt, _) = w.ok("ann", Action::DisputeOpen { job, claims, evidence });
    let dispute = DisputeId::derive(&receipt.tx);
    let output = Some(super::world::result(1));
    w.ok("val", Action::DisputeVote { dispute, output });
    w.pass(80, 900);
    w.ok("ann", Action::JobClose { job });
    w.ok("ann", Action::EscrowClose { escrow });
    let expected = [
        "705ad958ae4ed8adc93094dd479f1309d874495ae58e0e14490f1bbd638069cf",
        "f00abb05f966929b53ebf9d2cda7f05145d1286c2ef8f49c19047c05d47d5c19",
    ];
    assert_eq!([state_root(&w), w.told].map(|hash| hash.to_string()), expected);
}

#[test]
fn every_kind_of_action_has_a_fixed_encoding() {
    let w = World::new();
    let encoded: Vec<_> = kinds::actions(&w)
        .into_iter()
        .map(|(name, action)| {
            let hash = Hash::of_content(&codec::encode(&action)).to_string();
            (name, hash[..8].to_owned())
        })
        .collect();
    let expected: [(&str, &str); 56] = [
        ("Transfer", "47b32dc8"),
        ("ProviderSet", "ea79283b"),
        ("BondAdd", "3ba151f9"),
        ("ProviderDrain", "e1e0e81d"),
        ("BondWithdraw", "0c389a74"),
        ("HostSet", "001052ca"),
        ("HostRemove", "b4c7bf42"),
        ("EscrowOpen", "439be11f"),
        ("EscrowDeposit", "dcab7516"),
        ("EscrowClose", "61e81622"),
        ("JobOpen", "fc4da1de"),
        ("JobClose", "ed880d54"),
        ("OrderPlace", "61735d96"),
        ("OrderCancel", "470a7fda"),
        ("LeaseReady", "63835e1e"),
        ("Heartbeat", "236b68ac"),
        ("LeaseClose", "1b9653d6"),
        ("ResultCommit", "f3948dd4"),
        ("ResultAccept", "bf102992"),
        ("DisputeOpen", "a2ade070"),
        ("DisputeVote", "22960d2e"),
        ("KeyGrant", "d2f0737d"),
        ("KeyRevoke", "56eba563"),
        ("MultisigSet", "35891cfa"),
        ("ChallengeOpen", "dd7dde46"),
        ("BisectReveal", "f6cc8ac2"),
        ("BisectPick", "ed84262a"),
        ("StepVote", "c75fa3e0"),
        ("ValidatorSet", "30cf5ae0"),
        ("StakeAdd", "31478016"),
        ("Delegate", "de0c1ce8"),
        ("Unstake", "1a9f3b59"),
        ("UnstakeClaim", "ab61b575"),
        ("RewardClaim", "230dc1a6"),
        ("ValidatorUnjail", "52066642"),
        ("Propose", "dc33ac08"),
        ("Vote", "ea3031b4"),
        ("BondUnbond", "556047ae"),
        ("ProviderUnjail", "bbc6cff3"),
        ("AffiliateSet", "b107845e"),
        ("AuditorRegister", "960e150b"),
        ("AuditorLeave", "397508f4"),
        ("AttributeSign", "7c79379e"),
        ("AttributeRevoke", "d7701a02"),
        ("ServiceRegister", "bf298f2e"),
        ("ServiceUnregister", "ad252bc1"),
        ("BidPlace", "6988c63e"),
        ("BidWithdraw", "03da6587"),
        ("BidAccept", "fd2b21b6"),
        ("OrderUpdate", "89851765"),
        ("ReadyReject", "42e30432"),
        ("LeaseDecline", "a1242b44"),
        ("LeaseReclaim", "01b67579"),
        ("SeatsSet", "bb9d1820"),
        ("EquivocationReport", "a3c0ff4f"),
        ("BeaconDeal", "5b612e10"),
    ];
    assert_eq!(encoded, expected.map(|(name, hash)| (name, hash.to_owned())));
}

/// What hardly any random sequence brings about: a bid taken back, a jail's end, seats, a deal.
fn what_is_rare() -> World {
    let mut w = World::with(&["val", "eve"], |params| params.jail_breaks = 1);
    w.ok("val", Action::BeaconDeal { epoch: 0, log: vec![1, 2, 3] });
    w.ok("ann", Action::ValidatorSet { commission_bps: 100 });
    w.ok("ann", Action::SeatsSet { seats: Vec::new() });
    w.provider("pat", "3.6");
    let escrow = w.open_escrow("ann", usd(20));
    let mut order = w.order_for(escrow, None, 1);
    if let Action::OrderPlace { mode, .. } = &mut order {
        *mode = Mode::Bids { window_ms: Millis(5_000), bids_max: 3, pick: Pick::Tenant };
    }
    let order = w.place("ann", order);
    w.ok("pat", Action::BidPlace { order, host: 0, rate: Rate::ZERO, count: 1 });
    w.ok("pat", Action::BidWithdraw { order, host: 0 });
    let lease = w.active("ann", escrow, None);
    w.ok("pat", Action::LeaseClose { lease });
    let jail = w.provider_of("pat").conduct.jailed_until;
    w.pass(1, jail.since(w.head().now).0);
    w.ok("pat", Action::ProviderUnjail {});
    w
}

#[test]
fn every_kind_of_action_does_the_same_everywhere() {
    let all = kinds::actions(&World::new());
    let missing = |applied: &BTreeSet<String>| -> Vec<&str> {
        all.iter().map(|(name, _)| *name).filter(|name| !applied.contains(*name)).collect()
    };
    let mut w = what_is_rare();
    let (mut applied, mut told, mut seeds) = (BTreeSet::new(), Hash::ZERO, 0..60);
    loop {
        told = Hash::of_content(&codec::encode(&[told, state_root(&w), w.told]));
        applied.extend(w.applied);
        let Some(seed) = seeds.next().filter(|_| !missing(&applied).is_empty()) else { break };
        w = random::run(seed, 250, &mut BTreeMap::new());
    }
    assert!(missing(&applied).is_empty(), "not applied: {:?}", missing(&applied));
    assert_eq!(
        told.to_string(),
        "96ecd24bc71805b58c52b0b5448b3c952666f74e8460091ce678be66d2f33dcf",
        "state, and what was told, up to seed {seeds:?}"
    );
}
