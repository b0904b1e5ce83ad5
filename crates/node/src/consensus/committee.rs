//! Who votes in which epoch, and the hash by which a header commits to it.

use super::engine_validators;
use commonware_consensus::{
    simplex::scheme::ed25519::Scheme,
    types::{Epoch, Participant},
};
use commonware_cryptography::{
    certificate::{Provider, Scoped},
    ed25519::{PrivateKey, PublicKey},
};
use commonware_utils::ordered::{Quorum as _, Set};
use muster_ledger::stake::equivocation::vote_namespace;
use muster_types::{AccountId, Hash, codec};
use std::{
    collections::BTreeMap,
    num::NonZeroU64,
    sync::{Arc, PoisonError, RwLock},
};

/// Epochs of which the validators are remembered: what comes late from the ones before is of no
/// use to anybody.
const REMEMBERED: usize = 4;

/// The hash of validators, in order of their accounts: what a header commits to.
#[must_use]
pub fn committee_hash(validators: &[AccountId]) -> Hash {
    Hash::of("muster committee v1", &[&codec::encode(&validators.to_vec())])
}

/// How heights are divided into epochs of equal length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epochs(NonZeroU64);

impl Epochs {
    /// Epochs of so many blocks.
    ///
    /// # Panics
    /// If there is no block in an epoch, which a checked genesis rules out.
    #[must_use]
    pub const fn new(blocks: u64) -> Self {
        Self(NonZeroU64::new(blocks).expect("invariant: an epoch has blocks"))
    }

    /// Blocks in an epoch.
    #[must_use]
    pub const fn blocks(self) -> NonZeroU64 {
        self.0
    }

    /// The epoch with the block at `height`.
    #[must_use]
    pub const fn of(self, height: u64) -> u64 {
        height / self.0.get()
    }

    /// Whether the block at `height` is the last of its epoch.
    #[must_use]
    pub const fn is_last(self, height: u64) -> bool {
        height % self.0.get() == self.0.get() - 1
    }

    /// The height of the block on which `epoch` builds: the last of the epoch before, or genesis.
    #[must_use]
    pub const fn root(self, epoch: u64) -> u64 {
        epoch.saturating_mul(self.0.get()).saturating_sub(1)
    }
}

/// The signing schemes of the epochs that this node knows. Clones share them.
#[derive(Clone)]
pub(crate) struct Committees(Arc<Inner>);

struct Inner {
    namespace: Vec<u8>,
    key: PrivateKey,
    known: RwLock<BTreeMap<u64, Scoped<Scheme>>>,
}

/// The validators of an epoch as the engine's.
#[derive(Clone)]
pub(crate) struct Committee {
    pub(crate) scheme: Arc<Scheme>,
    pub(crate) members: Set<PublicKey>,
}

impl Committees {
    /// No epoch yet, for the holder of `key` on `chain`.
    pub(crate) fn new(chain: &Hash, key: PrivateKey) -> Self {
        let namespace = vote_namespace(chain);
        Self(Arc::new(Inner { namespace, key, known: RwLock::default() }))
    }

    /// Takes up the validators of an epoch; where it `may_vote`, this node votes if its key is
    /// among them. `None` where they are not distinct keys.
    pub(crate) fn register(
        &self,
        epoch: u64,
        validators: &[AccountId],
        may_vote: bool,
    ) -> Option<Committee> {
        let members = engine_validators(validators)?;
        let Inner { namespace, key, known } = &*self.0;
        let scheme = may_vote
            .then(|| Scheme::signer(namespace, members.clone(), key.clone()))
            .flatten()
            .unwrap_or_else(|| Scheme::verifier(namespace, members.clone()));
        let scheme = Arc::new(scheme);
        let mut known = known.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(epoch, Scoped::scheme(scheme.clone()));
        while known.len() > REMEMBERED {
            // A node that replays the chain comes to epochs long before those that it has heard of.
            let first = known.first_key_value().map(|(first, _)| *first);
            if first == Some(epoch) {
                known.pop_last()
            } else {
                known.pop_first()
            };
        }
        Some(Committee { scheme, members })
    }

    /// The key of a validator of an epoch, by its place among them.
    pub(crate) fn key(&self, epoch: u64, place: Participant) -> Option<PublicKey> {
        use commonware_cryptography::certificate::Scheme as _;
        let scheme = self.scoped(Epoch::new(epoch))?.into_scheme()?;
        scheme.participants().key(place).cloned()
    }

    /// Whether `peer` votes in the latest epoch that is known.
    pub(crate) fn is_member(&self, peer: &PublicKey) -> bool {
        use commonware_cryptography::certificate::Scheme as _;
        let known = self.0.known.read().unwrap_or_else(PoisonError::into_inner);
        let latest = known.last_key_value().and_then(|(_, scoped)| scoped.clone().into_scheme());
        latest.is_some_and(|scheme| scheme.participants().position(peer).is_some())
    }
}

impl Provider for Committees {
    type Scope = Epoch;
    type Scheme = Scheme;

    fn scoped(&self, epoch: Epoch) -> Option<Scoped<Scheme>> {
        self.0.known.read().unwrap_or_else(PoisonError::into_inner).get(&epoch.get()).cloned()
    }
}
