//! Every code of [`Reject`] is produced by an act.

use super::{
    World,
    world::{hash, id, key, usd},
};
use crate::{
    Action, Reject,
    account::{Multisig, Scope, Scopes},
    reject,
};
use muster_types::*;

/// The codes, by an exhaustive match: a new variant does not compile until it is listed here.
fn all_codes() -> Vec<&'static str> {
    use reject::Reject as R;
    let zero = Amount::ZERO;
    let next = |reject: &R| -> Option<R> {
        Some(match reject {
            R::BadSignature => R::WrongChain,
            R::WrongChain => R::Expired { expires: Millis(0), now: Millis(0) },
            R::Expired { .. } => R::BadNonce { given: 0, next: 0, window: 0 },
            R::BadNonce { .. } => R::NoAccount,
            R::NoAccount => R::FeeTooHigh { fee: zero, max_fee: zero },
            R::FeeTooHigh { .. } => R::InsufficientFunds { needed: zero, available: zero },
            R::InsufficientFunds { .. } => R::ZeroAmount,
            R::ZeroAmount => R::Overflow,
            R::Overflow => R::bad_field(""),
            R::BadField { .. } => R::not_found(""),
            R::NotFound { .. } => R::not_yours(""),
            R::NotYours { .. } => R::wrong_state("", ""),
            R::WrongState { .. } => R::InsufficientBond { needed: zero, available: zero },
            R::InsufficientBond { .. } => R::TooEarly { from: Millis(0), now: Millis(0) },
            R::TooEarly { .. } => R::NoContradiction,
            R::NoContradiction => R::Duplicate,
            R::Duplicate => R::OutOfScope,
            R::OutOfScope => R::SpendLimit { needed: zero, left: zero },
            R::SpendLimit { .. } => R::Signatures { needed: 0, given: 0 },
            R::Signatures { .. } => R::InsufficientStake { needed: zero, available: zero },
            R::InsufficientStake { .. } => return None,
        })
    };
    let mut codes = Vec::new();
    let mut current = Some(R::BadSignature);
    while let Some(reject) = current {
        codes.push(reject.code());
        current = next(&reject);
    }
    codes
}

fn one_change() -> Vec<crate::vote::ParamChange> {
    vec![crate::vote::ParamChange { name: "visit_max".into(), value: 1 }]
}

#[test]
fn every_code_is_produced() {
    let mut w = World::new();
    let pay = |amount| Action::Transfer { to: id("bob"), asset: Asset::Usd, amount };
    let mut seen: Vec<Reject> = Vec::new();

    let mut tx = w.sign("ann", pay(usd(1)));
    tx.envelope.action = pay(usd(2));
    seen.push(w.refused_tx(&tx));
    let mut envelope = w.envelope("ann", pay(usd(1)));
    envelope.chain = hash(9);
    seen.push(w.refused_tx(&envelope.clone().sign(&key("ann"))));
    envelope.chain = w.chain;
    envelope.expires = w.head().now;
    seen.push(w.refused_tx(&envelope.clone().sign(&key("ann"))));
    envelope.expires = Millis::MAX;
    envelope.nonce = 64;
    seen.push(w.refused_tx(&envelope.sign(&key("ann"))));
    seen.push(w.refused("nobody", pay(usd(1))));
    seen.push(w.refused("ann", pay(usd(2_000))));
    seen.push(w.refused("ann", pay(Amount::ZERO)));
    seen.push(w.refused("ann", Action::Heartbeat { leases: vec![] }));
    seen.push(w.refused("ann", Action::HostRemove { index: 0 }));

    let mut costly = World::with(&["val"], |params| params.fee_per_unit = usd(2));
    seen.push(costly.refused("ann", pay(usd(1))));

    w.provider("pat", "1");
    w.provider("quin", "2");
    let escrow = w.open_escrow("ann", usd(100));
    seen.push(w.refused("bob", Action::EscrowClose { escrow }));
    let job = w.open_job("ann", escrow);
    let order = w.order_for(escrow, Some(job), 9);
    let order = w.place("ann", order);
    let leases = w.order(&order).leases;
    seen.push(w.refused("ann", Action::OrderCancel { order }));
    let claims = Box::new([w.claim(leases[0], 1, 1), w.claim(leases[8], 1, 1)]);
    let evidence = String::new();
    seen.push(w.refused("ann", Action::DisputeOpen { job, claims, evidence: evidence.clone() }));
    let claims = Box::new([w.claim(leases[0], 1, 1), w.claim(leases[8], 1, 2)]);
    let (receipt, _) = w.ok("ann", Action::DisputeOpen { job, claims, evidence });
    let dispute = DisputeId::derive(&receipt.tx);
    seen.push(w.refused("bob", Action::DisputeVote { dispute, output: None }));

    w.ok("rob", Action::ProviderSet { profile: Default::default() });
    let spec = w.spec("1");
    seen.push(w.refused("rob", Action::HostSet { index: 0, spec }));
    w.ok("rob", Action::ProviderDrain {});
    seen.push(w.refused("rob", Action::BondWithdraw {}));

    let [one] = w.grant("ann", escrow, Some(job), 1)[..] else { panic!() };
    w.by_provider(&one, Action::ResultCommit { lease: one, root: hash(1), count: 1, fuel: 1 });
    w.by_provider(&one, Action::LeaseReady { lease: one });
    w.beat(500);
    w.ok("ann", Action::LeaseClose { lease: one });
    let commit = Action::ResultCommit { lease: one, root: hash(2), count: 2, fuel: 2 };
    let provider = if w.lease(&one).provider() == id("pat") { "pat" } else { "quin" };
    seen.push(w.refused(provider, commit));

    seen.push(w.refused("ann", Action::Propose { title: "t".into(), changes: one_change() }));

    // The sum of all money is bounded, so that books never overflow; what a transaction offers is not.
    let mut envelope = w.envelope("ann", pay(usd(1)));
    (envelope.tip, envelope.max_fee) = (Amount::MAX, Amount::MAX);
    let mut costly = World::with(&["val"], |params| params.fee_per_unit = super::nanos(1));
    envelope.chain = costly.chain;
    seen.push(costly.refused_tx(&envelope.sign(&key("ann"))));

    let scopes = Scopes::of(Scope::Transfer);
    let (mst, expires) = (Amount::ZERO, Millis::MAX);
    w.ok("ann", Action::KeyGrant { key: id("eve"), scopes, usd: usd(1), mst, expires });
    let far = w.sign_as("eve", "ann", pay(usd(2)));
    seen.push(w.refused_tx(&far));
    let beyond = w.sign_as("eve", "ann", Action::BondAdd { amount: usd(1) });
    seen.push(w.refused_tx(&beyond));
    let members = vec![id("eve"), id("pat")];
    w.ok("ann", Action::MultisigSet { policy: Some(Multisig { threshold: 2, members }) });
    let envelope = w.envelope("ann", pay(usd(1)));
    let one_of_two = vec![envelope.sign_member(&key("eve"))];
    seen.push(w.refused_tx(&envelope.gather(one_of_two)));

    let codes: Vec<&str> = seen.iter().map(Reject::code).collect();
    for code in all_codes() {
        assert!(codes.contains(&code), "{code} is not produced");
    }
}
