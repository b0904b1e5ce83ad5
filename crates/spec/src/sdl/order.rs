//! From a deployment to the orders that the market takes.
//!
//! An order never asks for less than the SDL: what has no meaning here and cannot be dropped
//! without harm (a price in a token of unknown worth, an auditor that no account stands for) is an
//! error with its fix, and only what Akash alone means (`host: akash`) is left out. What a host has no
//! field of its own for is an attribute that it must have:
//!
//! | of the SDL | attribute |
//! |---|---|
//! | a CPU's `arch` | `arch` |
//! | a volume's class, `default` and `ram` aside | `storage/beta3` = `true` |
//! | a leased address | `endpoint/ip` = `true` |
//! | a service's `tee` | `tee/type` |
//!
//! The window of `reclamation` is the deployment's, and for the caller to hold providers to.

use super::deployment::{Group, Price, StorageClass, Unit};
use muster_market::{Request, Terms, Together, Verifies};
use muster_types::{AccountId, Amount, GpuRequest, Rate};
use std::collections::BTreeMap;

/// Akash's blocks in an hour, by which its prices are: one in six seconds.
const BLOCKS_PER_HOUR: u128 = 600;
/// Millionths in a token.
const MICRO: u128 = 1_000_000;
/// Prices in dollars, by the hour: our own.
const USD: &str = "usd";
/// Circle's and Axelar's dollar tokens, as Akash names them.
const DOLLARS: [&str; 2] = [
    "ibc/170C677610AC31DF0904FFE09CD3B5C657492170E7E52372E48756B71E56F2F1",
    "ibc/12C6A0C374171B595A0A9E18B83FA09D295FB1F2D8C6DAA3AC28683471752D84",
];

/// What tokens are worth, and which accounts auditors have here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exchange {
    /// `usd` for one AKT, a million `uakt`.
    pub akt_usd: Option<Amount>,
    /// `usd` for one ACT, a million `uact`; one, its peg, where it is not given.
    pub act_usd: Option<Amount>,
    /// The accounts of auditors that are named otherwise.
    pub auditors: BTreeMap<String, AccountId>,
}

/// An order for one unit of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitOrder {
    /// The unit's index in its group.
    pub unit: usize,
    /// Any one of these will do, at least one: they differ in the kind of GPU.
    pub alternatives: Vec<Terms>,
}

/// Why a deployment cannot be ordered as it is. Displayed with the fix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// A price in a token of unknown worth.
    #[error("group {group}: the price of {profile} is in {denom} — fix: {fix}", fix = rate_fix(denom))]
    NoRate {
        /// The group.
        group: String,
        /// The compute profile.
        profile: String,
        /// The token.
        denom: String,
    },
    /// An auditor that is no account here.
    #[error(
        "group {group}: the auditor {auditor} is no account here — fix: write an auditor's account \
         (64 hexadecimal digits) in signedBy, or remove it"
    )]
    NoAuditor {
        /// The group.
        group: String,
        /// As it was written.
        auditor: String,
    },
    /// Beyond what an order may ask for.
    #[error(
        "group {group}: the order of {profile} is refused at {field} — fix: ask for less there"
    )]
    Limit {
        /// The group.
        group: String,
        /// The compute profile.
        profile: String,
        /// The field of the order.
        field: &'static str,
    },
}

/// Whether a denomination's meaning is known, if not its worth.
pub(super) fn known(denom: &str) -> bool {
    matches!(denom, USD | "uakt" | "uact") || DOLLARS.contains(&denom)
}

/// How to say what a token is worth.
pub(crate) fn rate_fix(denom: &str) -> String {
    match denom {
        "uakt" => "say what one AKT is worth: --uakt-usd 0.50, or MUSTER_UAKT_USD".to_owned(),
        _ => "write the price in uakt, uact or usd".to_owned(),
    }
}

impl Exchange {
    /// `usd` for a million of a denomination's units.
    fn worth(&self, denom: &str) -> Option<Amount> {
        match denom {
            "uakt" => self.akt_usd,
            "uact" => Some(self.act_usd.unwrap_or(Amount::from_units(1))),
            _ if DOLLARS.contains(&denom) => Some(Amount::from_units(1)),
            _ => None,
        }
    }

    /// A price by the hour, rounded down; `None` where the token's worth is not known or the
    /// price is beyond all amounts.
    #[must_use]
    pub fn rate(&self, price: &Price) -> Option<Rate> {
        if price.denom == USD {
            return Some(Rate::per_hour(price.amount));
        }
        let worth = self.worth(&price.denom)?;
        // amount nano-units of a millionth, each worth/10^6 usd, for every block of an hour.
        let nanos_per_unit = u128::from(1_000_000_000u32);
        let numerator = worth.nanos().checked_mul(BLOCKS_PER_HOUR)?;
        let hour = price.amount.mul_div_floor(numerator, MICRO.checked_mul(nanos_per_unit)?)?;
        Some(Rate::per_hour(hour))
    }

