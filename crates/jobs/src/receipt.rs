//! The receipt: gathers what proves how a job went and writes it down.

use crate::{JobError, drive::POLL, files, ledger::patient, settle::Settled, shared::Shared};
use muster_api::{
    receipt::{BlockProof, Receipt, Trail, VERSION},
    views::{BlockView, EPOCHS_MAX, EVENTS_MAX, Event, Explanation, Subject},
};
use muster_ledger::dispute::Claim;
use muster_types::{DisputeId, EscrowId, JobId, LeaseId, Millis, OrderId, Signature};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::Instant;

/// How long the blocks are waited for, and each block's certificate.
const PATIENCE: Duration = Duration::from_secs(20);
const CERTIFICATE_PATIENCE: Duration = Duration::from_secs(5);

/// What of the ledger's events is a job's.
struct Ours {
    job: JobId,
    escrow: EscrowId,
    orders: BTreeSet<OrderId>,
    leases: BTreeSet<LeaseId>,
    disputes: BTreeSet<DisputeId>,
}

impl Ours {
    /// Whether the event is about this job; learns disputes as they are opened.
    fn has(&mut self, event: &Event) -> bool {
        match event {
            Event::EscrowDeposited { escrow, .. }
            | Event::EscrowOverdrawn { escrow, .. }
            | Event::EscrowClosed { escrow, .. } => *escrow == self.escrow,
            Event::JobOpened { job, .. } | Event::JobClosed { job, .. } => *job == self.job,
            Event::OrderPlaced { order, .. } | Event::OrderEnded { order, .. } => {
                self.orders.contains(order)
            }
            Event::LeaseGranted { lease, .. }
            | Event::LeaseStarted { lease, .. }
            | Event::LeaseStalled { lease, .. }
            | Event::LeaseResumed { lease, .. }
            | Event::LeaseClosed { lease, .. }
            | Event::LeaseSettled { lease, .. }
            | Event::LeaseUpdating { lease, .. }
            | Event::LeaseUpdated { lease, .. }
            | Event::LeaseReclaiming { lease, .. }
            | Event::ResultCommitted { lease, .. }
            | Event::CommitmentDrawn { lease, .. }
            | Event::Slashed { lease, .. } => self.leases.contains(lease),
            Event::ChallengeOpened { of, .. }
            | Event::BisectRevealed { of, .. }
            | Event::BisectPicked { of, .. }
            | Event::StepCalled { of, .. }
            | Event::StepVoted { of, .. }
            | Event::ChallengeClosed { of, .. } => self.leases.contains(&of.lease),
            Event::DisputeOpened { dispute, of } => {
                let ours = of.job == self.job;
                if ours {
                    self.disputes.insert(*dispute);
                }
                ours
            }
            Event::DisputeVoted { dispute, .. } | Event::DisputeClosed { dispute, .. } => {
                self.disputes.contains(dispute)
            }
            _ => false,
        }
    }
}

/// What goes into a receipt beside the ledger's records.
pub(crate) struct Facts {
    /// How long validators are answerable for what they signed.
    pub(crate) unbonding: Millis,
    pub(crate) quote: Explanation,
    pub(crate) results: Vec<Claim>,
    pub(crate) orders: BTreeSet<OrderId>,
    /// The first block that may be about the job.
    pub(crate) from_height: u64,
}

/// Gathers and writes the receipt to `path`.
pub(crate) async fn write(
    shared: &Shared,
    settled: &Settled,
    facts: Facts,
    path: &Path,
) -> Result<PathBuf, JobError> {
    let client = shared.ledger.client();
    let until = Instant::now() + PATIENCE;
    let job = patient(until, || client.job(&shared.job)).await?.ok_or(JobError::Stopped)?;
    let mut ours = Ours {
        job: shared.job,
        escrow: settled.escrow.id,
        orders: facts.orders,
        leases: settled.leases.iter().map(|lease| lease.id).collect(),
        disputes: BTreeSet::new(),
    };
    let blocks = blocks(shared, &mut ours, facts.from_height, until).await?;
    let trail = trail(shared, &blocks, facts.unbonding, until).await?;
    // What has no certificate by now is left out: nothing would prove it.
    let blocks = blocks.iter().filter_map(|block| BlockProof::of(block, |event| ours.has(event)));
    let receipt = Receipt {
        version: VERSION,
        chain: shared.chain,
        name: shared.plan.name.clone(),
        quote: facts.quote,
        job,
        escrow: settled.escrow.clone(),
        leases: settled.leases.clone(),
        manifest: shared.plan.manifest(),
        results: facts.results,
        trail,
        blocks: blocks.collect(),
        signature: Signature([0; 64]),
    };
    let (target, key) = (path.to_owned(), shared.ledger.wallet().key().clone());
    let written = tokio::task::spawn_blocking(move || {
        let json = receipt.signed(&key).and_then(|receipt| serde_json::to_vec_pretty(&receipt));
        let json = json.map_err(std::io::Error::other);
        files::write_atomic(&target, [json.map(Into::into)])
    });
    written.await.map_err(|_| JobError::Stopped)??;
    Ok(path.to_owned())
}

