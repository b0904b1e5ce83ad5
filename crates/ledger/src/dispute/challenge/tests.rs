use super::*;
use crate::{
    Action, Params, Receipt,
    event::Contest,
    market::{CloseReason, LeaseStatus},
    tests::{
        World,
        chain::{self, Run, right},
        nanos, usd,
        world::{hash, id},
    },
    view,
};
use muster_types::{EscrowId, LeaseId};
use muster_verify::rounds_max;
use proptest::{prelude::*, test_runner::RngSeed};

mod play;
mod refusals;

/// Pat has run a chain for ann, committed to it, and earned two seconds and more at 3.6 usd an
/// hour. The lease is still active.
struct Case {
    w: World,
    escrow: EscrowId,
    job: JobId,
    lease: LeaseId,
    run: Run,
}

const PROVIDER: ChallengeStatus = ChallengeStatus::Bisecting { turn: Side::Provider };
const CHALLENGER: ChallengeStatus = ChallengeStatus::Bisecting { turn: Side::Challenger };

fn judged(loser: Side) -> ChallengeStatus {
    ChallengeStatus::Judged { loser }
}

impl Case {
    /// A chain of so many steps whose step `wrong` went wrong.
    fn new(steps: u64, wrong: u64, change: impl FnOnce(&mut Params)) -> Self {
        Self::with(&["val"], steps, wrong, change)
    }

    fn with(validators: &[&str], steps: u64, wrong: u64, change: impl FnOnce(&mut Params)) -> Self {
        let mut w = World::with(validators, change);
        w.provider("pat", "3.6");
        let escrow = w.open_escrow("ann", usd(10));
        let job = w.open_job_of("ann", chain::spec(escrow, steps));
        let lease = w.active("ann", escrow, Some(job));
        w.beat(1_000);
        let run = Run::new(job, steps, wrong);
        let commit = Action::ResultCommit { lease, root: run.root(), count: run.count(), fuel: 0 };
        w.ok("pat", commit);
        w.beat(250);
        w.beat(250);
        assert!(w.lease(&lease).commitment.unwrap().draw.is_some());
        Self { w, escrow, job, lease, run }
    }

    fn open_act(&self, last: Hash) -> Action {
        Action::ChallengeOpen { lease: self.lease, last, evidence: "there".into() }
    }

    /// What an event of a challenge of `who`'s names beside it.
    fn contest(&self, who: &str) -> Contest {
        let record = self.w.lease(&self.lease);
        let (provider, of) = (record.provider(), record.parties());
        Contest { lease: self.lease, provider, challenger: id(who), of }
    }

    /// `who` says how the chain really ends.
    fn open(&mut self, who: &str) -> DisputeId {
        self.open_saying(who, right(self.run.count() - 1))
    }

    fn open_saying(&mut self, who: &str, last: Hash) -> DisputeId {
        let act = self.open_act(last);
        DisputeId::derive(&self.w.ok(who, act).0.tx)
    }

    fn reveal_act(&self, dispute: DisputeId) -> Action {
        let openings = self.run.openings(&self.w.challenge(&dispute).game);
        Action::BisectReveal { dispute, openings }
    }

    fn reveal(&mut self, dispute: DisputeId) -> Receipt {
        let act = self.reveal_act(dispute);
        self.w.ok("pat", act).0
    }

    fn pick(&mut self, who: &str, dispute: DisputeId, segment: u32) {
        self.w.ok(who, Action::BisectPick { dispute, segment });
    }

    fn vote(&mut self, who: &str, dispute: DisputeId, finding: Finding) -> Vec<Event> {
        self.w.ok(who, Action::StepVote { dispute, finding }).1
    }

    /// Both play on, `who` by the right states, until one step is left.
    fn play(&mut self, who: &str, dispute: DisputeId) {
        loop {
            match self.status(dispute) {
                PROVIDER => _ = self.reveal(dispute),
                CHALLENGER => {
                    let part = self.w.challenge(&dispute).game.first_wrong(right);
                    self.pick(who, dispute, part.unwrap_or(0));
                }
                _ => return,
            }
        }
    }

