//! What accounts are allowed, promise and stake; validators, proposals, concentration.

use super::{App, Problem, Shared, parse};
use axum::{
    Json,
    extract::{Path, State},
};
use muster_api::views::{
    AccountBond, AccountKeys, AccountStake, ApiError, BallotView, Concentration, DelegationView,
    KeyView, ProposalView, TenantConduct, UnbondingView, ValidatorView,
};
use muster_ledger::{State as LedgerState, view, vote::Proposal};
use muster_types::{AccountId, ProposalId};
use std::{collections::BTreeMap, sync::Arc};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new()
        .routes(routes!(keys))
        .routes(routes!(bond))
        .routes(routes!(stake))
        .routes(routes!(conduct))
        .routes(routes!(validators))
        .routes(routes!(proposals))
        .routes(routes!(proposal))
        .routes(routes!(concentration))
}

/// Who acts for an account.
#[utoipa::path(get, path = "/v1/accounts/{id}/keys", responses((status = 200, body = AccountKeys)))]
async fn keys(State(app): App, Path(id): Path<String>) -> Result<Json<AccountKeys>, Problem> {
    let id: AccountId = parse(&id)?;
    Ok(Json(app.consensus.read(|state, _| {
        AccountKeys {
            policy: view::authority(state, &id).policy,
            delegated: view::delegated_keys(state, &id)
                .into_iter()
                .map(|(key, record)| KeyView { key, record })
                .collect(),
        }
    })))
}

/// An account's bond and the duties that it stands behind.
#[utoipa::path(get, path = "/v1/accounts/{id}/bond", responses((status = 200, body = AccountBond)))]
async fn bond(State(app): App, Path(id): Path<String>) -> Result<Json<AccountBond>, Problem> {
    let id: AccountId = parse(&id)?;
    Ok(Json(app.consensus.read(|state, _| AccountBond {
        bond: view::bond(state, &id),
        duties: view::duties(state, &id),
    })))
}

/// What an account has staked with validators.
#[utoipa::path(
    get,
    path = "/v1/accounts/{id}/stake",
    responses((status = 200, body = AccountStake))
)]
async fn stake(State(app): App, Path(id): Path<String>) -> Result<Json<AccountStake>, Problem> {
    let id: AccountId = parse(&id)?;
    Ok(Json(app.consensus.read(|state, _| stake_of(state, &id))))
}

fn stake_of(state: &dyn LedgerState, id: &AccountId) -> AccountStake {
    let delegations = view::delegations_of(state, id).into_iter().filter_map(|(id, record)| {
        let validator = view::validator(state, &id)?;
        let (worth, owed) = (validator.worth(&record), validator.owed(&record));
        Some(DelegationView { validator: id, worth, owed, record })
    });
    let unbonding = view::unbondings_of(state, id).into_iter().filter_map(|(id, record)| {
        let worth = view::validator(state, &record.validator)?.unbonding_worth(&record);
        Some(UnbondingView { id, worth, record })
    });
    AccountStake { delegations: delegations.collect(), unbonding: unbonding.collect() }
}

/// How an account has behaved as a tenant.
#[utoipa::path(
    get,
    path = "/v1/accounts/{id}/conduct",
    responses((status = 200, body = TenantConduct))
)]
async fn conduct(State(app): App, Path(id): Path<String>) -> Result<Json<TenantConduct>, Problem> {
    let id: AccountId = parse(&id)?;
    Ok(Json(app.consensus.read(|state, _| view::tenant_conduct(state, &id))))
}

/// The committee, and everybody who registered as a validator.
#[utoipa::path(get, path = "/v1/validators", responses((status = 200, body = Vec<ValidatorView>)))]
async fn validators(State(app): App) -> Json<Vec<ValidatorView>> {
    Json(app.consensus.read(|state, _| {
        let committee = view::validators(state);
        let mut all: BTreeMap<AccountId, _> =
            committee.iter().map(|member| (*member, None)).collect();
        all.extend(view::stakers(state).into_iter().map(|(id, record)| (id, Some(record))));
        let view =
            |(id, record)| ValidatorView { id, in_committee: committee.contains(&id), record };
        all.into_iter().map(view).collect()
    }))
}

fn proposal_view(state: &dyn LedgerState, id: ProposalId, record: Proposal) -> ProposalView {
    let ballots = view::ballots(state, &id);
    let ballots = ballots.into_iter().map(|(voter, record)| BallotView { voter, record });
    ProposalView { id, record, ballots: ballots.collect() }
}

/// Every proposal.
#[utoipa::path(get, path = "/v1/proposals", responses((status = 200, body = Vec<ProposalView>)))]
async fn proposals(State(app): App) -> Json<Vec<ProposalView>> {
    Json(app.consensus.read(|state, _| {
        let all = view::proposals(state).into_iter();
        all.map(|(id, record)| proposal_view(state, id, record)).collect()
    }))
}

/// One proposal.
#[utoipa::path(
    get,
    path = "/v1/proposals/{id}",
    responses((status = 200, body = ProposalView), (status = 404, body = ApiError))
)]
async fn proposal(State(app): App, Path(id): Path<String>) -> Result<Json<ProposalView>, Problem> {
    let id: ProposalId = parse(&id)?;
    let found = app
        .consensus
        .read(|state, _| view::proposal(state, &id).map(|one| proposal_view(state, id, one)));
    found.map(Json).ok_or_else(|| Problem::not_found("proposal"))
}

/// How far the market is in few hands, by operator and region: a lower bound.
#[utoipa::path(get, path = "/v1/concentration", responses((status = 200, body = Concentration)))]
async fn concentration(State(app): App) -> Json<Concentration> {
    Json(app.consensus.read(|state, _| view::concentration(state)))
}
