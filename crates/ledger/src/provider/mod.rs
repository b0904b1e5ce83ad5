//! Providers and their hosts. What they stake is in [`crate::bond`].
//!
//! | state | action or event | next |
//! |---|---|---|
//! | none | `ProviderSet` | registered; active where the bond suffices |
//! | registered, active | `ProviderSet` | active where the bond suffices for `provider_bond_min` as it is now; else registered |
//! | draining, jailed | `ProviderSet` | the same |
//! | gone | `ProviderSet` | jailed(until), where that is still ahead; else as from none |
//! | registered | the bond reaches `provider_bond_min` | active |
//! | active | the bond falls below `provider_bond_min` | registered |
//! | registered, active, jailed | a fault that jails (see [`jail`]) | jailed(until), from now on |
//! | jailed | `ProviderUnjail` at or after `until`, with `provider_bond_min` | active |
//! | registered, active, jailed | `ProviderDrain` | draining |
//! | draining | no unsettled lease is left | unbonding(until): all free bond begins to unbond |
//! | unbonding | `BondWithdraw` at or after `until` | gone |
//!
//! | host | action or event | next |
//! |---|---|---|
//! | none, offered, bound | `HostSet` that keeps what a bound offer gives ([`HostSpec::keeps`]) | bound(until): `offer_lifetime_min_ms` from now |
//! | bound | `HostSet` that does not, `HostRemove` | refused: too early |
//! | bound | block time reaches `until` | offered |
//! | offered | any `HostSet` | bound(until) |
//! | offered, and nothing uses it | `HostRemove` | none |
//!
//! Only an active, draining or jailed provider can set hosts, and only an active one's take
//! orders. A host's capacity is never oversold; it cannot shrink below what is leased.
//!
//! Who operates a provider is in [`affiliate`].

pub mod affiliate;
pub(crate) mod drain;
pub(crate) mod host_remove;
pub(crate) mod host_set;
pub mod jail;
mod profile;
pub(crate) mod risk;
pub(crate) mod set;
pub(crate) mod unjail;

pub(crate) use affiliate::operator_by;
pub use affiliate::operator_of;
pub use profile::ProviderProfile;

use crate::{
    bond::Bond,
    ctx::Ctx,
    keys::{self, Record, RegionTag, Table},
    market::{offer_entries, wake},
    state::{Scratch, State},
};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_market::{Interruptible, Prices, Verifies, capacity};
use muster_types::{AccountId, Amount, HostId, Millis, Rate, Resources};
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
    /// Was at fault: takes no new orders.
    Jailed {
        /// Block time from which `ProviderUnjail` works.
        until: Millis,
    },
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
    /// Transaction fees that it has paid to others, tips aside, `usd`.
    pub fees_paid: Amount,
    /// Leases broken since one that earned something was settled without its fault, or since it
    /// was jailed last.
    pub broken_in_a_row: u32,
    /// Block time up to which it is, or last was, in jail.
    pub jailed_until: Millis,
    /// Leases that their tenants rejected when they were reported ready.
    pub leases_rejected: u64,
    /// Leases that it declined: not delivered, or not to be run.
    pub leases_undelivered: u64,
}

/// A provider's state.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Provider {
    /// How it describes itself.
    pub profile: ProviderProfile,
    /// Where it stands.
    pub status: ProviderStatus,
    /// The sum of the rates of its open leases.
    pub open_rate: Rate,
    /// Leases that are not settled yet.
    pub open_leases: u32,
    /// Its conduct.
    pub conduct: Conduct,
    /// All pay that it ever earned and that was paid out, `usd`; the fee on an operator's share (see
    /// [`crate::neutrality`]) is part of it.
    pub paid: Amount,
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
    /// Block time from which the offer may become worse, or be withdrawn.
    pub bound_until: Millis,
}

impl HostSpec {
    /// Whether whoever could use the offer `before` can use this one, as long and for no more: it
    /// has as much of everything, every fact and every capability, and nothing is dearer.
    #[must_use]
    pub fn keeps(&self, before: &Self) -> bool {
        let cheap = |now: &Prices, before: &Prices| {
            now.cpu <= before.cpu
                && now.memory_gib <= before.memory_gib
                && now.disk_gib <= before.disk_gib
                && now.gpu <= before.gpu
        };
        let interruptible = match (&self.interruptible, &before.interruptible) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(now), Some(before)) => {
                now.notice_ms >= before.notice_ms && cheap(&now.prices, &before.prices)
            }
        };
        interruptible
            && cheap(&self.prices, &before.prices)
            && capacity::checked_sub(&self.capacity, &before.capacity).is_some()
            && self.offered_until >= before.offered_until
            && self.fuel_per_s >= before.fuel_per_s
            && self.verifies.is_superset(&before.verifies)
            && before.attributes.iter().all(|(key, value)| self.attributes.get(key) == Some(value))
    }
}

