//! Why services are not up, and what to do about it.

use crate::JobError;
use muster_api::{ClientError, WalletError};
use muster_fabric::{CallError, FabricError, Refusal};
use muster_market::Explanation;
use muster_spec::sdl::OrderError;
use muster_types::{AccountId, Amount, LeaseId, codec::DecodeError};
use std::{io, path::PathBuf};

/// Why a deployment could not be brought up, reached or closed.
#[derive(Debug, thiserror::Error)]
pub enum ServicesError {
    /// Another deployment is there.
    #[error(
        "{} holds another deployment: close it first, or take another name", dir.display()
    )]
    Exists {
        /// The directory.
        dir: PathBuf,
    },
    /// An update would change what only new leases can have.
    #[error("an update cannot change {what}: deploy it under another name, then close this one")]
    Changed {
        /// What.
        what: String,
    },
    /// An update failed; what ran before runs again.
    #[error("the update failed, and what ran before runs again")]
    TakenBack(#[source] Box<ServicesError>),
    /// No deployment is there.
    #[error("{} holds no deployment: check its name", dir.display())]
    Nothing {
        /// The directory.
        dir: PathBuf,
    },
    /// The deployment is another key's or another chain's.
    #[error(
        "the deployment in {} is another account's or chain's: use its key and node", dir.display()
    )]
    Foreign {
        /// The directory.
        dir: PathBuf,
    },
    /// A file of the deployment could not be used.
    #[error("{} cannot be {action}: check the disk and the permissions", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// `read` or `removed`.
        action: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The plan does not decode.
    #[error("{} is damaged or of another version: close its leases by hand", path.display())]
    Damaged {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: DecodeError,
    },
    /// The machine gives no random bytes.
    #[error("the system gives no random bytes")]
    Entropy(#[source] getrandom::Error),
    /// The deployment asks for what no order can.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// What is to be set aside is beyond all amounts.
    #[error("so much money does not exist: ask for less, or for a shorter time")]
    TooDear,
    /// More would be set aside than may be.
    #[error("{needed} usd would be set aside, more than {most} usd")]
    OverLimit {
        /// What the deployment needs, `usd`.
        needed: Amount,
        /// What may be set aside, `usd`.
        most: Amount,
    },
    /// Hosts do not take all leases of a unit; no order was placed for it.
    #[error("no match for {count} leases of {profile} in group {group}")]
    NoMatch {
        /// The group.
        group: String,
        /// The compute profile.
        profile: String,
        /// Leases that were asked for.
        count: u32,
        /// What the market says of the alternative that came closest.
        explanation: Option<Box<Explanation>>,
    },
    /// The order ended, or its time did, before all leases were granted.
    #[error(
        "{granted} of {count} leases were granted: close the deployment, and raise the price or \
         lower the count"
    )]
    NotGranted {
        /// Granted.
        granted: u32,
        /// Asked for.
        count: u32,
    },
    /// A provider could not bring it up.
    #[error("provider {} failed while {step}, under lease {}: {reason}", provider.short(), lease.short())]
    Failed {
        /// Under which lease.
        lease: LeaseId,
        /// Whose.
        provider: AccountId,
        /// In which step.
        step: String,
        /// What it says.
        reason: String,
    },
    /// The deployment has no such service.
    #[error("there is no service {service}: it has {known}")]
    NoService {
        /// As it was asked for.
        service: String,
        /// What there is.
        known: String,
    },
    /// No lease is open.
    #[error("nothing of it is up")]
    NoReplica,
    /// The provider names no address, or cannot be reached.
    #[error("provider {} names no address on the ledger", provider.short())]
    NoAddress {
        /// Whose.
        provider: AccountId,
    },
    /// The provider said no.
    #[error("provider {} refused", provider.short())]
    Refused {
        /// Who.
        provider: AccountId,
        /// What it said.
        #[source]
        refusal: Refusal,
    },
    /// The provider could not be called.
    #[error("the provider could not be called")]
    Call(#[source] CallError),
    /// A provider's answer makes no sense.
    #[error("provider {} does not keep to the protocol", provider.short())]
    Answer {
        /// Who.
        provider: AccountId,
    },
    /// A step on the ledger failed.
    #[error(transparent)]
    Step(#[from] JobError),
    /// The node could not be asked.
    #[error("the node could not be asked")]
    Node(#[from] ClientError),
    /// The wallet could not act.
    #[error("the wallet could not act")]
    Wallet(#[from] WalletError),
    /// Our fabric endpoint failed.
    #[error("the endpoint for providers failed")]
    Fabric(#[from] FabricError),
}
