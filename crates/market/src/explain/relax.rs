//! Changes of an order that would let hosts pass.

use crate::{
    Constraint, HostView, Rules, Terms,
    check::{Signatures, signed_by},
};
use muster_types::{AccountId, Amount, Gpu, GpuRequest, Millis, Rate};
use serde::{Deserialize, Serialize};

/// The most values that a [`Relax`] lists.
pub(crate) const LISTED: usize = 8;

/// A change to an order's terms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case", tag = "change")]
pub enum Relax {
    /// Ask for less CPU.
    LowerCpu {
        /// Thousandths of a thread.
        to_milli: u64,
    },
    /// Ask for less memory.
    LowerMemory {
        /// Bytes.
        to_bytes: u64,
    },
    /// Ask for less disk.
    LowerDisk {
        /// Bytes.
        to_bytes: u64,
    },
    /// Ask for less bandwidth.
    LowerBandwidth {
        /// Bits a second.
        to_bps: u64,
    },
    /// Ask for fewer GPUs.
    LowerGpuCount {
        /// How many.
        to: u32,
    },
    /// Ask for another GPU.
    ChooseGpu {
        /// `vendor/model` of GPUs that are free; at most eight.
        offered: Vec<String>,
    },
    /// Allow another region.
    AllowRegion {
        /// Regions with hosts; at most eight.
        offered: Vec<String>,
    },
    /// Ask for another value of an attribute, or do not ask for it.
    ChangeAttribute {
        /// Values that hosts have; at most eight, none where no host has the attribute.
        offered: Vec<String>,
    },
    /// Allow another provider.
    AllowProvider {
        /// At most eight.
        offered: Vec<AccountId>,
    },
    /// Exclude a provider no longer.
    Include {
        /// At most eight.
        offered: Vec<AccountId>,
    },
    /// Pay more.
    RaiseMaxRate {
        /// For each lease.
        to: Rate,
    },
    /// Ask for less bond beside the pledge.
    LowerMinBond {
        /// In `usd`.
        to: Amount,
    },
    /// Accept more risk.
    RaiseMaxRisk {
        /// Hundredths of a per cent.
        to_bps: u32,
    },
    /// Ask for a shorter offer.
    LowerDuration {
        /// For so long.
        to: Millis,
    },
    /// Allow another jurisdiction.
    AllowJurisdiction {
        /// Jurisdictions with providers; at most eight.
        offered: Vec<String>,
    },
    /// Exclude a jurisdiction no longer.
    IncludeJurisdiction {
        /// At most eight.
        offered: Vec<String>,
    },
    /// Trust another auditor.
    AcceptAuditor {
        /// Auditors that signed what the order asks for; at most eight.
        offered: Vec<AccountId>,
    },
    /// Ask for an auditor's signature no longer.
    DropAuditor {
        /// Auditors that did not sign what the order asks for; at most eight.
        missing: Vec<AccountId>,
    },
    /// Do not ask for this verification capability.
    DropVerifies,
    /// Ask for less fuel a second.
    LowerFuel {
        /// Fuel a second.
        to_per_s: u64,
    },
    /// Do not ask for metered work.
    DropMetered,
}

