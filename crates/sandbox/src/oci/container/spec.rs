//! What a caller asks of a container, in types that cannot hold the malformed.

use super::error::{ContainerError, Result};
use ipnet::Ipv4Net;
pub use oci_spec::runtime::Capability;
use serde::{Deserialize, Serialize};
use std::{fmt, path::PathBuf, str::FromStr};

/// The longest [`ContainerId`], bytes.
pub const MAX_ID_BYTES: usize = 63;
/// The most layers under one root.
pub const MAX_LAYERS: usize = 128;
/// The least memory of a container, bytes; the runtime's own start needs some of it.
pub const MIN_MEMORY_BYTES: u64 = 8 << 20;
/// The smallest ephemeral disk or volume, bytes.
pub const MIN_DISK_BYTES: u64 = 4 << 20;
/// The fewest processes of a container.
pub const MIN_PIDS: u32 = 4;
/// The most destinations on one container's allowlist.
pub const MAX_ALLOWED: usize = 64;

/// A container's or volume's name: `a-z`, `0-9` and `-`, at most [`MAX_ID_BYTES`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);

impl ContainerId {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ContainerId {
    type Err = ContainerError;

    fn from_str(text: &str) -> Result<Self> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if text.is_empty()
            || text.len() > MAX_ID_BYTES
            || text.starts_with('-')
            || !text.bytes().all(plain)
        {
            let reason = format!("{text:?}: use 1 to {MAX_ID_BYTES} of a-z, 0-9 and inner `-`");
            return Err(ContainerError::refused("id", reason));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for ContainerId {
    type Error = ContainerError;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> Self {
        id.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The host's user and group ids that stand for `0..size` inside a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// What the container's root is on the host. Not 0.
    pub base: u32,
    /// How many ids there are.
    pub size: u32,
}

impl Default for IdRange {
    fn default() -> Self {
        Self { base: 0x7000_0000, size: 1 << 16 }
    }
}

/// What a container may use. Nothing is unlimited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Thousandths of a CPU.
    pub milli_cpu: u32,
    /// Memory with page cache and tmpfs, bytes; there is no swap on top.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub pids: u32,
    /// The ephemeral disk: all that is written outside volumes, bytes.
    pub disk_bytes: u64,
    /// `/dev/shm`, bytes; counts as memory too.
    pub shm_bytes: u64,
    /// Open files of one process; never above what this process may open.
    pub open_files: u64,
    /// Traffic of the ephemeral disk and, each for itself, of volumes with a disk of their own.
    pub io: IoLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            milli_cpu: 1000,
            memory_bytes: 512 << 20,
            pids: 1024,
            disk_bytes: 1 << 30,
            shm_bytes: 64 << 20,
            open_files: 65536,
            io: IoLimits::default(),
        }
    }
}

/// Limits of a block device's traffic. On cgroup v1 they hold for reads and for direct writes;
/// what goes through the page cache is written back on nobody's account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoLimits {
    /// Bytes per second.
    pub read_bps: Option<u64>,
    /// Bytes per second.
    pub write_bps: Option<u64>,
    /// Operations per second.
    pub read_iops: Option<u64>,
    /// Operations per second.
    pub write_iops: Option<u64>,
}

/// A directory of the host inside the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeMount {
    /// An absolute path on the host, without any symbolic link, and to which no container can write
    /// on the way (not what is inside of a volume).
    pub source: PathBuf,
    /// An absolute path in the container; links of the image are resolved inside its root.
    pub target: PathBuf,
    /// Whether the container may only read.
    pub read_only: bool,
}

/// Whom a container may call. The host, private and special ranges, and other tenants' containers
/// are out of reach in each case unless [`NetworkConfig::reachable`](super::NetworkConfig) opens
/// them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Egress {
    /// Nobody but containers of the same lease.
    #[default]
    None,
    /// These, and the configured name servers.
    Allow(Vec<Destination>),
    /// Every public address.
    Open,
}

/// Where an allowlist lets packets go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// The addresses.
    pub net: Ipv4Net,
    /// TCP or UDP; both if absent.
    pub protocol: Option<Protocol>,
    /// The port; any if absent.
    pub port: Option<u16>,
}

/// A transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A container to be made. Build on [`ContainerSpec::new`].
#[derive(Clone, PartialEq, Eq)]
pub struct ContainerSpec {
    /// Its name, unique under one root.
    pub id: ContainerId,
    /// Containers with the same lease may talk to each other.
    pub lease: String,
    /// Unpacked layers, bottom to top, owned by the configured [`IdRange`].
    pub layers: Vec<PathBuf>,
    /// The program, looked for in its `PATH`, and its arguments.
    pub args: Vec<String>,
    /// The environment, in order; may hold secrets.
    pub env: Vec<(String, String)>,
    /// As in an image's configuration: empty (root of its own ids), `uid`, `uid:gid`, `name` or
    /// `name:group`.
    pub user: String,
    /// An absolute path.
    pub working_dir: PathBuf,
    /// Defaults to the id.
    pub hostname: Option<String>,
    /// What it may use.
    pub limits: Limits,
    /// Whether its root cannot be written to.
    pub read_only_root: bool,
    /// Directories of the host.
    pub volumes: Vec<VolumeMount>,
    /// Whom it may call.
    pub egress: Egress,
    /// Asked for; each must be allowed by the configuration.
    pub capabilities: Vec<Capability>,
    /// Devices by their CDI name, such as `nvidia.com/gpu=0`.
    pub devices: Vec<String>,
    /// What asks it to end, 1 to 64; 15 (SIGTERM) by default.
    pub stop_signal: i32,
}

