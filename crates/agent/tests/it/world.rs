//! A network of one toy node, providers and tenants.

use crate::node::Node;
use muster_agent::{Agent, AgentError, Config, HostConfig, SimulatedFault};
use muster_api::{
    Client, Wallet,
    provider::{ALPN, Prepare, Request, Response, Run, TaskLimits},
};
use muster_fabric::{CallError, Fabric, PeerAddr};
use muster_ledger::{
    Action,
    job::{JobKind, JobSpec, Verification},
    market::Mode,
};
use muster_market::{Prices, Request as Wanted, Terms};
use muster_sandbox::ChildProgram;
use muster_types::{
    Amount, EscrowId, Hash, JobId, LeaseId, Millis, OrderId, Rate, Resources, SecretKey,
};
use std::{collections::BTreeMap, path::Path, time::Duration};

pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Copies stdin to stdout. Traps where the first byte is `!`.
const ECHO: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_read"
    (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (func (export "_start")
    (loop $again
      (i32.store (i32.const 0) (i32.const 1024))
      (i32.store (i32.const 4) (i32.const 65536))
      (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
      (if (i32.eq (i32.load8_u (i32.const 1024)) (i32.const 33)) (then unreachable))
      (if (i32.load (i32.const 8)) (then
        (i32.store (i32.const 4) (i32.load (i32.const 8)))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
        (br $again))))))"#;

pub(crate) fn echo() -> Vec<u8> {
    wat::parse_str(ECHO).unwrap()
}

pub(crate) fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed([seed; 32])
}

pub(crate) const PROVIDER: u8 = 1;
pub(crate) const TENANT: u8 = 2;
pub(crate) const STRANGER: u8 = 3;

pub(crate) async fn node() -> Node {
    Node::start(&[key(PROVIDER).account(), key(TENANT).account(), key(STRANGER).account()]).await
}

/// A provider of one host with four threads.
pub(crate) fn config(node: &Node, dir: &Path, fault: Option<SimulatedFault>) -> Config {
    let capacity = Resources { cpu_milli: 4_000, memory_bytes: 4 << 30, ..Resources::default() };
    let prices = Prices { cpu: Rate::per_hour("0.01".parse().unwrap()), ..Prices::default() };
    Config {
        dir: dir.to_owned(),
        key: key(PROVIDER),
        node: node.url(),
        bind: "127.0.0.1:0".parse().unwrap(),
        name: "provider".into(),
        region: "here".into(),
        attributes: BTreeMap::new(),
        hosts: vec![HostConfig { capacity, prices }],
        bond: Amount::from_units(100),
        heartbeat_ms: 100,
        compiler: ChildProgram {
            program: env!("CARGO_BIN_EXE_muster-agent-compiler").into(),
            args: Vec::new(),
        },
        workers: 2,
        services: None,
        simulated_fault: fault,
    }
}

pub(crate) async fn start(node: &Node, dir: &Path) -> Agent {
    Agent::start(config(node, dir, None)).await.unwrap_or_else(|error| panic!("{}", all(&error)))
}

fn all(error: &AgentError) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(source) = next {
        text.push_str(&format!(": {source}"));
        next = source.source();
    }
    text
}

