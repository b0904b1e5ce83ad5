use crate::{
    Action, Event, Params, Reject,
    dispute::{Claim, DisputeStatus},
    event,
    market::{CloseReason, LeaseStatus},
    provider::ProviderStatus,
    tests::{
        World, nanos, usd,
        world::{id, key, result, task},
    },
    view,
};
use muster_market::{Request, Terms};
use muster_types::*;

/// Pat (honest) and quin run the same job for ann; both have earned two seconds at 3.6 usd an
/// hour.
struct Case {
    w: World,
    escrow: EscrowId,
    job: JobId,
    pat: LeaseId,
    quin: LeaseId,
}

fn case(validators: &[&str], change: impl FnOnce(&mut Params)) -> Case {
    let mut w = World::with(validators, change);
    w.provider("pat", "3.6");
    w.provider("quin", "3.6");
    let escrow = w.open_escrow("ann", usd(10));
    let job = w.open_job("ann", escrow);
    let mut lease_of = |who: &str| {
        let terms = Terms {
            request: Request { cpu_milli: 1_000, ..Request::default() },
            count: 1,
            max_rate: Rate::MAX,
            providers: vec![id(who)],
            ..Terms::default()
        };
        let order = w.order_with(escrow, Some(job), terms);
        let order = w.place("ann", order);
        w.order(&order).leases[0]
    };
    let (pat, quin) = (lease_of("pat"), lease_of("quin"));
    let ready = |lease| Action::LeaseReady { lease };
    w.block(500, vec![("pat", ready(pat)), ("quin", ready(quin))]);
    w.beat(1_000);
    w.beat(1_000);
    Case { w, escrow, job, pat, quin }
}

impl Case {
    fn open_with(&self, pat: u8, quin: u8) -> Action {
        let claims = Box::new([self.w.claim(self.pat, 3, pat), self.w.claim(self.quin, 3, quin)]);
        Action::DisputeOpen { job: self.job, claims, evidence: "there".into() }
    }

    fn open(&mut self, pat: u8, quin: u8) -> DisputeId {
        let act = self.open_with(pat, quin);
        let (receipt, _) = self.w.ok("ann", act);
        DisputeId::derive(&receipt.tx)
    }

    fn vote(&mut self, who: &str, dispute: DisputeId, output: Option<u8>) -> Vec<Event> {
        let output = output.map(result);
        self.w.ok(who, Action::DisputeVote { dispute, output }).1
    }

    fn status(&self, lease: &LeaseId) -> LeaseStatus {
        self.w.lease(lease).status
    }
}

#[test]
fn a_liar_is_slashed_and_the_tenant_gets_its_money_back_and_the_reporters_share() {
    let mut c = case(&["val"], |_| ());
    let dispute = c.open(1, 2);
    let leases = [c.pat, c.quin];
    assert_eq!(leases.map(|lease| c.w.lease(&lease).disputes), [1, 1]);
    let (ann, balance) = (c.w.usd_of("ann"), c.w.escrow(&c.escrow).balance);
    let events = c.vote("val", dispute, Some(1));

    let status = DisputeStatus::Judged { output: result(1) };
    assert_eq!(c.w.dispute(&dispute).status, status);
    let losers = vec![c.quin];
    let of = event::Case {
        job: c.job,
        tenant: id("ann"),
        leases,
        orders: leases.map(|lease| c.w.lease(&lease).order),
        providers: [id("pat"), id("quin")],
    };
    assert!(events.contains(&Event::DisputeClosed { dispute, of, status, losers }));
    // Two seconds were covered by heartbeats, and the one up to the verdict by the close. All of
    // that pay was withheld and comes back, so that nothing is lost. The whole pledge of 86.4 usd
    // goes: a fifth burns at least, half of what is left is the reporter's, the rest burns.
    let (withheld, loss) = (nanos(2_000_000), Amount::ZERO);
    let amount: Amount = "86.4".parse().unwrap();
    let rewarded = nanos(69_120_000_000 / 2);
    let burned = nanos(86_400_000_000 - rewarded.nanos());
    let slashed = Event::Slashed {
        provider: id("quin"),
        lease: c.quin,
        of: c.w.lease(&c.quin).parties(),
        reporter: Some(id("ann")),
        reason: CloseReason::ProviderFraud,
        amount,
        compensated: loss,
        rewarded,
        burned,
    };
    assert!(events.contains(&slashed), "{events:?}");
    let gained = loss.checked_add(rewarded).unwrap();
    assert_eq!(c.w.usd_of("ann"), ann.checked_add(gained).unwrap());
    let escrow = c.w.escrow(&c.escrow);
    assert_eq!(escrow.balance, balance.checked_add(withheld).unwrap(), "withheld pay came back");
    assert_eq!((escrow.withheld, escrow.compensated), (withheld, loss), "the honest one's is held");
    assert!(c.status(&c.quin).is_settled());
    assert_eq!(c.status(&c.pat), LeaseStatus::Active);
    let quin = c.w.provider_of("quin");
    let bond = c.w.bond_of("quin");
    assert_eq!((bond.pledged, bond.slashed), (Amount::ZERO, amount));
    assert_eq!((quin.conduct.disputes_lost, quin.conduct.leases_broken), (1, 1));
    assert!(matches!(quin.status, ProviderStatus::Jailed { .. }), "though enough bond is left");
    assert_eq!(c.w.bond_of("pat").slashed, Amount::ZERO);
    assert_eq!(view::open_disputes(&c.w.state), []);

    c.w.ok("ann", Action::LeaseClose { lease: c.pat });
    c.w.ok("ann", Action::ResultAccept { lease: c.pat });
    c.w.ok("ann", Action::EscrowClose { escrow: c.escrow });
    let escrow = c.w.escrow(&c.escrow);
    assert_eq!(escrow.deposited, escrow.paid.checked_add(escrow.refunded).unwrap());
}

