//! A staker with two votes: its account's key, and one that has no account.

use super::*;
use muster_ledger::stake::{SeatKey, seats::seat_message};

/// The key of the second vote.
const SEAT: u8 = VALIDATORS;

/// A network whose first validator has stake for two votes, and whose last one is not there.
async fn two_seats(
    context: &Context,
) -> (Oracle<PublicKey, Context>, Vec<Validator>, muster_types::Hash) {
    let mut genesis = four();
    genesis.balances.remove(&key(SEAT).account());
    let oracle = network(context, VALIDATORS + 1).await;
    let mut nodes = Vec::new();
    for index in [0, 1, 2, SEAT] {
        nodes.push(start_of(context, &oracle, index, false, genesis.clone()).await);
    }
    let chain = genesis.id();
    let owner = key(0);
    let proof = key(SEAT).sign(&seat_message(&chain, &owner.account()));
    let seats = vec![SeatKey { key: key(SEAT).account(), proof }];
    let actions = [Action::StakeAdd { amount: STAKE }, Action::SeatsSet { seats }];
    for (nonce, action) in (0..).zip(actions) {
        let envelope = Envelope {
            chain,
            signer: owner.account(),
            nonce,
            max_fee: Amount::from_units(1),
            tip: Amount::ZERO,
            expires: Millis::MAX,
            action,
        };
        let sent = nodes[0].node.pool().submit(envelope.sign(&owner)).unwrap();
        let outcome = sent.outcome.await.unwrap();
        assert!(matches!(outcome, TxOutcome::Final { .. }), "{outcome:?}");
    }
    let votes = |now: &[AccountId]| now.len() == 5 && now.contains(&key(SEAT).account());
    validators(&nodes[0], votes).await;
    (oracle, nodes, chain)
}

#[test]
fn a_staker_with_two_seats_votes_with_both_and_the_one_without_an_account_reports_for_nothing() {
    Runner::seeded(41).start(async move |context: Context| {
        let (oracle, nodes, chain) = two_seats(&context).await;
        let first = &nodes[0];
        // Four of five are there, and four are needed: both seats vote. Both make blocks.
        let (mut height, mut proposers) = (first.node.head().height, Vec::new());
        while ![0, SEAT].iter().all(|index| proposers.contains(&key(*index).account())) {
            height += 1;
            reach(first, height).await;
            proposers.push(first.node.block(height).await.unwrap().unwrap().header.proposer);
        }
        // The absent one votes twice, and only the key without an account hears it.
        let liar = key(VALIDATORS - 1);
        let quota = Quota::per_second(NZU32!(10_000));
        let control = oracle.control(public(VALIDATORS - 1));
        let (mut votes, _receiver) = control.register(0, quota).await.unwrap();
        let committee = first.node.read(|state, _| view::validators(state));
        let namespace = vote_namespace(&chain);
        let members = engine_validators(&committee).unwrap();
        let scheme = Scheme::signer(&namespace, members, engine_key(&liar)).unwrap();
        let record = || first.node.read(|state, _| view::validator(state, &liar.account()));
        while record().is_some_and(|found| found.status == ValidatorStatus::Active) {
            let head = first.node.block(first.node.head().height).await.unwrap().unwrap();
            let parent = Ctx::decode(Bytes::from(head.preimage).slice(HEADER_BYTES..)).unwrap();
            for ahead in 1..4 {
                let view = View::new(parent.round.view().get() + ahead);
                let round = Round::new(parent.round.epoch(), view);
                for payload in [1, 2] {
                    let proposal =
                        Proposal::new(round, parent.round.view(), Digest::from([payload; 32]));
                    let vote = Vote::Notarize(Notarize::sign(&scheme, proposal).unwrap());
                    let epoch = UInt(round.epoch().get()).encode();
                    let message = Bytes::from([&epoch[..], &vote.encode()[..]].concat());
                    votes.send(Recipients::One(public(SEAT)), message, true);
                }
            }
            context.sleep(Duration::from_millis(200)).await;
        }
        let found = record().unwrap();
        assert!(!found.slashed.is_zero() && found.own < STAKE, "{found:?}");
        let account = first.node.read(|state, _| view::account(state, &key(SEAT).account()));
        assert_eq!(account, None);
        let owner = first.node.read(|state, _| view::validator(state, &key(0).account()));
        assert!(owner.unwrap().slashed.is_zero());
    });
}
