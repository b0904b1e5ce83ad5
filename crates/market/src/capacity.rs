//! Adding up and taking apart capacity, without loss and without overflow.
//!
//! Results are canonical: one entry a kind of GPU (vendor, model, memory, interface), sorted, none
//! with a count of zero. So a host's books read the same whatever the order of its leases.

use muster_types::{Gpu, Resources};
use std::collections::BTreeMap;

type Kind = (String, String, u64, String);

/// `left + right`; `None` on overflow.
#[must_use]
pub fn checked_add(left: &Resources, right: &Resources) -> Option<Resources> {
    let mut gpus = kinds(left)?;
    for gpu in &right.gpus {
        let count = gpus.entry(kind(gpu)).or_insert(0);
        *count = count.checked_add(gpu.count)?;
    }
    Some(Resources {
        cpu_milli: left.cpu_milli.checked_add(right.cpu_milli)?,
        memory_bytes: left.memory_bytes.checked_add(right.memory_bytes)?,
        disk_bytes: left.disk_bytes.checked_add(right.disk_bytes)?,
        bandwidth_bps: left.bandwidth_bps.checked_add(right.bandwidth_bps)?,
        gpus: listed(gpus),
    })
}

/// `whole - part`; `None` where `part` has more of anything, or GPUs of a kind that `whole` lacks.
///
/// A host's free capacity is `checked_sub(&capacity, &used)`; whether a host may shrink to a new
/// capacity is whether that is `Some`.
#[must_use]
pub fn checked_sub(whole: &Resources, part: &Resources) -> Option<Resources> {
    let mut gpus = kinds(whole)?;
    for gpu in part.gpus.iter().filter(|gpu| gpu.count > 0) {
        let count = gpus.get_mut(&kind(gpu))?;
        *count = count.checked_sub(gpu.count)?;
    }
    Some(Resources {
        cpu_milli: whole.cpu_milli.checked_sub(part.cpu_milli)?,
        memory_bytes: whole.memory_bytes.checked_sub(part.memory_bytes)?,
        disk_bytes: whole.disk_bytes.checked_sub(part.disk_bytes)?,
        bandwidth_bps: whole.bandwidth_bps.checked_sub(part.bandwidth_bps)?,
        gpus: listed(gpus),
    })
}

fn kind(gpu: &Gpu) -> Kind {
    (gpu.vendor.clone(), gpu.model.clone(), gpu.memory_bytes, gpu.interface.clone())
}

fn kinds(resources: &Resources) -> Option<BTreeMap<Kind, u32>> {
    let mut kinds = BTreeMap::new();
    for gpu in &resources.gpus {
        let count = kinds.entry(kind(gpu)).or_insert(0u32);
        *count = count.checked_add(gpu.count)?;
    }
    Some(kinds)
}

fn listed(kinds: BTreeMap<Kind, u32>) -> Vec<Gpu> {
    kinds
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|((vendor, model, memory_bytes, interface), count)| Gpu {
            vendor,
            model,
            memory_bytes,
            interface,
            count,
        })
        .collect()
}

#[cfg(test)]
mod tests;
