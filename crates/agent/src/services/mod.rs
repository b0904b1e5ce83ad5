//! Services in containers: what a lease that was ordered for them takes.
//!
//! ```text
//!  tenant ── Deploy ──▶ desk ── checked, journaled ──▶ drive: pull ▶ start ▶ probe ▶ LeaseReady ▶ serve
//!         ◀─ Status ───  │                               │                                  │
//!         ══ streams ════╪═════▶ logs, exec, forward     containers, volumes     ended: made anew
//!  anybody ── TCP ───────┴─────▶ ports                   lease over, failed: everything removed
//! ```
//!
//! The stages are in [`machine`]. Containers outlive this process; the journal says which lease
//! each is for, and what no lease in the journal owns is swept away at the start.

mod config;
mod deployment;
mod desk;
mod drive;
mod exec;
mod logs;
mod machine;
mod plan;
mod ports;
mod probe;
mod recover;
mod replica;
mod streams;

pub use config::{CONTAINERS, ServicesConfig};
pub(crate) use desk::{Calls, Streams};
pub(crate) use machine::Stage;

use crate::{AgentError, denial::chain};
use deployment::{Deployment, Replica};
use muster_sandbox::oci::{
    container::Containers,
    image::{IdMap, Registry, Store},
};
use muster_types::{Hash, LeaseId};
use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

/// What runs containers, and all that they are for.
pub(crate) struct Services {
    config: ServicesConfig,
    containers: Containers,
    store: Store,
    registry: Registry,
    ids: IdMap,
    deployments: Mutex<BTreeMap<LeaseId, Arc<Deployment>>>,
    /// Held while containers are told of each other.
    introducing: Mutex<()>,
}

impl Services {
    /// Takes the directory into possession.
    pub(crate) async fn open(config: ServicesConfig) -> Result<Self, AgentError> {
        let cell = config.containers();
        let ids = IdMap::try_from(cell.ids).map_err(|error| AgentError::Setting {
            setting: "services",
            reason: error.to_string(),
        })?;
        let registry = Registry::new(&config.registry)?;
        let containers = Containers::open(cell).await?;
        let (layers, bound) = (config.dir.join("layers"), config.image_bytes);
        let store = tokio::task::spawn_blocking(move || Store::open(&layers, bound)).await;
        let store = store
            .map_err(|panic| AgentError::Broken { part: "layers", reason: panic.to_string() })??;
        Ok(Self {
            config,
            containers,
            store,
            registry,
            ids,
            deployments: Mutex::default(),
            introducing: Mutex::default(),
        })
    }

    fn deployments(&self) -> MutexGuard<'_, BTreeMap<LeaseId, Arc<Deployment>>> {
        self.deployments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a lease, also after its end.
    pub(crate) fn deployment(&self, lease: &LeaseId) -> Option<Arc<Deployment>> {
        self.deployments().get(lease).cloned()
    }

    fn insert(&self, deployment: Arc<Deployment>) {
        self.deployments().insert(deployment.lease, deployment);
    }

    /// When the provider ends: without containers, nothing of the host's network is kept.
    pub(crate) async fn end(&self) {
        if self.containers.list().is_empty()
            && self.containers.volumes().is_empty()
            && let Err(error) = self.containers.clone().close().await
        {
            tracing::warn!(error = chain(&error), "rules of the host's network were not removed");
        }
    }

    /// Tells all containers of a network their services' names.
    fn introduce(&self, network: &Hash) {
        let _one = self.introducing.lock().unwrap_or_else(PoisonError::into_inner);
        let members: Vec<Arc<Deployment>> = self.deployments().values().cloned().collect();
        let members = members.iter().filter(|deployment| deployment.network() == *network);
        let found: Vec<(Arc<Replica>, Ipv4Addr)> = members
            .filter_map(|deployment| {
                let replica = deployment.replica()?;
                let container = self.containers.get(&replica.plan.id).ok()?;
                Some((replica, container.address().ok()?))
            })
            .collect();
        for (replica, own) in &found {
            let others = found.iter().filter(|(_, address)| address != own);
            let names: Vec<(String, Ipv4Addr)> =
                others.map(|(other, address)| (other.plan.service.clone(), *address)).collect();
            if let Err(error) = self.containers.set_names(&replica.plan.id, &names) {
                tracing::warn!(error = chain(&error), "a container does not know its peers");
            }
        }
    }

    /// Where what a container printed in earlier runs is kept.
    fn earlier_log(&self, id: &muster_sandbox::oci::container::ContainerId) -> PathBuf {
        self.config.dir.join("logs").join(id.as_str())
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
