//! What an SDL says, typed and checked.

use borsh::{BorshDeserialize, BorshSerialize};
use muster_types::{Amount, Millis};
use std::{collections::BTreeMap, fmt};

/// Services to deploy: groups that are ordered, each with the manifest of what runs there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// Whose rules it was read by.
    pub version: Version,
    /// By name. At least one.
    pub groups: Vec<Group>,
    /// A provider that wants the machine back gives at least so much notice.
    pub reclaim_window: Option<Millis>,
}

/// A version of the SDL. In 2.0 every service is a unit of its own; in 2.1 services of a group
/// that name the same compute profile share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 2.0.
    V2_0,
    /// 2.1.
    V2_1,
}

/// What is placed together, under the same requirements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The placement's name.
    pub name: String,
    /// Who may serve.
    pub requirements: Requirements,
    /// What is leased; a service names its unit by index.
    pub units: Vec<Unit>,
    /// What runs there, by name.
    pub services: Vec<Service>,
}

/// Which providers may serve a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requirements {
    /// All of these.
    pub attributes: BTreeMap<String, String>,
    /// Auditors that must each have signed for the provider, as they were written.
    pub signed_by_all: Vec<String>,
    /// At least one of these must have.
    pub signed_by_any: Vec<String>,
    /// What must run in a trusted execution environment.
    pub tee: Option<Tee>,
}

/// Equal leases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// The compute profile's name.
    pub profile: String,
    /// What each lease takes.
    pub compute: Compute,
    /// How many.
    pub count: u32,
    /// At most so much for each.
    pub price: Price,
}

/// A price as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    /// `usd` is by the hour; any other is a millionth of a token (`uakt`, `uact`), by Akash's
    /// block.
    pub denom: String,
    /// More than zero.
    pub amount: Amount,
}

/// What one replica of a service takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Compute {
    /// Thousandths of a CPU thread, at least 1.
    pub cpu_milli: u64,
    /// The CPU's architecture, where it matters.
    pub arch: Option<String>,
    /// Memory in bytes, volumes in memory aside.
    pub memory_bytes: u64,
    /// Volumes, the smallest first.
    pub volumes: Vec<Volume>,
    /// GPUs.
    pub gpus: Gpus,
}

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Volume {
    /// `default` where it has none.
    pub name: String,
    /// In bytes.
    pub bytes: u64,
    /// What it is kept on, where that was asked for.
    pub class: Option<StorageClass>,
    /// Outlives the container.
    pub persistent: bool,
}

/// What a volume is kept on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum StorageClass {
    /// Whatever the provider has.
    Default,
    /// Hard disks.
    Beta1,
    /// SSDs.
    Beta2,
    /// NVMe.
    Beta3,
    /// Memory.
    Ram,
}

/// GPUs of one kind; a count of zero asks for none.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Gpus {
    /// How many for each replica.
    pub count: u32,
    /// Any of these will do; at least one where the count is not zero.
    pub any_of: Vec<GpuKind>,
}

/// A kind of GPU. Empty and zero ask nothing of that field.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize,
)]
pub struct GpuKind {
    /// Lower case.
    pub vendor: String,
    /// Lower case.
    pub model: String,
    /// Memory of each in bytes.
    pub memory_bytes: u64,
    /// `pcie` or `sxm`.
    pub interface: String,
}

/// What a trusted execution environment covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum Tee {
    /// CPU and memory.
    Cpu,
    /// The GPU too.
    CpuGpu,
}

/// What a provider runs for a group. It never touches the ledger, only its hash does: it has
/// secrets in it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Manifest {
    /// The group's name.
    pub group: String,
    /// By name.
    pub services: Vec<Service>,
}

/// A service: replicas of one image.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Service {
    /// A DNS label.
    pub name: String,
    /// An OCI image reference.
    pub image: String,
    /// Replaces the image's entry point, unless empty.
    pub command: Vec<String>,
    /// Replaces the image's arguments, unless empty.
    pub args: Vec<String>,
    /// The environment, in the order of the text.
    pub env: Vec<Variable>,
    /// How many replicas.
    pub count: u32,
    /// The index of the group's unit that it is leased under.
    pub unit: u32,
    /// What each replica takes.
    pub compute: Compute,
    /// Ports, by the service they are for, number and protocol.
    pub expose: Vec<Expose>,
    /// Where volumes are mounted, by name.
    pub mounts: Vec<Mount>,
    /// To pull the image with.
    pub credentials: Option<Credentials>,
    /// Services of the group that start before it.
    pub dependencies: Vec<String>,
    /// What of the deployment the service itself may read.
    pub permissions: Vec<Permission>,
    /// Whether it runs in a trusted execution environment.
    pub tee: Option<Tee>,
}

