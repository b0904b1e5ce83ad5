use super::{Shared, router};
use crate::{
    consensus::{self, Consensus, FinalizedBlock, NetworkConfig, Pace},
    history::History,
    light::{Prover, Trust},
    mempool::{PoolLimits, TxPool},
    node::record,
};
use futures::StreamExt as _;
use muster_api::{
    Client,
    receipt::Trail,
    views::{EventEntry, Subject},
};
use muster_ledger::{
    Action, Genesis, Params, Tx,
    escrow::EscrowStatus,
    genesis::{Balance, EPOCH_BLOCKS, PROTOCOL},
    job::{JobKind, JobSpec, Verification},
    market::{Mode, OrderStatus},
    provider::HostSpec,
    view,
};
use muster_market::{GIB, Prices, Request, Terms, Verifies};
use muster_types::*;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

fn key(byte: u8) -> SecretKey {
    SecretKey::from_seed([byte; 32])
}

const VALIDATOR: u8 = 1;
const TENANT: u8 = 2;
const PROVIDER: u8 = 3;

/// Records leave the state a moment after they became final.
fn genesis() -> Genesis {
    let balance = Balance { usd: Amount::from_units(1_000), ..Balance::default() };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let least = Millis(1);
    Genesis {
        name: "test".into(),
        time: Millis(u64::try_from(now).unwrap()),
        protocol: PROTOCOL,
        epoch_blocks: EPOCH_BLOCKS,
        validators: vec![key(VALIDATOR).account()],
        balances: [TENANT, PROVIDER].map(|byte| (key(byte).account(), balance)).into(),
        stakes: [].into(),
        params: Params {
            heartbeat_gap_max_ms: least,
            stall_gap_ms: least,
            stall_close_ms: least,
            challenge_window_ms: least,
            dispute_timeout_ms: least,
            dispute_clock_ms: least,
            max_block_step_ms: Millis(20),
            retention_ms: Millis(100),
            ..Params::default()
        },
    }
}

/// A node's consensus, history and HTTP API.
struct Served {
    genesis: Genesis,
    consensus: Consensus,
    history: History,
    client: Client,
    stopping: CancellationToken,
    task: JoinHandle<()>,
    nonces: [AtomicU64; 4],
}

impl Served {
    /// Starts on `dir`. With `dying`, the engine dies in the first block with which something
    /// leaves the state, when that is written to the history and not yet applied.
    async fn start(dir: &Path, genesis: &Genesis, dying: bool) -> Self {
        let history = History::open(&dir.join("history.redb")).unwrap();
        let kept = history.clone();
        let told = history.clone();
        let consensus = Consensus::start(consensus::Config {
            dir: dir.join("consensus"),
            key: key(VALIDATOR),
            genesis: genesis.clone(),
            network: NetworkConfig::Alone,
            state_sync: false,
            unused_key: None,
            anchor: None,
            pool: TxPool::new(genesis.id(), PoolLimits::default()),
            pace: Pace { heartbeat: Duration::from_millis(50), ..Pace::default() },
            on_applying: Arc::new(move |block: &FinalizedBlock| {
                kept.keep(&record(block), &block.executed.archived).unwrap();
                assert!(!dying || block.executed.archived.is_empty(), "killed");
            }),
            on_finalized: Arc::new(move |block| told.announce(Arc::new(record(block)))),
        })
        .await
        .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let stopping = CancellationToken::new();
        let app = router(Arc::new(Shared {
            consensus: consensus.clone(),
            history: history.clone(),
            genesis: genesis.clone(),
            referee: None,
            stopping: stopping.clone(),
        }));
        let serve = axum::serve(listener, app)
            .with_graceful_shutdown(stopping.clone().cancelled_owned())
            .into_future();
        let task = tokio::spawn(async move { serve.await.unwrap() });
        let (genesis, nonces) = (genesis.clone(), Default::default());
        Self { genesis, consensus, history, client, stopping, task, nonces }
    }

    fn sign(&self, who: u8, action: Action) -> Tx {
        let nonce = self.nonces[usize::from(who)].fetch_add(1, Ordering::Relaxed);
        let (chain, max_fee, expires) = (self.genesis.id(), Amount::from_units(1), Millis::MAX);
        let signer = key(who).account();
        Envelope { chain, signer, nonce, max_fee, tip: Amount::ZERO, expires, action }
            .sign(&key(who))
    }

