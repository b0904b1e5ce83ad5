//! What tenants do.

use super::Run;
use muster_ledger::{
    Action,
    job::{ChainStart, JobKind, JobSpec, Verification},
    market::{Mode, Pick},
};
use muster_market::{GIB, Request, Spread, Terms, Together};
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
                let orders = self.model.orders.iter().filter(|one| one.is_open());
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
        let deadline = Millis(self.block_now + self.below(20_000));
        let (mode, reauction) = (self.mode(), self.chance(60));
        let manifest = Hash([2; 32]);
        Some((
            owner,
            Action::OrderPlace { escrow, job, terms, deadline, manifest, mode, reauction },
        ))
    }

    fn mode(&mut self) -> Mode {
        if self.chance(70) {
            return Mode::Standing;
        }
        let pick = if self.chance(50) { Pick::Lowest } else { Pick::Tenant };
        let window_ms = Millis(self.below(9_000));
        Mode::Bids { window_ms, bids_max: u16::try_from(self.below(4)).unwrap(), pick }
    }

    /// Auditors that an order names, where it does.
    fn auditors(&mut self) -> Vec<AccountId> {
        if !self.chance(12) {
            return Vec::new();
        }
        let signed: Vec<_> = self.model.signed.iter().map(|one| one.auditor).collect();
        let mut all: Vec<AccountId> =
            (0..self.below(3)).filter_map(|_| self.pick(&signed)).collect();
        if self.chance(10) {
            all.push(self.anybody());
        }
        all
    }

    fn terms(&mut self) -> Terms {
        let gang = self.chance(30);
        let small = |run: &mut Self, limit| u32::try_from(run.below(limit)).unwrap();
        let spread = if self.chance(30) {
            Spread {
                per_provider: small(self, 3),
                per_host: small(self, 3),
                per_region: small(self, 3),
                per_operator: small(self, 3),
            }
        } else {
            Spread::default()
        };
        let metered = self.chance(10);
        let together = match self.below(8) {
            0 => Together::Region,
            1 => Together::Provider,
            2 => Together::Host,
            _ => Together::No,
        };
        let tier = self.chance(15).then(|| ("tier".to_owned(), self.below(3).to_string()));
        Terms {
            together,
            attributes: tier.into_iter().collect(),
            signed_by_any: self.auditors(),
            signed_by_all: self.auditors(),
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
            risk_weight_bps: [None, None, Some(0), Some(5_001), Some(100_000), Some(100_001)]
                [usize::try_from(self.below(6)).unwrap()],
            exclude: if self.chance(10) { vec![self.provider()] } else { Vec::new() },
            min_duration: Millis(self.below(20_000)),
            jurisdictions: if self.chance(10) { vec!["de".to_owned()] } else { Vec::new() },
            exclude_jurisdictions: if self.chance(10) { vec!["us".to_owned()] } else { Vec::new() },
            metered,
            min_fuel_per_s: if metered { self.below(30) } else { 0 },
            interruptible: self.chance(50),
            ..Terms::default()
        }
    }
}
