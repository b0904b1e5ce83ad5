//! Answers: results taken over, failures counted, results compared.

use super::{Check, Effect, FAULTS_MAX, Outcome, Schedule, Ticket, WITNESSES};
use crate::progress::Progress;
use muster_api::provider::Failure;
use muster_ledger::{dispute::Claim, job::JobKind};
use muster_types::LeaseId;

impl Schedule {
    pub(super) fn ran(
        &mut self,
        lease: LeaseId,
        ticket: u64,
        claims: &[Claim],
        failure: Option<Failure>,
        held: bool,
        out: &mut Vec<Effect>,
    ) {
        let taken = self.leases.get_mut(&lease).and_then(|state| state.tickets.remove(&ticket));
        // An answer to what was taken back in the meantime.
        let Some(ticket) = taken else { return };
        match ticket.against {
            None => self.worked(lease, &ticket, claims, failure, out),
            Some(against) => self.checked(lease, against, &ticket, claims, failure, held, out),
        }
    }

    fn worked(
        &mut self,
        lease: LeaseId,
        ticket: &Ticket,
        claims: &[Claim],
        failure: Option<Failure>,
        out: &mut Vec<Effect>,
    ) {
        let before = self.done;
        for claim in claims {
            self.accept(claim, out);
        }
        let next = ticket.first.saturating_add(claims.len() as u64);
        self.free(lease, ticket, next);
        if self.rules.kind == JobKind::Chain && self.done > before {
            let (step, tasks) = (self.done, self.rules.tasks);
            out.push(Effect::Tell(Progress::Checkpoint { step, tasks }));
        }
        if let Some(failure) = failure {
            self.failed(lease, next, failure, out);
        }
    }

    /// Takes a result over.
    fn accept(&mut self, claim: &Claim, out: &mut Vec<Effect>) {
        let index = claim.task.index;
        let Some(task) = self.task(index).filter(|task| task.done.is_none()) else { return };
        task.done = Some(*claim);
        task.running = None;
        let pending = task.check == Some(Check::Pending) && !task.disputed;
        self.todo.remove(&index);
        if pending {
            self.to_check.insert(index);
        }
        self.done = self.done.saturating_add(1);
        let Some(provider) = self.provider(&claim.lease) else { return };
        let (done, tasks) = (self.done, self.rules.tasks);
        out.push(Effect::Tell(Progress::TaskDone { index, provider, done, tasks }));
    }

    /// Puts the tasks of a ticket from `next` on back.
    pub(super) fn free(&mut self, lease: LeaseId, ticket: &Ticket, next: u64) {
        let end = ticket.first.saturating_add(ticket.count);
        for index in next.max(ticket.first)..end {
            let check = ticket.against.is_some();
            let Some(task) = self.task(index) else { continue };
            if check {
                if task.check == Some(Check::Running(lease)) {
                    task.check = Some(Check::Pending);
                    let waits = task.done.is_some() && !task.disputed;
                    if waits {
                        self.to_check.insert(index);
                    }
                }
            } else if task.running == Some(lease) {
                task.running = None;
                let waits = task.done.is_none() && !task.disputed;
                if waits {
                    self.todo.insert(index);
                }
            }
        }
    }

    /// A lease could not run a task.
    fn failed(&mut self, lease: LeaseId, index: u64, failure: Failure, out: &mut Vec<Effect>) {
        let retries = self.rules.retries;
        let Some(provider) = self.provider(&lease) else { return };
        let Some(task) = self.task(index) else { return };
        task.attempts = task.attempts.saturating_add(1);
        task.avoid.insert(provider);
        if failure.deterministic {
            task.witnesses.insert(provider);
        }
        let hopeless = task.attempts > retries || task.witnesses.len() >= WITNESSES;
        if hopeless {
            self.finish(Outcome::TaskFailed { index, failure });
            return;
        }
        self.counts.retried = self.counts.retried.saturating_add(1);
        let message = failure.message;
        out.push(Effect::Tell(Progress::Retried { index, message: message.clone() }));
        if !failure.deterministic {
            self.fault(lease, message, out);
        }
    }

    /// Counts a fault of a host.
    fn fault(&mut self, lease: LeaseId, message: String, out: &mut Vec<Effect>) {
        let Some(state) = self.leases.get_mut(&lease) else { return };
        state.faults = state.faults.saturating_add(1);
        if state.faults >= FAULTS_MAX {
            self.leave(lease, message, out);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one answer")]
    fn checked(
        &mut self,
        lease: LeaseId,
        against: LeaseId,
        ticket: &Ticket,
        claims: &[Claim],
        failure: Option<Failure>,
        held: bool,
        out: &mut Vec<Effect>,
    ) {
        let index = ticket.first;
        let current = self.result(index).filter(|(worker, _)| *worker == against);
        let asked = self.task(index).is_some_and(|task| task.check == Some(Check::Running(lease)));
        let (Some((_, expected)), true) = (current, asked) else {
            self.free(lease, ticket, index);
            return;
        };
        match (claims.first(), failure) {
            (Some(claim), _) if claim.result == expected => self.confirm(index, lease, out),
            (Some(claim), _) => self.dispute(index, *claim, held, out),
            (None, Some(failure)) if failure.deterministic => {
                // Only one of both can be right, but there is no second claim to judge by: the
                // task is run anew, by others where there are any.
                let worker = self.provider(&against);
                if let Some(task) = self.task(index) {
                    task.avoid.extend(worker);
                }
                self.undo(index);
                self.failed(lease, index, failure, out);
            }
            (None, failure) => {
                self.free(lease, ticket, index);
                if let Some(failure) = failure {
                    self.failed(lease, index, failure, out);
                }
            }
        }
    }

    fn confirm(&mut self, index: u64, lease: LeaseId, out: &mut Vec<Effect>) {
        let Some(provider) = self.provider(&lease) else { return };
        if let Some(task) = self.task(index) {
            task.check = Some(Check::Passed(lease));
        }
        out.push(Effect::Tell(Progress::Verified { index, provider }));
    }
}
