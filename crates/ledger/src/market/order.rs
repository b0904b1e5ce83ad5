//! The order record and what it is made of.

use super::wake::bell;
use crate::{
    Reject, archive,
    keys::{self, Listing, Record, Table},
};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_market::{Class, Cursor, MAX_COUNT, Terms};
use muster_types::{AccountId, Amount, EscrowId, Hash, JobId, LeaseId, Millis, OrderId};
use serde::{Deserialize, Serialize};

/// Where an order stands.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    /// Waits for offers that fit, or takes bids.
    Open,
    /// Ended: filled, or won by the bids that there were.
    Leased,
    /// Ended: its deadline passed, or no bid won.
    Expired,
    /// Ended: withdrawn by its owner.
    Cancelled,
    /// Ended: its escrow could not pay for the waiting or the visits.
    OutOfFunds,
    /// Its bid window has ended; the tenant picks.
    Picking {
        /// Until when (steady time).
        until: Millis,
    },
}

/// How an order finds its hosts.
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
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Against the hosts' standing offers.
    #[default]
    Standing,
    /// Providers bid for it.
    Bids {
        /// For how long, in steady time; at least 1, at most a day.
        window_ms: Millis,
        /// At most so many bids stand, 1 to 256; a better one displaces the worst.
        bids_max: u16,
        /// Who picks.
        pick: Pick,
    },
}

/// Who picks among the bids.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Pick {
    /// The rule: the lowest fitting bids win, ranked as offers are.
    Lowest,
    /// The tenant, within `pick_window_ms`.
    Tenant,
}

/// What an order that takes bids has.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Bidding {
    /// The end of its window (steady time).
    pub until: Millis,
    /// How many bids stand.
    pub bids: u32,
}

/// What a waiting order waits for.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Turn {
    /// For its turn.
    Ready {
        /// It goes on after this host, at which its last turn was cut.
        cursor: Option<Cursor>,
        /// Its class was woken meanwhile: at the end of the class it begins again.
        woken: bool,
    },
    /// For something to change in its class: no host of it helps.
    Asleep,
    /// For its escrow: no money, or no room for leases.
    Unfunded,
}

/// How an order is changed in place.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderChange {
    /// More leases: the order is open again for them, against standing offers.
    Grow {
        /// How many more.
        count: u32,
    },
    /// Closes leases and lowers the count by their number.
    Shrink {
        /// Which, at most 1,024, each once.
        leases: Vec<LeaseId>,
    },
    /// Lowers the count of what is not granted yet.
    Count {
        /// The new count; at least the leases that count already.
        count: u32,
    },
    /// A later deadline. Its open leases are guaranteed for as long as their hosts' offers stand
    /// now, where these ask no more than the leases pay.
    Extend {
        /// Until then.
        deadline: Millis,
    },
    /// Another manifest, for the open leases too.
    Manifest {
        /// Its salted hash.
        hash: Hash,
    },
}

/// An order's state.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Order {
    /// Who placed it.
    pub tenant: AccountId,
    /// Who pays.
    pub escrow: EscrowId,
    /// The height at which the escrow was opened: of equal fees, orders of young escrows clear last.
    pub escrow_height: u64,
    /// The job that it works for.
    pub job: Option<JobId>,
    /// What is wanted.
    pub terms: Terms,
    /// Salted hash of the manifest.
    pub manifest: Hash,
    /// Where it stands.
    pub status: OrderStatus,
    /// When it was placed.
    pub placed_at: Millis,
    /// If not filled by then it expires.
    pub deadline: Millis,
    /// The fee that placing it paid: who paid more clears first.
    pub fee: Amount,
    /// The leases that it was granted, by index.
    pub leases: Vec<LeaseId>,
    /// Those of them that are not settled.
    pub open_leases: u32,
    /// How it was to find its hosts.
    pub mode: Mode,
    /// Whether it opens again for a lease that its provider broke.
    pub reauction: bool,
    /// Leases that are still to be granted; none once it ended.
    pub missing: u32,
    /// What it waits for, where it is open to standing offers.
    pub turn: Turn,
    /// Its bids, while it takes them or they are picked from.
    pub bidding: Option<Bidding>,
    /// Steady time up to which rent was counted.
    pub rent_until: Millis,
    /// Rent counted and not charged: less than a nano-unit, in parts of 3,600,000.
    pub rent_part: u32,
    /// All that its escrow was charged for rent and visits, `usd`.
    pub charged: Amount,
    /// Since when nothing can change it, in steady time (see [`crate::archive`]).
    pub final_at: Option<Millis>,
}

