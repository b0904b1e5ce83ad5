//! A node without consensus: the real ledger, a block every 20 ms, behind the real API's paths;
//! and its referee.

use crate::program;
use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{Path, Query, Request, State},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures::StreamExt;
use muster_api::{
    Client, Wallet,
    views::{
        ApiError, Applied, BlockEvents, BlockView, EpochPage, EventEntry, EventPage, HostView,
        Named, ProviderView, Status, Subject,
    },
};
use muster_fabric::{Fabric, PeerAddr};
use muster_ledger::{
    Action, BlockBuilder, BlockContext, Event, Genesis, MemoryState, Params, Tx,
    genesis::{Balance, EPOCH_BLOCKS, PROTOCOL},
    view,
};
use muster_market::Terms;
use muster_types::{AccountId, Amount, Hash, Millis, SecretKey, TxId};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    str::FromStr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::watch;

/// The chain's start: what the clock says does not matter.
const BIRTH: Millis = Millis(1_000_000);

pub(crate) struct Chain {
    id: Hash,
    inner: Mutex<Inner>,
    height: watch::Sender<u64>,
    away: AtomicBool,
    turned_away: watch::Sender<u64>,
}

struct Inner {
    state: MemoryState,
    blocks: Vec<BlockEvents>,
    applied: BTreeMap<TxId, Applied>,
}

/// The toy node. Stops with the runtime.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) chain: Arc<Chain>,
    pub(crate) url: String,
}

pub(crate) fn validator() -> SecretKey {
    SecretKey::from_seed([200; 32])
}

fn params() -> Params {
    Params {
        max_block_step_ms: Millis(50),
        heartbeat_gap_max_ms: Millis(800),
        stall_gap_ms: Millis(1_000),
        stall_gap_blocks: 10,
        stall_close_ms: Millis(500),
        challenge_window_ms: Millis(3_000),
        dispute_timeout_ms: Millis(20_000),
        ..Params::default()
    }
}

impl Node {
    /// A chain on which each of `accounts` has 1,000 usd.
    pub(crate) async fn start(accounts: &[AccountId]) -> Self {
        let balance = Balance { usd: Amount::from_units(1_000), mst: Amount::ZERO };
        let all = accounts.iter().copied().chain([validator().account()]);
        let genesis = Genesis {
            name: "test".into(),
            time: BIRTH,
            protocol: PROTOCOL,
            validators: vec![validator().account()],
            balances: all.map(|account| (account, balance)).collect(),
            stakes: BTreeMap::new(),
            epoch_blocks: EPOCH_BLOCKS,
            params: params(),
        };
        let mut state = MemoryState::default();
        state.apply(genesis.changes().unwrap());
        let inner = Inner { state, blocks: Vec::new(), applied: BTreeMap::new() };
        let chain = Arc::new(Chain {
            id: genesis.id(),
            inner: Mutex::new(inner),
            height: watch::Sender::new(0),
            away: AtomicBool::new(false),
            turned_away: watch::Sender::new(0),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new()
            .route("/v1/status", get(status))
            .route("/v1/transactions", post(transact))
            .route("/v1/accounts/{id}", get(account))
            .route("/v1/providers/{id}", get(provider))
            .route("/v1/orders/{id}", get(order))
            .route("/v1/leases/{id}", get(lease))
            .route("/v1/leases", get(leases))
            .route("/v1/jobs/{id}", get(job))
            .route("/v1/escrows/{id}", get(escrow))
            .route("/v1/disputes/{id}", get(dispute))
            .route("/v1/quote", post(quote))
            .route("/v1/blocks/{height}", get(block))
            .route("/v1/epochs", get(epochs))
            .route("/v1/events", get(events))
            .layer(middleware::from_fn_with_state(Arc::clone(&chain), gone))
            .with_state(Arc::clone(&chain));
        tokio::spawn(async move { axum::serve(listener, app).await });
        let ticking = Arc::clone(&chain);
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(20));
            loop {
                ticks.tick().await;
                drop(ticking.make_block(None));
            }
        });
        let node = Self { chain, url };
        tokio::spawn(referee(node.clone()));
        node
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.url).unwrap()
    }

    /// Turns every request away until so many were.
    pub(crate) async fn turn_away(&self, requests: u64) {
        let mut turned_away = self.chain.turned_away.subscribe();
        self.chain.away.store(true, Ordering::Relaxed);
        turned_away.wait_for(|turned| *turned >= requests).await.unwrap();
        self.chain.away.store(false, Ordering::Relaxed);
    }

    pub(crate) fn read<T>(&self, look: impl FnOnce(&MemoryState) -> T) -> T {
        look(&self.chain.inner.lock().unwrap().state)
    }
}

