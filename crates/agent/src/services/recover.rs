//! Taking up what ran before a restart, and removing what nobody owns.

use super::{
    Services, Stage,
    deployment::{Deployment, Replica},
    drive::Drive,
};
use crate::{
    AgentError,
    journal::{Journal, ReplicaEntry, ServiceEntry},
    shared::Shared,
};
use muster_sandbox::oci::container::{ContainerError, ContainerId};
use muster_types::LeaseId;
use std::{collections::BTreeSet, fs, io, sync::Arc, time::Duration};

impl Services {
    /// Stops a deployment's container within `grace`, and removes all that there is of it. May be
    /// called again after any failure.
    pub(super) async fn remove(
        &self,
        deployment: &Deployment,
        grace: Duration,
    ) -> Result<(), ContainerError> {
        // Whatever is being made is finished first.
        let _making = deployment.making.lock().await;
        let Some(replica) = deployment.replica() else { return Ok(()) };
        match self.containers.get(&replica.plan.id) {
            Ok(container) => {
                if !grace.is_zero() {
                    container.stop(grace).await?;
                }
                container.delete().await?;
            }
            Err(ContainerError::Unknown { .. }) => {}
            Err(error) => return Err(error),
        }
        for volume in &replica.plan.volumes {
            self.containers.remove_volume(&volume.id).await?;
        }
        forget(&self.earlier_log(&replica.plan.id));
        replica.set_image(None);
        Ok(())
    }

    /// Removes containers, volumes and logs of no deployment, and what is half made.
    async fn sweep(&self) -> Result<(), ContainerError> {
        let deployments: Vec<Arc<Deployment>> = self.deployments().values().cloned().collect();
        let replicas: Vec<Arc<Replica>> =
            deployments.iter().filter_map(|deployment| deployment.replica()).collect();
        let whole = |id: &ContainerId| self.containers.get(id).is_ok();
        let keep: BTreeSet<ContainerId> =
            replicas.iter().map(|replica| replica.plan.id.clone()).filter(whole).collect();
        let swept = self.containers.sweep(&keep).await?;
        if !swept.containers.is_empty() || !swept.interfaces.is_empty() {
            tracing::info!(containers = ?swept.containers, "left by nobody that is served: removed");
        }
        let volumes = replicas.iter().flat_map(|replica| &replica.plan.volumes);
        let volumes: BTreeSet<&ContainerId> = volumes.map(|volume| &volume.id).collect();
        for id in self.containers.volumes().iter().filter(|id| !volumes.contains(id)) {
            self.containers.remove_volume(id).await?;
        }
        let logs: BTreeSet<_> =
            replicas.iter().map(|replica| self.earlier_log(&replica.plan.id)).collect();
        for file in fs::read_dir(self.config.dir.join("logs")).into_iter().flatten().flatten() {
            if !logs.contains(&file.path()) {
                forget(&file.path());
            }
        }
        Ok(())
    }
}

fn forget(path: &std::path::Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, path = %path.display(), "a log was not removed");
        }
        _ => {}
    }
}

impl Shared {
    /// After a restart: what the journal knows of services is taken up, or removed where its lease
    /// is over; what the journal does not know is removed.
    pub(crate) async fn recover_services(self: &Arc<Self>) -> Result<(), AgentError> {
        let known = self.journal(Journal::all_services).await?;
        let Some(services) = self.services() else {
            let left = known.iter().filter(|(_, entry)| entry.deploy.is_some()).count();
            if left > 0 {
                tracing::warn!(left, "services are left: start with containers to go on with them");
            }
            return Ok(());
        };
        let mut drives = Vec::new();
        for (lease, entry) in known {
            drives.extend(self.recover_one(&services, lease, entry).await?);
        }
        // Layers are held by then, and nothing is being made yet.
        services.sweep().await?;
        drives.into_iter().for_each(Drive::spawn);
        Ok(())
    }

    async fn recover_one(
        self: &Arc<Self>,
        services: &Arc<Services>,
        lease: LeaseId,
        entry: ServiceEntry,
    ) -> Result<Option<Drive>, AgentError> {
        let slot = self.learn(lease).await;
        let slot = slot.map_err(AgentError::node("ask the ledger for a lease"))?;
        let image = entry.replica.image.clone();
        let request = slot.as_ref().map(|slot| &slot.request);
        let mut deployment = Deployment::new(lease, entry.clone(), request);
        if let Err(reason) = &deployment {
            // Rules of another version took it. What it had is swept.
            tracing::warn!(lease = %lease.short(), reason, "cannot be taken up");
            let (deploy, update, replica) = (None, None, ReplicaEntry::default());
            let ended = ServiceEntry { stage: Stage::Closed, deploy, update, replica, ..entry };
            deployment = Deployment::new(lease, ended, None);
        }
        let Ok(deployment) = deployment.map(Arc::new) else { return Ok(None) };
        if let Some(replica) = deployment.replica() {
            services.hold(&replica, image.as_ref());
        }
        services.insert(Arc::clone(&deployment));
        if deployment.is_over() {
            return Ok(None);
        }
        if matches!(deployment.stage(), Stage::Running | Stage::Updating)
            && let Some(slot) = &slot
        {
            slot.set_serving();
        }
        let shared = Arc::clone(self);
        Ok(Some(Drive { shared, services: Arc::clone(services), deployment, slot }))
    }
}