impl OrderStatus {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Leased => "leased",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::OutOfFunds => "out of funds",
            Self::Picking { .. } => "picking",
        }
    }

    /// Whether leases may still be granted.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::Picking { .. })
    }
}

impl Turn {
    /// First in its class, for the first time.
    pub(crate) const FIRST: Self = Self::Ready { cursor: None, woken: false };
}

impl Order {
    /// The bell of the hosts that it may win.
    pub(crate) fn class(&self) -> Hash {
        bell(&Class::of_request(&self.terms.request))
    }

    /// Whether it is open to standing offers.
    pub(crate) fn is_waiting(&self) -> bool {
        self.status == OrderStatus::Open && self.bidding.is_none()
    }

    /// Whether it can miss `count` leases more: in all its life it is granted at most
    /// [`MAX_COUNT`], so that its record stays small.
    pub(crate) fn can_grow(&self, count: u32) -> bool {
        let granted = u32::try_from(self.leases.len()).unwrap_or(u32::MAX);
        let total = granted.saturating_add(self.missing).saturating_add(count);
        total <= MAX_COUNT
    }

    /// Refuses what is not open.
    pub(crate) fn require_open(&self) -> Result<(), Reject> {
        if self.status.is_open() {
            return Ok(());
        }
        Err(Reject::wrong_state("order", self.status.name()))
    }
}

impl Record for Order {
    type Key = OrderId;
    const KIND: &'static str = "order";
    const TABLE: Table<OrderId, Self> = keys::ORDERS;
    const LISTING: Listing = Listing::Always;

    archive::leaves!(Order);

    fn is_final(&self) -> bool {
        !self.status.is_open() && self.open_leases == 0
    }

    fn entries(&self, key: &OrderId, emit: &mut dyn FnMut(Vec<u8>)) {
        emit(keys::ORDERS_BY_TENANT.key(&(self.tenant, *key)));
        emit(keys::ORDERS_BY_ESCROW.key(&(self.escrow, *key)));
        match (self.status, self.bidding) {
            (OrderStatus::Open, Some(bidding)) => {
                emit(keys::WINDOWS_DUE.key(&(bidding.until, *key)));
            }
            (OrderStatus::Picking { until }, _) => emit(keys::WINDOWS_DUE.key(&(until, *key))),
            (OrderStatus::Open, None)
            | (
                OrderStatus::Leased
                | OrderStatus::Expired
                | OrderStatus::Cancelled
                | OrderStatus::OutOfFunds,
                _,
            ) => {}
        }
        if self.status == OrderStatus::Open {
            emit(keys::ORDERS_WAITING.key(&(self.placed_at, *key)));
            emit(keys::ORDERS_DUE.key(&(self.deadline, *key)));
        }
        if self.is_waiting() {
            if let Turn::Ready { .. } = self.turn {
                emit(keys::ORDERS_READY.key(&(self.placed_at, *key)));
            }
            let bell = match self.turn {
                Turn::Ready { cursor: None, .. } => None,
                Turn::Ready { cursor: Some(_), .. } | Turn::Asleep => Some(self.class()),
                Turn::Unfunded => Some(self.escrow.0),
            };
            if let Some(bell) = bell {
                emit(keys::SLEEPERS.key(&(bell, self.placed_at, *key)));
            }
        }
    }
}
