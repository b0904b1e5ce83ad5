//! Providers, their bonds and their hosts.
//!
//! | state | action or event | next |
//! |---|---|---|
//! | none | `ProviderSet` | registered |
//! | registered, active, draining, gone | `ProviderSet` | the same; gone: registered |
//! | registered | `BondAdd` to at least `provider_bond_min` | active |
//! | active | slashed below `provider_bond_min` | registered |
//! | registered, active | `ProviderDrain` | draining |
//! | draining | the last open lease is settled | unbonding(until) |
//! | unbonding | `BondWithdraw` after `until` | gone |
//!
//! Only an active or draining provider can set hosts, and only an active one's take orders. A host's capacity is never oversold; it cannot
//! shrink below what is leased.

pub(crate) mod bond;
pub(crate) mod drain;
pub(crate) mod host;
pub(crate) mod risk;
pub(crate) mod set;
pub(crate) mod slash;

use crate::{
    action::ProviderProfile,
    keys::{self, Record, Table},
    market::offer_entries,
    state::{Scratch, State},
};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_market::{Interruptible, Prices, Verifies};
use muster_types::{AccountId, Amount, HostId, Millis, Resources};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Where a provider stands in its life.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ProviderStatus {
    /// Known, but not bonded enough to take orders.
    Registered,
    /// Takes orders.
    Active,
    /// Takes no new orders.
    Draining,
    /// The bond is locked until then.
    Unbonding {
        /// Block time from which `BondWithdraw` works.
        until: Millis,
    },
    /// Has left; the record keeps its history.
    Gone,
}

/// What the ledger knows of a provider's conduct; the risk premium is computed from it.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Conduct {
    /// Leases granted to it.
    pub leases: u64,
    /// Leases that ended by its fault.
    pub leases_broken: u64,
    /// Gaps between heartbeats that left time unpaid.
    pub heartbeats_missed: u64,
    /// Disputes that it lost.
    pub disputes_lost: u64,
    /// Transaction fees that it has paid, `usd`.
    pub fees_paid: Amount,
}

/// A provider's state.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Provider {
    /// How it describes itself.
    pub profile: ProviderProfile,
    /// Where it stands.
    pub status: ProviderStatus,
    /// The bond in `usd`, pledged parts included.
    pub bond: Amount,
    /// The part of the bond that leases have locked; never more than the bond.
    pub pledged: Amount,
    /// Leases that are not settled yet.
    pub open_leases: u32,
    /// Its conduct.
    pub conduct: Conduct,
    /// All pay that it ever received, `usd`.
    pub paid: Amount,
    /// All bond that it ever lost, `usd`.
    pub slashed: Amount,
}

/// A host as its provider offers it.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HostSpec {
    /// What it has.
    pub capacity: Resources,
    /// What it charges.
    pub prices: Prices,
    /// Until when the offer stands; at least `offer_lifetime_min_ms` ahead.
    pub offered_until: Millis,
    /// Facts beside the provider's own.
    pub attributes: BTreeMap<String, String>,
    /// How its results can be checked.
    pub verifies: BTreeSet<Verifies>,
    /// Fuel a second of metered work; zero where it runs none.
    pub fuel_per_s: u64,
    /// A second offer, to who accepts that it may be taken back.
    pub interruptible: Option<Interruptible>,
}

/// A host's state.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Host {
    /// As offered.
    pub spec: HostSpec,
    /// What open leases take.
    pub used: Resources,
    /// The height of the block that last changed the offer; it takes orders in later ones.
    pub offered_at_height: u64,
}

impl ProviderStatus {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Unbonding { .. } => "unbonding",
            Self::Gone => "gone",
        }
    }
}

impl Provider {
    /// The part of the bond that nothing has pledged.
    #[must_use]
    pub const fn bond_free(&self) -> Amount {
        self.bond.saturating_sub(self.pledged)
    }
}

impl Record for Provider {
    type Key = AccountId;
    const KIND: &'static str = "provider";
    const TABLE: Table<AccountId, Self> = keys::PROVIDERS;

    /// A provider that begins or ceases to be active lists or unlists its hosts.
    fn stored(key: &AccountId, old: Option<&Self>, new: &Self, scratch: &mut Scratch<'_>) {
        let active = |provider: &Self| provider.status == ProviderStatus::Active;
        if old.is_some_and(active) == active(new) {
            return;
        }
        let hosts: Vec<_> = keys::HOSTS.scan(scratch, key, None).collect();
        for (id, host) in hosts {
            keys::relist(scratch, &id, Some(&host), Some(&host));
        }
    }
}

impl Record for Host {
    type Key = HostId;
    const KIND: &'static str = "host";
    const TABLE: Table<HostId, Self> = keys::HOSTS;
    const ALL_LISTED: bool = false;

    fn entries(&self, key: &HostId, emit: &mut dyn FnMut(Vec<u8>)) {
        offer_entries(key, self, emit);
    }

    /// While the offer stands and its provider is active.
    fn is_listed(&self, key: &HostId, state: &dyn State) -> bool {
        let now = keys::HEAD.get(state, &()).map_or(Millis::ZERO, |head| head.now);
        self.spec.offered_until > now
            && keys::PROVIDERS
                .get(state, &key.provider)
                .is_some_and(|provider| provider.status == ProviderStatus::Active)
    }
}

#[cfg(test)]
mod tests;
