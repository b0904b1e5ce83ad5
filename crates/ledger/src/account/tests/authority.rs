//! Delegated keys and members.

use crate::{
    Action, Event, Reject, Tx,
    account::{Account, Multisig, NONCE_WINDOW, Scope, Scopes},
    keys,
    tests::{
        World,
        kinds::actions,
        nanos, usd,
        world::{START, STEP, id, key},
    },
    view,
};
use muster_types::*;
use proptest::prelude::*;

fn pay(units: u64) -> Action {
    Action::Transfer { to: id("bob"), asset: Asset::Usd, amount: usd(units) }
}

fn grant(to: &str, scopes: &[Scope], usd: Amount, mst: Amount) -> Action {
    let scopes = Scopes::from(scopes.to_vec());
    Action::KeyGrant { key: id(to), scopes, usd, mst, expires: Millis::MAX }
}

fn until(to: &str, expires: Millis) -> Action {
    let scopes = Scopes::of(Scope::Transfer);
    Action::KeyGrant { key: id(to), scopes, usd: usd(9), mst: usd(9), expires }
}

fn policy(threshold: u8, members: &[&str]) -> Action {
    let members = members.iter().map(|who| id(who)).collect();
    Action::MultisigSet { policy: Some(Multisig { threshold, members }) }
}

fn applied(w: &mut World, tx: &Tx) {
    let done = w.block_of(STEP, std::slice::from_ref(tx));
    assert!(done.results[0].is_ok(), "{:?} {:?}", done.results[0], tx.envelope.action);
}

#[test]
fn a_delegated_key_does_what_its_scopes_allow_and_nothing_else() {
    use Scope::*;
    let table: &[(&str, &[Scope])] = &[
        ("Transfer", &[Transfer]),
        ("ProviderSet", &[Provider]),
        ("BondAdd", &[Bond]),
        ("ProviderDrain", &[Provider]),
        ("BondWithdraw", &[Bond]),
        ("HostSet", &[Provider]),
        ("HostRemove", &[Provider]),
        ("EscrowOpen", &[Escrow]),
        ("EscrowDeposit", &[Escrow]),
        ("EscrowClose", &[Escrow]),
        ("JobOpen", &[Job]),
        ("JobClose", &[Job]),
        ("OrderPlace", &[Order]),
        ("OrderCancel", &[Order]),
        ("LeaseReady", &[Serve]),
        ("Heartbeat", &[Serve]),
        ("LeaseClose", &[Serve, Order]),
        ("ResultCommit", &[Serve]),
        ("ResultAccept", &[Order]),
        ("DisputeOpen", &[Job]),
        ("DisputeVote", &[Stake]),
        ("KeyGrant", &[]),
        ("KeyRevoke", &[]),
        ("MultisigSet", &[]),
        ("ChallengeOpen", &[Job]),
        ("BisectReveal", &[Serve]),
        ("BisectPick", &[Job]),
        ("StepVote", &[Job, Stake]),
        ("ValidatorSet", &[Stake]),
        ("StakeAdd", &[Stake]),
        ("Delegate", &[Stake]),
        ("Unstake", &[Stake]),
        ("UnstakeClaim", &[Stake]),
        ("RewardClaim", &[Stake]),
        ("ValidatorUnjail", &[Stake]),
        ("Propose", &[Vote]),
        ("Vote", &[Vote]),
        ("BondUnbond", &[Bond]),
        ("ProviderUnjail", &[Provider]),
        ("AffiliateSet", &[Provider]),
        ("AuditorRegister", &[Bond]),
        ("AuditorLeave", &[Bond]),
        ("AttributeSign", &[Audit]),
        ("AttributeRevoke", &[Provider, Audit]),
        ("ServiceRegister", &[Bond]),
        ("ServiceUnregister", &[Bond]),
        ("BidPlace", &[Provider]),
        ("BidWithdraw", &[Provider]),
        ("BidAccept", &[Order]),
        ("OrderUpdate", &[Order]),
        ("ReadyReject", &[Order]),
        ("LeaseDecline", &[Serve]),
        ("LeaseReclaim", &[Serve]),
        ("SeatsSet", &[]),
        ("EquivocationReport", &[Stake]),
        ("BeaconDeal", &[]),
    ];
    for scope in Scope::ALL {
        let mut w = World::new();
        w.ok("ann", grant("eve", &[scope], usd(100), usd(100)));
        let actions = actions(&w);
        assert_eq!(actions.len(), table.len());
        for ((name, action), (row, allowed)) in actions.into_iter().zip(table) {
            assert_eq!(name, *row);
            let tx = w.sign_as("eve", "ann", action);
            // What is in scope may fail for its own reasons: most of these things do not exist.
            let result = w.block_of(STEP, &[tx]).results.remove(0);
            let refused = result == Err(Reject::OutOfScope);
            assert_eq!(refused, !allowed.contains(&scope), "{name} by {scope:?}: {result:?}");
        }
    }
    let mut w = World::new();
    w.ok("ann", grant("eve", &Scope::ALL, usd(100), usd(100)));
    for ((_, action), (name, allowed)) in actions(&w).into_iter().zip(table) {
        let tx = w.sign_as("eve", "ann", action);
        let result = w.block_of(STEP, &[tx]).results.remove(0);
        assert_eq!(result == Err(Reject::OutOfScope), allowed.is_empty(), "{name}");
    }
}

