//! Taking a lease's services through their stages (see [`super::machine`]).

use super::{
    Services,
    deployment::{Deployment, Replica},
    machine::{Event, Stage},
    plan,
    replica::ended,
};
use crate::{
    AgentError,
    backoff::Backoff,
    denial::{Denial, chain},
    journal::ReplicaEntry,
    lease::{Phase, Slot},
    shared::Shared,
};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a container may take to end when it is asked to.
pub(super) const GRACE: Duration = Duration::from_secs(10);
/// The shortest wait before a container is made anew.
const RESTART_FIRST: Duration = Duration::from_millis(500);
/// The longest.
const RESTART_LONGEST: Duration = Duration::from_mins(1);
/// A container that ran for so long is well: its next end is its first again.
const WELL_AFTER: Duration = Duration::from_mins(1);
/// How often what failed for reasons of ours is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// One deployment on its way.
#[derive(Clone)]
pub(super) struct Drive {
    pub(super) shared: Arc<Shared>,
    pub(super) services: Arc<Services>,
    pub(super) deployment: Arc<Deployment>,
    /// `None` where the lease is settled.
    pub(super) slot: Option<Arc<Slot>>,
}

impl Drive {
    /// Drives in a task of its own, until nothing is left to do or the provider ends.
    pub(super) fn spawn(self) {
        let shared = Arc::clone(&self.shared);
        let ended = shared.ended.clone();
        shared.tracker.spawn(async move { ended.run_until_cancelled_owned(self.run()).await });
    }

    async fn run(self) {
        let lease = self.deployment.lease;
        let limit = self.limit().await;
        while !self.deployment.is_over() {
            let stage = self.deployment.stage();
            let event = self.act(&stage, limit).await;
            let failed = match (&stage, &event) {
                (Stage::Updating, Event::Broken(reason)) => Some(reason.clone()),
                _ => None,
            };
            if let Some(reason) = &failed {
                tracing::info!(lease = %lease.short(), reason, "an update is given up");
            }
            let next = stage.next(event);
            if next != stage {
                tracing::info!(lease = %lease.short(), from = stage.name(), to = next.name(), "services");
            }
            if let Stage::Failed { step, reason } = &next {
                tracing::info!(lease = %lease.short(), step, reason, "services failed");
            }
            let (removed, updated) = (stage.ends(), stage == Stage::Updating);
            let written = self.deployment.change(&self.shared, |entry| {
                entry.stage = next;
                if updated {
                    entry.update = None;
                    entry.update_failed = failed;
                }
                if removed {
                    (entry.deploy, entry.update) = (None, None);
                    entry.replica = ReplicaEntry::default();
                }
            });
            if let Err(error) = written.await {
                self.shared.fail(AgentError::Journal(error));
                return;
            }
        }
    }

    /// Until when it must be up: three quarters of what the ledger gives, so that there is time to
    /// decline. No end where the lease is live already, and it is brought up once more.
    async fn limit(&self) -> Option<Instant> {
        let slot = self.slot.as_ref()?;
        while self.deployment.stage().comes_up() && slot.phase() == Phase::Granted {
            match self.shared.wallet.client().status().await {
                Ok(status) => {
                    let patience = status.params.ready_timeout_ms.0 / 4 * 3;
                    let left = patience.saturating_sub(status.now.since(slot.granted_at).0);
                    return Some(Instant::now() + Duration::from_millis(left));
                }
                Err(error) => tracing::warn!(error = chain(&error), "no answer"),
            }
            tokio::time::sleep(AGAIN).await;
        }
        None
    }

