//! Hands out tasks, finds out when everything is done and when nothing can go on.

use super::{Assignment, Check, Effect, Outcome, Phase, RUN_MAX, Schedule, Task, Ticket, WINDOW};
use muster_ledger::job::JobKind;
use muster_types::{AccountId, LeaseId};
use std::collections::BTreeSet;

impl Schedule {
    /// Fills every lease's window, orders what is missing, ends what is over.
    pub(super) fn assign(&mut self, out: &mut Vec<Effect>) {
        if self.outcome.is_some() {
            return;
        }
        if self.done == self.rules.tasks && self.is_verified() {
            self.finish(Outcome::Done);
            return;
        }
        for _ in 0..WINDOW {
            for lease in self.live() {
                self.assign_one(lease, out);
            }
        }
        self.order_missing(out);
        if self.is_stuck() && self.forgive() {
            self.order_missing(out);
        }
        if self.is_stuck() {
            let refused = self.module_refused.values().next().cloned();
            self.finish(refused.map_or(Outcome::NoProvider, Outcome::BadModule));
        }
    }

    /// Whether every sampled task is confirmed.
    pub(super) fn is_verified(&self) -> bool {
        self.rules.sampled.iter().all(|index| {
            let task = usize::try_from(*index).ok().and_then(|at| self.tasks.get(at));
            task.is_none_or(|task| {
                task.done.is_some() && matches!(task.check, Some(Check::Passed(_) | Check::Judged))
            })
        })
    }

    /// Whether nothing is under way that could bring the job on.
    fn is_stuck(&self) -> bool {
        let waits = self.pending() > 0
            || self.disputes.iter().any(|dispute| dispute.open)
            || self
                .leases
                .values()
                .any(|lease| lease.phase == Phase::Preparing || !lease.tickets.is_empty());
        !waits
    }

    fn assign_one(&mut self, lease: LeaseId, out: &mut Vec<Effect>) {
        let Some(state) = self.leases.get(&lease).filter(|state| state.takes()) else { return };
        let provider = state.provider;
        if let Some(index) = self.next_check(provider) {
            self.assign_check(lease, index, out);
            return;
        }
        match self.rules.kind {
            JobKind::Batch => self.assign_batch(lease, provider, out),
            JobKind::Chain => self.assign_segment(lease, provider, out),
        }
    }

    /// The first done task that this provider may run again. Of a lease that awaits a verdict
    /// nothing more is checked: one is enough to throw all of it away.
    fn next_check(&self, provider: AccountId) -> Option<u64> {
        self.to_check.iter().copied().find(|index| {
            let worker = self.result(*index).and_then(|(lease, _)| self.leases.get(&lease));
            worker.is_some_and(|worker| {
                worker.disputes == 0
                    && worker.provider != provider
                    && self.may_run(*index, provider, Some(worker.provider))
            })
        })
    }

    fn assign_check(&mut self, lease: LeaseId, index: u64, out: &mut Vec<Effect>) {
        let (Some((against, _)), Some(input)) = (self.result(index), self.input(index)) else {
            return;
        };
        self.to_check.remove(&index);
        if let Some(task) = self.task(index) {
            task.check = Some(Check::Running(lease));
        }
        let keep = match self.rules.kind {
            JobKind::Batch => BTreeSet::from([index]),
            JobKind::Chain => BTreeSet::new(),
        };
        let ticket = Ticket { first: index, count: 1, against: Some(against) };
        self.send(lease, ticket, vec![input], keep, out);
    }

