//! `/v1/accounts`, `/v1/providers` and the other records of the ledger; quotes.

use super::{App, Problem, Shared};
use axum::{
    Json,
    extract::{Path, Query, State, rejection::JsonRejection},
};
use muster_api::views::{
    Account, ApiError, Dispute, Escrow, Explanation, HostView, Invariants, Job, Lease, Named,
    Order, ProviderView, Terms,
};
use muster_ledger::{State as LedgerState, invariant, provider::Provider, view};
use muster_types::{AccountId, DisputeId, EscrowId, JobId, LeaseId, OrderId, ParseIdError};
use serde::Deserialize;
use std::{str::FromStr, sync::Arc};
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

type Jobs = Vec<Named<JobId, Job>>;
type Leases = Vec<Named<LeaseId, Lease>>;

/// The most records that one list carries.
const MAX_LIST: usize = 10_000;

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
        .routes(routes!(jobs))
        .routes(routes!(leases))
        .routes(routes!(disputes))
        .routes(routes!(quote))
        .routes(routes!(invariants))
}

fn parse<I: FromStr<Err = ParseIdError>>(text: &str) -> Result<I, Problem> {
    text.parse().map_err(|error: ParseIdError| Problem::malformed(error.to_string()))
}

fn look_up<I, T>(
    app: &Shared,
    kind: &str,
    text: &str,
    read: impl FnOnce(&dyn LedgerState, &I) -> Option<T>,
) -> Result<Json<Named<I, T>>, Problem>
where
    I: FromStr<Err = ParseIdError>,
{
    let id: I = parse(text)?;
    let found = app.consensus.read(|state, _| read(state, &id));
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
            .take(MAX_LIST)
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

#[derive(Deserialize, IntoParams)]
struct JobsOf {
    /// Whose jobs.
    tenant: String,
}

/// A tenant's jobs.
#[utoipa::path(
    get,
    path = "/v1/jobs",
    params(JobsOf),
    responses((status = 200, body = Jobs))
)]
async fn jobs(State(app): App, Query(query): Query<JobsOf>) -> Result<Json<Jobs>, Problem> {
    let tenant = parse(&query.tenant)?;
    Ok(Json(app.consensus.read(|state, _| {
        let jobs = view::jobs_of_tenant(state, &tenant).into_iter().take(MAX_LIST);
        jobs.map(|(id, record)| Named { id, record }).collect()
    })))
}

#[derive(Deserialize, IntoParams)]
struct LeasesOf {
    /// Of this provider.
    provider: Option<String>,
    /// Of this tenant.
    tenant: Option<String>,
    /// Of this job.
    job: Option<String>,
    /// Only those that are not closed.
    #[serde(default)]
    open: bool,
}

/// Leases of a provider, a tenant or a job: name exactly one.
#[utoipa::path(
    get,
    path = "/v1/leases",
    params(LeasesOf),
    responses((status = 200, body = Leases), (status = 400, body = ApiError))
)]
async fn leases(State(app): App, Query(query): Query<LeasesOf>) -> Result<Json<Leases>, Problem> {
    let found = match (&query.provider, &query.tenant, &query.job) {
        (Some(provider), None, None) => {
            let id = parse(provider)?;
            app.consensus.read(|state, _| view::leases_of_provider(state, &id))
        }
        (None, Some(tenant), None) => {
            let id = parse(tenant)?;
            app.consensus.read(|state, _| view::leases_of_tenant(state, &id))
        }
        (None, None, Some(job)) => {
            let id = parse(job)?;
            app.consensus.read(|state, _| view::leases_of_job(state, &id))
        }
        _ => return Err(Problem::malformed("name exactly one of provider, tenant, job")),
    };
    let wanted = found.into_iter().filter(|(_, lease)| !query.open || lease.status.is_open());
    Ok(Json(wanted.take(MAX_LIST).map(|(id, record)| Named { id, record }).collect()))
}

/// The disputes that are still open.
#[utoipa::path(get, path = "/v1/disputes", responses((status = 200, body = Vec<Object>)))]
async fn disputes(State(app): App) -> Json<Vec<Named<DisputeId, Dispute>>> {
    Json(app.consensus.read(|state, _| {
        let open = view::open_disputes(state).into_iter().take(MAX_LIST);
        open.map(|(id, record)| Named { id, record }).collect()
    }))
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
    Ok(Json(app.consensus.read(|state, _| view::quote(state, &terms))))
}

/// Checks every invariant against the node's state. Reads all of it: for tests and auditors.
#[utoipa::path(get, path = "/v1/invariants", responses((status = 200, body = Invariants)))]
async fn invariants(State(app): App) -> Json<Invariants> {
    let height = app.consensus.head().height;
    let broken = app.consensus.read(|state, _| invariant::check(state).err());
    Json(Invariants { height, broken: broken.map(|broken| broken.to_string()) })
}
