//! The validator as referee: re-runs disputed tasks and votes on what they really give.
//!
//! Runs beside the block path: fetching or running a task, however slow or hostile, never holds
//! up a block. The evidence (module, input, data) comes from the tenant by content hash; where it
//! cannot be had the vote says so, and nobody is at fault.

use crate::{
    consensus::{Consensus, duty},
    history::History,
    mempool::TxOutcome,
};
use muster_fabric::{Fabric, PeerAddr};
use muster_ledger::{
    Action, Event,
    dispute::{Dispute, DisputeStatus},
    job::{JobKind, TaskOutput, TaskRef},
    view,
};
use muster_sandbox::{Compiler, DataDir, Limits, Task};
use muster_types::{DisputeId, Hash, Millis, SecretKey, codec};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

/// The largest module, input or data file that a referee fetches, in bytes.
pub(crate) const REFEREE_BYTES_MAX: u64 = 256 << 20;

/// The largest listing of a data directory, in bytes.
const LISTING_BYTES_MAX: u64 = 1 << 20;

const OUTPUT_BYTES_MAX: u64 = 256 << 20;
const RUN_WALL_MS: u64 = 60_000;
const VOTE_TRIES: u32 = 5;
const RETRY_PAUSE: Duration = Duration::from_millis(200);
const VOTE_LIFETIME: Millis = Millis(30_000);

/// What a referee works with.
#[derive(Clone)]
pub(crate) struct Referee {
    pub(crate) consensus: Consensus,
    pub(crate) history: History,
    pub(crate) fabric: Arc<Fabric>,
    pub(crate) compiler: Arc<Compiler>,
    pub(crate) key: SecretKey,
    pub(crate) chain: Hash,
    pub(crate) stopping: CancellationToken,
}

