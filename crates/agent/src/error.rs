//! Why a provider does not start, or stops by itself.

use crate::journal::JournalError;
use muster_api::{ClientError, WalletError};
use muster_fabric::FabricError;
use muster_sandbox::{
    CompileError,
    oci::{
        container::ContainerError,
        image::{PullError, RegistryConfigError},
    },
};
use muster_types::{AccountId, Amount};
use std::{io, path::PathBuf};

/// Why a provider did not start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A setting makes no sense.
    #[error("the provider's setting `{setting}` is not usable: {reason}")]
    Setting {
        /// The setting's name in [`crate::Config`].
        setting: &'static str,
        /// What is wrong with it and what to do.
        reason: String,
    },
    /// The account cannot pay for the bond and the fees.
    #[error(
        "the provider's account {account} has {available} usd and needs {needed} for its bond and \
         fees: send it the difference, `muster wallet send {account} AMOUNT`"
    )]
    Unfunded {
        /// Whose.
        account: AccountId,
        /// The missing part of the bond and some for fees.
        needed: Amount,
        /// What is there.
        available: Amount,
    },
    /// The provider is on its way out.
    #[error(
        "the provider is {state} on the ledger and takes no orders: wait until it is gone, or use \
         another key"
    )]
    Leaving {
        /// `draining` or `unbonding`.
        state: &'static str,
    },
    /// The directory cannot be used.
    #[error("the directory {} cannot be used", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The journal cannot be used.
    #[error("the provider's journal cannot be used")]
    Journal(#[from] JournalError),
    /// The compiler cannot be used.
    #[error("the compiler of modules cannot be used")]
    Compiler(#[from] CompileError),
    /// The endpoint cannot be used.
    #[error("the provider's fabric endpoint cannot be used")]
    Fabric(#[from] FabricError),
    /// Containers cannot be run.
    #[error("the provider cannot run containers")]
    Containers(#[from] ContainerError),
    /// The store of images cannot be used.
    #[error("the provider's store of images cannot be used")]
    Images(#[from] PullError),
    /// No registry can be asked.
    #[error("the provider cannot ask registries")]
    Registries(#[from] RegistryConfigError),
    /// The node could not be asked.
    #[error("the provider could not {action}")]
    Node {
        /// What it was about to do.
        action: &'static str,
        /// Why not.
        #[source]
        source: ClientError,
    },
    /// The ledger refused.
    #[error("the provider could not {action}")]
    Ledger {
        /// What it was about to do.
        action: &'static str,
        /// Why not.
        #[source]
        source: WalletError,
    },
    /// A part of the provider ended that must not.
    #[error("the provider's {part} failed: {reason}")]
    Broken {
        /// Which part.
        part: &'static str,
        /// How.
        reason: String,
    },
}

impl AgentError {
    pub(crate) fn node(action: &'static str) -> impl FnOnce(ClientError) -> Self {
        move |source| Self::Node { action, source }
    }

    pub(crate) fn ledger(action: &'static str) -> impl FnOnce(WalletError) -> Self {
        move |source| Self::Ledger { action, source }
    }
}
