//! What tenants do.

use super::Run;
use muster_ledger::{
    Action,
    job::{ChainStart, JobKind, JobSpec, Verification},
    market::Mode,
};
use muster_market::{GIB, Request, Spread, Terms};
use muster_types::{AccountId, Amount, EscrowId, Hash, LeaseId, Millis, Rate};

/// What every chain starts from.
pub(super) const START: ChainStart = ChainStart {
    module: Hash([3; 32]),
    data: Hash([5; 32]),
    initial: Hash([6; 32]),
    memory_max_bytes: 1 << 20,
};

impl Run {
    pub(super) fn as_tenant(&mut self) -> Option<(AccountId, Action)> {
        let escrows = self.model.escrows.iter().filter(|one| !one.closed);
        let escrows: Vec<_> = escrows.map(|one| (one.id, one.owner)).collect();
        let escrow = self.pick(&escrows);
        Some(match self.below(13) {
            0 => (self.anybody(), Action::EscrowOpen { deposit: self.amount() }),
            1 => {
                let (escrow, amount) = (escrow?.0, self.amount());
                (self.anybody(), Action::EscrowDeposit { escrow, amount })
            }
            2 => (escrow?.1, Action::EscrowClose { escrow: escrow?.0 }),
            3 => (escrow?.1, Action::JobOpen { spec: self.job(escrow?.0) }),
            4 => {
                let jobs = self.model.jobs.iter().filter(|one| !one.closed);
                let jobs: Vec<_> = jobs.map(|one| (one.tenant, one.id)).collect();
                let (tenant, job) = self.pick(&jobs)?;
                (tenant, Action::JobClose { job })
            }
            5..=7 => self.order(escrow)?,
            8 => {
                let orders = self.model.orders.iter().filter(|one| one.ended.is_none());
                let orders: Vec<_> = orders.map(|one| (one.tenant, one.id)).collect();
                let (tenant, order) = self.pick(&orders)?;
                (tenant, Action::OrderCancel { order })
            }
            kind => {
                let leases = self.model.leases.iter().filter(|one| !one.is_settled());
                let leases: Vec<(AccountId, LeaseId)> =
                    leases.map(|one| (one.tenant, one.id)).collect();
                let (tenant, lease) = self.pick(&leases)?;
                let action = match kind {
                    9 | 10 => Action::ResultAccept { lease },
                    11 => Action::ReadyReject { lease },
                    _ if self.chance(60) => return None,
                    _ => Action::LeaseClose { lease },
                };
                (tenant, action)
            }
        })
    }

    fn job(&mut self, escrow: EscrowId) -> JobSpec {
        let bps = if self.chance(90) { 1_000 } else { u32::try_from(self.below(20_000)).unwrap() };
        let verification = match self.below(8) {
            0 => Verification::None,
            1..=3 => Verification::Replicate { sample_bps: bps },
            4 | 5 => Verification::Audit { rate_bps: bps },
            _ => Verification::Dispute,
        };
        let is_chain = (verification == Verification::Dispute) != self.chance(3);
        JobSpec {
            kind: if is_chain { JobKind::Chain } else { JobKind::Batch },
            escrow,
            tasks: self.below(12),
            verification,
            manifest: Hash([1; 32]),
            fuel_max: 1_000 * self.below(4),
            metered: self.chance(40),
            chain: is_chain.then_some(START),
        }
    }

    fn order(&mut self, escrow: Option<(EscrowId, AccountId)>) -> Option<(AccountId, Action)> {
        let jobs = self.model.jobs.iter().filter(|one| !one.closed);
        let jobs: Vec<_> = jobs.map(|one| (one.id, one.spec.escrow)).collect();
        let job = if self.chance(70) { self.pick(&jobs) } else { None };
        let escrow = job.map(|(_, escrow)| escrow).or(escrow.map(|(escrow, _)| escrow))?;
        let owner = self.model.escrow(&escrow).ok()?.owner;
        let (job, terms) = (job.map(|(job, _)| job), self.terms());
        // A premium that falls wakes nobody, so who limits the risk does not wait here.
        let patience = if terms.max_risk_bps == 0 { self.below(20_000) } else { 1 };
        let deadline = Millis(self.block_now + patience);
        let manifest = Hash([2; 32]);
        Some((
            owner,
            Action::OrderPlace {
                escrow,
                job,
                terms,
                deadline,
                manifest,
                mode: Mode::Standing,
                reauction: false,
            },
        ))
    }

    fn terms(&mut self) -> Terms {
        let gang = self.chance(30);
        // The ledger drops a placement that would exceed a limit together with the leases that the
        // order has already, and does not go on to the next host. At a limit of one it cannot
        // happen, nor to a gang.
        let limits = if gang { 3 } else { 2 };
        let small = |run: &mut Self, limit| u32::try_from(run.below(limit)).unwrap();
        let spread = if self.chance(30) {
            Spread {
                per_provider: small(self, limits),
                per_host: small(self, limits),
                per_region: small(self, limits),
            }
        } else {
            Spread::default()
        };
        Terms {
            request: Request {
                cpu_milli: self.below(3_000),
                memory_bytes: self.below(4 * GIB),
                ..Request::default()
            },
            count: small(self, 5),
            gang,
            spread,
            max_rate: Rate::per_hour(Amount::from_units(self.below(60))),
            min_bond: Amount::from_units(self.below(4) * 10),
            max_risk_bps: small(self, 4) * 2_000,
            exclude: if self.chance(10) { vec![self.provider()] } else { Vec::new() },
            min_duration: Millis(self.below(20_000)),
            ..Terms::default()
        }
    }
}
