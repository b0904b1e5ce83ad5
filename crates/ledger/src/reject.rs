//! Why the ledger refuses: stable codes and facts, never prose made up on the spot.

use muster_types::{Amount, Millis};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// A refusal. Codes ([`Reject::code`]) are stable: variants are only ever appended. Facts are
/// what the caller needs to mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "code")]
pub enum Reject {
    /// The signature is not the signer's.
    #[error("the signature is not the signer's: sign with the key of the account that acts")]
    BadSignature,
    /// Made for another chain.
    #[error("made for another chain: check which node and network this is sent to")]
    WrongChain,
    /// Past its expiry.
    #[error("expired at {expires}, it is {now}: sign it again")]
    Expired {
        /// The envelope's expiry.
        expires: Millis,
        /// The block's time.
        now: Millis,
    },
    /// The nonce was used, or is too far ahead.
    #[error("nonce {given} cannot be used: the next is {next}, the window {window}")]
    BadNonce {
        /// As sent.
        given: u64,
        /// The lowest unused.
        next: u64,
        /// How far ahead it may be.
        window: u64,
    },
    /// The account does not exist.
    #[error("the account does not exist yet: send it some usd first")]
    NoAccount,
    /// The fee is more than the envelope allows.
    #[error("the fee is {fee} usd, the transaction allows {max_fee}: raise max_fee")]
    FeeTooHigh {
        /// What it costs.
        fee: Amount,
        /// What the envelope allows.
        max_fee: Amount,
    },
    /// Not enough free balance.
    #[error("needs {needed}, the account has {available} free: add funds")]
    InsufficientFunds {
        /// What it takes.
        needed: Amount,
        /// What is there.
        available: Amount,
    },
    /// An amount that must not be zero is.
    #[error("the amount must be more than zero")]
    ZeroAmount,
    /// Arithmetic beyond the largest amount: of what a transaction offers (its tip), or of a total
    /// that it asks for. What the books hold never comes near, as the supply is bounded.
    #[error("the amounts are too large to be computed with")]
    Overflow,
    /// A field is longer, larger or otherwise not as its documentation demands.
    #[error("`{field}` is not acceptable: see its documentation for the limit")]
    BadField {
        /// Which field.
        field: Cow<'static, str>,
    },
    /// The named thing does not exist.
    #[error("no such {kind}")]
    NotFound {
        /// `provider`, `host`, `order`, `lease`, `escrow`, `job`, `dispute`, `key`, `challenge`,
        /// `validator`, `delegation`, `unbonding`, `proposal`, `parameter`, `bond`,
        /// `registration`, `signature`, `affiliation` or `bid`.
        kind: Cow<'static, str>,
    },
    /// Somebody else's.
    #[error("only its {role} may do this")]
    NotYours {
        /// `owner`, `member`, `tenant`, `provider`, `validator`, `challenger` or `auditor`.
        role: Cow<'static, str>,
    },
    /// The thing is in a state in which this cannot be done.
    #[error("the {kind} is {state}: this cannot be done now")]
    WrongState {
        /// What kind of thing.
        kind: Cow<'static, str>,
        /// Its state.
        state: Cow<'static, str>,
    },
    /// The bond is too small for this.
    #[error("needs a bond of {needed} usd, there is {available}: add to the bond")]
    InsufficientBond {
        /// What it takes.
        needed: Amount,
        /// What is there.
        available: Amount,
    },
    /// Too early.
    #[error("possible from {from}, it is {now}")]
    TooEarly {
        /// From when on.
        from: Millis,
        /// The block's time.
        now: Millis,
    },
    /// The two claims do not contradict each other.
    #[error("the claims do not differ about the same task: there is nothing to judge")]
    NoContradiction,
    /// It was done already.
    #[error("this was done already")]
    Duplicate,
    /// The delegated key may not do this.
    #[error(
        "the key has no scope for this action: let the account itself do it, or grant the scope"
    )]
    OutOfScope,
    /// The account's free balance would fall by more than its delegated key may spend.
    #[error("takes {needed} off the account, the key may spend {left} more: grant it more")]
    SpendLimit {
        /// What it takes.
        needed: Amount,
        /// What the key may spend still.
        left: Amount,
    },
    /// Not as many members signed as the account's policy asks for.
    #[error("the account acts by exactly {needed} of its members, {given} signed")]
    Signatures {
        /// The policy's threshold.
        needed: u64,
        /// How many signed.
        given: u64,
    },
    /// The stake is too small for this.
    #[error("needs a stake of {needed} mst, there is {available}: stake or delegate more")]
    InsufficientStake {
        /// What it takes.
        needed: Amount,
        /// What is there.
        available: Amount,
    },
}

impl Reject {
    /// The stable code: the variant's name in snake case, as in JSON.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::BadSignature => "bad_signature",
            Self::WrongChain => "wrong_chain",
            Self::Expired { .. } => "expired",
            Self::BadNonce { .. } => "bad_nonce",
            Self::NoAccount => "no_account",
            Self::FeeTooHigh { .. } => "fee_too_high",
            Self::InsufficientFunds { .. } => "insufficient_funds",
            Self::ZeroAmount => "zero_amount",
            Self::Overflow => "overflow",
            Self::BadField { .. } => "bad_field",
            Self::NotFound { .. } => "not_found",
            Self::NotYours { .. } => "not_yours",
            Self::WrongState { .. } => "wrong_state",
            Self::InsufficientBond { .. } => "insufficient_bond",
            Self::TooEarly { .. } => "too_early",
            Self::NoContradiction => "no_contradiction",
            Self::Duplicate => "duplicate",
            Self::OutOfScope => "out_of_scope",
            Self::SpendLimit { .. } => "spend_limit",
            Self::Signatures { .. } => "signatures",
            Self::InsufficientStake { .. } => "insufficient_stake",
        }
    }

    pub(crate) const fn bad_field(field: &'static str) -> Self {
        Self::BadField { field: Cow::Borrowed(field) }
    }

    pub(crate) const fn not_found(kind: &'static str) -> Self {
        Self::NotFound { kind: Cow::Borrowed(kind) }
    }

    pub(crate) const fn not_yours(role: &'static str) -> Self {
        Self::NotYours { role: Cow::Borrowed(role) }
    }

    pub(crate) const fn wrong_state(kind: &'static str, state: &'static str) -> Self {
        Self::WrongState { kind: Cow::Borrowed(kind), state: Cow::Borrowed(state) }
    }
}
