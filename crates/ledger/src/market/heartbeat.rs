//! `Heartbeat`: one transaction for many leases. Leases that are not ready yet or closed already
//! are passed over, so that a tenant who closes one does not spoil the word on the others.

use super::{Lease, LeaseStatus};
use crate::{
    Event, Reject,
    ctx::{By, Ctx},
    escrow::settle,
    limits,
    provider::Provider,
};
use muster_types::{EscrowId, LeaseId, Millis};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) fn run(ctx: &mut Ctx<'_>, by: &By, leases: &[LeaseId]) -> Result<(), Reject> {
    if leases.is_empty() || leases.len() > limits::HEARTBEAT_LEASES {
        return Err(Reject::bad_field("leases"));
    }
    let mut touched: BTreeMap<EscrowId, Vec<settle::Touched>> = BTreeMap::new();
    let (mut missed, mut proven, mut covered) = (0u64, 0u32, Millis::ZERO);
    let mut seen = BTreeSet::new();
    for id in leases {
        if !seen.insert(*id) {
            continue;
        }
        let mut lease: Lease = ctx.load(id)?;
        if lease.provider() != by.signer {
            return Err(Reject::not_yours("provider"));
        }
        let resumed = match lease.status {
            LeaseStatus::Granted | LeaseStatus::Closed { .. } => continue,
            LeaseStatus::Active | LeaseStatus::Updating { .. } | LeaseStatus::Reclaiming { .. } => {
                None
            }
            LeaseStatus::Stalled { was, .. } => Some(was),
        };
        match settle::cover(ctx, &mut lease) {
            // By a second heartbeat in one block.
            Some(Millis::ZERO) => {}
            Some(gap) => {
                (proven, covered) = (proven.saturating_add(1), covered.after(gap));
                let touched = touched.entry(lease.escrow).or_default();
                touched.push(settle::Touched { id: *id, lease, gap });
                continue;
            }
            None => missed = missed.saturating_add(1),
        }
        if let Some(was) = resumed {
            lease.status = was.into();
        }
        ctx.store(id, &lease);
        if resumed.is_some() {
            ctx.emit(Event::LeaseResumed { lease: *id, provider: by.signer, of: lease.parties() });
        }
    }
    if missed > 0 {
        let mut provider: Provider = ctx.load(&by.signer)?;
        let conduct = &mut provider.conduct;
        conduct.heartbeats_missed = conduct.heartbeats_missed.saturating_add(missed);
        ctx.store(&by.signer, &provider);
    }
    ctx.emit(Event::Covered { provider: by.signer, count: proven, covered });
    settle::settle(ctx, touched)
}
