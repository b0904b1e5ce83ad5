//! Starting, resuming and ending a job.

use crate::{
    JobError, Progress, Report,
    drive::Drive,
    files::{Objects, write_atomic},
    journal::{Journal, Start},
    ledger::{Ledger, Step, patient},
    plan::{self, Plan},
    progress::LeaseReport,
    receipt,
    schedule::{Event, Outcome, Rules, Schedule, Stop},
    settle::{self, Settled},
    shared::Shared,
};
use muster_api::{
    Client, Wallet,
    views::{Explanation, Status},
};
use muster_fabric::{Fabric, Store};
use muster_ledger::{Action, job::JobKind, market::LeaseStatus};
use muster_spec::{BATCH_RESULT, CHAIN_RESULT, Workload};
use muster_types::{EscrowId, Hash, JobId, Millis, OrderId, SecretKey};
use std::{
    collections::BTreeSet,
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::mpsc::{self, UnboundedSender},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// How long a node that is away is waited for before a job has started.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// How long it is waited for beyond the job's deadline, so that the money can be settled.
const END_PATIENCE: Duration = Duration::from_secs(120);
/// A provider that does not answer a dial by then is not there.
const DIAL_TIMEOUT: Duration = Duration::from_secs(2);

/// The receipt's file in the output directory.
const RECEIPT: &str = "receipt.json";
/// The file with the endpoint's port, in the job's own directory.
const PORT: &str = "port";

/// What a conductor is opened with.
#[derive(Clone, Debug)]
pub struct Config {
    /// The job's own directory: journal, and what is in work. Created where missing. One
    /// conductor at a time may use it.
    pub dir: PathBuf,
    /// The tenant's key: signs transactions and names the endpoint that providers know.
    pub key: SecretKey,
    /// The node's address, `http://host:port`.
    pub node: String,
    /// The UDP socket on which providers and referees fetch; port 0 lets the system choose.
    pub bind: SocketAddr,
    /// Who is told what happens, if anybody. It may be dropped at any time.
    pub progress: Option<UnboundedSender<Progress>>,
    /// Cancelling it ends the job: leases are closed and what is left of the budget comes back.
    pub cancel: CancellationToken,
}

/// Runs one job from one directory.
///
/// Dropping a running conductor stops it, as a crash would: its leases stay open and are paid for
/// until it is resumed or the ledger closes them. The directory is free again a moment later.
#[derive(Debug)]
pub struct Conductor {
    config: Config,
    ledger: Ledger,
    client: Client,
    objects: Objects,
}

/// What the market would do with a workload now, and why. Spends nothing.
///
/// # Errors
/// [`JobError::Node`] where the node cannot be asked.
pub async fn quote(client: &Client, workload: &Workload) -> Result<Explanation, JobError> {
    Ok(client.quote(&plan::terms(workload)).await?)
}

impl Conductor {
    /// Opens a job's directory. Nothing is started.
    ///
    /// # Errors
    /// [`JobError::Locked`] where another conductor has it; [`JobError::Node`] where the node
    /// does not answer within 10 s; [`JobError::Journal`].
    pub async fn open(config: Config) -> Result<Self, JobError> {
        let dir = config.dir.clone();
        let journal = tokio::task::spawn_blocking(move || Journal::open(&dir));
        let journal = Arc::new(journal.await.map_err(|_| JobError::Stopped)??);
        let client = Client::new(&config.node)?;
        let until = Instant::now() + START_PATIENCE;
        let wallet = patient(until, || Wallet::new(client.clone(), config.key.clone())).await?;
        let ledger = Ledger::new(wallet, journal);
        let objects = Objects::new(config.dir.join("objects"));
        Ok(Self { config, ledger, client, objects })
    }

    /// Whether the directory holds a job, which [`Conductor::resume`] would go on with.
    ///
    /// # Errors
    /// [`JobError::Journal`], [`JobError::Damaged`].
    pub async fn has_job(&self) -> Result<bool, JobError> {
        Ok(self.ledger.journal(Journal::start).await?.is_some())
    }

    /// Runs a workload to its end: reads what it names, orders, runs, verifies, settles, writes
    /// results and receipt into its output directory.
    ///
    /// # Errors
    /// [`JobError`]. Whatever was set aside and not earned is back, unless the error says
    /// otherwise.
    pub async fn run(self, workload: &Workload) -> Result<Report, JobError> {
        if self.has_job().await? {
            return Err(JobError::Occupied { dir: self.config.dir });
        }
        let (objects, wanted) = (self.objects.clone(), workload.clone());
        let secrets = [random()?, random()?];
        let plan = tokio::task::spawn_blocking(move || Plan::make(&wanted, &objects, secrets));
        let plan = plan.await.map_err(|_| JobError::Stopped)??;
        let until = Instant::now() + START_PATIENCE;
        let explanation = patient(until, || self.client.quote(&plan.terms)).await?;
        self.report(Progress::Quoted { explanation: Box::new(explanation.clone()) });
        if explanation.matched == 0 {
            return Err(JobError::NoMatch { explanation: Box::new(explanation) });
        }
        let status = patient(until, || self.client.status()).await?;
        let start = Start {
            tenant: self.config.key.account(),
            chain: status.chain,
            height: status.height,
            deadline_ms: status.now.0.saturating_add(plan.deadline_ms),
            started_ms: local_ms(),
            quote: serde_json::to_string(&explanation).unwrap_or_default(),
            plan,
        };
        let entry = start.clone();
        self.ledger.journal(move |journal| journal.set_start(&entry)).await?;
        self.conduct(start, &status).await
    }

    /// Goes on with the directory's job, from wherever it was; a finished one gives its report
    /// again.
    ///
    /// # Errors
    /// [`JobError::Nothing`], [`JobError::Foreign`], and as [`Conductor::run`].
    pub async fn resume(self) -> Result<Report, JobError> {
        let (start, end) =
            self.ledger.journal(|journal| Ok((journal.start()?, journal.end()?))).await?;
        let dir = || self.config.dir.clone();
        let start = start.ok_or_else(|| JobError::Nothing { dir: dir() })?;
        if start.tenant != self.config.key.account() {
            return Err(JobError::Foreign { dir: dir(), what: "account" });
        }
        if start.chain != self.ledger.wallet().chain() {
            return Err(JobError::Foreign { dir: dir(), what: "chain" });
        }
        if let Some(report) = end.and_then(|json| serde_json::from_str(&json).ok()) {
            return Ok(report);
        }
        let until = Instant::now() + START_PATIENCE;
        let status = patient(until, || self.client.status()).await?;
        self.conduct(start, &status).await
    }

    async fn conduct(self, start: Start, status: &Status) -> Result<Report, JobError> {
        let deadline =
            Instant::now() + Duration::from_millis(Millis(start.deadline_ms).since(status.now).0);
        let until = deadline + END_PATIENCE;
        let fabric = self.bind().await?;
        let done = self.conduct_over(&fabric, start, status, deadline, until).await;
        fabric.shutdown().await;
        done
    }

    async fn conduct_over(
        &self,
        fabric: &Fabric,
        start: Start,
        status: &Status,
        deadline: Instant,
        until: Instant,
    ) -> Result<Report, JobError> {
        let deposit = start.plan.budget;
        let step = Step::new("escrow/open", crate::error::SET_ASIDE);
        let action = Action::EscrowOpen { deposit };
        let escrow = self.ledger.act(step, action, until, |_, _| {}).await?;
        let escrow = EscrowId::derive(&escrow);
        self.report(Progress::Escrowed { escrow, deposit });
        let step = Step::new("job/open", crate::error::OPEN_JOB);
        let action = Action::JobOpen { spec: start.plan.job_spec(escrow) };
        let job = match self.ledger.act(step, action, until, |_, _| {}).await {
            Ok(tx) => JobId::derive(&tx),
            Err(error @ JobError::Refused { .. }) => {
                settle::refund(&self.ledger, escrow, until).await?;
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        self.report(Progress::Opened { job, tasks: start.plan.tasks });
        let log = self.ledger.journal(Journal::log).await?;
        let schedule = replay(&start.plan, &job, log);
        self.offer(fabric, &start.plan, &schedule).await?;
        let (inbox, received) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            plan: start.plan.clone(),
            job,
            chain: start.chain,
            fabric: fabric.clone(),
            ledger: self.ledger.clone(),
            objects: self.objects.clone(),
            inbox,
            until,
        });
        let progress = self.config.progress.clone();
        let mut drive = Drive::new(Arc::clone(&shared), schedule, received, progress);
        let from = start.height.saturating_add(1);
        let outcome = drive.run(deadline, &self.config.cancel, from).await?;
        if outcome == Outcome::Done {
            self.write_results(&shared, &drive.schedule).await?;
        }
        let settled = drive.settle(escrow, &status.params).await?;
        let path = start.plan.output().join(RECEIPT);
        let facts = receipt::Facts {
            unbonding: status.params.stake_unbonding_ms,
            quote: quote_of(&start)?,
            results: drive.schedule.results().copied().collect(),
            orders: drive.orders.keys().copied().collect::<BTreeSet<OrderId>>(),
            from_height: from,
        };
        let written = receipt::write(&shared, &settled, facts, &path).await;
        if outcome != Outcome::Done {
            if let Err(error) = written {
                tracing::warn!(error = crate::error::chain(&error), "no receipt");
            }
            return Err(self.failure(outcome, &drive.schedule, &start.plan).await);
        }
        let receipt = written?;
        self.report(Progress::Receipt { path: receipt.clone() });
        let report = report(&start, job, &drive.schedule, &settled, receipt);
        self.end(&report).await?;
        Ok(report)
    }

    /// The endpoint, with an empty blob store: what it serves comes from the objects.
    async fn bind(&self) -> Result<Fabric, JobError> {
        let blobs = self.config.dir.join("blobs");
        match tokio::fs::remove_dir_all(&blobs).await {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(JobError::File { path: blobs, action: "written", source });
            }
            _ => {}
        }
        let mut config = muster_fabric::Config::new(self.config.key.clone());
        config.bind = self.config.bind;
        config.store = Store::Directory(blobs);
        config.dial_timeout = DIAL_TIMEOUT;
        let fabric = match self.port_before().await {
            Some(port) => {
                config.bind.set_port(port);
                match Fabric::bind(config.clone()).await {
                    Ok(fabric) => fabric,
                    Err(error) => {
                        tracing::info!(port, %error, "the port of before is taken");
                        config.bind = self.config.bind;
                        Fabric::bind(config).await?
                    }
                }
            }
            None => Fabric::bind(config).await?,
        };
        if let Some(socket) = fabric.local_addr().sockets().first() {
            let (path, port) = (self.config.dir.join(PORT), socket.port().to_string());
            let write = move || write_atomic(&path, [Ok(port.into_bytes().into())]);
            tokio::task::spawn_blocking(write).await.map_err(|_| JobError::Stopped)??;
        }
        Ok(fabric)
    }

    /// The port that was bound before a restart, where the system chose it. Providers know it, and
    /// their endpoints hold on to it for seconds after a crash.
    async fn port_before(&self) -> Option<u16> {
        if self.config.bind.port() != 0 {
            return None;
        }
        let text = tokio::fs::read_to_string(self.config.dir.join(PORT)).await.ok()?;
        text.parse().ok()
    }

    /// Puts what providers may need on offer; who may fetch it is decided lease by lease.
    async fn offer(
        &self,
        fabric: &Fabric,
        plan: &Plan,
        schedule: &Schedule,
    ) -> Result<(), JobError> {
        for hash in plan.contents() {
            fabric.add_file(&self.objects.path(hash)).await?;
        }
        fabric.add_bytes(muster_verify::data_listing(&plan.data)).await?;
        if plan.kind == JobKind::Chain {
            let states: BTreeSet<Hash> =
                schedule.results().map(|claim| claim.result.output).collect();
            for state in states.into_iter().filter(|state| self.objects.has(*state)) {
                fabric.add_file(&self.objects.path(state)).await?;
            }
        }
        Ok(())
    }

    async fn write_results(
        &self,
        shared: &Arc<Shared>,
        schedule: &Schedule,
    ) -> Result<(), JobError> {
        let outputs: Vec<Hash> = schedule.results().map(|claim| claim.result.output).collect();
        let shared = Arc::clone(shared);
        let written = tokio::task::spawn_blocking(move || {
            write_results(&shared.objects, &shared.plan, &outputs)
        });
        written.await.map_err(|_| JobError::Stopped)?
    }

    /// A failed job's error, with what the market says now.
    async fn failure(&self, outcome: Outcome, schedule: &Schedule, plan: &Plan) -> JobError {
        let (done, tasks) = (schedule.done(), plan.tasks);
        match outcome {
            Outcome::Done => JobError::Stopped,
            Outcome::OutOfFunds => JobError::OutOfFunds { done, tasks },
            Outcome::BadModule(reason) => JobError::BadModule { reason },
            Outcome::TaskFailed { index, failure } => {
                JobError::Task { index, message: failure.message, stderr: failure.stderr }
            }
            Outcome::Stopped(Stop::Deadline) => JobError::Deadline { done, tasks },
            Outcome::Stopped(Stop::Cancelled) => JobError::Cancelled { done, tasks },
            Outcome::NoProvider => match self.client.quote(&plan.terms).await {
                Ok(explanation) => {
                    JobError::NoProvider { done, tasks, explanation: Box::new(explanation) }
                }
                Err(error) => error.into(),
            },
        }
    }

    /// Writes the end down and clears what was only needed until then.
    async fn end(&self, report: &Report) -> Result<(), JobError> {
        let json = serde_json::to_string(report).unwrap_or_default();
        self.ledger.journal(move |journal| journal.set_end(&json)).await?;
        let objects = self.objects.clone();
        let cleared = tokio::task::spawn_blocking(move || objects.clear());
        cleared.await.map_err(|_| JobError::Stopped)?
    }

    fn report(&self, progress: Progress) {
        if let Some(sender) = &self.config.progress {
            drop(sender.send(progress));
        }
    }
}

