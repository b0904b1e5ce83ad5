use crate::{
    Action, Reject,
    job::{ChainStart, JobKind, JobSpec, Verification, pledge_for},
    tests::{
        World,
        chain::{self, START},
        nanos, usd,
        world::hash,
    },
};
use muster_types::{Amount, EscrowId, JobId};

/// A chain at level `dispute` whose steps may use so much memory.
fn chain(memory_max_bytes: u64) -> JobSpec {
    JobSpec {
        chain: Some(ChainStart { memory_max_bytes, ..START }),
        ..chain::spec(EscrowId::default(), 200)
    }
}

#[test]
fn only_audits_ask_for_a_pledge_and_by_the_formula() {
    let spec = chain(1);
    let table = [
        (Verification::None, Ok(0)),
        (Verification::Replicate { sample_bps: 500 }, Ok(0)),
        (Verification::Dispute, Ok(0)),
        (Verification::Audit { rate_bps: 500 }, Ok(23_000 + 29_000)),
        (Verification::Audit { rate_bps: 1_000 }, Ok(11_000 + 14_000)),
        (Verification::Audit { rate_bps: 0 }, Err(Reject::Overflow)),
    ];
    for (verification, pledge) in table {
        let spec = JobSpec { verification, ..spec.clone() };
        let asked = pledge_for(&spec, nanos(1_000), nanos(1_000));
        assert_eq!(asked, pledge.map(Amount::from_nanos), "{verification:?}");
    }
}

#[test]
fn a_job_that_is_not_as_documented_is_refused() {
    type Change = fn(&mut JobSpec);
    let table: [(&str, Change); 16] = [
        ("spec.tasks", |spec| spec.tasks = 0),
        ("spec.tasks", |spec| spec.tasks = u64::MAX),
        ("spec.fuel_max", |spec| spec.fuel_max = 0),
        ("spec.verification.sample_bps", |spec| {
            spec.verification = Verification::Replicate { sample_bps: 0 };
        }),
        ("spec.verification.sample_bps", |spec| {
            spec.verification = Verification::Replicate { sample_bps: 10_001 };
        }),
        ("spec.verification.rate_bps", |spec| {
            spec.verification = Verification::Audit { rate_bps: 0 };
        }),
        ("spec.verification.rate_bps", |spec| {
            spec.verification = Verification::Audit { rate_bps: 10_001 };
        }),
        ("spec.chain", |spec| spec.chain = Some(START)),
        ("spec.chain", |spec| {
            spec.verification = Verification::Audit { rate_bps: 500 };
            spec.chain = Some(START);
        }),
        ("spec.chain", |spec| spec.verification = Verification::Dispute),
        ("spec.chain", |spec| *spec = chain(0)),
        ("spec.chain", |spec| *spec = chain((4 << 30) + 1)),
        ("spec.kind", |spec| *spec = JobSpec { kind: JobKind::Batch, ..chain(1) }),
        ("spec.kind", |spec| {
            *spec = JobSpec { kind: JobKind::Batch, chain: None, ..chain(1) };
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
        chain: None,
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
    w.ok("ann", Action::JobOpen { spec: chain::spec(escrow, 200) });
    let audited = Verification::Audit { rate_bps: 10_000 };
    w.ok("ann", Action::JobOpen { spec: JobSpec { verification: audited, ..good.clone() } });
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
