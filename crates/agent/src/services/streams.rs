//! Streams of a tenant: logs, connections and commands, each to a container of its own lease.

use super::{Services, deployment::Deployment, exec, logs::Lines};
use crate::denial::{Denial, chain};
use bytes::Bytes;
use muster_api::service::{Open, write_frame};
use muster_fabric::{Accepted, Channel};
use muster_sandbox::oci::container::{ContainerId, ExecSpec};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Accepts what may be opened. Whoever asks is the tenant.
pub(super) async fn open(
    services: Arc<Services>,
    deployment: Arc<Deployment>,
    open: Open,
) -> Result<Accepted, Denial> {
    let (Open::Logs { service, .. } | Open::Forward { service, .. } | Open::Exec { service, .. }) =
        &open;
    let found = deployment.replica().filter(|replica| replica.plan.service == *service);
    let replica = found.ok_or_else(|| {
        let short: String = service.chars().take(63).collect();
        Denial::NoService(format!("the lease has no service {short:?}: check its name"))
    })?;
    let id = replica.plan.id.clone();
    match open {
        Open::Logs { since_ms, tail, follow, .. } => {
            Ok(Accepted::new(Bytes::new(), move |channel| {
                logs(services, deployment, id, since_ms, tail, follow, channel)
            }))
        }
        Open::Forward { port, service, .. } => {
            let server = services.connect(&id, port).await.map_err(|error| {
                Denial::NoService(format!("port {port} of {service} takes no connection: {error}"))
            })?;
            let ended = deployment.ended.clone();
            Ok(Accepted::new(Bytes::new(), move |mut channel| async move {
                let mut server = server;
                let copy = tokio::io::copy_bidirectional(&mut channel, &mut server);
                let _ = ended.run_until_cancelled(copy).await;
            }))
        }
        Open::Exec { args, terminal, service, .. } => {
            let spec = ExecSpec { args, terminal, ..ExecSpec::default() };
            let started = async { services.containers.get(&id)?.exec(&spec).await };
            let exec = started.await.map_err(|error| {
                Denial::NoService(format!("no command runs in {service}: {}", chain(&error)))
            })?;
            Ok(Accepted::new(Bytes::new(), move |channel| exec::run(exec, channel)))
        }
    }
}

async fn logs(
    services: Arc<Services>,
    deployment: Arc<Deployment>,
    id: ContainerId,
    since_ms: Option<u64>,
    tail: Option<u32>,
    follow: bool,
    channel: Channel,
) {
    let (mut recv, mut send) = tokio::io::split(channel);
    let copy = async {
        let mut lines = Lines::open(&services, &deployment, id, since_ms, tail, follow).await;
        while let Some(line) = lines.next().await {
            write_frame(&mut send, &line).await?;
        }
        send.shutdown().await
    };
    let mut byte = [0];
    tokio::select! {
        _ = copy => {}
        // Whoever follows and says no more still listens; an error is somebody gone.
        () = async {
            if recv.read(&mut byte).await.is_ok() {
                std::future::pending::<()>().await;
            }
        } => {}
        () = deployment.ended.cancelled() => {}
    }
    let _ = send.shutdown().await;
}
