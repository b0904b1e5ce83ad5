//! A node without consensus: the real ledger, one block a transaction, behind the real API's
//! paths.

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures::StreamExt;
use muster_api::views::{ApiError, Applied, BlockEvents, HostView, Named, ProviderView, Status};
use muster_ledger::{
    BlockBuilder, BlockContext, Event, Genesis, MemoryState, Params, Tx,
    genesis::{Balance, EPOCH_BLOCKS, PROTOCOL},
    view,
};
use muster_types::{AccountId, Amount, Hash, Millis};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fmt::Display,
    net::SocketAddr,
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard},
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::sync::watch;

/// The toy node. Stops with the runtime.
#[derive(Clone)]
pub(crate) struct Node {
    chain: Arc<Chain>,
    addr: SocketAddr,
}

struct Chain {
    id: Hash,
    inner: Mutex<Inner>,
    height: watch::Sender<u64>,
}

struct Inner {
    state: MemoryState,
    blocks: Vec<BlockEvents>,
}

impl Node {
    /// A chain on which each of `accounts` has 1,000 usd.
    pub(crate) async fn start(accounts: &[AccountId]) -> Self {
        let balance = Balance { usd: Amount::from_units(1_000), mst: Amount::ZERO };
        let genesis = Genesis {
            name: "test".into(),
            time: clock(),
            protocol: PROTOCOL,
            validators: vec![AccountId::default()],
            balances: accounts.iter().map(|account| (*account, balance)).collect(),
            stakes: BTreeMap::new(),
            epoch_blocks: EPOCH_BLOCKS,
            params: Params::default(),
        };
        let mut state = MemoryState::default();
        state.apply(genesis.changes().unwrap());
        let inner = Mutex::new(Inner { state, blocks: Vec::new() });
        let chain = Arc::new(Chain { id: genesis.id(), inner, height: watch::Sender::new(0) });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let app = Router::new()
            .route("/v1/status", get(status))
            .route("/v1/transactions", post(transact))
            .route("/v1/accounts/{id}", get(account))
            .route("/v1/providers/{id}", get(provider))
            .route("/v1/orders/{id}", get(order))
            .route("/v1/leases/{id}", get(lease))
            .route("/v1/leases", get(leases))
            .route("/v1/jobs/{id}", get(job))
            .route("/v1/events", get(events))
            .with_state(Arc::clone(&chain));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { chain, addr }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Waits until the state satisfies `met`.
    pub(crate) async fn until(&self, met: impl Fn(&MemoryState) -> bool) {
        let mut height = self.chain.height.subscribe();
        loop {
            height.borrow_and_update();
            if met(&self.chain.lock().state) {
                return;
            }
            height.changed().await.unwrap();
        }
    }

    /// How many events there were that `counts`.
    pub(crate) fn count(&self, counts: impl Fn(&Event) -> bool) -> usize {
        let inner = self.chain.lock();
        inner.blocks.iter().flat_map(|block| &block.events).filter(|event| counts(event)).count()
    }
}

impl Chain {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }
}

fn clock() -> Millis {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    Millis(u64::try_from(clock).unwrap())
}

fn refuse(status: StatusCode, code: &str, message: String) -> Response {
    let error = ApiError { code: code.into(), message, reject: None };
    (status, Json(error)).into_response()
}

fn missing() -> Response {
    refuse(StatusCode::NOT_FOUND, "not_found", "not there".into())
}

fn found<T: serde::Serialize>(value: Option<T>) -> Response {
    value.map_or_else(missing, |value| Json(value).into_response())
}

fn named<I: Copy, T>(id: I, record: Option<T>) -> Option<Named<I, T>> {
    record.map(|record| Named { id, record })
}

fn parse<I: FromStr<Err: Display>>(text: &str) -> I {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

type App = State<Arc<Chain>>;

async fn status(State(chain): App) -> Response {
    let inner = chain.lock();
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
    let mut inner = chain.lock();
    let head = view::head(&inner.state).unwrap();
    let now = clock().max(head.now.after(Millis(1)));
    let context = BlockContext {
        height: head.height + 1,
        now,
        beacon: Hash::of("test beacon", &[&head.height.to_le_bytes()]),
        beacon_round: head.beacon_round + 1,
        beacon_key: None,
        proposer: AccountId::default(),
        views: muster_ledger::stake::Views::default(),
    };
    let mut block = BlockBuilder::new(&inner.state, context).unwrap();
    let receipt = match block.push(&tx).cloned() {
        Ok(receipt) => receipt,
        Err(reject) => {
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            return refuse(status, reject.code(), reject.to_string());
        }
    };
    let outcome = block.finish();
    let events: Vec<Event> = outcome.all_events().cloned().collect();
    inner.state.apply(outcome.changes);
    let height = head.height + 1;
    inner.blocks.push(BlockEvents { height, now, events });
    drop(inner);
    chain.height.send_replace(height);
    let applied = Applied { tx: receipt.tx, height, now, fee: receipt.fee, events: receipt.events };
    Json(applied).into_response()
}

async fn account(State(chain): App, Path(id): Path<String>) -> Response {
    found(view::account(&chain.lock().state, &parse(&id)))
}

async fn provider(State(chain): App, Path(id): Path<String>) -> Response {
    let inner = chain.lock();
    let id = parse(&id);
    let Some(record) = view::provider(&inner.state, &id) else { return missing() };
    let hosts = view::hosts(&inner.state, &id);
    let hosts = hosts.into_iter().map(|(index, record)| HostView { index, record }).collect();
    let risk_bps = view::risk_bps(&inner.state, &record);
    let bond = view::bond(&inner.state, &id);
    Json(ProviderView { id, record, bond, risk_bps, hosts }).into_response()
}

async fn order(State(chain): App, Path(id): Path<String>) -> Response {
    let id = parse(&id);
    found(named(id, view::order(&chain.lock().state, &id)))
}

async fn lease(State(chain): App, Path(id): Path<String>) -> Response {
    let id = parse(&id);
    found(named(id, view::lease(&chain.lock().state, &id)))
}

async fn job(State(chain): App, Path(id): Path<String>) -> Response {
    let id = parse(&id);
    found(named(id, view::job(&chain.lock().state, &id)))
}

async fn leases(State(chain): App, Query(query): Query<BTreeMap<String, String>>) -> Response {
    let provider = parse(&query["provider"]);
    let open_only = query["open"] == "true";
    let all = view::leases_of_provider(&chain.lock().state, &provider);
    let wanted = all.into_iter().filter(|(_, lease)| !open_only || lease.status.is_open());
    let list: Vec<_> = wanted.map(|(id, record)| Named { id, record }).collect();
    Json(list).into_response()
}

#[derive(Deserialize)]
struct From {
    from: Option<u64>,
}

async fn events(State(chain): App, Query(From { from }): Query<From>) -> Response {
    let height = chain.height.subscribe();
    let next = from.unwrap_or_else(|| *height.borrow() + 1);
    let blocks =
        futures::stream::unfold((chain, height, next), |(chain, mut height, next)| async move {
            loop {
                height.borrow_and_update();
                let block = chain.lock().blocks.iter().find(|block| block.height >= next).cloned();
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
