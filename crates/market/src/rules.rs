//! The numbers of the auction. On the ledger they are parameters, changed by vote.

use borsh::{BorshDeserialize, BorshSerialize};
use muster_types::{Amount, Rate};
use serde::{Deserialize, Serialize};

/// What clearing is bound by.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Rules {
    /// The most hosts that one order may look at.
    pub visit_max: u32,
    /// How many more hosts that pass are compared once an order could be filled.
    pub look_ahead: u32,
    /// How far above the least that a host not looked at could score a lease may be for that to be
    /// enough, in hundredths of a per cent of it.
    pub look_ahead_slack_bps: u32,
    /// The least bond that a lease locks, in `usd`.
    pub pledge_min: Amount,
    /// A lease locks so many hours of its own rate, if that is more.
    pub pledge_hours: u32,
}

impl Default for Rules {
    /// 1,024 visits; 8 hosts ahead, and no lease at more than four times what could follow; 1 usd or 24
    /// hours.
    fn default() -> Self {
        Self {
            visit_max: 1024,
            look_ahead: 8,
            look_ahead_slack_bps: 30_000,
            pledge_min: Amount::from_units(1),
            pledge_hours: 24,
        }
    }
}

impl Rules {
    /// The bond that a lease at `rate` locks: `max(pledge_min, rate x pledge_hours)`. `None` on
    /// overflow: no bond could cover it.
    #[must_use]
    pub fn pledge(&self, rate: Rate) -> Option<Amount> {
        let hours = rate.amount_per_hour().checked_mul(u64::from(self.pledge_hours))?;
        Some(hours.max(self.pledge_min))
    }
}
