//! Running tasks: inputs fetched, programs run, results signed, written down, kept.

use crate::{
    check,
    config::{MAX_INPUT_BYTES, MAX_STDERR_BYTES},
    denial::Denial,
    journal::{Journal, ResultEntry, Setup},
    lease::{Prepared, Slot},
    shared::Shared,
};
use bytes::Bytes;
use futures::{StreamExt, stream};
use muster_api::provider::{Failure, Response, Run, TaskLimits};
use muster_fabric::PeerAddr;
use muster_ledger::{
    dispute::Claim,
    job::{JobKind, TaskOutput, TaskRef},
};
use muster_sandbox::{Limits, Outcome, RunError, StopFlag, Task};
use muster_types::Hash;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// Why a run ends before its last task.
enum Halt {
    Denied(Denial),
    Failed(Failure),
}

impl From<Denial> for Halt {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

/// Stops what still runs when the caller has gone or the lease is over.
struct StopOnDrop(StopFlag);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.raise();
    }
}

/// One `Run` being served.
struct Work<'a> {
    shared: &'a Shared,
    slot: &'a Slot,
    setup: &'a Setup,
    prepared: Option<Arc<Prepared>>,
    from: [PeerAddr; 1],
    stop: StopOnDrop,
}

/// A task's result: known from before, or new.
enum Found {
    Known(ResultEntry),
    New { entry: ResultEntry, output: Bytes },
}

impl Shared {
    /// Serves [`Run`]. A task that was run before with the same input, and whose output is still
    /// there, is answered from the journal.
    pub(crate) async fn run(&self, slot: &Slot, run: Run) -> Result<Response, Denial> {
        let _turn = slot.runs.try_acquire().map_err(|_| Denial::Busy)?;
        let _quiet = slot.quiet.read().await;
        let lease = slot.id;
        let entry = self.journal(move |journal| journal.lease(lease)).await?;
        let entry = entry.ok_or(Denial::NotPrepared)?;
        let setup = entry.setup.ok_or(Denial::NotPrepared)?;
        let prepared = slot.prepared();
        let tasks = prepared.as_ref().map_or(u64::MAX, |prepared| prepared.tasks);
        check::run(&run, setup.kind, tasks)?;
        let work = Work {
            shared: self,
            slot,
            setup: &setup,
            prepared,
            from: [check::source(&run.source)?],
            stop: StopOnDrop(StopFlag::default()),
        };
        tokio::select! {
            biased;
            () = slot.over.cancelled() => Err(Denial::Over),
            () = self.stopping.cancelled() => Err(Denial::Stopping),
            response = work.all(&run) => response,
        }
    }
}

