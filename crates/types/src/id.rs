//! Ids. All are 32 bytes and spelled as 64 hex digits; each kind has its own type.

use crate::{Hash, HashDomain};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Text that is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an id: expected 64 hexadecimal digits")]
pub struct ParseIdError {
    pub(crate) text: String,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default,
            BorshSerialize, BorshDeserialize, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
        pub struct $name(pub Hash);

        impl $name {
            /// The id's bytes, in the order in which state keys sort.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                self.0.as_bytes()
            }

            /// The first eight hex digits: for people, never for look-up.
            #[must_use]
            pub fn short(&self) -> String {
                self.0.short()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

id!(
    /// An account: the bytes of its ed25519 public key.
    AccountId
);
id!(
    /// An order: derived from the transaction that placed it ([`OrderId::derive`]).
    OrderId
);
id!(
    /// A lease: derived from its order and its place in it ([`LeaseId::derive`]).
    LeaseId
);
id!(
    /// An escrow: derived from the transaction that opened it.
    EscrowId
);
id!(
    /// A job: derived from the transaction that opened it.
    JobId
);
id!(
    /// A dispute: derived from the transaction that opened it.
    DisputeId
);

id!(
    /// Stake that is unbonding: derived from the transaction that started it.
    UnbondingId
);
id!(
    /// A proposal: derived from the transaction that made it.
    ProposalId
);

macro_rules! derived_from_tx {
    ($name:ident, $domain:literal) => {
        impl $name {
            /// The id of the one that transaction `tx` creates; known before it is sent.
            #[must_use]
            pub fn derive(tx: &crate::TxId) -> Self {
                Self(Hash::of($domain, &[tx.0.as_bytes()]))
            }
        }
    };
}

derived_from_tx!(OrderId, "muster order id v1");
derived_from_tx!(EscrowId, "muster escrow id v1");
derived_from_tx!(JobId, "muster job id v1");
derived_from_tx!(DisputeId, "muster dispute id v1");
derived_from_tx!(UnbondingId, "muster unbonding id v1");
derived_from_tx!(ProposalId, "muster proposal id v1");

impl LeaseId {
    /// The id of the `index`-th lease that `order` is granted, counted over the order's life.
    #[must_use]
    pub fn derive(order: &OrderId, index: u32) -> Self {
        static ID: HashDomain = HashDomain::new("muster lease id v1");
        Self(ID.hash(&[order.as_bytes(), &index.to_le_bytes()]))
    }
}

/// A host: the provider that owns it and its index there.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HostId {
    /// The provider's account.
    pub provider: AccountId,
    /// The provider's own number for the host.
    pub index: u32,
}

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.provider.short(), self.index)
    }
}