/// Why a task could not be judged.
#[derive(Debug, thiserror::Error)]
enum Unjudged {
    #[error("the evidence address cannot be read")]
    Address(#[source] muster_fabric::PeerAddrError),
    #[error("the evidence could not be fetched")]
    Fetch(#[source] muster_fabric::FetchError),
    #[error("the evidence could not be kept")]
    Blob(#[source] muster_fabric::BlobError),
    #[error("the data listing is malformed")]
    Listing(#[source] codec::DecodeError),
    #[error("the data directory is not acceptable")]
    Data(#[source] muster_sandbox::DataError),
    #[error("the module is not acceptable")]
    Compile(#[source] muster_sandbox::CompileError),
    #[error("the task failed")]
    Run(#[source] muster_sandbox::RunError),
    #[error("the job is not on the ledger")]
    NoJob,
    #[error("the run was aborted")]
    Aborted,
}

impl Referee {
    /// Judges every dispute, those already open first, until told to stop.
    pub(crate) async fn run(self) {
        let mut live = self.history.listen();
        let open = self.consensus.read(|state, _| view::open_disputes(state));
        for (id, _) in open {
            self.clone().spawn(id);
        }
        loop {
            let block = tokio::select! {
                block = live.recv() => block,
                () = self.stopping.cancelled() => return,
            };
            match block {
                Ok(block) => {
                    for event in block.events() {
                        if let Event::DisputeOpened { dispute, .. } = event {
                            self.clone().spawn(*dispute);
                        }
                    }
                }
                Err(RecvError::Lagged(_)) => {
                    for (id, _) in self.consensus.read(|state, _| view::open_disputes(state)) {
                        self.clone().spawn(id);
                    }
                }
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn spawn(self, id: DisputeId) {
        tokio::spawn(async move {
            let stopping = self.stopping.clone();
            tokio::select! {
                () = self.judge(id) => {}
                () = stopping.cancelled() => {}
            }
        });
    }

    async fn judge(&self, id: DisputeId) {
        let Some(dispute) = self.undecided(&id) else { return };
        let output = match self.re_run(&dispute).await {
            Ok(output) => Some(output),
            Err(error) => {
                tracing::warn!(dispute = %id, error = &error as &dyn std::error::Error, "no verdict");
                None
            }
        };
        for attempt in 0..VOTE_TRIES {
            if self.undecided(&id).is_none() || self.vote(id, output).await {
                return;
            }
            tracing::debug!(dispute = %id, attempt, "the vote was not taken; once more");
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        tracing::error!(dispute = %id, "the vote could not be cast");
    }

    /// The dispute, if this validator still has to vote on it.
    fn undecided(&self, id: &DisputeId) -> Option<Dispute> {
        let me = self.key.account();
        let found = self.consensus.read(|state, _| view::dispute(state, id))?;
        let open = matches!(found.status, DisputeStatus::Open);
        let voted = found.votes.iter().any(|vote| vote.validator == me);
        (open && !voted).then_some(found)
    }

    async fn re_run(&self, dispute: &Dispute) -> Result<TaskOutput, Unjudged> {
        let [claim, _] = &dispute.claims;
        let task = claim.task;
        let job = self.consensus.read(|state, _| view::job(state, &dispute.job));
        let kind = job.ok_or(Unjudged::NoJob)?.spec.kind;
        let source: PeerAddr = dispute.evidence.parse().map_err(Unjudged::Address)?;

        let module = self.fetch(task.module, REFEREE_BYTES_MAX, &source).await?;
        let input = self.fetch(task.input, REFEREE_BYTES_MAX, &source).await?;
        let listing = self.fetch(task.data, LISTING_BYTES_MAX, &source).await?;
        let limit = usize::try_from(LISTING_BYTES_MAX).unwrap_or(usize::MAX);
        let listing: BTreeMap<String, Hash> =
            codec::decode(&listing, limit).map_err(Unjudged::Listing)?;
        let mut files = BTreeMap::new();
        for (name, hash) in listing {
            let content = self.fetch(hash, REFEREE_BYTES_MAX, &source).await?;
            files.insert(name, Arc::from(&content[..]));
        }
        let data = DataDir::new(files).map_err(Unjudged::Data)?;
        let compiled = self.compiler.compile(&module).await.map_err(Unjudged::Compile)?;
        let run = move || compiled.run(stdin(kind, &task, &input, data), &limits(&task));
        let outcome = tokio::task::spawn_blocking(run).await.map_err(|_| Unjudged::Aborted)?;
        let outcome = outcome.map_err(Unjudged::Run)?;
        Ok(TaskOutput { output: Hash::of_content(&outcome.output), fuel: outcome.fuel_used })
    }

    async fn fetch(&self, hash: Hash, max: u64, source: &PeerAddr) -> Result<Vec<u8>, Unjudged> {
        let from = std::slice::from_ref(source);
        self.fabric.fetch(hash, max, from).await.map_err(Unjudged::Fetch)?;
        let bytes = self.fabric.get_bytes(hash, max).await.map_err(Unjudged::Blob)?;
        // The bytes are in hand; the store need not keep them.
        self.fabric.unpin(hash).await.map_err(Unjudged::Blob)?;
        Ok(bytes.to_vec())
    }

    /// Casts the vote; true when it is final.
    async fn vote(&self, dispute: DisputeId, output: Option<TaskOutput>) -> bool {
        let action = Action::DisputeVote { dispute, output };
        let tx = self.consensus.read(|state, head| {
            duty::sign(state, self.chain, &self.key, action, (head.time, VOTE_LIFETIME))
        });
        let Some(tx) = tx else { return false };
        match self.consensus.pool().submit(tx) {
            Ok(submission) => matches!(submission.outcome.await, Ok(TxOutcome::Final { .. })),
            Err(reject) => {
                tracing::debug!(%reject, "the pool refused the vote");
                false
            }
        }
    }
}

fn stdin(kind: JobKind, task: &TaskRef, input: &[u8], data: DataDir) -> Task {
    match kind {
        JobKind::Batch => Task { stdin: input.to_vec(), data, ..Task::default() },
        JobKind::Chain => Task::chain_step(task.index, input, data),
    }
}

fn limits(task: &TaskRef) -> Limits {
    Limits {
        fuel: task.fuel_limit,
        memory_bytes: task.memory_limit_bytes,
        output_bytes: OUTPUT_BYTES_MAX,
        wall_ms: RUN_WALL_MS,
    }
}
