use super::{
    dealing::Maker,
    key::{Key, Signature, info, value},
};
use crate::consensus::{
    block::{Block, Header, to_account},
    rules::{BlockReject, check_beacon, next_beacon, next_round},
    tests::rules::root_block,
};
use commonware_cryptography::{
    Signer as _,
    bls12381::primitives::group::Share,
    ed25519::{PrivateKey, PublicKey},
};
use muster_ledger::stake::beacon::Roster;
use muster_types::{AccountId, Hash};
use std::collections::BTreeMap;

const CHAIN: Hash = Hash([7; 32]);
const EPOCH: u64 = 3;
const PLAYERS: u64 = 4;

/// The validators' keys, in order.
fn keys() -> Vec<PrivateKey> {
    let mut keys: Vec<_> = (0..PLAYERS).map(PrivateKey::from_seed).collect();
    keys.sort_unstable_by_key(PrivateKey::public_key);
    keys
}

fn accounts() -> Vec<AccountId> {
    keys().iter().map(|key| to_account(&key.public_key())).collect()
}

fn maker(index: usize) -> Maker {
    let (me, secret) = (keys()[index].clone(), [u8::try_from(index).unwrap(); 32]);
    let info = info(&CHAIN, EPOCH, &accounts()).unwrap();
    Maker::new(info, accounts().len(), me, secret).unwrap()
}

/// Every one of `there` deals to every other.
fn exchange(makers: &mut BTreeMap<usize, Maker>) {
    let there: Vec<usize> = makers.keys().copied().collect();
    for dealer in &there {
        for player in &there {
            let (from, to) = (keys()[*dealer].public_key(), keys()[*player].public_key());
            let (public, share) = makers[dealer].dealing(&to).unwrap().clone();
            let ack = makers.get_mut(player).unwrap().take(&from, public, share).unwrap();
            assert!(makers.get_mut(dealer).unwrap().acknowledged(&to, ack));
        }
    }
}

fn observe(logs: Vec<(usize, Vec<u8>)>) -> Option<Key> {
    let roster = Roster { keys: accounts(), dealt: Hash([9; 32]) };
    let logs = logs.into_iter().map(|(dealer, log)| (accounts()[dealer], log));
    let info = info(&CHAIN, EPOCH, &accounts()).unwrap();
    Key::observe(&CHAIN, EPOCH, &roster, info, logs, [1; 32])
}

/// A key, and the share of everybody who was `there`.
fn made(there: &[usize]) -> (Key, BTreeMap<usize, Share>) {
    let mut makers: BTreeMap<usize, Maker> = there.iter().map(|at| (*at, maker(*at))).collect();
    exchange(&mut makers);
    let logs = makers.iter_mut().map(|(at, maker)| (*at, maker.log(true).unwrap())).collect();
    let key = observe(logs).unwrap();
    let share = |(at, maker): (&usize, &Maker)| (*at, maker.share(&key, [2; 32]).unwrap());
    let shares = makers.iter().map(share).collect();
    (key, shares)
}

fn parts(
    key: &Key,
    shares: &BTreeMap<usize, Share>,
    of: &[usize],
    round: u64,
) -> BTreeMap<PublicKey, Signature> {
    let part = |at: &usize| (keys()[*at].public_key(), key.sign(&shares[at], round));
    of.iter().map(part).collect()
}

#[test]
fn any_two_thirds_of_the_shares_make_the_one_signature_and_fewer_make_none() {
    let (key, shares) = made(&[0, 1, 2, 3]);
    assert_eq!((key.epoch(), key.required()), (EPOCH, 3));
    let one = key.recover(5, &parts(&key, &shares, &[0, 1, 2], 5)).unwrap();
    let other = key.recover(5, &parts(&key, &shares, &[1, 2, 3], 5)).unwrap();
    assert_eq!(one, other);
    assert!(key.verify(5, &one) && !key.verify(6, &one));
    assert_eq!(key.recover(5, &parts(&key, &shares, &[0, 3], 5)), Err(Vec::new()));
    let next = key.recover(6, &parts(&key, &shares, &[0, 1, 2], 6)).unwrap();
    assert_ne!(value(&one), value(&next));
}

#[test]
fn whose_part_is_wrong_is_told() {
    let (key, shares) = made(&[0, 1, 2, 3]);
    let mut all = parts(&key, &shares, &[0, 1, 2], 5);
    let liar = keys()[1].public_key();
    all.insert(liar.clone(), key.sign(&shares[&1], 6));
    assert_eq!(key.recover(5, &all), Err(vec![liar.clone()]));
    all.insert(liar.clone(), [0; 48]);
    assert_eq!(key.recover(5, &all), Err(vec![liar.clone()]));
    all.remove(&liar);
    all.extend(parts(&key, &shares, &[3], 5));
    assert!(key.recover(5, &all).is_ok());
}

#[test]
fn a_key_is_made_without_one_validator_and_not_without_two() {
    let (key, shares) = made(&[0, 1, 3]);
    assert!(key.recover(1, &parts(&key, &shares, &[0, 1, 3], 1)).is_ok());
    // Who was away has a share all the same: it was revealed.
    assert!(maker(2).share(&key, [2; 32]).is_ok());

    let mut makers: BTreeMap<usize, Maker> = [0, 1].map(|at| (at, maker(at))).into();
    exchange(&mut makers);
    assert!(makers.values_mut().all(|maker| maker.log(true).is_none()));

    let mut makers: BTreeMap<usize, Maker> = (0..4).map(|at| (at, maker(at))).collect();
    exchange(&mut makers);
    let mut logs: Vec<(usize, Vec<u8>)> =
        makers.iter_mut().map(|(at, maker)| (*at, maker.log(false).unwrap())).collect();
    // One in another's name, and one that is nonsense.
    logs[1].1 = logs[0].1.clone();
    assert!(observe(logs.clone()).is_some());
    logs[2].1 = vec![1, 2, 3];
    assert!(observe(logs).is_none());
}

