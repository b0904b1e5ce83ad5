//! What an order asks of the market and what a host offers to it.

use borsh::{BorshDeserialize, BorshSerialize};
use muster_types::{AccountId, Amount, Gpu, GpuRequest, HostId, Millis, Rate, Resources};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Bytes in a GiB: memory and disk are priced by it.
pub const GIB: u64 = 1 << 30;

/// The most leases that one order may ask for.
pub const MAX_COUNT: u32 = 10_000;

/// The most regions, or attributes, of one order.
const MAX_FACTS: usize = 64;
/// The most accounts in an order's `providers`, or `exclude`.
const MAX_ACCOUNTS: usize = 256;
/// The longest region, attribute key, or GPU name, in bytes.
const MAX_NAME: usize = 64;
/// The longest attribute value, in bytes.
const MAX_VALUE: usize = 256;

/// What one lease takes of a host.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Request {
    /// Thousandths of a CPU thread.
    pub cpu_milli: u64,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Disk in bytes.
    pub disk_bytes: u64,
    /// Network bandwidth in bits a second.
    pub bandwidth_bps: u64,
    /// GPUs; a count of zero asks for none.
    pub gpu: GpuRequest,
}

/// How far the leases of one order must be apart. Zero sets no limit.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Spread {
    /// At most so many leases on one provider.
    pub per_provider: u32,
    /// At most so many leases on one host.
    pub per_host: u32,
    /// At most so many leases in one region.
    pub per_region: u32,
}

/// An order's terms: what to lease, how many, under which hard constraints, at which price.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Terms {
    /// What each lease takes.
    pub request: Request,
    /// How many leases.
    pub count: u32,
    /// All leases or none.
    pub gang: bool,
    /// How far apart they must be.
    pub spread: Spread,
    /// Hosts in one of these regions; empty allows every region.
    pub regions: Vec<String>,
    /// Hosts with all of these attributes.
    pub attributes: BTreeMap<String, String>,
    /// Only these providers; empty allows every provider.
    pub providers: Vec<AccountId>,
    /// None of these providers.
    pub exclude: Vec<AccountId>,
    /// At least so much bond that no other lease has pledged, beside this lease's own pledge.
    pub min_bond: Amount,
    /// At most this risk premium, in hundredths of a per cent; zero sets no limit.
    pub max_risk_bps: u32,
    /// At most this price for each lease.
    pub max_rate: Rate,
    /// Offers that stand at least so much longer.
    pub min_duration: Millis,
}

/// What a host charges, by the resource. A lease's rate is the sum, each part rounded up.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Prices {
    /// For one CPU thread, per hour.
    pub cpu: Rate,
    /// For one GiB of memory, per hour.
    pub memory_gib: Rate,
    /// For one GiB of disk, per hour.
    pub disk_gib: Rate,
    /// For one GPU, per hour.
    pub gpu: Rate,
}

/// A host as the market sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostView {
    /// Which host.
    pub id: HostId,
    /// Where it stands, e.g. `eu-central`.
    pub region: String,
    /// Its provider's attributes and its own.
    pub attributes: BTreeMap<String, String>,
    /// What is not leased.
    pub free: Resources,
    /// What it charges.
    pub prices: Prices,
    /// The part of its provider's bond that nothing has pledged.
    pub bond_free: Amount,
    /// Its provider's risk premium, in hundredths of a per cent.
    pub risk_bps: u32,
    /// Until when the offer stands.
    pub offered_until: Millis,
}

impl Prices {
    /// The rate of a lease that takes `request`: the sum of its parts (CPU by the thread, memory
    /// and disk by the GiB, GPUs by the piece; bandwidth is free), each part rounded up to a
    /// nano-unit. `None` where it is too large to be written.
    #[must_use]
    pub fn rate_for(&self, request: &Request) -> Option<Rate> {
        let cpu = part_ceil(self.cpu, request.cpu_milli, 1000)?;
        let memory = part_ceil(self.memory_gib, request.memory_bytes, GIB)?;
        let disk = part_ceil(self.disk_gib, request.disk_bytes, GIB)?;
        let gpu = part_ceil(self.gpu, u64::from(request.gpu.count), 1)?;
        cpu.checked_add(memory)?.checked_add(disk)?.checked_add(gpu)
    }
}

