use super::{
    super::{engine_key, engine_validators},
    *,
};
use commonware_consensus::{
    simplex::types::{ConflictingFinalize, ConflictingNotarize, NullifyFinalize},
    types::{Epoch, View},
};
use muster_ledger::stake::equivocation::vote_namespace;
use muster_types::AccountId;

/// Numbers that need more than one byte.
const EPOCH: u64 = 300;
const VIEW: u64 = 70_000;
const CHAIN: Hash = Hash([9; 32]);

fn key(index: u8) -> SecretKey {
    SecretKey::from_seed([100 + index; 32])
}

/// The votes of one validator as its engine signs them.
struct Voter(Scheme);

impl Voter {
    fn new(key: &SecretKey, members: &[AccountId]) -> Self {
        let members = engine_validators(members).unwrap();
        let namespace = vote_namespace(&CHAIN);
        Self(Scheme::signer(&namespace, members, engine_key(key)).unwrap())
    }

    fn round() -> Round {
        Round::new(Epoch::new(EPOCH), View::new(VIEW))
    }

    fn proposal((parent, block): (u64, u8)) -> EngineProposal<Digest> {
        EngineProposal::new(Self::round(), View::new(parent), Digest::from([block; 32]))
    }

    fn notarize(&self, of: (u64, u8)) -> Notarize<Scheme, Digest> {
        Notarize::sign(&self.0, Self::proposal(of)).unwrap()
    }

    fn finalize(&self, of: (u64, u8)) -> Finalize<Scheme, Digest> {
        Finalize::sign(&self.0, Self::proposal(of)).unwrap()
    }

    fn nullify(&self) -> Nullify<Scheme> {
        Nullify::sign::<Digest>(&self.0, Self::round()).unwrap()
    }
}

#[test]
fn every_contradiction_that_the_engine_reports_is_one_for_the_ledger_with_its_own_messages() {
    let members: Vec<AccountId> = (0..4).map(|index| key(index).account()).collect();
    let committees = Committees::new(&CHAIN, engine_key(&key(0)));
    committees.register(EPOCH, &members, true).unwrap();
    let first = (69_999, 1);
    for liar in 0..4 {
        let votes = Voter::new(&key(liar), &members);
        // Another block, and the same one on another parent.
        let others = [(69_999, 2), (150, 1)];
        let notarizes = others.map(|other| {
            let pair = ConflictingNotarize::new(votes.notarize(first), votes.notarize(other));
            Activity::ConflictingNotarize(pair)
        });
        let finalizes = others.map(|other| {
            let pair = ConflictingFinalize::new(votes.finalize(first), votes.finalize(other));
            Activity::ConflictingFinalize(pair)
        });
        let pair = NullifyFinalize::new(votes.nullify(), votes.finalize(first));
        let gave_up = [Activity::NullifyFinalize(pair)];
        for activity in notarizes.iter().chain(&finalizes).chain(&gave_up) {
            let found = evidence(activity, &committees).unwrap();
            assert_eq!(found.key, key(liar).account());
            assert_eq!((found.epoch, found.view), (EPOCH, VIEW));
            assert!(holds(&CHAIN, &found), "{found:?}");
            // It is of this chain, epoch and view, and of that key, and of no other.
            assert!(!holds(&Hash([8; 32]), &found));
            let strange: [fn(&mut Equivocation); 5] = [
                |found| found.epoch += 1,
                |found| found.view += 1,
                |found| found.key = key(7).account(),
                |found| found.second = found.first,
                |found| {
                    std::mem::swap(&mut found.first.signature, &mut found.second.signature);
                },
            ];
            for change in strange {
                let mut found = found;
                change(&mut found);
                assert!(!holds(&CHAIN, &found), "{found:?}");
            }
        }
    }
}

#[test]
fn votes_that_contradict_nothing_are_no_evidence() {
    let members: Vec<AccountId> = (0..4).map(|index| key(index).account()).collect();
    let committees = Committees::new(&CHAIN, engine_key(&key(0)));
    let votes = Voter::new(&key(1), &members);
    let pair = ConflictingNotarize::new(votes.notarize((1, 1)), votes.notarize((1, 2)));
    // Of an epoch whose validators are not known.
    assert_eq!(evidence(&Activity::ConflictingNotarize(pair), &committees), None);
    committees.register(EPOCH, &members, true).unwrap();
    for activity in [
        Activity::Notarize(votes.notarize((1, 1))),
        Activity::Finalize(votes.finalize((1, 1))),
        Activity::Nullify(votes.nullify()),
    ] {
        assert_eq!(evidence(&activity, &committees), None);
    }
}
