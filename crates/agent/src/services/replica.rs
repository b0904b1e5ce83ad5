//! One container of a lease: its image, how it is made, and made anew.

use super::{
    Services,
    deployment::{Deployment, Replica},
    drive::GRACE,
    logs,
    machine::Pulling,
    plan::VolumePlan,
};
use crate::{denial::chain, shared::Shared};
use muster_sandbox::oci::{
    container::{Container, ContainerError, ContainerSpec, Exit, ExitStatus, State, VolumeMount},
    image::{Image, ImageRecord, Progress, PullOptions, Stage as PullStage},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// What is written down of one image.
const MAX_IMAGE_RECORD_BYTES: usize = 256 << 10;

impl Services {
    /// Fetches the image that a replica is made of, and has it kept in the store from now on.
    /// Gives what is to be written down of it.
    pub(super) async fn pull(
        &self,
        deployment: &Arc<Deployment>,
        replica: &Replica,
    ) -> Result<String, String> {
        let mut options = PullOptions::new(self.ids);
        options.credentials = replica.plan.credentials.clone();
        options.limits = self.config.image_limits.clone();
        options.progress = Some(progress(deployment, replica));
        let pulled = self.store.pull(&self.registry, &replica.plan.image, &options).await;
        let image = pulled.map_err(|error| chain(&error))?;
        let record = serde_json::to_string(&image.record()).map_err(|error| error.to_string())?;
        if record.len() > MAX_IMAGE_RECORD_BYTES {
            return Err(format!("the configuration of `{}` is too large", replica.plan.image));
        }
        replica.set_image(Some(image));
        Ok(record)
    }

    /// The image of a deployment's replica: fetched where it is not there.
    pub(super) async fn image(
        &self,
        shared: &Shared,
        deployment: &Arc<Deployment>,
        replica: &Replica,
    ) -> Result<Image, String> {
        if let Some(image) = replica.image() {
            return Ok(image);
        }
        let record = self.pull(deployment, replica).await?;
        let written = deployment.change(shared, |entry| entry.replica.image = Some(record));
        written.await.map_err(|error| chain(&error))?;
        replica.image().ok_or_else(|| "the lease is over".to_owned())
    }

    /// Takes the image of before a restart, if all of it is still there.
    pub(super) fn hold(&self, replica: &Replica, record: Option<&String>) {
        let record = record.and_then(|text| serde_json::from_str::<ImageRecord>(text).ok());
        let Some(record) = record else { return };
        match self.store.hold(&record) {
            Ok(image) => replica.set_image(Some(image)),
            Err(error) => tracing::warn!(error = chain(&error), "an image must be fetched again"),
        }
    }

    /// Sees to it that a deployment's container runs, in a task that is not cut short. Returns
    /// whether it had to be made.
    pub(super) async fn ensure(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        deployment: &Arc<Deployment>,
    ) -> Result<bool, String> {
        let replica = deployment.replica().ok_or("the lease is over")?;
        let image = self.image(shared, deployment, &replica).await?;
        let (services, of) = (Arc::clone(self), Arc::clone(shared));
        let deployment = Arc::clone(deployment);
        let made = shared.tracker.spawn(async move {
            let _making = deployment.making.lock().await;
            // It may have ended while this waited.
            if deployment.stage().ends() {
                return Err("the lease is over".to_owned());
            }
            let made = services.run(&of, &deployment, &replica, &image).await;
            if matches!(made, Ok(true)) {
                deployment.made.send_modify(|made| *made = made.wrapping_add(1));
            }
            made
        });
        made.await.map_err(|panic| panic.to_string())?
    }

    async fn run(
        &self,
        shared: &Shared,
        deployment: &Deployment,
        replica: &Replica,
        image: &Image,
    ) -> Result<bool, String> {
        let wanted = deployment.commitment();
        let stale = deployment.entry().replica.made_for != wanted;
        if self.take_up(replica, stale).await.map_err(|error| chain(&error))? {
            return Ok(false);
        }
        if stale {
            // Before it is made: what is there after a crash is of this one.
            let written = deployment.change(shared, |entry| entry.replica.made_for = wanted);
            written.await.map_err(|error| chain(&error))?;
        }
        let made = async {
            let spec = self.spec(deployment, replica, image).await?;
            let container = self.containers.create(&spec).await?;
            self.introduce(&deployment.network());
            container.start().await
        };
        made.await.map_err(|error| chain(&error))?;
        Ok(true)
    }

    /// Whether the container runs already. One that has ended, or is stale, is removed.
    async fn take_up(&self, replica: &Replica, stale: bool) -> Result<bool, ContainerError> {
        let container = match self.containers.get(&replica.plan.id) {
            Err(ContainerError::Unknown { .. }) => return Ok(false),
            found => found?,
        };
        match container.state()? {
            State::Running if !stale => return Ok(true),
            State::Running => drop(container.stop(GRACE).await?),
            State::Created | State::Exited(_) => {}
        }
        logs::keep(&self.earlier_log(&replica.plan.id), &container).await;
        container.delete().await?;
        Ok(false)
    }

    async fn spec(
        &self,
        deployment: &Deployment,
        replica: &Replica,
        image: &Image,
    ) -> Result<ContainerSpec, ContainerError> {
        let plan = &replica.plan;
        let mut spec = ContainerSpec::of_image(plan.id.clone(), image, &plan.overrides)?;
        spec.lease = deployment.network().to_string();
        spec.hostname = Some(plan.service.clone());
        spec.limits = plan.limits.clone();
        spec.egress = self.config.egress.clone();
        for VolumePlan { id, bytes, target, read_only, persistent } in &plan.volumes {
            if !persistent {
                self.containers.remove_volume(id).await?;
            }
            let source = self.containers.volume(id, *bytes).await?;
            spec.volumes.push(VolumeMount {
                source,
                target: target.clone(),
                read_only: *read_only,
            });
        }
        Ok(spec)
    }
}

/// Tells the deployment how far its image is.
fn progress(
    deployment: &Arc<Deployment>,
    replica: &Replica,
) -> muster_sandbox::oci::image::ProgressFn {
    let (deployment, image) = (Arc::clone(deployment), replica.plan.image.to_string());
    let layers: Mutex<BTreeMap<usize, (u64, u64)>> = Mutex::default();
    deployment.set_pulling(Pulling { image: image.clone(), ..Pulling::default() });
    Arc::new(move |progress: &Progress| {
        let mut layers = layers.lock().unwrap_or_else(PoisonError::into_inner);
        let done = match progress.stage {
            PullStage::Downloading => progress.bytes,
            PullStage::Unpacking | PullStage::Ready { .. } => progress.total,
        };
        layers.insert(progress.index, (done, progress.total));
        let sum = |of: fn(&(u64, u64)) -> u64| layers.values().map(of).fold(0, u64::saturating_add);
        let (done_bytes, total_bytes) = (sum(|it| it.0), sum(|it| it.1));
        deployment.set_pulling(Pulling { image: image.clone(), done_bytes, total_bytes });
    })
}

/// How a container ended, for people.
pub(super) fn ended(exit: &Exit) -> String {
    let how = match &exit.status {
        ExitStatus::Code(code) => format!("ended with status {code}"),
        ExitStatus::Signal(signal) => format!("was killed by signal {signal}"),
        ExitStatus::NotStarted(reason) => format!("could not be started: {reason}"),
        ExitStatus::Lost => "ended, nobody saw how".to_owned(),
    };
    if exit.oom_killed { format!("{how}, out of memory: lease more") } else { how }
}

/// How a container ended and what it said last, for people.
pub(super) async fn last_words(container: &Container, exit: &Exit) -> String {
    let how = ended(exit);
    let said = logs::last_lines(container).await;
    if said.is_empty() { how } else { format!("{how}, saying: {said}") }
}
