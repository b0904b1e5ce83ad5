//! Whether a request may be served: pure checks, before anything costs anything.
//!
//! | caller | lease | request | answer |
//! |---|---|---|---|
//! | anybody | unknown, settled, or on another provider | any | unknown lease |
//! | not the tenant | ours | any | not yours |
//! | the tenant | closed | any | over |
//! | the tenant | granted, live | within the limits, the lease and the job | served |
//! | the tenant | granted, live | anything else | bad request |

use crate::{
    config::{MAX_OUTPUT_BYTES, MAX_RESULTS_PER_LEASE, MAX_RUN_TASKS, MAX_WALL_MS},
    denial::Denial,
    lease::{Phase, Slot},
};
use muster_api::provider::{Prepare, Run, TaskLimits};
use muster_fabric::PeerAddr;
use muster_ledger::job::{Job, JobKind};
use muster_sandbox::{MAX_DATA_FILES, MAX_NAME_BYTES};
use muster_types::AccountId;

/// Whether `peer` may use the lease at all.
pub(crate) fn admit(slot: &Slot, peer: AccountId) -> Result<(), Denial> {
    if slot.tenant != peer {
        return Err(Denial::NotYours);
    }
    match slot.phase() {
        Phase::Granted | Phase::Live => Ok(()),
        Phase::Closed => Err(Denial::Over),
    }
}

/// Whether a lease is for services.
pub(crate) fn plain(slot: &Slot) -> Result<(), Denial> {
    match slot.job {
        None => Ok(()),
        Some(_) => Err(Denial::bad("lease: it was ordered for a job, not for services")),
    }
}

/// Where to fetch blobs.
pub(crate) fn source(text: &str) -> Result<PeerAddr, Denial> {
    text.parse().map_err(|error| Denial::bad(format!("source: {error}")))
}

/// Whether what is to be prepared fits the lease.
pub(crate) fn prepare(slot: &Slot, prepare: &Prepare) -> Result<(), Denial> {
    if slot.job != Some(prepare.job) {
        return Err(Denial::bad("job: the lease was not ordered for this job"));
    }
    if prepare.data.len() > MAX_DATA_FILES {
        let count = prepare.data.len();
        return Err(Denial::bad(format!(
            "data: {count} files, at most {MAX_DATA_FILES} are allowed"
        )));
    }
    let bad_name = |name: &&String| {
        let reserved = matches!(name.as_str(), "" | "." | "..");
        reserved || name.len() > MAX_NAME_BYTES || name.contains(['/', '\0'])
    };
    if let Some(name) = prepare.data.keys().find(bad_name) {
        let start: String = name.chars().take(80).collect();
        return Err(Denial::bad(format!("data: {start:?} is no name for a file")));
    }
    let TaskLimits { fuel, memory_bytes, output_bytes, wall_ms } = prepare.limits;
    let leased = slot.request.memory_bytes;
    for (name, value, least, most) in [
        ("fuel", fuel, 1, u64::MAX),
        ("memory_bytes", memory_bytes, 0, leased),
        ("output_bytes", output_bytes, 0, MAX_OUTPUT_BYTES),
        ("wall_ms", wall_ms, 1, MAX_WALL_MS),
    ] {
        if value < least || value > most {
            return Err(Denial::bad(format!(
                "limits.{name} is {value}, this lease allows {least} to {most}"
            )));
        }
    }
    Ok(())
}

/// Whether what is to be prepared is what the ledger's job says.
pub(crate) fn job(prepare: &Prepare, job: &Job) -> Result<(), Denial> {
    let spec = &job.spec;
    if spec.kind != prepare.kind {
        return Err(Denial::bad(format!("kind: the job on the ledger is a {:?} job", spec.kind)));
    }
    if prepare.limits.fuel > spec.fuel_max {
        return Err(Denial::bad(format!(
            "limits.fuel is {}, the job on the ledger allows {}",
            prepare.limits.fuel, spec.fuel_max
        )));
    }
    Ok(())
}

/// Whether a run asks for tasks that the job has, with the inputs that they take.
pub(crate) fn run(run: &Run, kind: JobKind, tasks: u64) -> Result<(), Denial> {
    if run.count == 0 || run.count > MAX_RUN_TASKS {
        let count = run.count;
        return Err(Denial::bad(format!("count is {count}, it must be 1 to {MAX_RUN_TASKS}")));
    }
    let tasks = tasks.min(MAX_RESULTS_PER_LEASE);
    if run.first.checked_add(u64::from(run.count)).is_none_or(|end| end > tasks) {
        return Err(Denial::bad(format!(
            "tasks {} and {} more are asked for, there are {tasks}",
            run.first,
            run.count - 1
        )));
    }
    let expected = match kind {
        JobKind::Batch => run.count,
        JobKind::Chain => 1,
    };
    if u32::try_from(run.inputs.len()) != Ok(expected) {
        let given = run.inputs.len();
        return Err(Denial::bad(format!("{given} inputs for a run that takes {expected}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
