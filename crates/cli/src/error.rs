//! Exit codes and hints: every failure says what to type next.

use std::fmt;

/// What a failed command's exit status means. Documented in `muster --help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did not work.
    Failed = 1,
    /// The input (a file, an argument) is wrong.
    BadInput = 2,
    /// No node answers.
    NoNode = 3,
    /// No host matches the order.
    NoMatch = 4,
    /// The account cannot pay for it.
    NoFunds = 5,
}

/// A failure with its exit status and what to type next.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit status.
    pub(crate) exit: Exit,
    /// What is wrong, and where.
    pub(crate) message: String,
    /// What to type next.
    pub(crate) hint: Option<String>,
}

/// An error and its sources, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(&format!(": {source}"));
        next = source.source();
    }
    text
}

impl Failure {
    /// A failure with a hint, as an error that commands return.
    pub(crate) fn error(
        exit: Exit,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> anyhow::Error {
        anyhow::Error::new(Self { exit, message: message.into(), hint: Some(hint.into()) })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Another program's exit status, which this one ends with, saying nothing.
#[derive(Debug)]
pub(crate) struct Status(pub(crate) u8);

impl Status {
    pub(crate) fn error(status: u8) -> anyhow::Error {
        anyhow::Error::new(Self(status))
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it ended with status {}", self.0)
    }
}

impl std::error::Error for Status {}

/// The exit status and hint of any error, found along its chain.
pub(crate) fn classify(error: &anyhow::Error) -> (Exit, Option<String>) {
    for cause in error.chain() {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return (failure.exit, failure.hint.clone());
        }
        if let Some(client) = cause.downcast_ref::<muster_api::ClientError>() {
            return match client {
                muster_api::ClientError::Unreachable { .. } => {
                    (Exit::NoNode, Some("muster dev   # or name a node: --node URL".to_owned()))
                }
                muster_api::ClientError::Url { .. } => (Exit::BadInput, None),
                _ => match client.code() {
                    Some("insufficient_funds" | "no_account") => {
                        (Exit::NoFunds, Some("muster wallet show".to_owned()))
                    }
                    _ => (Exit::Failed, None),
                },
            };
        }
    }
    (Exit::Failed, None)
}
