//! What faults cost and who gets it, played through.

use crate::{
    Action, Params,
    job::{JobKind, JobSpec, Verification},
    market::{CloseReason, LeaseStatus, OrderStatus},
    provider::ProviderStatus,
    tests::{
        World, nanos, usd,
        world::{id, result},
    },
    view,
};
use muster_market::{Request, Terms};
use muster_types::*;

/// All that pat and quin own, wherever it is.
fn wealth(w: &World, escrow: Option<EscrowId>) -> u128 {
    let of = |who: &str| {
        let bond = w.bond_of(who);
        let parts = bond.unbonding.iter().map(|part| part.amount);
        parts.chain([w.usd_of(who), bond.amount]).map(Amount::nanos).sum::<u128>()
    };
    let escrow = escrow.map(|escrow| w.escrow(&escrow));
    let held = escrow.map_or(0, |escrow| escrow.balance.nanos() + escrow.withheld.nanos());
    of("pat") + of("quin") + held
}

/// A lease of `tenant` on the host of `provider`.
fn lease_on(w: &mut World, tenant: &str, escrow: EscrowId, job: JobId, provider: &str) -> LeaseId {
    let terms = Terms {
        request: Request { cpu_milli: 1_000, ..Request::default() },
        count: 1,
        max_rate: Rate::MAX,
        providers: vec![id(provider)],
        ..Terms::default()
    };
    let order = w.order_with(escrow, Some(job), terms);
    let order = w.place(tenant, order);
    w.order(&order).leases[0]
}

