//! The protocol [`muster_api::service`] as the provider serves it.
//!
//! | caller | lease | request | answer |
//! |---|---|---|---|
//! | anybody | unknown, another provider's | any | unknown lease |
//! | not the tenant | ours | any | not yours |
//! | the tenant | ended here | status | how it ended |
//! | the tenant | of a job | any | bad request |
//! | the tenant | granted, without services here | status | waiting |
//! | the tenant | open | a manifest that the order did not commit to | bad request |
//! | the tenant | open | a manifest that cannot be run here | bad request; the lease is declined |
//! | the tenant | open | the manifest | written down, then taken |
//! | the tenant | taken | the same manifest | taken; the ledger is told that it runs, where it waits for that |
//! | the tenant | taken, and the last update failed | the same manifest | written down, then taken: tried again |
//! | the tenant | comes up, or is updated | another manifest | conflict: ask again |
//! | the tenant | runs | another, to which the order did not commit | conflict |
//! | the tenant | runs | another, with other volumes, or that cannot be run here | bad request; what runs goes on |
//! | the tenant | runs | another | written down, then taken: an update |
//! | anybody | any, where no containers are run | a manifest | no containers |

use super::{Services, Stage, deployment::Deployment, drive::Drive, now_ms, plan, streams};
use crate::{
    check,
    denial::Denial,
    journal::{ReplicaEntry, ServiceEntry},
    lease::{Phase, Slot},
    shared::Shared,
};
use bytes::Bytes;
use muster_api::service::{
    Deploy, MAX_MESSAGE_BYTES, Open, Request, Response, Status, Step, commitment,
};
use muster_fabric::{Accepted, Refusal, RefusalCode, Service, StreamService};
use muster_types::{AccountId, Hash, LeaseId, codec};
use std::sync::{Arc, Weak};

/// Answers calls. Does not keep the provider alive.
pub(crate) struct Calls(pub(crate) Weak<Shared>);

/// Accepts streams. Does not keep the provider alive.
pub(crate) struct Streams(pub(crate) Weak<Shared>);

fn malformed(error: &codec::DecodeError) -> Refusal {
    Refusal::new(RefusalCode::MALFORMED, error.to_string())
}

impl Service for Calls {
    async fn call(&self, peer: AccountId, request: Bytes) -> Result<Bytes, Refusal> {
        let shared = self.0.upgrade().ok_or(Denial::Stopping)?;
        let request: Request =
            codec::decode(&request, MAX_MESSAGE_BYTES).map_err(|error| malformed(&error))?;
        let answer = match request {
            Request::Deploy(deploy) => shared.deploy(peer, *deploy).await,
            Request::Status { lease } => shared
                .services_status(peer, lease)
                .await
                .map(|status| Response::Status(Box::new(status))),
        };
        answer.map(|answer| codec::encode(&answer).into()).map_err(|denial| {
            tracing::debug!(peer = %peer.short(), %denial, "refused");
            denial.into()
        })
    }
}

impl StreamService for Streams {
    async fn open(&self, peer: AccountId, request: Bytes) -> Result<Accepted, Refusal> {
        let shared = self.0.upgrade().ok_or(Denial::Stopping)?;
        let open: Open =
            codec::decode(&request, MAX_MESSAGE_BYTES).map_err(|error| malformed(&error))?;
        let (Open::Logs { lease, .. } | Open::Forward { lease, .. } | Open::Exec { lease, .. }) =
            &open;
        let services = shared.services().ok_or(Denial::NoContainers)?;
        let Some(deployment) = services.deployment(lease) else {
            check::admit(&*shared.lease(*lease).await?, peer)?;
            let reason = "nothing was deployed under the lease: deploy its manifest first";
            return Err(Denial::NoService(reason.to_owned()).into());
        };
        if deployment.tenant != peer {
            return Err(Denial::NotYours.into());
        }
        if deployment.stage().ends() {
            return Err(Denial::Over.into());
        }
        Ok(streams::open(services, deployment, open).await?)
    }
}

impl Shared {
    /// Whether something is, or was, deployed under the lease.
    pub(crate) fn has_services(&self, lease: &LeaseId) -> bool {
        self.services().is_some_and(|services| services.deployment(lease).is_some())
    }

    async fn services_status(
        self: &Arc<Self>,
        peer: AccountId,
        lease: LeaseId,
    ) -> Result<Status, Denial> {
        if let Some(services) = self.services()
            && let Some(deployment) = services.deployment(&lease)
        {
            return match deployment.tenant == peer {
                true => Ok(deployment.status(&services.containers)),
                false => Err(Denial::NotYours),
            };
        }
        let slot = self.lease(lease).await?;
        check::admit(&slot, peer)?;
        check::plain(&slot)?;
        let (manifest, container, update_failed) = (None, None, None);
        Ok(Status { step: Step::Waiting, manifest, container, update_failed })
    }

