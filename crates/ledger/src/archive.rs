//! What leaves the state: history is not in the way of what happens next.
//!
//! A record is *final* when nothing in the rules can change it. Every write of a record asks
//! ([`Record::is_final`]) and writes down since when, in steady time; a record that ceases to be
//! final (a settled lease that a new dispute names) forgets it. At the end of a block, what has
//! been final for [`crate::Params::retention_ms`] leaves the state and is handed to the block's
//! host ([`crate::BlockOutcome::archived`]), which keeps it beside the consensus state.
//!
//! | record | final when |
//! |---|---|
//! | dispute | judged or void |
//! | challenge | judged or void: its bond has gone where it belongs |
//! | lease | settled, its pledge free, and named by no open dispute or challenge |
//! | order | ended, and none of its leases unsettled |
//! | job | closed, with no open order and no unsettled lease |
//! | escrow | closed, with nothing in it |
//! | proposal | rejected, applied or failed |
//!
//! What is final may cease to be: a settled lease that a new dispute names, a filled order that its
//! tenant grows. Such a record stays, and its time begins anew.
//!
//! At most [`crate::limits::DUE_PER_BLOCK`] records leave with one block: those first that have
//! been final the longest, and of those since the same moment in the order of the table. So a
//! record never leaves before one that names it and can still act: an unsettled lease finds its
//! order, escrow and job; an open order its escrow and job; an open dispute or challenge its job and
//! leases. What is final may outlive what it names: an ended order its leases, a lease in a late
//! dispute its order, an open job its closed escrow. An order that lives on looks past those of its
//! leases that have left.
//!
//! To an action, what has left is `not_found`. The claim of a lease that has left cannot be used
//! in a dispute any more: whoever wants to hold it against another lease that works on does so
//! within `retention_ms`, which is never less than all windows of a lease together.
//!
//! The sums that a provider or an escrow keeps count what has left too; over the state and all
//! that left it they are exact ([`crate::invariant::check_whole`]).
//!
//! # What never leaves
//! These are bounded by what is going on, or by who takes part:
//!
//! | record | why |
//! |---|---|
//! | account, its policy, its nonces' window | one an account; without its nonce an old transaction would apply again |
//! | delegated key | at most [`crate::limits::KEYS`] an account |
//! | provider, bond, operator, tenant's conduct, validator | one an account: reputation and what can be slashed |
//! | host, duty, signature, affiliation, delegation | removed by the action that ends it |
//! | part of a bond or a stake that unbonds | money that is somebody's, until it is claimed |
//! | bid, ballot | removed when its order is decided, when its proposal is tallied |
//! | bell | one a class or escrow under which somebody sleeps, until its round ends |

use crate::{
    block::due,
    ctx::Ctx,
    dispute::{Challenge, Dispute},
    escrow::Escrow,
    job::Job,
    keys::{self, Key, Record},
    market::{Lease, Order},
    state::{Scratch, State},
    vote::Proposal,
};
use muster_types::{DisputeId, EscrowId, Hash, JobId, LeaseId, Millis, OrderId, ProposalId};

/// Kinds of records that leave, in the order in which those that became final together do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A dispute.
    Dispute,
    /// A challenge.
    Challenge,
    /// A lease.
    Lease,
    /// An order.
    Order,
    /// A job.
    Job,
    /// An escrow.
    Escrow,
    /// A proposal.
    Proposal,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Dispute,
        Self::Challenge,
        Self::Lease,
        Self::Order,
        Self::Job,
        Self::Escrow,
        Self::Proposal,
    ];
}

/// A record that is to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leaving {
    /// Of which kind.
    pub kind: Kind,
    /// Its id.
    pub id: Hash,
}

impl Key for Leaving {
    fn write(&self, out: &mut Vec<u8>) {
        let place = Kind::ALL.iter().position(|kind| *kind == self.kind);
        out.push(place.and_then(|place| u8::try_from(place).ok()).unwrap_or(u8::MAX));
        self.id.write(out);
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let (place, rest) = bytes.split_first()?;
        *bytes = rest;
        let kind = *Kind::ALL.get(usize::from(*place))?;
        Some(Self { kind, id: Key::read(bytes)? })
    }
}

