//! What a host offers to the market, and what the market knows of its provider.

use crate::{Class, GIB, Request, Verifies};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_types::{AccountId, Amount, HostId, Millis, Rate, Resources};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// What a host charges, by the resource. A lease's rate is the sum, each part rounded up.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Prices {
    /// For one CPU thread, per hour.
    pub cpu: Rate,
    /// For one GiB of memory, per hour.
    pub memory_gib: Rate,
    /// For one GiB of disk, per hour.
    pub disk_gib: Rate,
    /// For one GPU, per hour.
    pub gpu: Rate,
}

/// A host's second offer: cheaper, and taken back when the provider needs the host.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Interruptible {
    /// What it charges.
    pub prices: Prices,
    /// How long before the end the tenant is told.
    pub notice_ms: Millis,
}

/// What the market knows of a provider; all of its hosts share it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProviderView {
    /// The bonding account behind it.
    pub operator: AccountId,
    /// Where its hosts stand, e.g. `eu-central`.
    pub region: String,
    /// Under whose law it is (ISO 3166-1 alpha-2, lower case); empty where it does not say.
    pub jurisdiction: String,
    /// Its attributes.
    pub attributes: BTreeMap<String, String>,
    /// Its attributes that auditors have signed and not revoked, by auditor.
    pub signed: BTreeMap<AccountId, BTreeMap<String, String>>,
    /// The part of its bond that nothing has pledged.
    pub bond_free: Amount,
    /// Its risk premium, in hundredths of a per cent.
    pub risk_bps: u32,
}

/// A host as the market sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostView {
    /// Which host.
    pub id: HostId,
    /// Whose it is.
    pub provider: Arc<ProviderView>,
    /// Its own attributes: they stand before its provider's.
    pub attributes: BTreeMap<String, String>,
    /// How its results can be checked.
    pub verifies: BTreeSet<Verifies>,
    /// What is not leased.
    pub free: Resources,
    /// What it charges.
    pub prices: Prices,
    /// Its interruptible offer.
    pub interruptible: Option<Interruptible>,
    /// Fuel a second of metered work; zero where it runs none.
    pub fuel_per_s: u64,
    /// Until when the offer stands.
    pub offered_until: Millis,
}

impl HostView {
    /// An attribute: the host's own, or else its provider's.
    #[must_use]
    pub fn attribute(&self, key: &str) -> Option<&String> {
        self.attributes.get(key).or_else(|| self.provider.attributes.get(key))
    }

    /// The price by which a walk of `class` meets this host: for an order that accepts
    /// interruptible offers the lower of the two.
    #[must_use]
    pub fn unit_price(&self, class: &Class, interruptible: bool) -> Rate {
        let firm = class.unit_price(&self.prices);
        match &self.interruptible {
            Some(offer) if interruptible => firm.min(class.unit_price(&offer.prices)),
            _ => firm,
        }
    }

    /// What one lease costs and, where that is the interruptible offer's price, its notice. Of
    /// two equal prices the firm one is taken. `None` where it is too large to be written.
    #[must_use]
    pub fn rate_for(
        &self,
        request: &Request,
        interruptible: bool,
    ) -> Option<(Rate, Option<Millis>)> {
        let other = self.interruptible.as_ref().filter(|_| interruptible);
        rate_of(&self.prices, other, request)
    }
}

/// The lower rate of the two offers.
#[inline]
pub(crate) fn rate_of(
    prices: &Prices,
    other: Option<&Interruptible>,
    request: &Request,
) -> Option<(Rate, Option<Millis>)> {
    let firm = prices.rate_for(request).map(|rate| (rate, None));
    let Some(offer) = other else { return firm };
    let other = offer.prices.rate_for(request).map(|rate| (rate, Some(offer.notice_ms)));
    match (firm, other) {
        (Some(firm), Some(other)) => Some(if other.0 < firm.0 { other } else { firm }),
        (firm, other) => firm.or(other),
    }
}

impl Prices {
    /// The rate of a lease that takes `request`: the sum of its parts (CPU by the thread, memory
    /// and disk by the GiB, GPUs by the piece; bandwidth is free), each part rounded up to a
    /// nano-unit. `None` where it is too large to be written.
    #[must_use]
    pub fn rate_for(&self, request: &Request) -> Option<Rate> {
        let cpu = part_ceil(self.cpu, request.cpu_milli, 1000)?;
        let memory = part_ceil(self.memory_gib, request.memory_bytes, GIB)?;
        let disk = part_ceil(self.disk_gib, request.disk_bytes, GIB)?;
        let gpu = part_ceil(self.gpu, u64::from(request.gpu.count), 1)?;
        cpu.checked_add(memory)?.checked_add(disk)?.checked_add(gpu)
    }
}

/// `ceil(price x units / per)`; `None` on overflow or where `per` is zero.
///
/// With `price = q x per + r` that is `q x units + ceil(r x units / per)`: the second product
/// stays below 2^128, so only a result that cannot be written overflows.
#[inline]
pub(crate) fn part_ceil(price: Rate, units: u64, per: u64) -> Option<Rate> {
    let nanos = price.amount_per_hour().nanos();
    if (units == 0 || nanos == 0) && per != 0 {
        return Some(Rate::ZERO);
    }
    // The same in 64 bits, where that is enough: an order of magnitude cheaper.
    if let Ok(nanos) = u64::try_from(nanos)
        && let Some(rest) = nanos.checked_rem(per)?.checked_mul(units)
    {
        let whole = u128::from(nanos.checked_div(per)?).checked_mul(u128::from(units))?;
        return Some(Rate::per_hour(Amount::from_nanos(
            whole.checked_add(u128::from(rest.div_ceil(per)))?,
        )));
    }
    let (units, per) = (u128::from(units), u128::from(per));
    let whole = nanos.checked_div(per)?.checked_mul(units)?;
    let rest = nanos.checked_rem(per)?.checked_mul(units)?.div_ceil(per);
    Some(Rate::per_hour(Amount::from_nanos(whole.checked_add(rest)?)))
}
