//! Who runs what next: the pure core of a job.
//!
//! [`Schedule::on`] takes one [`Event`] and returns the [`Effect`]s that it calls for; it does no
//! I/O and reads no clock. The events are the journal: applied again in the same order they give
//! the same schedule, so a conductor that was killed goes on where it was.
//!
//! A task:
//!
//! | state | event | next |
//! |---|---|---|
//! | to do | assigned to a lease | running |
//! | running | `Ran` with its claim | done |
//! | running | `Ran` with a failure | to do, elsewhere; after two providers or too often: the job fails |
//! | running | `Interrupted`, `Gone`, `Closed` of its lease | to do |
//! | done, sampled | assigned to another provider | done, being checked |
//! | being checked | `Ran` with an equal claim | done, verified |
//! | being checked | `Ran` with another claim | done, disputed |
//! | disputed | `Judged`: the first claim holds | done, verified |
//! | disputed | `Judged`: the second claim holds | batch: done by the second, verified; chain: to do |
//! | disputed | void, or both claims wrong | to do |
//! | done | its lease is fraudulent | to do; of a chain with all steps after it |
//!
//! A lease:
//!
//! | state | event | next |
//! |---|---|---|
//! | none | `Granted` | preparing |
//! | preparing | `Prepared` | ready: takes tasks |
//! | ready | `Interrupted` | preparing; its tasks go back |
//! | preparing, ready | `Gone`, too many faults | left: new orders exclude its provider; one that only fell silent, or left as it may, is let back, once, when nobody else is left |
//! | preparing, ready, left | `Closed` | left |
//! | any | `Closed` for fraud, lost dispute | left; everything that it gave is thrown away |

use crate::progress::Progress;
use borsh::{BorshDeserialize, BorshSerialize};
use muster_api::provider::Failure;
use muster_ledger::{
    dispute::{Claim, DisputeStatus},
    job::{JobKind, TaskOutput},
    market::CloseReason,
};
use muster_types::{AccountId, Hash, LeaseId, Rate};
use std::collections::{BTreeMap, BTreeSet};

mod assign;
mod judge;
mod pool;
mod work;

#[cfg(test)]
mod tests;

/// Requests that a lease has in flight at most.
const WINDOW: usize = 2;
/// Tasks of a batch in one request at most.
const RUN_MAX: u64 = 4;
/// Failures that are the host's fault after which its lease is left.
const FAULTS_MAX: u32 = 3;
/// Providers that must fail a task in the same way before the task is to blame.
const WITNESSES: usize = 2;

/// What the schedule must know of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Batch or chain.
    pub(crate) kind: JobKind,
    /// How many tasks.
    pub(crate) tasks: u64,
    /// Content hashes: each task's input, or a chain's first state.
    pub(crate) inputs: Vec<Hash>,
    /// The tasks that a second provider runs again.
    pub(crate) sampled: BTreeSet<u64>,
    /// Leases wanted at a time.
    pub(crate) providers: u32,
    /// How often one task may fail.
    pub(crate) retries: u32,
    /// Steps between two checkpoints of a chain.
    pub(crate) segment: u64,
}

/// Why a provider is left.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) enum Cause {
    /// It does not answer, or refuses to go on.
    Silent(String),
    /// It does not keep to the protocol.
    Misbehaved(String),
    /// It refuses the module.
    BadModule(String),
}

/// Why a job is stopped from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) enum Stop {
    /// Its time is up.
    Deadline,
    /// Its owner does not want it any more.
    Cancelled,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) enum Event {
    /// The conductor started, or started again: nothing is in flight any more.
    Started,
    /// The ledger ended an order that was not filled.
    OrderEnded { order: u32 },
    /// The ledger granted a lease.
    Granted { lease: LeaseId, order: u32, provider: AccountId, rate: Rate, waited_ms: Option<u64> },
    /// A provider is ready.
    Prepared { lease: LeaseId },
    /// A request was answered with claims that were checked; the outputs to keep are on disk.
    Ran {
        lease: LeaseId,
        ticket: u64,
        claims: Vec<Claim>,
        failure: Option<Failure>,
        /// Whether the outputs of a check could be had too.
        held: bool,
    },
    /// The connection broke; the lease is being prepared again.
    Interrupted { lease: LeaseId },
    /// We gave a provider up.
    Gone { lease: LeaseId, cause: Cause },
    /// The ledger closed a lease.
    Closed { lease: LeaseId, reason: CloseReason },
    /// A dispute ended.
    Judged { dispute: u32, status: DisputeStatus, losers: Vec<LeaseId> },
    /// The job must stop.
    Stop { cause: Stop },
}