#[test]
fn who_are_both_wrong_are_both_slashed() {
    let mut c = case(&["val"], |_| ());
    let dispute = c.open(1, 2);
    c.vote("val", dispute, Some(3));
    for (who, lease) in [("pat", c.pat), ("quin", c.quin)] {
        assert_eq!(c.w.bond_of(who).slashed, "86.4".parse().unwrap());
        assert!(c.status(&lease).is_settled());
        assert_eq!(c.w.lease(&lease).paid, Amount::ZERO);
    }
}

#[test]
fn without_a_verdict_it_is_nobodys_fault() {
    // By votes.
    let mut c = case(&["val"], |_| ());
    let dispute = c.open(1, 2);
    c.vote("val", dispute, None);
    assert_eq!(c.w.dispute(&dispute).status, DisputeStatus::Void);
    // By the deadline, which stands still where the chain does.
    let mut c = case(&["val"], |_| ());
    let dispute = c.open(1, 2);
    c.w.pass(1, 3_600_000);
    assert_eq!(c.w.dispute(&dispute).status, DisputeStatus::Open);
    for _ in 0..58 {
        c.w.beat(1_000);
    }
    assert_eq!(c.w.dispute(&dispute).status, DisputeStatus::Open);
    c.w.beat(1_000);
    assert_eq!(c.w.dispute(&dispute).status, DisputeStatus::Void);
    for (who, lease) in [("pat", c.pat), ("quin", c.quin)] {
        assert_eq!(c.w.bond_of(who).slashed, Amount::ZERO);
        assert_eq!((c.status(&lease), c.w.lease(&lease).disputes), (LeaseStatus::Active, 0));
    }
}

#[test]
fn a_seat_that_has_no_account_votes_for_nothing() {
    let mut c = case(&["val", "k1", "k2"], |params| params.fee_per_unit = Amount::from_nanos(1));
    let dispute = c.open(1, 2);
    let vote = Action::DisputeVote { dispute, output: Some(result(1)) };
    for (who, open) in [("k1", true), ("k2", true), ("val", false)] {
        let before = view::account(&c.w.state, &id(who));
        let (receipt, _) = c.w.ok(who, vote.clone());
        assert_eq!((receipt.fee, view::account(&c.w.state, &id(who))), (Amount::ZERO, before));
        assert_eq!(c.w.dispute(&dispute).status == DisputeStatus::Open, open, "{who}");
        assert!(matches!(c.w.refused(who, vote.clone()), Reject::Duplicate) == open);
    }
    assert_eq!(c.w.refused("k3", vote), Reject::NoAccount);
}

#[test]
fn only_validators_vote_once_and_two_thirds_of_them_decide() {
    let mut c = case(&["val", "eve", "bob", "rob"], |_| ());
    let dispute = c.open(1, 2);
    let vote = |output| Action::DisputeVote { dispute, output };
    assert_eq!(c.w.refused("ann", vote(None)), Reject::not_yours("validator"));
    let missing = Action::DisputeVote { dispute: DisputeId::default(), output: None };
    assert_eq!(c.w.refused("val", missing), Reject::not_found("dispute"));
    c.vote("val", dispute, Some(1));
    assert_eq!(c.w.refused("val", vote(None)), Reject::Duplicate);
    c.vote("eve", dispute, Some(2));
    c.vote("bob", dispute, Some(1));
    assert_eq!(c.w.dispute(&dispute).status, DisputeStatus::Open);
    c.vote("rob", dispute, Some(1));
    assert_eq!(c.w.dispute(&dispute).status, DisputeStatus::Judged { output: result(1) });
    assert_eq!(c.w.refused("ann", vote(None)), Reject::not_yours("validator"));
    let judged = Reject::wrong_state("dispute", "judged");
    assert_eq!(c.w.refused("eve", vote(None)), judged);
}