/// The schedule as the journal has it.
fn replay(plan: &Plan, job: &JobId, log: Vec<Event>) -> Schedule {
    let mut schedule = Schedule::new(Rules {
        kind: plan.kind,
        tasks: plan.tasks,
        inputs: plan.inputs.clone(),
        sampled: plan.sampled(job),
        providers: plan.terms.count,
        retries: plan.retries,
        segment: plan.segment,
    });
    for event in log {
        // What they asked for was done, or is asked for again by the next start.
        drop(schedule.on(event));
    }
    schedule
}

/// Writes a job's results into its output directory: of a batch each task's output and all of
/// them joined, of a chain the last state.
fn write_results(objects: &Objects, plan: &Plan, outputs: &[Hash]) -> Result<(), JobError> {
    let dir = plan.output();
    let part = |hash: &Hash| {
        objects.get(*hash).map(Into::into).map_err(|error| io::Error::other(error.to_string()))
    };
    if plan.kind == JobKind::Chain {
        return write_atomic(&dir.join(CHAIN_RESULT), outputs.last().map(part));
    }
    for (index, output) in outputs.iter().enumerate() {
        write_atomic(&dir.join("tasks").join(format!("{index:06}")), [part(output)])?;
    }
    write_atomic(&dir.join(BATCH_RESULT), outputs.iter().map(part))
}

