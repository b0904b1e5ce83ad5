//! Checks a receipt without asking anybody.
//!
//! | what | against |
//! |---|---|
//! | the manifest | its commitment in the job |
//! | each result | the signature of its lease's provider, its task, the manifest; in a chain also the result before it |
//! | a lease's committed root | the event that says so, and its results where all of them are here |
//! | what leases and escrow say | each other, and the events |
//! | the events | the event root in the header of their block |
//! | the blocks, and who the validators are | certificates, by the caller's `prove` |

use super::{BlockProof, Receipt, VERSION};
use crate::views::Event;
use muster_ledger::{
    dispute::Claim,
    escrow::EscrowStatus,
    job::JobKind,
    market::{CloseReason, Lease, LeaseStatus},
};
use muster_types::{Amount, Hash, LeaseId, merkle};
use std::collections::BTreeMap;

/// What is wrong with a receipt, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("receipt: `{place}`: {problem}")]
pub struct Defect {
    /// The field, as a path.
    pub place: String,
    /// What is wrong with it.
    pub problem: String,
}

/// What a good receipt proves.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Checked {
    /// Claims whose signature and content hold.
    pub claims: u64,
    /// Blocks whose certificate and events hold.
    pub blocks: u64,
    /// Leases that agree with their events.
    pub leases: u64,
    /// Paid to providers, `usd`.
    pub paid: Amount,
}

type Result<T> = std::result::Result<T, Defect>;

fn ensure(holds: bool, place: impl FnOnce() -> String, problem: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(Defect { place: place(), problem: problem.to_owned() }) }
}

/// Checks everything in `receipt` but its trail. `prove` checks one block's header and certificate
/// against the receipt's chain and trail, and gives the header's event root.
///
/// # Errors
/// The first [`Defect`].
pub fn check(
    receipt: &Receipt,
    prove: impl Fn(&BlockProof) -> std::result::Result<Hash, String>,
) -> Result<Checked> {
    ensure(receipt.version == VERSION, || "version".to_owned(), "not a version known here")?;
    check_results(receipt)?;
    for (index, block) in receipt.blocks.iter().enumerate() {
        let place = |field: &str| format!("blocks[{index}].{field}");
        let root = prove(block).map_err(|problem| Defect { place: place("header"), problem })?;
        if let Some(stray) = block.stray(&root) {
            let (place, problem) = (place("events"), "not one of the signed block");
            return Err(Defect { place: format!("{place}[{stray}]"), problem: problem.to_owned() });
        }
    }
    let events = receipt.blocks.iter().flat_map(|block| &block.events);
    let events: Vec<&Event> = events.map(|proved| &proved.event).collect();
    check_job(receipt, &events)?;
    for (index, lease) in receipt.leases.iter().enumerate() {
        check_lease(&lease.id, &lease.record, &events)
            .and_then(|()| check_commitment(receipt, &lease.id, &lease.record, &events))
            .map_err(|problem| Defect { place: format!("leases[{index}]"), problem })?;
    }
    check_escrow(receipt, &events)?;
    let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
    Ok(Checked {
        claims: count(receipt.results.len()),
        blocks: count(receipt.blocks.len()),
        leases: count(receipt.leases.len()),
        paid: receipt.escrow.record.paid,
    })
}

fn check_results(receipt: &Receipt) -> Result<()> {
    let (spec, manifest) = (&receipt.job.record.spec, &receipt.manifest);
    let committed = manifest.commitment() == spec.manifest;
    ensure(committed, || "manifest".to_owned(), "not what the job committed to")?;
    let complete = u64::try_from(receipt.results.len()) == Ok(spec.tasks);
    ensure(complete, || "results".to_owned(), "not one for each task of the job")?;
    let leases: BTreeMap<_, _> =
        receipt.leases.iter().map(|lease| (lease.id, &lease.record)).collect();
    let data = muster_verify::data_listing_hash(&manifest.data);
    let mut before: Option<Hash> = None;
    for (index, claim) in (0u64..).zip(&receipt.results) {
        let place = |field: &'static str| move || format!("results[{index}].{field}");
        let task = &claim.task;
        ensure(task.job == receipt.job.id, place("task.job"), "another job's")?;
        ensure(task.index == index, place("task.index"), "out of order")?;
        ensure(task.module == manifest.module, place("task.module"), "not the manifest's")?;
        ensure(task.data == data, place("task.data"), "not the manifest's")?;
        let linked = spec.kind == JobKind::Batch || before.is_none_or(|state| state == task.input);
        ensure(linked, place("task.input"), "not the state that the step before gave")?;
        before = Some(claim.result.output);
        let lease = leases.get(&claim.lease).copied();
        check_claim(receipt, claim, lease)
            .map_err(|problem| Defect { place: place("lease")(), problem: problem.to_owned() })?;
    }
    Ok(())
}

