//! Bonds, the duties that pledge them, and what auditors sign.

use super::{Bond, Duty, Model, Money, Outcome, Refused, Signed, Standing, act::positive};
use super::{money, must};
use muster_ledger::bond::DutyKind;
use muster_types::{AccountId, Amount, Asset};
use num_traits::Zero as _;
use std::collections::BTreeMap;

impl Model {
    pub(super) fn bond_of(&self, owner: &AccountId) -> Money {
        self.bonds
            .find(|bond| bond.owner == *owner)
            .map(|bond| bond.amount.clone())
            .unwrap_or_default()
    }

    /// What leases and duties have locked of a bond.
    pub(super) fn pledged(&self, owner: &AccountId) -> Money {
        let leases = self.leases.iter().filter(|lease| lease.host.provider == *owner);
        let duties = self.duties.iter().filter(|duty| duty.owner == *owner);
        leases.map(|lease| &lease.pledge).chain(duties.map(|duty| &duty.pledge)).sum()
    }

    pub(super) fn bond_free(&self, owner: &AccountId) -> Money {
        self.bond_of(owner) - self.pledged(owner)
    }

    /// Changes a bond's amount or queue; a provider may begin or cease to be active by it.
    pub(super) fn bond_change(&mut self, owner: AccountId, change: impl FnOnce(&mut Bond)) {
        let before = self.bond_of(&owner);
        let bond = self.bonds.find_mut(|bond| bond.owner == owner).expect("the bond exists");
        change(bond);
        if bond.amount > before {
            self.improved(&owner);
        }
        self.stand(&owner);
    }

    pub(super) fn bond_add(&mut self, who: AccountId, amount: Amount) -> Outcome {
        positive(amount)?;
        self.take(who, Asset::Usd, &money(amount))?;
        if self.bonds.find(|bond| bond.owner == who).is_none() {
            let (amount, slashed) = (Money::zero(), Money::zero());
            self.bonds.push(Bond { owner: who, amount, slashed, unbonding: Vec::new() });
        }
        self.bond_change(who, |bond| bond.amount += money(amount));
        Ok(())
    }

    pub(super) fn bond_unbond(&mut self, who: AccountId, amount: Amount) -> Outcome {
        positive(amount)?;
        let bond = self.bonds.find(|bond| bond.owner == who).ok_or(Refused)?;
        must(bond.unbonding.len() < 16)?;
        let is_active = self.provider(&who).is_ok_and(|one| one.standing == Standing::Active);
        let amount = money(amount);
        must(amount <= self.bond_free(&who))?;
        if is_active {
            must(self.bond_of(&who) - &amount >= money(self.params.provider_bond_min))?;
        }
        self.begin_unbonding(who, amount);
        Ok(())
    }

    pub(super) fn begin_unbonding(&mut self, who: AccountId, amount: Money) {
        let until = self.now + self.params.unbonding_ms.0;
        self.bond_change(who, |bond| {
            bond.amount -= &amount;
            bond.unbonding.push((amount, until));
        });
    }

    pub(super) fn bond_withdraw(&mut self, who: AccountId) -> Outcome {
        let now = self.now;
        let bond = self.bonds.find(|bond| bond.owner == who);
        let parts = bond.map(|bond| bond.unbonding.clone()).unwrap_or_default();
        let leaves = match self.provider(&who).map(|provider| provider.standing) {
            Ok(Standing::Unbonding { until }) => until <= now,
            _ => false,
        };
        let due: Vec<&Money> =
            parts.iter().filter(|(_, until)| *until <= now).map(|(amount, _)| amount).collect();
        must(leaves || !due.is_empty())?;
        if !due.is_empty() {
            let amount: Money = due.into_iter().sum();
            self.bond_change(who, |bond| bond.unbonding.retain(|(_, until)| *until > now));
            self.give(who, Asset::Usd, &amount);
        }
        if leaves {
            self.provider_mut(&who).standing = Standing::Gone;
        }
        Ok(())
    }

    fn duty(&self, who: &AccountId, kind: &DutyKind) -> Option<&Duty> {
        self.duties.find(|duty| duty.owner == *who && duty.kind == *kind)
    }