    /// What an honest validator finds.
    fn truth(&self, dispute: DisputeId) -> Finding {
        let step = self.w.challenge(&dispute).game.step().unwrap();
        Finding::State { hash: right(step.index + 1) }
    }

    fn judge(&mut self, dispute: DisputeId) -> Vec<Event> {
        let truth = self.truth(dispute);
        self.vote("val", dispute, truth)
    }

    fn status(&self, dispute: DisputeId) -> ChallengeStatus {
        self.w.challenge(&dispute).status
    }

    fn close(&mut self) {
        let lease = self.lease;
        self.w.ok("ann", Action::LeaseClose { lease });
    }

    fn is_settled(&self) -> bool {
        self.w.lease(&self.lease).status.is_settled()
    }
}

/// Arity 2: a game of two rounds over four steps.
fn by_halves(params: &mut Params) {
    params.bisect_arity = 2;
}

#[test]
fn a_wrong_step_is_found_and_costs_the_provider_pay_and_pledge() {
    let mut c = Case::new(4, 2, by_halves);
    let (ann, eve) = (c.w.usd_of("ann"), c.w.usd_of("eve"));
    let act = c.open_act(right(4));
    let (receipt, events) = c.w.ok("eve", act);
    let dispute = DisputeId::derive(&receipt.tx);
    let (lease, bond) = (c.lease, usd(5));
    let of = c.contest("eve");
    let opened = Event::ChallengeOpened { dispute, of, bond };
    assert!(events.contains(&opened));
    assert_eq!((c.status(dispute), c.w.lease(&lease).disputes), (PROVIDER, 1));
    assert_eq!(c.w.usd_of("eve"), eve.checked_sub(bond).unwrap());
    assert_eq!(view::open_challenges(&c.w.state).len(), 1);
    assert_eq!(view::challenges_of_lease(&c.w.state, &lease)[0].0, dispute);

    let act = c.reveal_act(dispute);
    let (_, events) = c.w.ok("pat", act);
    assert!(events.contains(&Event::BisectRevealed { dispute, of }));
    assert_eq!(c.status(dispute), CHALLENGER);
    assert_eq!(c.w.lease(&lease).commitment.unwrap().last, Some(c.run.state(4)));
    // State 2 is right still.
    let (_, events) = c.w.ok("eve", Action::BisectPick { dispute, segment: 1 });
    assert!(events.contains(&Event::BisectPicked { dispute, of, lo: 2, hi: 4 }));
    assert_eq!(c.status(dispute), PROVIDER);
    c.reveal(dispute);
    let (_, events) = c.w.ok("eve", Action::BisectPick { dispute, segment: 0 });
    assert!(events.contains(&Event::StepCalled { dispute, of, step: 2 }));
    assert_eq!(c.status(dispute), ChallengeStatus::Voting);

    let events = c.judge(dispute);
    assert!(events.contains(&Event::StepVoted { dispute, of, validator: id("val") }));
    let status = judged(Side::Provider);
    assert_eq!((c.status(dispute), c.w.challenge(&dispute).bond), (status, Amount::ZERO));
    let nothing = Amount::ZERO;
    let closed = Event::ChallengeClosed {
        dispute,
        of,
        status,
        returned: bond,
        compensated: nothing,
        burned: nothing,
    };
    assert!(events.contains(&closed));
    // As for every fraud: the whole pledge of 86.4 usd, a fifth of which burns at least, and half
    // of the rest to the reporter. What was withheld comes back, so that the tenant lost nothing.
    let record = c.w.lease(&lease);
    let amount: Amount = "86.4".parse().unwrap();
    let rewarded = nanos(69_120_000_000 / 2);
    let burned = nanos(86_400_000_000 - rewarded.nanos());
    let slashed = Event::Slashed {
        provider: id("pat"),
        lease,
        of: of.of,
        reporter: Some(id("eve")),
        reason: CloseReason::ProviderFraud,
        amount,
        compensated: nothing,
        rewarded,
        burned,
    };
    assert!(events.contains(&slashed), "{events:?}");
    assert!(!record.accrued.is_zero());
    assert_eq!((record.paid, record.disputes), (nothing, 0));
    assert_eq!(c.w.usd_of("ann"), ann);
    assert_eq!(c.w.usd_of("eve"), eve.checked_add(rewarded).unwrap());
    let pat = c.w.provider_of("pat");
    assert_eq!((c.w.bond_of("pat").slashed, pat.conduct.disputes_lost), (amount, 1));
    assert!(c.is_settled());
    assert_eq!(view::open_challenges(&c.w.state), []);
    c.w.ok("ann", Action::EscrowClose { escrow: c.escrow });
    assert_eq!(c.w.escrow(&c.escrow).refunded, usd(10));
}

