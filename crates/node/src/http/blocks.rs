//! `/v1/blocks`: final blocks with what proves them.

use super::{App, Problem, Shared};
use axum::{
    Json,
    extract::{Path, State},
};
use muster_api::views::{ApiError, BlockView};
use std::sync::Arc;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(block))
}

/// A final block that had transactions or events.
#[utoipa::path(
    get,
    path = "/v1/blocks/{height}",
    responses((status = 200, body = BlockView), (status = 404, body = ApiError))
)]
async fn block(State(app): App, Path(height): Path<u64>) -> Result<Json<BlockView>, Problem> {
    let found = app.history.block(height).map_err(|error| Problem::internal(&error))?;
    let record = found.ok_or_else(|| Problem::not_found("block with content"))?;
    let certificate = app.consensus.certificate(height).await;
    let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
    Ok(Json(BlockView {
        height: record.height,
        now: record.now,
        digest: record.digest,
        state_root: record.state_root,
        event_root: record.event_root,
        transactions: record.transactions.iter().map(|tx| tx.id).collect(),
        events: record.events().cloned().collect(),
        header: hex(&record.header),
        certificate: certificate.map(|bytes| hex(&bytes)),
    }))
}
