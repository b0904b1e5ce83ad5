//! One task a lease: prepares its provider, sends it runs, fetches what it gave.

use crate::{
    JobError,
    checks::{self, Asked},
    error::chain,
    ledger::patient,
    schedule::{Assignment, Cause, Event},
    shared::{Input, Shared},
};
use futures::{StreamExt as _, stream, stream::FuturesUnordered};
use muster_api::provider::{ALPN, Failure, Prepare, Request, Response, Run, refusal};
use muster_fabric::{CallError, Fault, FetchError, PeerAddr, RefusalCode};
use muster_ledger::{dispute::Claim, job::JobKind};
use muster_types::{AccountId, Hash, LeaseId};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long a provider may take to fetch and compile.
const PREPARE_DEADLINE: Duration = Duration::from_secs(120);
/// How long a refusal to prepare that may pass is borne.
const PREPARE_PATIENCE: Duration = Duration::from_secs(20);
/// Dials that fail before a provider counts as gone.
const DIALS: u32 = 2;
/// What a run may take beside its tasks' own time limits.
const RUN_SLACK: Duration = Duration::from_secs(15);
/// How long a provider may take to commit.
const COMMIT_DEADLINE: Duration = Duration::from_secs(10);
/// Times in a row that a connection may break before a provider counts as gone.
const STRIKES: u32 = 2;
/// Outputs fetched at a time for one run.
const FETCHES: usize = 4;
/// The end of a task's standard error that is kept, in bytes.
const STDERR_MAX: usize = 4 << 10;
const PAUSE: Duration = Duration::from_millis(100);

/// A provider's word on all its results under a lease.
pub(crate) type Committed = (Hash, u64);

enum Command {
    Run(Assignment),
    Commit(oneshot::Sender<Option<Committed>>),
}

/// A running lease. Dropping it ends the task.
#[derive(Debug)]
pub(crate) struct Handle {
    commands: mpsc::UnboundedSender<Command>,
    _stop: DropGuard,
}

impl Handle {
    /// Starts to prepare the lease's provider.
    pub(crate) fn spawn(shared: Arc<Shared>, lease: LeaseId, provider: AccountId) -> Self {
        let (commands, received) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let actor = Actor { shared, lease, provider };
        tokio::spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = actor.live(received) => {}
            }
        });
        Self { commands, _stop: stop.drop_guard() }
    }

    /// Sends a run; the answer comes as an event. Where the task has ended, so did its events.
    pub(crate) fn run(&self, assignment: Assignment) {
        drop(self.commands.send(Command::Run(assignment)));
    }

    /// Has the provider commit to its results; `None` where it did not.
    pub(crate) async fn commit(&self) -> Option<Committed> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Commit(reply)).ok()?;
        answer.await.ok()?
    }
}

/// How serving a lease was broken off.
enum Broken {
    /// The connection; it may come back.
    Lost(String),
    /// The provider is not to be dealt with.
    Gone(Cause),
    /// We cannot go on ourselves.
    Failed(JobError),
}

struct Actor {
    shared: Arc<Shared>,
    lease: LeaseId,
    provider: AccountId,
}

impl Actor {
    async fn live(self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let lease = self.lease;
        let mut strikes = 0;
        let end = loop {
            let peer = match self.prepare().await {
                Ok(peer) => peer,
                Err(broken) => break broken,
            };
            self.tell(Event::Prepared { lease });
            match self.serve(&peer, &mut commands, &mut strikes).await {
                Ok(()) => return,
                Err(Broken::Lost(reason)) if strikes < STRIKES => {
                    tracing::info!(lease = %lease.short(), reason, "lease interrupted");
                    self.tell(Event::Interrupted { lease });
                }
                Err(broken) => break broken,
            }
        };
        match end {
            Broken::Lost(reason) => {
                self.tell(Event::Gone { lease, cause: Cause::Silent(reason) });
            }
            Broken::Gone(cause) => self.tell(Event::Gone { lease, cause }),
            Broken::Failed(error) => self.shared.tell(Input::Failed(error)),
        }
    }

    fn tell(&self, event: Event) {
        self.shared.tell(Input::Event(event));
    }

    async fn address(&self) -> Result<PeerAddr, Broken> {
        let shared = &self.shared;
        let view = patient(shared.until, || shared.ledger.client().provider(&self.provider)).await;
        let view = view.map_err(|error| Broken::Failed(error.into()))?;
        let sockets: Vec<SocketAddr> = view
            .iter()
            .flat_map(|view| &view.record.profile.sockets)
            .filter_map(|socket| socket.parse().ok())
            .collect();
        PeerAddr::new(self.provider, sockets).map_err(|_| {
            Broken::Gone(Cause::Silent("it names no address on the ledger".to_owned()))
        })
    }