impl Work<'_> {
    async fn all(&self, run: &Run) -> Result<Response, Denial> {
        let mut claims = Vec::new();
        let end = match self.setup.kind {
            JobKind::Batch => self.batch(run, &mut claims).await,
            JobKind::Chain => self.chain(run, &mut claims).await,
        };
        // Nothing leaves that would not survive us.
        self.shared.journal(Journal::sync).await?;
        match end {
            Ok(()) => Ok(Response::Done { claims }),
            Err(Halt::Failed(failure)) => Ok(Response::Failed { claims, failure }),
            Err(Halt::Denied(denial)) => Err(denial),
        }
    }

    /// Independent tasks, several at once, kept in order: what is kept is what is answered.
    async fn batch(&self, run: &Run, claims: &mut Vec<Claim>) -> Result<(), Halt> {
        self.hold(run.inputs.clone()).await?;
        let width = self
            .prepared
            .as_ref()
            .map_or(1, |prepared| self.slot.width(prepared.setup.limits.memory_bytes));
        let tasks: Vec<(Hash, u64)> = run.inputs.iter().copied().zip(run.first..).collect();
        let mut found =
            stream::iter(tasks).map(|(input, index)| self.batch_task(index, input)).buffered(width);
        while let Some(found) = found.next().await {
            claims.push(self.keep(found?).await?.claim);
        }
        Ok(())
    }

    async fn batch_task(&self, index: u64, input: Hash) -> Result<Found, Halt> {
        if let Some(entry) = self.known(index, input).await? {
            return Ok(Found::Known(entry));
        }
        let (prepared, turn) = self.room().await?;
        let stdin = self.input(input).await?.to_vec();
        let task = Task { stdin, data: prepared.data.clone(), stop: self.stop.0.clone() };
        self.execute(prepared, turn, (index, input), task).await
    }

    /// One task after another, each on what the one before gave.
    async fn chain(&self, run: &Run, claims: &mut Vec<Claim>) -> Result<(), Halt> {
        self.hold(run.inputs.clone()).await?;
        let Some(first) = run.inputs.first() else { return Ok(()) };
        let (mut input, mut state): (Hash, Option<Bytes>) = (*first, None);
        for (index, _) in (run.first..).zip(0..run.count) {
            let found = match self.known(index, input).await? {
                Some(entry) => Found::Known(entry),
                None => {
                    let (prepared, turn) = self.room().await?;
                    let before = match state.take() {
                        Some(state) => state,
                        None => self.input(input).await?,
                    };
                    let mut task = Task::chain_step(index, &before, prepared.data.clone());
                    task.stop = self.stop.0.clone();
                    self.execute(prepared, turn, (index, input), task).await?
                }
            };
            state = match &found {
                Found::Known(_) => None,
                Found::New { output, .. } => Some(output.clone()),
            };
            let entry = self.keep(found).await?;
            input = entry.claim.result.output;
            claims.push(entry.claim);
        }
        Ok(())
    }

    async fn hold(&self, blobs: Vec<Hash>) -> Result<(), Denial> {
        let (lease, tenant) = (self.slot.id, self.slot.tenant);
        Ok(self.shared.journal(move |journal| journal.hold(lease, tenant, &blobs)).await?)
    }

    /// The result of this very task, if it is known and its output is still there.
    async fn known(&self, index: u64, input: Hash) -> Result<Option<ResultEntry>, Denial> {
        let lease = self.slot.id;
        let entry = self.shared.journal(move |journal| journal.result(lease, index)).await?;
        let Some(entry) = entry.filter(|entry| entry.claim.task.input == input) else {
            return Ok(None);
        };
        let held = self.shared.fabric.has(entry.claim.result.output).await;
        let held = held.map_err(|error| Denial::internal("look for a blob", &error))?;
        Ok(held.then_some(entry))
    }

    /// What a task needs to run, and its place among those of the lease that run at once.
    async fn room(&self) -> Result<(&Arc<Prepared>, OwnedSemaphorePermit), Denial> {
        let prepared = self.prepared.as_ref().ok_or(Denial::NotPrepared)?;
        let room = Arc::clone(&prepared.room).acquire_owned().await;
        Ok((prepared, room.map_err(|_| Denial::Stopping)?))
    }

    async fn input(&self, hash: Hash) -> Result<Bytes, Denial> {
        let held = self.shared.fabric.has(hash).await;
        let held = held.map_err(|error| Denial::internal("look for a blob", &error))?;
        let limit = MAX_INPUT_BYTES.min(self.slot.request.memory_bytes);
        let bytes = self.shared.blob(hash, limit, &self.from).await?;
        if !held {
            self.slot.store(length(&bytes))?;
        }
        Ok(bytes)
    }

    async fn execute(
        &self,
        prepared: &Arc<Prepared>,
        turn: OwnedSemaphorePermit,
        (index, input): (u64, Hash),
        task: Task,
    ) -> Result<Found, Halt> {
        let worker = Arc::clone(&self.shared.workers).acquire_owned().await;
        let worker = worker.map_err(|_| Denial::Stopping)?;
        let TaskLimits { fuel, memory_bytes, output_bytes, wall_ms } = prepared.setup.limits;
        let limits = Limits { fuel, memory_bytes, output_bytes, wall_ms };
        let program = Arc::clone(&prepared.program);
        let ran = tokio::task::spawn_blocking(move || {
            // Held until the run has really ended, even if nobody waits for it any more.
            let _held = (turn, worker);
            program.run(task, &limits)
        });
        let ran = ran.await.map_err(|panic| Denial::internal("run a task", &panic))?;
        let Outcome { mut output, fuel_used, .. } = ran.map_err(|error| failure(&error))?;
        self.shared.count(fuel_used);
        if self.shared.fault.is_some_and(|fault| fault.apply(index, &mut output)) {
            tracing::warn!(lease = %self.slot.id.short(), index, "simulated fault: wrong output");
        }
        let task = TaskRef {
            job: prepared.setup.job,
            index,
            module: prepared.setup.module,
            input,
            data: prepared.listing,
            fuel_limit: fuel,
            memory_limit_bytes: memory_bytes,
        };
        let result = TaskOutput { output: Hash::of_content(&output), fuel: fuel_used };
        let wallet = &self.shared.wallet;
        let claim = Claim::sign(&wallet.chain(), self.slot.id, task, result, wallet.key());
        let output = Bytes::from(output);
        let entry = ResultEntry { claim, output_bytes: length(&output) };
        Ok(Found::New { entry, output })
    }

    /// Writes a new result down and keeps its output for the tenant.
    async fn keep(&self, found: Found) -> Result<ResultEntry, Denial> {
        let (entry, output) = match found {
            Found::Known(entry) => return Ok(entry),
            Found::New { entry, output } => (entry, output),
        };
        let ResultEntry { claim, output_bytes } = entry;
        let (lease, task) = (claim.lease, claim.task);
        let before = self.shared.journal(move |journal| journal.result(lease, task.index)).await?;
        let before = before.filter(|before| before.claim.task == task);
        if before.as_ref().is_some_and(|before| before.claim.result != claim.result) {
            tracing::error!(
                lease = %lease.short(), index = task.index,
                "the same task gave another result than before: this machine is not to be trusted"
            );
            return Err(Denial::Internal);
        }
        if before.is_none() {
            self.slot.store(output_bytes)?;
        }
        self.shared
            .journal(move |journal| journal.record(&ResultEntry { claim, output_bytes }))
            .await?;
        let added = self.shared.fabric.add_bytes(output).await;
        added.map_err(|error| Denial::internal("keep an output", &error))?;
        self.shared.fabric.gate().allow(self.slot.tenant, claim.result.output);
        Ok(entry)
    }
}

fn length(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn failure(error: &RunError) -> Halt {
    let stderr = match error {
        RunError::Trap { stderr, .. } | RunError::ExitCode { stderr, .. } => stderr.as_str(),
        _ => "",
    };
    let start = stderr.ceil_char_boundary(stderr.len().saturating_sub(MAX_STDERR_BYTES));
    Halt::Failed(Failure {
        deterministic: error.is_deterministic(),
        message: error.to_string(),
        stderr: stderr.get(start..).unwrap_or_default().to_owned(),
    })
}