#[test]
fn a_key_spends_its_limits_to_the_nano_fees_included() {
    let fee = nanos(700);
    let mut w = World::with(&["val"], |params| params.fee_per_unit = fee);
    w.ok("ann", grant("eve", &[Scope::Transfer, Scope::Escrow], usd(10), usd(3)));
    let limit = |spend: u128, left: u128| {
        Some(Reject::SpendLimit { needed: nanos(spend), left: nanos(left) })
    };
    let usd_pay =
        |amount: u128| Action::Transfer { to: id("bob"), asset: Asset::Usd, amount: nanos(amount) };
    let mst_pay =
        |amount: u128| Action::Transfer { to: id("bob"), asset: Asset::Mst, amount: nanos(amount) };
    // (action, refusal, usd left, mst left)
    let table = [
        (usd_pay(4_000_000_000), None, 5_999_999_300, 3_000_000_000),
        (usd_pay(5_999_998_601), limit(5_999_999_301, 5_999_999_300), 5_999_999_300, 3_000_000_000),
        (mst_pay(3_000_000_001), limit(3_000_000_001, 3_000_000_000), 5_999_999_300, 3_000_000_000),
        (mst_pay(3_000_000_000), None, 5_999_998_600, 0),
        (mst_pay(1), limit(1, 0), 5_999_998_600, 0),
        (Action::EscrowOpen { deposit: nanos(5_999_996_500) }, None, 1_400, 0),
        // A payment to itself costs its fee alone.
        (Action::Transfer { to: id("ann"), asset: Asset::Usd, amount: usd(500) }, None, 700, 0),
        (usd_pay(1), limit(701, 700), 700, 0),
        (Action::EscrowOpen { deposit: Amount::ZERO }, Some(Reject::ZeroAmount), 700, 0),
        (Action::Transfer { to: id("ann"), asset: Asset::Mst, amount: nanos(1) }, None, 0, 0),
        (
            Action::Transfer { to: id("ann"), asset: Asset::Mst, amount: nanos(1) },
            limit(700, 0),
            0,
            0,
        ),
    ];
    for (action, refusal, usd_left, mst_left) in table {
        let tx = w.sign_as("eve", "ann", action.clone());
        match refusal {
            Some(reject) => assert_eq!(w.refused_tx(&tx), reject, "{action:?}"),
            None => applied(&mut w, &tx),
        }
        let record = view::delegated_key(&w.state, &id("ann"), &id("eve")).unwrap();
        assert_eq!(record.usd_left, nanos(usd_left), "{action:?}");
        assert_eq!(record.mst_left, nanos(mst_left), "{action:?}");
    }
    assert_eq!(w.usd_of("eve"), usd(1_000));
}

