//! Lists of records, of what is in the state and what has left it alike, in the order of their ids.

use super::{App, Problem, Shared, parse};
use axum::{
    Json,
    extract::{Query, State},
};
use muster_api::views::{ApiError, Dispute, Escrow, Job, LIST_MAX, Lease, Named, Order};
use muster_ledger::{
    keys::{self, Index, Key, Record},
    view,
};
use muster_types::{DisputeId, EscrowId, JobId, LeaseId, OrderId, ParseIdError};
use serde::Deserialize;
use std::{collections::BTreeMap, str::FromStr, sync::Arc};
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

type All<R> = Vec<Named<<R as Record>::Key, R>>;
type Orders = Vec<Named<OrderId, Order>>;
type Escrows = Vec<Named<EscrowId, Escrow>>;
type Jobs = Vec<Named<JobId, Job>>;
type Leases = Vec<Named<LeaseId, Lease>>;
type Disputes = Vec<Named<DisputeId, Dispute>>;

pub(super) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new()
        .routes(routes!(orders))
        .routes(routes!(escrows))
        .routes(routes!(jobs))
        .routes(routes!(leases))
        .routes(routes!(disputes))
}

/// Which part of a list is wanted.
struct Part<I> {
    after: Option<I>,
    limit: usize,
}

impl<I: FromStr<Err = ParseIdError>> Part<I> {
    fn of(after: Option<&String>, limit: Option<usize>) -> Result<Self, Problem> {
        let after = after.map(|id| parse(id)).transpose()?;
        Ok(Self { after, limit: limit.unwrap_or(LIST_MAX).clamp(1, LIST_MAX) })
    }
}

/// What an index lists under `of`, in the state and out of it.
fn list<P, R>(
    app: &Shared,
    index: Index<(P, R::Key)>,
    of: P,
    part: &Part<R::Key>,
) -> Result<Json<All<R>>, Problem>
where
    P: Key + Copy,
    R: Record,
    R::Key: Copy + Ord,
{
    let Part { after, limit } = *part;
    // In this order: what leaves the state in between is in the history by then. What is in both
    // after a crash is the same in both.
    let mut found: BTreeMap<R::Key, R> =
        app.consensus.read(|state, _| view::indexed(state, index, of, after).take(limit).collect());
    let kept: Vec<(R::Key, R)> = app
        .history
        .archive(|kept| view::indexed(kept, index, of, after).take(limit).collect())
        .map_err(|error| Problem::internal(&error))?;
    for (id, record) in kept {
        found.entry(id).or_insert(record);
    }
    Ok(Json(named(found, limit)))
}

fn named<I, T>(found: impl IntoIterator<Item = (I, T)>, limit: usize) -> Vec<Named<I, T>> {
    found.into_iter().take(limit).map(|(id, record)| Named { id, record }).collect()
}

/// Leases that are not closed: all of them are in the state.
fn open<P: Key + Copy>(
    app: &Shared,
    index: Index<(P, LeaseId)>,
    of: P,
    part: &Part<LeaseId>,
) -> Json<Leases> {
    Json(app.consensus.read(|state, _| {
        let all = view::indexed::<P, Lease>(state, index, of, part.after);
        named(all.filter(|(_, lease)| lease.status.is_open()), part.limit)
    }))
}

#[derive(Deserialize, IntoParams)]
struct OrdersOf {
    /// Of this tenant.
    tenant: Option<String>,
    /// Of this escrow.
    escrow: Option<String>,
    /// After this id.
    after: Option<String>,
    /// At most so many.
    limit: Option<usize>,
}

/// Orders of a tenant or of an escrow: name exactly one.
#[utoipa::path(
    get,
    path = "/v1/orders",
    params(OrdersOf),
    responses((status = 200, body = Orders), (status = 400, body = ApiError))
)]
async fn orders(State(app): App, Query(query): Query<OrdersOf>) -> Result<Json<Orders>, Problem> {
    let part = Part::of(query.after.as_ref(), query.limit)?;
    match (&query.tenant, &query.escrow) {
        (Some(tenant), None) => list(&app, keys::ORDERS_BY_TENANT, parse(tenant)?, &part),
        (None, Some(escrow)) => list(&app, keys::ORDERS_BY_ESCROW, parse(escrow)?, &part),
        _ => Err(Problem::malformed("name exactly one of tenant, escrow")),
    }
}

#[derive(Deserialize, IntoParams)]
struct EscrowsOf {
    /// Whose escrows.
    owner: String,
    /// After this id.
    after: Option<String>,
    /// At most so many.
    limit: Option<usize>,
}

