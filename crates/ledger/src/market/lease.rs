//! What the rules of a lease share: who ended it, how it serves, what its fuel is worth, and a new
//! manifest for it.

use super::{Lease, LeaseStatus};
use crate::{Event, Reject, ctx::Ctx};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_types::{Amount, LeaseId, Millis};
use serde::{Deserialize, Serialize};

const SECONDS_PER_HOUR: u128 = 3_600;

/// Who acts on a lease.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Party {
    /// Who rents.
    Tenant,
    /// Who serves.
    Provider,
    /// Neither: a rule of time or money, or the validators' verdict.
    Network,
}

/// How a lease serves: what heartbeats cover and the escrow pays.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Serving {
    /// As [`LeaseStatus::Active`].
    Active,
    /// As [`LeaseStatus::Updating`].
    Updating {
        /// Steady time of the new manifest.
        since: Millis,
    },
    /// As [`LeaseStatus::Reclaiming`].
    Reclaiming {
        /// Steady time of the end.
        until: Millis,
    },
}

impl Serving {
    /// With a new manifest at `since`; a lease that is being reclaimed ends before it would be
    /// taken up.
    const fn updated(self, since: Millis) -> Self {
        match self {
            Self::Active | Self::Updating { .. } => Self::Updating { since },
            Self::Reclaiming { .. } => self,
        }
    }
}

impl From<Serving> for LeaseStatus {
    fn from(serving: Serving) -> Self {
        match serving {
            Serving::Active => Self::Active,
            Serving::Updating { since } => Self::Updating { since },
            Serving::Reclaiming { until } => Self::Reclaiming { until },
        }
    }
}

impl LeaseStatus {
    /// How the lease serves, where it does.
    #[must_use]
    pub const fn serving(self) -> Option<Serving> {
        match self {
            Self::Active => Some(Serving::Active),
            Self::Updating { since } => Some(Serving::Updating { since }),
            Self::Reclaiming { until } => Some(Serving::Reclaiming { until }),
            Self::Granted | Self::Stalled { .. } | Self::Closed { .. } => None,
        }
    }
}

impl Lease {
    /// What the committed fuel is worth at the host's offered speed:
    /// `floor(rate x fuel / (fuel_per_s x 3600 s))`. `None`: the lease is not metered.
    #[must_use]
    pub fn fuel_worth(&self) -> Option<Amount> {
        let fuel_per_hour = u128::from(self.fuel_per_s).saturating_mul(SECONDS_PER_HOUR);
        if fuel_per_hour == 0 {
            return None;
        }
        let fuel = self.commitment.map_or(0, |commitment| commitment.fuel);
        let worth = self.rate.amount_per_hour().mul_div_floor(u128::from(fuel), fuel_per_hour);
        Some(worth.unwrap_or(Amount::MAX))
    }
}

/// An open lease's order has a new manifest, which the provider is to take up.
pub(crate) fn begin_update(ctx: &mut Ctx<'_>, id: &LeaseId) -> Result<(), Reject> {
    let mut lease: Lease = ctx.load(id)?;
    let (steady, before) = (ctx.env.head.steady, lease.status);
    match before {
        LeaseStatus::Granted => {
            lease.seen_steady = steady;
            lease.seen_height = ctx.env.head.height;
        }
        LeaseStatus::Active => lease.status = Serving::Active.updated(steady).into(),
        LeaseStatus::Updating { since } => {
            lease.status = Serving::Updating { since }.updated(steady).into();
        }
        LeaseStatus::Stalled { since, was } => {
            lease.status = LeaseStatus::Stalled { since, was: was.updated(steady) };
        }
        LeaseStatus::Reclaiming { .. } => return Ok(()),
        LeaseStatus::Closed { .. } => return Err(Reject::wrong_state("lease", before.name())),
    }
    ctx.store(id, &lease);
    let (provider, of) = (lease.provider(), lease.parties());
    ctx.emit(Event::LeaseUpdating { lease: *id, provider, of });
    Ok(())
}

#[cfg(test)]
mod tests;
