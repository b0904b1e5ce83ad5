use super::{Party, begin_update};
use crate::{
    Action, Event, Params, Reject,
    market::{CloseReason, Lease, LeaseStatus, Serving, TenantConduct},
    tests::{
        World, nanos, usd,
        world::{hash, id},
    },
    view,
};
use muster_types::*;

const WINDOW: Millis = Millis(10_000);
const NOTICE: Millis = Millis(5_000);

/// Pat serves ann for a thousand nano-units a millisecond.
struct Case {
    w: World,
    escrow: EscrowId,
    lease: LeaseId,
}

fn case(change: impl FnOnce(&mut Params), deposit: Amount, job: bool) -> Case {
    let mut w = World::with(&["val"], change);
    w.provider("pat", "3.6");
    let escrow = w.open_escrow("ann", deposit);
    let job = job.then(|| w.open_job("ann", escrow));
    let [lease] = w.grant("ann", escrow, job, 1)[..] else { panic!() };
    Case { w, escrow, lease }
}

fn plain() -> Case {
    case(|params| params.ready_window_ms = WINDOW, usd(10), false)
}

impl Case {
    fn interruptible(mut self) -> Self {
        self.w.change(&self.lease, |lease: &mut Lease| lease.reclaim_notice = Some(NOTICE));
        self
    }

    fn record(&self) -> Lease {
        self.w.lease(&self.lease)
    }

    fn ready(mut self) -> Self {
        self.w.ok("pat", Action::LeaseReady { lease: self.lease });
        self
    }

    fn update(&mut self) -> Result<Vec<Event>, Reject> {
        let lease = self.lease;
        self.w.rule(|ctx| begin_update(ctx, &lease))
    }

    fn close(&mut self, who: &str) -> Vec<Event> {
        self.w.ok(who, Action::LeaseClose { lease: self.lease }).1
    }

    fn beats(&mut self, count: u64, step: u64) {
        for _ in 0..count {
            self.w.beat(step);
        }
    }

    fn closed(&self) -> (CloseReason, bool) {
        match self.record().status {
            LeaseStatus::Closed { reason, settled, .. } => (reason, settled),
            other => panic!("{other:?}"),
        }
    }

    /// Without what pat has staked.
    fn earned(&self) -> Amount {
        self.w.usd_of("pat").checked_sub(usd(600)).unwrap()
    }
}

/// An interruptible plain lease in the state of that name, within its ready window.
fn lease_in(state: &str) -> Case {
    let mut c = plain().interruptible();
    if state == "granted" {
        return c;
    }
    c = c.ready();
    match state {
        "active" => {}
        "updating" => drop(c.update().unwrap()),
        "reclaiming" => drop(c.w.ok("pat", Action::LeaseReclaim { lease: c.lease })),
        "stalled" => drop(c.w.pass(4, 1_000)),
        "settled" => drop(c.close("ann")),
        other => panic!("{other}"),
    }
    assert_eq!(c.record().status.name(), state);
    c
}

