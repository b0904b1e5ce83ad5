//! Checks a receipt without asking anybody.
//!
//! | what | against |
//! |---|---|
//! | the manifest | its commitment in the job |
//! | each result | the signature of its lease's provider, its task, the manifest; in a chain also the result before it |
//! | a lease's commitment, or that it has none | the last event that says so, and its results where all of them are here |
//! | parties, times, prices, sums and ends of job, escrow and leases | the events, and each other |
//! | the events | the event root in the header of their block |
//! | the blocks, and who the validators are | certificates, by the caller's `prove` |
//! | everything, so also what no event tells (name, quote, terms) | the signature of the tenant, whose key the job's opening proves |

use super::{BlockProof, Receipt, VERSION};
use crate::views::Event;
use muster_ledger::{
    dispute::Claim,
    escrow::EscrowStatus,
    job::JobKind,
    market::{CloseReason, Lease, LeaseStatus},
};
use muster_types::{Amount, Hash, LeaseId, Millis, merkle};
use std::collections::{BTreeMap, BTreeSet};

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

const FRAUD: CloseReason = CloseReason::ProviderFraud;

type Result<T> = std::result::Result<T, Defect>;

fn ensure(holds: bool, place: impl FnOnce() -> String, problem: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(Defect { place: place(), problem: problem.to_owned() }) }
}

/// Checks everything in `receipt` but its trail. `prove` checks one block's header, what is said of
/// it, and its certificate against the receipt's chain and trail, and gives the header's event root.
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
    let told = Told::of(receipt);
    check_job(receipt, &told)?;
    for (index, lease) in receipt.leases.iter().enumerate() {
        check_lease(receipt, &lease.id, &lease.record, &told)
            .and_then(|()| check_commitment(receipt, &lease.id, &lease.record, &told))
            .map_err(|problem| Defect { place: format!("leases[{index}]"), problem })?;
    }
    check_escrow(receipt, &told)?;
    let signed = receipt.is_signed_by(&receipt.job.record.tenant);
    let changed = "not the tenant's: something was changed since";
    ensure(signed, || "signature".to_owned(), changed)?;
    let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
    Ok(Checked {
        claims: count(receipt.results.len()),
        blocks: count(receipt.blocks.len()),
        leases: count(receipt.leases.len()),
        paid: receipt.escrow.record.paid,
    })
}

/// The receipt's events, each with the height and the time of its block, in the order in which they
/// happened.
struct Told<'a>(Vec<(u64, Millis, &'a Event)>);

impl<'a> Told<'a> {
    fn of(receipt: &'a Receipt) -> Self {
        let mut events: Vec<(u64, u64, Millis, &Event)> = Vec::new();
        for block in &receipt.blocks {
            let proved = block.events.iter();
            events.extend(proved.map(|at| (block.height, at.position, block.now, &at.event)));
        }
        events.sort_by_key(|(height, position, ..)| (*height, *position));
        Self(events.into_iter().map(|(height, _, now, event)| (height, now, event)).collect())
    }

    fn events(&self) -> impl Iterator<Item = &'a Event> {
        self.0.iter().map(|(.., event)| *event)
    }

    fn any(&self, says: impl Fn(&Event) -> bool) -> bool {
        self.events().any(says)
    }

    /// Whether an event says so at that time.
    fn any_at(&self, time: Millis, says: impl Fn(&Event) -> bool) -> bool {
        self.0.iter().any(|(_, now, event)| *now == time && says(event))
    }

    /// Whether the amounts that events tell add up to `sum`.
    fn adds_up(&self, sum: Amount, amount: impl Fn(&Event) -> Option<Amount>) -> bool {
        self::sum(self.events().filter_map(amount)) == Some(sum)
    }
}

