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
fn a_tip_is_paid_on_top_of_the_floor_within_max_fee() {
    let mut w = World::with(&["val", "eve"], |params| params.fee_per_unit = nanos(1_000));
    w.provider("pat", "1");
    let fees_paid = |w: &World| w.provider_of("pat").conduct.fees_paid;
    let before = (fees_paid(&w), w.usd_of("pat"), w.usd_of("val"));
    let (tip, fee) = (nanos(250_000), nanos(251_000));
    let tipped = |w: &mut World| {
        let envelope = w.envelope("pat", Action::ProviderDrain {});
        muster_types::Envelope { tip, max_fee: fee, ..envelope }
    };
    let mut envelope = tipped(&mut w);
    envelope.max_fee = nanos(250_999);
    let reject = w.refused_tx(&envelope.sign(&key("pat")));
    assert_eq!(reject, Reject::FeeTooHigh { fee, max_fee: nanos(250_999) });
    let tx = tipped(&mut w).sign(&key("pat"));
    let receipt = w.block_of(500, &[tx]).results[0].clone().unwrap();
    assert_eq!(receipt.fee, fee);
    assert_eq!(w.usd_of("pat"), before.1.checked_sub(fee).unwrap());
    assert_eq!(w.usd_of("val"), before.2.checked_add(fee).unwrap());
    // A proposer may be a friend: only the floor speaks for a provider.
    assert_eq!(fees_paid(&w), before.0.checked_add(nanos(1_000)).unwrap());
}

#[test]
fn an_order_that_tips_clears_before_one_that_does_not() {
    let mut w = World::new();
    w.provider("pat", "1");
    let escrows = ["ann", "bob"].map(|who| (who, w.open_escrow(who, usd(100))));
    // Eight leases each, and room for eight.
    let txs = escrows.map(|(who, escrow)| {
        let order = w.order_for(escrow, None, 8);
        let envelope = w.envelope(who, order);
        let tip = if who == "bob" { nanos(1) } else { Amount::ZERO };
        muster_types::Envelope { tip, ..envelope }.sign(&key(who))
    });
    let orders = txs.each_ref().map(|tx| OrderId::derive(&tx.id()));
    assert!(w.block_of(500, &txs).results.iter().all(Result::is_ok));
    let granted = orders.map(|order| w.order(&order).leases.len());
    assert_eq!(granted, [0, 8]);
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
