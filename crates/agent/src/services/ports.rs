//! Ports that are for everybody: a listener of ours for each, that leads into the container.

use super::{Services, deployment::Deployment};
use crate::{denial::chain, shared::Shared};
use muster_sandbox::oci::container::ContainerId;
use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

/// Connections to one port at once.
const MAX_CONNECTIONS: usize = 1_024;
/// Longest wait for a container to take one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

impl Services {
    /// Serves the ports of a deployment that are not served yet, where they were before if that
    /// is possible.
    ///
    /// # Errors
    /// No port is free.
    pub(super) async fn listen(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        deployment: &Arc<Deployment>,
    ) -> Result<(), String> {
        let Some(replica) = deployment.replica() else { return Ok(()) };
        let before = deployment.entry().replica.ports;
        let wanted = replica.plan.ports.iter().filter(|(_, global)| *global);
        for &(port, _) in wanted.filter(|(port, _)| !deployment.is_served(*port)) {
            let known = before.iter().find(|(known, _)| *known == port).map(|(_, host)| *host);
            let listener = self.bind(known).await.map_err(|error| {
                let bind = self.config.bind;
                format!("no port of {bind} can be served: {error}; the provider must name more")
            })?;
            let at = listener.local_addr().map_err(|error| error.to_string())?;
            if known != Some(at.port()) {
                let written = deployment.change(shared, |entry| {
                    entry.replica.ports.retain(|(known, _)| *known != port);
                    entry.replica.ports.push((port, at.port()));
                });
                written.await.map_err(|error| chain(&error))?;
            }
            let until = deployment.serve(port, self.told(at));
            let proxy = Arc::clone(self).proxy(replica.plan.id.clone(), port, listener);
            let (ended, over) = (shared.ended.clone(), deployment.ended.clone());
            shared.tracker.spawn(async move {
                tokio::select! {
                    () = ended.cancelled() => {}
                    () = over.cancelled() => {}
                    () = until.cancelled() => {}
                    () = proxy => {}
                }
            });
        }
        Ok(())
    }

    async fn bind(&self, known: Option<u16>) -> io::Result<TcpListener> {
        let any = self.config.ports.clone().unwrap_or(0..=0);
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for port in known.into_iter().chain(any) {
            match TcpListener::bind((self.config.bind, port)).await {
                Ok(listener) => return Ok(listener),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// What tenants are told.
    fn told(&self, at: SocketAddr) -> String {
        match &self.config.public_host {
            Some(host) => format!("{host}:{}", at.port()),
            None => at.to_string(),
        }
    }

    async fn proxy(self: Arc<Self>, id: ContainerId, port: u16, listener: TcpListener) {
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        // Dropped with it, they end with the listener.
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let Ok(turn) = Arc::clone(&room).acquire_owned().await else { return };
            let mut client = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((client, _)) => client,
                    Err(error) => {
                        // No descriptors, for one: what is open must end first.
                        tracing::warn!(error = chain(&error), port, "no connection");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
                Some(_) = connections.join_next() => continue,
            };
            let (services, id) = (Arc::clone(&self), id.clone());
            connections.spawn(async move {
                let _turn = turn;
                if let Ok(mut server) = services.connect(&id, port).await {
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                }
            });
        }
    }

    /// A connection to a port of a container.
    pub(super) async fn connect(&self, id: &ContainerId, port: u16) -> io::Result<TcpStream> {
        let container = self.containers.get(id).map_err(io::Error::other)?;
        let address: Ipv4Addr = container.address().map_err(io::Error::other)?;
        let to = SocketAddr::new(IpAddr::V4(address), port);
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(to)).await??;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}
