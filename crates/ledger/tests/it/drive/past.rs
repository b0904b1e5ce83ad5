//! What is tried on records that have left the state.

use super::Run;
use muster_ledger::Action;
use muster_types::{AccountId, Amount};

impl Run {
    /// By whoever had the right to it.
    pub(super) fn on_what_has_left(&mut self) -> Option<(AccountId, Action)> {
        let past = self.model.past.clone();
        let (kind, amount) = (self.below(8), Amount::from_units(1));
        if kind < 4 {
            let leases: Vec<_> = past.leases.iter().collect();
            let lease = self.pick(&leases)?;
            let (tenant, provider, lease) = (lease.tenant, lease.host.provider, lease.id);
            return Some(match kind {
                0 => (tenant, Action::LeaseClose { lease }),
                1 => (tenant, Action::ResultAccept { lease }),
                2 => (provider, Action::LeaseReady { lease }),
                _ => (provider, Action::Heartbeat { leases: vec![lease] }),
            });
        }
        let escrows: Vec<_> = past.escrows.iter().collect();
        let orders: Vec<_> = past.orders.iter().collect();
        let jobs: Vec<_> = past.jobs.iter().collect();
        Some(match kind {
            4 => {
                let escrow = self.pick(&escrows)?;
                (escrow.owner, Action::EscrowDeposit { escrow: escrow.id, amount })
            }
            5 => {
                let escrow = self.pick(&escrows)?;
                (escrow.owner, Action::EscrowClose { escrow: escrow.id })
            }
            6 => {
                let order = self.pick(&orders)?;
                (order.tenant, Action::OrderCancel { order: order.id })
            }
            _ => {
                let job = self.pick(&jobs)?;
                (job.tenant, Action::JobClose { job: job.id })
            }
        })
    }
}