    async fn act(&self, who: u8, action: Action) -> TxId {
        self.client.submit(&self.sign(who, action)).await.unwrap().tx
    }

    /// Waits until an escrow, which leaves last, has left the state.
    async fn wait_until_left(&self, escrow: &EscrowId) {
        let mut heads = self.consensus.heads();
        while self.consensus.read(|state, _| view::escrow(state, escrow).is_some()) {
            heads.changed().await.unwrap();
        }
    }

    async fn stop(self) {
        self.stopping.cancel();
        self.task.await.unwrap();
        self.consensus.stop().await.unwrap();
    }
}

/// A job from its opening to its end, with one lease.
struct Story {
    escrow: EscrowId,
    job: JobId,
    order: OrderId,
    lease: LeaseId,
}

async fn play(node: &Served) -> Story {
    let spec = HostSpec {
        capacity: Resources { cpu_milli: 8_000, memory_bytes: GIB, ..Resources::default() },
        prices: Prices {
            cpu: Rate::per_hour(Amount::from_nanos(1_000_000_000)),
            ..Prices::default()
        },
        offered_until: Millis::MAX,
        verifies: [Verifies::Replicate, Verifies::Audit].into(),
        fuel_per_s: 1_000_000,
        ..HostSpec::default()
    };
    node.act(PROVIDER, Action::ProviderSet { profile: Default::default() }).await;
    node.act(PROVIDER, Action::BondAdd { amount: Amount::from_units(500) }).await;
    node.act(PROVIDER, Action::HostSet { index: 0, spec }).await;
    let deposit = Amount::from_units(10);
    let escrow = EscrowId::derive(&node.act(TENANT, Action::EscrowOpen { deposit }).await);
    let spec = JobSpec {
        kind: JobKind::Batch,
        escrow,
        tasks: 1,
        verification: Verification::None,
        manifest: Hash::ZERO,
        fuel_max: 1,
        metered: false,
        chain: None,
    };
    let job = JobId::derive(&node.act(TENANT, Action::JobOpen { spec }).await);
    let terms = Terms {
        request: Request { cpu_milli: 1_000, ..Request::default() },
        count: 1,
        max_rate: Rate::per_hour(Amount::from_units(100)),
        ..Terms::default()
    };
    let (deadline, manifest) = (Millis::MAX, Hash::ZERO);
    let (mode, reauction) = (Mode::Standing, false);
    let for_job = Some(job);
    let place =
        Action::OrderPlace { escrow, job: for_job, terms, deadline, manifest, mode, reauction };
    let order = OrderId::derive(&node.act(TENANT, place).await);
    let lease = LeaseId::derive(&order, 0);
    node.act(TENANT, Action::LeaseClose { lease }).await;
    node.act(TENANT, Action::JobClose { job }).await;
    node.act(TENANT, Action::EscrowClose { escrow }).await;
    Story { escrow, job, order, lease }
}

/// Everything of a story that has left the state is served, alone and in lists, once.
async fn assert_served(node: &Served, story: &Story) {
    let Story { escrow, job, order, lease } = story;
    let client = &node.client;
    let (tenant, provider) = (key(TENANT).account(), key(PROVIDER).account());
    let found = client.order(order).await.unwrap().unwrap().record;
    assert_eq!((found.status, &found.leases[..]), (OrderStatus::Leased, &[*lease][..]));
    assert!(found.final_at.is_some());
    let found = client.lease(lease).await.unwrap().unwrap();
    assert!(found.record.status.is_settled());
    let found = [found];
    assert_eq!(client.leases_of_tenant(&tenant, false).await.unwrap(), found);
    assert_eq!(client.leases_of_provider(&provider, false).await.unwrap(), found);
    assert_eq!(client.leases_of_job(job).await.unwrap(), found);
    assert_eq!(client.leases_of_tenant(&tenant, true).await.unwrap(), []);
    let found = client.escrow(escrow).await.unwrap().unwrap();
    assert_eq!(found.record.status, EscrowStatus::Closed);
    assert_eq!(client.escrows_of(&tenant).await.unwrap(), [found]);
    let found = client.job(job).await.unwrap().unwrap();
    assert!(found.record.closed);
    assert_eq!(client.jobs_of(&tenant).await.unwrap(), [found]);
    let orders = client.orders_of(&tenant).await.unwrap();
    assert_eq!(orders.iter().map(|order| order.id).collect::<Vec<_>>(), [*order]);
    assert_eq!(client.order(&OrderId::default()).await.unwrap(), None);
    assert_eq!(client.invariants().await.unwrap().broken, None);
}