    /// Does what a stage does.
    async fn act(&self, stage: &Stage, limit: Option<Instant>) -> Event {
        let over = match &self.slot {
            Some(slot) => slot.over.clone(),
            None => {
                let over = CancellationToken::new();
                over.cancel();
                over
            }
        };
        let done = async {
            match stage {
                Stage::Pulling => self.pull().await,
                Stage::Starting => self.start().await,
                Stage::Probing => self.probe().await,
                Stage::Running => self.serve().await,
                Stage::Updating => self.update().await,
                Stage::Failed { .. } | Stage::Closing | Stage::Closed => Ok(()),
            }
        };
        if stage.ends() {
            self.end(stage).await;
            return Event::Done;
        }
        let expired = async {
            match limit.filter(|_| stage.comes_up()) {
                Some(limit) => tokio::time::sleep_until(limit).await,
                None => std::future::pending().await,
            }
        };
        let delivered = async {
            match stage {
                Stage::Running => self.deployment.delivered().await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = over.cancelled() => Event::Over,
            () = expired => Event::Expired,
            () = delivered => Event::Update,
            done = done => match done {
                Ok(()) => Event::Done,
                Err(reason) => Event::Broken(reason),
            },
        }
    }

    async fn pull(&self) -> Result<(), String> {
        let Some(replica) = self.deployment.replica() else { return Ok(()) };
        self.services.image(&self.shared, &self.deployment, &replica).await.map(drop)
    }

    async fn start(&self) -> Result<(), String> {
        let Some(replica) = self.deployment.replica() else { return Ok(()) };
        let made = self.services.ensure(&self.shared, &self.deployment).await;
        made.map_err(|reason| format!("service {}: {reason}", replica.plan.service))?;
        self.services.listen(&self.shared, &self.deployment).await
    }

    async fn probe(&self) -> Result<(), String> {
        // After a restart of ours: what was served is served again.
        self.services.listen(&self.shared, &self.deployment).await?;
        self.services.probe(&self.deployment).await?;
        self.report().await
    }

    /// Tells the ledger that it serves, until that is heard.
    async fn report(&self) -> Result<(), String> {
        let Some(slot) = &self.slot else { return Ok(()) };
        slot.set_serving();
        loop {
            match self.shared.report_ready(slot).await {
                Ok(()) => return Ok(()),
                Err(Denial::Over) => return Err("the lease is over".to_owned()),
                Err(denial) => tracing::warn!(%denial, "the ledger was not told"),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Takes up the manifest that was delivered. What served goes on until the new image is there;
    /// who watches over it does not.
    async fn update(&self) -> Result<(), String> {
        if let (Some(deploy), Some(slot)) = (self.deployment.entry().update, &self.slot) {
            let replica = Arc::new(Replica::new(plan::lower(&deploy, &slot.request)?));
            let record = self.services.pull(&self.deployment, &replica).await?;
            let written = self.deployment.change(&self.shared, |entry| {
                entry.deploy = entry.update.take();
                entry.replica.image = Some(record);
                (entry.replica.restarts, entry.replica.last_exit) = (0, None);
            });
            written.await.map_err(|error| chain(&error))?;
            self.deployment.set_replica(replica);
        }
        self.start().await?;
        self.probe().await
    }

    /// Keeps the container running, for ever.
    async fn serve(&self) -> Result<(), String> {
        if let Some(slot) = &self.slot {
            slot.set_serving();
        }
        let listen = async {
            while let Err(reason) = self.services.listen(&self.shared, &self.deployment).await {
                tracing::warn!(reason, "a port is not served");
                tokio::time::sleep(RESTART_LONGEST).await;
            }
        };
        tokio::join!(listen, self.keep());
        std::future::pending().await
    }

    /// Makes the container anew when it ends, ever later.
    async fn keep(&self) {
        let Some(replica) = self.deployment.replica() else { return };
        let mut backoff = Backoff::new(RESTART_FIRST, RESTART_LONGEST);
        loop {
            match self.services.ensure(&self.shared, &self.deployment).await {
                Ok(true) => self.note(true, None).await,
                Ok(false) => {}
                Err(reason) => {
                    self.note(false, Some(reason)).await;
                    tokio::time::sleep(backoff.next()).await;
                    continue;
                }
            }
            let since = Instant::now();
            let exit = match self.services.containers.get(&replica.plan.id) {
                Ok(container) => container.wait().await,
                Err(error) => Err(error),
            };
            let how = exit.map_or_else(|error| chain(&error), |exit| ended(&exit));
            tracing::info!(
                lease = %self.deployment.lease.short(), service = replica.plan.service, how,
                "a container ended"
            );
            self.note(false, Some(how)).await;
            if since.elapsed() >= WELL_AFTER {
                backoff.reset();
            }
            tokio::time::sleep(backoff.next()).await;
        }
    }

    /// Writes down that a container was made anew, or how it ended.
    async fn note(&self, made: bool, exit: Option<String>) {
        let written = self.deployment.change(&self.shared, |entry| {
            let replica = &mut entry.replica;
            replica.restarts = replica.restarts.saturating_add(u32::from(made));
            replica.last_exit = exit.or(replica.last_exit.take());
        });
        if let Err(error) = written.await {
            tracing::warn!(error = chain(&error), "a container's end was not written down");
        }
    }

    /// Removes everything, and declines the lease of what failed.
    async fn end(&self, stage: &Stage) {
        self.deployment.ended.cancel();
        let failed = matches!(stage, Stage::Failed { .. });
        if let (Stage::Failed { reason, .. }, Some(slot)) = (stage, &self.slot)
            && slot.phase() == Phase::Granted
        {
            self.shared.decline(slot.id, reason.clone());
        }
        let grace = if failed { Duration::ZERO } else { GRACE };
        while let Err(error) = self.services.remove(&self.deployment, grace).await {
            tracing::warn!(
                lease = %self.deployment.lease.short(), error = chain(&error), "not removed yet"
            );
            tokio::time::sleep(AGAIN).await;
        }
    }
}
