//! What providers do.

use super::{Run, chain};
use muster_ledger::{Action, ProviderProfile, job::Verification, provider::HostSpec};
use muster_market::{GIB, Interruptible, Prices, Verifies};
use muster_types::{AccountId, Amount, Hash, LeaseId, Millis, Rate, Resources};
use std::collections::BTreeMap;

impl Run {
    pub(super) fn as_provider(&mut self) -> Option<(AccountId, Action)> {
        let leases = self.model.leases.iter().filter(|one| !one.is_settled());
        let leases: Vec<_> = leases.map(|one| (one.host.provider, one.id)).collect();
        let lease = self.pick(&leases);
        let index = u32::try_from(self.below(3)).unwrap();
        let who = self.provider();
        Some(match self.below(16) {
            0 => (who, Action::ProviderSet { profile: self.profile() }),
            1 => (who, Action::BondAdd { amount: Amount::from_units(self.below(120)) }),
            2 if self.chance(6) => (who, Action::ProviderDrain {}),
            3 => (who, Action::BondWithdraw {}),
            4 | 5 => (who, Action::HostSet { index, spec: self.host_spec() }),
            6 if self.chance(40) => (who, Action::HostRemove { index }),
            7..=9 => (lease?.0, Action::LeaseReady { lease: lease?.1 }),
            10 if self.chance(30) => (lease?.0, Action::LeaseClose { lease: lease?.1 }),
            11 => {
                let bare =
                    self.model.leases.iter().filter(|one| {
                        one.is_drawn() && one.commitment.is_none() && !one.is_settled()
                    });
                let bare: Vec<_> = bare.map(|one| (one.host.provider, one.id)).collect();
                let bare = if self.chance(60) { self.pick(&bare) } else { None };
                self.commit(bare.or(lease)?)?
            }
            12 => (who, Action::ProviderUnjail {}),
            13 if self.chance(40) => (lease?.0, Action::LeaseDecline { lease: lease?.1 }),
            14 => (lease?.0, Action::LeaseReclaim { lease: lease?.1 }),
            _ => {
                let mine = leases.iter().filter(|(provider, _)| *provider == who);
                let mut beats: Vec<LeaseId> = mine.map(|(_, lease)| *lease).collect();
                if self.chance(10) {
                    beats.extend(lease.map(|(_, lease)| lease));
                }
                (who, Action::Heartbeat { leases: beats })
            }
        })
    }

    /// Of a chain its run, of everything else something.
    fn commit(&mut self, (who, lease): (AccountId, LeaseId)) -> Option<(AccountId, Action)> {
        let record = self.model.lease(&lease).ok()?;
        let (mut root, mut count) = (None, 10);
        if let (Verification::Dispute, Some(job)) = (record.verification, record.job) {
            let tasks = self.model.job(&job).ok()?.spec.tasks;
            let run = chain::Run::of(record, tasks);
            (root, count) = (Some(run.root()), run.count());
        }
        if self.chance(5) {
            count = self.below(14);
        }
        let root = root.unwrap_or(Hash([u8::try_from(self.below(256)).unwrap(); 32]));
        let fuel = self.below(6_000);
        Some((who, Action::ResultCommit { lease, root, count, fuel }))
    }

    pub(super) fn profile(&mut self) -> ProviderProfile {
        let region = format!("region-{}", self.below(2));
        let operator = if self.chance(40) { Some(self.provider()) } else { None };
        let jurisdiction = ["", "de", "us"][usize::try_from(self.below(3)).unwrap()].to_owned();
        let attributes = self.tier();
        ProviderProfile { region, operator, jurisdiction, attributes, ..Default::default() }
    }

    /// An attribute that orders ask for, where there is one.
    fn tier(&mut self) -> BTreeMap<String, String> {
        let tier = self.chance(50).then(|| ("tier".to_owned(), self.below(3).to_string()));
        tier.into_iter().collect()
    }

    pub(super) fn host_spec(&mut self) -> HostSpec {
        let price = Rate::per_hour(Amount::from_nanos(u128::from(1 + self.below(4)) * 900_000_000));
        let odd = self.chance(3);
        let all = [Verifies::Replicate, Verifies::Audit, Verifies::Dispute];
        let verifies = all.into_iter().filter(|_| self.chance(85)).collect();
        let memory_gib = Rate::per_hour(Amount::from_nanos(1_000 * u128::from(self.below(5))));
        let interruptible = self.chance(40).then(|| Interruptible {
            prices: Prices {
                cpu: Rate::per_hour(Amount::from_nanos(u128::from(self.below(3)) * 800_000_000)),
                memory_gib,
                ..Prices::default()
            },
            notice_ms: Millis(self.below(4_000)),
        });
        HostSpec {
            capacity: Resources {
                cpu_milli: self.below(9_000),
                memory_bytes: self.below(16 * GIB),
                ..Resources::default()
            },
            prices: Prices {
                cpu: if odd { Rate::per_hour(Amount::from_nanos(7)) } else { price },
                memory_gib,
                ..Prices::default()
            },
            offered_until: Millis(self.model.now + 8_000 + self.below(50_000)),
            verifies,
            fuel_per_s: self.below(50),
            interruptible,
            attributes: self.tier(),
        }
    }
}