fn check_claim(
    receipt: &Receipt,
    claim: &Claim,
    lease: Option<&Lease>,
) -> std::result::Result<(), &'static str> {
    let lease = lease.ok_or("not a lease of this job")?;
    if let LeaseStatus::Closed { reason: CloseReason::ProviderFraud, .. } = lease.status {
        return Err("its provider was convicted of a wrong result");
    }
    match claim.is_signed_by(&receipt.chain, &lease.host.provider) {
        true => Ok(()),
        false => Err("not signed by the lease's provider"),
    }
}

fn check_job(receipt: &Receipt, events: &[&Event]) -> Result<()> {
    let job = &receipt.job;
    let opened = events.iter().any(|event| {
        matches!(event, Event::JobOpened { job: id, tenant, .. }
            if *id == job.id && *tenant == job.record.tenant)
    });
    ensure(opened, || "job".to_owned(), "no block says that it was opened")?;
    let escrow = job.record.spec.escrow == receipt.escrow.id;
    ensure(escrow, || "job.spec.escrow".to_owned(), "not the receipt's escrow")
}

fn check_lease(id: &LeaseId, lease: &Lease, events: &[&Event]) -> std::result::Result<(), String> {
    let granted = events.iter().any(|event| {
        // The record's pledge is zero by now: it was freed when the lease was settled.
        matches!(event, Event::LeaseGranted { lease: granted, order, tenant, host, rate, .. }
            if granted == id && *order == lease.order && *tenant == lease.tenant
                && *host == lease.host && *rate == lease.rate)
    });
    if !granted {
        return Err("no block says that it was granted so".to_owned());
    }
    let closed = events.iter().any(|event| {
        matches!((event, lease.status),
            (Event::LeaseClosed { lease: closed, covered, accrued, .. }, LeaseStatus::Closed { .. })
            if closed == id && *covered == lease.covered && *accrued == lease.accrued)
    });
    if !closed {
        return Err("no block says that it was closed so".to_owned());
    }
    let settled = events.iter().any(|event| {
        matches!(event, Event::LeaseSettled { lease: settled, provider, paid, .. }
            if settled == id && *provider == lease.host.provider && *paid == lease.paid)
    });
    if !settled {
        return Err("no block says that it was paid so".to_owned());
    }
    let due = lease.rate.charge_floor(lease.covered);
    if due.is_none_or(|due| lease.paid > due) {
        return Err("paid more than its rate times its covered time".to_owned());
    }
    Ok(())
}

fn check_commitment(
    receipt: &Receipt,
    id: &LeaseId,
    lease: &Lease,
    events: &[&Event],
) -> std::result::Result<(), String> {
    let Some(made) = &lease.commitment else { return Ok(()) };
    let told = events.iter().any(|event| {
        matches!(event, Event::ResultCommitted { lease, root, count, fuel, .. }
            if lease == id && *root == made.root && *count == made.count && *fuel == made.fuel)
    });
    if !told {
        return Err("no block says that its results were committed to so".to_owned());
    }
    let claims = receipt.results.iter().filter(|claim| claim.lease == *id);
    let leaves: Vec<Hash> = claims
        .map(|Claim { task, result, .. }| {
            muster_verify::task_leaf(
                &task.job,
                task.index,
                &task.input,
                &result.output,
                result.fuel,
            )
        })
        .collect();
    // A provider also commits to results that were not taken: then the receipt has not all.
    let all = u64::try_from(leaves.len()) == Ok(made.count);
    if all && merkle::root(&leaves) != made.root {
        return Err("its results are not those that it committed to".to_owned());
    }
    Ok(())
}

fn check_escrow(receipt: &Receipt, events: &[&Event]) -> Result<()> {
    let (id, escrow) = (receipt.escrow.id, &receipt.escrow.record);
    let place = || "escrow".to_owned();
    ensure(escrow.status == EscrowStatus::Closed, place, "not closed")?;
    let closed = events.iter().any(|event| {
        matches!(event, Event::EscrowClosed {
            escrow: closed, deposited, paid, refunded, compensated, fees, ..
        } if *closed == id && *deposited == escrow.deposited && *paid == escrow.paid
            && *refunded == escrow.refunded && *compensated == escrow.compensated
            && *fees == escrow.fees)
    });
    ensure(closed, place, "no block says that it was closed so")?;
    let out = escrow.paid.checked_add(escrow.refunded).and_then(|out| out.checked_add(escrow.fees));
    ensure(out == Some(escrow.deposited), place, "deposited is not paid, refunded and fees")?;
    let paid = receipt
        .leases
        .iter()
        .try_fold(Amount::ZERO, |total, lease| total.checked_add(lease.record.paid));
    ensure(paid == Some(escrow.paid), place, "paid is not what the leases were paid")
}