/// From each subject exactly those events are found that name it, however large the pages.
async fn assert_events_found(node: &Served, story: &Story) {
    let mut all = Vec::new();
    for height in 1..=node.consensus.head().height {
        let Some(block) = node.client.block(height).await.unwrap() else { continue };
        for (position, event) in (0..).zip(block.events) {
            all.push(EventEntry { height, position, now: block.now, event });
        }
    }
    let (tenant, provider) = (key(TENANT).account(), key(PROVIDER).account());
    // (subject, how many events at least)
    let table = [
        (Subject::Account(tenant), 8),
        (Subject::Account(provider), 6),
        (Subject::Provider(provider), 6),
        (Subject::Host(HostId { provider, index: 0 }), 2),
        (Subject::Order(story.order), 4),
        (Subject::Lease(story.lease), 3),
        (Subject::Escrow(story.escrow), 7),
        (Subject::Job(story.job), 6),
        (Subject::Validator(provider), 0),
        (Subject::Dispute(DisputeId::default()), 0),
    ];
    for (subject, least) in table {
        let wanted = all.iter().filter(|entry| entry.event.subjects().contains(&subject));
        let wanted: Vec<EventEntry> = wanted.cloned().collect();
        assert!(wanted.len() >= least, "{subject:?}: {wanted:?}");
        for limit in [1, 2, 1_000] {
            let (mut found, mut after) = (Vec::new(), None::<String>);
            loop {
                let page = node.client.events_of(&subject, after.as_deref(), limit).await.unwrap();
                found.extend(page.events);
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(found, wanted, "{subject:?}, {limit} at a time");
        }
        let mut told = Vec::new();
        let mut stream = node.client.events_about(&subject, Some(0)).await.unwrap();
        while told.len() < wanted.len() {
            let block = stream.next().await.unwrap().unwrap();
            assert!(!block.events.is_empty(), "{subject:?}");
            told.extend(block.events);
        }
        let wanted: Vec<_> = wanted.into_iter().map(|entry| entry.event).collect();
        assert_eq!(told, wanted, "{subject:?}, followed");
    }
}

#[tokio::test]
async fn what_has_left_the_state_is_served_with_its_events_also_after_a_restart() {
    let (dir, genesis) = (TempDir::new().unwrap(), genesis());
    let node = Served::start(dir.path(), &genesis, false).await;
    let story = play(&node).await;
    node.wait_until_left(&story.escrow).await;
    let in_state = node.consensus.read(|state, _| view::order(state, &story.order));
    assert_eq!(in_state, None);
    assert_served(&node, &story).await;
    assert_events_found(&node, &story).await;
    node.stop().await;

    let node = Served::start(dir.path(), &genesis, false).await;
    assert_served(&node, &story).await;
    assert_events_found(&node, &story).await;
    node.stop().await;
}

#[tokio::test]
async fn a_node_killed_between_history_and_state_loses_nothing_and_tells_nothing_twice() {
    let (dir, genesis) = (TempDir::new().unwrap(), genesis());
    let node = Served::start(dir.path(), &genesis, true).await;
    // It may die before the last acts are answered.
    let signed = node.sign(TENANT, Action::EscrowOpen { deposit: Amount::from_units(10) });
    let escrow = EscrowId::derive(&signed.id());
    node.client.submit(&signed).await.unwrap();
    let close = node.sign(TENANT, Action::EscrowClose { escrow });
    let _ = node.consensus.pool().submit(close).unwrap();
    node.consensus.failed().await;
    let died_at = node.consensus.head().height;
    let here = node.consensus.read(|state, _| view::escrow(state, &escrow));
    let kept = node.history.archive(|kept| view::escrow(kept, &escrow)).unwrap();
    assert!(here.is_some() && here == kept, "in both, and the same");
    let served = node.client.escrows_of(&key(TENANT).account()).await.unwrap();
    assert_eq!(served.len(), 1);

    // What a killed process leaves behind: the files as they are, nothing closed.
    let copy = TempDir::new().unwrap();
    copy_dir(dir.path(), copy.path());
    node.stopping.cancel();
    node.task.await.unwrap();
    let node = Served::start(copy.path(), &genesis, false).await;
    node.wait_until_left(&escrow).await;
    assert!(node.consensus.head().height > died_at);
    let found = node.client.escrow(&escrow).await.unwrap().unwrap();
    assert_eq!(Some(&found.record), kept.as_ref());
    assert_eq!(node.client.escrows_of(&found.record.owner).await.unwrap(), [found]);
    let events = node.client.events_of(&Subject::Escrow(escrow), None, 9).await.unwrap().events;
    assert_eq!(events.len(), 2, "{events:?}");
    node.stop().await;
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn a_request_for_events_or_lists_that_cannot_be_is_refused_and_says_why() {
    let (dir, genesis) = (TempDir::new().unwrap(), genesis());
    let node = Served::start(dir.path(), &genesis, false).await;
    let escrow = EscrowId::default();
    let id = escrow.to_string();
    let table = [
        ("/v1/events?lease=none".to_owned(), "not an id"),
        (format!("/v1/events?lease={id}&order={id}"), "one subject"),
        (format!("/v1/events?host={id}"), "`index`"),
        (format!("/v1/events?escrow={id}&after=7"), "cursor"),
        ("/v1/orders".to_owned(), "exactly one"),
        (format!("/v1/leases?job={id}&escrow={id}"), "exactly one"),
        (format!("/v1/leases?job={id}&after=7"), "not an id"),
    ];
    for (path, says) in table {
        let answer = get(node.client.url(), &path).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{path}: {answer}");
        assert!(answer.contains("malformed") && answer.contains(says), "{path}: {answer}");
    }
    let page = node.client.events_of(&Subject::Escrow(escrow), None, 0).await.unwrap();
    assert_eq!((page.events, page.next), (vec![], None));
    node.stop().await;
}

/// A plain HTTP request; gives the whole answer.
async fn get(url: &str, path: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn the_ends_of_epochs_and_an_anchor_lead_to_the_present() {
    let dir = TempDir::new().unwrap();
    let genesis = Genesis { epoch_blocks: 4, ..genesis() };
    let node = Served::start(dir.path(), &genesis, false).await;
    let mut heads = node.consensus.heads();
    heads.wait_for(|head| head.height >= 14).await.unwrap();
    let page = node.client.epochs(0, 64).await.unwrap();
    assert_eq!((page.from, &page.validators), (0, &vec![key(VALIDATOR).account()]));
    let heights: Vec<(u64, u64)> = page.ends.iter().map(|end| (end.epoch, end.height)).collect();
    assert_eq!(heights[..3], [(0, 3), (1, 7), (2, 11)]);
    let trail = Trail { epoch: 0, validators: page.validators, ends: page.ends.clone() };
    Prover::new(genesis.id(), &trail, Trust::genesis(&genesis, genesis.time)).unwrap();

    let one = node.client.epochs(1, 1).await.unwrap();
    assert_eq!((one.from, &one.ends[..]), (1, &page.ends[1..2]));
    let none = node.client.epochs(1, 0).await.unwrap();
    assert_eq!((none.from, none.ends.len()), (1, 0));
    let beyond = node.client.epochs(1_000_000, 9).await.unwrap();
    assert!(beyond.ends.is_empty() && beyond.from >= 3, "{beyond:?}");
    let anchor = node.client.anchor().await.unwrap();
    assert_eq!((anchor.chain, anchor.unbonding), (genesis.id(), genesis.params.stake_unbonding_ms));
    assert_eq!(anchor.epoch, (anchor.height + 1) / 4);
    let stored = node.consensus.block(anchor.height).await.unwrap().unwrap();
    assert_eq!((anchor.digest, anchor.time), (stored.digest, stored.header.time));
    node.stop().await;
}
