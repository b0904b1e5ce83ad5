//! Who may fetch which blob.

use muster_types::{AccountId, Hash};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{PoisonError, RwLock},
};

/// Who may fetch which blob from us. At first nobody may fetch anything.
///
/// Asked at the start of every transfer; one under way is not interrupted. It does not say
/// whether a blob is held: to those it keeps out, held and unknown blobs look alike.
#[derive(Debug, Default)]
pub struct Gate {
    rules: RwLock<Rules>,
}

#[derive(Debug, Default)]
struct Rules {
    public: BTreeSet<Hash>,
    allowed: BTreeMap<AccountId, BTreeSet<Hash>>,
}

impl Gate {
    /// Lets `peer` fetch blob `hash`.
    pub fn allow(&self, peer: AccountId, hash: Hash) {
        self.change(|rules| {
            rules.allowed.entry(peer).or_default().insert(hash);
        });
    }

    /// Takes back [`Gate::allow`] for one blob.
    pub fn revoke(&self, peer: AccountId, hash: Hash) {
        self.change(|rules| {
            if let Some(hashes) = rules.allowed.get_mut(&peer) {
                hashes.remove(&hash);
                if hashes.is_empty() {
                    rules.allowed.remove(&peer);
                }
            }
        });
    }

    /// Takes back everything that `peer` was allowed. What is public stays so.
    pub fn revoke_peer(&self, peer: AccountId) {
        self.change(|rules| {
            rules.allowed.remove(&peer);
        });
    }

    /// Lets everybody fetch blob `hash`.
    pub fn public(&self, hash: Hash) {
        self.change(|rules| {
            rules.public.insert(hash);
        });
    }

    /// Takes back [`Gate::public`]. Peers that were allowed by name stay so.
    pub fn withdraw(&self, hash: Hash) {
        self.change(|rules| {
            rules.public.remove(&hash);
        });
    }

    /// Whether `peer` may fetch blob `hash`.
    #[must_use]
    pub fn allows(&self, peer: AccountId, hash: Hash) -> bool {
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        rules.public.contains(&hash)
            || rules.allowed.get(&peer).is_some_and(|hashes| hashes.contains(&hash))
    }

    fn change(&self, change: impl FnOnce(&mut Rules)) {
        change(&mut self.rules.write().unwrap_or_else(PoisonError::into_inner));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: AccountId = AccountId(Hash([1; 32]));
    const B: AccountId = AccountId(Hash([2; 32]));
    const X: Hash = Hash([8; 32]);
    const Y: Hash = Hash([9; 32]);

    #[test]
    fn every_rule_opens_and_closes_just_its_own_pairs() {
        type Step = fn(&Gate);
        // After each step: A-X, A-Y, B-X, B-Y.
        let steps: [(Step, [bool; 4]); 8] = [
            (|_| (), [false, false, false, false]),
            (|gate| gate.allow(A, X), [true, false, false, false]),
            (|gate| gate.allow(A, Y), [true, true, false, false]),
            (|gate| gate.public(X), [true, true, true, false]),
            (|gate| gate.revoke(A, Y), [true, false, true, false]),
            (|gate| gate.revoke_peer(A), [true, false, true, false]),
            (|gate| gate.allow(B, Y), [true, false, true, true]),
            (|gate| gate.withdraw(X), [false, false, false, true]),
        ];
        let gate = Gate::default();
        for (number, (step, expected)) in steps.into_iter().enumerate() {
            step(&gate);
            let actual =
                [(A, X), (A, Y), (B, X), (B, Y)].map(|(peer, hash)| gate.allows(peer, hash));
            assert_eq!(actual, expected, "after step {number}");
        }
    }
}
