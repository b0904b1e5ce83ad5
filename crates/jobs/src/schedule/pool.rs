//! Leases: ordered, granted, prepared, lost.

use super::{Cause, Effect, Lease, Order, Outcome, Phase, Schedule};
use crate::progress::Progress;
use muster_ledger::{job::JobKind, market::CloseReason};
use muster_types::{AccountId, LeaseId};
use std::collections::BTreeSet;

impl Schedule {
    /// Asks again for everything that was under way.
    pub(super) fn restart(&mut self, out: &mut Vec<Effect>) {
        self.started = true;
        self.dry = false;
        for lease in self.live() {
            self.give_back(lease);
            if let Some(state) = self.leases.get_mut(&lease) {
                state.phase = Phase::Preparing;
                out.push(Effect::Prepare { lease, provider: state.provider });
            }
        }
        for (number, order) in (0u32..).zip(&self.orders) {
            if order.pending() > 0 {
                let exclude = order.exclude.clone();
                out.push(Effect::Order { number, count: order.count, exclude });
            }
        }
        for (number, dispute) in (0u32..).zip(&self.disputes) {
            if dispute.open {
                out.push(Effect::Dispute { number, claims: Box::new(dispute.claims) });
            }
        }
    }

    pub(super) fn order_ended(&mut self, number: u32) {
        let order = usize::try_from(number).ok().and_then(|at| self.orders.get_mut(at));
        if let Some(order) = order.filter(|order| !order.ended) {
            self.dry |= order.pending() > 0;
            order.ended = true;
        }
    }

    pub(super) fn granted(&mut self, id: LeaseId, order: u32, lease: Lease, out: &mut Vec<Effect>) {
        if self.leases.contains_key(&id) {
            return;
        }
        if let Some(order) = usize::try_from(order).ok().and_then(|at| self.orders.get_mut(at)) {
            order.granted = order.granted.saturating_add(1);
        }
        self.dry = false;
        let (provider, rate, waited_ms) = (lease.provider, lease.rate, lease.waited_ms);
        out.push(Effect::Tell(Progress::Leased { lease: id, provider, rate, waited_ms }));
        out.push(Effect::Prepare { lease: id, provider });
        self.leases.insert(id, lease);
    }

    pub(super) fn prepared(&mut self, lease: LeaseId, out: &mut Vec<Effect>) {
        let Some(state) = self.leases.get_mut(&lease) else { return };
        if state.phase == Phase::Preparing {
            state.phase = Phase::Ready;
            out.push(Effect::Tell(Progress::Prepared { lease, provider: state.provider }));
        }
    }

    pub(super) fn interrupted(&mut self, lease: LeaseId, out: &mut Vec<Effect>) {
        let Some(state) = self.leases.get_mut(&lease) else { return };
        if state.phase != Phase::Ready {
            return;
        }
        state.phase = Phase::Preparing;
        let provider = state.provider;
        let tasks = self.give_back(lease);
        self.counts.failed_over = self.counts.failed_over.saturating_add(tasks);
        if tasks > 0 {
            let reason = "the connection broke".to_owned();
            out.push(Effect::Tell(Progress::FailedOver { provider, tasks, reason }));
        }
    }

    pub(super) fn gone(&mut self, lease: LeaseId, cause: Cause, out: &mut Vec<Effect>) {
        let Some(provider) = self.provider(&lease) else { return };
        let silent = matches!(cause, Cause::Silent(_));
        let reason = match cause {
            Cause::Silent(reason) | Cause::Misbehaved(reason) => reason,
            Cause::BadModule(reason) => {
                self.module_refused.insert(provider, reason.clone());
                if self.module_refused.len() >= super::WITNESSES {
                    self.finish(Outcome::BadModule(reason.clone()));
                }
                reason
            }
        };
        self.leave(lease, reason, out);
        if silent {
            self.silent.insert(provider);
        }
    }

    pub(super) fn closed(&mut self, lease: LeaseId, reason: CloseReason, out: &mut Vec<Effect>) {
        let text = match reason {
            CloseReason::ProviderFraud => {
                self.discard(lease, out);
                return;
            }
            CloseReason::OutOfFunds => {
                self.finish(Outcome::OutOfFunds);
                "the escrow ran dry"
            }
            CloseReason::TenantClosed => "the lease was closed",
            CloseReason::ProviderNotReady => "it did not become ready in time",
            CloseReason::ProviderStalled => "its heartbeats stopped",
            CloseReason::ProviderExit => "it left",
            CloseReason::ReadyRejected => "it was rejected",
            CloseReason::Undelivered => "it could not run what it was given",
            CloseReason::Reclaimed => "its machine was reclaimed",
            CloseReason::OfferEnded => "its offer ended",
        };
        let provider = self.provider(&lease);
        self.leave(lease, text.to_owned(), out);
        let blameless = matches!(
            reason,
            CloseReason::ProviderStalled | CloseReason::Reclaimed | CloseReason::OfferEnded
        );
        if let Some(provider) = provider.filter(|_| blameless) {
            self.silent.insert(provider);
        }
    }

