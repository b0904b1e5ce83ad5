//! The HTTP API: JSON by axum, documented by OpenAPI, events as server-sent events.
//!
//! Handlers read the resident state under its lock for the time of one look-up and answer; only
//! `POST /v1/transactions` waits, for finality.

mod blocks;
mod events;
mod holdings;
mod lists;
mod records;
#[cfg(test)]
mod tests;
mod transactions;

use crate::{consensus::Consensus, history::History};
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use muster_api::views::{ApiError, Status};
use muster_ledger::{Genesis, view};
use muster_types::{MAX_TX_BYTES, ParseIdError};
use std::{str::FromStr, sync::Arc};
use tokio_util::sync::CancellationToken;
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

/// What every handler has at hand.
pub(crate) struct Shared {
    pub(crate) consensus: Consensus,
    pub(crate) history: History,
    pub(crate) genesis: Genesis,
    pub(crate) referee: Option<String>,
    pub(crate) stopping: CancellationToken,
}

pub(crate) type App = State<Arc<Shared>>;

/// A failed request: its HTTP status and body.
#[derive(Debug)]
pub(crate) struct Problem(pub(crate) StatusCode, pub(crate) ApiError);

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        let error = ApiError { code: code.to_owned(), message: message.into(), reject: None };
        Self(status, error)
    }

    pub(crate) fn not_found(kind: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("no such {kind}"))
    }

    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", message)
    }

    pub(crate) fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(%error, "a request failed inside the node");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the node failed: see its log")
    }

    pub(crate) fn stopping() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "the node is stopping: try again")
    }
}

/// An id in a request.
fn parse<I: FromStr<Err = ParseIdError>>(text: &str) -> Result<I, Problem> {
    text.parse().map_err(|error: ParseIdError| Problem::malformed(error.to_string()))
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}

#[derive(OpenApi)]
#[openapi(info(
    title = "Muster node",
    description = "The HTTP API of a Muster node. Ids are 64 hexadecimal digits, amounts decimal \
                   strings. Every failure has an `ApiError` as its body."
))]
struct Document;

fn parts() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(status))
        .merge(records::routes())
        .merge(lists::routes())
        .merge(holdings::routes())
        .merge(transactions::routes())
        .merge(blocks::routes())
        .merge(events::routes())
}

/// The OpenAPI document, generated from the handlers.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    parts().into_openapi()
}

pub(crate) fn router(shared: Arc<Shared>) -> Router {
    let (router, document) = parts().split_for_parts();
    router
        .route("/openapi.json", get(move || async move { Json(document) }))
        .fallback(|| async { Problem::not_found("page: see /openapi.json") })
        .layer(DefaultBodyLimit::max(MAX_TX_BYTES * 2))
        .with_state(shared)
}

/// What the node says of itself.
#[utoipa::path(get, path = "/v1/status", responses((status = 200, body = Status)))]
async fn status(State(app): App) -> Json<Status> {
    let head = app.consensus.head();
    let (validators, params) =
        app.consensus.read(|state, _| (view::validators(state), view::params(state)));
    Json(Status {
        chain: app.genesis.id(),
        network: app.genesis.name.clone(),
        protocol: params.protocol,
        software: env!("CARGO_PKG_VERSION").to_owned(),
        height: head.height,
        now: head.time,
        state_root: head.state_root,
        beacon_trusted: head.beacon_key.is_none(),
        beacon_round: head.beacon_round,
        validators,
        referee: app.referee.clone(),
        params,
    })
}
