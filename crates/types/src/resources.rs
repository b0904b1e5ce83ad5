use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// GPUs of one kind in a host. An unknown model is a string, never an error.
#[derive(
    Clone,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Gpu {
    /// Lower case, e.g. `nvidia`.
    pub vendor: String,
    /// Lower case, e.g. `h200`, or the name that the driver gives.
    pub model: String,
    /// Memory of one GPU in bytes.
    pub memory_bytes: u64,
    /// `pcie`, `sxm`, or empty where unknown.
    #[serde(default)]
    pub interface: String,
    /// How many.
    pub count: u32,
}

/// GPUs that an order asks for; an empty string or zero asks nothing of that field.
#[derive(
    Clone,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct GpuRequest {
    /// Lower case, or empty for any.
    pub vendor: String,
    /// Lower case, or empty for any.
    pub model: String,
    /// At least so much memory on each GPU, in bytes.
    pub memory_bytes: u64,
    /// Lower case, or empty for any.
    pub interface: String,
    /// How many; zero asks for no GPU at all.
    pub count: u32,
}

impl GpuRequest {
    /// Whether GPUs of this kind satisfy the request, count included.
    #[must_use]
    pub fn fits(&self, gpu: &Gpu) -> bool {
        let wanted = |want: &str, have: &str| want.is_empty() || want == have;
        self.count <= gpu.count
            && self.memory_bytes <= gpu.memory_bytes
            && wanted(&self.vendor, &gpu.vendor)
            && wanted(&self.model, &gpu.model)
            && wanted(&self.interface, &gpu.interface)
    }
}

/// What a host has, or what of it a lease takes.
#[derive(
    Clone,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Resources {
    /// Thousandths of a CPU thread.
    pub cpu_milli: u64,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Disk in bytes.
    pub disk_bytes: u64,
    /// Network bandwidth in bits a second.
    pub bandwidth_bps: u64,
    /// GPUs, at most one entry a (vendor, model, memory, interface).
    pub gpus: Vec<Gpu>,
}