fn check_results(receipt: &Receipt) -> Result<()> {
    let (spec, manifest) = (&receipt.job.record.spec, &receipt.manifest);
    let committed = manifest.commitment() == spec.manifest;
    ensure(committed, || "manifest".to_owned(), "not what the job committed to")?;
    let complete = u64::try_from(receipt.results.len()) == Ok(spec.tasks);
    ensure(complete, || "results".to_owned(), "not one for each task of the job")?;
    let leases: BTreeMap<_, _> =
        receipt.leases.iter().map(|lease| (lease.id, &lease.record)).collect();
    // A lease that had ended before its dispute was judged keeps the reason of its end.
    let proved = receipt.blocks.iter().flat_map(|block| &block.events);
    let convicted = proved.filter_map(|proved| match &proved.event {
        Event::Slashed { lease, reason, .. } if *reason == FRAUD => Some(*lease),
        _ => None,
    });
    let convicted: BTreeSet<LeaseId> = convicted.collect();
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
        check_claim(receipt, claim, lease, &convicted)
            .map_err(|problem| Defect { place: place("lease")(), problem: problem.to_owned() })?;
    }
    Ok(())
}

fn check_claim(
    receipt: &Receipt,
    claim: &Claim,
    lease: Option<&Lease>,
    convicted: &BTreeSet<LeaseId>,
) -> std::result::Result<(), &'static str> {
    let lease = lease.ok_or("not a lease of this job")?;
    let ended = matches!(lease.status, LeaseStatus::Closed { reason, .. } if reason == FRAUD);
    if ended || convicted.contains(&claim.lease) {
        return Err("its provider was convicted of a wrong result");
    }
    match claim.is_signed_by(&receipt.chain, &lease.host.provider) {
        true => Ok(()),
        false => Err("not signed by the lease's provider"),
    }
}

fn check_job(receipt: &Receipt, told: &Told<'_>) -> Result<()> {
    let (id, job) = (receipt.job.id, &receipt.job.record);
    let opened = told.any(|event| {
        matches!(event, Event::JobOpened { job: opened, tenant, escrow }
            if *opened == id && *tenant == job.tenant && *escrow == job.spec.escrow)
    });
    ensure(opened, || "job".to_owned(), "no block says that it was opened so")?;
    let escrow = job.spec.escrow == receipt.escrow.id;
    ensure(escrow, || "job.spec.escrow".to_owned(), "not the receipt's escrow")?;
    let closed =
        told.any(|event| matches!(event, Event::JobClosed { job: closed, .. } if *closed == id));
    ensure(closed == job.closed, || "job.closed".to_owned(), "not what the blocks say")?;
    let ended = job.open_orders == 0 && job.open_leases == 0;
    ensure(ended, || "job".to_owned(), "something of it is still open")
}

fn check_lease(
    receipt: &Receipt,
    id: &LeaseId,
    lease: &Lease,
    told: &Told<'_>,
) -> std::result::Result<(), String> {
    let hold = |holds: bool, problem: &str| if holds { Ok(()) } else { Err(problem.to_owned()) };
    let job = &receipt.job;
    let ours = lease.job == Some(job.id) && lease.escrow == receipt.escrow.id;
    hold(ours, "not of this job and its escrow")?;
    hold(lease.verification == job.record.spec.verification, "not checked as the job asks")?;
    let granted = told.any_at(lease.granted_at, |event| {
        // The record's pledge is zero by now: it was freed when the lease was settled.
        matches!(event, Event::LeaseGranted { lease: granted, order, tenant, escrow, job, host, rate, .. }
            if granted == id && *order == lease.order && *tenant == lease.tenant
                && *escrow == lease.escrow && *job == lease.job
                && *host == lease.host && *rate == lease.rate)
    });
    hold(granted, "no block says that it was granted so")?;
    let LeaseStatus::Closed { reason, at, settled: true } = lease.status else {
        return Err("not closed and settled".to_owned());
    };
    let closed = told.any_at(at, |event| {
        matches!(event, Event::LeaseClosed { lease: closed, reason: why, covered, accrued, .. }
            if closed == id && *why == reason
                && *covered == lease.covered && *accrued == lease.accrued)
    });
    hold(closed, "no block says that it was closed so")?;
    let settled = told.any(|event| {
        matches!(event, Event::LeaseSettled { lease: settled, provider, paid, .. }
            if settled == id && *provider == lease.host.provider && *paid == lease.paid)
    });
    hold(settled, "no block says that it was paid so")?;
    let compensated = told.adds_up(lease.compensated, |event| match event {
        Event::Slashed { lease: of, compensated, .. } if of == id => Some(*compensated),
        _ => None,
    });
    hold(compensated, "the blocks say something else of what its tenant was compensated")?;
    let due = lease.rate.charge_floor(lease.covered);
    let covered = due.is_some_and(|due| lease.paid <= due);
    hold(covered, "paid more than its rate times its covered time")?;
    hold(lease.pledge.is_zero() && lease.disputes == 0, "something is pledged or disputed yet")
}

