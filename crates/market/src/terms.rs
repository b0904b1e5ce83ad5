//! What an order asks of the market.

use borsh::{BorshDeserialize, BorshSerialize};
use muster_types::{AccountId, Amount, Gpu, GpuRequest, Millis, Rate, Resources};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// Bytes in a GiB: memory and disk are priced by it.
pub const GIB: u64 = 1 << 30;

/// The most leases that one order may ask for.
pub const MAX_COUNT: u32 = 10_000;

/// The most that an order weighs a risk premium: ten times what it is.
pub const MAX_RISK_WEIGHT_BPS: u32 = 100_000;

/// The most regions, or attributes, of one order.
const MAX_FACTS: usize = 64;
/// The most accounts in an order's `providers`, or `exclude`.
const MAX_ACCOUNTS: usize = 256;
/// The most jurisdictions of one order's `jurisdictions`, or `exclude_jurisdictions`.
const MAX_JURISDICTIONS: usize = 256;
/// The most auditors of one order's `signed_by_any`, or `signed_by_all`.
const MAX_AUDITORS: usize = 16;
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
    /// At most so many leases on one operator's providers.
    pub per_operator: u32,
}

/// Whether all leases of one order must be in one place. Anything but `No` implies all or nothing.
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
#[serde(rename_all = "snake_case")]
pub enum Together {
    /// Anywhere.
    #[default]
    No,
    /// All in one region.
    Region,
    /// All with one provider.
    Provider,
    /// All on one host.
    Host,
}

/// A way in which a host's results can be checked.
#[derive(
    Clone,
    Copy,
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
#[serde(rename_all = "snake_case")]
pub enum Verifies {
    /// Runs deterministic work, so that another host's run of it can be compared.
    Replicate,
    /// Answers audits of a sample.
    Audit,
    /// Commits to every step, so that a dispute can be played to one step.
    Dispute,
    /// Gives evidence of a trusted execution environment.
    Attest,
    /// Gives fingerprints of a model's activations.
    Fingerprint,
    /// Gives zero-knowledge proofs.
    Zk,
}

impl Verifies {
    /// All of them, in order.
    pub const ALL: [Self; 6] =
        [Self::Replicate, Self::Audit, Self::Dispute, Self::Attest, Self::Fingerprint, Self::Zk];
}

impl fmt::Display for Verifies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Replicate => "replicate",
            Self::Audit => "audit",
            Self::Dispute => "dispute",
            Self::Attest => "attest",
            Self::Fingerprint => "fingerprint",
            Self::Zk => "zk",
        })
    }
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
    /// All leases in one place.
    pub together: Together,
    /// Providers in one of these jurisdictions (ISO 3166-1 alpha-2, lower case); empty allows
    /// every one, also an undeclared one.
    pub jurisdictions: Vec<String>,
    /// Providers in none of these jurisdictions; unless empty, an undeclared one is excluded too.
    pub exclude_jurisdictions: Vec<String>,
    /// At least one of these auditors has signed every attribute that the order asks for, with
    /// the value asked for; at least one attribute where it asks for none. Empty asks for nothing.
    pub signed_by_any: Vec<AccountId>,
    /// Each of these auditors has.
    pub signed_by_all: Vec<AccountId>,
    /// Hosts with all of these verification capabilities.
    pub verifies: BTreeSet<Verifies>,
    /// Hosts that run metered work.
    pub metered: bool,
    /// Of metered work, hosts with at least so much fuel a second.
    pub min_fuel_per_s: u64,
    /// Takes the interruptible offer of a host that has one, where it is cheaper.
    pub interruptible: bool,
    /// How much of a provider's risk premium counts when hosts are compared, in hundredths of a per
    /// cent of it, at most [`MAX_RISK_WEIGHT_BPS`]; by default all of it. It changes no price.
    pub risk_weight_bps: Option<u32>,
}