/// Waits for what no event tells of.
pub(crate) async fn eventually(what: &str, mut met: impl AsyncFnMut() -> bool) {
    let wait = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        while !met().await {
            ticks.tick().await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Somebody with money and a fabric.
pub(crate) struct Tenant {
    pub(crate) wallet: Wallet,
    pub(crate) fabric: Fabric,
}

/// A job with one lease.
#[derive(Clone, Copy)]
pub(crate) struct Job {
    pub(crate) id: JobId,
    pub(crate) kind: JobKind,
    pub(crate) lease: LeaseId,
}

impl Tenant {
    pub(crate) async fn new(node: &Node, seed: u8) -> Self {
        let client = Client::new(&node.url()).unwrap();
        let wallet = Wallet::new(client, key(seed)).await.unwrap();
        let fabric = Fabric::bind(muster_fabric::Config::new(key(seed))).await.unwrap();
        Self { wallet, fabric }
    }

    /// Opens a job of 40 tasks and is granted a lease of two threads for it.
    pub(crate) async fn lease(&self, kind: JobKind) -> Job {
        let wallet = &self.wallet;
        let deposit = Action::EscrowOpen { deposit: Amount::from_units(10) };
        let escrow = EscrowId::derive(&wallet.act(deposit).await.unwrap().tx);
        let spec = JobSpec {
            kind,
            escrow,
            tasks: 40,
            verification: Verification::None,
            manifest: Hash::ZERO,
            fuel_max: 1_000_000,
            chain: None,
            metered: false,
        };
        let id = JobId::derive(&wallet.act(Action::JobOpen { spec }).await.unwrap().tx);
        let request = Wanted { cpu_milli: 2_000, memory_bytes: 256 << 20, ..Wanted::default() };
        let terms = Terms { request, count: 1, max_rate: Rate::MAX, ..Terms::default() };
        let order = Action::OrderPlace {
            escrow,
            job: Some(id),
            terms,
            deadline: Millis::MAX,
            manifest: Hash::ZERO,
            mode: Mode::Standing,
            reauction: false,
        };
        let order = OrderId::derive(&wallet.act(order).await.unwrap().tx);
        let order = wallet.client().order(&order).await.unwrap().unwrap();
        let [lease] = order.record.leases[..] else { panic!("not leased: {order:?}") };
        Job { id, kind, lease }
    }

    /// Offers content to the provider.
    pub(crate) async fn give(&self, bytes: &[u8]) -> Hash {
        let blob = self.fabric.add_bytes(bytes.to_vec()).await.unwrap();
        self.fabric.gate().allow(key(PROVIDER).account(), blob.hash);
        blob.hash
    }

    pub(crate) async fn call(
        &self,
        provider: &PeerAddr,
        request: Request,
    ) -> Result<Response, CallError> {
        self.fabric.call_typed(provider, ALPN, &request, DEADLINE).await
    }

    pub(crate) async fn preparation(&self, job: &Job, module: &[u8]) -> Prepare {
        Prepare {
            lease: job.lease,
            job: job.id,
            kind: job.kind,
            module: self.give(module).await,
            data: BTreeMap::from([("a".to_owned(), self.give(b"some data").await)]),
            limits: TaskLimits {
                fuel: 1_000_000,
                memory_bytes: 1 << 20,
                output_bytes: 1 << 10,
                wall_ms: 10_000,
            },
            source: self.fabric.local_addr().to_string(),
        }
    }

    pub(crate) async fn prepare(&self, provider: &PeerAddr, job: &Job) {
        let prepare = self.preparation(job, &echo()).await;
        let answer = self.call(provider, Request::Prepare(Box::new(prepare))).await;
        assert_eq!(answer.unwrap(), Response::Prepared);
    }

    pub(crate) async fn run(
        &self,
        provider: &PeerAddr,
        job: &Job,
        (first, count): (u64, u32),
        inputs: &[&[u8]],
    ) -> Result<Response, CallError> {
        let mut hashes = Vec::new();
        for input in inputs {
            hashes.push(self.give(input).await);
        }
        let source = self.fabric.local_addr().to_string();
        let run = Run { lease: job.lease, first, count, inputs: hashes, source };
        self.call(provider, Request::Run(run)).await
    }

    /// Fetches what the provider gave.
    pub(crate) async fn content(&self, provider: &PeerAddr, hash: Hash) -> Vec<u8> {
        self.fabric.fetch(hash, 1 << 20, std::slice::from_ref(provider)).await.unwrap();
        self.fabric.get_bytes(hash, 1 << 20).await.unwrap().to_vec()
    }
}

/// The code of a refusal.
pub(crate) fn code(answer: Result<Response, CallError>) -> u16 {
    match answer {
        Err(CallError::Refused { refusal, .. }) => refusal.code().0,
        other => panic!("not refused: {other:?}"),
    }
}
