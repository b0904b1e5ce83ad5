//! A receipt as a document: what its tenant signs, and that a file says no more than that.
//!
//! Signed is the hash of the receipt's compact JSON, its fields in the order of [`Receipt`], without
//! the signature: of the file, that is, without white space between its tokens and its last field.

use super::{BlockProof, Manifest, Receipt, Trail, VERSION};
use crate::views::{Explanation, Named};
use muster_ledger::{dispute::Claim, escrow::Escrow, job::Job, market::Lease};
use muster_types::{AccountId, EscrowId, Hash, JobId, LeaseId, SecretKey, Signature};
use serde::{Deserialize, Serialize};
use std::io;

const DOMAIN: &[u8] = b"muster receipt 3";

/// Why bytes are no receipt.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// They are not its JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// It is of another version.
    #[error("version {found} of the format, and this program knows {VERSION} only")]
    Version {
        /// Which.
        found: u32,
    },
    /// It says something that is not the receipt's, or not in the one way to say it.
    #[error(
        "not as receipts are written: an unknown field, a change of order, or another spelling"
    )]
    Spelling,
}

/// All of a [`Receipt`] but its signature.
#[derive(Serialize)]
struct Body<'a> {
    version: u32,
    chain: &'a Hash,
    name: &'a str,
    quote: &'a Explanation,
    job: &'a Named<JobId, Job>,
    escrow: &'a Named<EscrowId, Escrow>,
    leases: &'a [Named<LeaseId, Lease>],
    manifest: &'a Manifest,
    results: &'a [Claim],
    trail: &'a Trail,
    blocks: &'a [BlockProof],
}

impl Receipt {
    /// Reads a receipt. White space between its tokens may be of any kind; everything else must
    /// be as [`Receipt`] is written, so that two files that say the same are the same.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(bytes: &[u8]) -> Result<Self, ReadError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } = serde_json::from_slice(bytes)?;
        if version != VERSION {
            return Err(ReadError::Version { found: version });
        }
        let receipt: Self = serde_json::from_slice(bytes)?;
        let mut tokens = Tokens { rest: bytes, text: Text::Outside };
        serde_json::to_writer(&mut tokens, &receipt).map_err(|_| ReadError::Spelling)?;
        if tokens.next().is_some() {
            return Err(ReadError::Spelling);
        }
        Ok(receipt)
    }

    /// The receipt, signed with its tenant's key; a signature that it had is replaced.
    ///
    /// # Errors
    /// Where it cannot be written as JSON.
    pub fn signed(mut self, key: &SecretKey) -> serde_json::Result<Self> {
        self.signature = key.sign(&self.message()?);
        Ok(self)
    }

    /// Whether `tenant` signed everything in it.
    #[must_use]
    pub fn is_signed_by(&self, tenant: &AccountId) -> bool {
        self.message().is_ok_and(|message| tenant.verify(&message, &self.signature).is_ok())
    }

    fn message(&self) -> serde_json::Result<Vec<u8>> {
        let Self {
            version,
            chain,
            name,
            quote,
            job,
            escrow,
            leases,
            manifest,
            results,
            trail,
            blocks,
            signature: Signature(_),
        } = self;
        let version = *version;
        let body = Body {
            version,
            chain,
            name,
            quote,
            job,
            escrow,
            leases,
            manifest,
            results,
            trail,
            blocks,
        };
        let hash = Hash::of("muster receipt v3", &[&serde_json::to_vec(&body)?]);
        Ok([DOMAIN, hash.as_bytes()].concat())
    }
}

/// Where in a JSON document a byte is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Text {
    Outside,
    Inside,
    Escaped,
}

/// What is left of a JSON document, without white space between its tokens. As a writer it takes
/// nothing but exactly that.
struct Tokens<'a> {
    rest: &'a [u8],
    text: Text,
}

impl Iterator for Tokens<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        loop {
            let (&byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            self.text = match (self.text, byte) {
                (Text::Outside, b' ' | b'\t' | b'\n' | b'\r') => continue,
                (Text::Outside, b'"') | (Text::Escaped, _) => Text::Inside,
                (Text::Inside, b'"') => Text::Outside,
                (Text::Inside, b'\\') => Text::Escaped,
                (text, _) => text,
            };
            return Some(byte);
        }
    }
}

impl io::Write for Tokens<'_> {
    fn write(&mut self, written: &[u8]) -> io::Result<usize> {
        if written.iter().all(|byte| self.next() == Some(*byte)) {
            Ok(written.len())
        } else {
            Err(io::ErrorKind::InvalidData.into())
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
