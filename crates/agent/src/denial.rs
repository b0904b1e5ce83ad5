//! How a tenant's request is turned down.

use crate::journal::JournalError;
use muster_api::provider::refusal;
use muster_fabric::{FetchError, Refusal, RefusalCode};
use std::error::Error;

/// Why a request is turned down, as the peer gets to read it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Denial {
    #[error("there is no such lease on this provider: check the lease and whose provider it is")]
    UnknownLease,
    #[error(
        "the lease is another tenant's: call with the key of the account that placed its order"
    )]
    NotYours,
    #[error("the lease is over: place a new order")]
    Over,
    #[error("the lease is not prepared on this provider: send Prepare first")]
    NotPrepared,
    #[error("{0}")]
    BadRequest(String),
    #[error("the module is refused: {0}")]
    BadModule(String),
    #[error("{0}")]
    NotFetched(String),
    #[error("{0}")]
    Conflict(String),
    #[error("too many runs of this lease at once: wait for one to end")]
    Busy,
    #[error("the provider cannot reach the ledger, or was refused there: {0}")]
    Ledger(String),
    #[error("the provider is stopping: run the task elsewhere")]
    Stopping,
    #[error(
        "the provider runs no containers: order from one with the attribute `containers` = `true`"
    )]
    NoContainers,
    #[error("{0}")]
    NoService(String),
    #[error("the provider failed: try again, or run the task elsewhere")]
    Internal,
}

impl Denial {
    /// The stable code, for programs.
    pub(crate) const fn code(&self) -> u16 {
        match self {
            Self::UnknownLease => refusal::UNKNOWN_LEASE,
            Self::NotYours => refusal::NOT_YOURS,
            Self::Over => refusal::OVER,
            Self::NotPrepared => refusal::NOT_PREPARED,
            Self::BadRequest(_) => refusal::BAD_REQUEST,
            Self::BadModule(_) => refusal::BAD_MODULE,
            Self::NotFetched(_) => refusal::NOT_FETCHED,
            Self::Conflict(_) => refusal::CONFLICT,
            Self::Busy => refusal::BUSY,
            Self::Ledger(_) => refusal::LEDGER,
            Self::Stopping => refusal::STOPPING,
            Self::NoContainers => refusal::NO_CONTAINERS,
            Self::NoService(_) => refusal::NO_SERVICE,
            Self::Internal => RefusalCode::INTERNAL.0,
        }
    }

    pub(crate) fn bad(reason: impl Into<String>) -> Self {
        Self::BadRequest(reason.into())
    }

    /// What the ledger said; the peer gets the whole chain, it is no secret.
    pub(crate) fn ledger(error: &(dyn Error + 'static)) -> Self {
        Self::Ledger(chain(error))
    }

    /// A fault of ours, whose details go to our log only.
    pub(crate) fn internal(action: &'static str, error: &(dyn Error + 'static)) -> Self {
        tracing::error!(error = chain(error), "could not {action}");
        Self::Internal
    }
}

impl From<FetchError> for Denial {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Store { .. } => Self::internal("keep a blob", &error),
            other => Self::NotFetched(chain(&other)),
        }
    }
}

impl From<JournalError> for Denial {
    fn from(error: JournalError) -> Self {
        Self::internal("use the journal", &error)
    }
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        Self::new(RefusalCode(denial.code()), denial.to_string())
    }
}

/// An error and its sources in one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}
