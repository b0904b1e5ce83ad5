//! Disputes: who is right about a result, judged by the validators' own re-execution.
//!
//! There are two kinds. This one is about two signed claims on one task, by two providers; the
//! other is a [`challenge`] of a chain that its provider has committed to.
//!
//! | state | action or event | next |
//! |---|---|---|
//! | none | `DisputeOpen` with two differing, validly signed claims | open |
//! | open | more than 2/3 of the validators voted for one output | judged: who claimed otherwise is slashed |
//! | open | more than 2/3 voted that the evidence is missing, or the deadline passed | void: no fault |
//!
//! An open dispute holds the settlement of both leases. A dispute opens while at least one of the
//! two leases can still be challenged: while it is open, or unsettled and its challenge window has
//! not ended, which is `challenge_window_ms` from its end, or from the draw of its commitment where
//! there is one to come, or that was later. A lease at level `dispute` is not disputed so, and at
//! most [`crate::limits::LEASE_DISPUTES`] open disputes name one lease.
//!
//! It takes no deposit: a verdict always finds at least one of two differing claims wrong, so none
//! could ever be lost. What a tenant that withholds its evidence can do is delay a settlement, by
//! the window and one verdict at most.
//!
//! A validator that named another output than the verdict loses a part of its stake
//! ([`crate::stake`]); one that could not get the evidence loses nothing.
//!
//! Re-execution happens off the block path and enters as votes; a dispute never stalls a block.

pub mod challenge;
pub(crate) mod open;
pub(crate) mod verdict;
pub(crate) mod vote;

pub use challenge::{Challenge, ChallengeStatus, Clocks, Finding, Side, StepVote};

use crate::{
    archive,
    job::{TaskOutput, TaskRef},
    keys::{self, Listing, Record, Table},
};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_types::{AccountId, DisputeId, Hash, JobId, LeaseId, Millis, SecretKey, Signature};
use serde::{Deserialize, Serialize};

const CLAIM_DOMAIN: &[u8] = b"muster claim v1";

/// A provider's signed word on one task: what it hands to the tenant with every result.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Claim {
    /// The lease under which the task was run.
    pub lease: LeaseId,
    /// The task.
    pub task: TaskRef,
    /// What it gave.
    pub result: TaskOutput,
    /// By the lease's provider, over [`Claim::message`].
    pub signature: Signature,
}

impl Claim {
    /// Signs a result. `chain` is the genesis hash.
    #[must_use]
    pub fn sign(
        chain: &Hash,
        lease: LeaseId,
        task: TaskRef,
        result: TaskOutput,
        key: &SecretKey,
    ) -> Self {
        let signature = key.sign(&Self::message(chain, &lease, &task, &result));
        Self { lease, task, result, signature }
    }

    /// What is signed: domain, chain, lease, task, result, canonically encoded.
    #[must_use]
    pub fn message(chain: &Hash, lease: &LeaseId, task: &TaskRef, result: &TaskOutput) -> Vec<u8> {
        let mut message = CLAIM_DOMAIN.to_vec();
        message.extend_from_slice(&muster_types::codec::encode(&(chain, lease, task, result)));
        message
    }

    /// Whether `provider` signed this claim on `chain`.
    #[must_use]
    pub fn is_signed_by(&self, chain: &Hash, provider: &AccountId) -> bool {
        let message = Self::message(chain, &self.lease, &self.task, &self.result);
        provider.verify(&message, &self.signature).is_ok()
    }
}

/// Where a dispute stands.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DisputeStatus {
    /// Validators are voting.
    Open,
    /// This is what the task gives.
    Judged {
        /// The validators' output.
        output: TaskOutput,
    },
    /// No verdict could be reached: no fault.
    Void,
}

/// One validator's vote.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Vote {
    /// Who.
    pub validator: AccountId,
    /// What it found; `None`: it could not get the evidence.
    pub output: Option<TaskOutput>,
}

/// A dispute's state.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Dispute {
    /// The job.
    pub job: JobId,
    /// Who opened it: the tenant.
    pub opener: AccountId,
    /// The two claims.
    pub claims: [Claim; 2],
    /// Where the evidence can be fetched (the tenant's fabric address, as text).
    pub evidence: String,
    /// Where it stands.
    pub status: DisputeStatus,
    /// The votes so far, one a validator.
    pub votes: Vec<Vote>,
    /// Void if not judged by then (steady time, see [`crate::Head`]).
    pub deadline: Millis,
    /// Since when nothing can change it, in steady time (see [`crate::archive`]).
    pub final_at: Option<Millis>,
}

impl DisputeStatus {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Judged { .. } => "judged",
            Self::Void => "void",
        }
    }
}

impl Record for Dispute {
    type Key = DisputeId;
    const KIND: &'static str = "dispute";
    const TABLE: Table<DisputeId, Self> = keys::DISPUTES;
    const LISTING: Listing = Listing::Always;

    archive::leaves!(Dispute);

    fn is_final(&self) -> bool {
        matches!(self.status, DisputeStatus::Judged { .. } | DisputeStatus::Void)
    }

    fn entries(&self, key: &DisputeId, emit: &mut dyn FnMut(Vec<u8>)) {
        emit(keys::DISPUTES_BY_JOB.key(&(self.job, *key)));
        if self.status == DisputeStatus::Open {
            emit(keys::DISPUTES_DUE.key(&(self.deadline, *key)));
        }
    }
}

#[cfg(test)]
mod tests;
