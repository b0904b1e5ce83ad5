//! Auditors: accounts that check providers' claims about themselves and sign what they found.
//!
//! An auditor's registration is a duty like others: its states are in [`crate::bond`], its pledge is
//! `auditor_bond_min`. Which auditors to trust is for each order to say; the ledger only tells who
//! signed what, and that the signer has something to lose.
//!
//! What an auditor signed about a provider:
//!
//! | state | action or event | next |
//! |---|---|---|
//! | none, valid, void | `AttributeSign` by a registered auditor | valid: replaces what it signed before |
//! | valid | `until` is reached | void |
//! | valid | `AuditorLeave` | void, also after a later `AuditorRegister` |
//! | valid, void | `AttributeRevoke` by the auditor, or by the provider | none |
//! | void | another auditor signs, and the provider's list is full | none |

pub(crate) mod leave;
pub(crate) mod register;
pub(crate) mod revoke;
pub(crate) mod sign;

use crate::{
    bond::{Duty, DutyKind},
    keys::{self, Listing, Record, Table},
    state::State,
};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_types::{AccountId, Millis};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What an auditor signed about a provider, under (provider, auditor).
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Signed {
    /// What it found.
    pub attributes: BTreeMap<String, String>,
    /// Block time of the signature.
    pub at: Millis,
    /// Block time from which it holds no more.
    pub until: Millis,
}

impl Record for Signed {
    type Key = (AccountId, AccountId);
    const KIND: &'static str = "signature";
    const TABLE: Table<(AccountId, AccountId), Self> = keys::SIGNED;
    const LISTING: Listing = Listing::Never;
}

impl Signed {
    /// Whether it holds now: not expired, and its auditor has been registered ever since.
    fn is_valid(&self, state: &dyn State, auditor: &AccountId, now: Millis) -> bool {
        now < self.until && registered_since(state, auditor).is_some_and(|since| since <= self.at)
    }
}

/// Since when an account is a registered auditor (block time); `None` where it is none, or leaves.
#[must_use]
pub fn registered_since(state: &dyn State, auditor: &AccountId) -> Option<Millis> {
    let duty: Option<Duty> = keys::DUTIES.get(state, &(*auditor, DutyKind::Auditor.id()));
    duty.filter(|duty| duty.leaving.is_none()).map(|duty| duty.since)
}

/// What auditors have signed about a provider and what holds now, by auditor.
#[must_use]
pub fn signed(
    state: &dyn State,
    provider: &AccountId,
) -> BTreeMap<AccountId, BTreeMap<String, String>> {
    let now = || keys::HEAD.get(state, &()).map_or(Millis::ZERO, |head| head.now);
    keys::SIGNED
        .scan(state, provider, None)
        .filter(|((_, auditor), signed)| signed.is_valid(state, auditor, now()))
        .map(|((_, auditor), signed)| (auditor, signed.attributes))
        .collect()
}

#[cfg(test)]
mod tests;
