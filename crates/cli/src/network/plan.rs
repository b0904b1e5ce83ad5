//! The providers of `muster dev` and `muster demo`: who they are and what they charge.

use muster_agent::HostConfig;
use muster_market::{GIB, Prices};
use muster_types::{Amount, Rate, Resources};

/// A made-up owner of a machine. The work, the money and the wires are real.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProviderPlan {
    /// For people.
    pub(crate) name: &'static str,
    /// Where it would stand.
    pub(crate) region: &'static str,
    /// What it charges for one CPU thread, in nano-usd per hour.
    pub(crate) cpu_nanos_per_hour: u128,
}

/// The cast, cheapest first.
pub(crate) const PLAN: [ProviderPlan; 4] = [
    ProviderPlan { name: "attic", region: "eu-central", cpu_nanos_per_hour: 18_000_000 },
    ProviderPlan { name: "basement", region: "eu-west", cpu_nanos_per_hour: 21_000_000 },
    ProviderPlan { name: "cellar", region: "us-east", cpu_nanos_per_hour: 24_000_000 },
    ProviderPlan { name: "dormitory", region: "us-west", cpu_nanos_per_hour: 32_000_000 },
];

impl ProviderPlan {
    /// The plan of provider `index`; beyond the cast the last one's prices rise.
    pub(crate) fn of(index: usize) -> Self {
        PLAN.get(index).copied().unwrap_or_else(|| {
            let beyond = index.saturating_sub(PLAN.len()).saturating_add(1);
            let last = PLAN[PLAN.len() - 1];
            let extra = u128::try_from(beyond).unwrap_or(0).saturating_mul(1_000_000);
            Self {
                name: "extra",
                cpu_nanos_per_hour: last.cpu_nanos_per_hour.saturating_add(extra),
                ..last
            }
        })
    }

    /// What it offers: one machine of two threads and 1 GiB.
    pub(crate) fn host(&self) -> HostConfig {
        let rate = |nanos| Rate::per_hour(Amount::from_nanos(nanos));
        HostConfig {
            capacity: Resources {
                cpu_milli: 2_000,
                memory_bytes: GIB,
                disk_bytes: 8 * GIB,
                bandwidth_bps: 1_000_000_000,
                gpus: Vec::new(),
            },
            prices: Prices {
                cpu: rate(self.cpu_nanos_per_hour),
                memory_gib: rate(2_000_000),
                disk_gib: rate(50_000),
                gpu: Rate::ZERO,
            },
        }
    }
}
