//! Disagreements: disputes opened, verdicts carried out, results thrown away.

use super::{Check, Dispute, Effect, Phase, Schedule};
use crate::progress::Progress;
use muster_ledger::{
    dispute::{Claim, DisputeStatus},
    job::{JobKind, TaskOutput},
};
use muster_types::LeaseId;

impl Schedule {
    /// Opens a dispute between a task's result and a second one.
    pub(super) fn dispute(&mut self, index: u64, second: Claim, held: bool, out: &mut Vec<Effect>) {
        let Some(task) = self.task(index) else { return };
        let Some(first) = task.done else { return };
        task.disputed = true;
        task.check = Some(Check::Pending);
        self.to_check.remove(&index);
        let claims = [first, second];
        for claim in &claims {
            if let Some(lease) = self.leases.get_mut(&claim.lease) {
                lease.disputes = lease.disputes.saturating_add(1);
            }
        }
        self.counts.mismatches = self.counts.mismatches.saturating_add(1);
        if let (Some(a), Some(b)) = (self.provider(&first.lease), self.provider(&second.lease)) {
            out.push(Effect::Tell(Progress::Mismatch { index, providers: [a, b] }));
        }
        let number = u32::try_from(self.disputes.len()).unwrap_or(u32::MAX);
        self.disputes.push(Dispute { index, claims, held, open: true });
        out.push(Effect::Dispute { number, claims: Box::new(claims) });
    }

    pub(super) fn judged(
        &mut self,
        number: u32,
        status: DisputeStatus,
        losers: &[LeaseId],
        out: &mut Vec<Effect>,
    ) {
        let slot = usize::try_from(number).ok().and_then(|at| self.disputes.get_mut(at));
        let Some(dispute) = slot.filter(|dispute| dispute.open) else { return };
        if status == DisputeStatus::Open {
            return;
        }
        dispute.open = false;
        let dispute = dispute.clone();
        for claim in &dispute.claims {
            if let Some(lease) = self.leases.get_mut(&claim.lease) {
                lease.disputes = lease.disputes.saturating_sub(1);
            }
        }
        for loser in losers {
            self.discard(*loser, out);
        }
        let open = self.disputes.iter().any(|other| other.open && other.index == dispute.index);
        if let Some(task) = self.task(dispute.index) {
            task.disputed = open;
        }
        match status {
            DisputeStatus::Judged { output } => self.settle(&dispute, output, losers, out),
            DisputeStatus::Void | DisputeStatus::Open => self.unresolved(&dispute, out),
        }
    }

    /// Gives a judged task the result that holds.
    fn settle(
        &mut self,
        dispute: &Dispute,
        output: TaskOutput,
        losers: &[LeaseId],
        out: &mut Vec<Effect>,
    ) {
        let index = dispute.index;
        let second = dispute.claims[1];
        let usable = self.rules.kind == JobKind::Batch
            && dispute.held
            && second.result == output
            && !losers.contains(&second.lease);
        let current = self.result(index).map(|(_, result)| result);
        match current {
            Some(result) if result == output => {}
            None if usable => {
                if let Some(task) = self.task(index) {
                    task.done = Some(second);
                }
                self.todo.remove(&index);
                self.done = self.done.saturating_add(1);
            }
            _ => {
                self.undo(index);
                return;
            }
        }
        let holder = self.result(index).and_then(|(lease, _)| self.provider(&lease));
        if let Some(task) = self.task(index) {
            task.check = Some(Check::Judged);
        }
        self.to_check.remove(&index);
        if let Some(provider) = holder {
            out.push(Effect::Tell(Progress::Verified { index, provider }));
        }
    }