#[test]
fn a_challenger_that_was_wrong_pays_the_providers_moves_and_the_rest_burns() {
    // (bond, what of it a provider gets at most)
    for (bond, at_most) in [(usd(5), usd(4)), (nanos(100), nanos(80))] {
        let mut c = Case::new(4, 4, |params| {
            by_halves(params);
            params.challenge_bond = bond;
        });
        // From here on transactions cost something.
        let mut params = view::params(&c.w.state);
        params.fee_per_byte = nanos(1);
        c.w.set_params(&params);
        let dispute = c.open_saying("eve", hash(9));
        let mut costs = c.reveal(dispute).fee;
        c.pick("eve", dispute, 1);
        costs = costs.checked_add(c.reveal(dispute).fee).unwrap();
        c.pick("eve", dispute, 1);
        assert_eq!(c.w.challenge(&dispute).costs, costs);
        let pat = c.w.usd_of("pat");
        let events = c.judge(dispute);
        let compensated = costs.min(at_most);
        let closed = Event::ChallengeClosed {
            dispute,
            of: c.contest("eve"),
            status: judged(Side::Challenger),
            returned: Amount::ZERO,
            compensated,
            burned: bond.checked_sub(compensated).unwrap(),
        };
        assert!(events.contains(&closed), "{events:?}");
        assert_eq!(c.w.usd_of("pat"), pat.checked_add(compensated).unwrap());
        assert_eq!(c.w.bond_of("pat").slashed, Amount::ZERO);
        let record = c.w.lease(&c.lease);
        assert_eq!((record.status, record.disputes), (LeaseStatus::Active, 0));
    }
}

#[test]
fn who_is_silent_loses_and_the_clock_counts_all_moves_together() {
    // The provider, at once.
    let mut c = Case::new(4, 4, by_halves);
    let dispute = c.open_saying("eve", hash(9));
    for _ in 0..59 {
        c.w.beat(1_000);
    }
    assert_eq!(c.status(dispute), PROVIDER);
    c.w.beat(1_000);
    assert_eq!(c.status(dispute), judged(Side::Provider));
    assert_eq!(c.w.bond_of("pat").slashed, "86.4".parse().unwrap());

    // The challenger, in its second turn: its clock went on from where it stopped.
    let mut c = Case::new(4, 4, by_halves);
    let dispute = c.open_saying("eve", hash(9));
    c.w.beat(1_000);
    c.reveal(dispute);
    assert_eq!(c.w.challenge(&dispute).clocks.provider, Millis(58_500));
    for _ in 0..40 {
        c.w.beat(1_000);
    }
    c.pick("eve", dispute, 0);
    let clocks = c.w.challenge(&dispute).clocks;
    assert_eq!(clocks, Clocks { provider: Millis(58_500), challenger: Millis(19_500) });
    c.reveal(dispute);
    for _ in 0..19 {
        c.w.beat(1_000);
    }
    assert_eq!(c.status(dispute), CHALLENGER);
    // A halted chain runs down no clock; a block does, by a second at most.
    c.w.beat(3_600_000);
    assert_eq!(c.status(dispute), judged(Side::Challenger));
    assert_eq!(c.w.lease(&c.lease).disputes, 0);
}