#[test]
fn what_comes_in_does_not_raise_a_limit() {
    let mut w = World::new();
    w.ok("ann", grant("eve", &[Scope::Transfer, Scope::Escrow], usd(10), Amount::ZERO));
    let open = w.sign_as("eve", "ann", Action::EscrowOpen { deposit: usd(10) });
    applied(&mut w, &open);
    let close = Action::EscrowClose { escrow: EscrowId::derive(&open.id()) };
    let close = w.sign_as("eve", "ann", close);
    applied(&mut w, &close);
    assert_eq!(w.usd_of("ann"), usd(1_000));
    let tx = w.sign_as("eve", "ann", pay(1));
    let spent = Reject::SpendLimit { needed: usd(1), left: Amount::ZERO };
    assert_eq!(w.refused_tx(&tx), spent);
}

#[test]
fn a_key_is_good_up_to_its_expiry() {
    let mut w = World::new();
    let expires = Millis(START + 3 * STEP);
    w.ok("ann", until("eve", expires));
    for _ in 0..2 {
        let tx = w.sign_as("eve", "ann", pay(1));
        applied(&mut w, &tx);
    }
    assert_eq!(w.head().now, expires);
    let tx = w.sign_as("eve", "ann", pay(1));
    assert_eq!(w.refused_tx(&tx), Reject::wrong_state("key", "expired"));
    w.ok("ann", until("eve", w.head().now.after(Millis(10 * STEP))));
    assert!(w.block_of(STEP, &[tx]).results[0].is_ok(), "its nonces go on");
    let stranger = w.sign_as("bob", "ann", pay(1));
    assert_eq!(w.refused_tx(&stranger), Reject::not_found("key"));
    // A key is granted for one account.
    let elsewhere = w.sign_as("eve", "bob", pay(1));
    assert_eq!(w.refused_tx(&elsewhere), Reject::not_found("key"));
}

#[test]
fn a_key_and_its_owner_never_take_each_others_nonces() {
    let mut w = World::new();
    w.ok("ann", grant("eve", &[Scope::Transfer], usd(500), Amount::ZERO));
    w.ok("ann", grant("pat", &[Scope::Transfer], usd(500), Amount::ZERO));
    let mut txs = Vec::new();
    for _ in 0..62 {
        txs.push(w.sign("ann", pay(1)));
    }
    for _ in 0..64 {
        txs.push(w.sign_as("eve", "ann", pay(1)));
        txs.push(w.sign_as("pat", "ann", pay(1)));
    }
    let nonces: Vec<u64> = txs.iter().map(|tx| tx.envelope.nonce).collect();
    assert_eq!((nonces[0], nonces[62], nonces[63]), (2, 0, 0));
    let done = w.block_of(STEP, &txs);
    assert!(done.results.iter().all(Result::is_ok), "{:?}", done.results);
    assert_eq!(w.account("ann").nonce, 64);
    for key in ["eve", "pat"] {
        let record = view::delegated_key(&w.state, &id("ann"), &id(key)).unwrap();
        assert_eq!((record.nonce, record.nonces_used, record.usd_left), (64, 0, usd(436)));
    }
    for tx in &txs {
        let reject = w.refused_tx(tx);
        assert_eq!(reject.code(), "bad_nonce");
    }
    let fees = [w.account("eve"), w.account("pat")].map(|account| account.nonce);
    assert_eq!(fees, [0, 0], "their own accounts have nothing to do with it");
}