impl Chain {
    fn make_block(&self, tx: Option<&Tx>) -> Result<Option<Applied>, Box<Response>> {
        let mut inner = self.inner.lock().unwrap();
        let head = view::head(&inner.state).unwrap();
        let context = BlockContext {
            height: head.height + 1,
            now: head.now.after(Millis(20)),
            beacon: Hash::of("test beacon", &[&head.height.to_le_bytes()]),
            beacon_round: head.beacon_round + 1,
            beacon_key: None,
            proposer: validator().account(),
            views: muster_ledger::stake::Views::default(),
        };
        let mut block = BlockBuilder::new(&inner.state, context).unwrap();
        let receipt = match tx.map(|tx| block.push(tx).cloned()).transpose() {
            Ok(receipt) => receipt,
            Err(reject) => {
                let status = StatusCode::UNPROCESSABLE_ENTITY;
                return Err(Box::new(refuse(status, reject.code(), reject.to_string())));
            }
        };
        let outcome = block.finish();
        let events: Vec<Event> = outcome.all_events().cloned().collect();
        inner.state.apply(outcome.changes);
        let BlockContext { height, now, .. } = context;
        if !events.is_empty() {
            inner.blocks.push(BlockEvents { height, now, events });
        }
        let applied = receipt.map(|receipt| Applied {
            tx: receipt.tx,
            height,
            now,
            fee: receipt.fee,
            events: receipt.events,
        });
        if let Some(applied) = &applied {
            inner.applied.insert(applied.tx, applied.clone());
        }
        drop(inner);
        self.height.send_replace(height);
        Ok(applied)
    }
}

/// Judges disputes, with the evidence that the tenant lets it have.
async fn referee(node: Node) {
    let wallet = Wallet::new(node.client(), validator()).await.unwrap();
    let fabric = Fabric::bind(muster_fabric::Config::new(validator())).await.unwrap();
    let mut events = node.client().events(Some(0)).await.unwrap();
    while let Some(Ok(block)) = events.next().await {
        for event in block.events {
            let Event::DisputeOpened { dispute: id, .. } = event else { continue };
            let dispute = node.read(|state| view::dispute(state, &id)).unwrap();
            let task = dispute.claims[0].task;
            let source: PeerAddr = dispute.evidence.parse().unwrap();
            fabric.fetch(task.module, 1 << 20, std::slice::from_ref(&source)).await.unwrap();
            let input = if task.input == Hash::of_content(b"") {
                Vec::new()
            } else {
                fabric.fetch(task.input, 1 << 20, &[source]).await.unwrap();
                fabric.get_bytes(task.input, 1 << 20).await.unwrap().to_vec()
            };
            let output = Some(program::run(task.index, &input).1);
            wallet.act(Action::DisputeVote { dispute: id, output }).await.unwrap();
        }
    }
}

async fn gone(State(chain): App, request: Request, next: Next) -> Response {
    if chain.away.load(Ordering::Relaxed) {
        chain.turned_away.send_modify(|turned| *turned += 1);
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "busy", "away".into());
    }
    next.run(request).await
}

fn refuse(status: StatusCode, code: &str, message: String) -> Response {
    let error = ApiError { code: code.into(), message, reject: None };
    (status, Json(error)).into_response()
}

fn found<T: Serialize>(value: Option<T>) -> Response {
    let missing = || refuse(StatusCode::NOT_FOUND, "not_found", "not there".into());
    value.map_or_else(missing, |value| Json(value).into_response())
}

type App = State<Arc<Chain>>;

fn named<I, T>(chain: &Chain, id: &str, look: impl Fn(&MemoryState, &I) -> Option<T>) -> Response
where
    I: FromStr<Err: std::fmt::Debug> + Serialize,
    T: Serialize,
{
    let id: I = id.parse().unwrap();
    let record = look(&chain.inner.lock().unwrap().state, &id);
    found(record.map(|record| Named { id, record }))
}

async fn status(State(chain): App) -> Response {
    let inner = chain.inner.lock().unwrap();
    let head = view::head(&inner.state).unwrap();
    Json(Status {
        chain: chain.id,
        network: "test".into(),
        protocol: 1,
        software: "test".into(),
        height: head.height,
        now: head.now,
        state_root: Hash::ZERO,
        validators: view::validators(&inner.state),
        referee: None,
        beacon_trusted: true,
        beacon_round: 0,
        params: view::params(&inner.state),
    })
    .into_response()
}

async fn transact(State(chain): App, body: Bytes) -> Response {
    let tx = Tx::decode(&body).unwrap();
    let known = chain.inner.lock().unwrap().applied.get(&tx.id()).cloned();
    if let Some(known) = known {
        return Json(known).into_response();
    }
    match chain.make_block(Some(&tx)) {
        Ok(applied) => Json(applied.unwrap()).into_response(),
        Err(refusal) => *refusal,
    }
}

async fn account(State(chain): App, Path(id): Path<String>) -> Response {
    let id = id.parse().unwrap();
    found(view::account(&chain.inner.lock().unwrap().state, &id))
}

