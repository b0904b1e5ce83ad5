use super::*;
use muster_ledger::job::TaskOutput;
use muster_types::{JobId, SecretKey, Signature};

const CHAIN: Hash = Hash([1; 32]);
const LEASE: LeaseId = LeaseId(Hash([2; 32]));

fn key() -> SecretKey {
    SecretKey::from_seed([3; 32])
}

fn first() -> TaskRef {
    TaskRef {
        job: JobId(Hash([4; 32])),
        index: 10,
        module: Hash([5; 32]),
        input: Hash([20; 32]),
        data: Hash([6; 32]),
        fuel_limit: 1_000,
        memory_limit_bytes: 64,
    }
}

fn sign(task: TaskRef, output: u8) -> Claim {
    let result = TaskOutput { output: Hash([output; 32]), fuel: 10 };
    Claim::sign(&CHAIN, LEASE, task, result, &key())
}

/// Three good claims: of a batch over inputs 20, 21, 22; of a chain from state 20 over 21 to 22.
fn good(kind: JobKind) -> Vec<Claim> {
    let step = u8::from(kind == JobKind::Chain);
    (0..3u8)
        .map(|at| {
            let task = TaskRef { index: 10 + u64::from(at), input: Hash([20 + at; 32]), ..first() };
            sign(task, 20 + at + step)
        })
        .collect()
}

fn checked(kind: JobKind, claims: &[Claim], stopped: bool) -> Result<(), ClaimFault> {
    let inputs = match kind {
        JobKind::Batch => vec![Hash([20; 32]), Hash([21; 32]), Hash([22; 32])],
        JobKind::Chain => vec![Hash([20; 32])],
    };
    let asked = Asked {
        chain: &CHAIN,
        provider: key().account(),
        lease: LEASE,
        kind,
        first: first(),
        count: 3,
        inputs: &inputs,
    };
    check(&asked, claims, stopped)
}

#[test]
fn good_claims_pass_whole_or_up_to_a_failure() {
    for kind in [JobKind::Batch, JobKind::Chain] {
        let claims = good(kind);
        assert_eq!(checked(kind, &claims, false), Ok(()));
        assert_eq!(checked(kind, &claims[..2], true), Ok(()));
        assert_eq!(checked(kind, &[], true), Ok(()));
        for (claims, stopped) in [(&claims[..2], false), (&claims[..], true)] {
            let given = claims.len();
            let fault = ClaimFault::Count { given, asked: 3 };
            assert_eq!(checked(kind, claims, stopped), Err(fault));
        }
    }
}

#[test]
fn every_change_to_a_claim_is_found() {
    type Change = fn(&mut Claim);
    let resign = |claim: &mut Claim, key: &SecretKey, chain: &Hash| {
        *claim = Claim::sign(chain, claim.lease, claim.task, claim.result, key);
    };
    let table: [(Change, ClaimFault); 9] = [
        (|claim| claim.lease = LeaseId(Hash([9; 32])), ClaimFault::Lease { index: 11 }),
        (|claim| claim.task.index = 12, ClaimFault::Task { index: 11 }),
        (|claim| claim.task.job = JobId(Hash([9; 32])), ClaimFault::Task { index: 11 }),
        (|claim| claim.task.module = Hash([9; 32]), ClaimFault::Task { index: 11 }),
        (|claim| claim.task.data = Hash([9; 32]), ClaimFault::Task { index: 11 }),
        (|claim| claim.task.fuel_limit = 1, ClaimFault::Task { index: 11 }),
        (|claim| claim.task.memory_limit_bytes = 1, ClaimFault::Task { index: 11 }),
        (|claim| claim.task.input = Hash([9; 32]), ClaimFault::Task { index: 11 }),
        (|claim| claim.result.fuel = 1_001, ClaimFault::Fuel { index: 11 }),
    ];
    for (change, fault) in table {
        let mut claims = good(JobKind::Batch);
        change(&mut claims[1]);
        resign(&mut claims[1], &key(), &CHAIN);
        assert_eq!(checked(JobKind::Batch, &claims, false), Err(fault));
    }
    let unsigned = ClaimFault::Signature { index: 11 };
    let forgeries: [&dyn Fn(&mut Claim); 4] = [
        &|claim| resign(claim, &SecretKey::from_seed([8; 32]), &CHAIN),
        &|claim| resign(claim, &key(), &Hash([8; 32])),
        &|claim| claim.result.output = Hash([8; 32]),
        &|claim| claim.signature = Signature([0; 64]),
    ];
    for forge in forgeries {
        let mut claims = good(JobKind::Batch);
        forge(&mut claims[1]);
        assert_eq!(checked(JobKind::Batch, &claims, false), Err(unsigned));
    }
}

#[test]
fn a_step_that_does_not_start_from_the_one_before_is_found() {
    let mut claims = good(JobKind::Chain);
    claims[1] = sign(TaskRef { input: Hash([7; 32]), ..claims[1].task }, 22);
    assert_eq!(checked(JobKind::Chain, &claims, false), Err(ClaimFault::Link { index: 11 }));
    let mut claims = good(JobKind::Chain);
    claims[0] = sign(claims[0].task, 7);
    assert_eq!(checked(JobKind::Chain, &claims, false), Err(ClaimFault::Link { index: 11 }));
    let mut claims = good(JobKind::Chain);
    claims[0] = sign(TaskRef { input: Hash([7; 32]), ..claims[0].task }, 21);
    assert_eq!(checked(JobKind::Chain, &claims, false), Err(ClaimFault::Link { index: 10 }));
}

#[test]
fn a_commitment_is_checked_where_it_is_over_as_many_results_as_we_have() {
    let claims = good(JobKind::Batch);
    let leaf = |claim: &Claim| {
        let (task, result) = (&claim.task, &claim.result);
        muster_verify::task_leaf(&task.job, task.index, &task.input, &result.output, result.fuel)
    };
    let leaves: Vec<Hash> = claims.iter().map(leaf).collect();
    let root = muster_types::merkle::root(&leaves);
    assert_eq!(commitment_holds(&claims, &root, 3), Some(true));
    assert_eq!(commitment_holds(&claims, &Hash([7; 32]), 3), Some(false));
    assert_eq!(commitment_holds(&claims, &root, 4), None);
    assert_eq!(commitment_holds(&[], &Hash::ZERO, 0), Some(true));
}
