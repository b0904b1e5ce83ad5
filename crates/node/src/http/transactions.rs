//! `/v1/transactions`: takes a transaction in and answers when it is final.

use super::{App, Problem, Shared};
use crate::{
    history::BlockRecord,
    mempool::{PoolReject, TxOutcome},
};
use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
};
use muster_api::views::{ApiError, Applied};
use muster_ledger::{Reject, Tx};
use muster_types::TxId;
use std::{sync::Arc, time::Duration};
use utoipa_axum::{router::OpenApiRouter, routes};

/// How long a submitter waits for finality before it is told to ask again.
const FINALITY_TIMEOUT: Duration = Duration::from_secs(20);

pub(super) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(submit)).routes(routes!(transaction))
}

fn refused(reject: Reject) -> Problem {
    let code = reject.code().to_owned();
    let error = ApiError { code, message: reject.to_string(), reject: Some(reject) };
    Problem(StatusCode::UNPROCESSABLE_ENTITY, error)
}

fn not_pooled(reject: PoolReject) -> Problem {
    let (status, code) = match reject {
        PoolReject::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "malformed"),
        PoolReject::WrongChain { .. } => return refused(Reject::WrongChain),
        PoolReject::Signature(_) => return refused(Reject::BadSignature),
        PoolReject::Refused(reject) => return refused(reject),
        PoolReject::NonceTaken { .. } => (StatusCode::CONFLICT, "bad_nonce"),
        PoolReject::AccountFull { .. } | PoolReject::Full | PoolReject::Watched => {
            (StatusCode::SERVICE_UNAVAILABLE, "busy")
        }
    };
    Problem::new(status, code, reject.to_string())
}

fn applied(block: &BlockRecord, index: usize) -> Option<Applied> {
    let tx = block.transactions.get(index)?;
    Some(Applied {
        tx: tx.id,
        height: block.height,
        now: block.now,
        fee: tx.fee,
        events: tx.events.clone(),
    })
}

/// Sends a signed transaction (borsh) and waits until it is final. Sending the same one again
/// is harmless and answers the same.
#[utoipa::path(
    post,
    path = "/v1/transactions",
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 200, body = Applied),
        (status = 422, description = "refused by the ledger, without effect", body = ApiError),
        (status = 503, description = "busy: try again", body = ApiError)
    )
)]
async fn submit(State(app): App, body: Bytes) -> Result<Json<Applied>, Problem> {
    let tx = Tx::decode(&body)
        .map_err(|error| Problem::malformed(format!("not a signed transaction: {error}")))?;
    let id = tx.id();
    if let Some(known) = find(&app, &id)? {
        return Ok(Json(known));
    }
    let submission = match app.consensus.pool().submit(tx) {
        Ok(submission) => submission,
        // It may have become final meanwhile.
        Err(reject) => return find(&app, &id)?.map(Json).ok_or_else(|| not_pooled(reject)),
    };
    let outcome = tokio::select! {
        outcome = tokio::time::timeout(FINALITY_TIMEOUT, submission.outcome) => outcome,
        () = app.stopping.cancelled() => return Err(Problem::stopping()),
    };
    match outcome {
        Ok(Ok(TxOutcome::Final { .. })) => {
            find(&app, &id)?.map(Json).ok_or_else(|| Problem::not_found("transaction"))
        }
        Ok(Ok(TxOutcome::Rejected(reject))) => {
            // Another copy of it may have been applied meanwhile.
            find(&app, &id)?.map(Json).ok_or_else(|| refused(reject))
        }
        Ok(Ok(TxOutcome::Expired)) => Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "expired",
            "expired before it got into a block: sign it again",
        )),
        Ok(Ok(TxOutcome::Replaced)) => Err(Problem::new(
            StatusCode::CONFLICT,
            "bad_nonce",
            "replaced by another transaction with its nonce",
        )),
        Ok(Ok(TxOutcome::Evicted)) => Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            "others that tip more took its place: send it again, or raise its tip",
        )),
        Ok(Err(_)) => Err(Problem::stopping()),
        Err(_) => Err(Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            "timeout",
            "not final yet: send the same transaction again to go on waiting",
        )),
    }
}

fn find(app: &Shared, id: &TxId) -> Result<Option<Applied>, Problem> {
    let found = app.history.transaction(id).map_err(|error| Problem::internal(&error))?;
    Ok(found.and_then(|(block, index)| applied(&block, index)))
}

/// A final transaction.
#[utoipa::path(
    get,
    path = "/v1/transactions/{id}",
    responses((status = 200, body = Applied), (status = 404, body = ApiError))
)]
async fn transaction(State(app): App, Path(id): Path<String>) -> Result<Json<Applied>, Problem> {
    let id: muster_types::Hash =
        id.parse().map_err(|_| Problem::malformed("not a transaction's id"))?;
    find(&app, &TxId(id))?.map(Json).ok_or_else(|| Problem::not_found("transaction"))
}
