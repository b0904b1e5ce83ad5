//! Who acts for an account: its own key, keys that it delegated to, members.

use super::Run;
use muster_ledger::{
    Action,
    account::{Multisig, Scope, Scopes},
};
use muster_types::{AccountId, Amount, Auth, KeySignature, Millis, SecretKey, Signature};

/// Keys that are nobody's account.
const KEYS: u8 = 4;

/// Not a signature: none is checked here.
const UNSIGNED: Signature = Signature([0; 64]);

/// The keys that are nobody's account.
pub(super) fn keys() -> Vec<AccountId> {
    (0..KEYS).map(|number| SecretKey::from_seed([100 + number; 32]).account()).collect()
}

impl Run {
    /// A key: that of another account at times.
    fn key(&mut self) -> AccountId {
        let keys = self.hot_keys.clone();
        if self.chance(20) { self.anybody() } else { self.pick(&keys).unwrap() }
    }

    fn limit(&mut self) -> Amount {
        match self.below(8) {
            0 => Amount::MAX,
            1 | 2 => Amount::from_nanos(u128::from(self.below(20_000))),
            3 => Amount::ZERO,
            _ => Amount::from_nanos(u128::from(self.below(40_000_000_000))),
        }
    }

    pub(super) fn as_owner(&mut self) -> Option<(AccountId, Action)> {
        let who = self.anybody();
        Some(match self.below(8) {
            0 => {
                let granted = self.model.delegated.iter().map(|one| (one.account, one.key));
                let granted: Vec<_> = granted.collect();
                let (account, key) = self.pick(&granted)?;
                (account, Action::KeyRevoke { key })
            }
            1 => (who, Action::MultisigSet { policy: None }),
            2 => {
                let members = (0..=self.below(3)).map(|_| self.key()).collect::<Vec<_>>();
                let threshold = u8::try_from(self.below(members.len() as u64 + 1)).unwrap();
                (who, Action::MultisigSet { policy: Some(Multisig { threshold, members }) })
            }
            _ => {
                let one = |scopes: Scopes, run: &mut Self| match run.pick(&Scope::ALL) {
                    Some(scope) => scopes.with(scope),
                    None => scopes,
                };
                let scopes = (0..self.below(7)).fold(Scopes::NONE, |scopes, _| one(scopes, self));
                let expires = Millis(self.block_now + self.below(60_000));
                let (usd, mst) = (self.limit(), self.limit());
                (who, Action::KeyGrant { key: self.key(), scopes, usd, mst, expires })
            }
        })
    }

    /// Mostly somebody who may.
    pub(super) fn auth(&mut self, account: &AccountId, action: &Action) -> Auth {
        let sign = |key: AccountId| KeySignature { key, signature: UNSIGNED };
        let policy = self.model.people.find(|one| one.id == *account);
        let policy = policy.and_then(|person| person.policy.clone());
        if self.chance(25) {
            let of = self.model.delegated.iter().filter(|one| one.account == *account);
            let granted: Vec<_> = of.map(|one| (one.key, one.scopes.clone())).collect();
            let may = |scopes: &[Scope]| Scopes::from(scopes.to_vec()).meets(action.scopes());
            let fit: Vec<AccountId> =
                granted.iter().filter(|(_, scopes)| may(scopes)).map(|(key, _)| *key).collect();
            let any: Vec<AccountId> = granted.into_iter().map(|(key, _)| key).collect();
            let key = if self.chance(85) { self.pick(&fit) } else { self.pick(&any) };
            if let Some(key) = key {
                return Auth::Key(sign(key));
            }
        }
        if self.chance(1) {
            return Auth::Key(sign(self.key()));
        }
        let Some((needed, members)) = policy else {
            return if self.chance(1) {
                Auth::Members(vec![sign(self.key())])
            } else {
                Auth::Own(UNSIGNED)
            };
        };
        if self.chance(4) {
            return Auth::Own(UNSIGNED);
        }
        let mut chosen: Vec<AccountId> = members.into_iter().collect();
        while chosen.len() > needed {
            let place = usize::try_from(self.below(chosen.len() as u64)).unwrap();
            chosen.remove(place);
        }
        if self.chance(4) {
            chosen.push(self.key());
            chosen.sort_unstable();
            chosen.dedup();
        }
        if self.chance(3) && chosen.len() > 1 {
            chosen.pop();
        }
        Auth::Members(chosen.into_iter().map(sign).collect())
    }
}
