//! Adding up and taking apart capacity, without loss and without overflow.
//!
//! Results are canonical: one entry a kind of GPU (vendor, model, memory, interface), sorted, none
//! with a count of zero. So a host's books read the same whatever the order of its leases.

use muster_types::{Gpu, Resources};
use std::{borrow::Cow, cmp::Ordering};

/// `left + right`; `None` on overflow.
#[must_use]
pub fn checked_add(left: &Resources, right: &Resources) -> Option<Resources> {
    let mut gpus = left.gpus.clone();
    gpus.extend_from_slice(&right.gpus);
    Some(Resources {
        cpu_milli: left.cpu_milli.checked_add(right.cpu_milli)?,
        memory_bytes: left.memory_bytes.checked_add(right.memory_bytes)?,
        disk_bytes: left.disk_bytes.checked_add(right.disk_bytes)?,
        bandwidth_bps: left.bandwidth_bps.checked_add(right.bandwidth_bps)?,
        gpus: canonical(gpus)?,
    })
}

/// `whole - part`; `None` where `part` has more of anything, or GPUs of a kind that `whole` lacks.
///
/// A host's free capacity is `checked_sub(&capacity, &used)`; whether a host may shrink to a new
/// capacity is whether that is `Some`.
#[must_use]
pub fn checked_sub(whole: &Resources, part: &Resources) -> Option<Resources> {
    let mut rest = whole.clone();
    take(&mut rest, part)?;
    Some(rest)
}

/// The same in place. On `None`, `whole` is not to be used any more.
pub(crate) fn take(whole: &mut Resources, part: &Resources) -> Option<()> {
    whole.cpu_milli = whole.cpu_milli.checked_sub(part.cpu_milli)?;
    whole.memory_bytes = whole.memory_bytes.checked_sub(part.memory_bytes)?;
    whole.disk_bytes = whole.disk_bytes.checked_sub(part.disk_bytes)?;
    whole.bandwidth_bps = whole.bandwidth_bps.checked_sub(part.bandwidth_bps)?;
    if !is_canonical(&whole.gpus) {
        whole.gpus = canonical(std::mem::take(&mut whole.gpus))?;
    }
    for gpu in part.gpus.iter().filter(|gpu| gpu.count > 0) {
        // One that is used up stays in its place to the end, so that more of it is too much.
        let known = whole.gpus.iter_mut().find(|known| by_kind(known, gpu) == Ordering::Equal)?;
        known.count = known.count.checked_sub(gpu.count)?;
    }
    whole.gpus.retain(|gpu| gpu.count > 0);
    Some(())
}

fn by_kind(left: &Gpu, right: &Gpu) -> Ordering {
    left.vendor
        .cmp(&right.vendor)
        .then_with(|| left.model.cmp(&right.model))
        .then_with(|| left.memory_bytes.cmp(&right.memory_bytes))
        .then_with(|| left.interface.cmp(&right.interface))
}

fn is_canonical(gpus: &[Gpu]) -> bool {
    gpus.iter().all(|gpu| gpu.count > 0)
        && gpus.is_sorted_by(|left, right| by_kind(left, right) == Ordering::Less)
}

/// These, with one entry a kind of GPU.
pub(crate) fn in_canon(resources: &Resources) -> Cow<'_, Resources> {
    if is_canonical(&resources.gpus) {
        return Cow::Borrowed(resources);
    }
    let mut owned = resources.clone();
    owned.gpus = canonical(owned.gpus).unwrap_or_default();
    Cow::Owned(owned)
}

/// One entry a kind, in order, those with none left out; `None` on overflow.
fn canonical(mut gpus: Vec<Gpu>) -> Option<Vec<Gpu>> {
    gpus.sort_by(by_kind);
    let mut overflows = false;
    gpus.dedup_by(|next, known| {
        let same = by_kind(next, known) == Ordering::Equal;
        if same {
            match known.count.checked_add(next.count) {
                Some(sum) => known.count = sum,
                None => overflows = true,
            }
        }
        same
    });
    gpus.retain(|gpu| gpu.count > 0);
    (!overflows).then_some(gpus)
}

#[cfg(test)]
mod tests;