#[test]
fn claims_that_prove_nothing_are_refused() {
    let mut c = case(&["val"], |_| ());
    let (job, pat, quin) = (c.job, c.pat, c.quin);
    let honest = c.w.claim(pat, 3, 1);
    let lie = c.w.claim(quin, 3, 2);
    let signed = |task, lease, output, who: &str| {
        Claim::sign(&c.w.chain, lease, task, result(output), &key(who))
    };
    let both = |task| [signed(task, pat, 1, "pat"), signed(task, quin, 2, "quin")];
    let good = task(job, 3);
    let other_job = task(JobId::default(), 3);
    let mut fuel = good;
    fuel.fuel_limit = 1_001;
    let mut memory = good;
    memory.memory_limit_bytes = u64::MAX;
    let elsewhere = Claim::sign(&Hash::ZERO, quin, good, result(2), &key("quin"));
    let lost = signed(good, LeaseId::default(), 2, "quin");
    let field = |field| Reject::bad_field(field);
    let table = [
        ([honest, signed(good, quin, 1, "quin")], Reject::NoContradiction),
        ([honest, signed(task(job, 4), quin, 2, "quin")], Reject::NoContradiction),
        ([honest, signed(good, pat, 2, "pat")], Reject::NoContradiction),
        ([honest, signed(good, quin, 2, "pat")], Reject::BadSignature),
        ([honest, elsewhere], Reject::BadSignature),
        ([honest, lost], Reject::not_found("lease")),
        (both(other_job), field("claims.task")),
        (both(task(job, 10)), field("claims.task")),
        (both(fuel), field("claims.task")),
        (both(memory), field("claims.task")),
    ];
    let dispute = |job, claims| Action::DisputeOpen {
        job,
        claims: Box::new(claims),
        evidence: String::new(),
    };
    for (claims, reject) in table {
        assert_eq!(c.w.refused("ann", dispute(job, claims)), reject, "{claims:?}");
    }
    let act = dispute(job, [honest, lie]);
    assert_eq!(c.w.refused("bob", act), Reject::not_yours("tenant"));
    let act = dispute(JobId::default(), [honest, lie]);
    assert_eq!(c.w.refused("ann", act), Reject::not_found("job"));
    let claims = Box::new([honest, lie]);
    let long = Action::DisputeOpen { job, claims, evidence: "e".repeat(1_025) };
    assert_eq!(c.w.refused("ann", long), field("evidence"));
    let plain = c.w.active("ann", c.escrow, None);
    let claims = [c.w.claim(pat, 3, 1), Claim { lease: plain, ..lie }];
    assert_eq!(c.w.refused("ann", dispute(job, claims)), field("claims.lease"));
}

#[test]
fn a_dispute_holds_the_settlement_and_its_window_bounds_it() {
    let mut c = case(&["val"], |_| ());
    let close = |lease| Action::LeaseClose { lease };
    c.w.block(500, vec![("ann", close(c.pat)), ("ann", close(c.quin))]);
    let dispute = c.open(1, 2);
    let disputed = Reject::wrong_state("lease", "disputed");
    assert_eq!(c.w.refused("ann", Action::ResultAccept { lease: c.pat }), disputed);
    c.w.pass(12, 1_000);
    for lease in [c.pat, c.quin] {
        assert!(!c.status(&lease).is_settled(), "held by the dispute");
    }
    let again = c.open_with(1, 2);
    let late = Reject::wrong_state("lease", "past its challenge window");
    assert_eq!(c.w.refused("ann", again), late);
    let before = c.w.bond_of("quin").amount;
    c.vote("val", dispute, Some(1));
    // The liar had left in peace: its lease keeps the reason, and it is slashed all the same.
    let LeaseStatus::Closed { reason, settled, .. } = c.status(&c.quin) else { panic!() };
    assert_eq!((reason, settled), (CloseReason::TenantClosed, true));
    let lost: Amount = "86.4".parse().unwrap();
    assert_eq!(c.w.bond_of("quin").amount, before.checked_sub(lost).unwrap());
    // The window has passed and nothing holds the honest one's pay any more.
    assert!(c.status(&c.pat).is_settled());
    assert_eq!(c.w.lease(&c.pat).paid, nanos(2_500_000));
}

