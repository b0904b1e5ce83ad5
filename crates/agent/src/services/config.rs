//! What a provider that runs containers is started with.

use crate::AgentError;
use muster_sandbox::{
    ChildProgram,
    oci::{
        container::{self, Egress, NetworkConfig, RuntimeKind},
        image::{self, RegistryConfig},
    },
};
use std::{
    net::{IpAddr, Ipv4Addr},
    ops::RangeInclusive,
    path::PathBuf,
};

/// The attribute that a provider of containers has, for orders to ask for.
pub const CONTAINERS: (&str, &str) = ("containers", "true");

/// What a provider that runs services in containers is started with.
#[derive(Clone, Debug)]
pub struct ServicesConfig {
    /// Where layers, disks, volumes and logs are kept; created where missing. Everybody must be
    /// able to pass the way to it (mode 0711 is enough), and one process at a time may use it.
    pub dir: PathBuf,
    /// The OCI runtime.
    pub runtime: RuntimeKind,
    /// Its program, if not where the system keeps it.
    pub program: Option<PathBuf>,
    /// Its global options.
    pub runtime_args: Vec<String>,
    /// A program that calls `muster_sandbox::oci::container::shim_main` with its last argument.
    pub shim: ChildProgram,
    /// What unpacked layers may take on disk, in bytes.
    pub image_bytes: u64,
    /// How large one image may be.
    pub image_limits: image::Limits,
    /// Which registries are spoken to, and how.
    pub registry: RegistryConfig,
    /// Addresses of containers, and what of the private ranges they may reach.
    pub network: NetworkConfig,
    /// Whom containers may call.
    pub egress: Egress,
    /// What the log of one container may take, in bytes.
    pub log_bytes: u64,
    /// Where ports that are for everybody are served.
    pub bind: IpAddr,
    /// The host name or address that tenants are told; `bind` where there is none.
    pub public_host: Option<String>,
    /// The ports to serve them on; `None` lets the system choose.
    pub ports: Option<RangeInclusive<u16>>,
}

impl ServicesConfig {
    /// `runc`, 20 GiB of layers, public registries, containers in 10.96.0.0/16 that call nobody,
    /// ports on the loopback that the system chooses.
    #[must_use]
    pub fn new(dir: PathBuf, shim: ChildProgram) -> Self {
        let pool = ipnet::Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 16);
        Self {
            dir,
            runtime: RuntimeKind::Runc,
            program: None,
            runtime_args: Vec::new(),
            shim,
            image_bytes: 20 << 30,
            image_limits: image::Limits::default(),
            registry: RegistryConfig::default(),
            network: NetworkConfig::new(pool),
            egress: Egress::None,
            log_bytes: 16 << 20,
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            public_host: None,
            ports: None,
        }
    }

    /// What the cell is opened with.
    pub(super) fn containers(&self) -> container::Config {
        let root = self.dir.join("containers");
        let mut config = container::Config::new(root, self.shim.clone(), self.network.clone());
        config.runtime = self.runtime;
        config.program.clone_from(&self.program);
        config.runtime_args.clone_from(&self.runtime_args);
        config.log_bytes = self.log_bytes;
        config
    }

    pub(crate) fn check(&self) -> Result<(), AgentError> {
        let refuse =
            |setting, reason: &str| Err(AgentError::Setting { setting, reason: reason.to_owned() });
        if !self.dir.is_absolute() {
            return refuse("services.dir", "write the whole path, from `/`");
        }
        if self.ports.as_ref().is_some_and(|ports| ports.is_empty() || *ports.start() == 0) {
            return refuse(
                "services.ports",
                "the first port must be 1 or more, and not the larger",
            );
        }
        Ok(())
    }
}
