//! Who may act for an account, and what the fee and a key's limits take.

use super::{Model, Money, Outcome, Refused, Sent, Signers, money, must, whole};
use muster_ledger::{
    Action,
    account::{Multisig, Scope, Scopes},
    market::OrderChange,
};
use muster_types::{AccountId, Amount, Asset};
use std::collections::BTreeSet;

/// A key that may act for an account that is not its own.
#[derive(Clone, Debug)]
pub(crate) struct Delegated {
    pub(crate) account: AccountId,
    pub(crate) key: AccountId,
    pub(crate) scopes: Vec<Scope>,
    /// What `usd` and `mst` may still fall by.
    pub(crate) left: [Money; 2],
    pub(crate) until: u64,
    /// Its first nonce, and every one that was used.
    pub(crate) first: u64,
    pub(crate) used: BTreeSet<u64>,
}

/// The lowest nonce from `first` on that was not used.
pub(crate) fn lowest_unused(first: u64, used: &BTreeSet<u64>) -> u64 {
    (first..).find(|nonce| !used.contains(nonce)).unwrap_or(first)
}

/// Uses a nonce: it is good once and within the window.
fn use_nonce(first: u64, used: &mut BTreeSet<u64>, nonce: u64) -> Outcome {
    let lowest = lowest_unused(first, used);
    must(nonce >= lowest && nonce < lowest + 64)?;
    must(used.insert(nonce))
}

/// The scopes of which a key needs one.
fn scopes_for(action: &Action) -> &'static [Scope] {
    match action {
        Action::Transfer { .. } => &[Scope::Transfer],
        Action::BondAdd { .. }
        | Action::BondUnbond { .. }
        | Action::BondWithdraw {}
        | Action::AuditorRegister {}
        | Action::AuditorLeave {}
        | Action::ServiceRegister { .. }
        | Action::ServiceUnregister { .. } => &[Scope::Bond],
        Action::ProviderSet { .. }
        | Action::ProviderDrain {}
        | Action::ProviderUnjail {}
        | Action::HostSet { .. }
        | Action::HostRemove { .. }
        | Action::AffiliateSet { .. }
        | Action::BidPlace { .. }
        | Action::BidWithdraw { .. } => &[Scope::Provider],
        Action::LeaseReady { .. }
        | Action::Heartbeat { .. }
        | Action::ResultCommit { .. }
        | Action::BisectReveal { .. }
        | Action::LeaseDecline { .. }
        | Action::LeaseReclaim { .. } => &[Scope::Serve],
        Action::LeaseClose { .. } => &[Scope::Serve, Scope::Order],
        Action::OrderPlace { .. }
        | Action::OrderCancel { .. }
        | Action::OrderUpdate { .. }
        | Action::BidAccept { .. }
        | Action::ReadyReject { .. }
        | Action::ResultAccept { .. } => &[Scope::Order],
        Action::EscrowOpen { .. } | Action::EscrowDeposit { .. } | Action::EscrowClose { .. } => {
            &[Scope::Escrow]
        }
        Action::JobOpen { .. }
        | Action::JobClose { .. }
        | Action::DisputeOpen { .. }
        | Action::ChallengeOpen { .. }
        | Action::BisectPick { .. } => &[Scope::Job],
        Action::StepVote { .. } => &[Scope::Job, Scope::Stake],
        Action::DisputeVote { .. }
        | Action::ValidatorSet { .. }
        | Action::StakeAdd { .. }
        | Action::Delegate { .. }
        | Action::Unstake { .. }
        | Action::UnstakeClaim { .. }
        | Action::RewardClaim { .. }
        | Action::EquivocationReport { .. }
        | Action::ValidatorUnjail {} => &[Scope::Stake],
        Action::Propose { .. } | Action::Vote { .. } => &[Scope::Vote],
        Action::AttributeSign { .. } => &[Scope::Audit],
        Action::AttributeRevoke { .. } => &[Scope::Audit, Scope::Provider],
        Action::KeyGrant { .. }
        | Action::KeyRevoke { .. }
        | Action::MultisigSet { .. }
        | Action::SeatsSet { .. } => &[],
        Action::BeaconDeal { .. } => &[],
    }
}

/// The units that an action costs.
fn units(action: &Action) -> usize {
    match action {
        Action::OrderPlace { terms, .. } => 2 * terms.count as usize + 1,
        Action::Heartbeat { leases } => leases.len().max(1),
        Action::OrderUpdate { change: OrderChange::Shrink { leases }, .. } => leases.len().max(1),
        Action::BisectReveal { openings, .. } => openings.len().max(1),
        Action::BidAccept { hosts, .. } => hosts.len().max(1),
        Action::DisputeOpen { .. } | Action::EquivocationReport { .. } => 8,
        Action::SeatsSet { seats } => (4 * seats.len()).max(1),
        Action::EscrowClose { .. }
        | Action::Propose { .. }
        | Action::Vote { .. }
        | Action::AttributeSign { .. }
        | Action::ServiceRegister { .. } => 4,
        Action::LeaseClose { .. }
        | Action::ResultAccept { .. }
        | Action::KeyGrant { .. }
        | Action::Delegate { .. }
        | Action::Unstake { .. }
        | Action::BidPlace { .. } => 2,
        _ => 1,
    }
}

/// What a key that votes on blocks owes to the chain: it pays nothing for it.
fn is_owed(action: &Action) -> bool {
    use Action::{DisputeVote, EquivocationReport, StepVote};
    matches!(action, DisputeVote { .. } | StepVote { .. } | EquivocationReport { .. })
}

