//! What is refused, by name.

use super::*;

#[test]
fn openings_of_challenges_are_refused_by_name() {
    let mut c = Case::new(4, 2, |_| ());
    let (lease, escrow) = (c.lease, c.escrow);
    let open = |lease, last| Action::ChallengeOpen { lease, last, evidence: String::new() };
    let missing = open(LeaseId::default(), hash(9));
    assert_eq!(c.w.refused("eve", missing), Reject::not_found("lease"));
    let long = Action::ChallengeOpen { lease, last: hash(9), evidence: "e".repeat(1_025) };
    assert_eq!(c.w.refused("eve", long), Reject::bad_field("evidence"));
    let plain = c.w.active("ann", escrow, None);
    let batch = c.w.open_job("ann", escrow);
    let batch = c.w.active("ann", escrow, Some(batch));
    for other in [plain, batch] {
        let closed = Reject::wrong_state("lease", "not open to challenges");
        assert_eq!(c.w.refused("eve", open(other, hash(9))), closed);
    }
    c.w.ok(
        "eve",
        Action::Transfer { to: id("bob"), asset: muster_types::Asset::Usd, amount: usd(996) },
    );
    let poor = Reject::InsufficientFunds { needed: usd(5), available: usd(4) };
    assert_eq!(c.w.refused("eve", open(lease, hash(9))), poor);

    // A lease of the job whose commitment is not there, not final, or of no step.
    let other = c.w.active("ann", escrow, Some(c.job));
    let early = Reject::wrong_state("lease", "without a final commitment");
    assert_eq!(c.w.refused("bob", open(other, hash(9))), early);
    let commit = |count| Action::ResultCommit { lease: other, root: hash(1), count, fuel: 0 };
    assert_eq!(c.w.refused("pat", commit(6)), Reject::bad_field("count"));
    assert_eq!(c.w.refused("pat", commit(0)), Reject::bad_field("count"));
    c.w.ok("pat", commit(1));
    assert_eq!(c.w.refused("bob", open(other, hash(9))), early);
    c.w.beat(500);
    c.w.beat(500);
    assert_eq!(c.w.refused("bob", open(other, hash(9))), Reject::NoContradiction);

    // Two claims are not how a chain of this level is disputed.
    let claims = Box::new([c.w.claim(lease, 1, 1), c.w.claim(other, 1, 2)]);
    let act = Action::DisputeOpen { job: c.job, claims, evidence: String::new() };
    assert_eq!(c.w.refused("ann", act), Reject::wrong_state("lease", "checked by challenges"));
}

#[test]
fn moves_are_refused_by_name() {
    let mut c = Case::new(100, 33, |params| params.bisect_arity = 4);
    let dispute = c.open("eve");
    let pick = |segment| Action::BisectPick { dispute, segment };
    let (none, unknown) = (Vec::new(), DisputeId::default());
    let missing = Action::BisectReveal { dispute: unknown, openings: none.clone() };
    assert_eq!(c.w.refused("pat", missing), Reject::not_found("challenge"));
    let missing = Action::BisectPick { dispute: unknown, segment: 0 };
    assert_eq!(c.w.refused("eve", missing), Reject::not_found("challenge"));
    let provider = Reject::wrong_state("challenge", "waiting for the provider");
    assert_eq!(c.w.refused("eve", pick(0)), provider);
    let act = c.reveal_act(dispute);
    assert_eq!(c.w.refused("eve", act.clone()), Reject::not_yours("provider"));
    let empty = Action::BisectReveal { dispute, openings: none };
    assert_eq!(c.w.refused("pat", empty), Reject::bad_field("openings"));
    let Action::BisectReveal { mut openings, .. } = act.clone() else { panic!() };
    assert_eq!((openings.len(), act.units()), (4, 4));
    openings[2].state = right(75);
    let unproven = Action::BisectReveal { dispute, openings };
    assert_eq!(c.w.refused("pat", unproven), Reject::bad_field("openings"));
    c.w.ok("pat", act.clone());

    let challenger = Reject::wrong_state("challenge", "waiting for the challenger");
    assert_eq!(c.w.refused("pat", act), challenger);
    assert_eq!(c.w.refused("bob", pick(1)), Reject::not_yours("challenger"));
    for segment in [4, u32::MAX] {
        assert_eq!(c.w.refused("eve", pick(segment)), Reject::bad_field("segment"));
    }
    c.play("eve", dispute);
    let voting = Reject::wrong_state("challenge", "waiting for the validators");
    assert_eq!(c.w.refused("eve", pick(1)), voting);
    let act = Action::BisectReveal { dispute, openings: Vec::new() };
    assert_eq!(c.w.refused("pat", act.clone()), voting);
    c.vote("val", dispute, Finding::Missing);
    assert_eq!(c.w.refused("pat", act), Reject::wrong_state("challenge", "void"));
}

#[test]
fn a_lease_has_a_bounded_number_of_challenges() {
    let mut c = Case::new(4, 2, |params| params.challenge_bond = nanos(1));
    for _ in 0..4 {
        let acts = (0..64).map(|_| ("eve", c.open_act(right(4)))).collect();
        let done = c.w.block(1, acts);
        assert!(done.results.iter().all(Result::is_ok));
    }
    let act = c.open_act(right(4));
    let many = Reject::wrong_state("lease", "named in too many disputes");
    assert_eq!(c.w.refused("eve", act), many);
}

#[test]
fn moves_votes_and_openings_are_what_room_is_kept_for() {
    let c = Case::new(4, 2, |_| ());
    let (dispute, lease) = (DisputeId::default(), c.lease);
    let claims = Box::new([c.w.claim(lease, 1, 1), c.w.claim(lease, 1, 2)]);
    let table = [
        (c.open_act(right(4)), true),
        (Action::BisectReveal { dispute, openings: Vec::new() }, true),
        (Action::BisectPick { dispute, segment: 0 }, true),
        (Action::StepVote { dispute, finding: Finding::Fails }, true),
        (Action::DisputeVote { dispute, output: None }, true),
        (Action::DisputeOpen { job: c.job, claims, evidence: String::new() }, true),
        (Action::ResultAccept { lease }, false),
        (Action::LeaseClose { lease }, false),
    ];
    for (action, is_move) in table {
        assert_eq!(action.is_dispute_move(), is_move, "{action:?}");
    }
}
