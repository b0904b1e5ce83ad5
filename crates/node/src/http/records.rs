//! `/v1/accounts`, `/v1/providers` and the other records of the ledger; quotes.

use super::{App, Problem, Shared, parse};
use axum::{
    Json,
    extract::{Path, State, rejection::JsonRejection},
};
use muster_api::views::{
    Account, ApiError, Dispute, Escrow, Explanation, HostView, Invariants, Job, LIST_MAX, Lease,
    Named, Order, ProviderView, Terms,
};
use muster_ledger::{State as LedgerState, invariant, provider::Provider, view};
use muster_types::{AccountId, DisputeId, EscrowId, JobId, LeaseId, OrderId, ParseIdError};
use std::{str::FromStr, sync::Arc};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new()
        .routes(routes!(account))
        .routes(routes!(providers))
        .routes(routes!(provider))
        .routes(routes!(order))
        .routes(routes!(escrow))
        .routes(routes!(job))
        .routes(routes!(lease))
        .routes(routes!(dispute))
        .routes(routes!(quote))
        .routes(routes!(invariants))
}

/// A record, from the state or from what has left it.
fn look_up<I, T>(
    app: &Shared,
    kind: &str,
    text: &str,
    read: impl Fn(&dyn LedgerState, &I) -> Option<T>,
) -> Result<Json<Named<I, T>>, Problem>
where
    I: FromStr<Err = ParseIdError>,
{
    let id: I = parse(text)?;
    // In this order: what leaves the state in between is in the history by then.
    let found = match app.consensus.read(|state, _| read(state, &id)) {
        Some(record) => Some(record),
        None => {
            let kept = app.history.archive(|kept| read(kept, &id));
            kept.map_err(|error| Problem::internal(&error))?
        }
    };
    found.map(|record| Json(Named { id, record })).ok_or_else(|| Problem::not_found(kind))
}

/// An account.
#[utoipa::path(
    get,
    path = "/v1/accounts/{id}",
    responses((status = 200, body = Account), (status = 404, body = ApiError))
)]
async fn account(State(app): App, Path(id): Path<String>) -> Result<Json<Account>, Problem> {
    look_up(&app, "account", &id, view::account)
        .map(|Json(named): Json<Named<AccountId, _>>| Json(named.record))
}

fn provider_view(state: &dyn LedgerState, id: AccountId, record: Provider) -> ProviderView {
    let hosts = view::hosts(state, &id)
        .into_iter()
        .map(|(index, record)| HostView { index, record })
        .collect();
    let (bond, risk_bps) = (view::bond(state, &id), view::risk_bps(state, &record));
    ProviderView { id, record, bond, risk_bps, hosts }
}

/// Every provider with its hosts.
#[utoipa::path(get, path = "/v1/providers", responses((status = 200, body = Vec<ProviderView>)))]
async fn providers(State(app): App) -> Json<Vec<ProviderView>> {
    Json(app.consensus.read(|state, _| {
        view::providers(state)
            .into_iter()
            .take(LIST_MAX)
            .map(|(id, record)| provider_view(state, id, record))
            .collect()
    }))
}

/// One provider with its hosts.
#[utoipa::path(
    get,
    path = "/v1/providers/{id}",
    responses((status = 200, body = ProviderView), (status = 404, body = ApiError))
)]
async fn provider(State(app): App, Path(id): Path<String>) -> Result<Json<ProviderView>, Problem> {
    let id: AccountId = parse(&id)?;
    let found = app
        .consensus
        .read(|state, _| view::provider(state, &id).map(|record| provider_view(state, id, record)));
    found.map(Json).ok_or_else(|| Problem::not_found("provider"))
}

/// An order.
#[utoipa::path(
    get,
    path = "/v1/orders/{id}",
    responses((status = 200, body = Named<OrderId, Order>), (status = 404, body = ApiError))
)]
async fn order(
    State(app): App,
    Path(id): Path<String>,
) -> Result<Json<Named<OrderId, Order>>, Problem> {
    look_up(&app, "order", &id, view::order)
}

/// An escrow.
#[utoipa::path(
    get,
    path = "/v1/escrows/{id}",
    responses((status = 200, body = Named<EscrowId, Escrow>), (status = 404, body = ApiError))
)]
async fn escrow(
    State(app): App,
    Path(id): Path<String>,
) -> Result<Json<Named<EscrowId, Escrow>>, Problem> {
    look_up(&app, "escrow", &id, view::escrow)
}

/// A job.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}",
    responses((status = 200, body = Named<JobId, Job>), (status = 404, body = ApiError))
)]
async fn job(State(app): App, Path(id): Path<String>) -> Result<Json<Named<JobId, Job>>, Problem> {
    look_up(&app, "job", &id, view::job)
}

/// A lease.
#[utoipa::path(
    get,
    path = "/v1/leases/{id}",
    responses((status = 200, body = Named<LeaseId, Lease>), (status = 404, body = ApiError))
)]
async fn lease(
    State(app): App,
    Path(id): Path<String>,
) -> Result<Json<Named<LeaseId, Lease>>, Problem> {
    look_up(&app, "lease", &id, view::lease)
}

/// A dispute.
#[utoipa::path(
    get,
    path = "/v1/disputes/{id}",
    responses((status = 200, body = Object), (status = 404, body = ApiError))
)]
async fn dispute(
    State(app): App,
    Path(id): Path<String>,
) -> Result<Json<Named<DisputeId, Dispute>>, Problem> {
    look_up(&app, "dispute", &id, view::dispute)
}

/// What the market would do with these terms now, and why.
#[utoipa::path(
    post,
    path = "/v1/quote",
    request_body = Terms,
    responses((status = 200, body = Explanation), (status = 400, body = ApiError))
)]
async fn quote(
    State(app): App,
    terms: Result<Json<Terms>, JsonRejection>,
) -> Result<Json<Explanation>, Problem> {
    let Json(terms) = terms.map_err(|error| Problem::malformed(error.body_text()))?;
    terms.check().map_err(|field| Problem::malformed(format!("`{field}` is out of bounds")))?;
    Ok(Json(app.consensus.explain(&terms)))
}

/// Checks every invariant against the node's state. Reads all of it: for tests and auditors.
#[utoipa::path(get, path = "/v1/invariants", responses((status = 200, body = Invariants)))]
async fn invariants(State(app): App) -> Json<Invariants> {
    let height = app.consensus.head().height;
    let broken = app.consensus.read(|state, _| invariant::check(state).err());
    Json(Invariants { height, broken: broken.map(|broken| broken.to_string()) })
}