/// The blocks with the job's events, from its escrow's opening to its closing.
async fn blocks(
    shared: &Shared,
    ours: &mut Ours,
    from_height: u64,
    until: Instant,
) -> Result<Vec<BlockView>, JobError> {
    let heights = heights(shared, ours, from_height, until).await?;
    let mut blocks = Vec::new();
    for height in heights {
        blocks.extend(certified(shared, height, until).await?);
    }
    Ok(blocks)
}

/// Who voted on the blocks, from the first epoch whose validators are still answerable for it, or
/// from the first of the blocks', on. Where the node does not know that far back, from where it
/// does.
async fn trail(
    shared: &Shared,
    blocks: &[BlockView],
    unbonding: Millis,
    until: Instant,
) -> Result<Trail, JobError> {
    let epochs = || blocks.iter().map(|block| block.epoch);
    let (first, last) = (epochs().min().unwrap_or(0), epochs().max().unwrap_or(0));
    let newest = blocks.iter().map(|block| block.now).max().unwrap_or(Millis::ZERO);
    let page_of = u64::try_from(EPOCHS_MAX).unwrap_or(u64::MAX);
    let client = shared.ledger.client();
    let page = patient(until, || client.epochs(last, 0)).await?;
    let mut trail = Trail { epoch: page.from, validators: page.validators, ends: Vec::new() };
    // Backwards, a page at a time.
    while trail.epoch > 0 {
        let from = trail.epoch.saturating_sub(page_of);
        let wanted = usize::try_from(trail.epoch.saturating_sub(from)).unwrap_or(EPOCHS_MAX);
        let mut page = patient(until, || client.epochs(from, wanted)).await?;
        page.ends.retain(|end| end.epoch < trail.epoch);
        let leads =
            page.ends.last().is_some_and(|end| end.epoch.checked_add(1) == Some(trail.epoch));
        if !leads {
            break;
        }
        let oldest = page.ends.first().map_or(newest, |end| end.now);
        page.ends.append(&mut trail.ends);
        let reached = page.from > from || page.from <= first && oldest.after(unbonding) < newest;
        trail = Trail { epoch: page.from, validators: page.validators, ends: page.ends };
        if reached {
            break;
        }
    }
    Ok(trail)
}

/// The heights of the blocks with the job's events, up to the escrow's end. What the node does not
/// tell in time is left out.
async fn heights(
    shared: &Shared,
    ours: &mut Ours,
    from_height: u64,
    until: Instant,
) -> Result<BTreeSet<u64>, JobError> {
    let subjects = [Subject::Escrow(ours.escrow), Subject::Job(ours.job)];
    let mut found = Found { from_height, heights: BTreeSet::new(), ended: false };
    let [mut of_escrow, mut of_job] = subjects.map(|subject| (subject, None));
    loop {
        collect(shared, ours, &mut of_escrow, &mut found, until).await?;
        if found.ended || Instant::now() > until {
            break;
        }
        tokio::time::sleep(POLL).await;
    }
    // A dispute's events name the job, not who pays for it.
    collect(shared, ours, &mut of_job, &mut found, until).await?;
    Ok(found.heights)
}

/// What was found of a job's events.
struct Found {
    from_height: u64,
    heights: BTreeSet<u64>,
    /// Whether its escrow was closed.
    ended: bool,
}

/// Reads the events that concern a subject, page by page, behind those that were read before.
async fn collect(
    shared: &Shared,
    ours: &mut Ours,
    (subject, after): &mut (Subject, Option<String>),
    found: &mut Found,
    until: Instant,
) -> Result<(), JobError> {
    let client = shared.ledger.client();
    loop {
        let next = || client.events_of(subject, after.as_deref(), EVENTS_MAX);
        let page = patient(until, next).await?;
        for entry in page.events.iter().filter(|entry| entry.height >= found.from_height) {
            if ours.has(&entry.event) {
                found.heights.insert(entry.height);
            }
            found.ended |= matches!(&entry.event, Event::EscrowClosed { escrow, .. } if *escrow == ours.escrow);
        }
        if let Some(last) = page.events.last() {
            *after = Some(last.cursor());
        }
        if page.next.is_none() {
            return Ok(());
        }
    }
}

/// A block with its certificate, which the engine may store a little after the block.
async fn certified(
    shared: &Shared,
    height: u64,
    until: Instant,
) -> Result<Option<BlockView>, JobError> {
    let enough = Instant::now() + CERTIFICATE_PATIENCE;
    loop {
        let block = patient(until, || shared.ledger.client().block(height)).await?;
        let waits = block.as_ref().is_none_or(|block| block.certificate.is_none());
        if !waits || Instant::now() > enough {
            return Ok(block);
        }
        tokio::time::sleep(POLL).await;
    }
}
