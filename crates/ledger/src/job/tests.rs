use crate::{
    Action, Reject,
    job::{JobKind, JobSpec, Verification},
    tests::{World, usd, world::hash},
};
use muster_types::{EscrowId, JobId};

#[test]
fn a_job_that_is_not_as_documented_is_refused() {
    type Change = fn(&mut JobSpec);
    let table: [(&str, Change); 7] = [
        ("spec.tasks", |spec| spec.tasks = 0),
        ("spec.tasks", |spec| spec.tasks = u64::MAX),
        ("spec.fuel_max", |spec| spec.fuel_max = 0),
        ("spec.verification.sample_bps", |spec| {
            spec.verification = Verification::Replicate { sample_bps: 0 };
        }),
        ("spec.verification.sample_bps", |spec| {
            spec.verification = Verification::Replicate { sample_bps: 10_001 };
        }),
        ("spec.metered", |spec| spec.metered = true),
        ("escrow", |spec| spec.escrow = EscrowId::default()),
    ];
    let mut w = World::new();
    let escrow = w.open_escrow("ann", usd(10));
    let good = JobSpec {
        kind: JobKind::Chain,
        escrow,
        tasks: 200,
        verification: Verification::None,
        manifest: hash(1),
        fuel_max: 1,
        metered: false,
    };
    for (field, change) in table {
        let mut spec = good.clone();
        change(&mut spec);
        let expected = match field {
            "escrow" => Reject::not_found("escrow"),
            field => Reject::bad_field(field),
        };
        assert_eq!(w.refused("ann", Action::JobOpen { spec }), expected);
    }
    let refused = w.refused("bob", Action::JobOpen { spec: good.clone() });
    assert_eq!(refused, Reject::not_yours("owner"));
    w.ok("ann", Action::JobOpen { spec: good.clone() });
    w.ok("ann", Action::EscrowClose { escrow });
    let refused = w.refused("ann", Action::JobOpen { spec: good });
    assert_eq!(refused, Reject::wrong_state("escrow", "closed"));
}

#[test]
fn a_job_closes_once_without_open_orders_and_takes_no_more() {
    let mut w = World::new();
    let escrow = w.open_escrow("ann", usd(10));
    let job = w.open_job("ann", escrow);
    let close = Action::JobClose { job };
    let missing = Action::JobClose { job: JobId::default() };
    assert_eq!(w.refused("ann", missing), Reject::not_found("job"));
    assert_eq!(w.refused("bob", close.clone()), Reject::not_yours("tenant"));
    let order = w.order_for(escrow, Some(job), 1);
    let placed = w.place("ann", order.clone());
    assert_eq!(w.job(&job).open_orders, 1);
    let waiting = Reject::wrong_state("job", "waiting for open orders");
    assert_eq!(w.refused("ann", close.clone()), waiting);
    w.ok("ann", Action::OrderCancel { order: placed });
    w.ok("ann", close.clone());
    assert!(w.job(&job).closed);
    assert_eq!(w.refused("ann", close), Reject::wrong_state("job", "closed"));
    assert_eq!(w.refused("ann", order), Reject::wrong_state("job", "closed"));
}