impl Terms {
    /// What a price is multiplied by to be compared: `10_000`, and the risk premium as weighted.
    pub fn weight(&self, risk_bps: u32) -> u128 {
        let part = u128::from(self.risk_weight_bps.unwrap_or(10_000));
        let weighted = u128::from(risk_bps).saturating_mul(part).checked_div(10_000);
        weighted.unwrap_or_default().saturating_add(10_000)
    }
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
        self.allotments(free).find(|(_, fit)| *fit > 0).map(|(gpu, _)| self.taking(gpu))
    }

    /// The leases that fit into `free` (with at most one entry a kind of GPU) one after the other:
    /// the kinds of GPU that [`Self::allot`] ties them to, in its order, each with how many.
    pub(crate) fn allotments<'a>(
        &self,
        free: &'a Resources,
    ) -> impl Iterator<Item = (Option<&'a Gpu>, u32)> {
        let times = |have: u64, want: u64| {
            have.checked_div(want)
                .map_or(u32::MAX, |times| u32::try_from(times).unwrap_or(u32::MAX))
        };
        let mut rest = times(free.cpu_milli, self.cpu_milli)
            .min(times(free.memory_bytes, self.memory_bytes))
            .min(times(free.disk_bytes, self.disk_bytes))
            .min(times(free.bandwidth_bps, self.bandwidth_bps));
        let count = self.gpu.count;
        let mut kinds: Vec<&Gpu> = Vec::new();
        if count > 0 && rest > 0 {
            kinds.extend(free.gpus.iter().filter(|gpu| self.gpu.fits(gpu)));
            kinds.sort_by_key(|gpu| (gpu.memory_bytes, &gpu.vendor, &gpu.model, &gpu.interface));
        }
        let without = (count == 0).then_some((None, rest));
        let with = kinds.into_iter().map(move |gpu| {
            let leases = gpu.count.checked_div(count).unwrap_or(0).min(rest);
            rest = rest.saturating_sub(leases);
            (Some(gpu), leases)
        });
        without.into_iter().chain(with)
    }

    /// What a lease takes whose GPUs are tied to this kind.
    pub(crate) fn taking(&self, gpu: Option<&Gpu>) -> Resources {
        Resources {
            cpu_milli: self.cpu_milli,
            memory_bytes: self.memory_bytes,
            disk_bytes: self.disk_bytes,
            bandwidth_bps: self.bandwidth_bps,
            gpus: gpu.map(|gpu| Gpu { count: self.gpu.count, ..gpu.clone() }).into_iter().collect(),
        }
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
    /// Whether the order takes all of its leases or none.
    #[must_use]
    pub fn all_or_nothing(&self) -> bool {
        self.gang || self.together != Together::No
    }

    /// Checks the limits that keep an order's cost bounded and its meaning clear: 1 to
    /// [`MAX_COUNT`] leases of something; at most 64 regions and 64 attributes; at most 256
    /// providers allowed and 256 excluded, likewise jurisdictions, of two lower-case letters each;
    /// at most 16 auditors of each kind; names of 1 to 64 bytes, attribute values of at most 256;
    /// GPU names in lower case; a least fuel only of metered work.
    ///
    /// # Errors
    /// The path of the first field at fault, e.g. `terms.request.gpu.model`.
    pub fn check(&self) -> Result<(), &'static str> {
        let name = |text: &str| !text.is_empty() && text.len() <= MAX_NAME;
        let gpu_name = |text: &str| {
            text.len() <= MAX_NAME && !text.chars().any(|letter| letter.is_ascii_uppercase())
        };
        let countries = |list: &[String]| {
            list.len() <= MAX_JURISDICTIONS && list.iter().all(|code| is_jurisdiction(code))
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
            (countries(&self.jurisdictions), "terms.jurisdictions"),
            (countries(&self.exclude_jurisdictions), "terms.exclude_jurisdictions"),
            (self.signed_by_any.len() <= MAX_AUDITORS, "terms.signed_by_any"),
            (self.signed_by_all.len() <= MAX_AUDITORS, "terms.signed_by_all"),
            (self.metered || self.min_fuel_per_s == 0, "terms.min_fuel_per_s"),
            (
                self.risk_weight_bps.is_none_or(|weight| weight <= MAX_RISK_WEIGHT_BPS),
                "terms.risk_weight_bps",
            ),
        ];
        rules.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, field)| Err(*field))
    }
}

/// Whether this can be a jurisdiction's code (ISO 3166-1 alpha-2): two lower-case letters.
#[must_use]
pub fn is_jurisdiction(code: &str) -> bool {
    code.len() == 2 && code.bytes().all(|letter| letter.is_ascii_lowercase())
}

#[cfg(test)]
mod tests;
