mod authority;

use crate::{
    Action, Event, Reject,
    tests::{
        World, nanos, usd,
        world::{hash, id, key},
    },
    view,
};
use muster_types::*;

fn pay(to: &str, asset: Asset, amount: Amount) -> Action {
    Action::Transfer { to: id(to), asset, amount }
}

#[test]
fn transfers_move_money_or_change_nothing() {
    use Asset::{Mst, Usd};
    let short = |needed, available| Some(Reject::InsufficientFunds { needed, available });
    // (who, to, asset, amount, refusal, ann's usd, ann's mst, bob's usd, bob's mst)
    let table = [
        ("ann", "bob", Usd, usd(300), None, 700, 10, 1_300, 10),
        ("ann", "bob", Usd, usd(701), short(usd(701), usd(700)), 700, 10, 1_300, 10),
        ("ann", "bob", Usd, usd(700), None, 0, 10, 2_000, 10),
        ("ann", "bob", Usd, Amount::ZERO, Some(Reject::ZeroAmount), 0, 10, 2_000, 10),
        ("bob", "bob", Usd, usd(2_000), None, 0, 10, 2_000, 10),
        ("bob", "ann", Mst, usd(10), None, 0, 20, 2_000, 0),
        ("bob", "ann", Mst, usd(1), short(usd(1), Amount::ZERO), 0, 20, 2_000, 0),
        ("bob", "ann", Usd, Amount::MAX, short(Amount::MAX, usd(2_000)), 0, 20, 2_000, 0),
        ("new", "ann", Usd, usd(1), Some(Reject::NoAccount), 0, 20, 2_000, 0),
    ];
    let mut w = World::new();
    for (who, to, asset, amount, refusal, ann_usd, ann_mst, bob_usd, bob_mst) in table {
        let act = pay(to, asset, amount);
        match refusal {
            Some(reject) => assert_eq!(w.refused(who, act), reject),
            None => {
                let (receipt, _) = w.ok(who, act);
                let (from, to) = (id(who), id(to));
                assert_eq!(receipt.events, [Event::Transferred { from, to, asset, amount }]);
            }
        }
        let (ann, bob) = (w.account("ann"), w.account("bob"));
        assert_eq!((ann.usd, ann.mst), (usd(ann_usd), usd(ann_mst)), "{who} {amount}");
        assert_eq!((bob.usd, bob.mst), (usd(bob_usd), usd(bob_mst)), "{who} {amount}");
    }
}

#[test]
fn every_transaction_pays_for_its_bytes_and_its_action_to_the_proposer() {
    let mut w = World::with(&["val"], |params| {
        params.fee_per_byte = nanos(3);
        params.fee_per_unit = nanos(1_000);
    });
    let tx = w.sign("ann", pay("bob", Asset::Usd, usd(1)));
    let fee = nanos(1_000 + 3 * codec::encode(&tx).len() as u128);
    let done = w.block_of(500, std::slice::from_ref(&tx));
    let receipt = done.results[0].clone().unwrap();
    assert_eq!((receipt.fee, receipt.tx), (fee, tx.id()));
    assert_eq!(w.usd_of("ann"), usd(999).checked_sub(fee).unwrap());
    assert_eq!(w.usd_of("val"), usd(1_000).checked_add(fee).unwrap());
    assert_eq!(view::supply(&w.state).fees, fee);

    let mut envelope = w.envelope("ann", pay("bob", Asset::Usd, usd(1)));
    envelope.max_fee = fee.checked_sub(nanos(1)).unwrap();
    let max_fee = envelope.max_fee;
    let reject = w.refused_tx(&envelope.clone().sign(&key("ann")));
    assert_eq!(reject, Reject::FeeTooHigh { fee, max_fee });
    envelope.max_fee = fee;
    assert!(w.block_of(500, &[envelope.sign(&key("ann"))]).results[0].is_ok());
}

#[test]
fn an_account_without_money_for_the_fee_is_refused() {
    let mut w = World::with(&["val"], |params| params.fee_per_unit = nanos(5));
    let all = usd(1_000).checked_sub(nanos(5)).unwrap();
    w.ok("ann", pay("bob", Asset::Usd, all));
    let short = Reject::InsufficientFunds { needed: nanos(5), available: Amount::ZERO };
    assert_eq!(w.refused("ann", pay("bob", Asset::Mst, usd(1))), short);
}

#[test]
fn an_envelope_is_good_for_one_chain_once_and_in_time() {
    let mut w = World::new();
    let mut envelope = w.envelope("ann", pay("bob", Asset::Usd, usd(1)));
    envelope.chain = hash(7);
    assert_eq!(w.refused_tx(&envelope.clone().sign(&key("ann"))), Reject::WrongChain);
    envelope.chain = w.chain;
    envelope.expires = w.head().now;
    let now = w.head().now.after(Millis(500));
    let expired = Reject::Expired { expires: envelope.expires, now };
    assert_eq!(w.refused_tx(&envelope.clone().sign(&key("ann"))), expired);
    envelope.expires = now;
    assert_eq!(w.refused_tx(&envelope.clone().sign(&key("bob"))), Reject::BadSignature);
    let tx = envelope.sign(&key("ann"));
    assert!(w.block_of(500, std::slice::from_ref(&tx)).results[0].is_ok());
    let Err(reject) = &w.block_of(500, &[tx]).results[0] else { panic!("replayed") };
    assert_eq!(reject.code(), "expired");
}

#[test]
fn many_transactions_are_in_flight_and_each_applies_once() {
    let mut w = World::new();
    let txs: Vec<_> =
        (0..64).map(|_| w.sign("ann", pay("bob", Asset::Usd, usd(1)))).rev().collect();
    let done = w.block_of(500, &txs);
    assert!(done.results.iter().all(Result::is_ok));
    assert_eq!(w.usd_of("bob"), usd(1_064));
    let replayed = w.block_of(500, &txs);
    assert!(
        replayed
            .results
            .iter()
            .all(|result| { matches!(result, Err(Reject::BadNonce { next: 64, window: 64, .. })) })
    );
    assert_eq!(w.usd_of("bob"), usd(1_064));
}