async fn provider(State(chain): App, Path(id): Path<String>) -> Response {
    let state = &chain.inner.lock().unwrap().state;
    let id = id.parse().unwrap();
    found(view::provider(state, &id).map(|record| {
        let hosts = view::hosts(state, &id);
        let hosts = hosts.into_iter().map(|(index, record)| HostView { index, record }).collect();
        let (bond, risk_bps) = (view::bond(state, &id), view::risk_bps(state, &record));
        ProviderView { id, record, bond, risk_bps, hosts }
    }))
}

async fn order(State(chain): App, Path(id): Path<String>) -> Response {
    named(&chain, &id, |state, id| view::order(state, id))
}

async fn lease(State(chain): App, Path(id): Path<String>) -> Response {
    named(&chain, &id, |state, id| view::lease(state, id))
}

async fn job(State(chain): App, Path(id): Path<String>) -> Response {
    named(&chain, &id, |state, id| view::job(state, id))
}

async fn escrow(State(chain): App, Path(id): Path<String>) -> Response {
    named(&chain, &id, |state, id| view::escrow(state, id))
}

async fn dispute(State(chain): App, Path(id): Path<String>) -> Response {
    named(&chain, &id, |state, id| view::dispute(state, id))
}

async fn leases(State(chain): App, Query(query): Query<BTreeMap<String, String>>) -> Response {
    let state = &chain.inner.lock().unwrap().state;
    let by = ["job", "provider", "tenant"].map(|by| query.get(by));
    let mut list = match by {
        [Some(job), ..] => view::leases_of_job(state, &job.parse().unwrap()),
        [_, Some(provider), _] => view::leases_of_provider(state, &provider.parse().unwrap()),
        [.., Some(tenant)] => view::leases_of_tenant(state, &tenant.parse().unwrap()),
        _ => Vec::new(),
    };
    let open_only = query.get("open").is_some_and(|open| open == "true");
    list.retain(|(_, lease)| !open_only || lease.status.is_open());
    let list: Vec<_> = list.into_iter().map(|(id, record)| Named { id, record }).collect();
    Json(list).into_response()
}

async fn quote(State(chain): App, Json(terms): Json<Terms>) -> Response {
    Json(view::quote(&chain.inner.lock().unwrap().state, &terms)).into_response()
}

async fn block(State(chain): App, Path(height): Path<u64>) -> Response {
    let inner = chain.inner.lock().unwrap();
    let block = inner.blocks.iter().find(|block| block.height == height);
    found(block.map(|block| BlockView {
        height,
        epoch: 0,
        now: block.now,
        digest: Hash::ZERO,
        state_root: Hash::ZERO,
        event_root: Hash::ZERO,
        transactions: Vec::new(),
        events: block.events.clone(),
        header: String::new(),
        descendants: Vec::new(),
        certificate: Some(String::new()),
    }))
}

async fn epochs(State(chain): App) -> Response {
    let validators = view::validators(&chain.inner.lock().unwrap().state);
    Json(EpochPage { from: 0, validators, ends: Vec::new() }).into_response()
}

async fn events(State(chain): App, Query(query): Query<BTreeMap<String, String>>) -> Response {
    let escrow = query.get("escrow").map(|id| Subject::Escrow(id.parse().unwrap()));
    let job = query.get("job").map(|id| Subject::Job(id.parse().unwrap()));
    if let Some(subject) = escrow.or(job) {
        return Json(page_of(&chain, &subject, query.get("after"))).into_response();
    }
    let height = chain.height.subscribe();
    let from = query.get("from").map(|from| from.parse().unwrap());
    let next = from.unwrap_or_else(|| *height.borrow() + 1);
    let start = (chain, height, next);
    let blocks = futures::stream::unfold(start, |(chain, mut height, next)| async move {
        loop {
            height.borrow_and_update();
            let block = {
                let inner = chain.inner.lock().unwrap();
                inner.blocks.iter().find(|block| block.height >= next).cloned()
            };
            if let Some(block) = block {
                let next = block.height + 1;
                return Some((block, (chain, height, next)));
            }
            height.changed().await.ok()?;
        }
    });
    let text = blocks.map(|block| {
        let data = serde_json::to_string(&block)?;
        Ok::<_, serde_json::Error>(format!("id: {}\ndata: {data}\n\n", block.height))
    });
    ([("content-type", "text/event-stream")], Body::from_stream(text)).into_response()
}

fn page_of(chain: &Chain, subject: &Subject, after: Option<&String>) -> EventPage {
    let inner = chain.inner.lock().unwrap();
    let entries = inner.blocks.iter().flat_map(|block| {
        (0..).zip(&block.events).map(|(position, event)| EventEntry {
            height: block.height,
            position,
            now: block.now,
            event: event.clone(),
        })
    });
    let read = after.and_then(|after| after.split_once('-'));
    let read: Option<(u64, u32)> =
        read.map(|(height, position)| (height.parse().unwrap(), position.parse().unwrap()));
    let unread = entries.filter(|entry| read < Some((entry.height, entry.position)));
    let events = unread.filter(|entry| entry.event.subjects().contains(subject)).collect();
    EventPage { events, next: None }
}
