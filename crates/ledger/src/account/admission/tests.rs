use super::*;
use crate::{
    Action,
    account::{Multisig, Scope, Scopes},
    tests::{
        World, nanos, usd,
        world::{STEP, id, key},
    },
};
use muster_types::{Asset, Envelope};

const FEE: u128 = 1_000;
const AHEAD: u64 = 512;

fn world() -> World {
    World::with(&["val"], |params| params.fee_per_unit = nanos(FEE))
}

fn pay() -> Action {
    Action::Transfer { to: id("bob"), asset: Asset::Usd, amount: usd(1) }
}

fn standing(w: &World, tx: &Tx) -> Result<Standing, Reject> {
    Admission::new(&w.state).unwrap().standing(tx, tx.encoded().wire().len(), AHEAD)
}

/// The name of a standing, or the code of a refusal.
fn name(w: &World, tx: &Tx) -> String {
    match standing(w, tx) {
        Ok(Standing::Duty) => "duty".into(),
        Ok(Standing::Good { .. }) => "good".into(),
        Ok(Standing::NotYet(reject)) => format!("not yet: {}", reject.code()),
        Err(reject) => format!("never: {}", reject.code()),
    }
}

#[test]
fn an_envelope_is_worth_what_its_account_is_good_for() {
    let mut w = world();
    let scopes = Scopes::of(Scope::Transfer);
    let grant =
        |to, expires| Action::KeyGrant { key: id(to), scopes, usd: usd(9), mst: usd(9), expires };
    w.ok("ann", grant("k1", Millis::MAX));
    let soon = w.head().now.after(Millis(3 * STEP));
    w.ok("ann", grant("k2", soon));
    w.ok("ann", pay());
    let policy = Multisig { threshold: 1, members: vec![id("bob"), id("eve")] };
    w.ok("rob", Action::MultisigSet { policy: Some(policy) });
    let all = usd(1_000).checked_sub(nanos(FEE)).unwrap();
    w.ok("eve", Action::Transfer { to: id("bob"), asset: Asset::Usd, amount: all });
    w.block_of(4 * STEP, &[]);
    let now = w.head().now;
    let envelope = |who: &str, nonce, action| Envelope {
        chain: w.chain,
        signer: id(who),
        nonce,
        max_fee: usd(1),
        tip: Amount::ZERO,
        expires: now.after(Millis(1)),
        action,
    };
    let ann = |nonce| envelope("ann", nonce, pay());
    let deal = || Action::BeaconDeal { epoch: 0, log: vec![1] };
    let order = Action::OrderCancel { order: Default::default() };
    let rob = envelope("rob", 1, pay());
    let tip = usd(1).checked_sub(nanos(FEE)).unwrap();
    let table = [
        (ann(3).sign(&key("ann")), "good"),
        (ann(2).sign(&key("ann")), "never: bad_nonce"),
        (ann(3 + AHEAD - 1).sign(&key("ann")), "good"),
        (ann(3 + AHEAD).sign(&key("ann")), "not yet: bad_nonce"),
        (Envelope { max_fee: nanos(FEE - 1), ..ann(3) }.sign(&key("ann")), "never: fee_too_high"),
        (Envelope { tip: usd(1), ..ann(3) }.sign(&key("ann")), "never: fee_too_high"),
        (Envelope { tip: Amount::MAX, ..ann(3) }.sign(&key("ann")), "never: overflow"),
        (Envelope { tip, ..ann(3) }.sign(&key("ann")), "good"),
        (Envelope { expires: Millis(now.0 - 1), ..ann(3) }.sign(&key("ann")), "never: expired"),
        (ann(0).sign_as(&key("k1")), "good"),
        (ann(0).sign_as(&key("k2")), "not yet: wrong_state"),
        (ann(0).sign_as(&key("k3")), "not yet: not_found"),
        (envelope("ann", 0, order).sign_as(&key("k1")), "not yet: out_of_scope"),
        (rob.clone().sign(&key("rob")), "not yet: not_yours"),
        (rob.clone().gather(vec![rob.sign_member(&key("bob"))]), "good"),
        (rob.clone().gather(vec![rob.sign_member(&key("ann"))]), "not yet: not_yours"),
        (envelope("eve", 1, pay()).sign(&key("eve")), "not yet: insufficient_funds"),
        (envelope("new", 0, pay()).sign(&key("new")), "not yet: no_account"),
        (envelope("val", u64::MAX, deal()).sign(&key("val")), "duty"),
        (envelope("ann", u64::MAX, deal()).sign(&key("ann")), "not yet: bad_nonce"),
    ];
    for (index, (tx, expected)) in table.iter().enumerate() {
        assert_eq!(name(&w, tx), *expected, "row {index}");
    }
    let balance = w.usd_of("ann");
    let (floor, tipped) = (nanos(FEE), Envelope { tip, ..ann(3) }.sign(&key("ann")));
    assert_eq!(standing(&w, &table[0].0), Ok(Standing::Good { floor, fee: floor, balance }));
    assert_eq!(standing(&w, &tipped), Ok(Standing::Good { floor, fee: usd(1), balance }));
    // What is refused as it is, the ledger refuses as well.
    for (tx, expected) in table.iter().filter(|(_, expected)| expected.contains(':')) {
        let mut block = crate::BlockBuilder::new(&w.state, w.context(1)).unwrap();
        let code = block.push(tx).unwrap_err().code();
        assert!(expected.ends_with(code), "{expected}: {code}");
    }
}

#[test]
fn a_window_of_nonces_in_any_order_is_good() {
    let mut w = world();
    for nonce in [1, 5] {
        let tx = Envelope { nonce, ..w.envelope("ann", pay()) }.sign(&key("ann"));
        assert!(w.block_of(STEP, &[tx]).results[0].is_ok());
    }
    for nonce in 0..64 {
        let tx = Envelope { nonce, ..w.envelope("ann", pay()) }.sign(&key("ann"));
        let used = nonce == 1 || nonce == 5;
        assert_eq!(name(&w, &tx), if used { "never: bad_nonce" } else { "good" }, "{nonce}");
    }
}
