//! A provider without a sandbox: the real ledger actions and the real wires, a toy program.

use crate::{node::Node, program};
use bytes::Bytes;
use futures::StreamExt;
use muster_api::{
    Wallet,
    provider::{ALPN, Failure, Prepare, Request, Response, Run, TaskLimits},
    service,
};
use muster_fabric::{Fabric, PeerAddr, Refusal, RefusalCode, Service};
use muster_ledger::{
    Action, Event, ProviderProfile,
    dispute::Claim,
    job::{JobKind, TaskRef},
    market::LeaseStatus,
    provider::HostSpec,
    view,
};
use muster_market::{Prices, Verifies};
use muster_types::{
    AccountId, Amount, Hash, LeaseId, Millis, Rate, Resources, SecretKey, codec, merkle,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// What is wrong with a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Signs wrong outputs for every task whose index is a multiple.
    Lies(u64),
    /// Vanishes at its so many-th run.
    Dies(u64),
    /// Fails this task, as every machine would.
    Traps(u64),
    /// Cannot get past this step with services.
    Stuck(&'static str),
    /// Declines every lease of services.
    Declines,
    /// Gives up every update to a manifest with this image.
    Refuses(&'static str),
}

/// The toy provider; stops when it is dropped.
pub(crate) struct Provider {
    pub(crate) account: AccountId,
    inner: Arc<Inner>,
}

struct Inner {
    fault: Fault,
    fabric: Fabric,
    wallet: Wallet,
    runs: AtomicU64,
    dead: CancellationToken,
    prepared: Mutex<BTreeMap<LeaseId, Prepare>>,
    claims: Mutex<BTreeMap<(LeaseId, u64), Claim>>,
    /// How often each task was run.
    ran: Mutex<BTreeMap<u64, u32>>,
    /// Where each lease of services stands.
    deployed: Mutex<BTreeMap<LeaseId, Deployed>>,
}

#[derive(Clone)]
struct Deployed {
    deploy: service::Deploy,
    step: service::Step,
    update_failed: Option<String>,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.inner.dead.cancel();
    }
}

pub(crate) fn key(number: u8) -> SecretKey {
    SecretKey::from_seed([number; 32])
}

impl Provider {
    /// Registers provider `number`, the cheaper the lower the number.
    pub(crate) async fn start(node: &Node, number: u8, fault: Fault) -> Self {
        let key = key(number);
        let fabric = Fabric::bind(muster_fabric::Config::new(key.clone())).await.unwrap();
        let wallet = Wallet::new(node.client(), key.clone()).await.unwrap();
        let sockets = fabric.local_addr().sockets().iter().map(ToString::to_string).collect();
        let profile = ProviderProfile {
            name: format!("p{number}"),
            sockets,
            attributes: BTreeMap::from([("containers".to_owned(), "true".to_owned())]),
            ..ProviderProfile::default()
        };
        wallet.act(Action::ProviderSet { profile }).await.unwrap();
        wallet.act(Action::BondAdd { amount: Amount::from_units(500) }).await.unwrap();
        let price = Rate::per_hour(Amount::from_nanos(u128::from(number) * 1_000_000_000));
        let spec = HostSpec {
            capacity: Resources {
                cpu_milli: 8_000,
                memory_bytes: 8 << 30,
                disk_bytes: 8 << 30,
                ..Resources::default()
            },
            prices: Prices { cpu: price, ..Prices::default() },
            offered_until: Millis(u64::MAX / 2),
            verifies: Verifies::ALL.into(),
            ..HostSpec::default()
        };
        wallet.act(Action::HostSet { index: 0, spec }).await.unwrap();
        let inner = Arc::new(Inner {
            fault,
            fabric: fabric.clone(),
            wallet,
            runs: AtomicU64::new(0),
            dead: CancellationToken::new(),
            prepared: Mutex::default(),
            claims: Mutex::default(),
            ran: Mutex::default(),
            deployed: Mutex::default(),
        });
        fabric.serve(ALPN, Served(Arc::clone(&inner))).unwrap();
        fabric.serve(service::ALPN, ServicesDesk(Arc::clone(&inner))).unwrap();
        tokio::spawn(heartbeats(node.clone(), key.account(), Arc::clone(&inner)));
        Self { account: key.account(), inner }
    }

    /// Under which leases something was deployed here: the service and its image.
    pub(crate) fn deployed(&self) -> Vec<(LeaseId, String, String)> {
        let deployed = self.inner.deployed.lock().unwrap();
        let of = |(lease, deployed): (&LeaseId, &Deployed)| {
            let name = deployed.deploy.service.clone();
            (*lease, name, image(&deployed.deploy).to_owned())
        };
        deployed.iter().map(of).collect()
    }

    /// Walks away from a lease.
    pub(crate) async fn exit(&self, lease: LeaseId) {
        self.inner.wallet.act(Action::LeaseClose { lease }).await.unwrap();
    }

    /// How often each task was run here.
    pub(crate) fn ran(&self) -> BTreeMap<u64, u32> {
        self.inner.ran.lock().unwrap().clone()
    }
}

async fn heartbeats(node: Node, me: AccountId, inner: Arc<Inner>) {
    let mut events = node.client().events(Some(0)).await.unwrap();
    let mut serving: BTreeSet<LeaseId> = BTreeSet::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    loop {
        tokio::select! {
            () = inner.dead.cancelled() => {
                inner.fabric.shutdown().await;
                return;
            }
            block = events.next() => {
                let Some(Ok(block)) = block else { return };
                for event in block.events {
                    match event {
                        Event::LeaseStarted { lease, provider, .. } if provider == me => {
                            serving.insert(lease);
                        }
                        Event::LeaseClosed { lease, .. } => {
                            serving.remove(&lease);
                        }
                        _ => {}
                    }
                }
            }
            _ = ticks.tick() => {
                let open = |lease: &&LeaseId| node.read(|state| {
                    view::lease(state, lease).is_some_and(|lease| lease.status.is_open())
                });
                let leases: Vec<LeaseId> = serving.iter().filter(open).copied().collect();
                if !leases.is_empty() {
                    // Refused where one was closed in between, or while the node is away.
                    drop(inner.wallet.act(Action::Heartbeat { leases }).await);
                }
            }
        }
    }
}

struct Served(Arc<Inner>);

impl Service for Served {
    async fn call(&self, peer: AccountId, request: Bytes) -> Result<Bytes, Refusal> {
        let request: Request = codec::decode(&request, 1 << 20).unwrap();
        let response = match request {
            Request::Prepare(prepare) => self.0.prepare(*prepare).await?,
            Request::Run(run) => self.0.run(peer, run).await?,
            Request::Commit { lease } => self.0.commit(lease).await?,
        };
        Ok(codec::encode(&response).into())
    }
}

fn refuse(text: &str) -> Refusal {
    Refusal::new(RefusalCode(10), text)
}

impl Inner {
    async fn fetch(&self, hash: Hash, source: &str) -> Result<Vec<u8>, Refusal> {
        if hash == Hash::of_content(b"") {
            return Ok(Vec::new());
        }
        let source: PeerAddr = source.parse().unwrap();
        let fetched = self.fabric.fetch(hash, 1 << 20, &[source]).await;
        fetched.map_err(|error| Refusal::new(RefusalCode(7), error.to_string()))?;
        Ok(self.fabric.get_bytes(hash, 1 << 20).await.unwrap().to_vec())
    }

    async fn prepare(&self, prepare: Prepare) -> Result<Response, Refusal> {
        for hash in prepare.data.values().chain([&prepare.module]) {
            self.fetch(*hash, &prepare.source).await?;
        }
        let lease = prepare.lease;
        let known = self.prepared.lock().unwrap().insert(lease, prepare).is_some();
        if !known {
            let ready = self.wallet.act(Action::LeaseReady { lease }).await;
            ready.map_err(|error| refuse(&error.to_string()))?;
        }
        Ok(Response::Prepared)
    }

    async fn run(&self, peer: AccountId, run: Run) -> Result<Response, Refusal> {
        let number = self.runs.fetch_add(1, Ordering::Relaxed) + 1;
        if matches!(self.fault, Fault::Dies(at) if number >= at) {
            self.dead.cancel();
            std::future::pending::<()>().await;
        }
        let prepare = self.prepared.lock().unwrap().get(&run.lease).cloned();
        let Some(prepare) = prepare else {
            return Err(Refusal::new(RefusalCode(4), "not prepared"));
        };
        let mut claims = Vec::new();
        let mut state = None;
        for at in 0..u64::from(run.count) {
            let index = run.first + at;
            let input = match (prepare.kind, state.take()) {
                (JobKind::Chain, Some(state)) => state,
                _ => self.fetch(run.inputs[usize::try_from(at).unwrap()], &run.source).await?,
            };
            if self.fault == Fault::Traps(index) {
                let failure = Failure {
                    deterministic: true,
                    message: "it traps".into(),
                    stderr: "out of luck\n".into(),
                };
                return Ok(Response::Failed { claims, failure });
            }
            let (output, claim) = self.task(&prepare, index, &input);
            self.fabric.add_bytes(output.clone()).await.unwrap();
            self.fabric.gate().allow(peer, claim.result.output);
            self.claims.lock().unwrap().insert((run.lease, index), claim);
            *self.ran.lock().unwrap().entry(index).or_insert(0) += 1;
            claims.push(claim);
            state = Some(output);
        }
        Ok(Response::Done { claims })
    }

    fn task(&self, prepare: &Prepare, index: u64, input: &[u8]) -> (Vec<u8>, Claim) {
        let (mut output, mut result) = program::run(index, input);
        if matches!(self.fault, Fault::Lies(every) if index.is_multiple_of(every)) {
            output[0] ^= 1;
            result.output = Hash::of_content(&output);
        }
        let TaskLimits { fuel, memory_bytes, .. } = prepare.limits;
        let task = TaskRef {
            job: prepare.job,
            index,
            module: prepare.module,
            input: Hash::of_content(input),
            data: muster_verify::data_listing_hash(&prepare.data),
            fuel_limit: fuel,
            memory_limit_bytes: memory_bytes,
        };
        let chain = self.wallet.chain();
        (output, Claim::sign(&chain, prepare.lease, task, result, self.wallet.key()))
    }

    async fn commit(&self, lease: LeaseId) -> Result<Response, Refusal> {
        let mut fuel = 0;
        let leaves: Vec<Hash> = self
            .claims
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .filter(|((under, _), _)| *under == lease)
            .map(|(_, claim)| {
                fuel += claim.result.fuel;
                let (task, result) = (&claim.task, &claim.result);
                muster_verify::task_leaf(
                    &task.job,
                    task.index,
                    &task.input,
                    &result.output,
                    result.fuel,
                )
            })
            .collect();
        let (root, count) = (merkle::root(&leaves), leaves.len() as u64);
        if count > 0 {
            let commit = Action::ResultCommit { lease, root, count, fuel };
            let done = self.wallet.act(commit).await;
            done.map_err(|error| refuse(&error.to_string()))?;
        }
        Ok(Response::Committed { root, count })
    }
}

/// Services that need no containers.
struct ServicesDesk(Arc<Inner>);

impl Service for ServicesDesk {
    async fn call(&self, peer: AccountId, request: Bytes) -> Result<Bytes, Refusal> {
        let inner = &self.0;
        let response = match codec::decode(&request, 1 << 20).unwrap() {
            service::Request::Deploy(deploy) => {
                inner.deploy(peer, *deploy).await?;
                service::Response::Taken
            }
            service::Request::Status { lease } => {
                if inner.fault == Fault::Declines {
                    drop(inner.wallet.act(Action::LeaseDecline { lease }).await);
                }
                let deployed = inner.deployed.lock().unwrap().get(&lease).cloned();
                service::Response::Status(Box::new(deployed.map_or_else(waiting, Deployed::status)))
            }
        };
        Ok(codec::encode(&response).into())
    }
}

impl Inner {
    async fn deploy(&self, peer: AccountId, deploy: service::Deploy) -> Result<(), Refusal> {
        let lease = deploy.lease;
        let client = self.wallet.client();
        let record = client.lease(&lease).await.unwrap().unwrap().record;
        let order = client.order(&record.order).await.unwrap().unwrap().record;
        assert_eq!((record.tenant, record.host.provider), (peer, self.wallet.account()));
        assert_eq!(order.manifest, service::commitment(&deploy.manifest, &deploy.salt));
        let before = self.deployed.lock().unwrap().get(&lease).cloned();
        let mut after = Deployed { deploy, step: service::Step::Running, update_failed: None };
        let action = match (before, self.fault) {
            (Some(mut before), Fault::Refuses(bad)) if image(&after.deploy) == bad => {
                before.update_failed = Some("as it was told to".to_owned());
                after = before;
                None
            }
            (Some(_), _) => {
                let waits = matches!(record.status, LeaseStatus::Updating { .. });
                waits.then_some(Action::LeaseReady { lease })
            }
            (None, Fault::Stuck(step)) => {
                let (step, reason) = (step.to_owned(), "as it was told to".to_owned());
                after.step = service::Step::Failed { step, reason };
                Some(Action::LeaseDecline { lease })
            }
            (None, _) => Some(Action::LeaseReady { lease }),
        };
        if let Some(action) = action {
            let done = self.wallet.act(action).await;
            done.map_err(|error| refuse(&error.to_string()))?;
        }
        self.deployed.lock().unwrap().insert(lease, after);
        Ok(())
    }
}

impl Deployed {
    fn status(self) -> service::Status {
        let Self { deploy, step, update_failed } = self;
        let manifest = Some(service::commitment(&deploy.manifest, &deploy.salt));
        let container = service::Container {
            service: deploy.service,
            image: None,
            running: true,
            restarts: 0,
            last_exit: None,
            ports: Vec::new(),
        };
        service::Status { step, manifest, container: Some(container), update_failed }
    }
}

fn waiting() -> service::Status {
    let step = service::Step::Waiting;
    service::Status { step, manifest: None, container: None, update_failed: None }
}

/// The image of the service that is deployed.
fn image(deploy: &service::Deploy) -> &str {
    let found = deploy.manifest.services.iter().find(|one| one.name == deploy.service);
    &found.unwrap().image
}