/// What every [`Record`] that leaves has alike: it leaves as this kind, and its time is in its
/// `final_at`.
macro_rules! leaves {
    ($kind:ident) => {
        const LEAVES: Option<$crate::archive::Kind> = Some($crate::archive::Kind::$kind);

        fn final_at(&self) -> Option<muster_types::Millis> {
            self.final_at
        }

        fn set_final_at(&mut self, at: Option<muster_types::Millis>) {
            self.final_at = at;
        }
    };
}
pub(crate) use leaves;

/// The record with the time written down since when it is final, or the time taken out; `None`
/// where it stands as it should.
pub(crate) fn stamped<R: Record>(record: &R, state: &dyn State) -> Option<R> {
    if R::LEAVES.is_none() || record.is_final() == record.final_at().is_some() {
        return None;
    }
    let now = || keys::HEAD.get(state, &()).map_or(Millis::ZERO, |head| head.steady);
    let mut record = record.clone();
    record.set_final_at(record.is_final().then(now));
    Some(record)
}

/// The entry of a record in the index of those that are to leave.
pub(crate) fn entry<R: Record>(record: &R, key: &R::Key) -> Option<Vec<u8>> {
    let (kind, at) = (R::LEAVES?, record.final_at()?);
    let mut id = Vec::with_capacity(32);
    key.write(&mut id);
    let id = Hash::read(&mut id.as_slice())?;
    Some(keys::ARCHIVE_DUE.key(&(at, Leaving { kind, id })))
}

/// Removes what is due; gives storage keys and values.
pub(crate) fn run(ctx: &mut Ctx<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let retention = ctx.env.params.retention_ms;
    let Some(until) = ctx.env.head.steady.0.checked_sub(retention.0) else { return Vec::new() };
    let due = due(ctx, keys::ARCHIVE_DUE, Millis(until));
    due.into_iter().filter_map(|leaving| leave(&mut ctx.scratch, leaving)).collect()
}

fn leave(scratch: &mut Scratch<'_>, Leaving { kind, id }: Leaving) -> Option<(Vec<u8>, Vec<u8>)> {
    match kind {
        Kind::Dispute => take::<Dispute>(scratch, &DisputeId(id)),
        Kind::Challenge => take::<Challenge>(scratch, &DisputeId(id)),
        Kind::Lease => take::<Lease>(scratch, &LeaseId(id)),
        Kind::Order => take::<Order>(scratch, &OrderId(id)),
        Kind::Job => take::<Job>(scratch, &JobId(id)),
        Kind::Escrow => take::<Escrow>(scratch, &EscrowId(id)),
        Kind::Proposal => take::<Proposal>(scratch, &ProposalId(id)),
    }
}

fn take<R: Record>(scratch: &mut Scratch<'_>, key: &R::Key) -> Option<(Vec<u8>, Vec<u8>)> {
    let stored = R::TABLE.key(key);
    let value = scratch.get(&stored)?;
    keys::remove::<R>(scratch, key);
    Some((stored, value))
}

/// The index entries under which whoever keeps a record that left the state lists it: the same
/// as in the state, so that the look-ups of [`crate::view`] work on what is kept. None for bytes
/// that are no such record.
#[must_use]
pub fn entries(key: &[u8], value: &[u8]) -> Vec<Vec<u8>> {
    listed::<Dispute>(key, value)
        .or_else(|| listed::<Challenge>(key, value))
        .or_else(|| listed::<Lease>(key, value))
        .or_else(|| listed::<Order>(key, value))
        .or_else(|| listed::<Job>(key, value))
        .or_else(|| listed::<Escrow>(key, value))
        .or_else(|| listed::<Proposal>(key, value))
        .unwrap_or_default()
}

fn listed<R: Record>(key: &[u8], value: &[u8]) -> Option<Vec<Vec<u8>>> {
    let key = R::TABLE.parse(key)?;
    let record = R::try_from_slice(value).ok()?;
    let mut all = Vec::new();
    record.entries(&key, &mut |entry| all.push(entry));
    Some(all)
}

#[cfg(test)]
mod tests;
