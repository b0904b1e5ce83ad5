use super::*;
use crate::testing::{TENANT, job as some_job, lease, slot};
use muster_ledger::market::{CloseReason, LeaseStatus, Serving};
use muster_types::{Hash, JobId, LeaseId, Millis};
use std::collections::BTreeMap;

const STRANGER: AccountId = AccountId(Hash([66; 32]));

fn good() -> Prepare {
    Prepare {
        lease: LeaseId::default(),
        job: JobId(Hash([5; 32])),
        kind: JobKind::Batch,
        module: Hash::ZERO,
        data: BTreeMap::from([("model".to_owned(), Hash::ZERO)]),
        limits: TaskLimits {
            fuel: 1_000,
            memory_bytes: 1 << 20,
            output_bytes: 1 << 10,
            wall_ms: 1_000,
        },
        source: String::new(),
    }
}

fn add(prepare: &mut Prepare, name: &str) {
    prepare.data.insert(name.to_owned(), Hash::ZERO);
}

fn reason(result: Result<(), Denial>) -> String {
    result.map_or_else(|denial| denial.to_string(), |()| "served".to_owned())
}

#[test]
fn only_the_tenant_of_an_open_lease_is_served() {
    let closed =
        |settled| LeaseStatus::Closed { reason: CloseReason::TenantClosed, at: Millis(1), settled };
    let stalled = LeaseStatus::Stalled { since: Millis(1), was: Serving::Active };
    for (status, peer, expected) in [
        (LeaseStatus::Granted, TENANT, "served"),
        (LeaseStatus::Active, TENANT, "served"),
        (stalled, TENANT, "served"),
        (LeaseStatus::Updating { since: Millis(1) }, TENANT, "served"),
        (LeaseStatus::Reclaiming { until: Millis(1) }, TENANT, "served"),
        (closed(false), TENANT, "the lease is over"),
        (LeaseStatus::Granted, STRANGER, "another tenant's"),
        (LeaseStatus::Active, STRANGER, "another tenant's"),
        (stalled, STRANGER, "another tenant's"),
        (closed(false), STRANGER, "another tenant's"),
    ] {
        let answer = reason(admit(&slot(status), peer));
        assert!(answer.contains(expected), "{status:?}: {answer}");
    }
    assert!(Slot::new(LeaseId::default(), &lease(closed(true))).is_none());
}

#[test]
fn a_preparation_must_fit_the_lease() {
    type Change = fn(&mut Prepare);
    let table: [(&str, Change); 14] = [
        ("served", |_| ()),
        ("not ordered for this job", |prepare| prepare.job = JobId::default()),
        ("is no name", |prepare| add(prepare, "../x")),
        ("is no name", |prepare| add(prepare, "")),
        ("is no name", |prepare| add(prepare, "..")),
        ("is no name", |prepare| add(prepare, &"x".repeat(256))),
        ("1025 files", |prepare| {
            prepare.data = (0..1025).map(|file| (file.to_string(), Hash::ZERO)).collect();
        }),
        ("limits.fuel is 0", |prepare| prepare.limits.fuel = 0),
        ("limits.memory_bytes", |prepare| prepare.limits.memory_bytes = (1 << 30) + 1),
        ("served", |prepare| prepare.limits.memory_bytes = 1 << 30),
        ("limits.output_bytes", |prepare| prepare.limits.output_bytes = u64::MAX),
        ("limits.wall_ms is 0", |prepare| prepare.limits.wall_ms = 0),
        ("limits.wall_ms", |prepare| prepare.limits.wall_ms = u64::MAX),
        ("served", |prepare| prepare.data.clear()),
    ];
    for (number, (expected, change)) in table.into_iter().enumerate() {
        let mut request = good();
        change(&mut request);
        let answer = reason(prepare(&slot(LeaseStatus::Granted), &request));
        assert!(answer.contains(expected), "row {number}: {answer}");
    }
}

#[test]
fn a_preparation_must_be_what_the_job_says() {
    let on_ledger = some_job(JobKind::Batch, 40, 1_000);
    assert_eq!(reason(job(&good(), &on_ledger)), "served");
    let mut request = good();
    request.kind = JobKind::Chain;
    assert!(reason(job(&request, &on_ledger)).contains("Batch"));
    let mut request = good();
    request.limits.fuel = 1_001;
    assert!(reason(job(&request, &on_ledger)).contains("allows 1000"));
}

#[test]
fn a_run_asks_for_tasks_that_exist_with_their_inputs() {
    use JobKind::{Batch, Chain};
    for (kind, first, count, inputs, expected) in [
        (Batch, 0, 3, 3, "served"),
        (Batch, 37, 3, 3, "served"),
        (Batch, 38, 3, 3, "there are 40"),
        (Batch, u64::MAX, 1, 1, "there are 40"),
        (Batch, 0, 0, 0, "it must be 1 to 256"),
        (Batch, 0, 257, 257, "it must be 1 to 256"),
        (Batch, 0, 3, 2, "2 inputs for a run that takes 3"),
        (Chain, 0, 40, 1, "served"),
        (Chain, 0, 2, 2, "2 inputs for a run that takes 1"),
        (Chain, 0, 2, 0, "0 inputs for a run that takes 1"),
        (Chain, 1, 40, 1, "there are 40"),
    ] {
        let request = Run {
            lease: LeaseId::default(),
            first,
            count,
            inputs: vec![Hash::ZERO; inputs],
            source: String::new(),
        };
        let answer = reason(run(&request, kind, 40));
        assert!(answer.contains(expected), "{kind:?} {first}+{count} of {inputs}: {answer}");
    }
}

#[test]
fn a_source_that_is_no_address_is_refused_by_name() {
    let answer = source("example.org").map(|_| ());
    assert!(reason(answer).starts_with("source: `example.org` is not a peer address"));
}
