//! `muster forward`: a port of a service on this machine, over the peer-to-peer connection.

use super::{
    Global,
    deployment::{Reach, Target, explain},
    interrupted,
};
use crate::{
    error::{Exit, Failure},
    printer::Printer,
};
use clap::Args;
use muster_api::service::Open;
use muster_jobs::services::Services;
use serde::Serialize;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::FromStr,
};
use tokio::net::{TcpListener, TcpStream};

/// Reach a TCP port of a service from this machine; the provider needs no open port for it.
#[derive(Args)]
#[command(after_help = "Example:\n  muster forward app/web 8080:80 &\n  \
    curl http://127.0.0.1:8080/")]
pub(crate) struct Forward {
    /// Which deployment, service of it, or replica.
    #[arg(value_name = "NAME[/SERVICE[/N]]")]
    target: Target,
    /// The port here and the one in the container; port 0 here lets the system choose.
    #[arg(value_name = "[ADDRESS:]LOCAL:PORT")]
    ports: Ports,
    #[command(flatten)]
    reach: Reach,
}

/// Where to listen, and which port that leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ports {
    local: SocketAddr,
    remote: u16,
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fix = "write LOCAL:PORT, e.g. 8080:80, or ADDRESS:LOCAL:PORT";
        let (local, remote) = text.rsplit_once(':').ok_or(fix)?;
        let remote = remote.parse().ok().filter(|port| *port != 0).ok_or(fix)?;
        let loopback = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let local = local.parse().map(loopback).or_else(|_| local.parse()).map_err(|_| fix)?;
        Ok(Self { local, remote })
    }
}

#[derive(Serialize)]
struct Listening {
    address: SocketAddr,
    service: String,
    replica: usize,
    port: u16,
}

impl Forward {
    pub(crate) async fn run(self, global: &Global, printer: &Printer) -> anyhow::Result<()> {
        let services = self.target.name.open(global, &self.reach).await?;
        let replica = self.target.replica(&services).await?;
        let local = self.ports.local;
        let listener = TcpListener::bind(local).await.map_err(|error| {
            let hint = format!("muster forward … 0:{}   # takes a free port", self.ports.remote);
            Failure::error(Exit::BadInput, format!("cannot listen on {local}: {error}"), hint)
        })?;
        let listening = Listening {
            address: listener.local_addr()?,
            service: replica.service,
            replica: replica.number,
            port: self.ports.remote,
        };
        printer.data(&listening, |it| {
            format!("{} leads to port {} of {}/{}", it.address, it.port, it.service, it.replica)
        })?;
        printer.note("forwarding; Ctrl-C stops");
        let mut connections = tokio::task::JoinSet::new();
        let (this, services) = (std::sync::Arc::new(self), std::sync::Arc::new(services));
        let accept = async {
            loop {
                let (stream, _) = listener.accept().await?;
                while connections.try_join_next().is_some() {}
                let (this, services, printer) = (this.clone(), services.clone(), printer.clone());
                connections.spawn(async move {
                    if let Err(error) = this.serve(&services, stream).await {
                        printer.note(format!("a connection failed: {error:#}"));
                    }
                });
            }
        };
        tokio::select! {
            result = accept => result,
            result = interrupted() => result,
        }
    }

    /// Looks the replica up each time: it may have moved.
    async fn serve(&self, services: &Services, mut stream: TcpStream) -> anyhow::Result<()> {
        let replica = self.target.replica(services).await?;
        let open = Open::Forward {
            lease: replica.lease,
            service: replica.service.clone(),
            port: self.ports.remote,
        };
        let opened = services.stream(&replica, &open).await;
        let mut channel = opened.map_err(|error| explain(error, &self.target.name))?;
        // Either side may break off at any time.
        tokio::io::copy_bidirectional(&mut stream, &mut channel).await.ok();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_here_leads_to_one_there_and_is_on_the_loopback_unless_told_otherwise() {
        for (text, found) in [
            ("8080:80", Some(("127.0.0.1:8080", 80))),
            ("0:80", Some(("127.0.0.1:0", 80))),
            ("0.0.0.0:8080:80", Some(("0.0.0.0:8080", 80))),
            ("[::1]:8080:80", Some(("[::1]:8080", 80))),
            ("8080", None),
            ("8080:0", None),
            ("x:80", None),
            ("80:70000", None),
        ] {
            let ports = text.parse::<Ports>().ok();
            let expected =
                found.map(|(local, remote)| Ports { local: local.parse().unwrap(), remote });
            assert_eq!(ports, expected, "{text}");
        }
    }
}