#[test]
fn nothing_that_a_key_signed_applies_again_after_it_was_granted_anew() {
    let mut w = World::new();
    let grant = || grant("eve", &[Scope::Transfer], usd(500), Amount::ZERO);
    w.ok("ann", grant());
    let used: Vec<Tx> = (0..70)
        .map(|_| {
            let tx = w.sign_as("eve", "ann", pay(1));
            applied(&mut w, &tx);
            tx
        })
        .collect();
    let held_back: Vec<Tx> = (0..64).map(|_| w.sign_as("eve", "ann", pay(1))).collect();
    w.ok("ann", Action::KeyRevoke { key: id("eve") });
    assert_eq!(w.refused("ann", Action::KeyRevoke { key: id("eve") }), Reject::not_found("key"));
    assert_eq!(w.refused_tx(&held_back[0]), Reject::not_found("key"));
    w.ok("ann", grant());
    for tx in used.iter().chain(&held_back) {
        assert_eq!(w.refused_tx(tx).code(), "bad_nonce");
    }
    let fresh = w.sign_as("eve", "ann", pay(1));
    assert_eq!(fresh.envelope.nonce, 70 + NONCE_WINDOW);
    applied(&mut w, &fresh);
    // The same where the key becomes a member, or its signature is given out as the account's.
    let mut disguised = w.sign_as("eve", "ann", pay(1));
    let Auth::Key(by) = disguised.auth else { panic!() };
    w.ok("ann", policy(1, &["eve", "pat"]));
    disguised.auth = Auth::Members(vec![by]);
    assert_eq!(w.refused_tx(&disguised), Reject::BadSignature);
    disguised.auth = Auth::Own(by.signature);
    assert_eq!(w.refused_tx(&disguised), Reject::BadSignature);
}

#[test]
fn grants_that_make_no_sense_are_refused() {
    let mut w = World::new();
    let now = w.head().now.after(Millis(STEP));
    let all = borsh::from_slice::<Scopes>(&u16::MAX.to_le_bytes()).unwrap();
    let none = Scopes::NONE;
    let one = Scopes::of(Scope::Serve);
    let act = |key: &str, scopes, expires| Action::KeyGrant {
        key: id(key),
        scopes,
        usd: usd(1),
        mst: usd(1),
        expires,
    };
    for (action, field) in [
        (act("ann", one, Millis::MAX), "key"),
        (act("eve", none, Millis::MAX), "scopes"),
        (act("eve", all, Millis::MAX), "scopes"),
        (act("eve", one, now), "expires"),
    ] {
        assert_eq!(w.refused("ann", action), Reject::bad_field(field));
    }
    let (receipt, _) = w.ok("ann", act("eve", one, now.after(Millis(1))));
    let expires = now.after(Millis(1));
    let granted = Event::KeyGranted { account: id("ann"), key: id("eve"), expires };
    assert_eq!(receipt.events, [granted]);
}

#[test]
fn an_account_has_so_many_keys_and_expired_ones_make_room() {
    let mut w = World::new();
    let soon = w.head().now.after(Millis(40 * STEP));
    for number in 0..16 {
        w.ok("ann", until(&format!("k{number}"), if number < 3 { soon } else { Millis::MAX }));
    }
    let full = Reject::wrong_state("key list", "full");
    assert_eq!(w.refused("ann", until("k16", Millis::MAX)), full);
    w.ok("ann", until("k15", Millis::MAX));
    w.ok("bob", until("k16", Millis::MAX));
    let tx = w.sign_as("k0", "ann", pay(1));
    applied(&mut w, &tx);
    w.pass(1, 60 * STEP);
    w.ok("ann", until("k16", Millis::MAX));
    let keys = view::delegated_keys(&w.state, &id("ann"));
    assert_eq!(keys.len(), 14, "the three that expired are gone");
    assert_eq!(view::authority(&w.state, &id("ann")).nonce_floor, 1 + NONCE_WINDOW);
    w.ok("ann", Action::KeyRevoke { key: id("k16") });
    assert_eq!(view::delegated_keys(&w.state, &id("ann")).len(), 13);
}