fn report(
    start: &Start,
    job: JobId,
    schedule: &Schedule,
    settled: &Settled,
    receipt: PathBuf,
) -> Report {
    let counts = schedule.counts();
    let leases = settled.leases.iter().map(|lease| LeaseReport {
        lease: lease.id,
        provider: lease.record.host.provider,
        rate: lease.record.rate,
        covered: lease.record.covered,
        paid: lease.record.paid,
        reason: match lease.record.status {
            LeaseStatus::Closed { reason, .. } => Some(reason),
            _ => None,
        },
    });
    let result = match start.plan.kind {
        JobKind::Batch => BATCH_RESULT,
        JobKind::Chain => CHAIN_RESULT,
    };
    Report {
        id: job,
        name: start.plan.name.clone(),
        kind: start.plan.kind,
        tasks: start.plan.tasks,
        completed: schedule.done(),
        retried: counts.retried,
        failed_over: counts.failed_over,
        verified: schedule.verified(),
        mismatches: counts.mismatches,
        seconds: Duration::from_millis(local_ms().saturating_sub(start.started_ms)).as_secs_f64(),
        order_to_lease_ms: schedule.leases().filter_map(|lease| lease.waited_ms).collect(),
        leases: leases.collect(),
        escrow: settled.totals(),
        receipt,
        result: start.plan.output().join(result),
        output: start.plan.output(),
    }
}

fn quote_of(start: &Start) -> Result<Explanation, JobError> {
    serde_json::from_str(&start.quote).map_err(|error| JobError::Damaged {
        path: PathBuf::from("quote"),
        source: muster_types::codec::DecodeError::Malformed(error.to_string()),
    })
}

fn random() -> Result<Hash, JobError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| JobError::File {
        path: PathBuf::from("the system's entropy"),
        action: "read",
        source: io::Error::other(error.to_string()),
    })?;
    Ok(Hash(bytes))
}

fn local_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