#[test]
fn a_move_counts_in_the_block_in_which_its_clock_runs_out() {
    let mut c = Case::new(4, 2, by_halves);
    let dispute = c.open("eve");
    c.w.pass(59, 1_000);
    let act = c.reveal_act(dispute);
    let done = c.w.block(1_000, vec![("pat", act)]);
    assert!(done.results[0].is_ok());
    assert_eq!((c.status(dispute), c.w.challenge(&dispute).clocks.provider.0), (CHALLENGER, 0));
    // It has no time left for its next one.
    c.pick("eve", dispute, 1);
    assert_eq!(c.status(dispute), judged(Side::Provider));
}

#[test]
fn without_a_verdict_it_is_nobodys_fault() {
    let before = |c: &Case| (c.w.usd_of("eve"), c.w.bond_of("pat").amount);
    let check = |c: &Case, dispute, (eve, bond)| {
        assert_eq!(c.status(dispute), ChallengeStatus::Void);
        assert_eq!((c.w.usd_of("eve"), c.w.bond_of("pat").amount), (eve, bond));
        assert_eq!(c.w.lease(&c.lease).disputes, 0);
    };
    // The evidence is missing.
    let mut c = Case::new(9, 2, |_| ());
    let money = before(&c);
    let dispute = c.open("eve");
    c.play("eve", dispute);
    c.vote("val", dispute, Finding::Missing);
    check(&c, dispute, money);
    // The validators do not agree in time.
    let mut c = Case::new(9, 2, |_| ());
    let money = before(&c);
    let dispute = c.open("eve");
    c.play("eve", dispute);
    for _ in 0..59 {
        c.w.beat(1_000);
    }
    assert_eq!(c.status(dispute), ChallengeStatus::Voting);
    c.w.beat(1_000);
    check(&c, dispute, money);
    // Both say the same.
    let mut c = Case::new(9, 2, |_| ());
    let money = before(&c);
    let dispute = c.open_saying("eve", c.run.state(9));
    c.reveal(dispute);
    check(&c, dispute, money);
    // From then on that is known.
    let act = c.open_act(c.run.state(9));
    assert_eq!(c.w.refused("eve", act), Reject::NoContradiction);
    // The next one is about the same end without it being opened again.
    let dispute = c.open("eve");
    assert_eq!(c.w.challenge(&dispute).game.end_state(), Some(c.run.state(9)));
}

#[test]
fn a_single_step_is_voted_on_as_soon_as_its_end_is_known() {
    let mut c = Case::new(1, 0, |_| ());
    let first = c.open("eve");
    c.reveal(first);
    assert_eq!(c.status(first), ChallengeStatus::Voting);
    let second = c.open("bob");
    assert_eq!(c.status(second), ChallengeStatus::Voting);
    c.judge(second);
    assert_eq!(c.status(second), judged(Side::Provider));
}

#[test]
fn only_validators_vote_once_and_two_thirds_of_them_decide() {
    let mut c = Case::with(&["val", "eve", "bob", "rob"], 4, 1, |_| ());
    let dispute = c.open("ann");
    let vote = |finding| Action::StepVote { dispute, finding };
    let waiting = Reject::wrong_state("challenge", "waiting for the provider");
    assert_eq!(c.w.refused("val", vote(Finding::Fails)), waiting);
    c.play("ann", dispute);
    assert_eq!(c.w.refused("ann", vote(Finding::Fails)), Reject::not_yours("validator"));
    let missing = Action::StepVote { dispute: DisputeId::default(), finding: Finding::Fails };
    assert_eq!(c.w.refused("val", missing), Reject::not_found("challenge"));
    c.vote("val", dispute, Finding::Fails);
    assert_eq!(c.w.refused("val", vote(Finding::Missing)), Reject::Duplicate);
    c.vote("eve", dispute, Finding::Missing);
    c.vote("bob", dispute, Finding::Fails);
    assert_eq!(c.status(dispute), ChallengeStatus::Voting);
    // A step that gives nothing within its limits cannot give what was committed to.
    c.vote("rob", dispute, Finding::Fails);
    assert_eq!(c.status(dispute), judged(Side::Provider));
    let over = Reject::wrong_state("challenge", "judged");
    assert_eq!(c.w.refused("eve", vote(Finding::Fails)), over);
}

