//! What a light client takes for granted, and how old that may be.

use crate::consensus::Epochs;
use muster_api::{receipt::Trail, views::Anchor};
use muster_ledger::Genesis;
use muster_types::{AccountId, Hash, Millis};
use serde::Serialize;

/// Why what begins a proof is not trusted, or not enough.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// Of another chain.
    #[error("it is of chain {found}, the {what} is of {expected}")]
    OtherChain {
        /// `genesis` or `anchor`.
        what: &'static str,
        /// The proof's.
        found: Hash,
        /// What is trusted.
        expected: Hash,
    },
    /// Other validators than genesis's.
    #[error("its first validators are not the genesis's")]
    GenesisValidators,
    /// It begins later than genesis.
    #[error(
        "it begins in epoch {epoch}, so that genesis alone does not lead to it: an anchor is needed"
    )]
    NotFromGenesis {
        /// Where it begins.
        epoch: u64,
    },
    /// What is trusted is too old.
    #[error(
        "the {what} is {} old, and stake is free after {}: whoever voted then can sign another \
         past at no cost, so {need} is needed", span(*age), span(*unbonding)
    )]
    TooOld {
        /// `genesis` or `anchor`.
        what: &'static str,
        /// How old.
        age: Millis,
        /// How old it may be.
        unbonding: Millis,
        /// What helps.
        need: &'static str,
    },
    /// The anchor is of an epoch that the trail does not lead through.
    #[error(
        "it does not lead through epoch {epoch} of the anchor: an anchor that names its blocks is \
         needed"
    )]
    AnchorElsewhere {
        /// The anchor's.
        epoch: u64,
    },
    /// Other validators than the anchor's.
    #[error("its validators of epoch {epoch} are not the anchor's")]
    AnchorValidators {
        /// The anchor's.
        epoch: u64,
    },
    /// Another block than the one that the anchor vouches for.
    #[error("block {height} is not the one that the anchor vouches for")]
    AnchorBlock {
        /// At which height.
        height: u64,
    },
    /// A block before the anchor that it says nothing of.
    #[error(
        "block {height} is before the anchor's of {anchor}, which does not name it: an anchor that \
         does is needed"
    )]
    BeforeAnchor {
        /// The block's height.
        height: u64,
        /// The anchor's.
        anchor: u64,
    },
}

/// A span of time for people.
fn span(time: Millis) -> String {
    let seconds = time.0 / 1_000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// What is taken for granted.
#[derive(Clone, Debug)]
pub struct Trust(Root);

#[derive(Clone, Debug)]
enum Root {
    OwnWord,
    Genesis { known: Known, validators: Vec<AccountId>, time: Millis, unbonding: Millis },
    Anchor { known: Known, anchor: Box<Anchor> },
}

/// What genesis says for ever, and when it is now.
#[derive(Clone, Copy, Debug)]
struct Known {
    chain: Hash,
    epochs: Epochs,
    now: Millis,
}

/// What is trusted, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trusted {
    /// `own_word`, `genesis` or `anchor`.
    pub root: &'static str,
    /// The time of genesis, or of the anchor's block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Millis>,
    /// How old that is by this machine's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age: Option<Millis>,
    /// How old it may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unbonding: Option<Millis>,
}

impl Trusted {
    /// For people.
    #[must_use]
    pub fn describe(&self) -> String {
        match (self.age, self.unbonding) {
            (Some(age), Some(unbonding)) => {
                let (root, age, free) = (self.root, span(age), span(unbonding));
                format!("{root}, {age} old (stake is free after {free})")
            }
            _ => "nothing but its own word".to_owned(),
        }
    }
}

impl Trust {
    /// Whatever the proof says of itself.
    #[must_use]
    pub const fn own_word() -> Self {
        Self(Root::OwnWord)
    }

    /// A genesis, where the time is `now`. It is trusted for as long as stake stayed locked at its
    /// time: votes only ever make that longer ([`muster_ledger::Params::check_change`]).
    #[must_use]
    pub fn genesis(genesis: &Genesis, now: Millis) -> Self {
        let mut validators = genesis.validators.clone();
        validators.sort_unstable();
        Self(Root::Genesis {
            known: Known { chain: genesis.id(), epochs: Epochs::new(genesis.epoch_blocks), now },
            validators,
            time: genesis.time,
            unbonding: genesis.params.stake_unbonding_ms,
        })
    }

