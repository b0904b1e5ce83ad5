//! What time makes due at a block's end.

use super::{Model, Phase, Service};
use muster_ledger::market::CloseReason;
use muster_types::{EscrowId, LeaseId};

impl Model {
    /// The block's end.
    pub(crate) fn end(&mut self) {
        self.orders_due();
        self.leases_due();
        self.stalls_due();
        let steady = self.steady;
        let reclaimed = self.by_time(|lease| match lease.phase {
            Phase::Serving(Service::Reclaiming { until }) if until <= steady => Some(until),
            _ => None,
        });
        self.close_all(&reclaimed, CloseReason::Reclaimed);
        self.overdrawn_due();
        self.draws_due();
        self.disputes_due();
        self.challenges_due();
        self.windows_due();
        self.duties_due();
        self.turns();
        self.share_fees();
        // What is voted now counts from the next block on.
        let params = self.params.clone();
        self.votes_due();
        self.beacon_due();
        self.epoch_due(&params);
        self.note_final();
        self.leave(params.retention_ms.0);
    }

    /// Who did not get ready, or did not come back, in time.
    fn leases_due(&mut self) {
        let steady = self.steady;
        let patience = self.params.ready_timeout_ms.0;
        let unready = self.by_time(|lease| match lease.phase {
            Phase::Granted if steady - lease.seen_steady > patience => Some(lease.seen_steady),
            _ => None,
        });
        self.close_all(&unready, CloseReason::ProviderNotReady);
        let not_updated = self.by_time(|lease| match lease.phase {
            Phase::Serving(Service::Updating { since }) if steady - since > patience => Some(since),
            _ => None,
        });
        self.close_all(&not_updated, CloseReason::ProviderNotReady);
        let patience = self.params.stall_close_ms.0;
        let gone = self.by_time(|lease| match lease.phase {
            Phase::Stalled { since, .. } if steady - since >= patience => Some(since),
            _ => None,
        });
        self.close_all(&gone, CloseReason::ProviderStalled);
    }

    fn stalls_due(&mut self) {
        let (steady, height) = (self.steady, self.height);
        let (gap, blocks) = (self.params.stall_gap_ms.0, self.params.stall_gap_blocks);
        let silent = self.by_time(|lease| {
            let late = steady - lease.seen_steady > gap && height - lease.seen_height >= blocks;
            (lease.is_serving() && late).then_some(lease.seen_steady)
        });
        for id in silent {
            let lease = self.lease_mut(&id);
            if let Phase::Serving(was) = lease.phase {
                lease.phase = Phase::Stalled { since: steady, was };
            }
        }
    }

    /// The leases of escrows that stayed short close.
    fn overdrawn_due(&mut self) {
        let (steady, grace) = (self.steady, self.params.overdrawn_grace_ms.0);
        let mut dry: Vec<(u64, EscrowId)> = Vec::new();
        for escrow in self.escrows.iter() {
            if let Some(since) = escrow.short_since
                && steady - since >= grace
            {
                dry.push((since, escrow.id));
            }
        }
        dry.sort_unstable();
        for (_, escrow) in dry {
            let leases = self.leases_on(&escrow).into_iter().filter(|lease| lease.is_open());
            let open: Vec<LeaseId> = leases.map(|lease| lease.id).collect();
            self.close_all(&open, CloseReason::OutOfFunds);
        }
    }

    /// Leases whose challenge window has ended are settled.
    fn windows_due(&mut self) {
        let (steady, window) = (self.steady, self.params.challenge_window_ms.0);
        let over = self.by_time(|lease| {
            let ended = !lease.is_open() && !lease.is_settled();
            lease.window_from().filter(|from| ended && steady.saturating_sub(*from) >= window)
        });
        for id in over {
            if !self.is_disputed(&id) {
                let lease = self.lease(&id).expect("listed");
                let nothing_stands = lease.is_drawn() && lease.commitment.is_none();
                self.settle_for_good(&id, nothing_stands, None);
            }
        }
    }

    fn close_all(&mut self, leases: &[LeaseId], reason: CloseReason) {
        for id in leases {
            self.close(id, reason);
        }
    }

    /// The leases with a time, the earliest first, then by id.
    fn by_time(&self, time: impl Fn(&super::Lease) -> Option<u64>) -> Vec<LeaseId> {
        let mut found: Vec<_> =
            self.leases.iter().filter_map(|lease| Some((time(lease)?, lease.id))).collect();
        found.sort_unstable();
        found.into_iter().map(|(_, id)| id).collect()
    }
}