/// The escrows that an account opened.
#[utoipa::path(
    get,
    path = "/v1/escrows",
    params(EscrowsOf),
    responses((status = 200, body = Escrows), (status = 400, body = ApiError))
)]
async fn escrows(
    State(app): App,
    Query(query): Query<EscrowsOf>,
) -> Result<Json<Escrows>, Problem> {
    let part = Part::of(query.after.as_ref(), query.limit)?;
    list(&app, keys::ESCROWS_BY_OWNER, parse(&query.owner)?, &part)
}

#[derive(Deserialize, IntoParams)]
struct JobsOf {
    /// Whose jobs.
    tenant: String,
    /// After this id.
    after: Option<String>,
    /// At most so many.
    limit: Option<usize>,
}

/// A tenant's jobs.
#[utoipa::path(
    get,
    path = "/v1/jobs",
    params(JobsOf),
    responses((status = 200, body = Jobs), (status = 400, body = ApiError))
)]
async fn jobs(State(app): App, Query(query): Query<JobsOf>) -> Result<Json<Jobs>, Problem> {
    let part = Part::of(query.after.as_ref(), query.limit)?;
    list(&app, keys::JOBS_BY_TENANT, parse(&query.tenant)?, &part)
}

#[derive(Deserialize, IntoParams)]
struct LeasesOf {
    /// Of this provider.
    provider: Option<String>,
    /// Of this tenant.
    tenant: Option<String>,
    /// Of this job.
    job: Option<String>,
    /// Of this escrow.
    escrow: Option<String>,
    /// Only those that are not closed.
    #[serde(default)]
    open: bool,
    /// After this id.
    after: Option<String>,
    /// At most so many.
    limit: Option<usize>,
}

/// Leases of a provider, a tenant, a job or an escrow: name exactly one.
#[utoipa::path(
    get,
    path = "/v1/leases",
    params(LeasesOf),
    responses((status = 200, body = Leases), (status = 400, body = ApiError))
)]
async fn leases(State(app): App, Query(query): Query<LeasesOf>) -> Result<Json<Leases>, Problem> {
    let part = Part::of(query.after.as_ref(), query.limit)?;
    let only_open = query.open;
    match (&query.provider, &query.tenant, &query.job, &query.escrow) {
        (Some(id), None, None, None) => {
            leases_of(&app, keys::LEASES_BY_PROVIDER, parse(id)?, only_open, &part)
        }
        (None, Some(id), None, None) => {
            leases_of(&app, keys::LEASES_BY_TENANT, parse(id)?, only_open, &part)
        }
        (None, None, Some(id), None) => {
            leases_of(&app, keys::LEASES_BY_JOB, parse(id)?, only_open, &part)
        }
        (None, None, None, Some(id)) => {
            leases_of(&app, keys::LEASES_BY_ESCROW, parse(id)?, only_open, &part)
        }
        _ => Err(Problem::malformed("name exactly one of provider, tenant, job, escrow")),
    }
}

fn leases_of<P: Key + Copy>(
    app: &Shared,
    index: Index<(P, LeaseId)>,
    of: P,
    only_open: bool,
    part: &Part<LeaseId>,
) -> Result<Json<Leases>, Problem> {
    if only_open { Ok(open(app, index, of, part)) } else { list(app, index, of, part) }
}

#[derive(Deserialize, IntoParams)]
struct DisputesOf {
    /// Of this job; without it, those that are still open.
    job: Option<String>,
    /// After this id.
    after: Option<String>,
    /// At most so many.
    limit: Option<usize>,
}

/// The disputes of a job, or all that are still open.
#[utoipa::path(
    get,
    path = "/v1/disputes",
    params(DisputesOf),
    responses((status = 200, body = Vec<Object>), (status = 400, body = ApiError))
)]
async fn disputes(
    State(app): App,
    Query(query): Query<DisputesOf>,
) -> Result<Json<Disputes>, Problem> {
    let part = Part::of(query.after.as_ref(), query.limit)?;
    if let Some(job) = &query.job {
        return list(&app, keys::DISPUTES_BY_JOB, parse(job)?, &part);
    }
    let open: BTreeMap<DisputeId, Dispute> =
        app.consensus.read(|state, _| view::open_disputes(state)).into_iter().collect();
    let wanted = open.into_iter().filter(|(id, _)| part.after.is_none_or(|after| *id > after));
    Ok(Json(named(wanted, part.limit)))
}