    /// There was no verdict: both results are in doubt.
    fn unresolved(&mut self, dispute: &Dispute, out: &mut Vec<Effect>) {
        let index = dispute.index;
        let doubtful: Vec<_> =
            dispute.claims.iter().filter_map(|claim| self.provider(&claim.lease)).collect();
        let retries = self.rules.retries;
        let Some(task) = self.task(index) else { return };
        task.attempts = task.attempts.saturating_add(1);
        task.avoid.extend(doubtful);
        let message = "the validators came to no verdict".to_owned();
        if task.attempts > retries {
            let failure = muster_api::provider::Failure {
                deterministic: false,
                message,
                stderr: String::new(),
            };
            self.finish(super::Outcome::TaskFailed { index, failure });
            return;
        }
        self.undo(index);
        self.counts.retried = self.counts.retried.saturating_add(1);
        out.push(Effect::Tell(Progress::Retried { index, message }));
    }

    /// Throws a task's result away; of a chain also those of all steps after it.
    pub(super) fn undo(&mut self, index: u64) {
        match self.rules.kind {
            JobKind::Batch => {
                self.forget(index);
            }
            JobKind::Chain => self.cut(index),
        }
    }

    /// Throws away all that a fraudulent lease's provider ever gave.
    pub(super) fn discard(&mut self, lease: LeaseId, out: &mut Vec<Effect>) {
        let Some(provider) = self.provider(&lease) else { return };
        let tainted: Vec<LeaseId> = self
            .leases
            .iter()
            .filter(|(_, state)| state.provider == provider && !state.fraud)
            .map(|(id, _)| *id)
            .collect();
        if tainted.is_empty() {
            return;
        }
        self.excluded.insert(provider);
        self.dry = false;
        for id in &tainted {
            self.give_back(*id);
            if let Some(state) = self.leases.get_mut(id) {
                state.fraud = true;
                state.phase = Phase::Left;
            }
            out.push(Effect::Abandon { lease: *id });
        }
        let before = self.done;
        let by = |id: &LeaseId| tainted.contains(id);
        let given: Vec<u64> = (0u64..)
            .zip(&self.tasks)
            .filter(|(_, task)| task.done.as_ref().is_some_and(|claim| by(&claim.lease)))
            .map(|(index, _)| index)
            .collect();
        let vouched: Vec<u64> = (0u64..)
            .zip(&self.tasks)
            .filter(|(_, task)| matches!(&task.check, Some(Check::Passed(id)) if by(id)))
            .map(|(index, _)| index)
            .collect();
        match self.rules.kind {
            JobKind::Batch => given.iter().for_each(|index| self.forget(*index)),
            JobKind::Chain => given.first().into_iter().for_each(|index| self.cut(*index)),
        }
        for index in vouched {
            self.recheck(index);
        }
        let discarded = before.saturating_sub(self.done);
        out.push(Effect::Tell(Progress::Judged { loser: provider, discarded }));
    }

    /// A check that is worth nothing any more.
    fn recheck(&mut self, index: u64) {
        let Some(task) = self.task(index) else { return };
        task.check = Some(Check::Pending);
        let waits = task.done.is_some() && !task.disputed;
        if waits {
            self.to_check.insert(index);
        }
    }

    /// Goes back to the state before step `index`. Answers under way are void: they build on what
    /// is thrown away.
    fn cut(&mut self, index: u64) {
        for lease in self.leases.values_mut() {
            lease.tickets.retain(|_, ticket| ticket.against.is_some() && ticket.first < index);
        }
        for step in index..self.rules.tasks {
            if let Some(task) = self.task(step) {
                task.running = None;
            }
            self.forget(step);
        }
    }

    fn forget(&mut self, index: u64) {
        let Some(task) = self.task(index) else { return };
        let was_done = task.done.take().is_some();
        if task.check.is_some() {
            task.check = Some(Check::Pending);
        }
        let waits = !task.disputed && task.running.is_none();
        self.to_check.remove(&index);
        if was_done {
            self.done = self.done.saturating_sub(1);
        }
        if waits {
            self.todo.insert(index);
        }
    }
}
