//! What the ledger knows of a tenant's conduct, so that providers can see whom they serve.

use crate::keys::{self, Listing, Record, Table};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_types::AccountId;
use serde::{Deserialize, Serialize};

/// How a tenant's leases ended.
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
pub struct TenantConduct {
    /// Leases that have ended, in any way.
    pub leases: u64,
    /// Leases that it rejected when they were reported ready.
    pub rejected: u64,
    /// Leases whose manifest the provider did not get, or could not run.
    pub undelivered: u64,
    /// Leases that ended because the escrow ran dry.
    pub out_of_funds: u64,
}

impl Record for TenantConduct {
    type Key = AccountId;
    const KIND: &'static str = "tenant";
    const TABLE: Table<AccountId, Self> = keys::TENANTS;
    const LISTING: Listing = Listing::Never;
}