/// The change that would let this one host pass this one constraint.
pub(crate) fn of(
    constraint: &Constraint,
    host: &HostView,
    terms: &Terms,
    rules: &Rules,
    now: Millis,
) -> Option<Relax> {
    let (free, provider) = (&host.free, &host.provider);
    let id = host.id.provider;
    let rate = || host.rate_for(&terms.request, terms.interruptible).map(|(rate, _)| rate);
    match constraint {
        Constraint::Cpu => some(free.cpu_milli).map(|to_milli| Relax::LowerCpu { to_milli }),
        Constraint::Memory => {
            some(free.memory_bytes).map(|to_bytes| Relax::LowerMemory { to_bytes })
        }
        Constraint::Disk => some(free.disk_bytes).map(|to_bytes| Relax::LowerDisk { to_bytes }),
        Constraint::Bandwidth => {
            some(free.bandwidth_bps).map(|to_bps| Relax::LowerBandwidth { to_bps })
        }
        Constraint::Gpu => gpu(&terms.request.gpu, &free.gpus),
        Constraint::Region => Some(Relax::AllowRegion { offered: vec![provider.region.clone()] }),
        Constraint::Attribute { key } => Some(attribute(host.attribute(key))),
        Constraint::Provider => Some(Relax::AllowProvider { offered: vec![id] }),
        Constraint::Exclude => Some(Relax::Include { offered: vec![id] }),
        Constraint::MaxRate => rate().map(|to| Relax::RaiseMaxRate { to }),
        Constraint::MinBond => {
            let pledge = rules.pledge(rate()?)?;
            provider.bond_free.checked_sub(pledge).map(|to| Relax::LowerMinBond { to })
        }
        Constraint::MaxRisk => Some(Relax::RaiseMaxRisk { to_bps: provider.risk_bps }),
        Constraint::Duration => {
            some(host.offered_until.since(now).0).map(|to| Relax::LowerDuration { to: Millis(to) })
        }
        Constraint::Jurisdiction => {
            declared(&provider.jurisdiction).map(|offered| Relax::AllowJurisdiction { offered })
        }
        Constraint::ExcludeJurisdiction => {
            declared(&provider.jurisdiction).map(|offered| Relax::IncludeJurisdiction { offered })
        }
        Constraint::SignedByAny => accept_auditor(&provider.signed, terms),
        Constraint::SignedByAll => Some(drop_auditor(&provider.signed, terms)),
        Constraint::Verifies { .. } => Some(Relax::DropVerifies),
        Constraint::Metered => Some(match some(host.fuel_per_s) {
            Some(to_per_s) => Relax::LowerFuel { to_per_s },
            None => Relax::DropMetered,
        }),
    }
}

pub(crate) fn some(amount: u64) -> Option<u64> {
    (amount > 0).then_some(amount)
}

fn declared(code: &str) -> Option<Vec<String>> {
    (!code.is_empty()).then(|| vec![code.to_owned()])
}

/// By the value that the host has.
pub(crate) fn attribute(value: Option<&String>) -> Relax {
    Relax::ChangeAttribute { offered: value.cloned().into_iter().collect() }
}

pub(crate) fn accept_auditor(signed: &Signatures, terms: &Terms) -> Option<Relax> {
    let whole = |auditor: &&AccountId| signed_by(signed, auditor, &terms.attributes);
    let offered: Vec<AccountId> = signed.keys().filter(whole).take(LISTED).copied().collect();
    (!offered.is_empty()).then_some(Relax::AcceptAuditor { offered })
}

pub(crate) fn drop_auditor(signed: &Signatures, terms: &Terms) -> Relax {
    let lacks = |auditor: &&AccountId| !signed_by(signed, auditor, &terms.attributes);
    let missing = terms.signed_by_all.iter().filter(lacks).copied().collect();
    Relax::DropAuditor { missing: joined(missing, Vec::new()) }
}

pub(crate) fn gpu(want: &GpuRequest, free: &[Gpu]) -> Option<Relax> {
    let any_count = GpuRequest { count: 0, ..want.clone() };
    let free = || free.iter().filter(|gpu| gpu.count > 0);
    if let Some(to) = free().filter(|gpu| any_count.fits(gpu)).map(|gpu| gpu.count).max() {
        return Some(Relax::LowerGpuCount { to });
    }
    let mut offered: Vec<String> =
        free().map(|gpu| format!("{}/{}", gpu.vendor, gpu.model)).collect();
    offered.sort();
    offered.dedup();
    offered.truncate(LISTED);
    (!offered.is_empty()).then_some(Relax::ChooseGpu { offered })
}