#[test]
fn nothing_is_dealt_for_all_to_see_before_all_have_it_or_it_is_late() {
    let mut makers: BTreeMap<usize, Maker> = [0, 1, 2].map(|at| (at, maker(at))).into();
    exchange(&mut makers);
    let dealer = makers.get_mut(&0).unwrap();
    assert_eq!(dealer.silent(), [keys()[3].public_key()]);
    assert_eq!(dealer.log(false), None);
    assert!(dealer.log(true).is_some());
}

#[test]
fn who_restarts_deals_the_same_and_asks_for_what_it_was_dealt() {
    let (key, shares) = made(&[0, 1, 2, 3]);
    let mut restarted = maker(2);
    let missing = restarted.share(&key, [2; 32]).err().unwrap();
    assert_eq!(missing, [keys()[0].public_key(), keys()[1].public_key()]);
    for dealer in [0, 1] {
        let (public, share) = maker(dealer).dealing(&keys()[2].public_key()).unwrap().clone();
        restarted.take(&keys()[dealer].public_key(), public, share).unwrap();
    }
    let share = restarted.share(&key, [2; 32]).unwrap();
    assert_eq!(key.sign(&share, 9), key.sign(&shares[&2], 9));
}

#[test]
fn a_wrong_dealing_is_not_acknowledged() {
    let (dealer, mut player) = (maker(0), maker(1));
    let from = keys()[0].public_key();
    let (public, share) = dealer.dealing(&keys()[1].public_key()).unwrap().clone();
    let (_, of_another) = dealer.dealing(&keys()[2].public_key()).unwrap().clone();
    assert_eq!(player.take(&from, public.clone(), of_another), None);
    assert_eq!(player.take(&from, vec![0; 9], share), None);
    let ack = player.take(&from, public, share).unwrap();
    let mut dealer = dealer;
    assert!(!dealer.acknowledged(&keys()[2].public_key(), ack));
    assert!(dealer.acknowledged(&keys()[1].public_key(), ack));
}

/// A block after round 4 that says this of the beacon.
fn after(parent: &Header, said: super::super::rules::Round) -> Block {
    let mut block = root_block();
    let (beacon, round, key, signature) = said;
    block.header.beacon = beacon;
    block.header.beacon_round = round;
    block.header.beacon_key = key;
    block.header.beacon_signed = signature.is_some();
    block.signature = signature;
    block.header.height = parent.height + 1;
    block
}

#[test]
fn a_block_has_the_next_round_with_its_signature_or_the_round_before_and_nothing_else() {
    let (key, shares) = made(&[0, 1, 2, 3]);
    let sign = |round| key.recover(round, &parts(&key, &shares, &[0, 1, 2], round)).unwrap();
    let mut parent = root_block().header;
    parent.beacon_round = 4;
    let digest = Hash([3; 32]);
    let (old, five, six) = (parent.beacon, sign(5), sign(6));
    let chained = next_beacon(&old, &digest);
    let named = EPOCH + 1;
    let wrong = Some("beacon");
    // (what it says, what is wrong with it)
    let table = [
        ((value(&five), 5, named, Some(five)), None),
        ((old, 4, named, None), None),
        // Another round, or another value.
        ((value(&six), 6, named, Some(six)), wrong),
        ((value(&five), 6, named, Some(five)), wrong),
        ((value(&six), 5, named, Some(six)), Some("signature")),
        ((value(&six), 5, named, Some(five)), wrong),
        ((value(&[0; 48]), 5, named, Some([0; 48])), Some("signature")),
        // A round without its signature.
        ((value(&five), 5, named, None), wrong),
        ((chained, 5, named, None), wrong),
        ((chained, 4, named, None), wrong),
        // Another key.
        ((chained, 5, 0, None), Some("beacon's key")),
        ((value(&five), 5, named + 1, Some(five)), Some("beacon's key")),
    ];
    // Whether this node has found the signature itself makes no difference.
    let knowing = |known: Option<Signature>| table.into_iter().map(move |row| (known, row));
    for (known, (said, fault)) in knowing(None).chain(knowing(Some(five))) {
        let block = after(&parent, said);
        let result = check_beacon(&parent, &digest, &block, Some(&key), |_, round| {
            known.filter(|_| round == 5)
        });
        let reject = result.err().map(|reject| reject.to_string()).unwrap_or_default();
        assert_eq!(reject.is_empty(), fault.is_none(), "{said:?}: {reject}");
        assert!(reject.contains(fault.unwrap_or_default()), "{said:?}: {reject}");
    }
    let check = |said| check_beacon(&parent, &digest, &after(&parent, said), None, |_, _| None);
    // Without a key every block has a round, which follows from the parent.
    let trusted = (chained, 5, 0, None);
    assert_eq!(check(trusted), Ok(()));
    for said in [(old, 4, 0, None), (value(&five), 5, 0, Some(five)), (chained, 5, named, None)] {
        let reject = check(said).unwrap_err();
        assert!(matches!(reject, BlockReject::Inconsistent { .. }), "{said:?}");
    }
    // A proposer that has the signature uses it.
    let proposed = next_round(&parent, &digest, Some(&key), |_, round| {
        assert_eq!(round, 5);
        Some(five)
    });
    assert_eq!(proposed, (value(&five), 5, named, Some(five)));
}