#[test]
fn the_first_that_convicts_takes_the_pledge_and_the_others_get_their_bonds_back() {
    let mut c = Case::new(20, 7, by_halves);
    let before = [c.w.usd_of("bob"), c.w.usd_of("ann")];
    let eve = c.open("eve");
    let bob = c.open("bob");
    let ann = c.open_saying("ann", hash(9));
    let sil = c.open_saying("rob", hash(9));
    for (challenge, bond) in [(eve, 5), (bob, 10), (ann, 15), (sil, 20)] {
        assert_eq!(c.w.challenge(&challenge).bond, usd(bond), "each locks more");
    }
    assert_eq!(c.w.lease(&c.lease).disputes, 4);
    c.reveal(ann);
    c.play("bob", bob);
    c.play("eve", eve);
    c.judge(eve);
    assert!(c.is_settled());
    let pat = c.w.provider_of("pat");
    // Each ends with whatever comes next: a vote, a move of either side, a deadline.
    c.judge(bob);
    c.pick("ann", ann, 1);
    for _ in 0..60 {
        c.w.beat(1_000);
    }
    for challenge in [bob, ann, sil] {
        assert_eq!(c.status(challenge), ChallengeStatus::Void);
    }
    let tenant = c.w.lease(&c.lease).compensated;
    let after = [c.w.usd_of("bob"), c.w.usd_of("ann").checked_sub(tenant).unwrap()];
    assert_eq!((after, c.w.provider_of("pat")), (before, pat));
    assert_eq!(c.w.lease(&c.lease).disputes, 0);
    // And a provider's move ends one, too.
    let mut c = Case::new(20, 7, by_halves);
    let (eve, bob) = (c.open("eve"), c.open("bob"));
    c.play("eve", eve);
    c.judge(eve);
    c.reveal(bob);
    assert_eq!(c.status(bob), ChallengeStatus::Void);
}

#[test]
fn a_closed_lease_inside_its_window_still_pays_and_waits_for_all() {
    let mut c = Case::new(20, 7, |_| ());
    c.close();
    c.w.pass(8, 1_000);
    let wrong = c.open_saying("bob", hash(9));
    let good = c.open("eve");
    let disputed = Reject::wrong_state("lease", "disputed");
    assert_eq!(c.w.refused("ann", Action::ResultAccept { lease: c.lease }), disputed);
    c.w.pass(3, 1_000);
    let act = c.open_act(right(20));
    let late = Reject::wrong_state("lease", "past its challenge window");
    assert_eq!(c.w.refused("eve", act), late);
    // One lies about the chain's end and is silent then; the lease waits for the other.
    c.reveal(wrong);
    c.w.pass(20, 1_000);
    c.play("eve", good);
    let bond = c.w.bond_of("pat").amount;
    c.w.pass(39, 1_000);
    assert_eq!(c.status(wrong), judged(Side::Challenger));
    assert!(!c.is_settled());
    c.judge(good);
    assert!(c.is_settled());
    let LeaseStatus::Closed { reason, .. } = c.w.lease(&c.lease).status else { panic!() };
    assert_eq!(reason, CloseReason::TenantClosed);
    let lost: Amount = "86.4".parse().unwrap();
    assert_eq!(c.w.bond_of("pat").amount, bond.checked_sub(lost).unwrap());
}

#[test]
fn an_honest_chain_is_paid_when_its_last_challenge_ends() {
    let mut c = Case::new(20, 20, |_| ());
    c.close();
    let first = c.open_saying("bob", hash(9));
    let second = c.open_saying("eve", hash(9));
    c.w.pass(12, 1_000);
    for (who, dispute) in [("bob", first), ("eve", second)] {
        assert!(!c.is_settled());
        c.play(who, dispute);
        c.judge(dispute);
        assert_eq!(c.status(dispute), judged(Side::Challenger));
    }
    let record = c.w.lease(&c.lease);
    assert!(record.status.is_settled());
    assert_eq!(record.paid, record.accrued);
    assert!(!record.paid.is_zero());
    assert_eq!(view::supply(&c.w.state).usd.burned, usd(15));
}

