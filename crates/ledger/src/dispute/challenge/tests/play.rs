//! Whole games on the ledger, over random chains and with both sides misbehaving.

use super::*;

/// One way in which a player tries to break the rules.
#[derive(Clone, Copy, Debug)]
enum Trick {
    /// None: plays on.
    None,
    /// The provider opens a state that it did not commit to.
    Unproven,
    /// The challenger picks a part that is not there.
    NoSuchPart,
    /// Somebody else moves.
    Stranger,
}

const TRICKS: [Trick; 4] = [Trick::None, Trick::Unproven, Trick::NoSuchPart, Trick::Stranger];

/// Tries it, which must be refused and change nothing; the ledger's tests' world sees to that.
fn attempt(c: &mut Case, dispute: DisputeId, trick: Trick) {
    let pick = Action::BisectPick { dispute, segment: 16 };
    match (trick, c.status(dispute)) {
        (Trick::Unproven, PROVIDER) => {
            let Action::BisectReveal { mut openings, .. } = c.reveal_act(dispute) else { panic!() };
            openings[0].state = hash(77);
            let act = Action::BisectReveal { dispute, openings };
            assert_eq!(c.w.refused("pat", act), Reject::bad_field("openings"));
        }
        (Trick::NoSuchPart, CHALLENGER) => {
            assert_eq!(c.w.refused("eve", pick), Reject::bad_field("segment"));
        }
        (Trick::Stranger, PROVIDER) => {
            let act = c.reveal_act(dispute);
            assert_eq!(c.w.refused("rob", act), Reject::not_yours("provider"));
        }
        (Trick::Stranger, CHALLENGER) => {
            assert_eq!(c.w.refused("rob", pick), Reject::not_yours("challenger"));
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 24,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn an_honest_challenger_convicts_at_the_first_wrong_step_within_the_bound(
        steps in 1u64..600, step in any::<u64>(), arity in 2u32..=16,
        tricks in prop::collection::vec(0usize..4, 24),
    ) {
        let step = step % steps;
        let mut c = Case::new(steps, step, |params| params.bisect_arity = arity);
        let dispute = c.open("eve");
        for trick in tricks {
            attempt(&mut c, dispute, TRICKS[trick]);
            match c.status(dispute) {
                PROVIDER => _ = c.reveal(dispute),
                CHALLENGER => {
                    let part = c.w.challenge(&dispute).game.first_wrong(right).unwrap();
                    c.pick("eve", dispute, part);
                }
                _ => break,
            }
        }
        c.play("eve", dispute);
        let game = c.w.challenge(&dispute).game;
        prop_assert_eq!(game.step().map(|found| found.index), Some(step));
        prop_assert!(game.rounds() <= rounds_max(steps, arity));
        c.judge(dispute);
        prop_assert_eq!(c.status(dispute), judged(Side::Provider));
        prop_assert_eq!(c.w.lease(&c.lease).paid, Amount::ZERO);
    }

    #[test]
    fn an_honest_provider_keeps_everything_whatever_a_challenger_does(
        steps in 1u64..600, arity in 2u32..=16, picks in prop::collection::vec(0u32..20, 32),
        silent in 0usize..32,
    ) {
        let mut c = Case::new(steps, steps, |params| params.bisect_arity = arity);
        let dispute = c.open_saying("eve", hash(9));
        let bond = c.w.bond_of("pat").amount;
        for (turn, segment) in picks.into_iter().enumerate() {
            match c.status(dispute) {
                PROVIDER => _ = c.reveal(dispute),
                CHALLENGER if turn >= silent => break,
                CHALLENGER => {
                    let pick = Action::BisectPick { dispute, segment };
                    let done = c.w.block(250, vec![("eve", pick)]);
                    let bad = Err(Reject::bad_field("segment"));
                    prop_assert!(done.results[0].is_ok() || done.results[0].clone().map(|_| ()) == bad);
                }
                _ => break,
            }
        }
        if c.status(dispute) == PROVIDER {
            c.reveal(dispute);
        }
        if c.status(dispute) == ChallengeStatus::Voting {
            c.judge(dispute);
        } else {
            c.w.pass(60, 1_000);
        }
        prop_assert_eq!(c.status(dispute), judged(Side::Challenger));
        prop_assert!(c.w.bond_of("pat").amount >= bond.checked_sub("8.64".parse().unwrap()).unwrap());
        prop_assert_eq!(c.w.provider_of("pat").conduct.disputes_lost, 0);
    }
}