/// `ceil(price x units / per)`; `None` on overflow or where `per` is zero.
///
/// With `price = q x per + r` that is `q x units + ceil(r x units / per)`: the second product
/// stays below 2^128, so only a result that cannot be written overflows.
pub(crate) fn part_ceil(price: Rate, units: u64, per: u64) -> Option<Rate> {
    let nanos = price.amount_per_hour().nanos();
    let (units, per) = (u128::from(units), u128::from(per));
    let whole = nanos.checked_div(per)?.checked_mul(units)?;
    let rest = nanos.checked_rem(per)?.checked_mul(units)?.div_ceil(per);
    Some(Rate::per_hour(Amount::from_nanos(whole.checked_add(rest)?)))
}

impl Request {
    /// What a lease would take of `free`, exactly: the request with its GPUs tied to one kind.
    /// `None` where it does not fit.
    ///
    /// All GPUs of a lease are of one kind; of several kinds that fit, the one with the least
    /// memory is taken, then the first by name. Keep what this returns: giving it back with
    /// [`crate::capacity::checked_sub`] undoes exactly this.
    #[must_use]
    pub fn allot(&self, free: &Resources) -> Option<Resources> {
        let plain = self.cpu_milli <= free.cpu_milli
            && self.memory_bytes <= free.memory_bytes
            && self.disk_bytes <= free.disk_bytes
            && self.bandwidth_bps <= free.bandwidth_bps;
        if !plain {
            return None;
        }
        let mut gpus = Vec::new();
        if self.gpu.count > 0 {
            let gpu =
                free.gpus.iter().filter(|gpu| self.gpu.fits(gpu)).min_by_key(|gpu| {
                    (gpu.memory_bytes, &gpu.vendor, &gpu.model, &gpu.interface)
                })?;
            gpus.push(Gpu { count: self.gpu.count, ..gpu.clone() });
        }
        Some(Resources {
            cpu_milli: self.cpu_milli,
            memory_bytes: self.memory_bytes,
            disk_bytes: self.disk_bytes,
            bandwidth_bps: self.bandwidth_bps,
            gpus,
        })
    }

    /// Whether a lease of this fits into `free`.
    #[must_use]
    pub fn fits(&self, free: &Resources) -> bool {
        self.allot(free).is_some()
    }

    /// Whether nothing is asked for at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cpu_milli == 0
            && self.memory_bytes == 0
            && self.disk_bytes == 0
            && self.bandwidth_bps == 0
            && self.gpu.count == 0
    }
}

impl Terms {
    /// Checks the limits that keep an order's cost bounded and its meaning clear: 1 to
    /// [`MAX_COUNT`] leases of something; at most 64 regions and 64 attributes; at most 256
    /// providers allowed and 256 excluded; names of 1 to 64 bytes, attribute values of at most
    /// 256; GPU names in lower case.
    ///
    /// # Errors
    /// The path of the first field at fault, e.g. `terms.request.gpu.model`.
    pub fn check(&self) -> Result<(), &'static str> {
        let name = |text: &str| !text.is_empty() && text.len() <= MAX_NAME;
        let gpu_name = |text: &str| {
            text.len() <= MAX_NAME && !text.chars().any(|letter| letter.is_ascii_uppercase())
        };
        let gpu = &self.request.gpu;
        let rules = [
            (!self.request.is_empty(), "terms.request"),
            (gpu_name(&gpu.vendor), "terms.request.gpu.vendor"),
            (gpu_name(&gpu.model), "terms.request.gpu.model"),
            (gpu_name(&gpu.interface), "terms.request.gpu.interface"),
            ((1..=MAX_COUNT).contains(&self.count), "terms.count"),
            (
                self.regions.len() <= MAX_FACTS && self.regions.iter().all(|region| name(region)),
                "terms.regions",
            ),
            (
                self.attributes.len() <= MAX_FACTS
                    && self
                        .attributes
                        .iter()
                        .all(|(key, value)| name(key) && value.len() <= MAX_VALUE),
                "terms.attributes",
            ),
            (self.providers.len() <= MAX_ACCOUNTS, "terms.providers"),
            (self.exclude.len() <= MAX_ACCOUNTS, "terms.exclude"),
        ];
        rules.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, field)| Err(*field))
    }
}

#[cfg(test)]
mod tests;