    /// The account that an auditor's name stands for.
    #[must_use]
    pub fn auditor(&self, name: &str) -> Option<AccountId> {
        self.auditors.get(name).copied().or_else(|| name.parse().ok())
    }
}

impl Group {
    /// The orders of the group, one a unit. Where its services reach each other
    /// ([`Group::is_linked`]) all leases of an order go to one provider, and the orders should be
    /// pinned to the first one's.
    ///
    /// # Errors
    /// [`OrderError`], with its fix.
    pub fn orders(&self, exchange: &Exchange) -> Result<Vec<UnitOrder>, OrderError> {
        let place = self.place(exchange)?;
        let order = |(at, unit): (usize, &Unit)| {
            let max_rate = exchange.rate(&unit.price).ok_or_else(|| OrderError::NoRate {
                group: self.name.clone(),
                profile: unit.profile.clone(),
                denom: unit.price.denom.clone(),
            })?;
            let mut terms = Terms { count: unit.count, max_rate, ..place.clone() };
            if let Some(arch) = &unit.compute.arch {
                terms.attributes.insert("arch".to_owned(), arch.clone());
            }
            let classes = unit.compute.volumes.iter().filter_map(|volume| volume.class);
            for class in classes {
                if !matches!(class, StorageClass::Default | StorageClass::Ram) {
                    terms.attributes.insert(format!("storage/{class}"), "true".to_owned());
                }
            }
            let alternatives: Vec<Terms> = unit
                .requests()
                .into_iter()
                .map(|request| Terms { request, ..terms.clone() })
                .collect();
            for terms in &alternatives {
                terms.check().map_err(|field| OrderError::Limit {
                    group: self.name.clone(),
                    profile: unit.profile.clone(),
                    field,
                })?;
            }
            Ok(UnitOrder { unit: at, alternatives })
        };
        self.units.iter().enumerate().map(order).collect()
    }

    /// What all orders of the group ask of hosts.
    fn place(&self, exchange: &Exchange) -> Result<Terms, OrderError> {
        let wanted = &self.requirements;
        let account = |name: &String| {
            exchange.auditor(name).ok_or_else(|| OrderError::NoAuditor {
                group: self.name.clone(),
                auditor: name.clone(),
            })
        };
        let mut terms = Terms {
            attributes: wanted.attributes.clone(),
            signed_by_any: wanted.signed_by_any.iter().map(account).collect::<Result<_, _>>()?,
            signed_by_all: wanted.signed_by_all.iter().map(account).collect::<Result<_, _>>()?,
            ..Terms::default()
        };
        terms.attributes.retain(|key, value| !(key == "host" && value == "akash"));
        // A host's region is a fact of its own.
        terms.regions.extend(terms.attributes.remove("region"));
        if let Some(tee) = wanted.tee {
            terms.attributes.insert("tee/type".to_owned(), tee.to_string());
            terms.verifies.insert(Verifies::Attest);
        }
        let mut exposed = self.services.iter().flat_map(|service| &service.expose);
        if exposed.any(|expose| expose.ip.is_some()) {
            terms.attributes.insert("endpoint/ip".to_owned(), "true".to_owned());
        }
        if self.is_linked() {
            terms.together = Together::Provider;
        }
        Ok(terms)
    }
}

impl Unit {
    /// What one lease takes, for each kind of GPU that will do.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        let compute = &self.compute;
        let sum = |ram: bool| {
            let volumes = compute.volumes.iter();
            let chosen = volumes.filter(|volume| (volume.class == Some(StorageClass::Ram)) == ram);
            chosen.fold(0u64, |sum, volume| sum.saturating_add(volume.bytes))
        };
        let request = Request {
            cpu_milli: compute.cpu_milli,
            memory_bytes: compute.memory_bytes.saturating_add(sum(true)),
            disk_bytes: sum(false),
            ..Request::default()
        };
        if compute.gpus.count == 0 {
            return vec![request];
        }
        let kinds = compute.gpus.any_of.iter();
        kinds
            .map(|kind| Request {
                gpu: GpuRequest {
                    vendor: kind.vendor.clone(),
                    model: kind.model.clone(),
                    memory_bytes: kind.memory_bytes,
                    interface: kind.interface.clone(),
                    count: compute.gpus.count,
                },
                ..request.clone()
            })
            .collect()
    }
}