    /// Registers a duty, raises its pledge, or brings back one that was being left.
    fn duty_register(&mut self, who: AccountId, kind: DutyKind, wanted: &Money) -> Outcome {
        let (mut pledge, mut since) = (Money::zero(), self.now);
        if let Some(known) = self.duty(&who, &kind) {
            pledge = known.pledge.clone();
            if known.leaving.is_none() {
                must(*wanted > pledge)?;
                since = known.since;
            }
        }
        let lacking = (wanted - &pledge).max(Money::zero());
        must(lacking <= self.bond_free(&who))?;
        self.duties.remove(|duty| duty.owner == who && duty.kind == kind);
        self.duties.push(Duty { owner: who, kind, pledge: pledge + lacking, since, leaving: None });
        Ok(())
    }

    fn duty_leave(&mut self, who: AccountId, kind: &DutyKind) -> Outcome {
        let until = self.now + self.params.unbonding_ms.0;
        let is = |duty: &Duty| duty.owner == who && duty.kind == *kind;
        let duty = self.duties.find_mut(is).ok_or(Refused)?;
        must(duty.leaving.is_none())?;
        duty.leaving = Some(until);
        Ok(())
    }

    pub(super) fn duties_due(&mut self) {
        let now = self.now;
        let over = |duty: &Duty| duty.leaving.is_some_and(|until| until <= now);
        let freed: Vec<AccountId> =
            self.duties.iter().filter(|duty| over(duty)).map(|duty| duty.owner).collect();
        self.duties.remove(over);
        for owner in freed {
            self.improved(&owner);
        }
    }

    pub(super) fn auditor_register(&mut self, who: AccountId) -> Outcome {
        let pledge = money(self.params.auditor_bond_min);
        self.duty_register(who, DutyKind::Auditor, &pledge)
    }

    pub(super) fn auditor_leave(&mut self, who: AccountId) -> Outcome {
        self.duty_leave(who, &DutyKind::Auditor)
    }

    pub(super) fn service_register(
        &mut self,
        who: AccountId,
        name: &str,
        pledge: Amount,
    ) -> Outcome {
        must(!name.is_empty() && name.len() <= 64)?;
        positive(pledge)?;
        let kind = DutyKind::Service(name.to_owned());
        let known = self.duty(&who, &kind).is_some();
        must(known || self.duties.iter().filter(|duty| duty.owner == who).count() < 16)?;
        self.duty_register(who, kind, &money(pledge))
    }

    pub(super) fn service_unregister(&mut self, who: AccountId, name: &str) -> Outcome {
        self.duty_leave(who, &DutyKind::Service(name.to_owned()))
    }

    /// Since when an account is an auditor that is not leaving.
    fn auditor_since(&self, who: &AccountId) -> Option<u64> {
        let duty = self.duty(who, &DutyKind::Auditor)?;
        duty.leaving.is_none().then_some(duty.since)
    }

    /// Whether a signature holds now.
    pub(super) fn holds(&self, signed: &Signed) -> bool {
        let since = self.auditor_since(&signed.auditor);
        signed.until > self.now && since.is_some_and(|since| since <= signed.at)
    }

    pub(super) fn attribute_sign(
        &mut self,
        who: AccountId,
        provider: AccountId,
        attributes: &BTreeMap<String, String>,
        until: u64,
    ) -> Outcome {
        must((1..=16).contains(&attributes.len()))?;
        must(attributes.keys().all(|key| (1..=64).contains(&key.len())))?;
        must(attributes.values().all(|value| value.len() <= 256))?;
        must(until > self.now && provider != who)?;
        must(self.auditor_since(&who).is_some())?;
        self.provider(&provider)?;
        let about: Vec<_> =
            self.signed.iter().filter(|one| one.provider == provider).cloned().collect();
        let known = about.iter().any(|one| one.auditor == who);
        if !known && about.len() >= 16 {
            let void: Vec<_> =
                about.iter().filter(|one| !self.holds(one)).map(|one| one.auditor).collect();
            must(!void.is_empty())?;
            self.signed.remove(|one| one.provider == provider && void.contains(&one.auditor));
        }
        self.signed.remove(|one| one.provider == provider && one.auditor == who);
        let (at, attributes) = (self.now, attributes.clone());
        self.signed.push(Signed { provider, auditor: who, attributes, at, until });
        self.improved(&provider);
        Ok(())
    }

    pub(super) fn attribute_revoke(
        &mut self,
        who: AccountId,
        provider: AccountId,
        auditor: AccountId,
    ) -> Outcome {
        must(who == auditor || who == provider)?;
        let is = |one: &Signed| one.provider == provider && one.auditor == auditor;
        must(self.signed.find(is).is_some())?;
        self.signed.remove(is);
        Ok(())
    }
}
