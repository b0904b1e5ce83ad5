//! Hosts and orders for the tests of this crate.

use crate::{GIB, HostView, Prices, Request, Rules, Terms};
use muster_types::{AccountId, Amount, Gpu, GpuRequest, Hash, HostId, Millis, Rate, Resources};
use std::collections::BTreeMap;

/// A block time well after the epoch.
pub(crate) const NOW: Millis = Millis(1_000_000);

pub(crate) fn provider(number: u8) -> AccountId {
    AccountId(Hash([number; 32]))
}

pub(crate) fn rate(text: &str) -> Rate {
    text.parse().unwrap()
}

pub(crate) fn usd(text: &str) -> Amount {
    text.parse().unwrap()
}

/// Host 0 of provider `number`: 4 threads at `cpu` an hour each, memory and disk for nothing, a
/// free bond of 100 usd, an offer for an hour.
pub(crate) fn host(number: u8, cpu: &str) -> HostView {
    HostView {
        id: HostId { provider: provider(number), index: 0 },
        region: "eu".into(),
        attributes: BTreeMap::new(),
        free: Resources {
            cpu_milli: 4000,
            memory_bytes: 8 * GIB,
            disk_bytes: 64 * GIB,
            bandwidth_bps: 1_000_000_000,
            gpus: vec![],
        },
        prices: Prices { cpu: rate(cpu), ..Prices::default() },
        bond_free: Amount::from_units(100),
        risk_bps: 0,
        offered_until: NOW.after(Millis(3_600_000)),
    }
}

pub(crate) fn gpu(model: &str, memory_gib: u64, count: u32) -> Gpu {
    Gpu {
        vendor: "nvidia".into(),
        model: model.into(),
        memory_bytes: memory_gib * GIB,
        interface: "sxm".into(),
        count,
    }
}

pub(crate) fn want_gpu(model: &str, count: u32) -> GpuRequest {
    GpuRequest {
        vendor: if model.is_empty() { String::new() } else { "nvidia".into() },
        model: model.into(),
        count,
        ..GpuRequest::default()
    }
}

/// `count` leases of one thread each, at up to 1 usd an hour.
pub(crate) fn order(count: u32) -> Terms {
    Terms {
        request: Request { cpu_milli: 1000, ..Request::default() },
        count,
        max_rate: rate("1"),
        ..Terms::default()
    }
}

/// One usd of pledge a lease, and no limit on visits.
pub(crate) fn rules() -> Rules {
    Rules { visit_max: u32::MAX, pledge_min: Amount::from_units(1), pledge_hours: 0 }
}
