//! The running provider: its start, its status, its end.

use crate::{
    AgentError, Config,
    journal::{Journal, Owner},
    lease::Phase,
    register,
    service::Desk,
    services::{CONTAINERS, Calls, Services, Streams},
    shared::{Parts, Shared},
};
use muster_api::{Client, Wallet, WalletError, provider, service, views::ProviderView};
use muster_fabric::{Fabric, Limits, PeerAddr, Store};
use muster_ledger::{Action, ProviderProfile, provider::ProviderStatus};
use muster_sandbox::{CompileLimits, Compiler};
use muster_types::{AccountId, Amount, LeaseId};
use std::{
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// Longest that one request may take: a run of many long tasks.
const SERVICE_TIMEOUT: Duration = Duration::from_secs(3600);

/// How often blobs that no lease keeps are deleted.
const COLLECT_EVERY: Duration = Duration::from_secs(60);

/// How long a stopping provider tries to commit to what it has.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// A running provider. Dropping it ends it at once; [`Agent::stop`] ends it well.
pub struct Agent {
    shared: Arc<Shared>,
}

/// What a provider does at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentStatus {
    /// Its account.
    pub account: AccountId,
    /// Where it can be reached.
    pub addr: PeerAddr,
    /// Its leases that are not settled.
    pub leases: Vec<LeaseLine>,
    /// Tasks run since the start.
    pub tasks_run: u64,
    /// Fuel used by them.
    pub fuel_used: u64,
    /// What the ledger says of it; `None` where the node does not answer.
    pub ledger: Option<Earnings>,
}

/// One lease of an [`AgentStatus`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseLine {
    /// Which.
    pub id: LeaseId,
    /// Whose.
    pub tenant: AccountId,
    /// Whether it is prepared here and covered by heartbeats.
    pub served: bool,
    /// Whether it is closed and only waits to be settled.
    pub closed: bool,
}

/// A provider's money on the ledger, `usd`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Earnings {
    /// Where it stands.
    pub status: ProviderStatus,
    /// All pay that it ever received.
    pub paid: Amount,
    /// All bond that it ever lost.
    pub slashed: Amount,
    /// What is at stake of its bond.
    pub bond: Amount,
    /// The part of the bond that leases and other duties have locked.
    pub pledged: Amount,
}

impl Agent {
    /// Starts a provider: opens its directory, registers it with its bond and its offers as far
    /// as they are missing on the ledger, takes up what it served before a restart, and serves
    /// from then on. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`AgentError`]; what was registered by then stays, calling again goes on from there.
    pub async fn start(config: Config) -> Result<Self, AgentError> {
        let period = check(&config)?;
        let shared = Arc::new(open(&config).await?);
        match begin(&shared, &config, period).await {
            Ok(()) => Ok(Self { shared }),
            Err(error) => {
                shared.end().await;
                Err(error)
            }
        }
    }

    /// The provider's account.
    #[must_use]
    pub fn account(&self) -> AccountId {
        self.shared.me
    }

    /// Where tenants reach it.
    #[must_use]
    pub fn addr(&self) -> PeerAddr {
        self.shared.fabric.local_addr()
    }

    /// What it does at the moment. Asks the node for the money.
    pub async fn status(&self) -> AgentStatus {
        let shared = &self.shared;
        let line = |slot: &Arc<crate::lease::Slot>| LeaseLine {
            id: slot.id,
            tenant: slot.tenant,
            served: slot.is_served() && slot.phase() == Phase::Live,
            closed: slot.phase() == Phase::Closed,
        };
        let view = shared.wallet.client().provider(&shared.me).await.ok().flatten();
        AgentStatus {
            account: shared.me,
            addr: self.addr(),
            leases: shared.leases.all().iter().map(line).collect(),
            tasks_run: shared.tasks_run.load(Ordering::Relaxed),
            fuel_used: shared.fuel_used.load(Ordering::Relaxed),
            ledger: view.map(|view| Earnings {
                status: view.record.status,
                paid: view.record.paid,
                slashed: view.bond.slashed,
                bond: view.bond.amount,
                pledged: view.bond.pledged,
            }),
        }
    }