#[test]
fn an_account_with_a_policy_acts_by_its_members_alone() {
    let mut w = World::new();
    let (receipt, _) = w.ok("ann", policy(2, &["pat", "ann", "eve"]));
    let changed = Event::PolicyChanged { account: id("ann"), threshold: 2 };
    assert_eq!(receipt.events, [changed]);
    assert!(w.account("ann").multisig);
    let signatures = |given| Some(Reject::Signatures { needed: 2, given });
    let stranger = Some(Reject::not_yours("member"));
    // (who signs, refusal)
    let table: [(&[&str], Option<Reject>); 10] = [
        (&["pat"], signatures(1)),
        (&["ann"], signatures(1)),
        (&["pat", "eve"], None),
        (&["eve", "ann"], None),
        (&["ann", "eve", "pat"], signatures(3)),
        (&["pat", "pat"], Some(Reject::BadSignature)),
        (&["pat", "bob"], stranger.clone()),
        (&["bob"], stranger.clone()),
        (&["bob", "val"], stranger),
        (&[], Some(Reject::BadSignature)),
    ];
    for (signers, refusal) in table {
        let envelope = w.envelope("ann", pay(1));
        let members = signers.iter().map(|who| envelope.sign_member(&key(who))).collect();
        let tx = envelope.gather(members);
        match refusal {
            Some(reject) => assert_eq!(w.refused_tx(&tx), reject, "{signers:?}"),
            None => applied(&mut w, &tx),
        }
    }
    let own = w.envelope("ann", pay(1)).sign(&key("ann"));
    assert_eq!(w.refused_tx(&own), Reject::not_yours("member"));
    let nobodys = w.envelope("bob", pay(1));
    let members = vec![nobodys.sign_member(&key("bob"))];
    assert_eq!(w.refused_tx(&nobodys.gather(members)), Reject::not_yours("owner"));
    assert_eq!(w.usd_of("ann"), usd(998));

    w.ok("ann", policy(1, &["bob"]));
    let envelope = w.envelope("ann", pay(1));
    let former = ["pat", "eve"].map(|who| envelope.sign_member(&key(who)));
    let former = envelope.gather(former.to_vec());
    assert_eq!(w.refused_tx(&former), Reject::not_yours("member"));
    w.ok("ann", Action::MultisigSet { policy: None });
    assert!(!w.account("ann").multisig);
    let own = w.envelope("ann", pay(1)).sign(&key("ann"));
    applied(&mut w, &own);
}

#[test]
fn members_may_delegate_and_their_keys_are_bound_as_any() {
    let mut w = World::new();
    w.ok("ann", grant("val", &[Scope::Transfer], usd(2), Amount::ZERO));
    w.ok("ann", policy(2, &["pat", "eve"]));
    w.ok("ann", grant("pat", &[Scope::Transfer], usd(1), Amount::ZERO));
    for (who, left) in [("val", 1), ("pat", 0)] {
        let tx = w.sign_as(who, "ann", pay(1));
        applied(&mut w, &tx);
        let record = view::delegated_key(&w.state, &id("ann"), &id(who)).unwrap();
        assert_eq!(record.usd_left, usd(left));
    }
    let tx = w.sign_as("pat", "ann", pay(1));
    assert_eq!(w.refused_tx(&tx).code(), "spend_limit");
    let away = w.sign_as("pat", "ann", Action::MultisigSet { policy: None });
    assert_eq!(w.refused_tx(&away), Reject::OutOfScope);
}