    async fn deploy(self: &Arc<Self>, peer: AccountId, deploy: Deploy) -> Result<Response, Denial> {
        if let Some(services) = self.services()
            && let Some(deployment) = services.deployment(&deploy.lease)
        {
            return self.again(deployment, peer, deploy).await;
        }
        let slot = self.lease(deploy.lease).await?;
        check::admit(&slot, peer)?;
        check::plain(&slot)?;
        if self.stopping.is_cancelled() {
            return Err(Denial::Stopping);
        }
        let Some(services) = self.services() else {
            self.decline_granted(&slot, "this provider runs no containers");
            return Err(Denial::NoContainers);
        };
        if !self.is_ordered(&slot, &deploy).await? {
            let reason = "manifest: it is not what the lease's order committed to";
            return Err(Denial::bad(reason));
        }
        if let Err(reason) = plan::lower(&deploy, &slot.request) {
            self.decline_granted(&slot, &reason);
            return Err(Denial::BadRequest(reason));
        }
        let shared = Arc::clone(self);
        // It is done whether the caller waits or not.
        let taken = self.tracker.spawn(async move { shared.take_on(services, slot, deploy).await });
        taken.await.map_err(|panic| Denial::internal("take on services", &panic))?
    }

    /// Whether the lease's order commits to the manifest.
    async fn is_ordered(&self, slot: &Slot, deploy: &Deploy) -> Result<bool, Denial> {
        let order = self.wallet.client().order(&slot.order).await;
        let order = order.map_err(|error| Denial::ledger(&error))?.ok_or(Denial::Over)?;
        Ok(order.record.manifest == commitment(&deploy.manifest, &deploy.salt))
    }

    /// What is deployed where something was deployed under the lease before.
    async fn again(
        self: &Arc<Self>,
        deployment: Arc<Deployment>,
        peer: AccountId,
        deploy: Deploy,
    ) -> Result<Response, Denial> {
        if deployment.tenant != peer {
            return Err(Denial::NotYours);
        }
        let stage = deployment.stage();
        let wanted = deployment.wanted().filter(|_| !stage.ends()).ok_or(Denial::Over)?;
        let failed = deployment.entry().update_failed.is_some();
        let runs = stage == Stage::Running;
        if wanted == deploy && !(failed && runs) {
            if runs && let Some(slot) = self.leases.get(&deploy.lease) {
                // An order that went back to what runs, for one.
                let shared = Arc::clone(self);
                self.tracker.spawn(async move { shared.report_ready(&slot).await });
            }
            return Ok(Response::Taken);
        }
        let slot = self.lease(deploy.lease).await?;
        check::admit(&slot, peer)?;
        let _one = slot.preparing.lock().await;
        if deployment.stage() != Stage::Running || deployment.entry().update.is_some() {
            let reason = "the lease is still taking up the manifest before: deliver this one again";
            return Err(Denial::Conflict(reason.to_owned()));
        }
        if !self.is_ordered(&slot, &deploy).await? {
            let reason = "another manifest was deployed under the lease: change its order first";
            return Err(Denial::Conflict(reason.to_owned()));
        }
        let plan = plan::lower(&deploy, &slot.request).map_err(Denial::BadRequest)?;
        let before = deployment.replica().ok_or(Denial::Over)?;
        if plan.volumes != before.plan.volumes {
            let reason = "an update changes no volumes: deploy under another name, then close this";
            return Err(Denial::bad(reason));
        }
        let shared = Arc::clone(self);
        let written = self.tracker.spawn(async move {
            let change = deployment.change(&shared, |entry| {
                entry.update = Some(deploy);
                entry.update_failed = None;
            });
            change.await
        });
        written.await.map_err(|panic| Denial::internal("take an update on", &panic))??;
        Ok(Response::Taken)
    }

    async fn take_on(
        self: Arc<Self>,
        services: Arc<Services>,
        slot: Arc<Slot>,
        deploy: Deploy,
    ) -> Result<Response, Denial> {
        let one = slot.preparing.lock().await;
        if let Some(deployment) = services.deployment(&deploy.lease) {
            drop(one);
            return self.again(deployment, slot.tenant, deploy).await;
        }
        let network = Hash::of(
            "muster service network v1",
            &[slot.tenant.as_bytes(), slot.escrow.as_bytes(), deploy.manifest.group.as_bytes()],
        );
        let lease = deploy.lease;
        let entry = ServiceEntry {
            tenant: slot.tenant,
            stage: Stage::Pulling,
            deploy: Some(deploy),
            update: None,
            update_failed: None,
            network,
            replica: ReplicaEntry::default(),
            at_ms: now_ms(),
        };
        let deployment = Deployment::new(lease, entry, Some(&slot.request));
        let deployment = Arc::new(deployment.map_err(Denial::BadRequest)?);
        // On disk before it is answered.
        deployment.change(&self, |_| {}).await?;
        services.insert(Arc::clone(&deployment));
        tracing::info!(lease = %lease.short(), "services taken on");
        Drive { shared: self, services, deployment, slot: Some(Arc::clone(&slot)) }.spawn();
        Ok(Response::Taken)
    }

    fn decline_granted(self: &Arc<Self>, slot: &Slot, reason: &str) {
        if slot.phase() == Phase::Granted {
            self.decline(slot.id, reason.to_owned());
        }
    }
}
