//! Committing to a lease's results: one Merkle root on the ledger.

use crate::{
    denial::Denial,
    journal::{Committed, ResultEntry},
    lease::Slot,
    shared::Shared,
};
use muster_ledger::Action;
use muster_types::{Hash, merkle};
use muster_verify::task_leaf;

/// The root over results in order of index: a [`task_leaf`] each, of batches and chains alike; and
/// the fuel that they used together.
pub(crate) fn commitment(results: &[ResultEntry]) -> Committed {
    let leaf = |entry: &ResultEntry| {
        let (task, result) = (&entry.claim.task, &entry.claim.result);
        task_leaf(&task.job, task.index, &task.input, &result.output, result.fuel)
    };
    let leaves: Vec<Hash> = results.iter().map(leaf).collect();
    let count = u64::try_from(leaves.len()).unwrap_or(u64::MAX);
    let fuel = results.iter().map(|entry| entry.claim.result.fuel).fold(0, u64::saturating_add);
    Committed { root: merkle::root(&leaves), count, fuel }
}

impl Shared {
    /// Commits to a lease's results so far; where nothing was added since, the answer is the same
    /// and nothing is sent. Of a lease without results nothing is sent. Waits for runs under way.
    pub(crate) async fn commit(&self, slot: &Slot) -> Result<Committed, Denial> {
        let _quiet = slot.quiet.write().await;
        let lease = slot.id;
        let (committed, repeated) = self
            .journal(move |journal| {
                let before = journal.lease(lease)?.and_then(|entry| entry.committed);
                let committed = commitment(&journal.results(lease)?);
                if before != Some(committed) && committed.count > 0 {
                    journal.set_committed(lease, committed)?;
                }
                Ok((committed, before == Some(committed)))
            })
            .await?;
        if committed.count == 0 || (repeated && self.knows(lease, committed).await?) {
            return Ok(committed);
        }
        let Committed { root, count, fuel } = committed;
        match self.wallet.act(Action::ResultCommit { lease, root, count, fuel }).await {
            Ok(_) => {
                tracing::info!(lease = %lease.short(), count, "results committed");
                Ok(committed)
            }
            // An earlier one may have been applied though its answer was lost.
            Err(_) if self.knows(lease, committed).await? => Ok(committed),
            Err(error) => Err(Denial::ledger(&error)),
        }
    }

    /// Whether the ledger has this commitment.
    async fn knows(
        &self,
        lease: muster_types::LeaseId,
        committed: Committed,
    ) -> Result<bool, Denial> {
        let lease = self.wallet.client().lease(&lease).await;
        let lease = lease.map_err(|error| Denial::ledger(&error))?;
        let known = lease.and_then(|lease| lease.record.commitment);
        Ok(known
            .is_some_and(|known| known.root == committed.root && known.count == committed.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster_ledger::{
        dispute::Claim,
        job::{TaskOutput, TaskRef},
    };
    use muster_types::{JobId, LeaseId, SecretKey};

    fn entry(index: u64, output: &[u8]) -> ResultEntry {
        let task = TaskRef {
            job: JobId(Hash([5; 32])),
            index,
            module: Hash::ZERO,
            input: Hash::of_content(&index.to_le_bytes()),
            data: Hash::ZERO,
            fuel_limit: 9,
            memory_limit_bytes: 9,
        };
        let result = TaskOutput { output: Hash::of_content(output), fuel: index + 1 };
        let key = SecretKey::from_seed([1; 32]);
        let claim = Claim::sign(&Hash::ZERO, LeaseId::default(), task, result, &key);
        ResultEntry { claim, output_bytes: 1 }
    }

    #[test]
    fn the_root_is_over_one_task_leaf_a_result_in_order_of_index() {
        let results = [entry(2, b"b"), entry(7, b"c")];
        let Committed { root, count, fuel } = commitment(&results);
        assert_eq!((count, fuel), (2, 3 + 8));
        let job = JobId(Hash([5; 32]));
        for (place, (index, output)) in [(2u64, b"b"), (7, b"c")].into_iter().enumerate() {
            let input = Hash::of_content(&index.to_le_bytes());
            let leaf = task_leaf(&job, index, &input, &Hash::of_content(output), index + 1);
            let other = results[1 - place].claim;
            let sibling = task_leaf(
                &job,
                other.task.index,
                &other.task.input,
                &other.result.output,
                other.result.fuel,
            );
            assert!(merkle::verify(&root, &leaf, place as u64, 2, &[sibling]));
        }
        assert_eq!(commitment(&[]), Committed { root: Hash::ZERO, count: 0, fuel: 0 });
        assert_ne!(commitment(&[entry(2, b"x"), entry(7, b"c")]).root, root);
    }
}