    /// When nobody else is left, those that had only fallen silent, or left as they may, may serve
    /// again, once each: a machine or a network that was restarted is back by then. Says whether
    /// there is anybody.
    pub(super) fn forgive(&mut self) -> bool {
        let back: Vec<AccountId> = self
            .silent
            .iter()
            .filter(|provider| self.excluded.contains(provider))
            .filter(|provider| !self.forgiven.contains(provider))
            .filter(|id| !self.leases.values().any(|of| of.provider == **id && of.fraud))
            .copied()
            .collect();
        for provider in &back {
            self.excluded.remove(provider);
            self.forgiven.insert(*provider);
        }
        self.dry &= back.is_empty();
        !back.is_empty()
    }

    /// Gives a lease up: its tasks go back, its provider gets no further lease of this job.
    pub(super) fn leave(&mut self, lease: LeaseId, reason: String, out: &mut Vec<Effect>) {
        let Some(state) = self.leases.get_mut(&lease) else { return };
        if state.phase == Phase::Left {
            return;
        }
        state.phase = Phase::Left;
        let provider = state.provider;
        self.excluded.insert(provider);
        self.dry = false;
        let tasks = self.give_back(lease);
        self.counts.failed_over = self.counts.failed_over.saturating_add(tasks);
        out.push(Effect::Abandon { lease });
        out.push(Effect::Tell(Progress::FailedOver { provider, tasks, reason }));
    }

    /// Puts back what a lease has in work. Returns how many tasks it was.
    pub(super) fn give_back(&mut self, lease: LeaseId) -> u64 {
        let Some(state) = self.leases.get_mut(&lease) else { return 0 };
        let tickets = std::mem::take(&mut state.tickets);
        let mut tasks = 0u64;
        for ticket in tickets.into_values() {
            tasks = tasks.saturating_add(ticket.count);
            self.free(lease, &ticket, ticket.first);
        }
        tasks
    }

    /// The leases whose providers may still answer.
    pub(super) fn live(&self) -> Vec<LeaseId> {
        let live = self.leases.iter().filter(|(_, lease)| lease.phase != Phase::Left);
        live.map(|(lease, _)| *lease).collect()
    }

    /// Leases that open orders may still bring.
    pub(super) fn pending(&self) -> u32 {
        self.orders.iter().map(Order::pending).fold(0, u32::saturating_add)
    }

    /// Orders the leases that are missing.
    pub(super) fn order_missing(&mut self, out: &mut Vec<Effect>) {
        if self.dry {
            return;
        }
        let live = self.live();
        let holders: BTreeSet<AccountId> =
            live.iter().filter_map(|lease| self.provider(lease)).collect();
        let have = u32::try_from(live.len()).unwrap_or(u32::MAX).saturating_add(self.pending());
        // Nobody checks its own work: however many leases one provider has, another is missing.
        let unchecked = holders.len() == 1 && self.pending() == 0 && !self.is_verified();
        let count = self.wanted().saturating_sub(have).max(u32::from(unchecked));
        if count == 0 {
            return;
        }
        let exclude: BTreeSet<AccountId> = self.excluded.union(&holders).copied().collect();
        let exclude: Vec<AccountId> = exclude.into_iter().collect();
        let number = u32::try_from(self.orders.len()).unwrap_or(u32::MAX);
        self.orders.push(Order { count, granted: 0, ended: false, exclude: exclude.clone() });
        out.push(Effect::Tell(Progress::Ordered { count }));
        out.push(Effect::Order { number, count, exclude });
    }

    /// How many leases the rest of the work can use.
    pub(super) fn wanted(&self) -> u32 {
        let waiting = match self.rules.kind {
            JobKind::Batch => !self.todo.is_empty(),
            JobKind::Chain => self.done < self.rules.tasks,
        };
        if waiting || !self.to_check.is_empty() {
            return self.rules.providers;
        }
        // The last tasks are in work: whoever does them, and one who can check them.
        let needed = if self.is_verified() { 1 } else { 2 };
        needed.min(self.rules.providers)
    }
}
