//! Whether services are ready: every exposed TCP port takes a connection.

use super::{Services, deployment::Deployment, replica::last_words};
use crate::denial::chain;
use muster_sandbox::oci::container::{Container, State};
use std::time::Duration;

const EVERY: Duration = Duration::from_millis(50);

impl Services {
    /// Waits until all of a deployment is ready.
    ///
    /// # Errors
    /// A container ended, with how and what it said last.
    pub(super) async fn probe(&self, deployment: &Deployment) -> Result<(), String> {
        let Some(replica) = deployment.replica() else { return Ok(()) };
        let name = &replica.plan.service;
        let container = self.containers.get(&replica.plan.id);
        let container = container.map_err(|error| chain(&error))?;
        alive(name, &container).await?;
        for (port, _) in &replica.plan.ports {
            while self.connect(&replica.plan.id, *port).await.is_err() {
                alive(name, &container).await?;
                tokio::time::sleep(EVERY).await;
            }
        }
        Ok(())
    }
}

async fn alive(name: &str, container: &Container) -> Result<(), String> {
    match container.state().map_err(|error| chain(&error))? {
        State::Exited(exit) => {
            Err(format!("service {name} {}", last_words(container, &exit).await))
        }
        State::Created | State::Running => Ok(()),
    }
}
