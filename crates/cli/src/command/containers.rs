//! What a provider of services in containers is started with.

use crate::error::{Exit, Failure};
use clap::{Args, ValueEnum};
use ipnet::Ipv4Net;
use muster_agent::ServicesConfig;
use muster_sandbox::{
    ChildProgram,
    oci::container::{Egress, NetworkConfig, RuntimeKind},
};
use muster_types::AccountId;
use std::{net::IpAddr, ops::RangeInclusive, path::PathBuf};

/// Where layers and disks are kept unless told otherwise: every user may pass there.
const DIR: &str = "/var/lib/muster";
/// What is called, and the packages that have it.
const TOOLS: [(&str, &str); 3] =
    [("ip", "iproute2"), ("nft", "nftables"), ("nsenter", "util-linux")];

/// Services in containers: what runs them, and what they may reach.
#[derive(Args, Clone)]
#[command(next_help_heading = "Containers")]
pub(crate) struct ContainerArgs {
    /// Run services in containers, too. Takes root, and runc or runsc.
    #[arg(long)]
    pub(crate) containers: bool,
    /// Whom containers may call: nobody, or every public address.
    #[arg(long, value_name = "EGRESS", default_value = "none", requires = "containers")]
    container_egress: EgressKind,
    /// What runs containers.
    #[arg(long, value_name = "RUNTIME", default_value = "runc", requires = "containers")]
    container_runtime: Runtime,
    /// Where images and disks are kept; every user must be able to pass there
    /// [default: /var/lib/muster/ACCOUNT].
    #[arg(long, value_name = "DIR", requires = "containers")]
    container_dir: Option<PathBuf>,
    /// A registry at a private address that images may come from; one on the loopback is spoken to
    /// by plain HTTP. May be given several times.
    #[arg(long, value_name = "HOST:PORT", requires = "containers")]
    container_registry: Vec<String>,
    /// Private addresses for containers, of no other network of this machine, at most a /16; the
    /// providers of `muster dev` have one each, counted up from it.
    #[arg(long, value_name = "CIDR", default_value = "10.96.0.0/16", requires = "containers")]
    container_pool: Ipv4Net,
    /// Where exposed ports are served.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1", requires = "containers")]
    container_bind: IpAddr,
    /// What tenants are told to reach these ports at [default: the address].
    #[arg(long, value_name = "NAME", requires = "containers")]
    container_host: Option<String>,
    /// The ports to serve them on, e.g. `30000-30999` [default: the system chooses].
    #[arg(long, value_name = "FIRST-LAST", requires = "containers", value_parser = ports)]
    container_ports: Option<RangeInclusive<u16>>,
}

#[derive(Clone, Copy, ValueEnum)]
enum EgressKind {
    /// Nobody but containers of the same lease.
    None,
    /// Every public address.
    Open,
}

#[derive(Clone, Copy, ValueEnum)]
enum Runtime {
    /// runc: processes of this kernel, confined.
    Runc,
    /// runsc (gVisor): a kernel of their own.
    Runsc,
}

fn ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let range = text.split_once('-').and_then(|(first, last)| {
        let (first, last) = (first.parse::<u16>().ok()?, last.parse().ok()?);
        (first > 0 && first <= last).then_some(first..=last)
    });
    range.ok_or_else(|| "write FIRST-LAST, e.g. 30000-30999".to_owned())
}

impl ContainerArgs {
    /// The settings of provider `index` of this process; `None` where it runs no containers.
    pub(crate) fn config(
        &self,
        provider: &AccountId,
        index: usize,
    ) -> anyhow::Result<Option<ServicesConfig>> {
        if !self.containers {
            return Ok(None);
        }
        let own = provider.to_string();
        let dir = match &self.container_dir {
            Some(dir) => std::path::absolute(dir)?.join(&own[..16]),
            None => PathBuf::from(DIR).join(&own[..16]),
        };
        let program = std::env::current_exe()?;
        let shim = ChildProgram { program, args: vec!["container-shim".into()] };
        let mut config = ServicesConfig::new(dir, shim);
        config.runtime = match self.container_runtime {
            Runtime::Runc => RuntimeKind::Runc,
            Runtime::Runsc => RuntimeKind::Runsc,
        };
        config.egress = match self.container_egress {
            EgressKind::None => Egress::None,
            EgressKind::Open => Egress::Open,
        };
        config.registry.trusted.extend(self.container_registry.iter().cloned());
        config.network = NetworkConfig::new(self.pool(index)?);
        config.bind = self.container_bind;
        config.public_host.clone_from(&self.container_host);
        config.ports.clone_from(&self.container_ports);
        self.check()?;
        Ok(Some(config))
    }

    fn pool(&self, index: usize) -> anyhow::Result<Ipv4Net> {
        let first = self.container_pool.trunc();
        let size = 32u32
            .checked_sub(u32::from(first.prefix_len()))
            .and_then(|bits| 1u32.checked_shl(bits));
        let address = u32::try_from(index)
            .ok()
            .and_then(|index| size?.checked_mul(index))
            .and_then(|beyond| u32::from(first.addr()).checked_add(beyond));
        let net = address.and_then(|address| Ipv4Net::new(address.into(), first.prefix_len()).ok());
        net.filter(|_| first.prefix_len() >= 16).ok_or_else(|| {
            let message = format!("{first} is no pool for containers: at most a /16 each");
            Failure::error(Exit::BadInput, message, "--container-pool 10.96.0.0/16")
        })
    }

    /// Says what is missing on this machine before anything is registered.
    fn check(&self) -> anyhow::Result<()> {
        let missing = |message: &str, hint: &str| {
            Err(Failure::error(
                Exit::BadInput,
                format!("containers cannot run here: {message}"),
                hint,
            ))
        };
        if !rustix::process::geteuid().is_root() {
            return missing("they take root", "sudo muster provider run --containers …");
        }
        let has = |program| muster_sandbox::oci::container::find_program(program).is_some();
        let runtime = match self.container_runtime {
            Runtime::Runc => "runc",
            Runtime::Runsc => "runsc",
        };
        if !has(runtime) {
            let hint = match self.container_runtime {
                Runtime::Runc => "apt install runc",
                Runtime::Runsc => {
                    "https://gvisor.dev/docs/user_guide/install   # or leave out --container-runtime"
                }
            };
            return missing(&format!("{runtime} is not installed"), hint);
        }
        for (program, package) in TOOLS {
            if !has(program) {
                let hint = format!("apt install {package}");
                return missing(&format!("{program} is not installed"), &hint);
            }
        }
        Ok(())
    }
}
