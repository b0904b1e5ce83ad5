//! The hard constraints: which hosts may serve an order at all.
//!
//! One function checks them, for [`crate::clear`] and [`crate::explain`] alike, so that what is
//! explained is what happens.

use crate::{HostView, ProviderView, Rules, Terms, Verifies};
use muster_types::{AccountId, Amount, Gpu, GpuRequest, Millis, Rate};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// A provider's signed attributes, by auditor.
pub(crate) type Signatures = BTreeMap<AccountId, BTreeMap<String, String>>;

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
    /// The provider is in an allowed jurisdiction.
    Jurisdiction,
    /// The provider is in no excluded jurisdiction.
    ExcludeJurisdiction,
    /// One of the named auditors signed what is asked for.
    SignedByAny,
    /// Each of the named auditors signed what is asked for.
    SignedByAll,
    /// The host has this verification capability.
    Verifies {
        /// Which.
        capability: Verifies,
    },
    /// The host runs metered work, fast enough.
    Metered,
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
            Self::Jurisdiction => "jurisdictions",
            Self::ExcludeJurisdiction => "exclude_jurisdictions",
            Self::SignedByAny => "signed_by_any",
            Self::SignedByAll => "signed_by_all",
            Self::Verifies { capability } => return write!(f, "verifies.{capability}"),
            Self::Metered => "metered",
        })
    }
}

/// What one lease of an order costs on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quote {
    pub(crate) rate: Rate,
    pub(crate) pledge: Amount,
    /// `rate x` [`Terms::weight`], in nano-units and hundredths of a per cent.
    pub(crate) score: u128,
    /// The notice, where it is the interruptible offer's price.
    pub(crate) notice: Option<Millis>,
}

impl Quote {
    /// What the standing offer asks. `None` where a number is too large to be written.
    pub(crate) fn of(host: &HostView, terms: &Terms, rules: &Rules) -> Option<Self> {
        let (rate, notice) = host.rate_for(&terms.request, terms.interruptible)?;
        Self::at(rate, notice, terms.weight(host.provider.risk_bps), rules)
    }

    /// A price that is given.
    pub(crate) fn at(
        rate: Rate,
        notice: Option<Millis>,
        weight: u128,
        rules: &Rules,
    ) -> Option<Self> {
        let score = rate.amount_per_hour().nanos().checked_mul(weight)?;
        Some(Self { rate, pledge: rules.pledge(rate)?, score, notice })
    }
}

/// Checks one lease of an order against one host at a price and with what is free of its provider's
/// bond, calls `fail` for every constraint
/// that does not hold until it says `None`, and returns the quote if all hold. A price too large
/// to be computed with (`None`) fails [`Constraint::MaxRate`].
pub(crate) fn examine(
    host: &HostView,
    bond_free: Amount,
    quote: impl FnOnce() -> Option<Quote>,
    terms: &Terms,
    now: Millis,
    fail: &mut dyn FnMut(Constraint) -> Option<()>,
) -> Option<Quote> {
    let mut holds = true;
    let mut require = |condition: bool, constraint: Constraint| {
        if condition {
            return Some(());
        }
        holds = false;
        fail(constraint)
    };
    let (want, free) = (&terms.request, &host.free);
    require(want.cpu_milli <= free.cpu_milli, Constraint::Cpu)?;
    require(want.memory_bytes <= free.memory_bytes, Constraint::Memory)?;
    require(want.disk_bytes <= free.disk_bytes, Constraint::Disk)?;
    require(want.bandwidth_bps <= free.bandwidth_bps, Constraint::Bandwidth)?;
    require(gpu_fits(&want.gpu, &free.gpus), Constraint::Gpu)?;
    provider_fits(&host.provider, terms, &mut require)?;
    for (key, value) in &terms.attributes {
        if host.attribute(key) != Some(value) {
            require(false, Constraint::Attribute { key: key.clone() })?;
        }
    }
    let id = &host.id.provider;
    require(terms.providers.is_empty() || terms.providers.contains(id), Constraint::Provider)?;
    require(!terms.exclude.contains(id), Constraint::Exclude)?;
    require(lasts(host.offered_until, terms.min_duration, now), Constraint::Duration)?;
    for capability in &terms.verifies {
        let has = host.verifies.contains(capability);
        require(has, Constraint::Verifies { capability: *capability })?;
    }
    require(meters(host.fuel_per_s, terms), Constraint::Metered)?;
    let quote = quote();
    require(quote.is_some_and(|quote| quote.rate <= terms.max_rate), Constraint::MaxRate)?;
    if let Some(quote) = quote {
        let covered = bond_covers(bond_free, quote.pledge, terms.min_bond);
        require(covered, Constraint::MinBond)?;
    }
    quote.filter(|_| holds)
}

/// What hangs on the provider alone, but for its bond and its name.
pub(crate) fn provider_fits(
    provider: &ProviderView,
    terms: &Terms,
    require: &mut dyn FnMut(bool, Constraint) -> Option<()>,
) -> Option<()> {
    let (region, code) = (&provider.region, &provider.jurisdiction);
    require(terms.regions.is_empty() || terms.regions.contains(region), Constraint::Region)?;
    require(
        terms.max_risk_bps == 0 || provider.risk_bps <= terms.max_risk_bps,
        Constraint::MaxRisk,
    )?;
    let allowed = &terms.jurisdictions;
    require(allowed.is_empty() || allowed.contains(code), Constraint::Jurisdiction)?;
    let out = &terms.exclude_jurisdictions;
    require(
        out.is_empty() || !(code.is_empty() || out.contains(code)),
        Constraint::ExcludeJurisdiction,
    )?;
    let signed = |auditor: &AccountId| signed_by(&provider.signed, auditor, &terms.attributes);
    let any = &terms.signed_by_any;
    require(any.is_empty() || any.iter().any(signed), Constraint::SignedByAny)?;
    require(terms.signed_by_all.iter().all(signed), Constraint::SignedByAll)
}

/// Whether an auditor signed all of these attributes, or any attribute at all where none is asked.
pub(crate) fn signed_by(
    signed: &Signatures,
    auditor: &AccountId,
    asked: &BTreeMap<String, String>,
) -> bool {
    signed.get(auditor).is_some_and(|signed| {
        !signed.is_empty() && asked.iter().all(|(key, value)| signed.get(key) == Some(value))
    })
}

/// Whether a free bond covers a pledge and leaves `rest` beside it.
pub(crate) fn bond_covers(free: Amount, pledge: Amount, rest: Amount) -> bool {
    pledge.checked_add(rest).is_some_and(|needed| needed <= free)
}

/// Whether an offer stands for `length` from now.
pub(crate) fn lasts(offered_until: Millis, length: Millis, now: Millis) -> bool {
    now.0.checked_add(length.0).is_some_and(|end| end <= offered_until.0)
}

/// Whether a host with so much fuel a second may run the work, if it is metered.
pub(crate) const fn meters(fuel_per_s: u64, terms: &Terms) -> bool {
    !terms.metered || (fuel_per_s > 0 && fuel_per_s >= terms.min_fuel_per_s)
}

pub(crate) fn gpu_fits(want: &GpuRequest, free: &[Gpu]) -> bool {
    want.count == 0 || free.iter().any(|gpu| want.fits(gpu))
}