/// Of two changes for one constraint the one that gives up less; lists are joined.
pub(crate) fn easier(left: Option<Relax>, right: Option<Relax>) -> Option<Relax> {
    use Relax as R;
    let (left, right) = match (left, right) {
        (Some(left), Some(right)) => (left, right),
        (left, right) => return left.or(right),
    };
    Some(match (left, right) {
        (R::LowerCpu { to_milli: a }, R::LowerCpu { to_milli: b }) => {
            R::LowerCpu { to_milli: a.max(b) }
        }
        (R::LowerMemory { to_bytes: a }, R::LowerMemory { to_bytes: b }) => {
            R::LowerMemory { to_bytes: a.max(b) }
        }
        (R::LowerDisk { to_bytes: a }, R::LowerDisk { to_bytes: b }) => {
            R::LowerDisk { to_bytes: a.max(b) }
        }
        (R::LowerBandwidth { to_bps: a }, R::LowerBandwidth { to_bps: b }) => {
            R::LowerBandwidth { to_bps: a.max(b) }
        }
        (R::LowerGpuCount { to: a }, R::LowerGpuCount { to: b }) => {
            R::LowerGpuCount { to: a.max(b) }
        }
        (R::ChooseGpu { offered: a }, R::ChooseGpu { offered: b }) => {
            R::ChooseGpu { offered: joined(a, b) }
        }
        (R::AllowRegion { offered: a }, R::AllowRegion { offered: b }) => {
            R::AllowRegion { offered: joined(a, b) }
        }
        (R::ChangeAttribute { offered: a }, R::ChangeAttribute { offered: b }) => {
            R::ChangeAttribute { offered: joined(a, b) }
        }
        (R::AllowProvider { offered: a }, R::AllowProvider { offered: b }) => {
            R::AllowProvider { offered: joined(a, b) }
        }
        (R::Include { offered: a }, R::Include { offered: b }) => {
            R::Include { offered: joined(a, b) }
        }
        (R::RaiseMaxRate { to: a }, R::RaiseMaxRate { to: b }) => R::RaiseMaxRate { to: a.min(b) },
        (R::LowerMinBond { to: a }, R::LowerMinBond { to: b }) => R::LowerMinBond { to: a.max(b) },
        (R::RaiseMaxRisk { to_bps: a }, R::RaiseMaxRisk { to_bps: b }) => {
            R::RaiseMaxRisk { to_bps: a.min(b) }
        }
        (R::LowerDuration { to: a }, R::LowerDuration { to: b }) => {
            R::LowerDuration { to: a.max(b) }
        }
        (R::AllowJurisdiction { offered: a }, R::AllowJurisdiction { offered: b }) => {
            R::AllowJurisdiction { offered: joined(a, b) }
        }
        (R::IncludeJurisdiction { offered: a }, R::IncludeJurisdiction { offered: b }) => {
            R::IncludeJurisdiction { offered: joined(a, b) }
        }
        (R::AcceptAuditor { offered: a }, R::AcceptAuditor { offered: b }) => {
            R::AcceptAuditor { offered: joined(a, b) }
        }
        (R::DropAuditor { missing: a }, R::DropAuditor { missing: b }) => {
            R::DropAuditor { missing: joined(a, b) }
        }
        (R::LowerFuel { to_per_s: a }, R::LowerFuel { to_per_s: b }) => {
            R::LowerFuel { to_per_s: a.max(b) }
        }
        // Fewer GPUs of the wanted kind beat another kind, slower metering beats none.
        (R::ChooseGpu { .. }, fewer @ R::LowerGpuCount { .. }) => fewer,
        (R::DropMetered, slower @ R::LowerFuel { .. }) => slower,
        (left, _) => left,
    })
}

/// The least [`LISTED`] values of both.
fn joined<T: Ord>(mut left: Vec<T>, right: Vec<T>) -> Vec<T> {
    left.extend(right);
    left.sort();
    left.dedup();
    left.truncate(LISTED);
    left
}
