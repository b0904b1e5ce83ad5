//! `EquivocationReport`: a key that signed two votes of which an honest one signs at most one.
//!
//! | one vote | the other, of the same epoch and view | |
//! |---|---|---|
//! | notarize | notarize of another proposal | contradiction |
//! | finalize | finalize of another proposal | contradiction |
//! | nullify | finalize | contradiction |
//! | notarize | finalize, nullify | none: both are right at times |
//!
//! Anybody reports it, with the two votes; whether there was such a proposal does not matter. The
//! key's validator loses `slash_equivocation_bps` of all stake and is jailed, once for every epoch
//! and key. Evidence of an epoch counts until `stake_unbonding_ms` after the epoch's end, in steady
//! time: as long as stake that was there then can still be slashed. At each epoch's end the four
//! oldest epochs are looked at, and those whose evidence counts no more are forgotten for good.

use super::{committee, slash};
use crate::{
    Reject,
    ctx::{By, Ctx},
    keys,
};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_types::{AccountId, Hash, Signature};
use serde::{Deserialize, Serialize};

/// Epochs whose evidence is dropped at one epoch's end.
const DROPPED: usize = 4;

/// What a validator votes for in a view.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Ballot {
    /// A proposal is valid.
    Notarize(Proposal),
    /// The view is to pass without a block.
    Nullify,
    /// A proposal is to be final.
    Finalize(Proposal),
}

/// What is proposed in a view.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Proposal {
    /// The view of the block that it builds on.
    pub parent: u64,
    /// The block's digest.
    pub block: Hash,
}

/// A vote on its own.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct SignedBallot {
    /// For what.
    pub ballot: Ballot,
    /// The voter's signature over [`vote_message`].
    pub signature: Signature,
}

/// Two votes of one key in one view.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Equivocation {
    /// Who signed.
    pub key: AccountId,
    /// In which epoch.
    pub epoch: u64,
    /// In which view of it.
    pub view: u64,
    /// One vote.
    pub first: SignedBallot,
    /// The other.
    pub second: SignedBallot,
}

/// What begins everything that validators of a chain sign.
#[must_use]
pub fn vote_namespace(chain: &Hash) -> Vec<u8> {
    [b"muster consensus v1".as_slice(), chain.as_bytes()].concat()
}

/// What a validator signs to cast a vote: the length of the name of what it signs, the name, and
/// the vote.
#[must_use]
pub fn vote_message(chain: &Hash, epoch: u64, view: u64, ballot: &Ballot) -> Vec<u8> {
    let (kind, proposal): (&[u8], _) = match ballot {
        Ballot::Notarize(proposal) => (b"_NOTARIZE", Some(proposal)),
        Ballot::Nullify => (b"_NULLIFY", None),
        Ballot::Finalize(proposal) => (b"_FINALIZE", Some(proposal)),
    };
    let name = [&vote_namespace(chain), kind].concat();
    let mut message = Vec::with_capacity(160);
    varint(&mut message, u64::try_from(name.len()).unwrap_or(u64::MAX));
    message.extend_from_slice(&name);
    varint(&mut message, epoch);
    varint(&mut message, view);
    if let Some(Proposal { parent, block }) = proposal {
        varint(&mut message, *parent);
        message.extend_from_slice(block.as_bytes());
    }
    message
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

impl Equivocation {
    /// Whether an honest key signs at most one of the two.
    #[must_use]
    pub fn contradicts(&self) -> bool {
        use Ballot::{Finalize, Notarize, Nullify};
        match (&self.first.ballot, &self.second.ballot) {
            (Notarize(one), Notarize(other)) | (Finalize(one), Finalize(other)) => one != other,
            (Nullify, Finalize(_)) | (Finalize(_), Nullify) => true,
            (Nullify | Finalize(_), Notarize(_)) | (Notarize(_), Nullify | Finalize(_)) => false,
            (Nullify, Nullify) => false,
        }
    }
}

pub(crate) fn run(ctx: &mut Ctx<'_>, _: &By, found: &Equivocation) -> Result<(), Reject> {
    let Equivocation { key, epoch, view, first, second } = found;
    if !found.contradicts() {
        return Err(Reject::NoContradiction);
    }
    let validator = committee::owner(&ctx.scratch, key);
    if !keys::STAKERS.contains(&ctx.scratch, &validator) {
        return Err(Reject::not_found("validator"));
    }
    let current = keys::COMMITTEE.get(&ctx.scratch, &()).map_or(0, |committee| committee.epoch);
    if *epoch > current {
        return Err(Reject::bad_field("epoch"));
    }
    if *epoch < current && !is_fresh(ctx, *epoch) {
        return Err(Reject::wrong_state("evidence", "too old"));
    }
    if keys::OFFENCES.contains(&ctx.scratch, &(*epoch, *key)) {
        return Err(Reject::Duplicate);
    }
    for vote in [first, second] {
        let message = vote_message(&ctx.env.head.chain, *epoch, *view, &vote.ballot);
        key.verify(&message, &vote.signature).map_err(|_| Reject::bad_field("signature"))?;
    }
    keys::OFFENCES.put(&mut ctx.scratch, &(*epoch, *key), &());
    slash::slash(ctx, &validator, ctx.env.params.slash_equivocation_bps, &[])
}

/// Whether stake that was there in an epoch that has ended can still be slashed.
fn is_fresh(ctx: &Ctx<'_>, epoch: u64) -> bool {
    let ended = keys::EPOCH_ENDS.get(&ctx.scratch, &epoch);
    ended.is_some_and(|ended| ctx.env.head.steady < ended.after(ctx.env.params.stake_unbonding_ms))
}

/// Notes when an epoch ended, and forgets those of which no evidence counts any more.
pub(crate) fn end_epoch(ctx: &mut Ctx<'_>, epoch: u64) {
    let steady = ctx.env.head.steady;
    keys::EPOCH_ENDS.put(&mut ctx.scratch, &epoch, &steady);
    let kept: Vec<u64> = keys::EPOCH_ENDS
        .scan(&ctx.scratch, &(), None)
        .take(DROPPED)
        .map(|(epoch, _)| epoch)
        .collect();
    for epoch in kept.into_iter().filter(|epoch| !is_fresh(ctx, *epoch)).collect::<Vec<_>>() {
        let offences: Vec<(u64, AccountId)> =
            keys::OFFENCES.scan(&ctx.scratch, &epoch, None).map(|(offence, ())| offence).collect();
        for offence in offences {
            keys::OFFENCES.delete(&mut ctx.scratch, &offence);
        }
        keys::EPOCH_ENDS.delete(&mut ctx.scratch, &epoch);
    }
}