    async fn prepare(&self) -> Result<PeerAddr, Broken> {
        let peer = self.address().await?;
        let plan = &self.shared.plan;
        for hash in plan.data.values().chain([&plan.module]) {
            self.shared.fabric.gate().allow(self.provider, *hash);
        }
        let request = Request::Prepare(Box::new(Prepare {
            lease: self.lease,
            job: self.shared.job,
            kind: plan.kind,
            module: plan.module,
            data: plan.data.clone(),
            limits: plan.limits,
            source: self.shared.fabric.local_addr().to_string(),
        }));
        let give_up = Instant::now() + PREPARE_PATIENCE;
        let mut dials = 0;
        loop {
            match self.call(&peer, &request, PREPARE_DEADLINE).await {
                Ok(Response::Prepared) => return Ok(peer),
                Ok(_) => return Err(astray("it answered Prepare with something else")),
                Err(error) => {
                    dials += u32::from(!matches!(error, CallError::Refused { .. }));
                    let passing = dials < DIALS && may_pass(&error);
                    if !passing || Instant::now() > give_up {
                        return Err(prepare_failed(&error));
                    }
                    tracing::debug!(lease = %self.lease.short(), %error, "preparing again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn serve(
        &self,
        peer: &PeerAddr,
        commands: &mut mpsc::UnboundedReceiver<Command>,
        strikes: &mut u32,
    ) -> Result<(), Broken> {
        let mut running = FuturesUnordered::new();
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Run(assignment)) => running.push(self.run(peer, assignment)),
                    Some(Command::Commit(reply)) => drop(reply.send(self.commit(peer).await)),
                    None => return Ok(()),
                },
                Some(ran) = running.next() => match ran {
                    Ok(event) => {
                        *strikes = 0;
                        self.tell(event);
                    }
                    Err(broken) => {
                        *strikes += 1;
                        return Err(broken);
                    }
                },
            }
        }
    }

    /// Sends one run, checks the claims, fetches the outputs that are needed.
    async fn run(&self, peer: &PeerAddr, assignment: Assignment) -> Result<Event, Broken> {
        let Assignment { lease, ticket, check, first, count, .. } = assignment;
        let (claims, failure) = self.ask(peer, &assignment).await?;
        let plan = &self.shared.plan;
        let first_input = assignment.inputs.first().copied().unwrap_or_default();
        let asked = Asked {
            chain: &self.shared.chain,
            provider: self.provider,
            lease,
            kind: plan.kind,
            first: plan.task(self.shared.job, first, first_input),
            count,
            inputs: &assignment.inputs,
        };
        checks::check(&asked, &claims, failure.is_some())
            .map_err(|fault| Broken::Gone(Cause::Misbehaved(fault.to_string())))?;
        let fetched = self.fetch_all(peer, &assignment, &claims).await?;
        let (claims, failure, held) = match fetched {
            None => (claims, failure, true),
            // The claim of a check is what counts; its output is only useful.
            Some(_) if check => (claims, failure, false),
            Some((good, failure)) => (claims.into_iter().take(good).collect(), Some(failure), true),
        };
        Ok(Event::Ran { lease, ticket, claims, failure, held })
    }

    async fn ask(
        &self,
        peer: &PeerAddr,
        assignment: &Assignment,
    ) -> Result<(Vec<Claim>, Option<Failure>), Broken> {
        for input in &assignment.inputs {
            self.shared.fabric.gate().allow(self.provider, *input);
        }
        let request = Request::Run(Run {
            lease: self.lease,
            first: assignment.first,
            count: assignment.count,
            inputs: assignment.inputs.clone(),
            source: self.shared.fabric.local_addr().to_string(),
        });
        let wall = Duration::from_millis(self.shared.plan.limits.wall_ms);
        let deadline = wall.saturating_mul(assignment.count).saturating_add(RUN_SLACK);
        loop {
            match self.call(peer, &request, deadline).await {
                Ok(Response::Done { claims }) => return Ok((claims, None)),
                Ok(Response::Failed { claims, mut failure }) => {
                    failure.stderr = end_of(failure.stderr);
                    return Ok((claims, Some(failure)));
                }
                Ok(_) => return Err(astray("it answered Run with something else")),
                Err(error) if is_busy(&error) => tokio::time::sleep(PAUSE).await,
                Err(error) => return Err(run_failed(&error)),
            }
        }
    }

    /// Fetches the outputs that must be kept. `Some` where one could not be had: how many claims
    /// before it are good, and what to say of the next one.
    async fn fetch_all(
        &self,
        peer: &PeerAddr,
        assignment: &Assignment,
        claims: &[Claim],
    ) -> Result<Option<(usize, Failure)>, Broken> {
        let last = claims.len().checked_sub(1);
        let check_of_chain = assignment.check && self.shared.plan.kind == JobKind::Chain;
        let needed: Vec<(usize, Hash)> = claims
            .iter()
            .enumerate()
            .filter(|(at, claim)| {
                assignment.keep.contains(&claim.task.index)
                    || (Some(*at) == last && !check_of_chain)
            })
            .map(|(at, claim)| (at, claim.result.output))
            .collect();
        let fetches =
            needed.into_iter().map(|(at, hash)| async move { (at, self.fetch(peer, hash).await) });
        let mut fetched = stream::iter(fetches).buffered(FETCHES);
        while let Some((at, result)) = fetched.next().await {
            let message = match result {
                Ok(()) => continue,
                Err(Fetch::Broken(broken)) => return Err(broken),
                Err(Fetch::NotGiven(message)) => message,
            };
            // A chain goes on from its last state only.
            let good = if self.shared.plan.kind == JobKind::Chain { 0 } else { at };
            let failure = Failure { deterministic: false, message, stderr: String::new() };
            return Ok(Some((good, failure)));
        }
        Ok(None)
    }