#[test]
fn a_lease_moves_by_its_table() {
    use CloseReason::{OfferEnded, ProviderExit, ReadyRejected, TenantClosed, Undelivered};
    type Act = (&'static str, fn(LeaseId) -> Action);
    const READY: Act = ("pat", |lease| Action::LeaseReady { lease });
    const BEAT: Act = ("pat", |lease| Action::Heartbeat { leases: vec![lease] });
    const DECLINE: Act = ("pat", |lease| Action::LeaseDecline { lease });
    const RECLAIM: Act = ("pat", |lease| Action::LeaseReclaim { lease });
    const REJECT: Act = ("ann", |lease| Action::ReadyReject { lease });
    const END: Act = ("ann", |lease| Action::LeaseClose { lease });
    const LEAVE: Act = ("pat", |lease| Action::LeaseClose { lease });
    let refused = |state| Err(Reject::wrong_state("lease", state));
    let to = Ok::<_, Reject>;
    let (closes, open) = (|reason| to(("settled", Some(reason))), |state| to((state, None)));
    let table = [
        ("granted", READY, open("active")),
        ("granted", BEAT, open("granted")),
        ("granted", DECLINE, closes(Undelivered)),
        ("granted", RECLAIM, refused("granted")),
        ("granted", REJECT, refused("granted")),
        ("granted", END, closes(TenantClosed)),
        ("granted", LEAVE, closes(ProviderExit)),
        ("active", READY, refused("active")),
        ("active", BEAT, open("active")),
        ("active", DECLINE, refused("active")),
        ("active", RECLAIM, open("reclaiming")),
        ("active", REJECT, closes(ReadyRejected)),
        ("active", END, closes(TenantClosed)),
        ("active", LEAVE, closes(ProviderExit)),
        ("updating", READY, open("active")),
        ("updating", BEAT, open("updating")),
        ("updating", DECLINE, closes(Undelivered)),
        ("updating", RECLAIM, open("reclaiming")),
        ("updating", REJECT, closes(ReadyRejected)),
        ("updating", END, closes(TenantClosed)),
        ("updating", LEAVE, closes(ProviderExit)),
        ("reclaiming", READY, refused("reclaiming")),
        ("reclaiming", BEAT, open("reclaiming")),
        ("reclaiming", DECLINE, refused("reclaiming")),
        ("reclaiming", RECLAIM, refused("reclaiming")),
        ("reclaiming", REJECT, closes(ReadyRejected)),
        ("reclaiming", END, closes(TenantClosed)),
        ("reclaiming", LEAVE, closes(ProviderExit)),
        ("stalled", READY, refused("stalled")),
        ("stalled", BEAT, open("active")),
        ("stalled", DECLINE, refused("stalled")),
        ("stalled", RECLAIM, refused("stalled")),
        ("stalled", REJECT, closes(ReadyRejected)),
        ("stalled", END, closes(TenantClosed)),
        ("stalled", LEAVE, closes(ProviderExit)),
        ("settled", READY, refused("settled")),
        ("settled", BEAT, closes(TenantClosed)),
        ("settled", DECLINE, refused("settled")),
        ("settled", RECLAIM, refused("settled")),
        ("settled", REJECT, refused("settled")),
        ("settled", END, refused("settled")),
        ("settled", LEAVE, refused("settled")),
    ];
    for (state, (who, act), expected) in table {
        let mut c = lease_in(state);
        let lease = c.lease;
        let missing = act(LeaseId::default());
        assert_eq!(c.w.refused(who, missing), Reject::not_found("lease"), "{state}");
        let mut done = c.w.block(1, vec![(who, act(lease))]);
        let status = c.record().status;
        let found = done.results.remove(0).map(|_| match status {
            LeaseStatus::Closed { reason, .. } => (status.name(), Some(reason)),
            open => (open.name(), None),
        });
        assert_eq!(found, expected, "{state}: {:?}", act(lease));
    }
    for state in ["granted", "active", "updating", "reclaiming", "stalled"] {
        let mut c = lease_in(state);
        c.w.change(&c.lease, |lease: &mut Lease| lease.guaranteed_until = Millis::ZERO);
        c.close("pat");
        assert_eq!(c.closed(), (OfferEnded, true), "{state}");
    }
}

#[test]
fn only_its_own_side_readies_declines_reclaims_or_rejects() {
    let mut c = lease_in("active");
    let lease = c.lease;
    for (act, who, role) in [
        (Action::LeaseReady { lease }, "ann", "provider"),
        (Action::LeaseDecline { lease }, "ann", "provider"),
        (Action::LeaseReclaim { lease }, "ann", "provider"),
        (Action::ReadyReject { lease }, "pat", "tenant"),
    ] {
        assert_eq!(c.w.refused(who, act.clone()), Reject::not_yours(role), "{act:?}");
    }
}

#[test]
fn a_new_manifest_moves_a_lease_by_its_table() {
    let since = |c: &Case| c.w.head().steady;
    // (state, the same with a new manifest)
    type After = fn(Millis) -> LeaseStatus;
    let table: [(&str, After); 4] = [
        ("granted", |_| LeaseStatus::Granted),
        ("active", |since| LeaseStatus::Updating { since }),
        ("updating", |since| LeaseStatus::Updating { since }),
        ("stalled", |since| LeaseStatus::Stalled { since, was: Serving::Updating { since } }),
    ];
    for (state, after) in table {
        let mut c = lease_in(state);
        let (lease, of) = (c.lease, c.record().parties());
        let updating = Event::LeaseUpdating { lease, provider: id("pat"), of };
        assert_eq!(c.update(), Ok(vec![updating]), "{state}");
        assert_eq!(c.record().status, after(since(&c)), "{state}");
    }
    let mut c = lease_in("reclaiming");
    let before = c.record();
    assert_eq!(c.update(), Ok(vec![]), "it ends soon");
    assert_eq!(c.record(), before);
    let mut c = lease_in("settled");
    assert_eq!(c.update(), Err(Reject::wrong_state("lease", "settled")));
}

#[test]
fn an_update_is_paid_and_taken_up_in_time_or_the_lease_is_lost() {
    let mut c = case(|_| (), usd(10), false).ready();
    c.update().unwrap();
    c.beats(30, 1_000);
    assert_eq!(c.record().accrued, nanos(30_000_000), "served and paid all the while");
    let done = c.w.block(1, vec![("pat", Action::LeaseReady { lease: c.lease })]);
    let (lease, of) = (c.lease, c.record().parties());
    let updated = Event::LeaseUpdated { lease, provider: id("pat"), of };
    assert_eq!(done.events, [updated]);
    assert_eq!(c.record().status, LeaseStatus::Active);
    c.update().unwrap();
    c.beats(30, 1_000);
    assert_eq!(c.record().status.name(), "updating");
    c.beats(1, 1);
    assert_eq!(c.closed(), (CloseReason::ProviderNotReady, true));
    assert_eq!(c.record().covered, Millis(60_002));
    let slashed: Amount = "0.864".parse().unwrap();
    assert_eq!(c.w.bond_of("pat").slashed, slashed);
}

#[test]
fn a_new_manifest_gives_a_granted_lease_its_time_anew() {
    let mut c = plain();
    c.w.pass(30, 1_000);
    c.update().unwrap();
    c.w.pass(30, 1_000);
    assert_eq!(c.record().status, LeaseStatus::Granted);
    c.w.pass(1, 1);
    assert_eq!(c.closed(), (CloseReason::ProviderNotReady, true));
}

#[test]
fn a_stall_goes_back_to_what_it_was_and_its_deadlines_stand() {
    for state in ["active", "updating", "reclaiming"] {
        let mut c = lease_in(state);
        let before = c.record().status;
        c.w.pass(3, 1_000);
        c.w.pass(1, 1);
        assert_eq!(c.record().status.name(), "stalled", "{state}");
        c.beats(1, 100);
        assert_eq!(c.record().status, before, "{state}");
    }
    // The notice runs out during the stall: silence comes first, else it ends as announced.
    let mut c = lease_in("reclaiming");
    c.beats(1, 900);
    c.w.pass(5, 1_000);
    assert_eq!(c.record().status.name(), "stalled");
    c.beats(1, 100);
    assert_eq!(c.closed(), (CloseReason::Reclaimed, true));
    let mut c = lease_in("reclaiming");
    c.beats(1, 900);
    c.w.pass(6, 1_000);
    assert_eq!(c.closed().0, CloseReason::ProviderStalled, "notice is no excuse for silence");
}

#[test]
fn a_reclaimed_lease_is_paid_until_its_notice_ends_and_is_nobodys_fault() {
    let mut c = case(|_| (), usd(10), false).interruptible().ready();
    c.beats(1, 1_000);
    let lease = c.lease;
    let done = c.w.block(1, vec![("pat", Action::LeaseReclaim { lease })]);
    let until = c.w.head().steady.after(NOTICE);
    let (provider, of) = (id("pat"), c.record().parties());
    assert_eq!(done.events, [Event::LeaseReclaiming { lease, provider, of, until }]);
    assert_eq!(c.record().status, LeaseStatus::Reclaiming { until });
    c.beats(4, 1_000);
    c.w.pass(1, 999);
    assert_eq!(c.record().status, LeaseStatus::Reclaiming { until });
    c.w.pass(1, 1);
    assert_eq!(c.closed(), (CloseReason::Reclaimed, true));
    assert_eq!((c.record().covered, c.record().paid), (Millis(6_001), nanos(6_001_000)));
    let pat = c.w.provider_of("pat");
    assert_eq!((c.w.bond_of("pat").slashed, pat.conduct.leases_broken), (Amount::ZERO, 0));
    assert_eq!(c.w.host_of("pat", 0).used, Resources::default());
}

#[test]
fn a_firm_lease_is_not_reclaimed() {
    let mut c = plain().ready();
    let reclaim = Action::LeaseReclaim { lease: c.lease };
    assert_eq!(c.w.refused("pat", reclaim), Reject::wrong_state("lease", "firm"));
}

#[test]
fn who_declines_is_not_slashed_and_both_sides_have_it_counted() {
    for updating in [false, true] {
        let mut c = plain();
        if updating {
            c = c.ready();
            c.beats(1, 1_000);
            c.update().unwrap();
        }
        let (_, events) = c.w.ok("pat", Action::LeaseDecline { lease: c.lease });
        assert_eq!(c.closed(), (CloseReason::Undelivered, true));
        let covered = Millis(if updating { 1_500 } else { 0 });
        assert_eq!(c.record().covered, covered, "paid up to now");
        assert_eq!(c.earned(), nanos(u128::from(covered.0) * 1_000));
        assert!(!events.iter().any(|event| matches!(event, Event::Slashed { .. })));
        let conduct = c.w.provider_of("pat").conduct;
        assert_eq!((conduct.leases_undelivered, conduct.leases_broken), (1, 0));
        let ann = TenantConduct { leases: 1, undelivered: 1, ..TenantConduct::default() };
        assert_eq!(view::tenant_conduct(&c.w.state, &id("ann")), ann);
    }
}

#[test]
fn a_provider_leaves_freely_once_its_offer_has_ended() {
    let offered = |c: &Case| c.w.host_of("pat", 0).spec.offered_until;
    let c = plain();
    assert_eq!(c.record().guaranteed_until, offered(&c), "as offered at the grant");
    let exit_costs: Amount = "4.32".parse().unwrap();
    // (block time of the close before the end, reason, slashed)
    for (early, reason, slashed) in
        [(1, CloseReason::ProviderExit, exit_costs), (0, CloseReason::OfferEnded, Amount::ZERO)]
    {
        let mut c = plain().ready();
        let until = c.w.head().now.after(Millis(500 + early));
        c.w.change(&c.lease, |lease: &mut Lease| lease.guaranteed_until = until);
        c.close("pat");
        assert_eq!(c.closed(), (reason, true));
        assert_eq!(c.w.bond_of("pat").slashed, slashed);
        assert_eq!(c.record().covered, Millis(500), "paid up to the close");
    }
}

#[test]
fn what_is_earned_while_the_tenant_may_reject_is_withheld_and_paid_after() {
    let mut c = plain().ready();
    for second in 1..10 {
        c.w.beat(1_000);
        let earned = nanos(second * 1_000_000);
        assert_eq!((c.record().accrued, c.record().paid), (earned, Amount::ZERO));
        assert_eq!((c.w.escrow(&c.escrow).withheld, c.earned()), (earned, Amount::ZERO));
    }
    c.w.beat(999);
    assert_eq!(c.record().paid, Amount::ZERO);
    c.w.beat(1);
    // The first settlement after the window pays all; from then on pay vests as time is covered.
    for total in [10_000_000, 11_000_000] {
        let total = nanos(total);
        assert_eq!((c.record().accrued, c.record().paid), (total, total));
        assert_eq!((c.w.escrow(&c.escrow).withheld, c.earned()), (Amount::ZERO, total));
        c.w.beat(1_000);
    }
    let reject = Action::ReadyReject { lease: c.lease };
    assert_eq!(c.w.refused("ann", reject), Reject::wrong_state("lease", "accepted by silence"));
}

#[test]
fn a_rejected_lease_is_unpaid_unslashed_and_counted_against_both() {
    // (milliseconds since ready, may be rejected)
    for (since, rejected) in [(1, true), (9_999, true), (10_000, false)] {
        let mut c = plain().ready();
        let balance = c.w.escrow(&c.escrow).balance;
        for _ in 0..(since - 1) / 1_000 {
            c.w.beat(1_000);
        }
        let step = since - (since - 1) / 1_000 * 1_000;
        let reject = Action::ReadyReject { lease: c.lease };
        let done = c.w.block(step, vec![("ann", reject)]);
        assert_eq!(done.results[0].is_ok(), rejected, "{since}");
        if !rejected {
            continue;
        }
        assert_eq!(c.closed(), (CloseReason::ReadyRejected, true));
        let escrow = c.w.escrow(&c.escrow);
        assert_eq!((escrow.balance, escrow.withheld, escrow.paid), (balance, nanos(0), nanos(0)));
        let pat = c.w.provider_of("pat");
        assert_eq!(
            (c.earned(), c.w.bond_of("pat").slashed, c.w.bond_of("pat").pledged),
            (nanos(0), nanos(0), nanos(0))
        );
        assert_eq!((pat.conduct.leases_rejected, pat.conduct.leases_broken), (1, 0));
        let ann = TenantConduct { leases: 1, rejected: 1, ..TenantConduct::default() };
        assert_eq!(view::tenant_conduct(&c.w.state, &id("ann")), ann);
        c.w.ok("ann", Action::EscrowClose { escrow: c.escrow });
        assert_eq!(c.w.usd_of("ann"), usd(1_000));
    }
}

#[test]
fn any_other_end_within_the_ready_window_pays_what_was_earned() {
    for (who, reason) in [("ann", CloseReason::TenantClosed), ("pat", CloseReason::ProviderExit)] {
        let mut c = plain().ready();
        c.beats(1, 1_000);
        c.close(who);
        assert_eq!(c.closed(), (reason, true), "settled at once");
        assert_eq!((c.record().paid, c.earned()), (nanos(1_500_000), nanos(1_500_000)));
        assert_eq!(c.w.escrow(&c.escrow).withheld, Amount::ZERO);
    }
}

#[test]
fn a_lease_with_a_job_is_not_rejected() {
    let mut c = case(|params| params.ready_window_ms = WINDOW, usd(10), true).ready();
    assert_eq!(c.record().rejectable_until, Millis::ZERO);
    let reject = Action::ReadyReject { lease: c.lease };
    let checked = Reject::wrong_state("lease", "checked as its job says");
    assert_eq!(c.w.refused("ann", reject), checked);
}

#[test]
fn a_tenant_that_breaks_a_lease_pays_a_minimum() {
    // (deposit, minimum, state, covered before the closing block of 500 ms, who) -> covered, paid
    let rich = 10_000_000_000;
    let table = [
        ((rich, 1_000, "granted", 0, "ann"), (1_000, 1_000_000)),
        ((rich, 1_000, "active", 0, "ann"), (1_000, 1_000_000)),
        ((rich, 1_000, "active", 400, "ann"), (1_000, 1_000_000)),
        ((rich, 1_000, "active", 900, "ann"), (1_400, 1_400_000)),
        ((rich, 0, "granted", 0, "ann"), (0, 0)),
        ((rich, 0, "active", 0, "ann"), (500, 500_000)),
        ((rich, 1_000, "granted", 0, "pat"), (0, 0)),
        ((rich, 1_000, "active", 0, "pat"), (500, 500_000)),
        // Stalled: who is not there is not owed anything.
        ((rich, 1_000, "stalled", 0, "ann"), (0, 0)),
        // No more than there is.
        ((300_000, 1_000, "granted", 0, "ann"), (1_000, 300_000)),
        ((700_000, 1_000, "active", 400, "ann"), (1_000, 700_000)),
        ((300_000, 1_000, "active", 400, "ann"), (1_000, 300_000)),
    ];
    for (row, (given, (covered, paid))) in table.into_iter().enumerate() {
        let (deposit, minimum, state, before, who) = given;
        let mut c = case(|params| params.min_charge_ms = Millis(minimum), nanos(deposit), false);
        if state != "granted" {
            c = c.ready();
        }
        if state == "stalled" {
            c.w.pass(4, 1_000);
        }
        if before > 0 {
            c.w.beat(before);
        }
        c.close(who);
        assert!(c.closed().1, "row {row}");
        assert_eq!(c.record().covered, Millis(covered), "row {row}");
        assert_eq!((c.record().paid, c.earned()), (nanos(paid), nanos(paid)), "row {row}");
        c.w.ok("ann", Action::EscrowClose { escrow: c.escrow });
    }
}

#[test]
fn the_minimum_for_checked_work_is_withheld_as_its_pay_is() {
    let mut c = case(|params| params.min_charge_ms = Millis(1_000), usd(10), true);
    c.close("ann");
    assert_eq!(c.closed(), (CloseReason::TenantClosed, false));
    assert_eq!((c.record().withheld(), c.earned()), (nanos(1_000_000), Amount::ZERO));
    c.w.ok("ann", Action::ResultAccept { lease: c.lease });
    assert_eq!((c.closed().1, c.earned()), (true, nanos(1_000_000)));
}

#[test]
fn metered_work_is_paid_at_most_what_its_fuel_is_worth() {
    // At 100 fuel a second; the lease is active for 2.5 s, which is worth 2,500,000. Ten results
    // may have burned 10,000 at most.
    // (fuel per second, committed fuel, minimum charge, who closes) -> paid, returned
    let table = [
        ((0, None, 0, "ann"), (2_500_000, 0)),
        ((0, Some(0), 0, "ann"), (2_500_000, 0)),
        ((100, Some(10_000), 0, "ann"), (2_500_000, 0)),
        ((100, Some(250), 0, "ann"), (2_500_000, 0)),
        ((100, Some(249), 0, "ann"), (2_490_000, 10_000)),
        ((100, Some(1), 0, "ann"), (10_000, 2_490_000)),
        ((7, Some(1), 0, "ann"), (142_857, 2_357_143)),
        ((100, Some(0), 0, "ann"), (0, 2_500_000)),
        ((100, None, 0, "ann"), (0, 2_500_000)),
        ((100, None, 1_000, "ann"), (1_000_000, 1_500_000)),
        ((100, Some(50), 1_000, "ann"), (1_000_000, 1_500_000)),
        ((100, Some(150), 1_000, "ann"), (1_500_000, 1_000_000)),
        ((100, None, 1_000, "pat"), (0, 2_500_000)),
        ((u64::MAX, Some(10_000), 0, "ann"), (0, 2_500_000)),
    ];
    for (row, (given, (paid, returned))) in table.into_iter().enumerate() {
        let (fuel_per_s, fuel, minimum, who) = given;
        let mut c = case(|params| params.min_charge_ms = Millis(minimum), usd(10), true).ready();
        c.w.change(&c.lease, |lease: &mut Lease| lease.fuel_per_s = fuel_per_s);
        c.beats(2, 750);
        let lease = c.lease;
        if let Some(fuel) = fuel {
            let commit = Action::ResultCommit { lease, root: hash(1), count: 10, fuel };
            c.w.ok("pat", commit);
            let made = c.record().commitment.unwrap();
            assert_eq!((made.root, made.count, made.fuel), (hash(1), 10, fuel));
            assert_eq!(made.at, c.w.head().now);
        } else {
            c.w.pass(1, 500);
        }
        c.close(who);
        let (_, events) = c.w.ok("ann", Action::ResultAccept { lease });
        let (paid, forfeited) = (nanos(paid), nanos(returned));
        let (provider, of) = (id("pat"), c.record().parties());
        let settled = Event::LeaseSettled { lease, provider, of, paid, forfeited };
        assert!(events.contains(&settled), "row {row}: {events:?}");
        assert_eq!(c.earned(), paid, "row {row}");
        let left = usd(10).checked_sub(paid).unwrap();
        assert_eq!(c.w.escrow(&c.escrow).balance, left, "row {row}: the rest is free again");
    }
}

#[test]
fn no_more_fuel_is_committed_than_the_job_allows() {
    let mut c = case(|_| (), usd(10), true).ready();
    let lease = c.lease;
    let commit = |count, fuel| Action::ResultCommit { lease, root: hash(1), count, fuel };
    for (count, fuel) in [(0, 1), (10, 10_001), (1, u64::MAX)] {
        assert_eq!(c.w.refused("pat", commit(count, fuel)), Reject::bad_field("fuel"));
    }
    c.w.ok("pat", commit(10, 10_000));
}

#[test]
fn every_close_reason_names_who_ended_the_lease_and_whose_fault_it_was() {
    use CloseReason as R;
    let params = Params::default();
    // (reason, ended by, provider's fault)
    let table = [
        (R::TenantClosed, Party::Tenant, false),
        (R::OutOfFunds, Party::Network, false),
        (R::ProviderNotReady, Party::Network, true),
        (R::ProviderStalled, Party::Network, true),
        (R::ProviderExit, Party::Provider, true),
        (R::ProviderFraud, Party::Network, true),
        (R::ReadyRejected, Party::Tenant, false),
        (R::Undelivered, Party::Provider, false),
        (R::Reclaimed, Party::Provider, false),
        (R::OfferEnded, Party::Provider, false),
    ];
    for (reason, party, fault) in table {
        assert_eq!((reason.ended_by(), reason.is_provider_fault()), (party, fault), "{reason:?}");
        assert_eq!(params.slash_bps(reason) > 0, fault, "{reason:?}");
    }
}