#[test]
fn policies_that_make_no_sense_are_refused() {
    let mut w = World::new();
    let many: Vec<String> = (0..17).map(|number| format!("m{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (action, field) in [
        (policy(1, &[]), "threshold"),
        (policy(0, &["bob"]), "threshold"),
        (policy(3, &["bob", "eve"]), "threshold"),
        (policy(1, &["bob", "eve", "bob"]), "members"),
        (policy(1, &many), "members"),
    ] {
        assert_eq!(w.refused("ann", action), Reject::bad_field(field));
    }
    w.ok("ann", policy(16, &many[..16]));
    let envelope = w.envelope("ann", pay(1));
    let all = many[..16].iter().map(|who| envelope.sign_member(&key(who))).collect();
    let tx = envelope.gather(all);
    applied(&mut w, &tx);
}

#[test]
fn signatures_are_paid_for_and_the_account_stays_small() {
    let mut w = World::with(&["val"], |params| params.fee_per_unit = nanos(10));
    w.ok("ann", policy(3, &["bob", "eve", "pat"]));
    let (receipt, _) = w.ok("ann", pay(1));
    assert_eq!(receipt.fee, nanos(30));
    let (receipt, _) = w.ok("bob", pay(1));
    assert_eq!(receipt.fee, nanos(10));
    assert_eq!(codec::encode(&Account::default()).len(), 49);
    let record = keys::AUTHORITIES.get(&w.state, &id("bob"));
    assert_eq!(record, None, "who decided nothing has no record");
}

/// What a delegated key tries.
#[derive(Clone, Debug)]
enum Try {
    Pay {
        amount: u64,
        mst: bool,
    },
    Open(u64),
    Close,
    Bond(u64),
    Profile,
    /// Somebody pays the account.
    In(u64),
    /// The owner grants anew.
    Grant(u64, u64),
}

fn tries() -> impl Strategy<Value = Vec<Try>> {
    let amount = || prop_oneof![0u64..50_000_000, 0u64..5_000_000_000];
    prop::collection::vec(
        prop_oneof![
            4 => (amount(), any::<bool>()).prop_map(|(amount, mst)| Try::Pay { amount, mst }),
            2 => amount().prop_map(Try::Open),
            2 => Just(Try::Close),
            2 => amount().prop_map(Try::Bond),
            1 => Just(Try::Profile),
            2 => amount().prop_map(Try::In),
            1 => (amount(), amount()).prop_map(|(usd, mst)| Try::Grant(usd, mst)),
        ],
        1..40,
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 60,
        rng_seed: proptest::test_runner::RngSeed::Fixed(3),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_delegated_key_moves_more_than_its_limits(tries in tries()) {
        let mut w = World::with(&["val"], |params| params.fee_per_unit = nanos(1_000_000));
        let all = Scope::ALL;
        let (mut usd_left, mut mst_left) = (2_000_000_000i128, 1_000_000_000i128);
        let limit = |left: i128| nanos(u128::try_from(left).unwrap());
        w.ok("ann", grant("eve", &all, limit(usd_left), limit(mst_left)));
        let mut escrow = None;
        for act in tries {
            let money = |amount| nanos(u128::from(amount));
            let action = match act {
                Try::Pay { amount, mst } => Action::Transfer {
                    to: id("bob"),
                    asset: if mst { Asset::Mst } else { Asset::Usd },
                    amount: money(amount),
                },
                Try::Open(deposit) => Action::EscrowOpen { deposit: money(deposit) },
                Try::Close => Action::EscrowClose { escrow: escrow.unwrap_or_default() },
                Try::Bond(amount) => Action::BondAdd { amount: money(amount) },
                Try::Profile => Action::ProviderSet { profile: Default::default() },
                Try::In(amount) => {
                    let to = id("ann");
                    let pay = Action::Transfer { to, asset: Asset::Usd, amount: money(amount) };
                    w.block(STEP, vec![("val", pay)]);
                    continue;
                }
                Try::Grant(usd, mst) => {
                    (usd_left, mst_left) = (i128::from(usd), i128::from(mst));
                    w.ok("ann", grant("eve", &all, limit(usd_left), limit(mst_left)));
                    continue;
                }
            };
            let tx = w.sign_as("eve", "ann", action);
            let before = w.account("ann");
            let result = w.block_of(STEP, std::slice::from_ref(&tx)).results.remove(0);
            let after = w.account("ann");
            let fell = |before: Amount, after: Amount| {
                i128::try_from(before.saturating_sub(after).nanos()).unwrap()
            };
            let (usd, mst) = (fell(before.usd, after.usd), fell(before.mst, after.mst));
            if result.is_ok() && matches!(tx.envelope.action, Action::EscrowOpen { .. }) {
                escrow = Some(EscrowId::derive(&tx.id()));
            }
            prop_assert!(result.is_ok() || (usd, mst) == (0, 0));
            usd_left -= usd;
            mst_left -= mst;
            prop_assert!(usd_left >= 0 && mst_left >= 0, "{act:?} went beyond the limits");
            let record = view::delegated_key(&w.state, &id("ann"), &id("eve")).unwrap();
            prop_assert_eq!((record.usd_left, record.mst_left), (limit(usd_left), limit(mst_left)));
        }
    }
}
