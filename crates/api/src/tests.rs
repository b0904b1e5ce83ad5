//! What tenants, providers and nodes may send.

use crate::{
    provider::{Failure, MAX_MESSAGE_BYTES, Prepare, Request, Response, Run, TaskLimits},
    views::{ApiError, Status},
};
use muster_hostile::{Meter, bent_text, canonical};
use muster_ledger::{
    Params,
    dispute::Claim,
    job::{JobKind, TaskOutput, TaskRef},
};
use muster_types::{Hash, JobId, LeaseId, Millis, SecretKey, codec};
use std::collections::BTreeMap;

#[global_allocator]
static METER: Meter = Meter;

const CHAIN: Hash = Hash([1; 32]);

fn key() -> SecretKey {
    SecretKey::from_seed([7; 32])
}

fn claim(index: u64) -> Claim {
    let task = TaskRef {
        job: JobId(Hash([2; 32])),
        index,
        module: Hash([3; 32]),
        input: Hash([4; 32]),
        data: Hash::ZERO,
        fuel_limit: 1_000,
        memory_limit_bytes: 1 << 20,
    };
    let result = TaskOutput { output: Hash([5; 32]), fuel: 9 };
    Claim::sign(&CHAIN, LeaseId(Hash([6; 32])), task, result, &key())
}

#[test]
fn a_request_has_one_encoding() {
    let lease = LeaseId(Hash([6; 32]));
    let prepare = Prepare {
        lease,
        job: JobId(Hash([2; 32])),
        kind: JobKind::Chain,
        module: Hash([3; 32]),
        data: BTreeMap::from([("a".to_owned(), Hash::ZERO), ("model".to_owned(), Hash([1; 32]))]),
        limits: TaskLimits { fuel: 1, memory_bytes: 2, output_bytes: 3, wall_ms: 4 },
        source: "nowhere".to_owned(),
    };
    let run = Run { lease, first: 3, count: 2, inputs: vec![Hash::ZERO; 2], source: "x".into() };
    let samples =
        [Request::Prepare(Box::new(prepare)), Request::Run(run), Request::Commit { lease }]
            .map(|request| codec::encode(&request));
    let taken = canonical(&samples, 40_000, |bytes| {
        let request: Request = codec::decode(bytes, MAX_MESSAGE_BYTES).ok()?;
        Some(codec::encode(&request))
    });
    assert!(taken > 1_000, "{taken}");
}

#[test]
fn an_answer_has_one_encoding_and_a_bent_claim_no_signature() {
    let failure =
        Failure { deterministic: true, message: "out of fuel".into(), stderr: "end".into() };
    let samples = [
        Response::Prepared,
        Response::Done { claims: vec![claim(0), claim(1)] },
        Response::Failed { claims: vec![claim(2)], failure },
        Response::Committed { root: Hash([8; 32]), count: 2 },
    ]
    .map(|response| codec::encode(&response));
    let genuine = [claim(0), claim(1), claim(2)];
    let provider = key().account();
    let taken = canonical(&samples, 20_000, |bytes| {
        let response: Response = codec::decode(bytes, MAX_MESSAGE_BYTES).ok()?;
        if let Response::Done { claims } | Response::Failed { claims, .. } = &response {
            for claim in claims.iter().filter(|claim| !genuine.contains(claim)).take(1) {
                assert!(!claim.is_signed_by(&CHAIN, &provider), "{claim:?}");
            }
        }
        Some(codec::encode(&response))
    });
    assert!(taken > 1_000, "{taken}");
}

#[test]
fn what_a_node_answers_is_read_or_refused() {
    let status = Status {
        chain: CHAIN,
        network: "test".to_owned(),
        protocol: 1,
        software: "0".to_owned(),
        height: 7,
        now: Millis(8),
        state_root: Hash::ZERO,
        validators: vec![key().account()],
        referee: None,
        beacon_trusted: true,
        beacon_round: 0,
        params: Params::default(),
    };
    let status = serde_json::to_string(&status).unwrap();
    let error = ApiError { code: "not_found".into(), message: "no".into(), reject: None };
    let error = serde_json::to_string(&error).unwrap();
    let mut read = [0; 2];
    bent_text(&[&status, &error], 20_000, |text| {
        let (status, error) = (serde_json::from_str::<Status>(text), serde_json::from_str(text));
        read[0] += u32::from(status.is_ok_and(|status| serde_json::to_string(&status).is_ok()));
        read[1] += u32::from(error.is_ok_and(|error: ApiError| !error.code.is_empty()));
    });
    assert!(read.iter().all(|count| *count > 100), "{read:?}");
}