impl ContainerSpec {
    /// A container with defaults: no capabilities, no egress, root of its own ids.
    #[must_use]
    pub fn new(id: ContainerId, layers: Vec<PathBuf>, args: Vec<String>) -> Self {
        Self {
            lease: id.to_string(),
            id,
            layers,
            args,
            env: Vec::new(),
            user: String::new(),
            working_dir: PathBuf::from("/"),
            hostname: None,
            limits: Limits::default(),
            read_only_root: false,
            volumes: Vec::new(),
            egress: Egress::None,
            capabilities: Vec::new(),
            devices: Vec::new(),
            stop_signal: 15,
        }
    }

    /// Whether every field is well formed. What the machine has to say comes later.
    pub(super) fn check(&self) -> Result<()> {
        let refuse = |field, reason: &str| Err(ContainerError::refused(field, reason));
        if self.layers.is_empty() || self.layers.len() > MAX_LAYERS {
            return refuse("layers", &format!("1 to {MAX_LAYERS} layers are needed"));
        }
        if self.args.first().is_none_or(String::is_empty) {
            return refuse("args", "no program is named; the image has no command, so give one");
        }
        let strings =
            self.args.iter().chain(self.env.iter().flat_map(|(name, value)| [name, value]));
        if strings.chain([&self.user]).any(|text| text.contains('\0')) {
            return refuse("args", "a zero byte in an argument, the environment or the user");
        }
        if self.env.iter().any(|(name, _)| name.is_empty() || name.contains('=')) {
            return refuse("env", "a name is empty or holds `=`");
        }
        if !self.working_dir.is_absolute() {
            return refuse("working_dir", "the path must start with `/`");
        }
        let host_byte = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
        if self
            .hostname
            .as_ref()
            .is_some_and(|name| name.is_empty() || name.len() > 63 || !name.bytes().all(host_byte))
        {
            return refuse("hostname", "use 1 to 63 letters, digits, `-` and `.`");
        }
        if !(1..=64).contains(&self.stop_signal) {
            return refuse("stop_signal", "signals are 1 to 64");
        }
        self.check_volumes()?;
        self.check_limits()
    }

    fn check_volumes(&self) -> Result<()> {
        for volume in &self.volumes {
            let target = &volume.target;
            let within = |dir: &str| target.starts_with(dir);
            let dotted = target.components().any(|part| part == std::path::Component::ParentDir);
            if !target.is_absolute() || dotted || target.parent().is_none() {
                let reason = format!("{}: not an absolute path without `..`", target.display());
                return Err(ContainerError::refused("volumes.target", reason));
            }
            if ["/proc", "/sys", "/dev"].into_iter().any(within) {
                let reason = format!("{}: /proc, /sys and /dev are ours", target.display());
                return Err(ContainerError::refused("volumes.target", reason));
            }
        }
        if let Egress::Allow(list) = &self.egress
            && list.len() > MAX_ALLOWED
        {
            let reason = format!("{} destinations; at most {MAX_ALLOWED}", list.len());
            return Err(ContainerError::refused("egress", reason));
        }
        Ok(())
    }

    fn check_limits(&self) -> Result<()> {
        let limits = &self.limits;
        let least: [(&'static str, u64, u64); 6] = [
            ("limits.milli_cpu", limits.milli_cpu.into(), 10),
            ("limits.memory_bytes", limits.memory_bytes, MIN_MEMORY_BYTES),
            ("limits.pids", limits.pids.into(), MIN_PIDS.into()),
            ("limits.disk_bytes", limits.disk_bytes, MIN_DISK_BYTES),
            ("limits.shm_bytes", limits.shm_bytes, 4096),
            ("limits.open_files", limits.open_files, 16),
        ];
        for (field, value, least) in least {
            if value < least || i64::try_from(value).is_err() {
                let reason = format!("{value} is not in {least}..={}", i64::MAX);
                return Err(ContainerError::refused(field, reason));
            }
        }
        Ok(())
    }
}

impl fmt::Debug for ContainerSpec {
    /// Without arguments and environment, which may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContainerSpec")
            .field("id", &self.id)
            .field("lease", &self.lease)
            .field("user", &self.user)
            .field("limits", &self.limits)
            .field("volumes", &self.volumes)
            .field("egress", &self.egress)
            .field("capabilities", &self.capabilities)
            .field("devices", &self.devices)
            .finish_non_exhaustive()
    }
}