/// What to do. Doing it twice must be harmless: it is asked for again after a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Place order `number` (once) for `count` leases, none from `exclude`.
    Order { number: u32, count: u32, exclude: Vec<AccountId> },
    /// Get a lease's provider ready and answer with `Prepared`.
    Prepare { lease: LeaseId, provider: AccountId },
    /// Send a request and answer with `Ran`.
    Run(Assignment),
    /// Stop talking to the lease's provider.
    Abandon { lease: LeaseId },
    /// Open dispute `number` (once).
    Dispute { number: u32, claims: Box<[Claim; 2]> },
    /// Tell who watches.
    Tell(Progress),
    /// The work is over; no effect follows.
    Finish(Outcome),
}

/// Consecutive tasks for a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Assignment {
    pub(crate) lease: LeaseId,
    pub(crate) ticket: u64,
    /// Whether another provider's result is being checked.
    pub(crate) check: bool,
    pub(crate) first: u64,
    pub(crate) count: u32,
    /// Of each task; of a chain only the first.
    pub(crate) inputs: Vec<Hash>,
    /// The tasks whose outputs must be fetched.
    pub(crate) keep: BTreeSet<u64>,
}

/// How the work ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Every task is done and every sampled one verified.
    Done,
    /// Nobody is left to do the rest.
    NoProvider,
    /// The budget is used up.
    OutOfFunds,
    /// A task cannot be run.
    TaskFailed { index: u64, failure: Failure },
    /// Providers refuse the module.
    BadModule(String),
    /// Stopped from outside.
    Stopped(Stop),
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) retried: u64,
    pub(crate) failed_over: u64,
    pub(crate) mismatches: u64,
}

/// How far a sampled task's check is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    Pending,
    Running(LeaseId),
    Passed(LeaseId),
    Judged,
}

#[derive(Clone, Debug)]
struct Task {
    done: Option<Claim>,
    running: Option<LeaseId>,
    /// `None` where it is not sampled.
    check: Option<Check>,
    disputed: bool,
    attempts: u32,
    /// Providers that failed it deterministically.
    witnesses: BTreeSet<AccountId>,
    /// Providers that should not get it (again) while there are others.
    avoid: BTreeSet<AccountId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Preparing,
    Ready,
    Left,
}

#[derive(Clone, Copy, Debug)]
struct Ticket {
    first: u64,
    count: u64,
    /// The lease whose result is checked; `None` for work.
    against: Option<LeaseId>,
}

#[derive(Clone, Debug)]
struct Lease {
    provider: AccountId,
    rate: Rate,
    waited_ms: Option<u64>,
    phase: Phase,
    fraud: bool,
    faults: u32,
    /// Open disputes about it.
    disputes: u32,
    tickets: BTreeMap<u64, Ticket>,
}

#[derive(Clone, Debug)]
struct Order {
    count: u32,
    granted: u32,
    ended: bool,
    exclude: Vec<AccountId>,
}

#[derive(Clone, Debug)]
struct Dispute {
    index: u64,
    /// The first result and the second.
    claims: [Claim; 2],
    /// Whether the second result's output is on disk.
    held: bool,
    open: bool,
}

/// A lease, as far as others need to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeaseInfo {
    pub(crate) lease: LeaseId,
    /// Whether its provider may still answer.
    pub(crate) live: bool,
    pub(crate) waited_ms: Option<u64>,
}

/// The state of a job's work. See the module.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    rules: Rules,
    tasks: Vec<Task>,
    /// Tasks of a batch that wait for a lease.
    todo: BTreeSet<u64>,
    /// Done tasks that wait for a second provider.
    to_check: BTreeSet<u64>,
    /// Tasks with a result; of a chain they are the first ones.
    done: u64,
    leases: BTreeMap<LeaseId, Lease>,
    orders: Vec<Order>,
    disputes: Vec<Dispute>,
    excluded: BTreeSet<AccountId>,
    /// Those that did nothing worse than fall silent, or leave as they may.
    silent: BTreeSet<AccountId>,
    /// Those that were let back once.
    forgiven: BTreeSet<AccountId>,
    module_refused: BTreeMap<AccountId, String>,
    /// The lease that runs a chain.
    worker: Option<LeaseId>,
    next_ticket: u64,
    /// The last order expired and nothing has changed since.
    dry: bool,
    started: bool,
    counts: Counts,
    outcome: Option<Outcome>,
}

impl Schedule {
    /// A job of which nothing is done.
    pub(crate) fn new(rules: Rules) -> Self {
        let task = |index: u64| Task {
            done: None,
            running: None,
            check: rules.sampled.contains(&index).then_some(Check::Pending),
            disputed: false,
            attempts: 0,
            witnesses: BTreeSet::new(),
            avoid: BTreeSet::new(),
        };
        Self {
            tasks: (0..rules.tasks).map(task).collect(),
            todo: (0..rules.tasks).collect(),
            to_check: BTreeSet::new(),
            done: 0,
            leases: BTreeMap::new(),
            orders: Vec::new(),
            disputes: Vec::new(),
            excluded: BTreeSet::new(),
            silent: BTreeSet::new(),
            forgiven: BTreeSet::new(),
            module_refused: BTreeMap::new(),
            worker: None,
            next_ticket: 0,
            dry: false,
            started: false,
            counts: Counts::default(),
            outcome: None,
            rules,
        }
    }