fn reason(w: &World, lease: &LeaseId) -> CloseReason {
    match w.lease(lease).status {
        LeaseStatus::Closed { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

/// Pat rents from itself and from quin, an account of its own; quin is at fault for this reason.
fn fault_of_ones_own(w: &mut World, fault: CloseReason) -> EscrowId {
    w.provider("pat", "3.6");
    w.provider("quin", "3.6");
    let escrow = w.open_escrow("pat", usd(10));
    let job = w.open_job("pat", escrow);
    let honest = lease_on(w, "pat", escrow, job, "pat");
    let faulty = lease_on(w, "pat", escrow, job, "quin");
    w.ok("pat", Action::LeaseReady { lease: honest });
    let beat = |w: &mut World| {
        w.block(1_000, vec![("pat", Action::Heartbeat { leases: vec![honest] })]);
    };
    if fault != CloseReason::ProviderNotReady {
        w.ok("quin", Action::LeaseReady { lease: faulty });
        w.beat(1_000);
    }
    match fault {
        CloseReason::ProviderNotReady => (0..31).for_each(|_| beat(w)),
        CloseReason::ProviderStalled => (0..6).for_each(|_| beat(w)),
        CloseReason::ProviderExit => drop(w.ok("quin", Action::LeaseClose { lease: faulty })),
        CloseReason::ProviderFraud => {
            let claims = Box::new([w.claim(honest, 0, 1), w.claim(faulty, 0, 2)]);
            let evidence = String::new();
            let (receipt, _) = w.ok("pat", Action::DisputeOpen { job, claims, evidence });
            let dispute = DisputeId::derive(&receipt.tx);
            w.ok("val", Action::DisputeVote { dispute, output: Some(result(1)) });
        }
        CloseReason::TenantClosed
        | CloseReason::OutOfFunds
        | CloseReason::ReadyRejected
        | CloseReason::Undelivered
        | CloseReason::Reclaimed
        | CloseReason::OfferEnded => panic!("no fault"),
    }
    assert_eq!(reason(w, &faulty), fault);
    w.ok("pat", Action::LeaseClose { lease: honest });
    w.pass(10, 1_000);
    w.ok("pat", Action::EscrowClose { escrow });
    escrow
}

#[test]
fn who_is_tenant_provider_and_reporter_at_once_loses_by_every_fault() {
    type Change = fn(&mut Params);
    let defaults: Change = |_| ();
    // As generous to whoever is harmed or reports as the bounds allow.
    let generous: Change = |params| {
        params.burn_min_bps = 1;
        params.reward_max_bps = 5_000;
        params.slash_not_ready_bps = 10_000;
        params.slash_stalled_bps = 10_000;
        params.slash_exit_bps = 10_000;
    };
    let reasons = [
        CloseReason::ProviderNotReady,
        CloseReason::ProviderStalled,
        CloseReason::ProviderExit,
        CloseReason::ProviderFraud,
    ];
    for (change, burn_min) in [(defaults, 2_000), (generous, 1)] {
        for reason in reasons {
            let mut w = World::with(&["val"], change);
            let before = wealth(&w, None);
            fault_of_ones_own(&mut w, reason);
            let slashed = w.bond_of("quin").slashed;
            assert!(!slashed.is_zero(), "{reason:?} costs nothing");
            let burned = view::supply(&w.state).usd.burned;
            let least = slashed.nanos() * burn_min / 10_000;
            assert!(burned.nanos() >= least.max(1), "{reason:?}: {burned} of {slashed}");
            assert_eq!(wealth(&w, None), before - burned.nanos(), "{reason:?}");
        }
    }
}

#[test]
fn a_tenant_that_crashes_its_own_container_gains_nothing() {
    // The ledger does not see the crash. Whatever the provider makes of it, and however its results
    // are to be checked (none are committed to), the tenant has in the end at most what it began
    // with: the same pay never comes back twice, out of the escrow and out of the bond.
    type Rest = fn(&mut World, LeaseId);
    let table: [(&str, bool, Rest, CloseReason); 4] = [
        (
            "the tenant closes",
            true,
            |w, lease| {
                w.beat(1_000);
                w.ok("ann", Action::LeaseClose { lease });
            },
            CloseReason::TenantClosed,
        ),
        (
            "the provider gives up",
            true,
            |w, lease| drop(w.ok("pat", Action::LeaseClose { lease })),
            CloseReason::ProviderExit,
        ),
        (
            "the provider falls silent",
            true,
            |w, _| drop(w.pass(7, 1_000)),
            CloseReason::ProviderStalled,
        ),
        (
            "it never became ready",
            false,
            |w, _| drop(w.pass(31, 1_000)),
            CloseReason::ProviderNotReady,
        ),
    ];
    let replicate = Verification::Replicate { sample_bps: 1_000 };
    let audit = Verification::Audit { rate_bps: 500 };
    let levels = [
        None,
        Some((replicate, false)),
        Some((replicate, true)),
        Some((audit, false)),
        Some((audit, true)),
    ];
    for (name, ready, rest, expected) in table {
        for level in levels {
            let name = format!("{name}, {level:?}");
            let mut w = World::with(&["val"], |params| params.slash_exit_bps = 10_000);
            w.provider("pat", "3.6");
            let escrow = w.open_escrow("ann", usd(10));
            let job = level.map(|(verification, metered)| {
                let spec = JobSpec {
                    kind: JobKind::Batch,
                    escrow,
                    tasks: 10,
                    verification,
                    manifest: Hash::ZERO,
                    fuel_max: 1_000,
                    chain: None,
                    metered,
                };
                w.open_job_of("ann", spec)
            });
            let [lease] = w.grant("ann", escrow, job, 1)[..] else { panic!("{name}") };
            if ready {
                w.ok("pat", Action::LeaseReady { lease });
                w.beat(1_000);
            }
            rest(&mut w, lease);
            assert_eq!(reason(&w, &lease), expected, "{name}");
            w.pass(10, 1_000);
            w.ok("ann", Action::EscrowClose { escrow });
            let record = w.lease(&lease);
            assert!(record.compensated <= record.paid, "{name}");
            let spent = record.paid.checked_sub(record.compensated).unwrap();
            assert_eq!(w.usd_of("ann"), usd(1_000).checked_sub(spent).unwrap(), "{name}");
            let at_fault = expected.is_provider_fault();
            assert_eq!(w.bond_of("pat").slashed.is_zero(), !at_fault, "{name}");
            let unproven = level.is_some_and(|(level, metered)| level == audit || metered);
            assert_eq!(spent.is_zero(), at_fault || !ready || unproven, "{name}: {spent}");
        }
    }
}

#[test]
fn what_is_pledged_to_one_job_cannot_be_spent_on_another() {
    let mut w = World::with(&["val"], |params| params.slash_exit_bps = 10_000);
    w.provider("pat", "3.6");
    // Of 400 usd 200 stay: two pledges of 86.4 fit, a third does not.
    w.ok("pat", Action::BondUnbond { amount: usd(200) });
    let (first, second) = (w.open_escrow("ann", usd(10)), w.open_escrow("bob", usd(10)));
    let (one, other) = (w.open_job("ann", first), w.open_job("bob", second));
    let broken = lease_on(&mut w, "ann", first, one, "pat");
    let served = lease_on(&mut w, "bob", second, other, "pat");
    let third = w.order_for(second, Some(other), 1);
    let third = w.place("bob", third);
    assert_eq!(w.order(&third).status, OrderStatus::Open);
    w.ok("bob", Action::OrderCancel { order: third });
    let pledge: Amount = "86.4".parse().unwrap();
    let free = usd(200).checked_sub(pledge.checked_mul(2).unwrap()).unwrap();
    for act in [
        Action::BondUnbond { amount: usd(28) },
        Action::ServiceRegister { name: "gate".into(), pledge: usd(28) },
    ] {
        let short = crate::Reject::InsufficientBond { needed: usd(28), available: free };
        assert_eq!(w.refused("pat", act), short);
    }
    w.ok("pat", Action::LeaseReady { lease: broken });
    w.ok("pat", Action::LeaseReady { lease: served });
    for _ in 0..3 {
        w.beat(1_000);
    }
    // The one job's lease is left, and what it gave is accepted: ann gets what that costs, of the
    // lease's pledge, and all of the pledge goes.
    let (ann, bob) = (w.usd_of("ann"), w.usd_of("bob"));
    w.ok("pat", Action::LeaseClose { lease: broken });
    assert_eq!(w.bond_of("pat").slashed, Amount::ZERO, "nothing is paid yet");
    w.ok("ann", Action::ResultAccept { lease: broken });
    let loss = w.lease(&broken).paid;
    assert!(!loss.is_zero());
    assert_eq!(w.usd_of("ann"), ann.checked_add(loss).unwrap());
    let bond = w.bond_of("pat");
    assert_eq!((bond.slashed, bond.pledged), (pledge, pledge), "the other pledge is whole");
    assert_eq!(bond.amount, usd(200).checked_sub(pledge).unwrap());
    assert_eq!((w.lease(&served).pledge, w.usd_of("bob")), (pledge, bob));
    // Nothing frees the other one's pledge before its own window ends, leaving included.
    w.ok("pat", Action::ProviderDrain {});
    w.beat(500);
    w.ok("bob", Action::LeaseClose { lease: served });
    w.pass(9, 1_000);
    assert_eq!(w.bond_of("pat").pledged, pledge);
    let short = crate::Reject::InsufficientBond { needed: pledge, available: free };
    assert_eq!(w.refused("pat", Action::BondUnbond { amount: pledge }), short);
    assert_eq!(w.provider_of("pat").status, ProviderStatus::Draining);
    w.pass(1, 1_000);
    assert_eq!((w.bond_of("pat").pledged, w.bond_of("pat").slashed), (nanos(0), pledge));
}
