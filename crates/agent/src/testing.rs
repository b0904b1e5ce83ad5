//! Records that unit tests start from.

use crate::lease::Slot;
use muster_ledger::{
    job::{Job, JobKind, JobSpec, Verification},
    market::{Lease, LeaseStatus},
};
use muster_market::Request;
use muster_types::{
    AccountId, Amount, EscrowId, Hash, HostId, JobId, LeaseId, Millis, OrderId, Rate, Resources,
};

pub(crate) const TENANT: AccountId = AccountId(Hash([7; 32]));

/// Two CPU threads and 1 GiB of memory, for job `05..05`.
pub(crate) fn lease(status: LeaseStatus) -> Lease {
    Lease {
        order: OrderId::default(),
        escrow: EscrowId::default(),
        job: Some(JobId(Hash([5; 32]))),
        tenant: TENANT,
        host: HostId { provider: AccountId::default(), index: 0 },
        request: Request { cpu_milli: 2_000, memory_bytes: 1 << 30, ..Request::default() },
        takes: Resources::default(),
        verification: Verification::None,
        rate: Rate::ZERO,
        pledge: Amount::ZERO,
        status,
        granted_at: Millis::ZERO,
        seen_steady: Millis::ZERO,
        seen_height: 0,
        covered: Millis::ZERO,
        accrued: Amount::ZERO,
        shortfall: Amount::ZERO,
        paid: Amount::ZERO,
        compensated: Amount::ZERO,
        commitment: None,
        disputes: 0,
        final_at: None,
        guaranteed_until: Millis::MAX,
        reclaim_notice: None,
        fuel_per_s: 0,
        rejectable_until: Millis::ZERO,
    }
}

pub(crate) fn slot(status: LeaseStatus) -> Slot {
    Slot::new(LeaseId(Hash([1; 32])), &lease(status)).expect("not settled")
}

pub(crate) fn job(kind: JobKind, tasks: u64, fuel_max: u64) -> Job {
    let spec = JobSpec {
        kind,
        escrow: EscrowId::default(),
        tasks,
        verification: Verification::None,
        manifest: Hash::ZERO,
        fuel_max,
        chain: None,
        metered: false,
    };
    Job { tenant: TENANT, spec, closed: false, open_orders: 0, open_leases: 1, final_at: None }
}