    /// Takes note of an event and says what to do. After [`Effect::Finish`] nothing changes.
    pub(crate) fn on(&mut self, event: Event) -> Vec<Effect> {
        let mut out = Vec::new();
        if self.outcome.is_some() {
            return out;
        }
        match event {
            Event::Started => self.restart(&mut out),
            Event::OrderEnded { order } => self.order_ended(order),
            Event::Granted { lease, order, provider, rate, waited_ms } => {
                self.granted(lease, order, Lease::new(provider, rate, waited_ms), &mut out);
            }
            Event::Prepared { lease } => self.prepared(lease, &mut out),
            Event::Ran { lease, ticket, claims, failure, held } => {
                self.ran(lease, ticket, &claims, failure, held, &mut out);
            }
            Event::Interrupted { lease } => self.interrupted(lease, &mut out),
            Event::Gone { lease, cause } => self.gone(lease, cause, &mut out),
            Event::Closed { lease, reason } => self.closed(lease, reason, &mut out),
            Event::Judged { dispute, status, losers } => {
                self.judged(dispute, status, &losers, &mut out);
            }
            Event::Stop { cause } => self.finish(Outcome::Stopped(cause)),
        }
        if self.started {
            self.assign(&mut out);
        }
        if let Some(outcome) = &self.outcome {
            out.push(Effect::Finish(outcome.clone()));
        }
        out
    }

    /// How the work ended, once it has.
    pub(crate) const fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// What was counted.
    pub(crate) const fn counts(&self) -> Counts {
        self.counts
    }

    /// How many tasks have a result.
    pub(crate) const fn done(&self) -> u64 {
        self.done
    }

    /// How many sampled tasks are confirmed.
    pub(crate) fn verified(&self) -> u64 {
        let confirmed = |task: &&Task| {
            task.done.is_some() && matches!(task.check, Some(Check::Passed(_) | Check::Judged))
        };
        self.tasks.iter().filter(confirmed).count() as u64
    }

    /// The accepted results, in order of the tasks.
    pub(crate) fn results(&self) -> impl Iterator<Item = &Claim> {
        self.tasks.iter().filter_map(|task| task.done.as_ref())
    }

    /// Every lease there was.
    pub(crate) fn leases(&self) -> impl Iterator<Item = LeaseInfo> {
        self.leases.iter().map(|(lease, state)| LeaseInfo {
            lease: *lease,
            live: state.phase != Phase::Left,
            waited_ms: state.waited_ms,
        })
    }

    fn finish(&mut self, outcome: Outcome) {
        self.outcome.get_or_insert(outcome);
    }

    fn task(&mut self, index: u64) -> Option<&mut Task> {
        self.tasks.get_mut(usize::try_from(index).ok()?)
    }

    /// The content hash of what task `index` takes in; `None` where it is not known yet.
    fn input(&self, index: u64) -> Option<Hash> {
        let at = |index: u64| usize::try_from(index).ok();
        match self.rules.kind {
            JobKind::Batch => self.rules.inputs.get(at(index)?).copied(),
            JobKind::Chain => match index.checked_sub(1) {
                None => self.rules.inputs.first().copied(),
                Some(before) => {
                    self.tasks.get(at(before)?)?.done.as_ref().map(|claim| claim.result.output)
                }
            },
        }
    }

    fn provider(&self, lease: &LeaseId) -> Option<AccountId> {
        self.leases.get(lease).map(|lease| lease.provider)
    }

    /// The result that task `index` has now.
    fn result(&self, index: u64) -> Option<(LeaseId, TaskOutput)> {
        let task = self.tasks.get(usize::try_from(index).ok()?)?;
        task.done.as_ref().map(|claim| (claim.lease, claim.result))
    }
}

impl Lease {
    const fn new(provider: AccountId, rate: Rate, waited_ms: Option<u64>) -> Self {
        Self {
            provider,
            rate,
            waited_ms,
            phase: Phase::Preparing,
            fraud: false,
            faults: 0,
            disputes: 0,
            tickets: BTreeMap::new(),
        }
    }

    /// Whether it may get tasks now.
    fn takes(&self) -> bool {
        self.phase == Phase::Ready && self.disputes == 0 && self.tickets.len() < WINDOW
    }
}

impl Order {
    /// Leases that it may still be granted.
    const fn pending(&self) -> u32 {
        if self.ended { 0 } else { self.count.saturating_sub(self.granted) }
    }
}
