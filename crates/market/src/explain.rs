//! Explaining: what an order would get now, and what each constraint excludes.
//!
//! The grants are those of [`clear`] itself. The counts come from the same checks, over every host
//! of the book: also over hosts of other classes and beyond the visit limit, because a quote should
//! say what is there. A constraint's `alone` are the hosts that pass every other one: relaxing this
//! one constraint would let them in.

use crate::{Book, Class, Constraint, HostView, Rules, Spread, Stop, Terms, check::examine, clear};
use muster_types::{AccountId, Amount, GpuRequest, Millis, Rate};
use serde::{Deserialize, Serialize};
use std::{cmp::Reverse, collections::BTreeMap};

mod hint;

/// The most values that a [`Relax`] lists.
const LISTED: usize = 8;

/// What an order would get, and why not more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Explanation {
    /// Hosts that take orders.
    pub hosts: u64,
    /// Hosts that pass every constraint for one lease.
    pub matched: u64,
    /// Leases that would be granted now, in this block.
    pub would_grant: u32,
    /// The price of each of them, in the order of the grants.
    pub rates: Vec<Rate>,
    /// The sum of `rates`.
    pub price_per_hour: Rate,
    /// The lowest price among the hosts that match.
    pub cheapest: Option<Rate>,
    /// Hosts that clearing looked at.
    pub visited: u32,
    /// Why it looked at no more.
    pub stopped: Stop,
    /// The constraints that exclude hosts, those that exclude most alone first.
    pub excluded: Vec<Exclusion>,
    /// Why hosts that match would not fill the order.
    pub shortfall: Option<Shortfall>,
}

/// What one constraint excludes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Exclusion {
    /// Which constraint.
    pub constraint: Constraint,
    /// Hosts that fail this constraint and no other.
    pub alone: u64,
    /// Hosts that fail this constraint, whatever else they fail.
    pub total: u64,
    /// The smallest change that would let a host pass: one of those that fail nothing else, where
    /// there is one. `None` where no change of the order would.
    pub relax: Option<Relax>,
}

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
}

/// An order that hosts match but do not fill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Shortfall {
    /// Leases wanted.
    pub wanted: u32,
    /// Leases that fit, were the order no gang.
    pub fitting: u32,
    /// Leases that would fit without spread limits.
    pub fitting_without_spread: u32,
    /// Whether the order is all or nothing.
    pub gang: bool,
}

/// Explains what [`clear`] would do with an order now. Visits every host of the book.
#[must_use]
pub fn explain(book: &dyn Book, terms: &Terms, rules: &Rules, now: Millis) -> Explanation {
    let mut matched = 0u64;
    let mut cheapest: Option<Rate> = None;
    let mut tallies: BTreeMap<Constraint, Tally> = BTreeMap::new();
    for host in book.walk(&Class::Cpu) {
        let mut failed = Vec::new();
        let quote = examine(&host, terms, rules, now, &mut |constraint| failed.push(constraint));
        if let Some(quote) = quote {
            matched = matched.saturating_add(1);
            cheapest = Some(cheapest.map_or(quote.rate, |least| least.min(quote.rate)));
        }
        let alone = failed.len() == 1;
        for constraint in failed {
            let relax = relax(&constraint, &host, terms, rules, now);
            tallies.entry(constraint).or_default().count(alone, relax);
        }
    }
    let cleared = clear(book, terms, rules, now);
    let rates: Vec<Rate> = cleared.placements.iter().map(|placement| placement.rate).collect();
    let sum = rates.iter().try_fold(Rate::ZERO, |sum, rate| sum.checked_add(*rate));
    let mut excluded: Vec<Exclusion> =
        tallies.into_iter().map(|(constraint, tally)| tally.into_exclusion(constraint)).collect();
    excluded.sort_by_key(|one| Reverse((one.alone, one.total)));
    let would_grant = length(&cleared.placements);
    let short = matched > 0 && would_grant < terms.count;
    Explanation {
        hosts: book.host_count(),
        matched,
        would_grant,
        rates,
        price_per_hour: sum.unwrap_or(Rate::MAX),
        cheapest,
        visited: cleared.visited,
        stopped: cleared.stopped,
        excluded,
        shortfall: short.then(|| shortfall(book, terms, rules, now)),
    }
}