impl ProviderStatus {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Unbonding { .. } => "unbonding",
            Self::Gone => "gone",
            Self::Jailed { .. } => "jailed",
        }
    }
}

/// What an account's bond must not fall below by `BondUnbond`: the threshold of an active provider.
pub(crate) fn bond_needed(ctx: &Ctx<'_>, id: &AccountId) -> Amount {
    match ctx.find::<Provider>(id).map(|provider| provider.status) {
        Some(ProviderStatus::Active) => ctx.env.params.provider_bond_min,
        None
        | Some(
            ProviderStatus::Registered
            | ProviderStatus::Draining
            | ProviderStatus::Unbonding { .. }
            | ProviderStatus::Gone
            | ProviderStatus::Jailed { .. },
        ) => Amount::ZERO,
    }
}

/// An account's bond has changed: a provider of that account may begin or cease to be active.
pub(crate) fn bond_changed(ctx: &mut Ctx<'_>, id: &AccountId) {
    let Some(mut provider) = ctx.find::<Provider>(id) else { return };
    let status = by_bond(ctx, id, provider.status);
    if status != provider.status {
        provider.status = status;
        ctx.store(id, &provider);
        set::changed(ctx, id, &provider);
    }
}

/// What the bond makes of a status.
fn by_bond(ctx: &Ctx<'_>, id: &AccountId, status: ProviderStatus) -> ProviderStatus {
    let bond = ctx.find::<Bond>(id).unwrap_or_default().amount;
    match status {
        ProviderStatus::Registered | ProviderStatus::Active => {
            if bond >= ctx.env.params.provider_bond_min {
                ProviderStatus::Active
            } else {
                ProviderStatus::Registered
            }
        }
        ProviderStatus::Draining
        | ProviderStatus::Unbonding { .. }
        | ProviderStatus::Gone
        | ProviderStatus::Jailed { .. } => status,
    }
}

impl Record for Provider {
    type Key = AccountId;
    const KIND: &'static str = "provider";
    const TABLE: Table<AccountId, Self> = keys::PROVIDERS;

    /// A provider that begins or ceases to be active lists or unlists its hosts; one that moves
    /// lists them anew.
    fn stored(key: &AccountId, old: Option<&Self>, new: &Self, scratch: &mut Scratch<'_>) {
        wake::provider_stored(key, old, new, scratch);
        let active = |provider: &Self| provider.status == ProviderStatus::Active;
        let moved = old.is_some_and(|old| old.profile.region != new.profile.region);
        if old.is_some_and(active) == active(new) && !(moved && active(new)) {
            return;
        }
        let hosts: Vec<_> = keys::HOSTS.scan(scratch, key, None).collect();
        for (id, host) in hosts {
            keys::relist(scratch, &id, Some(&host), None);
            keys::relist(scratch, &id, None, Some(&host));
        }
    }
}

impl Record for Host {
    type Key = HostId;
    const KIND: &'static str = "host";
    const TABLE: Table<HostId, Self> = keys::HOSTS;

    fn entries(&self, key: &HostId, emit: &mut dyn FnMut(Vec<u8>)) {
        offer_entries(key, self, emit);
    }

    fn tag(key: &HostId, scratch: &Scratch<'_>) -> RegionTag {
        let provider = keys::find::<Provider>(scratch, &key.provider);
        provider.map(|provider| RegionTag::of(&provider.profile.region)).unwrap_or_default()
    }

    /// While the offer stands and its provider is active.
    fn is_listed(&self, key: &HostId, state: &dyn State) -> bool {
        let now = keys::HEAD.get(state, &()).map_or(Millis::ZERO, |head| head.now);
        self.spec.offered_until > now
            && keys::PROVIDERS
                .get(state, &key.provider)
                .is_some_and(|provider| provider.status == ProviderStatus::Active)
    }

    fn stored(_: &HostId, old: Option<&Self>, new: &Self, scratch: &mut Scratch<'_>) {
        wake::host_stored(old, new, scratch);
    }
}

#[cfg(test)]
mod tests;