    /// A few waiting tasks in a row; fewer towards the end, so that all leases end together.
    fn assign_batch(&mut self, lease: LeaseId, provider: AccountId, out: &mut Vec<Effect>) {
        let ready = self.leases.values().filter(|lease| lease.phase == Phase::Ready).count();
        let share = self.todo.len().checked_div(ready.saturating_mul(4)).unwrap_or(0) as u64;
        let most = share.clamp(1, RUN_MAX);
        let first = self.todo.iter().copied().find(|index| self.may_run(*index, provider, None));
        let Some(first) = first else { return };
        let run: Vec<u64> = (first..first.saturating_add(most))
            .take_while(|index| self.todo.contains(index) && self.may_run(*index, provider, None))
            .collect();
        let inputs: Vec<_> = run.iter().filter_map(|index| self.input(*index)).collect();
        for index in &run {
            self.todo.remove(index);
            if let Some(task) = self.task(*index) {
                task.running = Some(lease);
            }
        }
        let ticket = Ticket { first, count: run.len() as u64, against: None };
        self.send(lease, ticket, inputs, run.into_iter().collect(), out);
    }

    /// The chain's next segment, if this lease is the one that runs it and no verdict is awaited.
    fn assign_segment(&mut self, lease: LeaseId, provider: AccountId, out: &mut Vec<Effect>) {
        let first = self.done;
        let running = self
            .leases
            .values()
            .any(|lease| lease.tickets.values().any(|ticket| ticket.against.is_none()));
        let disputed = self.disputes.iter().any(|dispute| dispute.open);
        if first >= self.rules.tasks || running || disputed {
            return;
        }
        let able = |id: &LeaseId| {
            self.leases.get(id).is_some_and(|lease| {
                lease.phase == Phase::Ready && self.may_run(first, lease.provider, None)
            })
        };
        let worker = self.worker.filter(able);
        if worker.is_some_and(|worker| worker != lease) || !self.may_run(first, provider, None) {
            return;
        }
        let Some(input) = self.input(first) else { return };
        self.worker = Some(lease);
        let segment = self.rules.segment.max(1);
        let rest = self.rules.tasks.saturating_sub(first);
        let count = segment.saturating_sub(first.checked_rem(segment).unwrap_or(0)).min(rest);
        let last = first.saturating_add(count).saturating_sub(1);
        // Besides the checkpoint, the states from which sampled steps are run again.
        let inner = first.saturating_add(1)..last.saturating_add(1);
        let mut keep: BTreeSet<u64> =
            self.rules.sampled.range(inner).map(|step| step.saturating_sub(1)).collect();
        keep.insert(last);
        for step in first..=last {
            self.todo.remove(&step);
            if let Some(task) = self.task(step) {
                task.running = Some(lease);
            }
        }
        self.send(lease, Ticket { first, count, against: None }, vec![input], keep, out);
    }

    fn send(
        &mut self,
        lease: LeaseId,
        ticket: Ticket,
        inputs: Vec<muster_types::Hash>,
        keep: BTreeSet<u64>,
        out: &mut Vec<Effect>,
    ) {
        let number = self.next_ticket;
        self.next_ticket = number.saturating_add(1);
        if let Some(state) = self.leases.get_mut(&lease) {
            state.tickets.insert(number, ticket);
        }
        out.push(Effect::Run(Assignment {
            lease,
            ticket: number,
            check: ticket.against.is_some(),
            first: ticket.first,
            count: u32::try_from(ticket.count).unwrap_or(u32::MAX),
            inputs,
            keep,
        }));
    }

    /// Whether a provider may run a task: one that failed it may only where nobody else is there
    /// or expected. `beside` is another that may not either.
    fn may_run(&self, index: u64, provider: AccountId, beside: Option<AccountId>) -> bool {
        let task = usize::try_from(index).ok().and_then(|at| self.tasks.get(at));
        let Some(task) = task else { return false };
        let avoided = |task: &Task, who: &AccountId| task.avoid.contains(who);
        if !avoided(task, &provider) {
            return true;
        }
        let others = self.leases.values().any(|lease| {
            lease.phase != Phase::Left
                && Some(lease.provider) != beside
                && !avoided(task, &lease.provider)
        });
        if others || self.pending() > 0 {
            return false;
        }
        // While the market may still bring somebody, wait for them.
        let live = u32::try_from(self.live().len()).unwrap_or(u32::MAX);
        self.dry || live >= self.wanted()
    }
}
