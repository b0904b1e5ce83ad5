//! Whether what a provider answered is what it was asked: pure checks on claims.

use muster_ledger::{
    dispute::Claim,
    job::{JobKind, TaskRef},
};
use muster_types::{AccountId, Hash, LeaseId};

/// What was asked of whom.
#[derive(Clone, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) chain: &'a Hash,
    pub(crate) provider: AccountId,
    pub(crate) lease: LeaseId,
    pub(crate) kind: JobKind,
    /// The first task; its `input` and `index` change from task to task.
    pub(crate) first: TaskRef,
    pub(crate) count: u32,
    /// Of each task; of a chain the first state.
    pub(crate) inputs: &'a [Hash],
}

/// What is wrong with a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClaimFault {
    /// Not as many as tasks.
    #[error("it gave {given} claims for {asked} tasks")]
    Count { given: usize, asked: u32 },
    /// Under another lease.
    #[error("its claim for task {index} names another lease")]
    Lease { index: u64 },
    /// About another task, input, module, data or limit.
    #[error("its claim for task {index} is about another task")]
    Task { index: u64 },
    /// Does not follow from the step before.
    #[error("its claim for step {index} does not start from the state of the step before")]
    Link { index: u64 },
    /// More fuel than the task may use.
    #[error("its claim for task {index} names more fuel than the limit")]
    Fuel { index: u64 },
    /// Not signed by the provider for this chain.
    #[error("its claim for task {index} is not signed by it")]
    Signature { index: u64 },
}

/// Checks a whole answer: one claim a task in order, or, where the run `stopped`, one for each
/// task before the one that failed.
pub(crate) fn check(asked: &Asked<'_>, claims: &[Claim], stopped: bool) -> Result<(), ClaimFault> {
    let count = usize::try_from(asked.count).unwrap_or(usize::MAX);
    let fits = if stopped { claims.len() < count } else { claims.len() == count };
    if !fits {
        return Err(ClaimFault::Count { given: claims.len(), asked: asked.count });
    }
    let mut state = asked.inputs.first().copied();
    for (at, claim) in claims.iter().enumerate() {
        let index = asked.first.index.saturating_add(at as u64);
        let input = match asked.kind {
            JobKind::Batch => asked.inputs.get(at).copied(),
            JobKind::Chain => state,
        };
        check_one(asked, index, input, claim)?;
        state = Some(claim.result.output);
    }
    Ok(())
}

fn check_one(
    asked: &Asked<'_>,
    index: u64,
    input: Option<Hash>,
    claim: &Claim,
) -> Result<(), ClaimFault> {
    if claim.lease != asked.lease {
        return Err(ClaimFault::Lease { index });
    }
    let unlinked = TaskRef { index, input: claim.task.input, ..asked.first };
    if claim.task != unlinked {
        return Err(ClaimFault::Task { index });
    }
    if Some(claim.task.input) != input {
        return Err(match asked.kind {
            JobKind::Batch => ClaimFault::Task { index },
            JobKind::Chain => ClaimFault::Link { index },
        });
    }
    if claim.result.fuel > asked.first.fuel_limit {
        return Err(ClaimFault::Fuel { index });
    }
    if !claim.is_signed_by(asked.chain, &asked.provider) {
        return Err(ClaimFault::Signature { index });
    }
    Ok(())
}

/// Whether a provider's commitment is the root over the results that it gave us. `None` where it
/// committed to another number of results, as it does when an answer of its was lost.
pub(crate) fn commitment_holds(claims: &[Claim], root: &Hash, count: u64) -> Option<bool> {
    if claims.len() as u64 != count {
        return None;
    }
    let leaf = |claim: &Claim| {
        let (task, result) = (&claim.task, &claim.result);
        muster_verify::task_leaf(&task.job, task.index, &task.input, &result.output, result.fuel)
    };
    let leaves: Vec<Hash> = claims.iter().map(leaf).collect();
    Some(muster_types::merkle::root(&leaves) == *root)
}

#[cfg(test)]
mod tests;