    /// A genesis for what never changes, and an anchor for who votes, where the time is `now`.
    ///
    /// # Errors
    /// [`TrustError::OtherChain`].
    pub fn anchor(genesis: &Genesis, anchor: Anchor, now: Millis) -> Result<Self, TrustError> {
        let chain = genesis.id();
        if anchor.chain != chain {
            let (what, found, expected) = ("genesis", anchor.chain, chain);
            return Err(TrustError::OtherChain { what, found, expected });
        }
        let known = Known { chain, epochs: Epochs::new(genesis.epoch_blocks), now };
        Ok(Self(Root::Anchor { known, anchor: Box::new(anchor) }))
    }

    /// What is trusted, and since when.
    #[must_use]
    pub fn trusted(&self) -> Trusted {
        let told = |root, since, known: &Known, unbonding| Trusted {
            root,
            since: Some(since),
            age: Some(known.now.since(since)),
            unbonding: Some(unbonding),
        };
        match &self.0 {
            Root::OwnWord => Trusted { root: "own_word", since: None, age: None, unbonding: None },
            Root::Genesis { known, time, unbonding, .. } => {
                told("genesis", *time, known, *unbonding)
            }
            Root::Anchor { known, anchor } => told("anchor", anchor.time, known, anchor.unbonding),
        }
    }

    /// Whether it is recent enough to lead from it to the present.
    ///
    /// # Errors
    /// [`TrustError::TooOld`].
    pub fn check_age(&self) -> Result<(), TrustError> {
        match &self.0 {
            Root::OwnWord => Ok(()),
            Root::Genesis { known, time, unbonding, .. } => {
                check_age("genesis", "an anchor", known.now.since(*time), *unbonding)
            }
            Root::Anchor { known, anchor } => {
                check_age("anchor", "a newer one", known.now.since(anchor.time), anchor.unbonding)
            }
        }
    }

    const fn known(&self) -> Option<(&'static str, &Known)> {
        match &self.0 {
            Root::OwnWord => None,
            Root::Genesis { known, .. } => Some(("genesis", known)),
            Root::Anchor { known, .. } => Some(("anchor", known)),
        }
    }

    /// The lengths of epochs, where they are known.
    pub(super) fn epochs(&self) -> Option<Epochs> {
        self.known().map(|(_, known)| known.epochs)
    }

    pub(super) fn check_chain(&self, found: &Hash) -> Result<(), TrustError> {
        match self.known() {
            Some((what, known)) if known.chain != *found => {
                Err(TrustError::OtherChain { what, found: *found, expected: known.chain })
            }
            _ => Ok(()),
        }
    }

    /// Whether a trail that was walked, with the validators that it gives for an epoch, begins
    /// with what is trusted or leads through it.
    pub(super) fn check_trail<'a>(
        &self,
        trail: &Trail,
        known: impl Fn(u64) -> Option<&'a [AccountId]>,
    ) -> Result<(), TrustError> {
        match &self.0 {
            Root::OwnWord => Ok(()),
            Root::Genesis { validators, .. } => {
                self.check_age()?;
                if trail.epoch != 0 {
                    return Err(TrustError::NotFromGenesis { epoch: trail.epoch });
                }
                if trail.validators != *validators {
                    return Err(TrustError::GenesisValidators);
                }
                Ok(())
            }
            Root::Anchor { anchor, .. } => match known(anchor.epoch) {
                Some(found) if found != anchor.validators => {
                    Err(TrustError::AnchorValidators { epoch: anchor.epoch })
                }
                // Then every block must be one that the anchor names.
                _ => Ok(()),
            },
        }
    }

    /// Whether a block that the trail's validators made final is to be believed. `leads` says
    /// whether the trail leads through an epoch.
    pub(super) fn check_block(
        &self,
        height: u64,
        digest: &Hash,
        leads: impl Fn(u64) -> bool,
    ) -> Result<(), TrustError> {
        let Root::Anchor { anchor, .. } = &self.0 else { return Ok(()) };
        match anchor.digest_at(height) {
            Some(named) if named == *digest => return Ok(()),
            Some(_) => return Err(TrustError::AnchorBlock { height }),
            None => {}
        }
        if height < anchor.height {
            return Err(TrustError::BeforeAnchor { height, anchor: anchor.height });
        }
        if !leads(anchor.epoch) {
            return Err(TrustError::AnchorElsewhere { epoch: anchor.epoch });
        }
        self.check_age()
    }
}

fn check_age(
    what: &'static str,
    need: &'static str,
    age: Millis,
    unbonding: Millis,
) -> Result<(), TrustError> {
    if age > unbonding {
        return Err(TrustError::TooOld { what, age, unbonding, need });
    }
    Ok(())
}
