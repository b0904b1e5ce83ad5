//! The record of a finished job: what was agreed, run, checked and paid, with the evidence.

mod check;
mod document;
mod proof;

pub use check::{Checked, Defect, check};
pub use document::ReadError;
pub use proof::{BlockProof, EventProof, Trail};

use crate::views::{Explanation, Named};
use muster_ledger::{dispute::Claim, escrow::Escrow, job::Job, market::Lease};
use muster_types::{EscrowId, Hash, JobId, LeaseId, Signature};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The format's version.
///
/// | version | new |
/// |---|---|
/// | 2 | events are proved one by one; the trail |
/// | 3 | the tenant's signature over all of it |
pub const VERSION: u32 = 3;

/// A job's receipt. Everything in it can be checked without asking anybody: claims by their
/// signatures, roots by recomputation, payments by the events' inclusion in signed blocks. What no
/// event tells (the name, the quote, terms) is the tenant's word: that nobody changed it since
/// follows from its signature, and the job's opening proves whose key that is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// [`VERSION`].
    pub version: u32,
    /// The chain: hash of its genesis.
    pub chain: Hash,
    /// The job's name, for people: the tenant's word.
    pub name: String,
    /// The quote before the first order: the tenant's word.
    pub quote: Explanation,
    /// The job as the ledger has it.
    pub job: Named<JobId, Job>,
    /// Its escrow, closed.
    pub escrow: Named<EscrowId, Escrow>,
    /// Its leases, settled.
    pub leases: Vec<Named<LeaseId, Lease>>,
    /// What the manifest commitment hides.
    pub manifest: Manifest,
    /// The accepted result of each task, in order.
    pub results: Vec<Claim>,
    /// Who signed the blocks: the validators of an epoch, from genesis or as far back as anybody
    /// may still trust them (`stake_unbonding_ms`), and of the epochs up to the last block's.
    pub trail: Trail,
    /// The blocks in which this job's events happened, with what proves them.
    pub blocks: Vec<BlockProof>,
    /// By the job's tenant, over everything above ([`Receipt::signed`]).
    pub signature: Signature,
}

/// What a job runs. Its salted hash is on the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Against guessing.
    pub salt: Hash,
    /// Content hash of the module.
    pub module: Hash,
    /// Content hashes of the data directory's files.
    pub data: BTreeMap<String, Hash>,
}

impl Manifest {
    /// The commitment that goes to the ledger.
    #[must_use]
    pub fn commitment(&self) -> Hash {
        let data = muster_types::codec::encode(&self.data);
        Hash::of("muster manifest v1", &[self.salt.as_bytes(), self.module.as_bytes(), &data])
    }
}

#[cfg(test)]
mod tests;