#[test]
fn a_lease_that_lost_once_has_nothing_more_to_lose() {
    let mut c = case(&["val"], |_| ());
    let first = c.open(1, 2);
    let second = c.open(1, 2);
    c.vote("val", first, Some(1));
    let bond = c.w.bond_of("quin").amount;
    c.vote("val", second, Some(1));
    let quin = c.w.provider_of("quin");
    assert_eq!((c.w.bond_of("quin").amount, quin.conduct.disputes_lost), (bond, 2));
    assert_eq!(c.w.lease(&c.pat).disputes, 0);
}

#[test]
fn a_lease_is_named_in_a_bounded_number_of_disputes() {
    let mut c = case(&["val"], |_| ());
    for _ in 0..16 {
        let act = c.open_with(1, 2);
        c.w.block(1, vec![("ann", act)]);
    }
    let many = Reject::wrong_state("lease", "named in too many disputes");
    let act = c.open_with(1, 2);
    assert_eq!(c.w.refused("ann", act), many);
}

#[test]
fn who_is_tenant_provider_and_reporter_at_once_loses() {
    // Pat rents from itself and from quin, an account of its own, and catches quin lying.
    let mut w = World::new();
    w.provider("pat", "3.6");
    w.provider("quin", "3.6");
    let wealth = |w: &World| {
        let accounts = [w.usd_of("pat"), w.usd_of("quin")];
        let bonds = [w.bond_of("pat").amount, w.bond_of("quin").amount];
        accounts.iter().chain(&bonds).map(|amount| amount.nanos()).sum::<u128>()
    };
    let before = wealth(&w);
    let escrow = w.open_escrow("pat", usd(10));
    let job = w.open_job("pat", escrow);
    let spread = muster_market::Spread { per_provider: 1, ..Default::default() };
    let request = Request { cpu_milli: 1_000, ..Request::default() };
    let max_rate = Rate::MAX;
    let terms = Terms { request, count: 2, max_rate, spread, ..Terms::default() };
    let order = w.order_with(escrow, Some(job), terms);
    let order = w.place("pat", order);
    let leases = w.order(&order).leases;
    for lease in &leases {
        w.by_provider(lease, Action::LeaseReady { lease: *lease });
    }
    w.beat(1_000);
    let claims = Box::new([w.claim(leases[0], 0, 1), w.claim(leases[1], 0, 2)]);
    let evidence = String::new();
    let (receipt, _) = w.ok("pat", Action::DisputeOpen { job, claims, evidence });
    let dispute = DisputeId::derive(&receipt.tx);
    w.ok("val", Action::DisputeVote { dispute, output: Some(result(1)) });
    for lease in leases {
        if w.lease(&lease).status.is_open() {
            w.ok("pat", Action::LeaseClose { lease });
            w.ok("pat", Action::ResultAccept { lease });
        }
    }
    w.ok("pat", Action::EscrowClose { escrow });
    let burned = view::supply(&w.state).usd.burned.nanos();
    assert!(burned >= 86_400_000_000 / 5, "less than burn_min burned");
    assert_eq!(wealth(&w), before - burned);
}

#[test]
fn compensation_for_one_lease_never_exceeds_what_it_cost() {
    // Quin leaves early, and is then found to have lied, or not.
    for lied in [false, true] {
        let mut c = case(&["val"], |params| params.slash_exit_bps = 5_000);
        c.w.ok("quin", Action::LeaseClose { lease: c.quin });
        assert_eq!(c.w.bond_of("quin").slashed, Amount::ZERO, "what it costs is not known yet");
        if lied {
            let dispute = c.open(1, 2);
            c.vote("val", dispute, Some(1));
        } else {
            c.w.ok("ann", Action::ResultAccept { lease: c.quin });
        }
        let lease = c.w.lease(&c.quin);
        let paid = if lied { Amount::ZERO } else { lease.accrued };
        assert!(!lease.accrued.is_zero());
        assert_eq!((lease.paid, lease.compensated), (paid, paid), "lied: {lied}");
        let slashed = if lied { "86.4" } else { "43.2" }.parse().unwrap();
        assert_eq!(c.w.bond_of("quin").slashed, slashed, "once, for what is worse");
        assert_eq!(c.w.escrow(&c.escrow).compensated, paid);
    }
}