#[test]
fn a_lease_that_ended_early_answers_for_the_steps_that_it_ran() {
    let mut c = Case::new(20, 20, |_| ());
    let lease = c.w.active("ann", c.escrow, Some(c.job));
    c.w.beat(1_000);
    c.w.ok("ann", Action::LeaseClose { lease });
    let run = Run::new(c.job, 12, 11);
    c.w.ok("pat", Action::ResultCommit { lease, root: run.root(), count: 13, fuel: 0 });
    c.w.pass(2, 500);
    let mut c = Case { lease, run, ..c };
    let dispute = c.open("eve");
    c.play("eve", dispute);
    assert_eq!(c.w.challenge(&dispute).game.step().unwrap().index, 11);
    c.judge(dispute);
    assert_eq!(c.status(dispute), judged(Side::Provider));
}

#[test]
fn who_is_tenant_provider_and_challenger_at_once_loses() {
    // Whether the chain is right, and so who of pat and itself loses.
    for (wrong, loser) in [(3, Side::Provider), (9, Side::Challenger)] {
        let mut w = World::new();
        w.provider("pat", "3.6");
        let wealth = |w: &World| w.usd_of("pat").checked_add(w.bond_of("pat").amount).unwrap();
        let before = wealth(&w);
        let escrow = w.open_escrow("pat", usd(10));
        let job = w.open_job_of("pat", chain::spec(escrow, 9));
        let lease = w.active("pat", escrow, Some(job));
        w.beat(1_000);
        let run = Run::new(job, 9, wrong);
        w.ok("pat", Action::ResultCommit { lease, root: run.root(), count: 10, fuel: 0 });
        w.beat(500);
        w.beat(500);
        let mut c = Case { w, escrow, job, lease, run };
        let dispute = c.open_saying("pat", hash(9));
        c.play("pat", dispute);
        c.judge(dispute);
        assert_eq!(c.status(dispute), judged(loser));
        if c.w.lease(&lease).status.is_open() {
            c.w.ok("pat", Action::LeaseClose { lease });
            c.w.ok("pat", Action::ResultAccept { lease });
        }
        c.w.ok("pat", Action::EscrowClose { escrow });
        let burned = view::supply(&c.w.state).usd.burned;
        let at_risk: Amount = if loser == Side::Provider { "86.4" } else { "5" }.parse().unwrap();
        assert!(burned.nanos() >= at_risk.nanos() / 5, "less than burn_min burned");
        assert_eq!(wealth(&c.w), before.checked_sub(burned).unwrap());
    }
}

#[test]
fn a_committed_lease_answers_for_its_window_even_where_nothing_was_earned() {
    let mut c = Case::new(20, 20, |_| ());
    let lease = c.w.grant("ann", c.escrow, Some(c.job), 1)[0];
    let run = Run::new(c.job, 20, 3);
    c.w.ok("pat", Action::ResultCommit { lease, root: run.root(), count: 21, fuel: 0 });
    c.w.pass(1, 500);
    c.w.ok("pat", Action::LeaseClose { lease });
    let mut c = Case { lease, run, ..c };
    assert!(c.w.lease(&lease).withheld().is_zero() && !c.is_settled());
    let left = c.w.lease(&lease).pledge;
    let dispute = c.open("eve");
    c.play("eve", dispute);
    let before = c.w.bond_of("pat").slashed;
    c.judge(dispute);
    let after = c.w.bond_of("pat").slashed;
    assert_eq!(after.checked_sub(before), Some(left));
    assert!(c.is_settled() && !left.is_zero());
    // Without a commitment there is nothing to wait for.
    let mut c = Case::new(20, 20, |_| ());
    let bare = c.w.grant("ann", c.escrow, Some(c.job), 1)[0];
    c.w.ok("ann", Action::LeaseClose { lease: bare });
    assert!(c.w.lease(&bare).status.is_settled());
}