fn shortfall(book: &dyn Book, terms: &Terms, rules: &Rules, now: Millis) -> Shortfall {
    let loose = Terms { gang: false, ..terms.clone() };
    let looser = Terms { spread: Spread::default(), ..loose.clone() };
    Shortfall {
        wanted: terms.count,
        fitting: length(&clear(book, &loose, rules, now).placements),
        fitting_without_spread: length(&clear(book, &looser, rules, now).placements),
        gang: terms.gang,
    }
}

fn length<T>(items: &[T]) -> u32 {
    u32::try_from(items.len()).unwrap_or(u32::MAX)
}

/// What one constraint was seen to exclude.
#[derive(Default)]
struct Tally {
    alone: u64,
    total: u64,
    relax_alone: Option<Relax>,
    relax_any: Option<Relax>,
}

impl Tally {
    fn count(&mut self, alone: bool, relax: Option<Relax>) {
        self.total = self.total.saturating_add(1);
        if alone {
            self.alone = self.alone.saturating_add(1);
            self.relax_alone = easier(self.relax_alone.take(), relax.clone());
        }
        self.relax_any = easier(self.relax_any.take(), relax);
    }

    fn into_exclusion(self, constraint: Constraint) -> Exclusion {
        let relax = if self.alone > 0 { self.relax_alone } else { self.relax_any };
        Exclusion { constraint, alone: self.alone, total: self.total, relax }
    }
}

/// The change that would let this one host pass this one constraint.
fn relax(
    constraint: &Constraint,
    host: &HostView,
    terms: &Terms,
    rules: &Rules,
    now: Millis,
) -> Option<Relax> {
    let free = &host.free;
    let some = |amount: u64| (amount > 0).then_some(amount);
    match constraint {
        Constraint::Cpu => some(free.cpu_milli).map(|to_milli| Relax::LowerCpu { to_milli }),
        Constraint::Memory => {
            some(free.memory_bytes).map(|to_bytes| Relax::LowerMemory { to_bytes })
        }
        Constraint::Disk => some(free.disk_bytes).map(|to_bytes| Relax::LowerDisk { to_bytes }),
        Constraint::Bandwidth => {
            some(free.bandwidth_bps).map(|to_bps| Relax::LowerBandwidth { to_bps })
        }
        Constraint::Gpu => relax_gpu(&terms.request.gpu, host),
        Constraint::Region => Some(Relax::AllowRegion { offered: vec![host.region.clone()] }),
        Constraint::Attribute { key } => Some(Relax::ChangeAttribute {
            offered: host.attributes.get(key).cloned().into_iter().collect(),
        }),
        Constraint::Provider => Some(Relax::AllowProvider { offered: vec![host.id.provider] }),
        Constraint::Exclude => Some(Relax::Include { offered: vec![host.id.provider] }),
        Constraint::MaxRate => {
            host.prices.rate_for(&terms.request).map(|to| Relax::RaiseMaxRate { to })
        }
        Constraint::MinBond => {
            let pledge = rules.pledge(host.prices.rate_for(&terms.request)?)?;
            host.bond_free.checked_sub(pledge).map(|to| Relax::LowerMinBond { to })
        }
        Constraint::MaxRisk => Some(Relax::RaiseMaxRisk { to_bps: host.risk_bps }),
        Constraint::Duration => {
            some(host.offered_until.since(now).0).map(|to| Relax::LowerDuration { to: Millis(to) })
        }
    }
}

fn relax_gpu(want: &GpuRequest, host: &HostView) -> Option<Relax> {
    let any_count = GpuRequest { count: 0, ..want.clone() };
    let free = || host.free.gpus.iter().filter(|gpu| gpu.count > 0);
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
fn easier(left: Option<Relax>, right: Option<Relax>) -> Option<Relax> {
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
        // Fewer GPUs of the wanted kind beat another kind.
        (R::ChooseGpu { .. }, fewer @ R::LowerGpuCount { .. }) => fewer,
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

#[cfg(test)]
mod tests;