impl Model {
    /// What a transaction of so many bytes and signatures costs without a tip.
    pub(crate) fn floor(&self, action: &Action, bytes: usize, signatures: usize) -> Money {
        let units = whole((units(action) + signatures - 1) as u64);
        let by_size = money(self.params.fee_per_byte) * whole(bytes as u64);
        by_size + money(self.params.fee_per_unit) * units
    }

    pub(crate) fn delegated_to(&self, account: &AccountId, key: &AccountId) -> Option<&Delegated> {
        self.delegated.find(|one| one.account == *account && one.key == *key)
    }

    /// The envelope: who signed may act, the nonce is good, the fee is paid.
    /// A key of the committee that does its duty needs none of that, nor an account.
    pub(super) fn admit(&mut self, by: &Sent, action: &Action) -> Outcome {
        if let (Action::BeaconDeal { .. }, Signers::Own) = (action, &by.signers) {
            return must(self.is_dealer(&by.signer));
        }
        let now = self.now;
        if is_owed(action)
            && matches!(by.signers, Signers::Own)
            && self.committee.seats.iter().any(|(key, _)| *key == by.signer)
        {
            return Ok(());
        }
        let person = self.people.find_mut(|one| one.id == by.signer).ok_or(Refused)?;
        match &by.signers {
            Signers::Own => {
                must(person.policy.is_none())?;
                use_nonce(0, &mut person.used, by.nonce)?;
            }
            Signers::Members(members) => {
                let (needed, known) = person.policy.as_ref().ok_or(Refused)?;
                must(members.is_subset(known) && members.len() == *needed)?;
                use_nonce(0, &mut person.used, by.nonce)?;
            }
            Signers::Key(key) => {
                let is = |one: &Delegated| one.account == by.signer && one.key == *key;
                let granted = self.delegated.find_mut(is).ok_or(Refused)?;
                must(now <= granted.until)?;
                must(scopes_for(action).iter().any(|scope| granted.scopes.contains(scope)))?;
                use_nonce(granted.first, &mut granted.used, by.nonce)?;
            }
        }
        let paid = by.floor.clone() + &by.tip;
        must(paid <= by.max_fee)?;
        self.take(by.signer, Asset::Usd, &paid)?;
        self.pot += &paid;
        if by.signer != self.committee.owner(&self.proposer)
            && let Some(provider) = self.providers.find_mut(|one| one.id == by.signer)
        {
            provider.fees_paid += &by.floor;
        }
        Ok(())
    }

    /// What the account's balances fell by is taken off the limits of the key that did it.
    pub(super) fn spend(&mut self, by: &Sent, before: &Self) -> Outcome {
        let Signers::Key(key) = &by.signers else { return Ok(()) };
        let balances = |model: &Self| {
            let person = model.people.find(|one| one.id == by.signer).expect("it acts");
            [person.usd.clone(), person.mst.clone()]
        };
        let (then, now) = (balances(before), balances(self));
        let is = |one: &Delegated| one.account == by.signer && one.key == *key;
        let granted = self.delegated.find_mut(is).ok_or(Refused)?;
        for ((left, then), now) in granted.left.iter_mut().zip(then).zip(now) {
            if now < then {
                *left -= then - now;
                must(*left >= Money::default())?;
            }
        }
        Ok(())
    }

    /// A key that goes leaves its nonces behind.
    fn forget(&mut self, account: AccountId, key: AccountId) {
        let gone = self.delegated_to(&account, &key).expect("it was granted");
        let beyond = lowest_unused(gone.first, &gone.used) + 64;
        let person = self.people.find_mut(|one| one.id == account).expect("it acts");
        person.floor = person.floor.max(beyond);
        self.delegated.remove(|one| one.account == account && one.key == key);
    }

    pub(super) fn key_grant(
        &mut self,
        who: AccountId,
        key: AccountId,
        scopes: Scopes,
        limits: [Amount; 2],
        until: u64,
    ) -> Outcome {
        let scopes = Vec::<Scope>::from(scopes);
        must(key != who && !scopes.is_empty() && until > self.now)?;
        let of = self.delegated.iter().filter(|one| one.account == who && one.key != key);
        let (good, expired): (Vec<_>, Vec<_>) =
            of.map(|one| (one.key, one.until)).partition(|(_, until)| *until >= self.now);
        for (expired, _) in expired {
            self.forget(who, expired);
        }
        must(good.len() < 16)?;
        let floor = self.people.find(|one| one.id == who).ok_or(Refused)?.floor;
        let known = self.delegated_to(&who, &key);
        let (first, used) =
            known.map_or((floor, BTreeSet::new()), |one| (one.first, one.used.clone()));
        self.delegated.remove(|one| one.account == who && one.key == key);
        let left = limits.map(money);
        self.delegated.push(Delegated { account: who, key, scopes, left, until, first, used });
        Ok(())
    }

    pub(super) fn key_revoke(&mut self, who: AccountId, key: &AccountId) -> Outcome {
        must(self.delegated_to(&who, key).is_some())?;
        self.forget(who, *key);
        Ok(())
    }

    pub(super) fn multisig_set(&mut self, who: AccountId, policy: Option<&Multisig>) -> Outcome {
        let mut wanted = None;
        if let Some(policy) = policy {
            let members: BTreeSet<AccountId> = policy.members.iter().copied().collect();
            must(members.len() == policy.members.len() && members.len() <= 16)?;
            let needed = usize::from(policy.threshold);
            must(needed >= 1 && needed <= members.len())?;
            wanted = Some((needed, members));
        }
        let person = self.people.find_mut(|one| one.id == who).ok_or(Refused)?;
        person.policy = wanted;
        Ok(())
    }
}
