//! What any account does with its bond: services, auditors, operators.

use super::Run;
use crate::model::Duty;
use muster_ledger::{Action, bond::DutyKind};
use muster_types::{AccountId, Amount, Millis};

impl Run {
    pub(super) fn as_bonded(&mut self) -> Option<(AccountId, Action)> {
        let who = self.anybody();
        let provider = self.provider();
        let name = self.pick(&["gateway", "relay"])?.to_owned();
        let some = Amount::from_units(self.below(12));
        Some(match self.below(11) {
            0 => (who, Action::BondAdd { amount: self.amount() }),
            1 => (who, Action::BondUnbond { amount: some }),
            2 => (who, Action::BondWithdraw {}),
            3 => (who, Action::AffiliateSet { provider, affiliated: self.chance(70) }),
            4 => (who, Action::AuditorRegister {}),
            5 if self.chance(30) => (who, Action::AuditorLeave {}),
            6 => (who, Action::ServiceUnregister { name }),
            7 => {
                let name = if self.chance(5) { String::new() } else { name };
                (who, Action::ServiceRegister { name, pledge: some })
            }
            8 => {
                let signed = self.model.signed.iter().map(|one| (one.provider, one.auditor));
                let signed: Vec<_> = signed.collect();
                let (provider, auditor) = self.pick(&signed)?;
                let by = if self.chance(50) { provider } else { auditor };
                (by, Action::AttributeRevoke { provider, auditor })
            }
            _ => {
                let attributes = [("tier".to_owned(), self.below(3).to_string())].into();
                let until = Millis(self.model.now + self.below(60_000));
                let is_auditor = |one: &&Duty| one.kind == DutyKind::Auditor;
                let auditors = self.model.duties.iter().filter(is_auditor);
                let auditors: Vec<AccountId> = auditors.map(|one| one.owner).collect();
                let auditor = if self.chance(90) { self.pick(&auditors) } else { None };
                (auditor.unwrap_or(who), Action::AttributeSign { provider, attributes, until })
            }
        })
    }
}