fn check_commitment(
    receipt: &Receipt,
    id: &LeaseId,
    lease: &Lease,
    told: &Told<'_>,
) -> std::result::Result<(), String> {
    // The last counts: an open lease's provider may commit again.
    let last = told.0.iter().rev().find_map(|(height, now, event)| match event {
        Event::ResultCommitted { lease, root, count, fuel, .. } if lease == id => {
            Some((*height, *now, *root, *count, *fuel))
        }
        _ => None,
    });
    let made = lease.commitment.as_ref();
    if last != made.map(|made| (made.height, made.at, made.root, made.count, made.fuel)) {
        return Err("the blocks say something else of what it committed to".to_owned());
    }
    let Some(made) = made else { return Ok(()) };
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

fn check_escrow(receipt: &Receipt, told: &Told<'_>) -> Result<()> {
    let (id, escrow) = (receipt.escrow.id, &receipt.escrow.record);
    let place = || "escrow".to_owned();
    let nothing_left = escrow.balance.is_zero() && escrow.withheld.is_zero();
    let closed = escrow.status == EscrowStatus::Closed && nothing_left;
    ensure(closed, place, "not closed")?;
    let back = || escrow.deposits.iter().map(|deposit| (deposit.depositor, deposit.refunded));
    let closed = told.any(|event| {
        matches!(event, Event::EscrowClosed {
            escrow: closed, owner, deposited, paid, refunded, refunds, compensated, fees,
        } if *closed == id && *owner == escrow.owner
            && *deposited == escrow.deposited && *paid == escrow.paid
            && *refunded == escrow.refunded && *compensated == escrow.compensated
            && *fees == escrow.fees
            && refunds.iter().map(|refund| (refund.depositor, refund.amount)).eq(back()))
    });
    ensure(closed, place, "no block says that it was closed so")?;
    for (index, deposit) in escrow.deposits.iter().enumerate() {
        let paid_in = told.adds_up(deposit.amount, |event| match event {
            Event::EscrowDeposited { escrow, depositor, amount, .. }
                if *escrow == id && *depositor == deposit.depositor =>
            {
                Some(*amount)
            }
            _ => None,
        });
        let place = || format!("escrow.deposits[{index}]");
        ensure(paid_in, place, "the blocks say something else of what was paid in")?;
    }
    let put_in = sum(escrow.deposits.iter().map(|deposit| deposit.amount));
    ensure(put_in == Some(escrow.deposited), place, "deposited is not the sum of the deposits")?;
    let out = sum([escrow.paid, escrow.refunded, escrow.fees]);
    ensure(out == Some(escrow.deposited), place, "deposited is not paid, refunded and fees")?;
    let paid = sum(receipt.leases.iter().map(|lease| lease.record.paid));
    ensure(paid == Some(escrow.paid), place, "paid is not what the leases were paid")?;
    let compensated = sum(receipt.leases.iter().map(|lease| lease.record.compensated));
    let place = || "escrow.compensated".to_owned();
    ensure(compensated == Some(escrow.compensated), place, "not what the leases say")
}

fn sum(parts: impl IntoIterator<Item = Amount>) -> Option<Amount> {
    parts.into_iter().try_fold(Amount::ZERO, Amount::checked_add)
}
