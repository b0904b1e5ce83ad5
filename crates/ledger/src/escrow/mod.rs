//! Escrows: money set aside for leases, paid out over heartbeat-covered time, refunded at the end.
//!
//! | state | action or event | next |
//! |---|---|---|
//! | none | `EscrowOpen` | open |
//! | open | accruals exceed the balance | overdrawn(since): every stream gets the same fraction |
//! | overdrawn | `EscrowDeposit`, pay forfeited, or streams that ended, so that every shortfall is covered | open |
//! | open, overdrawn | `EscrowClose`, with no open order and no unsettled lease | closed: refunds |
//!
//! At every moment `deposited = balance + withheld + paid + refunded + fees`.
//!
//! How streams are paid is in [`settle`]; how refunds are divided in [`shares`].

pub(crate) mod close;
pub(crate) mod deposit;
pub(crate) mod open;
pub mod settle;
pub mod shares;

use crate::{
    archive,
    keys::{self, Listing, Record, Table},
    market::wake,
    state::Scratch,
};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_types::{AccountId, Amount, EscrowId, Millis, Rate};
use serde::{Deserialize, Serialize};

/// Where an escrow stands.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum EscrowStatus {
    /// Pays.
    Open,
    /// Cannot pay in full since then (steady time).
    Overdrawn {
        /// When it first fell short.
        since: Millis,
    },
    /// Refunded.
    Closed,
}

/// What one depositor put in.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Deposit {
    /// Who.
    pub depositor: AccountId,
    /// How much, in all.
    pub amount: Amount,
    /// How much of it was left when somebody last paid in.
    pub left: Amount,
    /// How much of it came back.
    pub refunded: Amount,
}

/// An escrow's state. All amounts in `usd`.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Escrow {
    /// Who opened it and orders against it.
    pub owner: AccountId,
    /// Where it stands.
    pub status: EscrowStatus,
    /// The height at which it was opened.
    pub height: u64,
    /// Who paid in.
    pub deposits: Vec<Deposit>,
    /// All that was paid in.
    pub deposited: Amount,
    /// Free to be earned.
    pub balance: Amount,
    /// Earned, but held back until the results stand, or the tenant has accepted the lease.
    pub withheld: Amount,
    /// Paid to providers.
    pub paid: Amount,
    /// Returned to depositors.
    pub refunded: Amount,
    /// Received by the tenant out of providers' bonds (never part of the escrow's own money).
    pub compensated: Amount,
    /// Open orders against it.
    pub open_orders: u32,
    /// Leases on it that are not settled.
    pub open_leases: u32,
    /// The sum of the rates of its leases that are not closed.
    pub open_rate: Rate,
    /// Taken for the validators: what its orders pay for waiting and visits.
    pub fees: Amount,
    /// Since when nothing can change it, in steady time (see [`crate::archive`]).
    pub final_at: Option<Millis>,
}

impl EscrowStatus {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Overdrawn { .. } => "overdrawn",
            Self::Closed => "closed",
        }
    }
}

impl Record for Escrow {
    type Key = EscrowId;
    const KIND: &'static str = "escrow";
    const TABLE: Table<EscrowId, Self> = keys::ESCROWS;
    const LISTING: Listing = Listing::Always;

    archive::leaves!(Escrow);

    fn is_final(&self) -> bool {
        self.status == EscrowStatus::Closed && self.balance.is_zero() && self.withheld.is_zero()
    }

    fn entries(&self, key: &EscrowId, emit: &mut dyn FnMut(Vec<u8>)) {
        emit(keys::ESCROWS_BY_OWNER.key(&(self.owner, *key)));
        if let EscrowStatus::Overdrawn { since } = self.status
            && self.open_leases > 0
        {
            emit(keys::OVERDRAWN_DUE.key(&(since, *key)));
        }
    }

    fn stored(key: &EscrowId, old: Option<&Self>, new: &Self, scratch: &mut Scratch<'_>) {
        wake::escrow_stored(key, old, new, scratch);
    }
}

#[cfg(test)]
mod tests;