    async fn fetch(&self, peer: &PeerAddr, hash: Hash) -> Result<(), Fetch> {
        let shared = &self.shared;
        let failed = |error: JobError| Fetch::Broken(Broken::Failed(error));
        if hash == Hash::of_content(b"") {
            return shared.keep(bytes::Bytes::new()).await.map_err(failed);
        }
        let limit = shared.plan.limits.output_bytes;
        if let Err(error) = shared.fabric.fetch(hash, limit, std::slice::from_ref(peer)).await {
            return Err(fetch_failed(error));
        }
        let content = shared.fabric.get_bytes(hash, limit).await;
        shared.keep(content.map_err(|error| failed(error.into()))?).await.map_err(failed)
    }

    async fn commit(&self, peer: &PeerAddr) -> Option<Committed> {
        let request = Request::Commit { lease: self.lease };
        match self.call(peer, &request, COMMIT_DEADLINE).await {
            Ok(Response::Committed { root, count }) => Some((root, count)),
            Ok(_) => None,
            Err(error) => {
                tracing::warn!(lease = %self.lease.short(), error = chain(&error), "no commitment");
                None
            }
        }
    }

    async fn call(
        &self,
        peer: &PeerAddr,
        request: &Request,
        deadline: Duration,
    ) -> Result<Response, CallError> {
        self.shared.fabric.call_typed(peer, ALPN, request, deadline).await
    }
}

/// Why an output was not fetched.
enum Fetch {
    NotGiven(String),
    Broken(Broken),
}

fn fetch_failed(error: FetchError) -> Fetch {
    match error {
        FetchError::TooLarge { .. } => Fetch::NotGiven(error.to_string()),
        FetchError::NoPeer { ref faults, .. } => {
            let lost = faults.iter().any(|fault| {
                matches!(
                    fault.fault,
                    Fault::Unreachable(_) | Fault::Lost(_) | Fault::Stalled(_) | Fault::Busy
                )
            });
            let text = error.to_string();
            if lost { Fetch::Broken(Broken::Lost(text)) } else { Fetch::NotGiven(text) }
        }
        FetchError::Store { source, .. } => Fetch::Broken(Broken::Failed(source.into())),
    }
}

fn astray(reason: &str) -> Broken {
    Broken::Gone(Cause::Misbehaved(reason.to_owned()))
}

/// What a refusal says, by code; `None` where it was none.
fn code(error: &CallError) -> Option<RefusalCode> {
    match error {
        CallError::Refused { refusal, .. } => Some(refusal.code()),
        _ => None,
    }
}

fn is_busy(error: &CallError) -> bool {
    code(error).is_some_and(|code| code == RefusalCode::BUSY || code.0 == refusal::BUSY)
}

/// Whether `Prepare` may succeed a little later. A provider may not have seen its lease yet.
fn may_pass(error: &CallError) -> bool {
    match error {
        CallError::Unreachable { .. } | CallError::Lost { .. } | CallError::Timeout { .. } => true,
        CallError::RequestTooLarge { .. } | CallError::Protocol { .. } => false,
        CallError::Refused { refusal, .. } => {
            let code = refusal.code();
            code == RefusalCode::BUSY
                || code == RefusalCode::INTERNAL
                || matches!(
                    code.0,
                    refusal::UNKNOWN_LEASE
                        | refusal::BUSY
                        | refusal::LEDGER
                        | refusal::NOT_FETCHED
                        | refusal::NOT_PREPARED
                )
        }
    }
}

fn prepare_failed(error: &CallError) -> Broken {
    let text = chain(error);
    Broken::Gone(match code(error) {
        Some(RefusalCode(refusal::BAD_MODULE)) => Cause::BadModule(text),
        _ if matches!(error, CallError::Protocol { .. }) => Cause::Misbehaved(text),
        _ => Cause::Silent(text),
    })
}

fn run_failed(error: &CallError) -> Broken {
    let text = chain(error);
    match (error, code(error)) {
        (CallError::Protocol { .. } | CallError::RequestTooLarge { .. }, _) => {
            Broken::Gone(Cause::Misbehaved(text))
        }
        (_, Some(RefusalCode(refusal::BAD_REQUEST | refusal::CONFLICT))) => {
            Broken::Gone(Cause::Silent(text))
        }
        _ => Broken::Lost(text),
    }
}

fn end_of(text: String) -> String {
    let start = text.ceil_char_boundary(text.len().saturating_sub(STDERR_MAX));
    text.get(start..).map_or_else(String::new, str::to_owned)
}