    /// Completes when the provider cannot go on, with the reason; never otherwise.
    pub async fn failed(&self) -> Arc<AgentError> {
        let mut failure = self.shared.failure.subscribe();
        loop {
            if let Some(error) = failure.borrow_and_update().clone() {
                return error;
            }
            if failure.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Ends the provider well: nothing new is taken on, runs are cut short, results that are not
    /// committed yet are, as far as that works within ten seconds. Leases stay open on the ledger;
    /// started again on the same directory before they stall, the provider goes on with them.
    /// Calling it again is harmless.
    pub async fn stop(&self) {
        let shared = &self.shared;
        shared.stopping.cancel();
        let slots = shared.leases.all();
        let open = slots.iter().filter(|slot| slot.phase() != Phase::Closed);
        let commits = futures::future::join_all(open.map(|slot| async {
            if let Err(denial) = shared.commit(slot).await {
                tracing::warn!(lease = %slot.id.short(), %denial, "results were not committed");
            }
        }));
        if tokio::time::timeout(STOP_TIMEOUT, commits).await.is_err() {
            tracing::warn!("stopped before all results were committed");
        }
        shared.end().await;
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.shared.stopping.cancel();
        self.shared.ended.cancel();
    }
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent").field("account", &self.shared.me).finish_non_exhaustive()
    }
}

/// Checks what can be checked without asking anybody. Returns the time between heartbeats.
fn check(config: &Config) -> Result<Duration, AgentError> {
    let refuse =
        |setting, reason: &str| Err(AgentError::Setting { setting, reason: reason.to_owned() });
    if config.workers == 0 || config.workers > tokio::sync::Semaphore::MAX_PERMITS {
        return refuse("workers", "at least one task must be able to run");
    }
    if config.heartbeat_ms == 0 {
        return refuse("heartbeat_ms", "it must be more than zero");
    }
    if config.hosts.is_empty() {
        return refuse("hosts", "a provider offers at least one host");
    }
    if config.attributes.contains_key(CONTAINERS.0) {
        return refuse("attributes", "whether it runs containers, a provider says by itself");
    }
    if let Some(services) = &config.services {
        services.check()?;
    }
    Ok(Duration::from_millis(config.heartbeat_ms))
}

/// Opens everything local: directory, compiler, journal, endpoint.
async fn open(config: &Config) -> Result<Shared, AgentError> {
    let directory = |source| AgentError::Directory { path: config.dir.clone(), source };
    let client = Client::new(&config.node).map_err(AgentError::node("use the node's address"))?;
    let wallet = Wallet::new(client, config.key.clone()).await;
    let wallet = wallet.map_err(AgentError::node("reach its node"))?;
    tokio::fs::create_dir_all(&config.dir).await.map_err(directory)?;
    let owner = Owner { chain: wallet.chain(), account: wallet.account() };
    let path = config.dir.join("journal.redb");
    let journal = tokio::task::spawn_blocking(move || Journal::open(&path, owner)).await;
    let journal = journal
        .map_err(|panic| AgentError::Broken { part: "journal", reason: panic.to_string() })??;
    let compiler = Compiler::new(config.compiler.clone(), CompileLimits::default())?;
    let fabric = Fabric::bind(fabric_config(config, &config.dir)).await?;
    let services = match &config.services {
        Some(services) => Some(Services::open(services.clone()).await?),
        None => None,
    };
    Ok(Shared::new(Parts {
        wallet,
        fabric,
        journal,
        compiler,
        services,
        workers: config.workers,
        fault: config.simulated_fault,
    }))
}

fn fabric_config(config: &Config, dir: &Path) -> muster_fabric::Config {
    let message = provider::MAX_MESSAGE_BYTES.max(service::MAX_MESSAGE_BYTES);
    let message = u32::try_from(message).unwrap_or(u32::MAX);
    muster_fabric::Config {
        bind: config.bind,
        store: Store::Directory(dir.join("blobs")),
        collect_every: Some(COLLECT_EVERY),
        limits: Limits {
            max_request_bytes: message,
            max_response_bytes: message,
            service_timeout: SERVICE_TIMEOUT,
            ..Limits::default()
        },
        ..muster_fabric::Config::new(config.key.clone())
    }
}

/// Registers, recovers, serves.
async fn begin(shared: &Arc<Shared>, config: &Config, period: Duration) -> Result<(), AgentError> {
    let client = shared.wallet.client();
    let status = client.status().await.map_err(AgentError::node("reach its node"))?;
    let longest = status.params.heartbeat_gap_max_ms.0 / 2;
    if config.heartbeat_ms > longest {
        let reason = format!("this network pays for gaps that allow at most {longest} ms");
        return Err(AgentError::Setting { setting: "heartbeat_ms", reason });
    }
    let known = client.provider(&shared.me).await;
    let known = known.map_err(AgentError::node("ask for its registration"))?;
    register::check_status(known.as_ref())?;
    bond(shared, config, known.as_ref()).await?;
    let height = shared.reconcile().await.map_err(AgentError::node("ask for its leases"))?;
    shared.recover().await?;
    shared.recover_services().await?;
    shared.fabric.serve(provider::ALPN, Desk(Arc::downgrade(shared)))?;
    shared.fabric.serve(service::ALPN, Calls(Arc::downgrade(shared)))?;
    shared.fabric.serve_streams(service::STREAM_ALPN, Streams(Arc::downgrade(shared)))?;
    shared.go("event loop", Arc::clone(shared).follow(height.saturating_add(1)));
    shared.go("heartbeat", Arc::clone(shared).beat(period));
    shared.offer(&config.hosts).await?;
    shared.go("upkeep", Arc::clone(shared).keep_up(config.hosts.clone()));
    tracing::info!(account = %shared.me, addr = %shared.fabric.local_addr(), "provider started");
    Ok(())
}

/// Sends the description and the missing part of the bond.
async fn bond(
    shared: &Shared,
    config: &Config,
    known: Option<&ProviderView>,
) -> Result<(), AgentError> {
    let missing = register::missing_bond(known, config.bond);
    let account = shared.wallet.client().account(&shared.me).await;
    let account = account.map_err(AgentError::node("ask for its balance"))?;
    let available = account.map_or(Amount::ZERO, |account| account.usd);
    let needed = missing.checked_add(register::FEE_RESERVE).unwrap_or(Amount::MAX);
    if available < needed {
        return Err(AgentError::Unfunded { account: shared.me, needed, available });
    }
    let sockets = shared.fabric.local_addr().sockets().iter().map(ToString::to_string).collect();
    let mut attributes = config.attributes.clone();
    if config.services.is_some() {
        attributes.insert(CONTAINERS.0.to_owned(), CONTAINERS.1.to_owned());
    }
    let profile = ProviderProfile {
        name: config.name.clone(),
        region: config.region.clone(),
        sockets,
        attributes,
        // Its owner's to say, and not in the configuration: what was said stays.
        jurisdiction: known
            .map(|known| known.record.profile.jurisdiction.clone())
            .unwrap_or_default(),
        operator: known.and_then(|known| known.record.profile.operator),
    };
    let add = (!missing.is_zero()).then_some(Action::BondAdd { amount: missing });
    for action in register::profile(known, &profile).into_iter().chain(add) {
        let acted = shared.wallet.act(action).await;
        acted.map_err(|error| match error {
            WalletError::Unfunded { account } => {
                AgentError::Unfunded { account, needed, available }
            }
            error => AgentError::Ledger { action: "register", source: error },
        })?;
    }
    Ok(())
}

impl Shared {
    /// Runs a loop until the provider ends; that it ends by itself is a failure.
    fn go(self: &Arc<Self>, part: &'static str, run: impl Future<Output = ()> + Send + 'static) {
        let shared = Arc::clone(self);
        let ended = self.ended.clone();
        let run = tokio::spawn(async move { ended.run_until_cancelled_owned(run).await });
        self.tracker.spawn(async move {
            match run.await {
                Ok(None) => {}
                Ok(Some(())) => shared
                    .fail(AgentError::Broken { part, reason: "it ended by itself".to_owned() }),
                Err(panic) => {
                    shared.fail(AgentError::Broken { part, reason: panic.to_string() });
                }
            }
        });
    }
}
