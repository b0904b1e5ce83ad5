//! What a transaction may ask for: one variant an action, one file an action in its module.

use crate::{
    dispute::Claim,
    job::{JobSpec, TaskOutput},
    provider::HostSpec,
};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_market::Terms;
use muster_types::{
    AccountId, Amount, Asset, DisputeId, EscrowId, Hash, JobId, LeaseId, Millis, OrderId,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A signed action: what the network carries.
pub type Tx = muster_types::Signed<Action>;

/// Everything that can be asked of the ledger. The order of the variants is their encoding: only
/// ever append.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::large_enum_variant, reason = "decoded once and borrowed from then on")]
pub enum Action {
    /// Moves money to another account.
    Transfer {
        /// Who gets it.
        to: AccountId,
        /// Which asset.
        asset: Asset,
        /// How much.
        amount: Amount,
    },
    /// Registers the signer as a provider, or replaces its description.
    ProviderSet {
        /// The new description.
        profile: ProviderProfile,
    },
    /// Adds `usd` to the signer's provider bond.
    BondAdd {
        /// How much.
        amount: Amount,
    },
    /// Stops taking leases; when none is left the bond starts to unbond.
    ProviderDrain {},
    /// Takes the bond back after the unbonding time.
    BondWithdraw {},
    /// Adds a host or changes it; from the next block its standing offer takes orders.
    HostSet {
        /// The provider's own number for the host.
        index: u32,
        /// What it has and what it charges.
        spec: HostSpec,
    },
    /// Withdraws a host that has no open lease.
    HostRemove {
        /// The provider's own number for the host.
        index: u32,
    },
    /// Opens an escrow and pays into it.
    EscrowOpen {
        /// How much `usd`.
        deposit: Amount,
    },
    /// Pays into an open escrow, from anybody.
    EscrowDeposit {
        /// Which escrow.
        escrow: EscrowId,
        /// How much `usd`.
        amount: Amount,
    },
    /// Closes an escrow that nothing draws from any more; what is left goes back to its
    /// depositors in proportion to what is left of what each put in.
    EscrowClose {
        /// Which escrow; the signer opened it.
        escrow: EscrowId,
    },
    /// Opens a job: what its leases will be bound to and how its results are checked.
    JobOpen {
        /// The job's terms.
        spec: JobSpec,
    },
    /// Ends a job: no new orders; when its leases are closed and settled its escrow can close.
    JobClose {
        /// Which job; the signer opened it.
        job: JobId,
    },
    /// Places an order against the standing offers. It clears at the end of this block, or waits
    /// until `deadline`.
    OrderPlace {
        /// Who pays.
        escrow: EscrowId,
        /// The job that it works for, whose verification it takes over; `None` for a plain lease.
        job: Option<JobId>,
        /// What is wanted.
        terms: Terms,
        /// If not filled by then it expires.
        deadline: Millis,
        /// Salted hash of the manifest.
        manifest: Hash,
    },
    /// Withdraws an open order.
    OrderCancel {
        /// Which order; the signer placed it.
        order: OrderId,
    },
    /// The provider has everything that the lease needs: pay starts.
    LeaseReady {
        /// Which lease; the signer provides it.
        lease: LeaseId,
    },
    /// The provider lives and serves: covers the time since the last one.
    Heartbeat {
        /// The leases covered, at most 1,024.
        leases: Vec<LeaseId>,
    },
    /// Ends a lease. By its tenant: no fault of anybody. By its provider: an early exit, which
    /// costs by schedule.
    LeaseClose {
        /// Which lease.
        lease: LeaseId,
    },
    /// The provider commits to its results on a lease: the Merkle root over its task outputs.
    ResultCommit {
        /// Which lease; the signer provides it.
        lease: LeaseId,
        /// Root over [`TaskOutput`] leaves in task order (see `muster-verify`).
        root: Hash,
        /// How many leaves.
        count: u64,
    },
    /// The tenant accepts a closed lease's results: what is withheld is paid at once.
    ResultAccept {
        /// Which lease; the signer is its tenant.
        lease: LeaseId,
    },
    /// Two providers signed different outputs of one task: asks the validators who is right.
    DisputeOpen {
        /// Which job; the signer is its tenant.
        job: JobId,
        /// The two claims, over the same task of the same job.
        claims: Box<[Claim; 2]>,
        /// Where the module and the inputs can be fetched: the tenant's fabric address, as text.
        evidence: String,
    },
    /// A validator re-ran the disputed task.
    DisputeVote {
        /// Which dispute.
        dispute: DisputeId,
        /// What the task really gives; `None`: the evidence could not be had.
        output: Option<TaskOutput>,
    },
}

impl Action {
    /// What it costs to execute, in units: about one for each record that it reads and writes
    /// beyond the first few.
    #[must_use]
    pub fn units(&self) -> u64 {
        match self {
            Self::Heartbeat { leases } => u64::try_from(leases.len()).unwrap_or(u64::MAX).max(1),
            _ => 1,
        }
    }
}

/// How a provider describes itself.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ProviderProfile {
    /// For people.
    pub name: String,
    /// Where it stands, e.g. `eu-central`.
    pub region: String,
    /// Where its fabric endpoint listens (`ip:port`); it is dialled by the account's key, so a
    /// wrong address harms only the provider.
    pub sockets: Vec<String>,
    /// Facts that orders may ask for.
    pub attributes: BTreeMap<String, String>,
    /// Under whose law it is (ISO 3166-1 alpha-2, lower case); empty where it does not say.
    pub jurisdiction: String,
}