/// An environment variable. Its value may be a secret and is not in its `Debug`.
#[derive(Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Variable {
    /// Not empty, without `=`.
    pub name: String,
    /// Anything.
    pub value: String,
}

/// A port of a service, for one audience.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Expose {
    /// In the container.
    pub port: u16,
    /// Outside, where it differs or was said.
    pub external: Option<u16>,
    /// The protocol.
    pub proto: Proto,
    /// For everybody.
    pub global: bool,
    /// For this service of the group; `None` where it names none.
    pub service: Option<String>,
    /// On this leased address, by its endpoint's name.
    pub ip: Option<String>,
    /// Host names that the ingress answers to.
    pub hosts: Vec<String>,
    /// What the ingress does with requests.
    pub http: HttpOptions,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum Proto {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// What the ingress does with requests.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct HttpOptions {
    /// The longest request body, in bytes.
    pub max_body_bytes: u32,
    /// For response headers, in bytes; `None` leaves it to the provider.
    pub buffer_bytes: Option<u32>,
    /// Between two reads of a response.
    pub read_timeout: Millis,
    /// Between two writes of a request.
    pub send_timeout: Millis,
    /// How often a request is tried, on other replicas.
    pub tries: u32,
    /// For all tries together; zero sets no limit.
    pub try_timeout: Millis,
    /// When it is tried again; empty never.
    pub retry_on: Vec<RetryOn>,
}

/// A reason to try another replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum RetryOn {
    /// The connection failed.
    Error,
    /// It took too long.
    Timeout,
    /// This status came back.
    Status(u16),
}

/// Where a volume is mounted.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Mount {
    /// The volume's name.
    pub volume: String,
    /// Absolute, without `..`.
    pub path: String,
    /// Whether the service may only read it.
    pub read_only: bool,
}

/// To pull an image with. The password is not in its `Debug`.
#[derive(Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Credentials {
    /// The registry.
    pub host: String,
    /// May be empty.
    pub email: String,
    /// The user.
    pub username: String,
    /// A secret.
    pub password: String,
}

/// What of its own deployment a service may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum Permission {
    /// What was deployed.
    Deployment,
    /// Logs.
    Logs,
    /// Events.
    Events,
}

impl Group {
    /// What the group's provider runs.
    #[must_use]
    pub fn manifest(&self) -> Manifest {
        Manifest { group: self.name.clone(), services: self.services.clone() }
    }

    /// Whether services of the group reach each other, so that one provider must run them all.
    #[must_use]
    pub fn is_linked(&self) -> bool {
        self.services.len() > 1
            && self.services.iter().any(|service| {
                !service.dependencies.is_empty()
                    || service.expose.iter().any(|expose| expose.service.is_some())
            })
    }
}

impl Expose {
    /// The port outside.
    #[must_use]
    pub fn external_port(&self) -> u16 {
        self.external.unwrap_or(self.port)
    }

    /// Whether it is served by the shared HTTP ingress, by host name.
    #[must_use]
    pub fn is_ingress(&self) -> bool {
        self.global && self.proto == Proto::Tcp && self.external_port() == 80
    }
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            max_body_bytes: 1 << 20,
            buffer_bytes: None,
            read_timeout: Millis::from_secs(60),
            send_timeout: Millis::from_secs(60),
            tries: 3,
            try_timeout: Millis::ZERO,
            retry_on: vec![RetryOn::Error, RetryOn::Timeout],
        }
    }
}

impl fmt::Display for Tee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "cpu",
            Self::CpuGpu => "cpu-gpu",
        })
    }
}

impl fmt::Display for StorageClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::Beta1 => "beta1",
            Self::Beta2 => "beta2",
            Self::Beta3 => "beta3",
            Self::Ram => "ram",
        })
    }
}

impl fmt::Debug for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=…", self.name)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({}@{})", self.username, self.host)
    }
}
