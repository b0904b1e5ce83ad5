//! `/v1/blocks`, `/v1/epochs`, `/v1/anchor`: final blocks with what proves them.

use super::{App, Problem, Shared};
use crate::consensus::Epochs;
use axum::{
    Json,
    extract::{Path, Query, State},
};
use muster_api::views::{Anchor, ApiError, BlockView, EPOCHS_MAX, EpochPage};
use muster_ledger::view;
use serde::Deserialize;
use std::{collections::BTreeMap, sync::Arc};
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(block)).routes(routes!(ends)).routes(routes!(anchor))
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
    let proof = app.consensus.certified(height).await;
    let (descendants, certificate) = match &proof {
        Some(proof) => {
            (proof.descendants.iter().map(|header| hex(header)).collect(), Some(&proof.certificate))
        }
        None => (Vec::new(), None),
    };
    Ok(Json(BlockView {
        height: record.height,
        epoch: epochs(&app).of(record.height),
        now: record.now,
        digest: record.digest,
        state_root: record.state_root,
        event_root: record.event_root,
        transactions: record.transactions.iter().map(|tx| tx.id).collect(),
        events: record.events().cloned().collect(),
        header: hex(&record.header),
        descendants,
        certificate: certificate.map(|bytes| hex(bytes)),
    }))
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

fn epochs(app: &Shared) -> Epochs {
    Epochs::new(app.genesis.epoch_blocks)
}

#[derive(Deserialize, IntoParams)]
struct Wanted {
    /// The first epoch.
    from: u64,
    /// The most ends of epochs.
    limit: Option<usize>,
}

/// Who voted from an epoch on, and the ends of epochs that prove it.
#[utoipa::path(
    get,
    path = "/v1/epochs",
    params(Wanted),
    responses((status = 200, body = EpochPage), (status = 400, body = ApiError))
)]
async fn ends(
    State(app): App,
    Query(Wanted { from, limit }): Query<Wanted>,
) -> Result<Json<EpochPage>, Problem> {
    let (now, validators) = app.consensus.read(|state, head| {
        (epochs(&app).of(head.height.saturating_add(1)), view::validators(state))
    });
    let from = from.min(now);
    // Who votes in an epoch is known from genesis, from the end of the epoch before, or, in this
    // one, from the state.
    let mut page = match (from, app.consensus.epoch_end(from.wrapping_sub(1)).await) {
        (0, _) => {
            let mut validators = app.genesis.validators.clone();
            validators.sort_unstable();
            Some(EpochPage { from, validators, ends: Vec::new() })
        }
        (_, Some(before)) => Some(EpochPage { from, validators: before.next, ends: Vec::new() }),
        (_, None) => None,
    };
    let most = limit.unwrap_or(EPOCHS_MAX).min(EPOCHS_MAX);
    for epoch in (from..now).take(most) {
        let end = app.consensus.epoch_end(epoch).await;
        match (&mut page, end) {
            (Some(page), Some(end)) => {
                let end = end.view().map_err(|error| Problem::internal(&error))?;
                page.ends.push(end);
            }
            (Some(_), None) => break,
            (None, Some(end)) => {
                let from = epoch.saturating_add(1);
                page = Some(EpochPage { from, validators: end.next, ends: Vec::new() });
            }
            (None, None) => {}
        }
    }
    Ok(Json(page.unwrap_or(EpochPage { from: now, validators, ends: Vec::new() })))
}

/// The last final block: where whoever trusts this node may begin.
#[utoipa::path(get, path = "/v1/anchor", responses((status = 200, body = Anchor)))]
async fn anchor(State(app): App) -> Json<Anchor> {
    Json(app.consensus.read(|state, head| Anchor {
        chain: app.genesis.id(),
        height: head.height,
        digest: head.digest,
        time: head.time,
        epoch: epochs(&app).of(head.height.saturating_add(1)),
        validators: view::validators(state),
        unbonding: view::params(state).stake_unbonding_ms,
        blocks: BTreeMap::new(),
    }))
}
