//! The hard constraints: which hosts may serve an order at all.
//!
//! One function checks them, for [`crate::clear`] and [`crate::explain`] alike, so that what is
//! explained is what happens.

use crate::{HostView, Rules, Terms};
use muster_types::{Amount, Gpu, GpuRequest, Millis, Rate};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A risk premium of 100 per cent, in hundredths of a per cent.
pub(crate) const BPS: u32 = 10_000;

/// A hard constraint of an order. Displayed as the field of the terms that sets it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Constraint {
    /// Enough CPU is free.
    Cpu,
    /// Enough memory is free.
    Memory,
    /// Enough disk is free.
    Disk,
    /// Enough bandwidth is free.
    Bandwidth,
    /// GPUs of the kind, of one kind, are free in number.
    Gpu,
    /// The host stands in an allowed region.
    Region,
    /// The host has this attribute with the wanted value.
    Attribute {
        /// Which.
        key: String,
    },
    /// The provider is one of those allowed.
    Provider,
    /// The provider is not excluded.
    Exclude,
    /// The lease costs no more than the limit.
    MaxRate,
    /// The provider's free bond covers the lease's pledge and the wanted rest.
    MinBond,
    /// The provider's risk premium is no more than the limit.
    MaxRisk,
    /// The offer stands long enough.
    Duration,
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Bandwidth => "bandwidth",
            Self::Gpu => "gpu",
            Self::Region => "regions",
            Self::Attribute { key } => return write!(f, "attributes.{key}"),
            Self::Provider => "providers",
            Self::Exclude => "exclude",
            Self::MaxRate => "max_rate",
            Self::MinBond => "min_bond",
            Self::MaxRisk => "max_risk",
            Self::Duration => "min_duration",
        })
    }
}

/// What a host asks for one lease of an order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quote {
    pub(crate) rate: Rate,
    pub(crate) pledge: Amount,
    /// `rate x (10_000 + risk_bps)`, in nano-units and hundredths of a per cent.
    pub(crate) score: u128,
}

impl Quote {
    /// `None` where a number is too large to be written.
    fn of(host: &HostView, terms: &Terms, rules: &Rules) -> Option<Self> {
        let rate = host.prices.rate_for(&terms.request)?;
        let weight = u128::from(host.risk_bps).checked_add(u128::from(BPS))?;
        let score = rate.amount_per_hour().nanos().checked_mul(weight)?;
        Some(Self { rate, pledge: rules.pledge(rate)?, score })
    }
}

/// Checks one lease of an order against one host, calls `fail` for every constraint that does not
/// hold, and returns the quote if all hold. A price too large to be computed with fails
/// [`Constraint::MaxRate`].
pub(crate) fn examine(
    host: &HostView,
    terms: &Terms,
    rules: &Rules,
    now: Millis,
    fail: &mut dyn FnMut(Constraint),
) -> Option<Quote> {
    let mut holds = true;
    let mut require = |condition: bool, constraint: Constraint| {
        if !condition {
            holds = false;
            fail(constraint);
        }
    };
    let (want, free) = (&terms.request, &host.free);
    require(want.cpu_milli <= free.cpu_milli, Constraint::Cpu);
    require(want.memory_bytes <= free.memory_bytes, Constraint::Memory);
    require(want.disk_bytes <= free.disk_bytes, Constraint::Disk);
    require(want.bandwidth_bps <= free.bandwidth_bps, Constraint::Bandwidth);
    require(gpu_fits(&want.gpu, &free.gpus), Constraint::Gpu);
    require(terms.regions.is_empty() || terms.regions.contains(&host.region), Constraint::Region);
    for (key, value) in &terms.attributes {
        if host.attributes.get(key) != Some(value) {
            require(false, Constraint::Attribute { key: key.clone() });
        }
    }
    let provider = &host.id.provider;
    require(terms.providers.is_empty() || terms.providers.contains(provider), Constraint::Provider);
    require(!terms.exclude.contains(provider), Constraint::Exclude);
    let quote = Quote::of(host, terms, rules);
    require(quote.is_some_and(|quote| quote.rate <= terms.max_rate), Constraint::MaxRate);
    if let Some(quote) = quote {
        require(bond_covers(host.bond_free, quote.pledge, terms.min_bond), Constraint::MinBond);
    }
    require(terms.max_risk_bps == 0 || host.risk_bps <= terms.max_risk_bps, Constraint::MaxRisk);
    require(
        now.0.checked_add(terms.min_duration.0).is_some_and(|end| end <= host.offered_until.0),
        Constraint::Duration,
    );
    quote.filter(|_| holds)
}

/// Whether a free bond covers a pledge and leaves `rest` beside it.
pub(crate) fn bond_covers(free: Amount, pledge: Amount, rest: Amount) -> bool {
    pledge.checked_add(rest).is_some_and(|needed| needed <= free)
}

fn gpu_fits(want: &GpuRequest, free: &[Gpu]) -> bool {
    want.count == 0 || free.iter().any(|gpu| want.fits(gpu))
}
